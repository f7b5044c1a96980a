"""A mail in words: why it is where it is, what each stage said, what servers said, and its text.

Lines for panes and pages, made from what the daemon told; nothing is asked here, and no clock is read. What a cause
means to people, and what helps, is one table.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from gateway.control import (
    AttemptRow,
    AuditRow,
    LedgerRow,
    MailDetail,
    MailRow,
    MailText,
    PartRow,
    RecipientRow,
    Step,
    TouchpointRow,
    Walk,
)
from tui.frame import age
from tui.lines import Line, Piece, cut, fit, folded, line

CAUSES: dict[str, tuple[str, str]] = {
    "poison": (
        "It broke Postroom again and again, so it is not looked into any more; other mail goes on.",
        "Look at its raw text before you release it: then it is tried once more.",
    ),
    "blocked": (
        "Its sender is on the blocklist of the touchpoint.",
        "Release lets this one mail go on; Blocks (7) is where the sender is taken off the list.",
    ),
    "direction": (
        "The touchpoint takes in answers only, and this mail begins a conversation.",
        "Release lets this one go on; the touchpoint's page (2) has its direction.",
    ),
    "oversize": (
        "It is larger than this house takes in; its content is still on the server only.",
        "Release fetches it, whatever its size; or deal with it in the mailbox and drop it here.",
    ),
    "undecodable": (
        "There is no header field in it that can be read, so nobody is its author.",
        "Look at its raw text; release queues it as it is.",
    ),
    "rejected": (
        "A stage would refuse it; mail that was fetched is never bounced.",
        "See why in its trail. Release lets it go on.",
    ),
    "unknown-outcome": (
        "It was handed over and the answer never came; nobody can tell whether it arrived.",
        "Ask the recipient. Release sends it again, so that it may arrive twice; if it did arrive, say so.",
    ),
    "stage-failed": (
        "A stage of the line failed or took too long; the trail has its own words.",
        "Repair the stage, then release: the mail walks its line again from the start.",
    ),
    "deferred-too-long": (
        "A stage put it off for five days.",
        "See why in its trail, then release: it walks its line again.",
    ),
    "envelope": (
        "The recipients in its headers are not those that it is sent to, and its provider goes by the headers.",
        "Send it by a touchpoint with SMTP, or drop it.",
    ),
    "by-person": ("Somebody set it aside.", "Release lets it go on."),
}
"""Cause of a held mail -> what it means, and what helps."""
STATES: dict[str, Piece] = {
    "queued": ("queued", "good"),
    "closed": ("closed", "dim"),
    "stopped": ("stopped", "dim"),
    "delivered": ("delivered", "good"),
    "dropped": ("dropped", "dim"),
    "waiting": ("waiting", ""),
    "parked": ("parked", "warn"),
    "active": ("sending", ""),
    "held": ("held", "warn"),
    "unknown": ("unknown", "bad"),
    "failed": ("failed", "bad"),
}
_ACTIONS = {"pass": "good", "stop": "dim", "hold": "warn", "defer": "warn", "reject": "bad"}
_OUTCOMES = {
    "accepted": "good", "delivered": "good", "found": "good", "confirmed": "good", "refused": "bad", "unknown": "bad",
    "retry": "warn",
}  # fmt: skip


# -- Small words ---------------------------------------------------------------------------------------------------


def state_of(row: MailRow) -> Piece:
    """Where it stands, as a word and the style that says the same."""
    return STATES.get(row.state, (row.state, ""))


def who(row: MailRow) -> str:
    """The other side of a mail: who wrote it, or whom it goes to."""
    if row.direction == "in":
        return row.author or "(nobody)"
    more = f" +{row.recipient_count - 1}" if row.recipient_count > 1 else ""
    return (row.recipients[0] if row.recipients else "(nobody)") + more


def subject_of(row: MailRow) -> str:
    """Its subject, or that it has none."""
    return row.subject or "(no subject)"


def marks_of(row: MailRow) -> str:
    """What is peculiar about it: junk, a bounce, a machine's mail."""
    return " ".join(filter(None, (row.mark, row.kind if row.kind not in ("", "person") else "")))


def when(at: float) -> str:
    """A local time for people; "-" for never."""
    try:
        return time.strftime("%a %d %b %Y %H:%M:%S", time.localtime(at)) if at else "-"
    except (ValueError, OverflowError, OSError):
        return "?"


def born(row: MailRow) -> float:
    """Since when it is here."""
    return row.received_at or row.accepted_at


def amount(number: int) -> str:
    """Bytes for people."""
    for unit, scale in (("B", 1), ("kB", 1_000), ("MB", 1_000_000)):
        if number < 999.5 * scale:
            value = number / scale
            return f"{value:.1f} {unit}" if value < 9.95 and scale > 1 else f"{value:.0f} {unit}"
    return f"{number / 1e9:.1f} GB"


def counted(number: int, what: str) -> str:
    """``1 mail``, ``2 mails``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def rule(words: str, hint: str, width: int) -> Line:
    """A line that parts a pane from what is above it."""
    left = cut(f"── {words} ", max(width - len(hint) - 2, 8))
    right = f" {hint}" if hint else ""
    filler = "─" * (width - cell_len(left) - len(right))
    return line((left, "head"), (filler, "dim"), (right, "dim"))


def labelled(label: str, text: str, width: int, style: str = "", room: int = 11) -> list[Line]:
    """``label      text``, folded under itself; nothing where there is no text."""
    if not text:
        return []
    made = folded(text, max(width - room, 10))
    return [line((fit(label if not number else "", room), "dim"), (each, style)) for number, each in enumerate(made)]


def prose(text: str, width: int, style: str = "", indent: str = "") -> list[Line]:
    """A text folded."""
    return [line((indent + each, style)) for each in folded(text, width - len(indent))]


# -- Why it is here ------------------------------------------------------------------------------------------------


def because(detail: MailDetail, now: float, touchpoint: TouchpointRow | None = None) -> Piece:
    """Why a mail is where it is: one or two sentences, and their style."""
    row = detail.row
    said = _WORDS.get(row.state)
    words = said(detail, now, touchpoint) if said else f"It is {row.state}."
    if detail.released_by and row.state not in ("held", "dropped"):
        words += f" {detail.released_by} released it."
    return words, STATES.get(row.state, ("", ""))[1]


def decided(detail: MailDetail) -> Step | None:
    """The last word of the newest walk."""
    walk = detail.walks[0] if detail.walks else None
    return walk.steps[-1] if walk is not None and walk.steps else None


def server_words(detail: MailDetail) -> str:
    """What a server said last about it."""
    for attempt in detail.attempts:
        if attempt.text or attempt.code:
            return f"{attempt.code or ''} {attempt.text}".strip()
    refused = next((each for each in detail.recipients if each.text), None)
    return "" if refused is None else f"{refused.code or ''} {refused.text}".strip()


def _stage(detail: MailDetail) -> str:
    """The stage that the reason is from, where it is from one."""
    step = decided(detail)
    reason = detail.row.reason
    return f" (stage {step.stage})" if step and reason and step.reason[:100] == reason[:100] else ""


def _first(text: str) -> str:
    """The first line of a reason; a traceback has more."""
    return text.strip().split("\n", 1)[0].rstrip(".: ")


def _queued(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    step = decided(detail)
    told = f": {_first(step.reason)} (stage {step.stage})" if step and step.reason else ""
    if not detail.row.queues:
        return f"It is in no queue{told}."
    return f"It is in the queue of {', '.join(detail.row.queues)}{told}."


def _closed(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    queues = ", ".join(detail.row.queues)
    return f"Somebody dealt with it{f'; it was in the queue of {queues}' if queues else ''}."


def _stopped(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    return f"Nobody has to see it: {_first(detail.row.reason) or 'its line stopped it'}{_stage(detail)}."


def _held(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    return _held_since(detail) + _expires(detail.row, now)


def _expires(row: MailRow, now: float) -> str:
    return f" Unless somebody releases it, it is given up in {age(row.expires_at - now)}." if row.expires_at else ""


def _held_since(detail: MailDetail) -> str:
    reason = _first(detail.row.reason)
    if reason.startswith("being fetched") and detail.released_by:
        return f"{detail.released_by} released it, and its content is {reason}."
    if detail.row.cause == "by-person":
        return (
            f"It is {reason}." if reason.startswith("held by ") else f"It is held by a person: {reason or 'no reason'}."
        )
    return f"It is held because {reason}{_stage(detail)}." if reason else "It is held, and no reason was given."


def _waiting(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    row = detail.row
    again = f" in {age(row.due_at - now)}" if row.due_at > now else " now"
    if row.direction == "in":
        return f"It is not decided yet; it walks its line{again}{f': {_first(row.reason)}' if row.reason else ''}."
    if not row.attempts and row.due_at <= now:
        return "It is about to be sent."
    if row.cause == "unknown-outcome":
        return f"It is tried again{again}; {_first(row.reason)}."
    said = server_words(detail) or _first(row.reason)
    return f"It is tried again{again}{f'; the server said: {said}' if said else ''}."


def _parked(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    row = detail.row
    return f"It waits for {row.touchpoint}, which {standing(touchpoint)}. Waiting costs it nothing."


def standing(touchpoint: TouchpointRow | None) -> str:
    """Why mail of a touchpoint does not go out."""
    if touchpoint is None:
        return "does not send now"
    if not touchpoint.active:
        return "is inactive"
    cause = f" ({touchpoint.cause})" if touchpoint.cause else ""
    words = {"lost": "LOST", "backoff": "in backoff", "new": "new: it was never connected"}
    return f"is {words.get(touchpoint.state, touchpoint.state)}{cause}"


def _active(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    return "It is being handed over right now."


def _unknown(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    said = _first(detail.row.reason)
    told = f"It was handed over and the answer never came{f': {said}' if said else ''}. "
    if touchpoint is not None and touchpoint.state != "connected":
        return told + f"It is looked for in the Sent folder once {detail.row.touchpoint} is connected."
    return told + "It is looked for in the Sent folder; then it is sent again or held, as its touchpoint says."


def _failed(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    said = _first(detail.row.reason) or server_words(detail)
    return f"It was not delivered{f': {said}' if said else ''}."


def _delivered(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    said = server_words(detail)
    twice = " It was sent again when its outcome was unknown, and may have arrived twice."
    told = f"It was delivered {age(now - detail.row.settled_at)} ago{f': {said}' if said else ''}."
    return told + (twice if detail.row.mark == "possibly twice" else "")


def _dropped(detail: MailDetail, now: float, touchpoint: TouchpointRow | None) -> str:
    return "Somebody gave it up; its content is kept."


_WORDS = {
    "queued": _queued,
    "closed": _closed,
    "stopped": _stopped,
    "held": _held,
    "waiting": _waiting,
    "parked": _parked,
    "active": _active,
    "unknown": _unknown,
    "failed": _failed,
    "delivered": _delivered,
    "dropped": _dropped,
}


def help_for(row: MailRow, width: int) -> list[Line]:
    """What the cause of a held mail means, and what helps."""
    if row.state not in ("held", "unknown") or row.cause not in CAUSES:
        return []
    meaning, helps = CAUSES[row.cause]
    return [*prose(meaning, width), *prose(helps, width, "strong")]


# -- Its trail, and what servers said --------------------------------------------------------------------------------


def walk_lines(walk: Walk, width: int) -> list[Line]:
    """One walk: each stage with its verdict and its reason."""
    made = [line((f"walked {when(walk.at)}, version {walk.config_version} of the touchpoint", "dim"))]
    name_room = min(max((len(step.stage) for step in walk.steps), default=0), 16)
    for step in walk.steps:
        lead = line(f"  {fit(step.stage, name_room)} ", (fit(step.action, 7), _ACTIONS.get(step.action, "")))
        reasons = folded(step.reason.rstrip(), max(width - name_room - 10, 20)) or [""]
        made.append(line(*lead, reasons[0]))
        made += [line(" " * (name_room + 10), each) for each in reasons[1:]]
    return made


def attempt_lines(attempts: Sequence[AttemptRow], now: float, width: int) -> list[Line]:
    """Tries to hand it over, the newest first, with the server's words."""
    made: list[Line] = []
    for each in attempts:
        outcome = each.outcome or f"no end ({each.phase})"
        ago = age(now - each.started_at) + " ago"
        made.append(line(f"  {fit(ago, 13)}", (outcome, _OUTCOMES.get(each.outcome, "warn")), f"  {each.server}"))
        said = f"{each.code or ''} {each.text}".strip()
        made += prose(said, width, indent=" " * 6) if said else []
    return made


def recipient_lines(recipients: Sequence[RecipientRow], width: int) -> list[Line]:
    """Whom it goes to, each with its own result."""
    made: list[Line] = []
    for each in recipients:
        made.append(line(f"  {each.address}  ", (each.state, _OUTCOMES.get(each.state, ""))))
        said = f"{each.code or ''} {each.text}".strip()
        made += prose(said, width, indent=" " * 6) if said else []
    return made


def item_lines(item: LedgerRow, now: float, width: int) -> list[Line]:
    """What the server showed us of it, and what became of that."""
    words = f"{item.touchpoint} {item.folder} uid {item.remote_id} (epoch {item.epoch}): {item.state}"
    words += f", seen {when(item.seen_at)}"
    made = prose(words, width, indent="  ")
    if item.error:
        again = f", again in {age(item.due_at - now)}" if item.due_at > now else ""
        made += prose(f"tried {counted(item.attempts, 'time')}{again}: {item.error}", width, "warn", " " * 6)
    if item.mark_due:
        made += prose(f"still to be done on the server: {item.mark_due}", width, "warn", " " * 6)
    return made


def people_lines(rows: Iterable[AuditRow], width: int) -> list[Line]:
    """What people did to it, the newest first."""
    made: list[Line] = []
    for row in rows:
        detail = row.detail if row.detail != "{}" else ""
        words = f"{when(row.at)}  {row.actor}  {row.verb.removeprefix('mail.')}  {detail}"
        made += prose(words.rstrip(), width, indent="  ")
    return made


def mail_line(row: MailRow, now: float) -> Line:
    """A mail of the same conversation, in one line."""
    word, style = state_of(row)
    mark = "<" if row.direction == "in" else ">"
    return line(
        f"  {row.id:>6} {mark} {fit(age(now - born(row)), 9)} ", (fit(word, 10), style),
        f"{fit(who(row), 24)}  {subject_of(row)}",
    )  # fmt: skip


# -- Its text --------------------------------------------------------------------------------------------------------


def field_of(text: MailText | None, name: str) -> str:
    """The value of a header field; "" where there is none, or where the headers are not known."""
    if text is None:
        return ""
    return next((each.value for each in text.headers if each.name.casefold() == name), "")


def text_lines(text: MailText, width: int) -> list[Line]:
    """What people read of it; what is quoted is dim."""
    if text.source == "none":
        return [line(("(it has no text)", "dim"))]
    made: list[Line] = []
    for each in text.text.rstrip("\n").split("\n"):
        style = "dim" if each.startswith(">") else ""
        made += [line((part, style)) for part in folded(each, width)]
    if text.source == "simplified":
        made.append(line(("(simplified: its HTML was too deep or too long)", "dim")))
    if text.cut:
        made.append(line(("(the text goes on; E writes the whole mail to a file)", "warn")))
    return made


def part_lines(parts: Sequence[PartRow], width: int, label: str = "attached", room: int = 11) -> list[Line]:
    """Its attachments, by name; they are never opened here."""
    named = ", ".join(f"{part.name or '(no name)'} {part.type} {amount(part.size)}" for part in parts)
    return labelled(label, named, width, room=room)


def header_lines(text: MailText, width: int) -> list[Line]:
    """All header fields in their order."""
    made: list[Line] = []
    for each in text.headers:
        made += [line((part, "")) for part in folded(f"{each.name}: {each.value}", width, "    ")]
    return made

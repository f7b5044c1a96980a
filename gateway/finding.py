"""One finding for each thing that a question "why?" is about: a sentence or two for people, and the command that helps.

Functions on an open read transaction; nothing is decided or changed. What the words quote of mail and servers is raw:
show it through ``safe_text``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from shlex import quote

from gateway import views
from gateway.rows import Finding, LedgerRow, MailDetail, MailRow
from gateway.views import Scene
from pipeline.lifecycle import ConnectionState
from pipeline.refetch import is_asked_for
from pipeline.store import Tx
from pipeline.touchpoint import Touchpoint

# -- Mail that is here ---------------------------------------------------------------------------------------------

_Words = tuple[str, str]
"""What is said, and the command that helps."""


def of_mail(tx: Tx, scene: Scene, detail: MailDetail) -> Finding:
    """What became of a mail of the spool."""
    row = detail.row
    words, command = _MAIL.get(row.state, _otherwise)(tx, scene, detail)
    if row.expires_at:
        words += f" Unless somebody releases it, it is given up about {day(row.expires_at)}."
    if row.mark == "bounced":
        words += " A bounce came back for it."
    return Finding(
        kind=row.state,
        words=words,
        command=command,
        mail=row.id,
        touchpoint=row.touchpoint,
        since=row.settled_at or row.accepted_at,
    )


def _otherwise(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    return f"It is {detail.row.state}.", f"postroom spool show {detail.row.id}"


def _queued(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    row = detail.row
    if row.queues:
        return f"It is in the queue of {', '.join(row.queues)}.", f"postroom queue read {row.id}"
    return (
        f"It is queued for nobody: no ring group was linked to {row.touchpoint} when it was decided.",
        f"postroom queue move {row.id} --to RING-GROUP",
    )


def _closed(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    was = f"; it was in the queue of {', '.join(detail.row.queues)}" if detail.row.queues else ""
    return f"Somebody dealt with it{was}.", f"postroom queue reopen {detail.row.id}"


def _stopped(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    reason = first_line(detail.row.reason) or "its line stopped it"
    return f"It was taken, and nobody has to see it: {reason}.", f"postroom spool text {detail.row.id}"


def _waiting(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    row = detail.row
    if row.direction == "in":
        reason = f": {first_line(row.reason)}" if row.reason else ""
        return f"It is not decided yet; it walks its line {at_or_now(row.due_at, detail)}{reason}.", _show(row)
    said = _last_answer(detail)
    if not said:
        return "It was accepted and is about to be sent.", f"postroom spool retry {row.id}"
    return (
        f"It was accepted, and is tried again {at_or_now(row.due_at, detail)}; {said}.",
        f"postroom spool retry {row.id}",
    )


def _parked(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    row = detail.row
    tp = scene.directory.touchpoints.get(row.touchpoint_id)
    why, command = ("is deleted", "postroom touchpoint list") if tp is None else standing(tx, scene, tp)
    return f"It was accepted, and waits since {row.touchpoint} {why}. Waiting costs it nothing.", command


def _active(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    return "It is being handed over right now.", _show(detail.row)


def _unknown(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    said = _last_answer(detail)
    return (
        f"It was handed over and the answer never came{f' ({said})' if said else ''}. It is looked for in the Sent"
        " folder; then it is sent again or held, by the policy of its touchpoint.",
        _show(detail.row),
    )


def _failed(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    said = first_line(detail.row.reason) or _last_answer(detail)
    return f"It was not delivered: {said or 'no reason was kept'}.", f"postroom spool retry {detail.row.id}"


def _delivered(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    refused = [each for each in detail.recipients if each.state == "refused"]
    words = f"It was delivered {day(detail.row.settled_at)}; {_last_answer(detail) or 'no words were kept'}."
    for each in refused[:3]:
        words += f" Not to {each.address}: {each.code or ''} {each.text}".rstrip() + "."
    return words, _show(detail.row)


def _dropped(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    row = detail.row
    act = tx.one(
        "SELECT actor, at FROM audit WHERE subject = :mail AND verb = 'mail.drop' ORDER BY id DESC LIMIT 1",
        {"mail": f"mail {row.id}"},
    )
    when = f" {day(act['at'])}" if act else ""
    if act is not None and act["actor"] == "expiry":
        words = f"It was held for too long and expired{when}"
    else:
        words = f"{act['actor'] if act else 'Somebody'} gave it up{when}"
    if detail.has_content:
        return f"{words}; its content is kept.", f"postroom spool export {row.id} --to FILE"
    return f"{words}; its content was never fetched.", f"postroom spool show {row.id}"


_HELD: dict[str, str] = {
    "poison": "It is held: it broke Postroom again and again ({reason}). Release tries it once more",
    "direction": "It is held, refused by direction: {reason}",
    "oversize": "It is held: {reason}. Release fetches it whatever its size",
    "undecodable": "It is held, since it cannot be read as a mail: {reason}",
    "unknown-outcome": "It is held: nobody knows whether it arrived ({reason}). Release sends it again; if it"
    " arrived, confirm says so: postroom spool confirm {id}",
    "stage-failed": "It is held, since a stage of its line failed: {reason}",
    "deferred-too-long": "It is held: {reason}",
    "envelope": "It is held, since its headers name others than its envelope: {reason}",
    "by-person": "It is {reason}",
    "rejected": "It is held: a stage would not have it, and fetched mail is never bounced ({reason})",
}


def _held(tx: Tx, scene: Scene, detail: MailDetail) -> _Words:
    row = detail.row
    if is_asked_for(views.entry_row(tx, row.id)):
        item = next((each for each in detail.ledger if each.state == "pending"), None)
        tried = (
            f", tried {item.attempts} times, again {at_or_now(item.due_at, detail)}" if item and item.attempts else ""
        )
        words = f"{detail.released_by} released it, and its content is {first_line(row.reason)}{tried}."
        return words, f"postroom touchpoint test {quote(row.touchpoint)}"
    command = f"postroom spool release {row.id}"
    if row.cause == "blocked" and (entry := _entry_of(tx, row)) is not None:
        return f"It is held: blocked by entry {entry}.", command
    reason = first_line(row.reason) or "no reason was given"
    words = _HELD.get(row.cause, "It is held: {reason}").replace("{id}", str(row.id)).replace("{reason}", reason)
    return f"{words}.", command


_LISTED = re.compile(r"is on the blocklist: (\S+)")


def _entry_of(tx: Tx, row: MailRow) -> str | None:
    """The blocklist's entry that holds a mail, in words; None where its reason names none."""
    if (match := _LISTED.search(row.reason)) is None:
        return None
    pattern = match[1].rstrip(".")
    found = tx.one(
        "SELECT id, note, added_by, added_at FROM blocked_sender WHERE touchpoint_id = :touchpoint AND pattern = :it",
        {"touchpoint": row.touchpoint_id, "it": pattern},
    )
    if found is None:
        return f"{pattern}, which is no longer on the list of {row.touchpoint}"
    note = f": {found['note']}" if found["note"] else ""
    by = f" by {found['added_by']}" if found["added_by"] else ""
    off = f"postroom blocklist remove {quote(row.touchpoint)} {quote(pattern)}"
    return f"{found['id']}, {pattern}, added {day(found['added_at'])}{by}{note}; it is taken off with: {off}"


_MAIL: dict[str, Callable[[Tx, Scene, MailDetail], _Words]] = {
    "queued": _queued,
    "closed": _closed,
    "stopped": _stopped,
    "waiting": _waiting,
    "parked": _parked,
    "active": _active,
    "unknown": _unknown,
    "failed": _failed,
    "delivered": _delivered,
    "dropped": _dropped,
    "held": _held,
}


def _show(row: MailRow) -> str:
    return f"postroom spool show {row.id}"


def _last_answer(detail: MailDetail) -> str:
    """What a server said last."""
    for each in detail.attempts:
        if each.text or each.code:
            return f"{each.server or 'the server'} said: {each.code or ''} {first_line(each.text)}".strip()
    return f"the last trouble was: {first_line(detail.row.reason)}" if detail.row.reason else ""


# -- Items of servers ------------------------------------------------------------------------------------------------


def of_item(tx: Tx, item: LedgerRow) -> Finding:
    """What became of an item that no mail was made of."""
    where = f"{item.folder} of {item.touchpoint}, uid {item.remote_id}"
    test = f"postroom touchpoint test {quote(item.touchpoint)}"
    words, command = {
        "pending": (
            f"It is on the server ({where}) and could not be fetched yet: {first_line(item.error) or 'no word on why'};"
            f" tried {item.attempts} times, asked for again {day(item.due_at)}.",
            test,
        ),
        "gone": (
            f"It was in {where}, and somebody removed it there before it was fetched; it was seen {day(item.seen_at)}.",
            f"postroom touchpoint show {quote(item.touchpoint)}",
        ),
    }.get(item.state, (_moved(item, where), f"postroom touchpoint show {quote(item.touchpoint)}"))
    if item.state in ("moved", "known") and (entry_id := _twin(tx, item)):
        words, command = f"{words[:-1]}: mail {entry_id}.", f"postroom why {entry_id}"
    return Finding(kind=item.state, words=words, command=command, touchpoint=item.touchpoint, since=item.seen_at)


def _moved(item: LedgerRow, where: str) -> str:
    if item.state == "known":
        return f"It is in {where}, under a new number since the folder was renumbered; its mail is here."
    return f"It was moved to {where} from another folder, and has its mail from there."


def _twin(tx: Tx, item: LedgerRow) -> int:
    """The mail that the same item has under its other name."""
    row = tx.one(
        "SELECT o.entry_id FROM ledger AS l JOIN ledger AS o ON o.sha256 = l.sha256"
        " AND o.touchpoint_id = l.touchpoint_id AND o.entry_id <> 0"
        " JOIN touchpoint AS t ON t.id = l.touchpoint_id"
        " WHERE t.address = :touchpoint AND l.folder = :folder AND l.epoch = :epoch AND l.remote_id = :uid"
        " AND l.sha256 <> x'' LIMIT 1",
        {"touchpoint": item.touchpoint, "folder": item.folder, "epoch": item.epoch, "uid": item.remote_id},
    )
    return 0 if row is None else int(row["entry_id"])


# -- Small words -----------------------------------------------------------------------------------------------------


def standing(tx: Tx, scene: Scene, tp: Touchpoint) -> _Words:
    """How a touchpoint stands, behind its name, and the command that helps it."""
    row = tx.one("SELECT cause, reason, state_since FROM touchpoint WHERE id = :id", {"id": tp.id})
    since = f" since {day(row['state_since'])}" if row and row["state_since"] else ""
    said = ": ".join(filter(None, (row["cause"], first_line(row["reason"])))) if row else ""
    name = quote(tp.address)
    state = scene.state_of(tp.id)
    if not tp.active and state is not ConnectionState.NEW:
        return f"is inactive{_deactivated(tx, tp)}", f"postroom touchpoint activate {name}"
    match state:
        case ConnectionState.NEW:
            return "was never connected", f"postroom touchpoint connect {name}"
        case ConnectionState.LOST:
            return f"is LOST{since}{f' ({said})' if said else ''}", f"postroom touchpoint connect {name}"
        case ConnectionState.BACKOFF | ConnectionState.CONNECTING:
            return f"has no connection{since}{f' ({said})' if said else ''}", f"postroom touchpoint test {name}"
        case ConnectionState.CONNECTED:
            return "is connected", f"postroom touchpoint show {name}"


def _deactivated(tx: Tx, tp: Touchpoint) -> str:
    row = tx.one(
        "SELECT actor, at FROM audit WHERE verb = 'touchpoint.deactivate' AND subject = :it ORDER BY id DESC LIMIT 1",
        {"it": tp.address},
    )
    return "" if row is None else f" since {day(row['at'])}, by {row['actor']}"


def first_line(text: str) -> str:
    """The first line of a reason; a traceback has more."""
    return text.strip().split("\n", 1)[0].rstrip(".: ")


def at_or_now(at: float, detail: MailDetail) -> str:
    """A due time that may be over."""
    return f"at {day(at)}" if at > detail.row.accepted_at + 1 else "now"


def day(at: float) -> str:
    """A local time for people."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "at no time"
    except (ValueError, OverflowError, OSError):
        return "at an odd time"

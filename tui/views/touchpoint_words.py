"""What is said about a touchpoint: how it stands, what an error means and what helps, its mail, its servers, times.

Values in, lines out; nothing is asked here. Whatever a server said is shown as it said it, beside our own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from gateway.control import ResumeRow, ServerRow, TouchpointDetail, TouchpointRow
from tui.frame import age, clock, moment
from tui.lines import Line, Piece, fit, folded, line

KeyOf = Callable[[str], str]
"""The key of an act by its id, as the person set it."""

STATES = {
    "connected": ("+ connected", "good"),
    "connecting": ("~ connecting", ""),
    "backoff": ("~ backoff", "warn"),
    "lost": ("x LOST", "bad"),
    "new": ("o new", ""),
}
_SHORT = {"certificate": "cert", "blocked-access": "blocked", "disk-full": "disk full"}
DIRECTIONS = {
    "inbound": ("in", "customers begin, we answer"),
    "outbound": ("out", "we begin, customers answer"),
    "both": ("both", "customers begin, and so do we"),
}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What a cause means, what helps, and the act that does."""

    means: str
    helps: str
    act: str = ""


CAUSES = {
    "network": Trouble(
        means="the server cannot be reached",
        helps="it is tried again by itself; look at the server's name, its port and the way to it",
        act="touchpoint.servers",
    ),
    "timeout": Trouble(
        means="the server did not answer in time",
        helps="it is tried again by itself; look at the provider's status page and at firewalls",
        act="touchpoint.servers",
    ),
    "certificate": Trouble(
        means="the server's certificate does not verify, so nothing was sent to it",
        helps="correct the server's name, or name the file of the authority that signed it",
        act="touchpoint.servers",
    ),
    "throttled": Trouble(
        means="the provider asks for a pause",
        helps="it goes on by itself; fewer other programs at this mailbox help",
    ),
    "provider": Trouble(
        means="the server failed, or broke the protocol",
        helps="it is tried again by itself; if it lasts, show its words to the provider",
    ),
    "disk-full": Trouble(
        means="there is no room on the disk of this host",
        helps="make room; it goes on by itself",
    ),
    "credential": Trouble(
        means="the login was refused",
        helps="the password was changed or withdrawn; sign in with one that is right",
        act="touchpoint.reauthenticate",
    ),
    "blocked-access": Trouble(
        means="the login is right, and yet the server lets nobody in with it",
        helps="switch IMAP and SMTP on at the provider, or unlock the account, then connect again",
        act="touchpoint.connect",
    ),
    "renumbered": Trouble(
        means="how far a folder was read cannot be told any more, so it stopped: nothing is skipped or taken twice",
        helps="a newer Postroom wrote where it was; run that one, and connect again",
        act="touchpoint.connect",
    ),
}
"""Every ``Cause`` of the daemon."""
_DOES = {
    "touchpoint.connect": "connects again",
    "touchpoint.reauthenticate": "signs in anew",
    "touchpoint.servers": "says where it is",
}


def trouble_of(cause: str) -> Trouble:
    """What a cause means; one that this version does not know says itself."""
    return CAUSES.get(cause) or Trouble(means=cause, helps="")


def state_of(row: TouchpointRow) -> Piece:
    """Where it stands: a mark and a word, and the style that says the same."""
    words, style = STATES.get(row.state, (f"? {row.state}", ""))
    return f"{words} {_SHORT.get(row.cause, row.cause)}".rstrip(), style


def state_words(row: TouchpointRow) -> Piece:
    """The state alone."""
    return STATES.get(row.state, (f"? {row.state}", ""))


def direction_of(row: TouchpointRow) -> str:
    """Its direction in one short word."""
    return DIRECTIONS.get(row.direction, (row.direction, ""))[0]


def searched(row: TouchpointRow) -> str:
    """The text that a filter looks into."""
    words = f"{row.address} {row.name} {row.direction} {row.state} {state_of(row)[0]} {row.cause}"
    return f"{words} {'active' if row.active else 'inactive off'} {' '.join(row.ring_groups)}".casefold()


# -- Its mail ------------------------------------------------------------------------------------------------------

MAIL = (
    ("parked", "kept until it is connected and active", "4 Outbox"),
    ("waiting_out", "on the way out", "4 Outbox"),
    ("held", "held for a person", "5 Held"),
    ("unknown", "perhaps sent: the answer got lost", "5 Held"),
    ("failed", "given up, the sender was told", "5 Held"),
    ("waiting_in", "taken in, not decided yet", "W why"),
    ("pending", "on the server, could not be fetched yet", "W why"),
    ("queued", "open in queues", "3 Queues"),
)
"""Counts of a row, what they mean, and where that mail is worked."""
_KEPT = ("parked", "waiting_out", "waiting_in", "pending")


def kept_of(row: TouchpointRow) -> int:
    """Mail that waits for the connection or for its turn."""
    return sum(int(getattr(row, name)) for name in _KEPT)


def mail_words(row: TouchpointRow) -> str:
    """Its mail in one line."""
    counts = (
        (kept_of(row), "kept, 0 lost" if row.state in ("lost", "backoff") else "waiting"),
        (row.held, "held"),
        (row.unknown, "unknown"),
        (row.failed, "failed"),
        (row.queued, "open in queues"),
    )
    return " · ".join(f"{number:,} {words}" for number, words in counts if number) or "no mail waits"


def given_up(row: TouchpointRow) -> str:
    """What a deletion does with its mail, counted; "" where it has none."""
    waiting = row.parked + row.waiting_out + row.waiting_in
    lost = [f"{mails(waiting)} that wait{'s' if waiting == 1 else ''}"] if waiting else []
    lost += [f"{row.held:,} held" if waiting else f"{mails(row.held)} held"] if row.held else []
    told = [f"gives up {' and '.join(lost)}"] if lost else []
    told += [f"closes {mails(row.queued)} in queues"] if row.queued else []
    told += [f"leaves {mails(row.pending)} unread on the server"] if row.pending else []
    return ", ".join(told)


def mails(number: int) -> str:
    """A number of mails."""
    return f"{number:,} mail{'s' if number != 1 else ''}"


# -- Times and servers ---------------------------------------------------------------------------------------------


def when(at: float, now: float) -> str:
    """A time of the day, with its date where that is not today's."""
    day = moment(at)
    return clock(at) if day[:10] == moment(now)[:10] else day[:16]


def ago(at: float, now: float) -> str:
    """A time, and how long ago that is."""
    return f"{when(at, now)} ({age(now - at)} ago)" if at else "never"


def server_words(server: ServerRow | None) -> str:
    """A server for people."""
    return f"{server.host}:{server.port} {server.security}" if server is not None else "-"


def server_text(server: ServerRow | None) -> str:
    """A server as it is typed."""
    return f"{server.host}:{server.port}:{server.security}" if server is not None and server.host else ""


# -- Lines ---------------------------------------------------------------------------------------------------------

LABEL = 13


def fact(label: str, text: str, width: int, style: str = "", *, hint: str = "") -> Iterator[Line]:
    """A labelled fact; what does not fit goes on below it, and the hint stands at the right where there is room."""
    room = width - LABEL - 3
    hint = hint if len(hint) <= room // 3 else ""
    for number, part in enumerate(folded(text, room - (len(hint) + 2 if hint else 0)) or [""]):
        made = line(f"  {'' if number else label:{LABEL}}", (part, style))
        if hint and not number:
            made = line(made[0], (fit(part, room - len(hint)), style), (hint, "dim"))
        yield made


def trouble_lines(row: TouchpointRow, key: KeyOf, width: int) -> Iterator[Line]:
    """What is wrong, in words and as the server said it, and what helps."""
    if row.cause:
        trouble = trouble_of(row.cause)
        yield from fact("it means", trouble.means, width, "warn")
        if trouble.helps:
            words = f"{trouble.helps} ({key(trouble.act)})" if key(trouble.act) else trouble.helps
            yield from fact("what helps", words, width, "strong")
    if row.reason:
        yield from fact("it said", row.reason, width, hint=f"{key('ui.copy')} copies")
    if row.state == "new":
        yield from fact("what helps", f"{key('touchpoint.connect')} connects it", width, "strong")


def preview(row: TouchpointRow, key: KeyOf, now: float, width: int) -> Sequence[Line]:
    """Four lines: which one, how it stands, what was said, its mail."""
    words, style = state_words(row)
    head = f'── {row.address} "{row.name}" · {row.direction} '
    told = f"{words} since {ago(row.state_since, now)}"
    said = row.reason
    helps = ""
    if row.cause:
        trouble = trouble_of(row.cause)
        told += f": {trouble.means}"
        helps = f" · {key(trouble.act)} {_DOES[trouble.act]}" if key(trouble.act) else ""
    elif row.state == "new":
        told, said = f"{words}: never connected", f"{key('touchpoint.connect')} connects it"
    elif row.polled_at:
        said = f"read to the end {ago(row.polled_at, now)}"
    return [
        line((head + "─" * max(0, width - cell_len(head)), "dim")),
        line((f" {told}", style)),
        line(f" {said}"),
        line((f" {mail_words(row)}", "warn" if row.held or row.unknown or row.failed else ""), (helps, "strong")),
    ]


def page(row: TouchpointRow, detail: TouchpointDetail | None, key: KeyOf, now: float, width: int) -> Sequence[Line]:
    """The whole page, the worst first."""
    out: list[Line] = []

    def section(title: str, hint: str = "") -> None:
        out.append(line((f" {title}", "title"), (f"   {hint}", "dim")))

    section("STATUS")
    words, style = state_words(row)
    out.extend(fact("state", f"{words}, since {ago(row.state_since, now)}", width, style))
    out.extend(trouble_lines(row, key, width))
    for each in detail.resumes if detail else ():
        out.extend(_renumbered(each, key, now, width))
    since = f", since {ago(detail.activated_at, now)}" if detail and detail.activated_at and row.active else ""
    was = f", was last switched on {ago(detail.activated_at, now)}" if detail and detail.activated_at else ""
    active = f"yes{since}" if row.active else f"no: no mail moves{was}"
    switch = f"{key('touchpoint.switch')}: {'off' if row.active else 'on'}"
    out.extend(fact("active", active, width, "" if row.active else "warn", hint=switch))
    section("MAIL")
    for name, meaning, where in MAIL:
        if number := int(getattr(row, name)):
            out.extend(fact(f"{number:,}", meaning, width, hint=where))
    if not any(getattr(row, name) for name, _, _ in MAIL):
        out.extend(fact("0", "nothing waits, is held or is open", width))
    _connection(out, section, row, detail, key, now, width)
    section("USE")
    _use(out, row, detail, key, width)
    return out


def _renumbered(each: ResumeRow, key: KeyOf, now: float, width: int) -> Iterator[Line]:
    """What was found in a folder that has new numbers, and whether somebody has to say what is taken."""
    found = f"known {each.known:,}, left alone {each.left_alone:,}, unseen {each.unseen:,}"
    if each.resumed_at or each.choice:
        chosen = f"; {each.chosen_by} said: {each.choice}" if each.choice else ""
        words = f"{each.folder}: {found}{chosen}, {ago(each.resumed_at or each.asked_at, now)}"
        return fact("new numbers", words, width)
    words = f"{each.folder}: {found}, {each.old:,} of these are old: take them? Nothing is taken until then"
    return fact("new numbers", words, width, "warn", hint=key("touchpoint.resume"))


def _connection(
    out: list[Line],
    section: Callable[[str, str], None],
    row: TouchpointRow,
    detail: TouchpointDetail | None,
    key: KeyOf,
    now: float,
    width: int,
) -> None:
    verbs = (("connect", "connect"), ("reauthenticate", "sign in anew"), ("test", "test"), ("servers", "servers"))
    section("CONNECTION", " · ".join(f"{key(f'touchpoint.{name}')} {words}" for name, words in verbs))
    if detail is not None:
        password = "password kept" if detail.has_password else "no password yet"
        out.extend(fact("provider", f"{detail.preset} ({detail.connector})", width))
        out.extend(fact("login", f"{detail.user or '-'}, {password}", width))
        out.extend(fact("receives", server_words(detail.imap), width))
        out.extend(fact("sends", server_words(detail.smtp), width))
        if detail.ca_file:
            out.extend(fact("CA file", detail.ca_file, width))
        folders = f"Junk: {detail.junk_folder or 'by its mark'} · copy in Sent: {detail.sent_copy}"
        out.extend(fact("folders", f"{folders} · on the server: {detail.mark or 'nothing is changed'}", width))
    out.extend(fact("signed in", ago(row.signed_in_at, now), width))
    out.extend(fact("last read", ago(row.polled_at, now), width))


def _use(out: list[Line], row: TouchpointRow, detail: TouchpointDetail | None, key: KeyOf, width: int) -> None:
    def add(label: str, text: str, act: str) -> None:
        out.extend(fact(label, text, width, hint=key(f"touchpoint.{act}")))

    add("direction", f"{row.direction}: {DIRECTIONS.get(row.direction, ('', '?'))[1]}", "direction")
    add("ring groups", ", ".join(row.ring_groups) or "none: its mail is in no queue", "queues")
    add("auto-reply", "on" if row.auto_reply else "off", "auto_reply")
    add("signature", "on" if row.signature else "off", "signature")
    if detail is None:
        return
    add("aliases", ", ".join(detail.aliases) or "none", "edit")
    add("blocked", f"{detail.blocked:,} senders or domains", "blocklist")
    signs = "; the mail of every one of them is signed" if detail.signs_relayed else ""
    out.extend(fact("relay users", (", ".join(detail.relay_users) or "none may write as it") + signs, width))
    add("no answer", f"to a mail that was handed over: {detail.unknown_outcome}", "servers")
    out.extend(fact("number", f"id {row.id}, version {row.version}", width))

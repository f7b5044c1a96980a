"""A post room with mail in it: lists, filters and changes mail as the daemon does, without a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.control import (
    AttemptRow,
    Block,
    BlockRow,
    Call,
    Chunk,
    CloseMail,
    ConfirmMail,
    Done,
    DropMail,
    Event,
    HeaderRow,
    HoldMail,
    ListAudit,
    ListBlocklist,
    ListMail,
    ListRingGroups,
    MailDetail,
    MailRow,
    MailText,
    MoveMail,
    Page,
    PartRow,
    ReadContent,
    ReadText,
    RecipientRow,
    ReleaseMail,
    ReopenMail,
    RetryMail,
    RingGroupRow,
    Role,
    ShowMail,
    Step,
    Unblock,
    Walk,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, mail, served, short
from tests.tui.screen import Terminal, terminal

OPEN = ("waiting", "parked", "active", "held", "unknown", "failed")


def ring_group(number: int, name: str, **more: Any) -> RingGroupRow:
    """A ring group."""
    values: dict[str, Any] = {"id": number, "name": name, "touchpoints": (), "open": 0, "oldest_at": 0.0}
    return RingGroupRow(**(values | more))


def outgoing(number: int, to: str = "buyer@shop.example", **more: Any) -> MailRow:
    """A mail that waits to go out."""
    values: dict[str, Any] = {
        "direction": "out", "origin": "relay", "state": "waiting", "author": "support@acme.example",
        "recipients": (to,), "queues": (), "reason": "", "due_at": NOW + 300, "attempts": 2, "settled_at": 0.0,
    }  # fmt: skip
    return mail(number, f"Quote {number}", **(values | more))


def held(number: int, cause: str = "blocked", **more: Any) -> MailRow:
    """A mail that is held."""
    reason = f"sender buyer{number}@shop.example is on the blocklist: @shop.example"
    values: dict[str, Any] = {"state": "held", "cause": cause, "reason": reason, "queues": (), "settled_at": 0.0}
    return mail(number, f"Offer {number}", **(values | more))


def detail(row: MailRow, **more: Any) -> MailDetail:
    """Everything about it."""
    steps = (Step(stage="ingest", action="pass", reason="a person's mail"),)
    if row.state == "held":
        steps += (Step(stage="blocklist", action="hold", reason=row.reason),)
    elif row.direction == "in":
        steps += (Step(stage="ring_group", action="pass", reason="assigned to 1 ring group"),)
    values: dict[str, Any] = {
        "row": row, "envelope_sender": row.author, "released_by": "", "held_by": "", "conversation_id": 7,
        "config_version": 3, "planned_seconds": 0.0, "rewritten": False, "notice_for": 0,
        "walks": (Walk(at=NOW - 3600, config_version=3, steps=steps),),
        "recipients": tuple(RecipientRow(address=each, state="waiting", code=0, text="", at=0.0)
                            for each in row.recipients),
        "attempts": (), "ledger": (), "related": (),
    }  # fmt: skip
    return MailDetail(**(values | more))


def attempt(ago: float = 600, **more: Any) -> AttemptRow:
    """A try that was put off by the server."""
    values: dict[str, Any] = {
        "started_at": NOW - ago, "ended_at": NOW - ago + 1, "phase": "done", "outcome": "retry", "code": 421,
        "text": "4.7.0 try again later", "server": "smtp.acme.example:465",
    }  # fmt: skip
    return AttemptRow(**(values | more))


def letter(number: int, text: str = "Hello,\n\nI paid on the 3rd.\n\n> quoted words\n", **more: Any) -> MailText:
    """A mail as people read it."""
    values: dict[str, Any] = {
        "id": number, "text": text, "source": "plain", "cut": False,
        "headers": (HeaderRow(name="From", value=f"The buyer <buyer{number}@shop.example>"),
                    HeaderRow(name="To", value="support@acme.example"),
                    HeaderRow(name="Subject", value="Re: invoice 4711 overdue"),
                    HeaderRow(name="X-Spam-Score", value="0.1")),
        "parts": (PartRow(name="payment.pdf", type="application/pdf", size=84_000),),
    }  # fmt: skip
    return MailText(**(values | more))


class MailDesk:
    """Mail by number, and what people do to it."""

    def __init__(self, mails: Iterable[MailRow] = (), groups: Iterable[RingGroupRow] = ()) -> None:
        self.mails = {row.id: row for row in mails}
        self.groups = tuple(groups)
        self.blocked: set[tuple[str, str]] = set()
        self.content = b"Subject: hello\r\n\r\nbody\r\n"
        self.refuses: set[int] = set()
        """Numbers of mails to which nothing can be done."""

    def canned(self, more: dict[type[Call[Any]], Any] | None = None, **options: Any) -> Canned:
        """The desk with these mails; ``more`` goes first."""
        answers: dict[type[Call[Any]], Any] = {
            ListMail: self.search,
            ListRingGroups: lambda call: Page(rows=self.groups),
            ListAudit: Page(rows=()),
            ListBlocklist: self.blocklist,
            ShowMail: lambda call: detail(self._row(call.id)),
            ReadText: lambda call: letter(call.id),
            ReadContent: lambda call: Chunk(
                data=self.content[call.offset : call.offset + call.length], size=len(self.content)
            ),
            CloseMail: lambda call: self.put(call.id, state="closed"),
            ReopenMail: lambda call: self.put(call.id, state="queued"),
            MoveMail: lambda call: self.put(call.id, queues=call.ring_groups),
            RetryMail: lambda call: self.put(call.id, state="waiting", due_at=NOW),
            ConfirmMail: lambda call: self.put(call.id, state="delivered", cause=""),
            HoldMail: lambda call: self.put(call.id, state="held", cause="by-person", reason=call.reason),
            ReleaseMail: lambda call: self.put(call.id, state="waiting", cause="", due_at=NOW),
            DropMail: lambda call: self.put(call.id, state="dropped"),
            Block: self.block,
            Unblock: self.unblock,
        }  # fmt: skip
        return Canned({**answers, **(more or {})}, **options)

    def _row(self, number: int) -> MailRow:
        if number not in self.mails:
            raise Refused(f"there is no mail {number}; see: postroom spool list")
        return self.mails[number]

    def put(self, number: int, **values: Any) -> MailRow:
        """A mail is another one from now on."""
        row = self._row(number)
        if number in self.refuses:
            raise Refused(f"mail {number} is {row.state} ({row.direction})")
        self.mails[number] = replace(row, **values)
        return self.mails[number]

    def changed(self, canned: Canned, number: int, **values: Any) -> None:
        """The same, and everybody is told."""
        canned.tell(Event(what="mail.changed", mail=self.put(number, **values)))

    def search(self, asked: ListMail) -> Page[MailRow]:
        """As the daemon lists."""
        found = [row for _, row in sorted(self.mails.items(), reverse=True) if self._meets(row, asked)]
        found = [row for row in found if not asked.after or row.id < asked.after]
        rows = tuple(found[: asked.limit])
        return Page(rows=rows, next=rows[-1].id if len(found) > len(rows) else 0)

    @staticmethod
    def _meets(row: MailRow, asked: ListMail) -> bool:
        states = {
            "": (row.state,), "all": (row.state,), "open": ("queued",), "queued": ("queued", "closed"),
            "unsettled": OPEN,
        }.get(asked.state, (asked.state,))  # fmt: skip
        domain = asked.author.startswith("@")
        return (
            row.state in states
            and asked.direction in ("", row.direction)
            and asked.touchpoint in ("", row.touchpoint, str(row.touchpoint_id))
            and (not asked.ring_group or asked.ring_group in row.queues)
            and (not asked.unassigned or not row.queues)
            and asked.cause in ("", row.cause)
            and (row.author.endswith(asked.author) if domain else asked.author in ("", row.author))
            and all(word.casefold() in row.subject.casefold() for word in asked.subject.split())
        )

    def blocklist(self, asked: ListBlocklist) -> Page[BlockRow]:
        """Who is on it."""
        rows = [
            BlockRow(id=1, touchpoint=at, pattern=pattern, note="", added_by="ops", added_at=NOW)
            for at, pattern in self.blocked
            if at == asked.touchpoint and asked.text in pattern
        ]
        return Page(rows=tuple(rows))

    def block(self, call: Block) -> Done:
        """On the list."""
        self.blocked.add((call.touchpoint, call.pattern))
        return Done(words=f"{call.pattern} is blocked")

    def unblock(self, call: Unblock) -> Done:
        """Off the list."""
        self.blocked.remove((call.touchpoint, call.pattern))
        return Done(words=f"{call.pattern} is not blocked")


AGENT = frozenset({Role.AGENT})
Answers = dict[type[Call[Any]], Any]


@asynccontextmanager
async def at(
    desk: MailDesk, tmp_path: Path, screen: str, more: Answers | None = None, *,
    roles: frozenset[Role] = frozenset({Role.ADMIN}), size: tuple[int, int] = (80, 24),
) -> AsyncIterator[tuple[Terminal, Canned]]:  # fmt: skip
    """A terminal at one of the screens, loaded."""
    canned = desk.canned(more, roles=roles)
    async with served(canned, short(tmp_path)) as path, terminal(path, screen=screen, size=size) as shown:
        await shown.quiet()
        yield shown, canned

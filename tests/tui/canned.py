"""A daemon that says what a test wants it to say, on a real socket with the real server and the real codec.

``Canned`` is the desk behind it: answers by type of call, each a value or a function of the call, which may take its
time; every call that was made is written down. Rows are made by the small builders, with values that a post room could
have.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from typing import Any

from gateway.control import (
    Batch,
    Call,
    Event,
    GetStages,
    GetStatus,
    ListTouchpoints,
    MailRow,
    Me,
    NeedRow,
    Page,
    PresetRow,
    Role,
    ServerRow,
    StageRow,
    Stages,
    Status,
    TouchpointDetail,
    TouchpointRow,
    Watch,
    WhoAmI,
)
from gateway.events import Events, Heard, HouseFact, HouseWhat
from gateway.server import Caller, ControlServer, listen
from pipeline.errors import Refused

NOW = 1_795_442_531.0
"""2026-11-23 14:02:11 UTC."""
HOST = "gw01.post.example"


def touchpoint(number: int = 1, address: str = "support@acme.example", **more: Any) -> TouchpointRow:
    """A touchpoint that is well."""
    values: dict[str, Any] = {
        "id": number, "address": address, "name": "Support", "version": 1, "direction": "both", "active": True,
        "state": "connected", "cause": "", "reason": "", "state_since": NOW - 3600, "signed_in_at": NOW - 86_400,
        "polled_at": NOW - 8, "ring_groups": ("Front office",), "auto_reply": False, "signature": False, "queued": 0,
        "waiting_in": 0, "waiting_out": 0, "parked": 0, "held": 0, "unknown": 0, "failed": 0, "pending": 0,
    }  # fmt: skip
    return TouchpointRow(**(values | more))


def touchpoint_page(row: TouchpointRow, **more: Any) -> TouchpointDetail:
    """The page of a touchpoint at servers of its own."""
    values: dict[str, Any] = {
        "row": row, "aliases": (), "connector": "imap_smtp", "preset": "custom", "user": row.address,
        "imap": ServerRow(host="imap.acme.example", port=993, security="tls"),
        "smtp": ServerRow(host="smtp.acme.example", port=587, security="starttls"),
        "ca_file": "", "sent_copy": "none", "junk_folder": "", "mark": "", "signs_relayed": False, "blocked": 0,
        "relay_users": (), "activated_at": NOW - 86_400, "has_password": True,
    }  # fmt: skip
    return TouchpointDetail(**(values | more))


PRESETS = (
    PresetRow(name="custom", title="any IMAP and SMTP server", imap=None, smtp=None, password="that of the mailbox"),
    PresetRow(
        name="yahoo", title="Yahoo Mail", imap=ServerRow(host="imap.mail.yahoo.com", port=993, security="tls"),
        smtp=ServerRow(host="smtp.mail.yahoo.com", port=465, security="tls"), password="an app password",
    ),
)  # fmt: skip


def mail(number: int = 1, subject: str = "Re: invoice 4711 overdue", **more: Any) -> MailRow:
    """A mail in a queue."""
    values: dict[str, Any] = {
        "id": number, "touchpoint_id": 1, "touchpoint": "support@acme.example", "direction": "in", "origin": "fetched",
        "state": "queued", "cause": "", "reason": "queued for Front office", "kind": "", "mark": "",
        "author": f"buyer{number}@shop.example", "recipients": ("support@acme.example",), "recipient_count": 1,
        "subject": subject, "message_id": f"<m{number}@shop.example>", "size": 4_711,
        "received_at": NOW - 60 * number, "accepted_at": NOW - 60 * number + 1, "settled_at": NOW - 60 * number + 1,
        "due_at": 0.0, "attempts": 0, "queues": ("Front office",),
    }  # fmt: skip
    return MailRow(**(values | more))


ACCOUNT = {
    "taken": 41_882, "queued": 41_806, "stopped": 70, "held_in": 6, "waiting_in": 0, "dropped_in": 0,
    "accepted": 22_266, "delivered": 22_190, "waiting_out": 43, "parked": 31, "unknown": 0, "held_out": 0, "failed": 2,
    "dropped_out": 0, "auto_replied": 1_204, "lost": 0,
}  # fmt: skip


def status(touchpoints: tuple[TouchpointRow, ...] = (), **more: Any) -> Status:
    """A house with these touchpoints."""
    values: dict[str, Any] = {
        "hostname": HOST, "version": "0.1.0", "started_at": NOW - 86_400, "now": NOW, "account": ACCOUNT,
        "touchpoints": touchpoints, "touchpoint_count": len(touchpoints), "needs_you": (),
    }  # fmt: skip
    return Status(**(values | more))


def need(kind: str = "held", **more: Any) -> NeedRow:
    """Something that waits for a person."""
    values: dict[str, Any] = {
        "kind": kind, "touchpoint": "", "count": 6, "since": NOW - 7200, "words": "6 mail held",
        "command": "postroom spool list --state held",
    }  # fmt: skip
    return NeedRow(**(values | more))


def stage(name: str, **more: Any) -> StageRow:
    """A station with a little to do."""
    values: dict[str, Any] = {
        "name": name, "rate": 7.6, "p50": 0.008, "p95": 0.01, "p99": 0.02, "waiting": 0, "errors_hour": 0,
        "total": 41_882, "minutes": tuple((n * 7) % 11 for n in range(60)),
    }  # fmt: skip
    return StageRow(**(values | more))


def stages(*rows: StageRow) -> Stages:
    """Stations with their rates."""
    return Stages(now=NOW, rate_in=7.6, rate_out=4.1, rows=rows)


class Canned:
    """The desk: answers what it was told to answer."""

    def __init__(
        self, answers: Mapping[type[Call[Any]], Any] | None = None, *, roles: frozenset[Role] = frozenset({Role.ADMIN})
    ) -> None:
        self.events = Events("boot")
        self.answers: dict[type[Call[Any]], Any] = {
            WhoAmI: Me(name="ops", uid=1000, roles=tuple(sorted(roles)), hostname=HOST, version="0.1.0"),
            GetStatus: status(),
            GetStages: stages(),
            **(answers or {}),
        }
        self.answers.setdefault(ListTouchpoints, lambda call: Page(rows=self.status_now().touchpoints))
        self.made: list[Call[Any]] = []
        self.roles = roles
        self._next: list[Event] = []
        self.server = ControlServer(self, self.events, {})

    def status_now(self) -> Status:
        """The status as it is."""
        made: Status = self.answers[GetStatus]
        return made

    def asked(self, kind: type[Call[Any]]) -> list[Any]:
        """The calls of a type that were made."""
        return [call for call in self.made if type(call) is kind]

    def tell(self, *events: Event) -> None:
        """Let every guest know of these."""
        self._next += events
        self.events.publish(HouseFact(HouseWhat.NOTICE, ""))

    async def answer(self, call: Call[Any], caller: Caller) -> Any:
        """As told; a call that nobody foresaw is refused by name."""
        self.made.append(call)
        if (answer := self.answers.get(type(call))) is None:
            raise Refused(f"the test did not foresee {type(call).__name__}")
        made = answer(call) if callable(answer) else answer
        if isawaitable(made):
            made = await made
        if isinstance(made, Exception):
            raise made
        return made

    async def status(self, caller: Caller) -> Status:
        """The snapshot."""
        self.made.append(Watch())
        return self.status_now()

    async def batch(self, heard: Heard, caller: Caller) -> Batch:
        """What ``tell`` was told."""
        events, self._next = tuple(self._next), []
        return Batch(
            boot="boot", number=heard.number, events=events, gap=heard.gap, account=self.status_now().account,
            needs_you=self.status_now().needs_you,
        )  # fmt: skip

    def change(self, row: TouchpointRow, what: str = "touchpoint.changed") -> None:
        """A touchpoint is another one from now on, and everybody is told."""
        now = self.status_now()
        rows = tuple(row if each.id == row.id else each for each in now.touchpoints)
        self.answers[GetStatus] = replace(now, touchpoints=rows)
        self.tell(Event(what=what, touchpoint=row))


@asynccontextmanager
async def served(canned: Canned, path: Path) -> AsyncIterator[Path]:
    """The canned daemon at a socket."""
    await canned.server.start(listen(path, ""))
    try:
        yield path
    finally:
        await canned.server.close(remove=path)


async def until(what: Callable[[], object], why: str, seconds: float = 10.0) -> None:
    """Wait for a fact; fails by itself."""
    try:
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not in {seconds:.0f} s: {why}") from None


def short(tmp_path: Path) -> Path:
    """A socket path that is short enough, in a folder of the test's own."""
    path = tmp_path / "c.sock"
    return path if len(os.fsencode(path)) < 100 else Path("/tmp") / f"postroom-{os.getpid()}-{id(tmp_path)}.sock"


@contextmanager
def threaded(make: Callable[[], Canned], path: Path) -> Iterator[Canned]:
    """A canned daemon in a thread of its own, for a terminal UI that is a process."""
    ready, over = threading.Event(), threading.Event()
    made: list[Canned] = []

    async def serve() -> None:
        made.append(make())
        async with served(made[0], path):
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10), "the canned daemon did not start"
    try:
        yield made[0]
    finally:
        over.set()
        thread.join(10)

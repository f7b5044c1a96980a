"""Small builders for tests: a mail, a touchpoint, an outcome, and a spool to put them into."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.headers import Headers
from pipeline.intake import DecidedPage, Taken
from pipeline.ledger import Item
from pipeline.line import Outcome
from pipeline.mail import OPENING, Direction, Envelope, Facts, Mail, RelayUser
from pipeline.retry import Schedule
from pipeline.spool import Spool
from pipeline.store.sqlite import SqliteStore
from pipeline.touchpoint import Touchpoint
from pipeline.verdict import Action, Send, Splice

OURS = "support@post.example"
NOW = 1_800_000_000.0


def a_content(number: int = 1, *, headers: Sequence[str] = (), body: bytes = b"Hello.\r\n") -> bytes:
    """A mail's bytes; every number has its own author and Message-ID."""
    lines = (
        f"From: Customer <customer{number}@example.org>",
        f"To: {OURS}",
        f"Subject: Question {number}",
        f"Message-ID: <{number}@example.org>",
        "Date: Mon, 04 Jan 2027 10:00:00 +0000",
        *headers,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def a_mail(
    number: int = 1,
    *,
    direction: Direction = Direction.IN,
    data: bytes | None = None,
    recipients: tuple[str, ...] = (),
    relay_user: RelayUser | None = None,
    seed: str = "",
) -> Mail:
    """A mail as a line gets it."""
    data = a_content(number) if data is None else data
    headers = Headers.scan(data)
    return Mail(
        direction=direction,
        envelope=Envelope(sender=headers.author, recipients=recipients),
        opening=data[:OPENING],
        headers=headers,
        size=len(data),
        received_at=NOW,
        seed=seed or f"seed/{number}",
        sha256=hashlib.sha256(data).digest(),
        relay_user=relay_user,
    )


def a_touchpoint(touchpoint_id: int = 1, **changes: Any) -> Touchpoint:
    """An active touchpoint."""
    values: dict[str, Any] = {"address": OURS, "name": "Support", "active": True, **changes}
    return Touchpoint(id=touchpoint_id, **values)


def an_outcome(
    mail: Mail,
    action: Action = Action.PASS,
    *,
    conversation: str = "",
    ring_groups: tuple[int, ...] = (),
    sends: tuple[Send, ...] = (),
    splices: tuple[Splice, ...] = (),
    version: int = 1,
    at: float = NOW,
    **changes: Any,
) -> Outcome:
    """What a line might have decided about ``mail``."""
    values: dict[str, Any] = {
        "facts": Facts(conversation=conversation or f"key-{mail.seed}"),
        "stage": "" if action is Action.PASS else "test",
        "reason": "" if action is Action.PASS else "because",
        **changes,
    }
    return Outcome(
        mail=mail,
        action=action,
        trail=(("test", action.value, "because"),),
        version=version,
        at=at,
        ring_groups=ring_groups,
        sends=sends,
        splices=splices,
        **values,
    )


def a_reply(mail: Mail, *, window: float = 7 * 86400.0) -> Send:
    """An auto-reply to ``mail``."""
    text = f"From: {OURS}\r\nTo: {mail.headers.author}\r\nSubject: Auto: {mail.headers.subject}\r\n\r\nThank you.\r\n"
    return Send(
        content=text.encode(),
        envelope_sender="",
        recipient=mail.headers.author,
        message_id=f"<auto-{mail.seed}@post.example>",
        remember=mail.headers.author,
        window=window,
    )


def taken(number: int, outcome: Outcome, data: bytes, *, touchpoint_id: int = 1, **changes: Any) -> Taken:
    """An item of a page with its outcome."""
    item = Item(touchpoint_id, "INBOX", 1, number, NOW, len(data))
    return Taken(item=item, outcome=outcome, data=data, **changes)


def a_page(items: Sequence[Taken], *, touchpoint: Touchpoint | None = None, cursor: str | None = None,
           settled: int = 0, at: float = NOW) -> DecidedPage:  # fmt: skip
    """A decided page of INBOX."""
    return DecidedPage(
        touchpoint=touchpoint or a_touchpoint(), folder="INBOX", epoch=1, items=items, at=at, cursor=cursor,
        settled=settled,
    )  # fmt: skip


@dataclass(slots=True)
class Clock:
    """Time as a test wants it."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Room:
    """An open store with a spool on it and one touchpoint, id 1, that has two ring groups, ids 1 and 2."""

    store: SqliteStore
    spool: Spool
    clock: Clock = field(default_factory=Clock)

    async def row(self, entry_id: int) -> dict[str, Any]:
        """An entry as it is stored."""
        found = await self.store.read(lambda tx: tx.one("SELECT * FROM entry WHERE id = :id", {"id": entry_id}))
        assert found is not None
        return dict(found)

    async def number(self, sql: str) -> Any:
        """The one value of a query."""
        row = await self.store.read(lambda tx: tx.one(sql))
        return None if row is None else next(iter(row.values()))

    async def content(self, entry_id: int) -> bytes:
        """The bytes of an entry as they go out."""
        return b"".join([chunk async for chunk in self.spool.chunks(entry_id)])

    async def take(self, number: int = 1, outcome: Outcome | None = None) -> int:
        """Accept one inbound mail; its entry's id."""
        outcome = outcome or an_outcome(a_mail(number))
        accepted = await self.spool.accept(a_page([taken(number, outcome, outcome.mail.opening)]))
        return accepted[0].entry_id

    async def relay(self, number: int = 1, recipients: tuple[str, ...] = ("a@example.org",), **changes: Any) -> int:
        """Submit one outbound mail; its entry's id."""
        mail = a_mail(number, direction=Direction.OUT, recipients=recipients)
        return await self.spool.submit(a_touchpoint(), an_outcome(mail, **changes), mail.opening, recipients)


async def furnish(store: SqliteStore) -> None:
    """Put touchpoint 1 and ring groups 1 and 2 into an empty store."""
    values = {"address": OURS}

    def work(tx: Any) -> None:
        tx.run(
            "INSERT INTO touchpoint (address, address_key, name, active) VALUES (:address, :address, 'Support', 1)",
            values,
        )
        tx.many("INSERT INTO ring_group (name) VALUES (:name)", [{"name": "first"}, {"name": "second"}])

    await store.write(work)


def a_folder() -> Path:
    """A new folder, in memory where the system has one there: a test of rules need not wait for disks."""
    return Path(tempfile.mkdtemp(prefix="postroom-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


@asynccontextmanager
async def a_room(schedule: Schedule = Schedule()) -> AsyncIterator[Room]:  # noqa: B008
    """A furnished store in a folder of its own, gone at the end."""
    folder = a_folder()
    store = await SqliteStore.open(folder / "postroom.db")
    clock = Clock()
    try:
        await furnish(store)
        yield Room(store, Spool(store, clock, schedule), clock)
    finally:
        await store.close()
        shutil.rmtree(folder)

"""A house for the daemon's inner tasks: a real store and spool, a clock that stands still, and a provider on a script.

``Mailbox`` stands for the provider's way in and ``Outlet`` for its way out; a test writes down what they do wrong and
reads what was asked of them. Nothing here opens a socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
import tenacity

from gateway import settings
from gateway.connectors import (
    ContentWriter,
    Everything,
    Fetched,
    Folder,
    FolderRole,
    Identity,
    Missing,
    Outcome,
    Outgoing,
    Page,
    RecipientResult,
    Ref,
    SendResult,
)
from gateway.events import Events, Fact, HouseFact, MailFact, TouchpointFact
from gateway.flight import Flight
from gateway.metrics import Metrics
from gateway.post import Post
from gateway.services import Budget, Services
from pipeline import directory, touchpoints
from pipeline.errors import NetworkFault, StoreFull
from pipeline.lifecycle import ConnectionState
from pipeline.line import Line
from pipeline.mail import OPENING, Mail
from pipeline.retry import Schedule
from pipeline.spool import Spool
from pipeline.stage import Context, Stage
from pipeline.store import Row, Store, Tx
from pipeline.store.sqlite import SqliteStore
from pipeline.touchpoint import Connection, Server, Touchpoint
from pipeline.verdict import Verdict, passed
from tests.unit.making import NOW, Clock, Room, a_content, a_folder, furnish

T = TypeVar("T")
HOST = "post.example"
BOTH = Connection(
    user="support",
    imap=Server(host="imap.example.org", port=993),
    smtp=Server(host="smtp.example.org", port=465),
)
INBOX = Folder(name="INBOX", role=FolderRole.INBOX)
JUNK = Folder(name="Junk", role=FolderRole.JUNK)


@dataclass
class Letter:
    """One item as it lies at the provider; ``size`` is what the provider says."""

    data: bytes
    at: float = NOW
    size: int = 0

    def __post_init__(self) -> None:
        self.size = self.size or len(self.data)


@dataclass
class Shelf:
    """One folder at the provider."""

    role: FolderRole = FolderRole.INBOX
    epoch: int = 1
    letters: dict[int, Letter] = field(default_factory=dict)


class Mailbox:
    """A provider's way in, as the test wants it."""

    def __init__(self) -> None:
        self.shelves = {"INBOX": Shelf()}
        self.identity = Identity(server="imap.example.org", principal="support")
        self.opened = 0
        self.open: set[int] = set()
        """The connections that are open now."""
        self.asked: list[list[int]] = []
        """The uids of each fetch."""
        self.refuses: list[BaseException] = []
        """What the next sign-ins fail with, one each; the last one stays if ``stubborn``."""
        self.stubborn = False
        self.drops: set[int] = set()
        """Uids at which the connection breaks."""
        self.unwilling: dict[int, str] = {}
        """Uids that the server does not give out, and its words."""
        self.marks: list[tuple[int, str]] = []
        self.mark_faults: list[Exception | None] = []
        self.copies: list[tuple[str, bytes]] = []
        self.copy_faults: list[Exception | None] = []
        self.on_fetch: Callable[[list[int]], Awaitable[None]] | None = None
        self.listing = 1000
        self.rounds = 0
        self.hint = asyncio.Event()

    def put(self, *numbers: int, folder: str = "INBOX", **changes: Any) -> None:
        """A letter for each number, which is its uid too."""
        for number in numbers:
            self.shelves[folder].letters[number] = Letter(**{"data": a_content(number), **changes})
        self.hint.set()


@dataclass
class Session:
    """One connection to a ``Mailbox``; implements ``Receiving``."""

    box: Mailbox

    async def open(self) -> Identity:
        self.box.opened += 1
        if self.box.refuses:
            raise self.box.refuses[0] if self.box.stubborn else self.box.refuses.pop(0)
        self.box.open.add(id(self))
        return self.box.identity

    async def folders(self) -> list[Folder]:
        return [Folder(name=name, role=shelf.role) for name, shelf in self.box.shelves.items()]

    async def baseline(self, folder: Folder) -> tuple[str, int]:
        last = max(self.box.shelves[folder.name].letters, default=0)
        return str(last), last

    async def changes(self, folder: Folder, cursor: str, limit: int = 1000) -> Page:
        self.box.rounds += 1
        shelf = self.box.shelves[folder.name]
        limit = min(limit, self.box.listing)
        beyond = sorted(uid for uid in shelf.letters if uid > int(cursor or 0))
        refs = tuple(
            Ref(folder.name, shelf.epoch, uid, shelf.letters[uid].at, shelf.letters[uid].size, str(uid))
            for uid in beyond[:limit]
        )
        return Page(refs=refs, cursor=refs[-1].cursor if refs else cursor, more=len(beyond) > limit)

    async def heads(self, refs: Sequence[Ref]) -> AsyncIterator[tuple[int, bytes]]:
        for ref in refs:
            if (letter := self.box.shelves[ref.folder].letters.get(ref.remote_id)) is not None:
                yield ref.remote_id, letter.data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    async def fetch(self, refs: Sequence[Ref], writer: Callable[[], ContentWriter]) -> AsyncIterator[Fetched | Missing]:
        self.box.asked.append([ref.remote_id for ref in refs])
        if self.box.on_fetch is not None:
            await self.box.on_fetch([ref.remote_id for ref in refs])
        for ref in refs:
            if ref.remote_id in self.box.drops:
                raise NetworkFault("the server hung up")
            letter = self.box.shelves[ref.folder].letters.get(ref.remote_id)
            if letter is None:
                yield Missing(ref=ref, gone=True)
            elif ref.remote_id in self.box.unwilling:
                yield Missing(ref=ref, gone=False, error=self.box.unwilling[ref.remote_id])
            else:
                yield await _fetched(ref, letter.data, writer)

    async def present(self, folder: Folder, remote_ids: Sequence[int]) -> set[int]:
        return set(remote_ids) & self.box.shelves[folder.name].letters.keys()

    async def everything(self, folder: Folder, since: float = 0.0) -> Everything:
        shelf = self.box.shelves[folder.name]
        uids = sorted(uid for uid, letter in shelf.letters.items() if letter.at >= since)
        return Everything(epoch=shelf.epoch, next_id=max(shelf.letters, default=0) + 1, remote_ids=array("Q", uids))

    async def every_folder(self) -> list[Folder]:
        return await self.folders()

    async def find(
        self,
        folder: Folder,
        *,
        message_id: str = "",
        sender: str = "",
        subject: str = "",
        since: float = 0.0,
        before: float = 0.0,
    ) -> list[Ref]:
        shelf = self.box.shelves[folder.name]
        fields = {"Message-ID: ": message_id, "From: ": sender, "Subject: ": subject}
        return [
            Ref(folder.name, shelf.epoch, uid, letter.at, letter.size)
            for uid, letter in sorted(shelf.letters.items(), reverse=True)
            if since <= letter.at < (before or float("inf"))
            and all(
                any(line.startswith(name) and text in line for line in letter.data.decode().split("\r\n"))
                for name, text in fields.items()
                if text
            )
        ]

    async def copies(self, message_id: str) -> int | None:
        return sum(each == message_id for each, _ in self.box.copies)

    async def file_copy(self, chunks: AsyncIterator[bytes], size: int, message_id: str) -> None:
        data = b"".join([chunk async for chunk in chunks])
        assert len(data) == size
        _next(self.box.copy_faults)
        self.box.copies.append((message_id, data))

    async def wait(self, folder: Folder, seconds: float) -> bool:
        await self.box.hint.wait()
        self.box.hint.clear()
        return True

    async def mark(self, ref: Ref, action: str) -> None:
        _next(self.box.mark_faults)
        self.box.marks.append((ref.remote_id, action))

    async def close(self) -> None:
        self.box.open.discard(id(self))


def _next(faults: list[Exception | None]) -> None:
    if faults and (fault := faults.pop(0)) is not None:
        raise fault


async def _fetched(ref: Ref, data: bytes, writer: Callable[[], ContentWriter]) -> Fetched:
    if len(data) <= OPENING:
        return Fetched(ref=ref, data=data, size=len(data), sha256=hashlib.sha256(data).digest())
    into = writer()
    await into.write(data)
    written = await into.finish()
    return Fetched(
        ref=ref, content_id=written.content_id, opening=written.opening, size=written.size, sha256=written.sha256
    )


@dataclass(frozen=True)
class Handed:
    """A mail as the provider took it."""

    mail: Outgoing
    data: bytes

    @property
    def subject(self) -> str:
        """Its Subject."""
        return next(line[9:] for line in self.data.decode().split("\r\n") if line.startswith("Subject: "))


Step = Callable[[Outgoing, Callable[[], Awaitable[None]]], Awaitable[SendResult]]
"""What the provider does with one mail."""


class Outlet:
    """A provider's way out; implements ``Sending``. Each mail takes the next step, and ``accept`` when none is left."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.handed: list[Handed] = []
        self.opened = self.closed = 0
        self.refuses: list[BaseException] = []

    async def open(self) -> Identity:
        self.opened += 1
        if self.refuses:
            raise self.refuses.pop(0)
        return Identity(server="smtp.example.org", principal="support")

    async def send(self, mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        step = self.steps.pop(0) if self.steps else answering(Outcome.ACCEPTED, 250, "Taken")
        result = await step(mail, before_data)
        self.handed.append(Handed(mail, b"".join([chunk async for chunk in mail.chunks()])))
        return result

    async def close(self) -> None:
        self.closed += 1


def answering(outcome: Outcome, code: int = 0, text: str = "", **others: Outcome) -> Step:
    """Take the content and answer; ``others`` are recipients, by local part, that get another word."""

    async def step(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        await before_data()
        recipients = tuple(
            RecipientResult(address=each, outcome=others.get(each.partition("@")[0], outcome), code=code, text=text)
            for each in mail.recipients
        )
        accepted = any(each.outcome is Outcome.ACCEPTED for each in recipients)
        return SendResult(
            outcome=Outcome.ACCEPTED if accepted else outcome, recipients=recipients, code=code, text=text
        )

    return step


def failing(error: BaseException, *, after_data: bool = False) -> Step:
    """Break off, before the content goes or while it does."""

    async def step(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        if after_data:
            await before_data()
        raise error

    return step


class MoodyStore:
    """A store that has no room when the test says so."""

    def __init__(self, real: SqliteStore) -> None:
        self._real = real
        self.full = 0
        self.no_writes = ""
        """How many further writes find no room."""
        self.full_when: Callable[[bool], bool] = lambda urgent: True
        """Which writes count, told whether they are urgent."""

    async def write(self, work: Callable[[Tx], T], *, size: int = 0, urgent: bool = False) -> T:
        if self.full > 0 and self.full_when(urgent):
            self.full -= 1
            raise StoreFull("no room on the disk")
        return await self._real.write(work, size=size, urgent=urgent)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._real.read(work)

    async def close(self) -> None:
        await self._real.close()


@dataclass
class Says:
    """A stage that answers what the test wants, and keeps the mails that it saw."""

    verdict: Verdict | Callable[[Mail, Context], Awaitable[Verdict]] = field(default_factory=lambda: passed("fine"))
    seen: list[tuple[Mail, Context]] = field(default_factory=list)

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        self.seen.append((mail, context))
        return self.verdict if isinstance(self.verdict, Verdict) else await self.verdict(mail, context)


@dataclass
class House:
    """Everything behind one touchpoint, id 1, that is active and has both halves."""

    room: Room
    store: MoodyStore
    services: Services
    mailbox: Mailbox
    outlet: Outlet
    stage: Says
    """The last stage of both lines."""
    posts: list[Post] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.room.clock

    @property
    def touchpoint(self) -> Touchpoint:
        """As configured now."""
        return self.services.directory.touchpoints[1]

    def post(self, *, connected_before: bool = True) -> Post:
        """The tasks of the touchpoint, not started yet; stopped with the house."""
        post = Post(self.services, 1, connected_before=connected_before)
        self.posts.append(post)
        return post

    def at_work(self) -> Post:
        """The tasks of the touchpoint, started."""
        post = self.post()
        post.start()
        return post

    async def change(self, work: Callable[[Tx], Any]) -> Any:
        """A person changes the directory."""
        result = await self.room.store.write(work)
        self.services.directory = await self.room.store.read(lambda tx: directory.load(tx, HOST))
        return result

    async def activate(self, active: bool) -> None:
        """Switch the touchpoint on or off."""
        await self.change(
            lambda tx: touchpoints.activate(tx, 1, self.clock.now) if active else touchpoints.deactivate(tx, 1)
        )

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        found: list[Row] = await self.room.store.read(lambda tx: tx.all(sql))
        return [dict(row) for row in found]

    async def values(self, sql: str) -> list[Any]:
        """The first column of a query."""
        return [next(iter(row.values())) for row in await self.rows(sql)]

    async def states(self) -> dict[int, str]:
        """Uid -> what became of it."""
        rows = await self.rows(
            "SELECT l.remote_id AS uid, l.state AS state, e.disposition || ' ' || e.cause AS fate"
            " FROM ledger AS l LEFT JOIN entry AS e ON e.id = l.entry_id ORDER BY l.folder, l.remote_id"
        )
        return {row["uid"]: (row["fate"] or row["state"]).strip() for row in rows}

    def facts(self) -> list[Fact]:
        """Every fact that was stated."""
        return self.services.events.since("boot", 0) or []

    def mail_facts(self) -> list[tuple[str, int]]:
        """(what, entry) of each fact about a mail."""
        return [(fact.what.value, fact.id) for fact in self.facts() if isinstance(fact, MailFact)]

    def state_facts(self) -> list[str]:
        """What happened to the touchpoint, in order."""
        return [fact.what.value for fact in self.facts() if isinstance(fact, TouchpointFact)]

    def house_facts(self) -> list[str]:
        """What happened to the house."""
        return [fact.what.value for fact in self.facts() if isinstance(fact, HouseFact)]


async def until(check: Callable[[], Any]) -> None:
    """Returns when ``check`` is true; it may be a coroutine function."""
    async with asyncio.timeout(5):
        while True:
            found = check()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.002)


def until_state(post: Post, state: ConnectionState) -> Awaitable[None]:
    """Returns when people see this state."""
    return until(lambda: post.state is state)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for what people wait for."""
    monkeypatch.setattr("pipeline.retry.BACKOFF_FIRST", 0.001)
    monkeypatch.setattr("gateway.post.FULL_PAUSE", 0.001)
    monkeypatch.setattr("gateway.patience.wait_fixed", lambda seconds: tenacity.wait_fixed(0))


def _lines(stage: Says, loaded: settings.Settings, names: tuple[str, ...]) -> Line:
    stages: tuple[tuple[str, Stage], ...] = (*loaded.line(names), ("says", stage))
    return Line(stages)


_made: list[bytes] = []


async def _empty_store() -> bytes:
    """A furnished store as a file; migrated once for all tests of this process."""
    if not _made:
        folder = a_folder()
        store = await SqliteStore.open(folder / "postroom.db")
        await furnish(store)
        await store.write(lambda tx: directory.first_start(tx, bytes(range(48))))
        await store.close()
        _made.append((folder / "postroom.db").read_bytes())
        shutil.rmtree(folder)
    return _made[0]


@asynccontextmanager
async def a_house(
    *,
    connection: Connection = BOTH,
    admins: tuple[str, ...] = (),
    schedule: Schedule = Schedule(),  # noqa: B008
    **intake: Any,
) -> AsyncIterator[House]:
    """A house whose provider is empty; ``intake`` changes the settings of that name."""
    folder = a_folder()
    (folder / "postroom.db").write_bytes(await _empty_store())
    real = await SqliteStore.open(folder / "postroom.db")
    flight = Flight(folder / "flight")
    house: House | None = None
    try:
        house = await _furnished(real, flight, connection, admins, schedule, intake)
        yield house
    finally:
        for post in house.posts if house else ():
            await post.stop()
        await real.close()
        flight.close()
        shutil.rmtree(folder)


async def _furnished(
    real: SqliteStore,
    flight: Flight,
    connection: Connection,
    admins: tuple[str, ...],
    schedule: Schedule,
    intake: dict[str, Any],
) -> House:
    loaded = settings.load(None)
    loaded = replace(
        loaded,
        daemon=loaded.daemon.model_copy(update={"hostname": HOST}),
        intake=loaded.intake.model_copy(update=intake),
        notices=loaded.notices.model_copy(update={"admins": admins}),
    )
    moody = MoodyStore(real)
    store: Store = moody
    clock = Clock()
    mailbox, outlet, stage = Mailbox(), Outlet(), Says()

    async def receiving(touchpoint: Touchpoint) -> Session | None:
        return Session(mailbox) if touchpoint.connection.imap else None

    async def sending(touchpoint: Touchpoint) -> Outlet | None:
        return outlet if touchpoint.connection.smtp else None

    as_text = directory.connection_to_json(connection)
    await real.write(lambda tx: tx.run("UPDATE touchpoint SET connection = :it", {"it": as_text}))
    spool = Spool(store, clock, schedule)
    services = Services(
        settings=loaded,
        store=store,
        spool=spool,
        events=Events("boot"),
        flight=flight,
        budget=Budget(loaded.intake.memory_bytes),
        metrics=Metrics((*loaded.lines.inbound, "says"), (*loaded.lines.outbound, "says")),
        inbound=_lines(stage, loaded, loaded.lines.inbound),
        outbound=_lines(stage, loaded, loaded.lines.outbound),
        directory=await real.read(lambda tx: directory.load(tx, HOST)),
        clock=clock,
        chance=lambda: 0.5,
        receiving=receiving,
        sending=sending,
    )
    return House(Room(real, spool, clock), moody, services, mailbox, outlet, stage)

"""A desk on a real store and spool, in a house that connects to nothing, served on a real socket."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway import settings
from gateway.connecting import FolderSurvey, Survey
from gateway.connectors import Folder, Identity
from gateway.control import Role
from gateway.desk import Desk, Parts
from gateway.events import Events
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.relay_watch import RelayWatch
from gateway.server import Caller, ControlServer, listen
from pipeline import directory, touchpoints
from pipeline.directory import Directory
from pipeline.errors import AuthRequired, NetworkFault, PostroomError
from pipeline.lifecycle import ConnectionState
from tests.unit.making import NOW, Room, a_room

HOST = "post.example"
PASSWORD = "correct horse battery"


@dataclass
class QuietHouse:
    """What the desk asks of the daemon, without a network: what it was asked is written down."""

    room: Room
    directory: Directory
    states: dict[int, ConnectionState] = field(default_factory=dict)
    woken: list[int] = field(default_factory=list)
    passwords: dict[int, str | None] = field(default_factory=dict)
    relay_watch: RelayWatch = field(default_factory=lambda: RelayWatch(clock=lambda: NOW))

    async def directory_changed(self, touchpoint_id: int | None) -> None:
        """Load it again."""
        self.directory = await self.room.store.read(lambda tx: directory.load(tx, HOST))

    def state_of(self, touchpoint_id: int) -> ConnectionState:
        """As the test says."""
        return self.states.get(touchpoint_id, ConnectionState.NEW)

    def sends(self, touchpoint_id: int) -> bool:
        """By the joint state."""
        tp = self.directory.touchpoints.get(touchpoint_id)
        return tp is not None and tp.active and self.state_of(touchpoint_id) is ConnectionState.CONNECTED

    def wake(self, touchpoint_id: int) -> None:
        """Write it down."""
        self.woken.append(touchpoint_id)

    async def plan(self, touchpoint_id: int, password: str | None, since: float | None) -> Survey:
        """One folder with five mails."""
        if password not in (None, PASSWORD):
            raise AuthRequired("the server refused the login")
        inbox = FolderSurvey(
            folder=Folder(name="INBOX"),
            cursor="",
            epoch=1,
            there=5,
            taken=0 if since is None else 2,
            older=((1, 5),),
            last=(),
        )
        return Survey(identity=Identity(server="imap.example.org", principal="support"), folders=(inbox,))

    async def connect(self, touchpoint_id: int, password: str | None, since: float | None) -> Survey | None:
        """Become connected."""
        found = await self.plan(touchpoint_id, password, since)
        self.passwords[touchpoint_id] = password
        self.states[touchpoint_id] = ConnectionState.CONNECTED

        def work(tx: object) -> None:
            touchpoints.put_secret(tx, touchpoint_id, "password", b"sealed", NOW)  # type: ignore[arg-type]
            touchpoints.record_state(tx, touchpoint_id, state="connected", now=NOW, signed_in=True)  # type: ignore[arg-type]

        await self.room.store.write(work)
        return found

    async def test(
        self, touchpoint_id: int, password: str | None, half: str
    ) -> tuple[PostroomError | None, PostroomError | None]:
        """Receiving works with the right password, sending does not."""
        refused = AuthRequired("the server refused the login") if password not in (None, PASSWORD) else None
        return refused if half != "sending" else None, NetworkFault("no answer") if half != "receiving" else None

    async def skip_to_now(self, touchpoint_id: int) -> int:
        """Three mails came meanwhile."""
        return 3


@dataclass
class Office:
    """Everything behind the socket."""

    room: Room
    house: QuietHouse
    events: Events
    desk: Desk
    socket: Path
    metrics: Metrics
    journal: Journal


@asynccontextmanager
async def an_office(folder: Path) -> AsyncIterator[Office]:
    """A desk that answers at ``folder/control.sock``; touchpoint 1 and ring groups as in ``a_room``."""
    async with a_room(folder) as room:
        await room.store.write(lambda tx: directory.first_start(tx, bytes(range(48))))
        house = QuietHouse(room, await room.store.read(lambda tx: directory.load(tx, HOST)))
        events = Events("boot")
        metrics = Metrics(("ingest", "ring_group"), ("ingest", "signature"))
        journal = Journal()
        parts = Parts(
            store=room.store,
            spool=room.spool,
            house=house,
            events=events,
            metrics=metrics,
            clock=room.clock,
            settings=settings.load(None),
            journal=journal,
        )
        desk = Desk(parts, hostname=HOST, started_at=NOW)
        path = folder / "control.sock"
        server = ControlServer(desk, events, {role: f"nobody-{role}" for role in Role})
        await server.start(listen(path, ""))
        try:
            yield Office(room, house, events, desk, path, metrics, journal)
        finally:
            await server.close(remove=path)


def caller(*roles: Role) -> Caller:
    """Somebody with these roles."""
    return Caller(name="somebody", uid=os.geteuid() + 1, roles=frozenset(roles))

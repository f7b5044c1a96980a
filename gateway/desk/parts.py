"""What the answers at the desk are made of: the store, the spool, and the house that runs the touchpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway import views
from gateway.connecting import Survey
from gateway.events import Events, TouchpointFact, TouchpointWhat
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.relay_watch import RelayWatch
from gateway.rows import TouchpointRow
from gateway.server import Caller
from gateway.services import Services
from gateway.settings import Settings
from gateway.views import Scene
from pipeline import people
from pipeline.directory import Directory
from pipeline.errors import PostroomError, Refused
from pipeline.lifecycle import ConnectionState
from pipeline.people import Detail
from pipeline.spool import Spool
from pipeline.store import Store, Tx

T = TypeVar("T")
Said = Detail | Callable[[Tx], Detail]
"""The detail of a change; a function is asked in its transaction, before anything is changed."""
_NONE: Detail = {}
Tried = tuple[PostroomError | None, PostroomError | None]
"""What is wrong with receiving and with sending; None with a half that works, is not there, or was not tried."""


class House(Protocol):
    """What the desk asks of the daemon."""

    @property
    def directory(self) -> Directory:
        """The current snapshot."""
        ...

    @property
    def relay_watch(self) -> RelayWatch:
        """What the relay is doing."""
        ...

    async def directory_changed(self, touchpoint_id: int | None) -> None:
        """The store has new decisions of people: take a new snapshot, start and stop tasks.

        For a deactivated touchpoint it answers after the page in hand is committed.
        """
        ...

    def state_of(self, touchpoint_id: int) -> ConnectionState:
        """Where its connection stands."""
        ...

    def sends(self, touchpoint_id: int) -> bool:
        """Whether outbound mail moves; where it does not, it is parked."""
        ...

    def wake(self, touchpoint_id: int) -> None:
        """There is something to do in its spool."""
        ...

    async def plan(self, touchpoint_id: int, password: str | None, since: float | None) -> Survey:
        """Sign in, look, and say what a first connect would take; changes nothing."""
        ...

    async def connect(self, touchpoint_id: int, password: str | None, since: float | None) -> Survey | None:
        """Prove both halves, refuse a mailbox that another touchpoint has, keep the password sealed, and connect."""
        ...

    async def test(self, touchpoint_id: int, password: str | None, half: str) -> Tried:
        """Try ``receiving``, ``sending``, or "" for both, with what is kept or with this password; changes nothing."""
        ...

    async def skip_to_now(self, touchpoint_id: int) -> int:
        """Leave alone what came since the cursor, as a ``skipped`` range; how many mails that are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Shared by all answers; ``change`` and ``show`` are how they write and read."""

    store: Store
    spool: Spool
    house: House
    events: Events
    metrics: Metrics
    clock: Callable[[], float]
    settings: Settings
    journal: Journal
    services: Services | None = None
    """What the daemon's own tasks work with; None where nothing runs."""

    def at_work(self) -> Services:
        """What asks servers and walks mail; raises Refused where nothing runs."""
        if self.services is None:
            raise Refused("nothing is running here that could do this")
        return self.services

    @property
    def directory(self) -> Directory:
        """The current snapshot."""
        return self.house.directory

    @property
    def scene(self) -> Scene:
        """For the views."""
        return Scene(directory=self.house.directory, state_of=self.house.state_of, sends=self.house.sends)

    async def change(self, caller: Caller, verb: str, subject: str, work: Callable[[Tx], T], detail: Said = _NONE) -> T:
        """Write with its audit row, in one commit."""
        now = self.clock()

        def both(tx: Tx) -> T:
            said = detail(tx) if callable(detail) else detail
            result = work(tx)
            people.audit(tx, caller.actor, verb, subject, now, said)
            return result

        return await self.store.write(both)

    async def change_touchpoint(
        self,
        caller: Caller,
        verb: str,
        touchpoint_id: int,
        work: Callable[[Tx], object],
        detail: Said = _NONE,
        what: TouchpointWhat = TouchpointWhat.CHANGED,
    ) -> TouchpointRow:
        """Change a live touchpoint's page and let everybody know; its new row."""
        address = self.house.directory.touchpoints[touchpoint_id].address
        await self.change(caller, verb, address, work, detail)
        return await self.changed(touchpoint_id, what)

    async def changed(self, touchpoint_id: int, what: TouchpointWhat) -> TouchpointRow:
        """Let everybody know of a touchpoint's new page; its new row."""
        await self.house.directory_changed(touchpoint_id)
        self.events.publish(TouchpointFact(what, touchpoint_id))
        return await self.touchpoint_row(touchpoint_id)

    async def touchpoint_row(self, touchpoint_id: int) -> TouchpointRow:
        """The row of a live touchpoint."""
        scene = self.scene
        wanted = [views.find(scene.directory, str(touchpoint_id))]
        return (await self.store.read(lambda tx: views.touchpoints(tx, scene, wanted)))[0]

"""One touchpoint at work: its receiving task, its sending lane, and the state that people see.

Each half keeps a connection of its own and reports here; the worse of the two is the touchpoint's state, written to
the store and stated as a fact whenever it changes. A half that fails in a way that heals waits and tries again
(BACKOFF), one that needs a person stops until somebody reconnects (LOST). Whatever goes wrong here, a bug included,
is this touchpoint's own trouble: no other touchpoint notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.connectors import Receiving
from gateway.events import TouchpointFact, TouchpointWhat
from gateway.receiver import Receiver
from gateway.sender import Sender
from gateway.services import Services
from pipeline import touchpoints
from pipeline.errors import NeedsPerson, PostroomError, ProviderFault, StoreFull, Throttled
from pipeline.lifecycle import ConnectionEvent, ConnectionState, after, event_of, joint
from pipeline.retry import backoff
from pipeline.touchpoint import Connection, Touchpoint

log = logging.getLogger("postroom.post")

FULL_PAUSE = 3.0
"""Seconds between two looks at a full disk."""
GRACE = 10.0
"""Seconds that a mail which is being handed over has when its lane starts over."""
STABLE = 60.0
"""Seconds for which a session must last, or its end counts as one more failure in a row."""
FACTS = {
    ConnectionState.CONNECTED: TouchpointWhat.CONNECTED,
    ConnectionState.BACKOFF: TouchpointWhat.BACKOFF,
    ConnectionState.LOST: TouchpointWhat.CONNECTION_LOST,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """How one half of a touchpoint stands."""

    state: ConnectionState = ConnectionState.NEW
    cause: str = ""
    reason: str = ""
    failures: int = 0
    """In a row."""


class Post:
    """The tasks of one touchpoint."""

    def __init__(self, services: Services, touchpoint_id: int, *, connected_before: bool) -> None:
        self.id = touchpoint_id
        self.wake = asyncio.Event()
        """Set to make the receiving task look around now."""
        self._services = services
        first = ConnectionState.CONNECTING if connected_before else ConnectionState.NEW
        self._halves = {"receiving": Half(state=first), "sending": Half(state=first)}
        self._shown: tuple[str, str, str] = ("", "", "")
        self._polled_at = 0.0
        self._signed_in_at = {"receiving": 0.0, "sending": 0.0}
        self._over = False
        """Stopped for good."""
        self._turning = asyncio.Lock()
        """Starting and stopping, one at a time."""
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: Connection | None = None
        self.receiver = Receiver(self, services)
        self.sender = Sender(self, services)

    # -- what others ask ---------------------------------------------------------------------------------------------

    @property
    def touchpoint(self) -> Touchpoint:
        """As configured now."""
        return self._services.directory.touchpoints[self.id]

    @property
    def active(self) -> bool:
        """Whether mail is to move."""
        found = self._services.directory.touchpoints.get(self.id)
        return found is not None and found.active

    @property
    def state(self) -> ConnectionState:
        """The one state that people see."""
        connection = self.touchpoint.connection
        there = {"receiving": connection.imap is not None, "sending": connection.smtp is not None}
        return joint(half.state for name, half in self._halves.items() if there[name])

    def half(self, name: str) -> Half:
        """How one half stands."""
        return self._halves[name]

    @property
    def sends(self) -> bool:
        """Whether outbound mail moves; where it does not, it is parked."""
        return self.active and self._halves["sending"].state is ConnectionState.CONNECTED

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, delay: float = 0.0) -> None:
        """Begin to work, after ``delay`` seconds."""
        self._connection = self.touchpoint.connection
        for name, work in (("receiving", self._receive), ("sending", self.sender.run)):
            self._tasks.append(asyncio.create_task(_after(delay, work), name=f"touchpoint {self.id} {name}"))

    async def stop(self, grace: float = 0.0) -> None:
        """End both tasks; a mail that is being handed over has ``grace`` seconds to come to its end."""
        self._over = True
        async with self._turning:
            await self._end(grace)

    async def _end(self, grace: float) -> None:
        self.sender.closing = True
        self.sender.wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.sender.idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def changed(self) -> None:
        """The directory has a new snapshot; a changed connection starts over."""
        if self.touchpoint.connection != self._connection:
            await self._restart()
        self.wake.set()
        self.sender.wake.set()

    async def reconnect(self) -> None:
        """A person proved that it works: start both halves again, whatever stopped them."""
        self._halves = {name: Half(state=ConnectionState.CONNECTING) for name in self._halves}
        await self._restart()

    async def _restart(self) -> None:
        """Start over with what the settings say now; what was never connected stays so."""
        async with self._turning:
            if self._over:
                return
            await self._end(GRACE)
            self.sender = Sender(self, self._services)
            for name, half in self._halves.items():
                if half.state is not ConnectionState.NEW:
                    self._halves[name] = Half(state=ConnectionState.CONNECTING)
            self.start()

    # -- what the halves report --------------------------------------------------------------------------------------

    async def report(self, name: str, event: ConnectionEvent, error: PostroomError | None = None) -> float:
        """A half says what happened; after trouble: seconds to wait before it tries again (for ever when LOST)."""
        half = self._halves[name]
        now = asyncio.get_running_loop().time()
        if half.state is ConnectionState.CONNECTED and now - self._signed_in_at[name] > STABLE:
            half = replace(half, failures=0)
        failures = half.failures + 1 if error is not None else half.failures
        state = (
            half.state
            if half.state is ConnectionState.CONNECTING and event is ConnectionEvent.CONNECT
            else after(half.state, event)
        )
        if error is None:
            self._signed_in_at[name] = now
            half = replace(half, state=state, cause="", reason="")
        else:
            cause = getattr(error, "cause", "")
            half = Half(state=state, cause=str(cause), reason=f"{name}: {error}"[:500], failures=failures)
        self._halves[name] = half
        await self._show(signed_in=event is ConnectionEvent.SIGNED_IN)
        return self._pause(error, failures) if error is not None else 0.0

    def _pause(self, error: PostroomError, failures: int) -> float:
        if isinstance(error, NeedsPerson):
            return float("inf")
        if isinstance(error, StoreFull):
            return FULL_PAUSE
        pause = backoff(failures, self._services.chance())
        return max(pause, error.seconds or 0.0) if isinstance(error, Throttled) else pause

    async def _show(self, *, signed_in: bool) -> None:
        """Make the joint state known, if it changed."""
        state = self.state
        worst = next((half for half in self._halves.values() if half.state is state), Half())
        shown = (state.value, worst.cause, worst.reason)
        if shown == self._shown and not signed_in:
            return
        changed = shown[0] != self._shown[0] or shown[1] != self._shown[1]
        self._shown = shown
        now = self._services.clock()
        try:
            await self._services.store.write(
                lambda tx: touchpoints.record_state(
                    tx, self.id, state=shown[0], cause=shown[1], reason=shown[2], now=now, signed_in=signed_in
                )
            )
        except StoreFull:
            self._shown = ("", "", "")  # so that the next report writes it
            log.warning("touchpoint %d is %s, which could not be stored: the disk is full", self.id, shown[0])
        if changed:
            what = FACTS.get(state, TouchpointWhat.CHANGED)
            self._services.events.publish(TouchpointFact(what, self.id, worst.reason))

    async def polled(self) -> None:
        """A round of the folders is done; noted at most once a minute."""
        now = self._services.clock()
        if abs(now - self._polled_at) >= 60.0:
            self._polled_at = now
            await self._services.store.write(lambda tx: touchpoints.record_poll(tx, self.id, now))

    # -- the receiving half ------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Connect, serve, and after a failure wait and connect again."""
        while True:
            pause = float("inf")
            connector: Receiving | None = None
            if self._halves["receiving"].state is not ConnectionState.NEW:
                try:
                    connector = await self._services.receiving(self.touchpoint)
                    if connector is not None:
                        await self._serve(connector)
                except PostroomError as error:
                    pause = await self.report("receiving", event_of(error), error)
                except Exception as error:
                    log.exception("touchpoint %d: receiving failed", self.id)
                    pause = await self.report(
                        "receiving", ConnectionEvent.TROUBLE, ProviderFault(f"a fault: {error!r}")
                    )
                finally:
                    if connector is not None:
                        await connector.close()
            await self._rest(pause)

    async def _serve(self, connector: Receiving) -> None:
        # Trying again stays BACKOFF until it works: people are to see since when, and why.
        if self._halves["receiving"].state is not ConnectionState.BACKOFF:
            await self.report("receiving", ConnectionEvent.CONNECT)
        await connector.open()
        await self.report("receiving", ConnectionEvent.SIGNED_IN)
        await self.receiver.session(connector)

    async def _rest(self, pause: float) -> None:
        """Wait for ``pause`` seconds, deciding what waits in the spool meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(pause, 1e8)
        while (left := end - loop.time()) > 0:
            self.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, await self._decided())):
                    await self.wake.wait()

    async def _decided(self) -> float:
        """Decide what waits; seconds until that is called for again. What goes wrong here must not end the task."""
        try:
            await self.receiver.decide_waiting()
            return await self.receiver.until_due()
        except StoreFull:
            return FULL_PAUSE
        except Exception:
            log.exception("touchpoint %d: what waits cannot be decided", self.id)
            return STABLE


async def _after(delay: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
    await asyncio.sleep(delay)
    await work()

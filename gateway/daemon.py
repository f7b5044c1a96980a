"""The composition root: builds the parts, connects them, starts them, stops them. It decides nothing.

Start: hold the store, settle what the last death left open, load the directory, start a ``Post`` for each touchpoint,
open the relay, then the control socket; only then READY. Stop: relay and socket first, then the lanes with a grace
for the mail in hand, then the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from gateway import __version__, expiry, systemd
from gateway.accepting import RelayCounter
from gateway.auth.secrets import Secrets, load_key
from gateway.connecting import Survey, begin, check_alone, refuse_twin, skip_to_now, survey, try_sending
from gateway.connectors import Receiving, Sending
from gateway.events import Events, HouseFact, HouseWhat
from gateway.flight import Flight
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.post import FULL_PAUSE, Post
from gateway.relay_watch import RelayWatch
from gateway.services import Budget, Services
from gateway.settings import Settings
from gateway.submission import relay_limits, relay_listeners
from gateway.watchdog import Watchdog
from pipeline import due, touchpoints
from pipeline.directory import RANDOM_NEEDED, Directory, first_start, load
from pipeline.errors import AuthRequired, PostroomError, Refused, StoreFull
from pipeline.lifecycle import ConnectionState
from pipeline.line import Line
from pipeline.spool import Spool
from pipeline.store import Tx
from pipeline.store.sqlite import NO_WRITES, SqliteStore
from pipeline.touchpoint import Touchpoint

T = TypeVar("T")
log = logging.getLogger("postroom.daemon")

GRACE = 30.0
"""Seconds that a mail which is being handed over has when the daemon stops."""
HERD = 0.01
"""Seconds for each touchpoint over which the first sign-ins are spread."""
SWITCH = 0.001
"""Seconds after which a thread that computes lets the loop have its turn: a hostile page is made readable in one."""
PASSWORD = "password"


class Daemon:
    """The running house."""

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time.time, journal: Journal | None = None
    ) -> None:
        self.settings = settings
        self.journal = journal or Journal()
        self.started_at = clock()
        self.events = Events(secrets.token_hex(8))
        self.ports: dict[str, int] = {}
        """Where the relay listens, by the listener's name."""
        self._clock = clock
        self._posts: dict[int, Post] = {}
        self._changing = asyncio.Lock()
        self._inherited = systemd.inherited_sockets()

    # -- start and stop ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up; raises Refused with what is in the way."""
        settings = self.settings
        self.store = await _when_there_is_room(lambda: SqliteStore.open(settings.store))
        self.secrets = Secrets(await _when_there_is_room(lambda: asyncio.to_thread(load_key, settings.key_file)))
        self.spool = Spool(self.store, self._clock, settings.retry)
        self._flight = await _when_there_is_room(lambda: asyncio.to_thread(Flight, settings.state_dir / "flight"))
        unknown, waiting, swept = await _when_there_is_room(lambda: self.spool.recover(self._flight.in_hand()))
        if unknown or waiting or swept:
            log.warning("after the last end: %d sends unknown, %d waiting again, %d partial contents swept",
                        unknown, waiting, swept)  # fmt: skip
        self._flight.wipe()
        await _when_there_is_room(self.mind_the_clock)
        await _when_there_is_room(
            lambda: self.store.write(lambda tx: first_start(tx, secrets.token_bytes(RANDOM_NEEDED)))
        )
        self.services = await self._services()
        self._watchdog = Watchdog()
        herd = len(self.directory.touchpoints) * HERD  # they sign in one after the other, not all at once
        for touchpoint_id in self.directory.touchpoints:
            await self._open(touchpoint_id, random.random() * herd)
        self.relay_watch = RelayWatch(self.services.metrics.relay, self._clock)
        await self._open_relay()
        await self._open_socket()
        self._expiry = asyncio.create_task(expiry.run(self.services), name="expiry")
        self.events.publish(HouseFact(HouseWhat.STARTED, __version__))

    async def _services(self) -> Services:
        settings = self.settings
        return Services(
            settings=settings,
            store=self.store,
            spool=self.spool,
            events=self.events,
            flight=self._flight,
            budget=Budget(settings.intake.memory_bytes),
            metrics=Metrics(settings.lines.inbound, settings.lines.outbound),
            inbound=Line(settings.line(settings.lines.inbound)),
            outbound=Line(settings.line(settings.lines.outbound)),
            directory=await self._load(),
            clock=self._clock,
            chance=random.random,
            receiving=self._receiving,
            sending=self._sending,
        )

    async def _open(self, touchpoint_id: int, delay: float = 0.0) -> None:
        row = await self.store.read(lambda tx: touchpoints.live(tx, touchpoint_id))
        post = Post(self.services, touchpoint_id, connected_before=row["signed_in_at"] > 0)
        self._posts[touchpoint_id] = post
        post.start(delay)

    async def _open_relay(self) -> None:
        from gateway.relay import listen

        counter = RelayCounter(self.services, self.state_of, self._wake_sender)
        listeners = relay_listeners(self.settings.relay, self._inherited)
        try:
            self._relay = await listen(
                counter,
                listeners,
                relay_limits(self.settings.relay),
                hostname=self.settings.hostname,
                watch=self.relay_watch,
            )
        except OSError as error:
            raise Refused(f"the relay cannot listen: {error.strerror or error}; see [[relay.listener]]") from None
        self.ports = dict(self._relay.ports)

    async def _open_socket(self) -> None:
        from gateway import server
        from gateway.desk import FrontDesk

        self._control = server.ControlServer(FrontDesk(self), self.events, server.role_groups(self.settings.roles))
        inherited = self._inherited.get("control")
        await self._control.start(
            inherited[0] if inherited else server.listen(self.settings.socket, self.settings.daemon.socket_group)
        )

    async def stop(self) -> None:
        """Take everything down; what is in hand is finished or put back."""
        self.events.publish(HouseFact(HouseWhat.STOPPING))
        await self._relay.close(GRACE / 2)
        await self._control.close(remove=None if "control" in self._inherited else self.settings.socket)
        await asyncio.gather(*(post.stop(GRACE / 2) for post in self._posts.values()))
        self._watchdog.close()
        self._expiry.cancel()
        await asyncio.wait({self._expiry})
        await self.store.close()
        self._flight.wipe()
        self._flight.close()

    async def mind_the_clock(self) -> None:
        """Have nothing wait for a time that only a wrong clock could name; looked at often, since steps go unseen."""
        now, waits = self._clock(), self.settings.retry
        if not await self.store.read(lambda tx: due.astray(tx, now, waits)):
            return
        count = await self.store.write(lambda tx: due.bring_back(tx, now, waits))
        log.warning("the clock was set back: %d mails that would have waited for too long are due now", count)
        for touchpoint_id in self._posts:
            self.wake(touchpoint_id)

    # -- what the desk asks ------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Directory:
        """The current snapshot."""
        return self.services.directory

    async def directory_changed(self, touchpoint_id: int | None = None) -> None:
        """Take a new snapshot after a change; a touchpoint that is gone or inactive is quiet when this returns."""
        async with self._changing:
            self.services.directory = await self._load()
            for gone in self._posts.keys() - self.directory.touchpoints.keys():
                await self._posts.pop(gone).stop(GRACE)
            for new in self.directory.touchpoints.keys() - self._posts.keys():
                await self._open(new)
        for post in [self._posts[touchpoint_id]] if touchpoint_id in self._posts else list(self._posts.values()):
            if post.id in self.directory.touchpoints:  # another change may have taken it away meanwhile
                await post.changed()
                if not post.active:
                    await post.receiver.quiet()

    def state_of(self, touchpoint_id: int) -> ConnectionState:
        """How a touchpoint's connection stands."""
        post = self._posts.get(touchpoint_id)
        return ConnectionState.NEW if post is None else post.state

    def summary(self) -> str:
        """One line for the service manager."""
        states = Counter(post.state.value for post in self._posts.values() if post.id in self.directory.touchpoints)
        return f"{len(self._posts)} touchpoints: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))

    def wake(self, touchpoint_id: int) -> None:
        """Somebody changed a mail of this touchpoint: look now."""
        if (post := self._posts.get(touchpoint_id)) is not None:
            post.wake.set()
            post.sender.wake.set()

    def sends(self, touchpoint_id: int) -> bool:
        """Whether a touchpoint's outbound mail moves; where it does not, it is parked."""
        post = self._posts.get(touchpoint_id)
        return post is not None and post.sends

    async def plan(self, touchpoint_id: int, password: str | None, since: float | None) -> Survey:
        """What a first connect would take; changes nothing."""
        touchpoint = self._touchpoint(touchpoint_id)
        connector = await self._receiving(touchpoint, password)
        if connector is None:
            raise Refused(f"{touchpoint.address} has no server to receive from")
        try:
            return await survey(self.services, connector, since)
        finally:
            await connector.close()

    async def connect(self, touchpoint_id: int, password: str | None, since: float | None) -> Survey | None:
        """Prove both halves, keep the password sealed, set the cursors, and begin; raises what went wrong."""
        touchpoint = self._touchpoint(touchpoint_id)
        if touchpoint.connection.imap is None and touchpoint.connection.smtp is None:
            raise Refused(
                f"{touchpoint.address} has no servers yet: postroom touchpoint edit {touchpoint.address}"
                " --preset NAME, or --imap HOST:PORT --smtp HOST:PORT"
            )
        found = None
        if touchpoint.connection.imap is not None:
            found = await self.plan(touchpoint_id, password, since)
            await check_alone(self.services, touchpoint, found)
        await try_sending(await self._sending(touchpoint, password))
        now = self._clock()

        def work(tx: object) -> None:
            touchpoints.live(tx, touchpoint_id)  # type: ignore[arg-type]
            if password is not None:
                sealed = self.secrets.seal(touchpoint_id, PASSWORD, password.encode())
                touchpoints.put_secret(tx, touchpoint_id, PASSWORD, sealed, now)  # type: ignore[arg-type]
            if found is not None:
                refuse_twin(tx, touchpoint, found)  # type: ignore[arg-type]
                begin(tx, touchpoint_id, found, now)  # type: ignore[arg-type]
            touchpoints.record_state(tx, touchpoint_id, state="connecting", now=now, signed_in=True)  # type: ignore[arg-type]

        await self.store.write(work)
        await self.directory_changed(touchpoint_id)
        await self._posts[touchpoint_id].reconnect()
        return found

    async def test(
        self, touchpoint_id: int, password: str | None = None, half: str = ""
    ) -> tuple[PostroomError | None, PostroomError | None]:
        """Try ``receiving``, ``sending``, or "" for both, with what is kept or with this password; what is wrong."""
        touchpoint = self._touchpoint(touchpoint_id)
        wrong: dict[str, PostroomError] = {}
        for name, part in (("receiving", self._try_receiving), ("sending", self._try_sending)):
            try:
                if half in ("", name):
                    await part(touchpoint, password)
            except PostroomError as error:
                wrong[name] = error
        return wrong.get("receiving"), wrong.get("sending")

    async def _try_receiving(self, touchpoint: Touchpoint, password: str | None) -> None:
        connector = await self._receiving(touchpoint, password)
        if connector is not None:
            try:
                await connector.open()
            finally:
                await connector.close()

    async def _try_sending(self, touchpoint: Touchpoint, password: str | None) -> None:
        await try_sending(await self._sending(touchpoint, password))

    async def skip_to_now(self, touchpoint_id: int) -> int:
        """Leave alone what came while a touchpoint was inactive; how many mails that was."""
        touchpoint = self._touchpoint(touchpoint_id)
        connector = await self._receiving(touchpoint)
        if connector is None:
            return 0
        try:
            return await skip_to_now(self.services, connector, touchpoint)
        finally:
            await connector.close()

    # -- parts -------------------------------------------------------------------------------------------------------

    async def _load(self) -> Directory:
        return await self.store.read(lambda tx: load(tx, self.settings.hostname))

    def _touchpoint(self, touchpoint_id: int) -> Touchpoint:
        found = self.directory.touchpoints.get(touchpoint_id)
        if found is None:
            raise Refused(f"there is no touchpoint {touchpoint_id}: postroom touchpoint list")
        return found

    def _wake_sender(self, touchpoint_id: int) -> None:
        if (post := self._posts.get(touchpoint_id)) is not None:
            post.sender.wake.set()

    async def _password(self, touchpoint: Touchpoint) -> str:
        sealed = await self.store.read(lambda tx: touchpoints.get_secret(tx, touchpoint.id, PASSWORD))
        if sealed is None:
            raise AuthRequired(f"there is no password yet: postroom touchpoint connect {touchpoint.address}")
        return self.secrets.open(touchpoint.id, PASSWORD, sealed).decode()

    async def _receiving(self, touchpoint: Touchpoint, password: str | None = None) -> Receiving | None:
        if touchpoint.connection.imap is None:
            return None
        from gateway.connectors.imap_smtp import ImapReceiving
        from gateway.connectors.imap_wire import Limits

        secret = password if password is not None else await self._password(touchpoint)
        patience = self.settings.intake.timeout_seconds
        limits = Limits(quiet=patience, whole=2 * patience, done=patience / 2)
        return ImapReceiving(
            touchpoint.connection, secret, ssl_context=_trust(touchpoint), limits=limits, timeout=patience / 2
        )

    async def _sending(self, touchpoint: Touchpoint, password: str | None = None) -> Sending | None:
        if touchpoint.connection.smtp is None:
            return None
        from gateway.connectors.smtp import SmtpSending

        secret = password if password is not None else await self._password(touchpoint)
        return SmtpSending(
            touchpoint.connection.smtp,
            touchpoint.connection.user,
            secret,
            ssl_context=_trust(touchpoint),
            helo=self.settings.hostname,
        )


_contexts: dict[str, ssl.SSLContext] = {}


def _trust(touchpoint: Touchpoint) -> ssl.SSLContext:
    """One context for each authority, shared: a context of its own costs every connection memory."""
    path = touchpoint.connection.ca_file
    if path not in _contexts:
        try:
            context = ssl.create_default_context(cafile=path or None)
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"the CA file {path} cannot be read: {error}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _contexts[path] = context
    return _contexts[path]


async def serve(settings: Settings, journal: Journal) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    daemon = Daemon(settings, journal=journal)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    notifier = systemd.Notifier()
    await daemon.start()
    notifier.ready(daemon.summary())
    for name, port in daemon.ports.items():
        print(f"postroom: relay listener {name} on port {port}", file=sys.stderr, flush=True)
    print(f"postroom: ready, control socket {settings.socket}", file=sys.stderr, flush=True)
    beating = asyncio.create_task(_beat(daemon, notifier))
    await stop.wait()
    beating.cancel()
    notifier.stopping()
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE * 1.5):
            await daemon.stop()
    return 0


async def _when_there_is_room(work: Callable[[], Awaitable[T]]) -> T:
    """Begin again while the disk takes no writes: ending would have the service manager give up on us in the end."""
    said = False
    while True:
        try:
            return await work()
        except (StoreFull, OSError) as full:
            if isinstance(full, OSError) and full.errno not in NO_WRITES:
                raise
            if not said:
                log.warning("%s: waiting for it before the start", full)
            said = True
            await asyncio.sleep(FULL_PAUSE)


async def _beat(daemon: Daemon, notifier: systemd.Notifier) -> None:
    """Tell the service manager that we are well: the loop turns, and the store takes a write."""
    pause = (notifier.watchdog_seconds or 60.0) / 2
    while True:
        await asyncio.sleep(min(pause, FULL_PAUSE) if daemon.store.no_writes else pause)
        with suppress(StoreFull):  # a full disk is no reason to start again
            await daemon.store.write(_touch if daemon.store.no_writes else _nothing)
            await daemon.mind_the_clock()
        notifier.watchdog()
        notifier.status(daemon.summary())


def _nothing(tx: Tx) -> None:
    """For asking the writer whether it turns."""


def _touch(tx: Tx) -> None:
    """For asking the disk whether it takes writes again."""
    tx.run("UPDATE installation SET value = value WHERE name = 'id'")


def run(settings: Settings) -> int:
    """The daemon in the foreground; raises Refused with what keeps it from starting."""
    import uvloop

    sys.setswitchinterval(SWITCH)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    journal = Journal()
    logging.getLogger().addHandler(journal)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, journal))

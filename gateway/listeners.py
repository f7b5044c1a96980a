"""The relay's sockets, and what its sessions share.

Owns listening and leaving: counts of clients and sign-ins, the clock that closes sessions which are out of time, and
the submissions under way, which belong to the relay and not to the session they came through. Speaks no SMTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar

from gateway.relay_watch import RelayWatch
from gateway.smtp_guard import Connections, SignIns, client_of
from gateway.submission import Accepting, ListenerSettings, Mode, RelayLimits
from pipeline.mail import RelayUser

T = TypeVar("T")
VERIFYING = 2
"""Passwords that are verified at the same time, however many clients try."""


class Session(Protocol):
    """What the relay asks of one connection."""

    def check_time(self, now: float) -> None:
        """Close it if it idles or drips."""
        ...

    def leave_soon(self) -> None:
        """Close it now, or once what is under way is done."""
        ...

    def end(self, last_words: str = "") -> None:
        """Close it now."""
        ...

    def cut(self) -> None:
        """Close it without waiting for the client's part in that."""
        ...


class LockedOut(Exception):
    """A sign-in that was not looked at: this client or this name failed too often."""


class RunningRelay:
    """The relay while it runs; made by ``gateway.relay.listen``."""

    def __init__(
        self,
        accepting: Accepting,
        limits: RelayLimits,
        hostname: str,
        loop: asyncio.AbstractEventLoop,
        watch: RelayWatch | None = None,
    ) -> None:
        self.accepting = accepting
        self.watch = watch or RelayWatch()
        """Is told what happens, for people to see."""
        self.limits = limits
        self.hostname = hostname
        self.loop = loop
        self.connections = Connections(per_client=limits.per_client, total=limits.connections)
        self.sessions: set[Session] = set()
        self.in_data: dict[int, int] = {}
        """Contents under way, by user id."""
        self.in_hand = 0
        """Octets of content in memory."""
        self.closing = False
        self.ports: dict[str, int] = {}
        """Where each listener listens, by its name."""
        self._sign_ins = SignIns()
        # A verification takes 64 MiB, and tens of milliseconds of a core: few at once.
        self._verifying = asyncio.Semaphore(VERIFYING)
        self._own: set[asyncio.Task[Any]] = set()
        self._servers: list[asyncio.Server] = []
        self._clock: asyncio.TimerHandle | None = None

    async def open(
        self, listeners: Sequence[ListenerSettings], session: Callable[[ListenerSettings], asyncio.BaseProtocol]
    ) -> None:
        """Listen everywhere, or raise and listen nowhere."""
        try:
            for settings in listeners:
                await self._listen(settings, session)
        except BaseException:
            self._stop_listening()
            raise
        self._tick()

    async def _listen(
        self, settings: ListenerSettings, session: Callable[[ListenerSettings], asyncio.BaseProtocol]
    ) -> None:
        if (settings.ssl_context is None) != (settings.mode in (Mode.PLAIN, Mode.LOOPBACK)):
            raise ValueError(
                f"listener {settings.name}: submission and submissions need a certificate, others have none"
            )
        if settings.mode is Mode.LOOPBACK and settings.sock is None and not ip_address(settings.host).is_loopback:
            raise ValueError(f"listener {settings.name}: {settings.host} is no loopback address")
        options: dict[str, Any] = {"host": settings.host, "port": settings.port}
        if settings.sock is not None:
            options = {"sock": settings.sock}
        if settings.mode is Mode.SUBMISSIONS:
            options |= {"ssl": settings.ssl_context, "ssl_handshake_timeout": self.limits.handshake}
        server = await self.loop.create_server(lambda: session(settings), backlog=1024, **options)
        self._servers.append(server)
        address = server.sockets[0].getsockname()
        host, port = address[:2] if isinstance(address, tuple) else (str(address), 0)
        self.ports[settings.name] = port
        self.watch.listens(settings, settings.host if settings.sock is None else host, port)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _tick(self) -> None:
        # One walk a second over all sessions; a timer of its own for each would cost more than the session.
        now = self.loop.time()
        for session in list(self.sessions):
            session.check_time(now)
        self._clock = self.loop.call_later(1.0, self._tick)

    def idle_limit(self) -> float:
        """Seconds that a session may do nothing."""
        full = self.connections.count > 0.8 * self.limits.connections
        return self.limits.idle_when_full if full else self.limits.idle

    async def sign_in(self, peer: str, name: str, password: str) -> RelayUser | None:
        """The user, or None if refused; raises LockedOut."""
        if not name or len(name) > 255 or len(password) > 1024:
            return None
        client = client_of(peer)
        async with self._verifying:
            ticket = self._sign_ins.begin(client, name, self.loop.time())
            if not ticket:
                raise LockedOut
            good: bool | None = None
            try:
                user = await self.accepting.sign_in(name, password)
                good = user is not None
            finally:
                self._sign_ins.end(ticket, self.loop.time(), good=good)
        if good:
            self._sign_ins.remember(client, name)
        return user

    def own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work to its end, whatever becomes of the session: a submission, or tidying up after one."""
        task = self.loop.create_task(work)
        self._own.add(task)
        task.add_done_callback(self._own.discard)
        return task

    async def close(self, grace: float = 10.0) -> None:
        """Listen no more; let contents under way end within ``grace`` seconds; finish every submission."""
        self.closing = True
        self._stop_listening()
        until = self.loop.time() + grace
        for session in list(self.sessions):
            session.leave_soon()
        await self._emptied(until)
        for session in list(self.sessions):
            session.end("421 4.3.2 Shutting down")
        # TLS waits for the peer's goodbye, which may never come.
        await self._emptied(self.loop.time() + 0.5)
        for session in list(self.sessions):
            session.cut()
        await self._emptied(self.loop.time() + 0.5)
        if self._own:
            await asyncio.wait(set(self._own))
        if self._clock is not None:
            self._clock.cancel()

    async def _emptied(self, until: float) -> None:
        while self.sessions and self.loop.time() < until:
            await asyncio.sleep(0.01)

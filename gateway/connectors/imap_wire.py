"""The hardened protocol under one IMAP connection: the only home of aioimaplib.

``Protocol`` is a subclass of aioimaplib's protocol that replaces its parser and its waiting. It promises, whatever
the server does: framing by literal suffix only, without recursion; hard limits on lines, literals and untagged
answers; a lost connection wakes whoever waits, at once, with the real reason; a silent or dripping server ends in
TimedOut; nothing of what is sent or received is logged. Unsolicited floods are dropped as they come. It knows tags
and untagged answers, but no command's meaning: that is imap_client.py.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from time import monotonic
from typing import cast

from aioimaplib import aioimaplib

from gateway.connectors.imap_faults import LiteralTooBig, network_fault, translate
from gateway.connectors.imap_parse import Framer, Response, Status, TooBig, kind, number_of, status
from gateway.connectors.veil import Veil
from pipeline.errors import PostroomError, ProviderFault, TimedOut

aioimaplib.log.disabled = True  # it writes passwords and mail into the debug log

Sink = Callable[[str, int, Response], None]
_HELD_HIGH, _HELD_LOW = 1 << 20, 1 << 18
_SLICE = 0.005
"""Seconds for which the answers of one connection are read before others have their turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one server may cost us."""

    line: int = 64 * 1024
    """Bytes of lines in one response."""
    literal: int = 8 << 20
    """Bytes of literals in one response."""
    untagged: int = 10_000
    """Untagged answers to one command."""
    quiet: float = 60.0
    """Seconds without a byte while a command waits."""
    whole: float = 120.0
    """Seconds for a whole command, beyond those that its bytes take at ``rate``."""
    rate: float = 2048.0
    """Bytes per second that a server must keep up."""
    done: float = 30.0
    """Seconds for the end of IDLE."""


class Command:
    """One command under way."""

    __slots__ = (
        "continued",
        "given_up",
        "name",
        "octets",
        "quiet",
        "sending",
        "sink",
        "started",
        "status",
        "tag",
        "touched",
        "untagged",
    )

    def __init__(self, name: str, tag: bytes, sink: Sink | None, now: float, quiet: float) -> None:
        self.name = name
        self.tag = tag
        self.sink = sink
        self.started = self.touched = now
        self.quiet = quiet
        self.status: Status | None = None
        self.untagged = 0
        self.octets = 0
        self.sending = True
        """Whether bytes of it are still to be sent; then a continuation is welcome."""
        self.continued = False
        self.given_up = False
        """Nobody waits for it any more."""


class Protocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """aioimaplib's protocol with its own framing, limits, failure and flow control; knows no command's meaning."""

    __slots__ = (
        "_bye",
        "_command",
        "_framer",
        "_full",
        "_held",
        "_idle_event",
        "_paused_at",
        "_reads",
        "_unread",
        "_waiters",
        "_watch",
        "capabilities",
        "exists",
        "fault",
        "greeting",
        "idle_queue",
        "leaving",
        "limits",
        "news",
        "state_condition",
        "tasks",
        "transport",
        "uidvalidity",
        "upgrading",
        "veil",
        "where",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, where: str) -> None:
        super().__init__(loop)
        # aioimaplib's own ways to wait are not used here, and would cost each connection that idles 5 KiB.
        self.state_condition = self.idle_queue = self._idle_event = self.tasks = None
        self.limits = limits
        self.where = where
        self.fault: PostroomError | None = None
        self.greeting: Status | None = None
        self.exists = 0
        self.uidvalidity = 0
        self.veil = Veil()
        """Keeps out of every message what must never be quoted."""
        self.news = False
        """More messages than the selected folder had."""
        self.upgrading = False
        self.leaving = False
        self._framer = Framer(line=limits.line, literal=limits.literal)
        self._command: Command | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._bye: Status | None = None
        self._unread: list[Iterator[Response]] = []
        """What has come and is not looked at yet; while there is any, no more is read."""
        self._reads = True
        self._held = 0
        self._paused_at = 0.0
        self._full = False

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if certificate := transport.get_extra_info("peercert"):  # checked already; read in full it is 2 KiB and more
            certificate.clear()

    def data_received(self, data: bytes) -> None:
        if self.fault is not None:
            return
        if (command := self._command) is not None:
            command.touched = self.loop.time()
            command.octets += len(data)
        self._unread.append(self._framer.feed(bytes(data)))
        if len(self._unread) == 1:
            self._take(monotonic() + _SLICE)

    def _take(self, until: float) -> None:
        """Look at what has come; what is left at this time waits for the next turn of the loop."""
        try:
            while self._unread:
                for response in self._unread[0]:
                    if self.upgrading:
                        self._cleartext()
                    else:
                        self._dispatch(response)
                    if self.fault is not None:
                        return
                    if monotonic() > until:
                        self.loop.call_soon(self._go_on)
                        return
                del self._unread[0]
        except TooBig as error:
            self.fail(LiteralTooBig(f"{self.where}: the server sent {error}", error.uid))
        finally:
            if self._bye is not None and not self.leaving:
                self.fail(translate("BYE", self._bye))
            self._flow()
            self._notify()

    def _go_on(self) -> None:
        if self.fault is None and self._unread:
            self._take(monotonic() + _SLICE)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.fault is None:
            self._take(float("inf"))  # what came before the end counts
        self.fail(network_fault(exc, self.where))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._command is not None:
            self._command.touched = self.loop.time()
        self._notify()

    # What a response does

    def _dispatch(self, response: Response) -> None:
        line = response[0]
        if line.startswith(b"* "):
            self._untagged(line, response)
        elif self.greeting is None:
            self.fail(ProviderFault(f"{self.where}: not an IMAP server"))
        elif line.startswith(b"+"):
            self._continued()
        elif line:
            self._tagged(line)

    def _untagged(self, line: bytes, response: Response) -> None:
        word, number = kind(line)
        if self.greeting is None:
            self.greeting = status(line[2:])
            return
        self._unsolicited(word, number, line)
        if (command := self._command) is None or command.name == "IDLE":
            return
        command.untagged += 1
        if command.untagged > self.limits.untagged:
            self.fail(ProviderFault(f"{self.where}: more than {self.limits.untagged} answers to one {command.name}"))
        elif command.octets > self.limits.literal and command.name not in ("UID FETCH", "APPEND"):
            self.fail(ProviderFault(f"{self.where}: an answer to {command.name} without end"))
        elif command.sink is not None:
            command.sink(word, number, response)

    def _unsolicited(self, word: str, number: int, line: bytes) -> None:
        match word:
            case "EXISTS":
                self.news = self.news or number > self.exists
                self.exists = number
            case "EXPUNGE":
                self.exists -= 1
            case "CAPABILITY":
                self._learn(line[len("* CAPABILITY ") :].decode("ascii", "replace"))
            case "BYE":
                self._bye = self._said(line[2:])
            case "OK" if b"[UIDVALIDITY " in line.upper():
                epoch = number_of(status(line[2:]).argument)
                if self.uidvalidity not in (0, epoch):
                    self.fail(ProviderFault(f"{self.where}: the folder was renumbered while it was open"))

    def _continued(self) -> None:
        if (command := self._command) is None or not command.sending or command.continued:
            return self.fail(ProviderFault(f"{self.where}: the server asked for data that nobody offered"))
        command.continued = True
        return None

    def _tagged(self, line: bytes) -> None:
        tag, _, rest = line.partition(b" ")
        command, answer = self._command, self._said(rest)
        if command is None or tag != command.tag or answer.word not in ("OK", "NO", "BAD"):
            # The line may repeat what we sent, password included: it is not quoted.
            return self.fail(ProviderFault(f"{self.where}: the server answered what was not asked"))
        command.status = answer
        self._command = None
        if self._watch is not None:
            self._watch.cancel()
        if answer.word == "OK" and answer.code == "CAPABILITY":
            self._learn(answer.argument)
        self.upgrading = answer.word == "OK" and command.name == "STARTTLS"
        return None

    def _said(self, line: bytes) -> Status:
        """A status without the password, should the server repeat it."""
        return status(self.veil(line.decode("utf-8", "replace")).encode())

    def _learn(self, words: str) -> None:
        self.capabilities = _capabilities(words.upper())

    # What the client asks for

    async def execute(self, command: object, scrub: str | None = None) -> object:
        """Not for use: aioimaplib's own commands neither bound nor protect what they do."""
        raise NotImplementedError("use ImapWire")

    def begin(self, name: str, sink: Sink | None) -> Command:
        """Register a command; its bytes are the caller's to write."""
        command = Command(name, self.new_tag().encode(), sink, self.loop.time(), self.limits.quiet)
        self._command = command
        self._watch = self.loop.call_later(min(self.limits.quiet, self.limits.whole), self._check, command)
        return command

    @property
    def pending(self) -> Command | None:
        """The command that has no answer yet."""
        return self._command

    def _check(self, command: Command) -> None:
        """End a command that is silent, or slower than ``rate`` for longer than ``whole``."""
        if command is not self._command:
            return None
        now = self.loop.time()
        quiet = command.touched + command.quiet - now
        whole = command.started + self.limits.whole + command.octets / self.limits.rate - now
        if self._paused_at or command.quiet == float("inf"):
            quiet = whole = self.limits.quiet
        if quiet <= 0:
            return self.fail(TimedOut(f"{self.where}: no answer to {command.name} for {command.quiet:g} seconds"))
        if whole <= 0:
            return self.fail(TimedOut(f"{self.where}: the answer to {command.name} comes too slowly"))
        self._watch = self.loop.call_later(max(min(quiet, whole), 0.01), self._check, command)
        return None

    def patience(self, command: Command, seconds: float) -> None:
        """From now on the command may be silent for ``seconds``; infinite while IDLE waits."""
        command.quiet = seconds
        command.started = command.touched = self.loop.time()
        if self._watch is not None and command is self._command:
            self._watch.cancel()
            self._watch = self.loop.call_later(min(seconds, self.limits.whole), self._check, command)

    def hold(self, octets: int) -> None:
        """The consumer has so many bytes more (or less) to take: stop reading while it is behind."""
        self._held += octets
        if self.fault is not None:
            return
        if self._held > _HELD_HIGH and not self._paused_at:
            self._paused_at = self.loop.time()
            self._flow()
        elif self._held <= _HELD_LOW and self._paused_at:
            if self._command is not None:
                self._command.started += self.loop.time() - self._paused_at
                self._command.touched = self.loop.time()
            self._paused_at = 0.0
            self._flow()

    def _flow(self) -> None:
        """Read on, unless the consumer or we ourselves are behind."""
        reads = not self._paused_at and not self._unread
        if reads == self._reads or self.fault is not None or self.transport is None:
            return
        self._reads = reads
        if reads:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    async def write(self, data: bytes) -> None:
        """Send, and wait while the transport has enough."""
        if self.fault is not None:
            raise copy(self.fault)
        if self._command is not None:
            self._command.octets += len(data)
        self.transport.write(data)
        while self._full:
            await self.progress()

    async def progress(self) -> None:
        """Until something happened; raises the reason if the connection is over."""
        if self.fault is not None:
            raise copy(self.fault)
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, fault: PostroomError) -> None:
        """End the connection for this reason, the first one given; everyone who waits learns it now."""
        if self.fault is None:
            self.fault = fault
            self._unread.clear()
            if self._watch is not None:
                self._watch.cancel()
            if self.transport is not None:
                self.transport.abort()
        self._notify()

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Put TLS under the connection; forgets all that was said before it (RFC 3501 section 6.2.1)."""
        if self._framer.midway or self._unread:
            self._cleartext()
        if self.fault is not None:
            raise copy(self.fault)
        transport = await self.loop.start_tls(self.transport, self, context, server_hostname=host)
        if transport is None:
            raise ProviderFault(f"{self.where}: TLS failed")
        self.transport = transport
        self.capabilities = frozenset()
        self.upgrading = False

    def _cleartext(self) -> None:
        # Whoever put these bytes here wants them to count as said under TLS.
        self.fail(ProviderFault(f"{self.where}: bytes in the clear where TLS was to begin"))


@functools.lru_cache(maxsize=32)
def _capabilities(words: str) -> frozenset[str]:
    """What a server offers; the connections to one server share it (2 KiB less for each)."""
    return frozenset(words.split())

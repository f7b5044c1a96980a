"""What the tests of the relay share: a desk that takes submissions, a wire without a network, and a client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Callable
from typing import Any

from gateway.listeners import RunningRelay
from gateway.relay import RelaySession
from gateway.smtp_grammar import Reply
from gateway.submission import ListenerSettings, Mode, RelayLimits, Submission
from pipeline.mail import OPENING, RelayUser
from pipeline.store.content import Written

PRINTER = RelayUser(id=1, name="printer")
CRM = RelayUser(id=2, name="crm")
PASSWORD = "correct horse"


class Writer:
    """A content writer that keeps everything in memory."""

    def __init__(self, desk: Desk) -> None:
        self.content_id = len(desk.writers) + 1
        self.content = b""
        self.finished = False
        self._desk = desk
        desk.writers.append(self)

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        if self._desk.store_error is not None:
            raise self._desk.store_error
        self.content += data

    async def finish(self) -> Written:
        self.finished = True
        digest = hashlib.sha256(self.content).digest()
        return Written(self.content_id, len(self.content), digest, self.content[:OPENING])


class Desk:
    """Stands for the rest of Postroom; what it was handed is in ``taken``."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.writers: list[Writer] = []
        self.tried: list[tuple[str, str]] = []
        self.reply = Reply(250, "2.6.0", "Taken")
        self.error: Exception | None = None
        self.store_error: Exception | None = None
        self.gate = asyncio.Event()
        """Submissions wait here before they are committed."""
        self.gate.set()

    async def sign_in(self, name: str, password: str) -> RelayUser | None:
        self.tried.append((name, password))
        await asyncio.sleep(0)
        return CRM if (name, password) == ("crm", PASSWORD) else None

    def user_of_network(self, peer_ip: str) -> RelayUser | None:
        return PRINTER if peer_ip == "127.0.0.1" else None

    def content_writer(self) -> Writer:
        return Writer(self)

    async def submit(self, submission: Submission) -> Reply:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(submission)
        return self.reply

    def contents(self) -> list[bytes]:
        """The content of each submission."""
        stored = {writer.content_id: writer.content for writer in self.writers}
        return [one.data if one.written is None else stored[one.written.content_id] for one in self.taken]


class Wire(asyncio.Transport):
    """A transport without a network: what the session writes is in ``sent``."""

    def __init__(self, peer: str = "127.0.0.1") -> None:
        super().__init__()
        self.sent = b""
        self.closed = False
        self.paused = False
        self.session: RelaySession | None = None
        self._peer = peer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._peer, 4711) if name == "peername" else default

    def write(self, data: Any) -> None:
        assert not self.closed, "nothing is written to a closed connection"
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.lose)

    abort = close

    def lose(self) -> None:
        self.closed = True
        if self.session is not None:
            self.session.connection_lost(None)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Direct:
    """A session fed by hand, over the plain listener unless told otherwise."""

    def __init__(
        self,
        desk: Desk | None = None,
        *,
        mode: Mode = Mode.PLAIN,
        limits: RelayLimits | None = None,
        peer: str = "127.0.0.1",
        relay: RunningRelay | None = None,
    ) -> None:
        self.desk = desk or Desk()
        loop = asyncio.get_running_loop()
        self.relay = relay or RunningRelay(self.desk, limits or RelayLimits(error_delay=0), "relay.example", loop)
        self.session = RelaySession(self.relay, ListenerSettings(name="direct", mode=mode))
        self.wire = Wire(peer)
        self.wire.session = self.session
        self.session.connection_made(self.wire)
        self._read = 0

    async def say(self, *parts: bytes) -> str:
        """Hand the session these segments, one by one, and let it come to rest; what it said."""
        for part in parts:
            if not self.wire.closed:
                self.session.data_received(part)
            await settle()
        return self.heard()

    def heard(self) -> str:
        """What the session said since last asked."""
        said, self._read = self.wire.sent[self._read :], len(self.wire.sent)
        return said.decode()

    async def ready_for_content(self) -> Direct:
        """With an envelope and DATA behind it."""
        said = await self.say(
            b"EHLO client.example\r\n",
            b"MAIL FROM:<desk@shop.example>\r\n",
            b"RCPT TO:<desk@far.example>\r\n",
            b"DATA\r\n",
        )
        assert said.splitlines()[-1].startswith("354"), said
        return self


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(12):
        await asyncio.sleep(0)


class Client:
    """A client on a real connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Client:
        """Connect and read the greeting."""
        client = cls(
            *await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None)
        )
        assert (await client.answer()).startswith("220")
        return client

    async def answer(self) -> str:
        """One answer, all its lines; "" when the connection is over."""
        lines: list[str] = []
        while True:
            try:
                line = (await asyncio.wait_for(self.reader.readline(), 20)).decode()
            except ConnectionError:
                line = ""
            lines.append(line)
            if line[3:4] != "-":
                return "".join(lines)

    async def ask(self, line: str | bytes) -> str:
        """A command and its answer."""
        self.writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.answer()

    async def starttls(self, context: ssl.SSLContext) -> None:
        """Change over, from the client's side."""
        await self.writer.start_tls(context, server_hostname="localhost")

    async def sign_in(self, password: str = PASSWORD, name: str = "crm") -> str:
        """EHLO and AUTH PLAIN."""
        await self.ask("EHLO client.example")
        return await self.ask("AUTH PLAIN " + plain(name, password))

    async def envelope(self, *recipients: str) -> None:
        """MAIL, RCPT and DATA."""
        assert (await self.ask("MAIL FROM:<desk@shop.example>")).startswith("250")
        for recipient in recipients or ("desk@far.example",):
            assert (await self.ask(f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await self.ask("DATA")).startswith("354")

    def close(self) -> None:
        """Be gone, at once."""
        self.writer.transport.abort()


def plain(name: str, password: str) -> str:
    """The initial response of AUTH PLAIN (RFC 4616)."""
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)

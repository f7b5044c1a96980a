"""The lower half of the demo's servers: bounded lines over a connection, and a port that can die and come back.

``Wire`` reads lines, counted bytes and dot-ended data, all bounded, and can end with a reset instead of a farewell.
``Listener`` owns one port for its whole life: while its server is dead the port stays reserved, so that a resumed
provider is found where it was and nobody else moves in. It knows neither IMAP nor SMTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

LINE_LIMIT = 64 * 1024
_CHUNK = 64 * 1024
_SILENCE = 1800.0
"""Seconds that a client may be silent (RFC 3501 section 5.4 asks for at least 30 minutes)."""


class Hangup(Exception):
    """The talk is over: the client went away, or broke a limit."""


class Wire:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()

    @property
    def secure(self) -> bool:
        """Whether TLS protects this connection."""
        return self._writer.get_extra_info("ssl_object") is not None

    async def line(self, limit: int = LINE_LIMIT) -> bytes:
        """The next line, without its end."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            if len(self._buffer) > limit:
                raise Hangup("line too long")
            start = len(self._buffer)
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        while len(self._buffer) < count:
            await self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def dotted(self, limit: int) -> bytes | None:
        """Content up to the lone dot, dots unstuffed (RFC 5321 section 4.5.2); None if it is longer than ``limit``."""
        body = bytearray(b"\r\n") + self._buffer
        start, whole = 0, True
        while (end := body.find(b"\r\n.\r\n", start)) < 0:
            if len(body) > limit + 5:
                whole = False
                del body[:-4]
            start = max(0, len(body) - 4)
            self._buffer.clear()
            await self._more()
            body += self._buffer
        self._buffer = body[end + 5 :]
        if not whole or end > limit:
            return None
        return bytes(body[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client reads slowly."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(_SILENCE):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise Hangup(str(error)) from error

    async def say(self, *lines: bytes) -> None:
        """Write lines, their ends added."""
        await self.send(b"".join(line + b"\r\n" for line in lines))

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Go on under TLS; bytes that came before the handshake are an attack (CVE-2011-0411) and end the talk."""
        if self._buffer:
            raise Hangup("data before the TLS handshake")
        try:
            await self._writer.start_tls(context, ssl_handshake_timeout=10)
        except (OSError, TimeoutError) as error:
            raise Hangup(str(error)) from error

    async def close(self) -> None:
        """Say goodbye properly."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    def reset(self) -> None:
        """Drop the connection so that the client sees a reset (RST), as when a server dies."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(_SILENCE):
                data = await self._reader.read(_CHUNK)
        except (OSError, TimeoutError) as error:
            raise Hangup(str(error)) from error
        if not data:
            raise Hangup("end of input")
        self._buffer += data


Talk = Callable[[Wire], Awaitable[None]]


class Listener:
    """One port on the loopback interface, with everything that talks on it."""

    def __init__(self, talk: Talk, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._talk = talk
        self._host = host
        self._tls = tls
        self._reserved: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[None], Wire] = {}

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._talks)

    async def open(self) -> None:
        """Listen; on the same port as before if there was one."""
        if self._reserved is None:
            self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._reserved.bind((self._host, self.port))
            self.port = self._reserved.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, self._host, self.port, ssl=self._tls, reuse_port=True, backlog=1000
        )

    def kill(self) -> None:
        """Die at once: no listener, every connection reset. The port stays ours."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset_all()

    def reset_all(self) -> None:
        """Reset every connection."""
        for task, wire in list(self._talks.items()):
            wire.reset()
            if task is not asyncio.current_task():
                task.cancel()

    async def close(self) -> None:
        """The end: die, and let go of the port."""
        talks = list(self._talks)
        self.kill()
        await asyncio.gather(*talks, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        wire = Wire(reader, writer)
        self._talks[task] = wire
        try:
            await self._talk(wire)
            await wire.close()
        except (Hangup, OSError, asyncio.CancelledError):
            # Cancelled means killed: the connection is reset already, and there is nobody to tell.
            wire.reset()
        finally:
            del self._talks[task]

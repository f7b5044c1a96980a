"""A hostile IMAP server that plays a script: each test says what is sent, byte by byte, after which command.

``async with ScriptedImap(script) as server`` listens on a free loopback port and runs ``script(dialogue)`` once for
each connection. What goes wrong in a script is raised where the server ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

CAPABILITIES = b"IMAP4rev1 IDLE UIDPLUS MOVE"
_TAGGED = re.compile(rb"(\S+) (.*)", re.DOTALL)
_LITERAL = re.compile(rb"\{(\d+)\}$")


class Dialogue:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.tag = b""
        self.heard: list[bytes] = []
        """All commands so far, without their tags; literals in place."""

    async def send(self, data: bytes) -> None:
        """Say something; ``TAG`` stands for the tag of the last command."""
        self._writer.write(data.replace(b"TAG", self.tag))
        await self._writer.drain()

    async def line(self) -> bytes:
        """The next line, without its end; b"" when the client is gone."""
        return (await self._reader.readline()).rstrip(b"\r\n")

    async def command(self) -> bytes:
        """The next command without its tag, its literals asked for; b"" when the client is gone."""
        line = await self.line()
        while match := _LITERAL.search(line):
            await self.send(b"+ go on\r\n")
            line += b"\r\n" + await self._reader.readexactly(int(match[1])) + await self.line()
        if (tagged := _TAGGED.match(line)) is None:
            return line
        self.tag = tagged[1]
        self.heard.append(tagged[2])
        return tagged[2]

    async def expect(self, word: bytes, answer: bytes = b"TAG OK done\r\n") -> bytes:
        """The next command, which must begin so; then ``answer`` is sent."""
        said = await self.command()
        assert said.upper().startswith(word.upper()), (word, said)
        await self.send(answer)
        return said

    async def greet(self) -> None:
        """An ordinary beginning, up to the end of CAPABILITY."""
        await self.send(b"* OK ready\r\n")
        await self.expect(b"CAPABILITY", b"* CAPABILITY %b\r\nTAG OK done\r\n" % CAPABILITIES)

    async def sign_in(self) -> None:
        """An ordinary beginning, up to the end of LOGIN."""
        await self.greet()
        await self.sign_in_only()

    async def sign_in_only(self) -> None:
        """An ordinary answer to LOGIN."""
        await self.expect(b"LOGIN", b"TAG OK [CAPABILITY %b] in\r\n" % CAPABILITIES)

    async def opened(self, *, exists: int = 1, epoch: int = 7, uidnext: int = 2) -> None:
        """An ordinary answer to EXAMINE or SELECT."""
        said = await self.command()
        assert said.upper().startswith((b"EXAMINE", b"SELECT")), said
        codes = b"* OK [UIDVALIDITY %d] v\r\n* OK [UIDNEXT %d] n\r\n" % (epoch, uidnext)
        await self.send(b"* FLAGS ()\r\n* %d EXISTS\r\n%bTAG OK [READ-WRITE] open\r\n" % (exists, codes))

    async def starttls(self, context: ssl.SSLContext) -> None:
        """Begin TLS on this connection."""
        await self._writer.start_tls(context)

    async def gone(self) -> None:
        """Until the client has left."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def reset(self) -> None:
        """Tear the connection down with a RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Dialogue], Awaitable[object]]


class ScriptedImap:
    """The server; ``dialogues`` keeps every connection for later questions."""

    host = "127.0.0.1"

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.dialogues: list[Dialogue] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors and error is None:
            raise self._errors[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        dialogue = Dialogue(reader, writer)
        self.dialogues.append(dialogue)
        try:
            await self._script(dialogue)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client may leave, and the test may be over, at any time
        except AssertionError as error:
            self._errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

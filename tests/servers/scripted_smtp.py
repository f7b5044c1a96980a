"""A submission server that does as it is told: answers by script, hangs, or hangs up, at any place of the dialogue.

``async with Scripted(...) as server`` listens on ``server.port``. Places are named by the verb of a command, by the
whole command (``RCPT TO:<a@far.example>``, which wins over the verb), or by ``greeting``, ``content`` (in the middle of
the content) and ``dot``. At each place ``answers`` gives the reply; ``HANG_UP`` closes instead, ``HANG`` says no more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

HANG_UP = "<hang up>"
HANG = "<hang>"

_USUAL = {
    "greeting": "220 far.example ESMTP",
    "HELO": "250 far.example",
    "MAIL": "250 2.1.0 OK",
    "RCPT": "250 2.1.5 OK",
    "DATA": "354 Go on",
    "dot": "250 2.0.0 Taken as 4711",
    "RSET": "250 2.0.0 OK",
    "NOOP": "250 2.0.0 OK",
    "QUIT": "221 2.0.0 Bye",
    "AUTH": "235 2.7.0 Welcome",
    "STARTTLS": "220 2.0.0 Go ahead",
}


class Scripted:
    """One such server; what it heard is in ``commands``, and each content with its dot in ``contents``."""

    def __init__(
        self,
        answers: Mapping[str, str] | None = None,
        *,
        offers: tuple[str, ...] = ("SIZE 1000000", "8BITMIME", "AUTH PLAIN LOGIN"),
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = {**_USUAL, **(answers or {})}
        self.once: dict[str, str] = {}
        """Answers for the next time only."""
        self.offers = offers
        self.commands: list[str] = []
        self.contents: list[bytes] = []
        """As they came over the wire, dots still doubled, without the line that ends them."""
        self.cut: list[bytes] = []
        """What had come of a content when the place ``content`` was reached."""
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._starttls = starttls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close all connections; new ones are taken."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(writer, "greeting")
        while line := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
            self.commands.append(line)
            verb = line.split(" ")[0].upper()
            await self._answer(writer, line if line in self.answers else verb)
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and self._starttls is not None:
                await writer.start_tls(self._starttls)
            if verb == "DATA" and self.answers["DATA"].startswith("354"):
                await self._content(reader, writer)

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        content = bytearray()
        while (line := await reader.readline()) != b".\r\n":
            content += line
            if not line:
                raise ConnectionResetError
            if "content" in self.answers and not self.cut:
                self.cut.append(bytes(content))
                await self._answer(writer, "content")
        self.contents.append(bytes(content))
        await self._answer(writer, "dot")

    async def _answer(self, writer: asyncio.StreamWriter, place: str) -> None:
        answer = self.once.pop(place, None) or self.answers.get(place, "500 5.5.1 What?")
        if place == "EHLO" and "EHLO" not in self.answers:
            answer = "\r\n".join(
                [*(f"250-{line}" for line in ("far.example", *self.offers)), "250 ENHANCEDSTATUSCODES"]
            )
        if answer == HANG_UP:
            raise ConnectionResetError
        if answer == HANG:
            await asyncio.Event().wait()
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        if answer.startswith("421"):
            raise ConnectionResetError

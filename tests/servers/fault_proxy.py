"""A network that fails on purpose: a TCP proxy on loopback that refuses, resets, stalls, drips or cuts.

``async with FaultProxy(port) as proxy`` forwards ``proxy.port`` to ``port``. ``proxy.trouble`` says what goes wrong,
for connections that are open as for new ones; ``proxy.at`` says after how many bytes of a connection, both ways
counted together, it goes wrong (0: from the beginning). It knows no protocol, so it suits IMAP and SMTP alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from enum import StrEnum
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024


class Trouble(StrEnum):
    """What is wrong with the network."""

    NONE = "none"
    REFUSE = "refuse"
    """Nobody listens; at a place within a dialogue, the same as RESET."""
    RESET = "reset"
    """The connection is torn down (RST) for both ends."""
    CUT = "cut"
    """Both ends are told that the other has ended (FIN)."""
    STALL = "stall"
    """Nothing passes any more, and nobody is told."""
    HALF_OPEN = "half-open"
    """The server is gone, and the client is not told; what it sends vanishes."""
    DRIP = "drip"
    """One byte at a time."""


class FaultProxy:
    """One port that leads to another, as well as the trouble lets it."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", pause: float = 0.001) -> None:
        self._target = host, port
        self._pause = pause
        """Seconds between two bytes that drip."""
        self.trouble = Trouble.NONE
        self.at = 0
        self.once = False
        """Only the first connection that gets there is in trouble; then all is well."""
        self.struck = 0
        """How many connections were."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._open: set[_Pair] = set()

    async def __aenter__(self) -> Self:
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = self._reserved.getsockname()[1]
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        for task in list(self._pairs):
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_port=True)

    def drop(self) -> None:
        """End every connection that is open, so that the next one meets the trouble from its beginning."""
        for pair in list(self._open):
            pair.abort()

    async def refuse(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def heal(self) -> None:
        """All is well again, for new connections; those in trouble stay as they are."""
        self.trouble, self.at, self.once = Trouble.NONE, 0, False
        if self._server is None:
            await self._listen()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        pair: _Pair | None = None
        try:
            pair = _Pair(self, reader, writer, *await asyncio.open_connection(*self._target))
            self._open.add(pair)
            await pair.run()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(task)
            if pair is not None:
                self._open.discard(pair)
            for each in (writer, pair.server if pair else None):
                if each is not None:
                    with contextlib.suppress(OSError, RuntimeError):
                        each.transport.abort()

    @property
    def pause(self) -> float:
        """Seconds between two bytes that drip."""
        return self._pause


class _Pair:
    """One connection and its other half."""

    def __init__(
        self, proxy: FaultProxy, up: asyncio.StreamReader, client: asyncio.StreamWriter, down: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self._proxy = proxy
        self._ways = ((up, server), (down, client))
        self.client = client
        self.server = server
        self._passed = 0
        self._fate = Trouble.NONE

    async def run(self) -> None:
        """Until both ways have ended."""
        await asyncio.gather(*(self._carry(*way) for way in self._ways))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                while data:
                    piece = data[: self._room(len(data))]
                    if not piece:
                        await self._meet_fate()
                        piece = data[: self._room(len(data))]
                        if not piece:
                            return
                    self._passed += len(piece)
                    writer.write(piece)
                    await writer.drain()
                    data = data[len(piece) :]
                    if self._dripping:
                        await asyncio.sleep(self._proxy.pause)
            if self._fate is Trouble.NONE and writer.can_write_eof():
                writer.write_eof()
        except (OSError, RuntimeError):
            self.abort()

    @property
    def _dripping(self) -> bool:
        return self._proxy.trouble is Trouble.DRIP and self._passed >= self._proxy.at

    def _room(self, wanted: int) -> int:
        """How many of these bytes pass now."""
        proxy = self._proxy
        if self._fate is not Trouble.NONE:
            return 0
        if proxy.trouble is Trouble.NONE:
            return wanted
        if proxy.trouble is Trouble.DRIP:
            return 1 if self._dripping else min(wanted, proxy.at - self._passed)
        return min(wanted, max(0, proxy.at - self._passed))

    async def _meet_fate(self) -> None:
        """This connection has come to where it goes wrong."""
        proxy = self._proxy
        if self._fate is Trouble.NONE:
            self._fate = Trouble(proxy.trouble)
            proxy.struck += 1
            if proxy.once:
                proxy.trouble, proxy.once = Trouble.NONE, False
        if self._fate in (Trouble.RESET, Trouble.REFUSE):
            self.abort()
        elif self._fate is Trouble.CUT:
            for writer in (self.client, self.server):
                writer.close()
        else:
            if self._fate is Trouble.HALF_OPEN:
                self.server.transport.abort()
            await asyncio.Event().wait()

    def abort(self) -> None:
        """Tear both halves down (RST)."""
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

"""The guest's end of the control socket: typed calls, and the feed of ``watch``.

    async with connected(path) as client:
        page = await client.call(ListMail(state="held"))

Calls may be made at the same time. Raises ``Unreachable`` where no daemon answers, and ``CallFailed`` with the
daemon's own sentence where one did and said no.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from gateway.codec import BadValue, decode
from gateway.control import (
    LONGEST_LINE,
    Batch,
    Call,
    Snapshot,
    Watch,
    WireFault,
    read_answer,
    reply_type,
    request_line,
)

R = TypeVar("R")


class Unreachable(Exception):
    """No daemon answers at the socket, or it went away."""


class CallFailed(Exception):
    """The daemon said no; ``code`` is a ``Code``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Client:
    """One connection to the daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._batches: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())

    async def call(self, call: Call[R]) -> R:
        """Make a call and wait for its answer."""
        if self._task.done():
            raise Unreachable("the daemon closed the connection")
        self._last += 1
        line = request_line(self._last, call)
        if len(line) > LONGEST_LINE:
            raise CallFailed(1, "the request is longer than 1 MiB")
        answer = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        self._writer.write(line)
        try:
            await self._writer.drain()
            made: R = decode(reply_type(type(call)), await answer)
            return made
        except ConnectionError:
            raise Unreachable("the daemon closed the connection") from None
        except BadValue as fault:
            raise Unreachable(f"the daemon is of another version than this command ({fault})") from None

    async def watch(self) -> AsyncIterator[Snapshot | Batch]:
        """A snapshot, then what happens; a new snapshot after each gap. Ends with Unreachable."""
        snapshot: Snapshot = await self.call(Watch())
        yield snapshot
        while (batch := await self._batches.get()) is not None:
            if batch.gap:
                snapshot = await self.call(Watch())
                yield snapshot
            else:
                yield batch
        raise Unreachable("the daemon closed the connection")

    async def close(self) -> None:
        """Hang up."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(line)
        except (OSError, ValueError):  # ValueError: a line longer than the limit
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Unreachable("the daemon went away"))
            self._batches.put_nowait(None)

    def _take(self, line: bytes) -> None:
        try:
            answer = read_answer(line)
        except WireFault as fault:
            if (future := self._waiting.pop(fault.id or 0, None)) and not future.done():
                future.set_exception(CallFailed(fault.code, str(fault)))
            return
        if not answer.id:
            self._batches.put_nowait(decode(Batch, answer.value))
        elif (future := self._waiting.pop(answer.id, None)) and not future.done():
            future.set_result(answer.value)


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    """A client for the daemon at this socket; raises Unreachable with what to do."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=LONGEST_LINE + 1024)
    except PermissionError:
        raise Unreachable(f"you may not open {path}: ask to be made a member of its group, see: ls -l {path}") from None
    except OSError as error:
        raise Unreachable(f"no daemon answers at {path} ({error.strerror}); start one: postroom run") from None
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()

"""The guest's end of the control socket: typed calls, and the feed of ``watch``.

    async with connected(path) as client:
        page = await client.call(ListMail(state="held"))

Calls may be made at the same time. Raises ``Unreachable`` where no daemon answers, ``OtherVersion`` where one does
that speaks otherwise, and ``CallFailed`` with the daemon's own sentence where one did and said no. ``hello`` first
tells two versions apart by their names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from gateway.codec import BadValue, decode
from gateway.control import (
    LONGEST_LINE,
    VERSION,
    Batch,
    Call,
    Code,
    Me,
    Snapshot,
    Watch,
    WhoAmI,
    WireFault,
    bare_line,
    read_answer,
    reply_type,
    request_line,
)

R = TypeVar("R")
_MISFITS = (Code.NO_METHOD, Code.BAD_PARAMS)
"""How a daemon of another version says that it does not understand."""


class Unreachable(Exception):
    """No daemon answers at the socket, or it went away."""


class NotAllowed(Unreachable):
    """This person may not open the socket; the text says what to do."""


class OtherVersion(Unreachable):
    """A daemon answers, but not as this version understands it."""


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
        self._differs = ""
        """That the daemon is of another version, in words, once ``hello`` has shown it."""
        self._misread = ""
        """What in the feed could not be read."""
        self._task = asyncio.create_task(self._read())

    async def hello(self, via: str = "") -> Me:
        """Say whence we come, and hear who the daemon takes us for; raises OtherVersion where we cannot talk."""
        try:
            answer = await self._whoami(via)
        except CallFailed as error:
            if error.code in _MISFITS:
                raise OtherVersion(_differs("")) from None
            raise
        version = answer.get("version") if isinstance(answer, dict) else ""
        version = version if isinstance(version, str) else ""
        self._differs = "" if version == VERSION else _differs(version)
        try:
            return decode(Me, answer)
        except BadValue:
            raise OtherVersion(_differs(version)) from None

    async def _whoami(self, via: str) -> Any:
        """The answer as it comes; a daemon that knows no ``via`` is asked without."""
        try:
            return await self._ask(WhoAmI(via=via), request_line)
        except CallFailed as error:
            if error.code != Code.BAD_PARAMS:
                raise
        return await self._ask(WhoAmI(), bare_line)

    async def call(self, call: Call[R]) -> R:
        """Make a call and wait for its answer."""
        try:
            made: R = decode(reply_type(type(call)), await self._ask(call, request_line))
            return made
        except BadValue as fault:
            raise self._other(fault) from None
        except CallFailed as error:
            if self._differs and error.code in _MISFITS:
                raise self._other(error) from None
            raise

    def _other(self, fault: object) -> OtherVersion:
        return OtherVersion(f"{self._differs or 'the daemon is of another version than this command'} ({fault})")

    async def _ask(self, call: Call[Any], line_of: Callable[[int, Call[Any]], bytes]) -> Any:
        """An answer that is not decoded yet."""
        if self._task.done():
            raise self._gone()
        self._last += 1
        line = line_of(self._last, call)
        if len(line) > LONGEST_LINE:
            raise CallFailed(1, "the request is longer than 1 MiB")
        answer = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        self._writer.write(line)
        try:
            await self._writer.drain()
            return await answer
        except ConnectionError:
            raise self._gone() from None

    def _gone(self) -> Unreachable:
        return self._other(self._misread) if self._misread else Unreachable("the daemon closed the connection")

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
        raise self._gone()

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
        except BadValue as fault:
            self._misread = str(fault)
        except (OSError, ValueError):  # ValueError: a line longer than the limit
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._gone())
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
        raise NotAllowed(f"you may not open {path}: {_closed(path)}") from None
    except OSError as error:
        raise Unreachable(f"no daemon answers at {path} ({error.strerror}); start one: postroom run") from None
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()


def _differs(version: str) -> str:
    """That a daemon of this version, "" where it did not say, and this command do not fit together."""
    if not version:
        return f"the daemon is of another version than this command, which is {VERSION}: use the same version on both"
    if version == VERSION:
        return f"the daemon is another build of Postroom {VERSION} than this command: restart it"
    return f"the daemon is Postroom {version[:40]}, this command is {VERSION}: use the same version on both"


def _closed(path: Path) -> str:
    """Who may open a socket that we may not."""
    from grp import getgrgid

    try:
        number = os.stat(path).st_gid
    except OSError:
        return f"its folder {path.parent} cannot be read; ask an admin of this host for the right group"
    try:
        group = getgrgid(number).gr_name
    except KeyError:
        group = str(number)
    if number == 0:  # nobody should join that one
        return "it belongs to the group root; name another one as socket_group in [daemon] of the settings"
    return f"it belongs to the group {group}; join it: sudo usermod -aG {group} $USER, then log in again"

"""The daemon's end of the control socket.

It owns the socket file (mode 0660), who is at the other end (the kernel's word: uid and groups), the limits on what a
guest may ask for, and the feed of ``watch``. Each connection is a session of its own: what goes wrong in one is told
there and nowhere else. What a call means is desk.py's business; here it is only checked that the caller may make it.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import logging
import os
import pwd
import socket
import stat
import struct
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gateway.control import (
    LONGEST_LINE,
    Batch,
    Call,
    Code,
    Role,
    Snapshot,
    Watch,
    WhoAmI,
    WireFault,
    allowed,
    batch_line,
    error_line,
    method_of,
    read_request,
    reply_line,
)
from gateway.events import Events, Heard, Listener
from gateway.rows import Status
from gateway.text import safe_text
from pipeline.errors import NeedsPerson, PostroomError, Refused, Transient
from pipeline.people import Actor

if TYPE_CHECKING:
    from gateway.settings import Roles

SO_PEERGROUPS = 59
"""Linux; Python 3.11 has no name for it. It omits the primary group, which SO_PEERCRED tells."""
MOST_SESSIONS = 200
MOST_SESSIONS_OF_ONE = 50
MOST_CALLS = 16
"""Of one session at the same time; more wait in the socket."""
BATCH_SECONDS = 0.1
QUIET_SECONDS = 1.2
"""After the last facts, the account is told once more: longer than the desk keeps a count."""
SLOW_READER_SECONDS = 30.0
LONGEST_VIA = 100
log = logging.getLogger("postroom.control")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is at the other end."""

    name: str
    uid: int
    roles: frozenset[Role]
    via: str = ""
    """Whence they say to come; a claim, unlike the rest."""

    @property
    def actor(self) -> Actor:
        """As the audit names them."""
        return Actor(name=self.name, uid=self.uid, role=",".join(sorted(self.roles)), via=self.via)


class Desk(Protocol):
    """What answers the calls."""

    async def answer(self, call: Call[Any], caller: Caller) -> Any:
        """The reply to a call that the caller may make; raises errors of ``pipeline.errors``."""
        ...

    async def status(self, caller: Caller) -> Status:
        """The snapshot that a feed begins with."""
        ...

    async def batch(self, heard: Heard, caller: Caller) -> Batch:
        """Facts with the rows that this caller may see."""
        ...


def role_groups(roles: Roles) -> dict[Role, str]:
    """The groups of this host that the settings give roles to."""
    return {role: getattr(roles, role.value) for role in Role}


def roles_of(uid: int, groups: Iterable[int], names: dict[Role, str]) -> frozenset[Role]:
    """The roles of a peer; root and the daemon's own user are admin."""
    if uid in (0, os.geteuid()):
        return frozenset({Role.ADMIN})
    numbers = {role: number for role, name in names.items() if (number := _group(name)) is not None}
    mine = set(groups)
    return frozenset(role for role, number in numbers.items() if number in mine)


def peer_of(connection: socket.socket) -> tuple[int, set[int]]:
    """The uid and all groups of the process at the other end, as they were when it connected."""
    _, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    size = 4 * 256
    while True:
        try:
            raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, size)
        except OSError as error:
            if error.errno != errno.ERANGE or size > 4 * 65536:
                raise
            size *= 4
        else:
            return uid, {gid, *struct.unpack(f"{len(raw) // 4}I", raw)}


def listen(path: Path, group: str) -> socket.socket:
    """The control socket, mode 0660 from its first moment; raises Refused where another daemon has it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _clear(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        unfinished.unlink()
    try:
        server.bind(str(unfinished))
        os.chmod(unfinished, 0o600)
        if group and (number := _group(group)) is not None:
            with suppress(PermissionError):
                os.chown(unfinished, -1, number)
        os.chmod(unfinished, 0o660)
        server.listen(128)
        os.rename(unfinished, path)
    except OSError as error:
        server.close()
        raise Refused(f"the control socket {path} cannot be made: {error.strerror or error}") from None
    return server


def _clear(path: Path) -> None:
    """Remove the socket of a daemon that is gone."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Refused(f"{path} is in the way of the control socket, and is no socket; move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(FileNotFoundError):
                path.unlink()
        except OSError:
            raise Refused(f"another daemon holds the control socket {path}") from None
        else:
            raise Refused(f"another daemon answers at the control socket {path}; see: postroom status")


class ControlServer:
    """Serves sessions until it is closed."""

    def __init__(self, desk: Desk, events: Events, role_groups: dict[Role, str]) -> None:
        self._desk = desk
        self._events = events
        self._groups = role_groups
        self._sessions: dict[asyncio.Task[None], int] = {}
        self._server: asyncio.Server | None = None

    async def start(self, server: socket.socket) -> None:
        """Serve on a listening socket: ``listen``'s, or one inherited from systemd."""
        self._server = await asyncio.start_unix_server(self._connected, sock=server, limit=LONGEST_LINE + 2)

    async def close(self, *, remove: Path | None = None) -> None:
        """End all sessions; ``remove`` is the socket file, where it is ours to take away."""
        if self._server:
            self._server.close()
        for task in list(self._sessions):
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        if remove is not None:
            with suppress(FileNotFoundError):
                remove.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            uid, groups = peer_of(_socket_of(writer))
            counts = Counter(self._sessions.values())
            self._sessions[task] = uid
            caller = Caller(name=_login(uid), uid=uid, roles=roles_of(uid, groups, self._groups))
            session = _Session(self._desk, self._events, caller, reader, writer, self._groups)
            if counts.total() >= MOST_SESSIONS or counts[uid] >= MOST_SESSIONS_OF_ONE:
                await session.send(error_line(None, Code.NOT_NOW, "too many sessions are open; close some"))
            else:
                await session.run()
        except (OSError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a control session failed")
        finally:
            self._sessions.pop(task, None)
            writer.close()


class _Session:
    """One guest."""

    def __init__(
        self,
        desk: Desk,
        events: Events,
        caller: Caller,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        groups: dict[Role, str],
    ) -> None:
        self._groups = groups
        self._desk = desk
        self._events = events
        self._caller = caller
        self._reader = reader
        self._writer = writer
        self._room = asyncio.Semaphore(MOST_CALLS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None

    async def run(self) -> None:
        try:
            while line := await self._line():
                await self._room.acquire()
                self._spawn(self._serve(line), self._room)
        finally:
            if self._listener:
                self._listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send(self, line: bytes) -> None:
        """Write a line; a guest that does not read is hung up on."""
        self._writer.write(line)
        try:
            async with asyncio.timeout(SLOW_READER_SECONDS):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            await self.send(error_line(None, Code.NOT_A_CALL, "the line is longer than 1 MiB"))
        except asyncio.IncompleteReadError:
            pass  # the guest hung up, maybe in the middle of a line
        return b""

    def _spawn(self, work: Any, room: asyncio.Semaphore | None = None) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if room is not None:
            task.add_done_callback(lambda _: room.release())

    async def _serve(self, line: bytes) -> None:
        try:
            answer = await self._answer(*read_request(line))
        except WireFault as fault:
            answer = error_line(fault.id, fault.code, str(fault))
        with suppress(OSError):
            await self.send(answer)

    async def _answer(self, id: int, call: Call[Any]) -> bytes:
        if not allowed(call, self._caller.roles):
            raise WireFault(Code.NOT_PERMITTED, _not_permitted(call, self._caller, self._groups), id)
        if isinstance(call, WhoAmI) and (via := safe_text(call.via.strip(), LONGEST_VIA)):
            self._caller = replace(self._caller, via=via[:LONGEST_VIA])
        try:
            found = await (self._watch() if isinstance(call, Watch) else self._desk.answer(call, self._caller))
            return reply_line(id, found)
        except WireFault:
            raise
        except PostroomError as error:
            raise WireFault(_code(error), str(error) or type(error).__name__, id) from None
        except Exception as error:
            log.exception("%s failed", method_of(call))
            text = f"{method_of(call)} failed by a fault of ours ({type(error).__name__}); the log has more"
            raise WireFault(Code.BROKEN, text, id) from None

    async def _watch(self) -> Snapshot:
        """Take the number first, then read: what happens in between is told twice rather than not at all."""
        if self._listener is None:
            self._listener = self._events.listen()
            self._spawn(self._feed(self._listener))
        number = self._events.number
        status = await self._desk.status(self._caller)
        return Snapshot(boot=self._events.boot, number=number, status=status)

    async def _feed(self, listener: Listener) -> None:
        quiet = True
        while True:
            try:
                async with asyncio.timeout(None if quiet else QUIET_SECONDS):
                    heard = await listener.next()
                quiet = False
            except TimeoutError:  # the account that went with the last facts may have been older than they
                heard, quiet = Heard((), self._events.number, gap=False), True
            try:
                batch = await self._desk.batch(heard, self._caller)
                line = batch_line(batch)
            except PostroomError:
                line = b""
            except Exception:  # nobody waits for this task: the guest would take old rows for new ones for ever
                log.exception("a batch of events failed")
                line = b""
            if not line or len(line) > LONGEST_LINE:
                line = batch_line(Batch(boot=self._events.boot, number=heard.number, events=(), gap=True))
            await self.send(line)
            await asyncio.sleep(BATCH_SECONDS)


def _not_permitted(call: Call[Any], caller: Caller, groups: dict[Role, str]) -> str:
    if not caller.roles:
        group = groups.get(Role.OPS) or next(filter(None, groups.values()), "GROUP")
        return (
            f"{caller.name} has no role here; ask an admin of this host for: sudo usermod -aG {group} {caller.name}, "
            "then log in again (the groups stand under [roles] in the settings)"
        )
    mine = ", ".join(sorted(caller.roles))
    return f"{caller.name} may not do {method_of(call)} (roles: {mine}); ask an admin for the right group"


def _code(error: PostroomError) -> Code:
    if isinstance(error, Transient):
        return Code.NOT_NOW
    return Code.NEEDS_PERSON if isinstance(error, NeedsPerson) else Code.REFUSED


def _socket_of(writer: asyncio.StreamWriter) -> socket.socket:
    found: socket.socket = writer.get_extra_info("socket")
    return found


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid if name else None
    except KeyError:
        return None


def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

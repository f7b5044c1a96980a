"""The named places at which a daemon is killed from inside, at the five seams and at its start; and how each is hooked.

Every point lies before, inside or after something that must not be half done: a commit, bytes on a wire, a mark on a
server, the storing of a secret, a checkpoint, a step of the start. The daemon's code knows nothing of them: a point
names a function (``module:Qualified.name``), a statement of SQL, or a line on a connection, and ``arm`` puts a
wrapper there. ``tests/unit/test_faults_points.py`` finds every name, so that a refactoring cannot lose one unseen.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

REACHED = "POSTROOM_REACHED"
"""Environment: the file in which a dying daemon writes the name of its point."""


class Seam(StrEnum):
    """Between what the point lies."""

    COMMIT = "commit"
    WIRE = "wire"
    MARK = "mark"
    SECRET = "secret"
    CHECKPOINT = "checkpoint"
    START = "start"


@dataclass(frozen=True)
class Point:
    """One place to die at."""

    name: str
    """seam.what.moment"""
    kind: str
    """call, sql, imap, smtp or relay."""
    target: str
    """The function, the pattern of the statement, or the command on the wire."""
    moment: str
    """before, inside, after; on a wire: before, half, sent, answered."""
    first_start: bool = False
    """Reached only while a store is new."""
    test: Callable[..., bool] | None = None
    """With the arguments of the call: whether this one counts."""

    @property
    def seam(self) -> Seam:
        """Where it lies."""
        return Seam(self.name.partition(".")[0])


def _call(name: str, target: str, *moments: str, test: Callable[..., bool] | None = None, first: bool = False
          ) -> list[Point]:  # fmt: skip
    return [Point(f"{name}.{m}", "call", target, m, first, test) for m in moments or ("before", "after")]


def _wire(name: str, kind: str, command: str, *moments: str) -> list[Point]:
    moments = moments or ("before", "half", "sent", "answered")
    return [Point(f"{name}.{m}", kind, command, m) for m in moments]


def _not_over(content: Any, *_: Any) -> bool:
    return not content.over


def _fetching(protocol: Any, *_: Any) -> bool:
    return protocol.pending is not None and protocol.pending.name == "UID FETCH"


def _says(wanted: bytes) -> Callable[..., bool]:
    def test(_session: Any, verb: bytes, _argument: bytes) -> bool:
        return verb == wanted

    return test


POINTS: tuple[Point, ...] = (
    # A page of fetched mail
    *_call("commit.page", "pipeline.spool:Spool.accept"),
    *_call("commit.page.ledger", "pipeline.ledger:record"),
    *_call("commit.page.cursor", "pipeline.ledger:set_cursor"),
    *_call("commit.page.assigned", "pipeline.entry:assign", "after"),
    *_call("commit.page.trail", "pipeline.entry:add_walk", "before"),
    *_call("commit.page.counted", "pipeline.entry:count", "after"),
    *_call("commit.page.told", "gateway.receiver:Receiver._tell", "before"),
    *_call("commit.page.walk", "pipeline.line:Line.walk"),
    *_call("commit.page.fetched", "gateway.pages:Pages.fetch", "after"),
    # Content
    Point("commit.content.chunk.after", "sql", r"INSERT INTO chunk", "after"),
    *_call("commit.content.big", "pipeline.store.content:ContentWriter._flush"),
    *_call("commit.content.finish", "pipeline.store.content:ContentWriter.finish"),
    *_call("commit.content.adopt", "pipeline.store.content:adopt"),
    # The group commit
    Point("commit.group.begin.after", "sql", r"BEGIN IMMEDIATE", "after"),
    Point("commit.group.entry.after", "sql", r"INSERT INTO entry", "after"),
    Point("commit.group.between.before", "sql", r"SAVEPOINT work", "inside"),
    Point("commit.group.release.after", "sql", r"RELEASE work", "after"),
    Point("commit.group.commit.before", "sql", r"COMMIT", "before"),
    Point("commit.group.commit.inside", "sql", r"COMMIT", "inside"),
    Point("commit.group.commit.after", "sql", r"COMMIT", "after"),
    *_call("commit.group.answer", "pipeline.store.sqlite:SqliteStore._answer"),
    # A relayed mail
    *_call("commit.submit", "pipeline.spool:Spool.submit"),
    *_call("commit.submit.inside", "pipeline.spool:_submit", "after"),
    *_call("commit.submit.recipients", "pipeline.entry:add_recipients", "before"),
    *_call("commit.submit.judged", "gateway.accepting:RelayCounter.submit", "after"),
    # A send
    *_call("commit.claim", "pipeline.spool:Spool.claim"),
    *_call("commit.attempt", "pipeline.spool:Spool.begin_attempt"),
    *_call("commit.attempt.inside", "pipeline.outbox:begin_attempt", "after"),
    *_call("commit.settle", "pipeline.spool:Spool.settle"),
    *_call("commit.settle.inside", "pipeline.outbox:settle"),
    *_call("commit.settle.finish", "pipeline.outbox:finish", "after"),
    *_call("commit.unknown.begin", "pipeline.unknown:begin"),
    *_call("commit.unknown.looked", "pipeline.spool:Spool.looked"),
    *_call("commit.unknown.blind", "pipeline.spool:Spool.blind"),
    *_call("commit.unknown.resend", "pipeline.unknown:resend", "after"),
    # What follows from a mail
    *_call("commit.auto-reply", "pipeline.intake:_reply"),
    *_call("commit.notice", "pipeline.spool:_give_notice"),
    # IMAP, as it is spoken to each mailbox
    *_wire("wire.imap.login", "imap", "LOGIN"),
    *_wire("wire.imap.list", "imap", "LIST", "sent", "answered"),
    *_wire("wire.imap.examine", "imap", "EXAMINE", "sent", "answered"),
    *_wire("wire.imap.select", "imap", "SELECT", "sent", "answered"),
    *_wire("wire.imap.search", "imap", "UID SEARCH"),
    *_wire("wire.imap.fetch", "imap", "UID FETCH"),
    *_call("wire.imap.fetch.within", "gateway.connectors.imap_wire:Protocol.data_received", "after", test=_fetching),
    *_wire("wire.imap.idle", "imap", "IDLE", "before", "sent"),
    # Submission, as it is spoken to the provider
    *_call("wire.smtp.sign-in", "gateway.connectors.smtp:SmtpSending._greet_and_sign_in"),
    *_wire("wire.smtp.mail", "smtp", "MAIL"),
    *_wire("wire.smtp.rcpt", "smtp", "RCPT"),
    *_wire("wire.smtp.data", "smtp", "DATA"),
    *_wire("wire.smtp.content", "smtp", "content", "before", "half", "sent"),
    *_wire("wire.smtp.dot", "smtp", "dot", "before", "half", "sent", "answered"),
    *_wire("wire.smtp.rset", "smtp", "RSET", "sent", "answered"),
    # The relay, as it is spoken to internal senders
    *_call("wire.relay.mail", "gateway.relay:RelaySession._obey", test=_says(b"MAIL")),
    *_call("wire.relay.rcpt", "gateway.relay:RelaySession._obey", test=_says(b"RCPT")),
    *_call("wire.relay.data", "gateway.relay:RelaySession._obey", test=_says(b"DATA")),
    *_call("wire.relay.content", "gateway.relay_content:IncomingContent.take", "after", test=_not_over),
    *_call("wire.relay.dot", "gateway.relay:RelaySession._end_of_data", "before"),
    *_wire("wire.relay.accepted", "relay", "250 2.0.0 Accepted", "before", "half", "sent"),
    # Marks and copies on the server
    *_call("mark.seen-or-moved", "gateway.connectors.imap_smtp:ImapReceiving.mark"),
    *_wire("mark.store", "imap", "UID STORE"),
    *_wire("mark.move", "imap", "UID MOVE"),
    *_call("mark.noted", "pipeline.ledger:marked"),
    *_wire("mark.copy.append", "imap", "APPEND"),
    *_call("mark.copy", "gateway.connectors.imap_smtp:ImapReceiving.file_copy"),
    *_call("mark.copy.noted", "gateway.receiver:_copy_filed"),
    # A password, at the first connect and when it is changed
    *_call("secret.seal", "gateway.auth.secrets:Secrets.seal"),
    *_call("secret.store", "pipeline.touchpoints:put_secret"),
    *_call("secret.open", "gateway.auth.secrets:Secrets.open", "after"),
    *_call("secret.connect", "gateway.daemon:Daemon.connect"),
    *_call("secret.key", "gateway.auth.secrets:_create", first=True),
    *_call("secret.key.synced", "gateway.auth.secrets:_sync_folder", "before", first=True),
    # The write-ahead log goes into the database
    *_call("checkpoint", "pipeline.store.sqlite:SqliteStore._checkpoint"),
    Point("checkpoint.inside", "sql", r"PRAGMA wal_checkpoint", "inside"),
    # The start
    *_call("start.migrate", "pipeline.store.sqlite:migrate", first=True),
    *_call("start.migrate.statement", "pipeline.store.schema:statements", "inside", first=True),
    *_call("start.first", "gateway.daemon:first_start", first=True),
    *_call("start.recover", "pipeline.spool:Spool.recover"),
    *_call("start.strike", "pipeline.strikes:strike"),
    *_call("start.unknown", "pipeline.unknown:recover"),
    *_call("start.sweep", "pipeline.store.content:sweep", "after"),
    *_call("start.note.wiped", "gateway.flight:Flight.wipe"),
    *_call("start.relay", "gateway.daemon:Daemon._open_relay"),
    *_call("start.socket", "gateway.daemon:Daemon._open_socket"),
)

BY_NAME = {point.name: point for point in POINTS}


def resolve(target: str) -> tuple[Any, str, Any]:
    """What ``module:Qualified.name`` names: its owner, its name there, and itself; raises where there is no such."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name, getattr(owner, name)


# -- dying -------------------------------------------------------------------------------------------------------------


LEAK = 0.03
"""Seconds for which the loop goes on while the writer stands at its point: whatever was promised too early gets out."""


def die(name: str) -> NoReturn:
    """Say where, and end by SIGKILL."""
    if threading.current_thread() is not threading.main_thread():
        time.sleep(LEAK)
    if path := os.environ.get(REACHED):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, f"{name}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(10)


class Fuse:
    """Counts down to the time at which its point is reached."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self._left = count
        self._counting = threading.Lock()

    def burn(self) -> None:
        """The place is reached once more; the last time does not return."""
        if self._last():
            die(self.name)

    def burn_within(self) -> None:
        """The same, but the death comes a moment later, within what is about to be done."""
        if self._last():
            threading.Thread(target=self._soon, daemon=True).start()

    def _last(self) -> bool:
        with self._counting:
            self._left -= 1
            return self._left == 0

    def _soon(self) -> None:
        time.sleep(random.random() * 0.002)
        die(self.name)


def arm(orders: Sequence[str]) -> None:
    """Hook these points (``NAME:COUNT``) into the modules of this process."""
    statements: list[tuple[Point, Fuse]] = []
    wires: list[tuple[Point, Fuse]] = []
    for order in orders:
        name, _, count = order.partition(":")
        point = BY_NAME[name]
        fuse = Fuse(name, int(count or 1))
        if point.kind == "call":
            _hook_call(point, fuse)
        else:
            (statements if point.kind == "sql" else wires).append((point, fuse))
    if statements:
        _hook_sql(statements)
    for kind, hook in (("imap", _hook_imap), ("smtp", _hook_smtp), ("relay", _hook_relay)):
        if mine := {(point.target, point.moment): fuse for point, fuse in wires if point.kind == kind}:
            hook(mine)


# -- functions ---------------------------------------------------------------------------------------------------------


def _hook_call(point: Point, fuse: Fuse) -> None:
    owner, name, real = resolve(point.target)
    setattr(owner, name, _wrapped(point, fuse, real))


def _wrapped(point: Point, fuse: Fuse, real: Callable[..., Any]) -> Callable[..., Any]:
    before = point.moment == "before"
    test = point.test or (lambda *_, **__: True)
    if inspect.isgeneratorfunction(real):

        @functools.wraps(real)
        def each(*args: Any, **kwargs: Any) -> Iterable[Any]:
            for item in real(*args, **kwargs):
                yield item
                fuse.burn()

        return each
    if inspect.iscoroutinefunction(real):

        @functools.wraps(real)
        async def later(*args: Any, **kwargs: Any) -> Any:
            if before and test(*args, **kwargs):
                fuse.burn()
            result = await real(*args, **kwargs)
            if not before and test(*args, **kwargs):
                fuse.burn()
            return result

        return later

    @functools.wraps(real)
    def now(*args: Any, **kwargs: Any) -> Any:
        if before and test(*args, **kwargs):
            fuse.burn()
        result = real(*args, **kwargs)
        if not before and test(*args, **kwargs):
            fuse.burn()
        return result

    return now


# -- statements --------------------------------------------------------------------------------------------------------


class _Connection:
    """The writer's connection, watched."""

    def __init__(self, real: Any, watched: Sequence[tuple[Point, Fuse]]) -> None:
        self._real = real
        self._watched = [(re.compile(point.target), point, fuse) for point, fuse in watched]
        self._works = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        """As of sqlite3.Connection."""
        mine = [(point, fuse) for pattern, point, fuse in self._watched if pattern.match(sql)]
        if sql == "BEGIN IMMEDIATE":
            self._works = 0
        elif sql == "SAVEPOINT work":
            self._works += 1
        for point, fuse in mine:
            if point.target == "SAVEPOINT work":  # between two works of one transaction
                if self._works > 1:
                    fuse.burn()
            elif point.moment == "before":
                fuse.burn()
            elif point.moment == "inside":
                fuse.burn_within()
        result = self._real.execute(sql, *parameters)
        for point, fuse in mine:
            if point.moment == "after":
                fuse.burn()
        return result


def _hook_sql(watched: Sequence[tuple[Point, Fuse]]) -> None:
    from pipeline.store import sqlite

    real = sqlite._open

    def opened(*args: Any) -> Any:
        return _Connection(real(*args), watched)

    sqlite._open = opened  # type: ignore[assignment]


# -- wires -------------------------------------------------------------------------------------------------------------

_Fuses = dict[tuple[str, str], Fuse]


def _burn(fuses: _Fuses, command: str, moment: str) -> None:
    if (fuse := fuses.get((command, moment))) is not None:
        fuse.burn()


def _send_and_burn(fuses: _Fuses, command: str, transport: Any, data: bytes) -> None:
    """Before anything goes, when half of it went, when all of it went: what went is on the wire when we die."""
    _burn(fuses, command, "before")
    for moment, part in (("half", data[: len(data) // 2]), ("sent", data)):
        fuse = fuses.get((command, moment))
        if fuse is not None and fuse._last():
            if not transport.get_write_buffer_size():
                os.write(transport.get_extra_info("socket").fileno(), part)
            die(fuse.name)


def _hook_imap(fuses: _Fuses) -> None:
    from gateway.connectors.imap_wire import Protocol

    write, tagged = Protocol.write, Protocol._tagged

    async def writing(self: Any, data: bytes) -> None:
        if self._command is not None and self.fault is None and data.startswith(self._command.tag):
            _send_and_burn(fuses, self._command.name, self.transport, data)
        await write(self, data)

    def answered(self: Any, line: bytes) -> None:
        if self._command is not None and line.startswith(self._command.tag):
            _burn(fuses, self._command.name, "answered")
        tagged(self, line)

    Protocol.write = writing  # type: ignore[method-assign]
    Protocol._tagged = answered  # type: ignore[method-assign]


def _hook_smtp(fuses: _Fuses) -> None:
    from gateway.connectors.smtp import _Wire

    command, put, put_last, answer = _Wire.command, _Wire.put, _Wire.put_last, _Wire.answer

    async def commanding(self: Any, line: str) -> Any:
        verb = line.partition(" ")[0]
        _send_and_burn(fuses, verb, self._protocol.transport, line.encode("ascii") + b"\r\n")
        result = await command(self, line)
        _burn(fuses, verb, "answered")
        return result

    async def putting(self: Any, data: bytes) -> Any:
        _send_and_burn(fuses, "content", self._protocol.transport, data)
        return await put(self, data)

    def ending(self: Any, data: bytes) -> None:
        _send_and_burn(fuses, "dot", self._protocol.transport, data)
        put_last(self, data)

    async def answering(self: Any, *, early: bool = False) -> Any:
        result = await answer(self, early=early)
        _burn(fuses, "dot", "answered")
        return result

    _Wire.command, _Wire.put = commanding, putting  # type: ignore[method-assign]
    _Wire.put_last, _Wire.answer = ending, answering  # type: ignore[method-assign]


def _hook_relay(fuses: _Fuses) -> None:
    from gateway.relay import RelaySession

    say = RelaySession.say

    def saying(self: Any, answer: Any) -> None:
        line: bytes = answer.encode("ascii") if isinstance(answer, str) else answer.line()
        for text in {text for text, _ in fuses}:
            if line.startswith(text.encode()) and self.transport is not None and not self._ending:
                _send_and_burn(fuses, text, self.transport, line)
        say(self, answer)

    RelaySession.say = saying  # type: ignore[method-assign]

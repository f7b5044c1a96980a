"""The embedded store: one SQLite file, one writer thread, group commit.

Owns the file, its lock and every connection to it. The writer runs whatever is waiting in one transaction, each piece
of work in a savepoint of its own, and answers all of it after the COMMIT: with ``synchronous=FULL`` in WAL mode that
is one fsync for all of them. Promises:

- An answer means that the bytes are on the disk.
- Work that fails takes back its own changes only. Work may run twice, when a full disk ended the transaction around
  it: it must be a function of its ``tx`` alone.
- A disk that takes no writes (SQLITE_FULL, ENOSPC, EDQUOT, EROFS) is ``StoreFull``: the caller waits and tries again.
  Every other I/O error, and so every failed fsync, ends the process at once (74): after it, what the kernel says
  about the file can not be believed.
- A damaged file ends it as well (65), with the command that helps: nothing is written on top of damage.

Never: a second writing connection, a checkpoint on another connection (SQLite before 3.51.3 can corrupt a WAL that
two connections reset), or a reader that stays longer than a second and lets the WAL grow.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from pipeline.errors import Damaged, PostroomError, Refused, StoreFull
from pipeline.store import Row, Tx, Value
from pipeline.store.schema import migrate

T = TypeVar("T")

BATCH = 8 * 1024 * 1024
"""Bytes that one transaction takes at most (one piece of work may be larger)."""
QUEUED = 32 * 1024 * 1024
"""Callers wait while this much is queued."""
CHECKPOINT = 8 * 1024 * 1024
"""Bytes written between two checkpoints, roughly."""
READERS = 2
_OVERHEAD = 4096
EX_DATAERR, EX_IOERR = 65, 74
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DISK = _DAMAGE | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
"""Primary result codes that speak of the disk or the file, not of a statement."""


def die(reason: str, code: int = EX_IOERR) -> NoReturn:
    """End the process without another write (sysexits EX_IOERR, or EX_DATAERR where the file is damaged)."""
    print(f"postroom: the store failed, stopping at once: {reason}", file=sys.stderr, flush=True)
    os._exit(code)


class SqliteTx:
    """A transaction on one connection, as ``pipeline.store.Tx``."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, params: Mapping[str, Value] = {}) -> int:
        return self._execute(sql, params).rowcount

    def many(self, sql: str, params: Iterable[Mapping[str, Value]]) -> None:
        for each in params:
            self._execute(sql, each)

    def insert(self, sql: str, params: Mapping[str, Value] = {}) -> int:
        return self._execute(sql, params).lastrowid or 0

    def one(self, sql: str, params: Mapping[str, Value] = {}) -> Row | None:
        cursor = self._execute(sql, params)
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else _named(cursor, row)

    def all(self, sql: str, params: Mapping[str, Value] = {}) -> list[Row]:
        cursor = self._execute(sql, params)
        return [_named(cursor, row) for row in cursor.fetchall()]

    def _execute(self, sql: str, params: Mapping[str, Value]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, params)
        except UnicodeEncodeError:  # half a character, from a server or a plug-in: no reason to strand a whole page
            return self._connection.execute(sql, {name: _encodable(value) for name, value in params.items()})


def _encodable(value: Value) -> Value:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _named(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[Tx], Any]
    size: int
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Fatal(Protocol):
    """What ends the process, as ``die`` does."""

    def __call__(self, reason: str, code: int = EX_IOERR) -> NoReturn: ...


class SqliteStore:
    """``pipeline.store.Store`` on one SQLite file; used from one event loop."""

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection, fatal: Fatal) -> None:
        self.path = path
        self.commits = 0
        self.no_writes = ""
        self._lock = lock
        self._connection = connection
        self._fatal = fatal
        self._tx = SqliteTx(connection)
        self._loop = asyncio.get_running_loop()
        self._normal: deque[_Job] = deque()
        self._urgent: deque[_Job] = deque()
        self._queued = 0
        self._room = asyncio.Event()
        self._written = 0
        self._changes = 0
        self._closing = False
        self._work = threading.Condition()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="postroom-reader")
        self._writer = threading.Thread(target=self._run, name="postroom-writer", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, fatal: Fatal = die) -> SqliteStore:
        """Open the store at ``path``, made if it is not there.

        Raises Refused where another daemon has it open, Damaged, and StoreFull where the disk takes no writes.
        """
        try:
            lock = hold(path)
        except OSError as error:
            _give_up(path, error, fatal)
        try:
            connection = await asyncio.to_thread(_open, path, fatal)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock, connection, fatal)

    async def write(self, work: Callable[[Tx], T], *, size: int = 0, urgent: bool = False) -> T:
        while self._queued >= QUEUED and not urgent:
            self._room.clear()
            await self._room.wait()
        if self._closing:
            raise PostroomError("the store is closed")
        job = _Job(work, size + _OVERHEAD, self._loop.create_future())
        self._queued += job.size
        with self._work:
            (self._urgent if urgent else self._normal).append(job)
            self._work.notify()
        return await job.future  # type: ignore[no-any-return]

    async def read(self, work: Callable[[Tx], T]) -> T:
        if self._closing:
            raise PostroomError("the store is closed")
        return await self._loop.run_in_executor(self._pool, self._read, work)

    async def close(self) -> None:
        """Finish what is queued, checkpoint, and let go of the files; a second time is nothing."""
        if self._closing:
            return
        with self._work:
            self._closing = True
            self._work.notify()
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._pool.shutdown)
        for reader in self._readers:
            reader.close()
        self._connection.close()
        os.close(self._lock)

    # -- the writer thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._commit(batch)
            except Exception as error:  # a writer that ends unseen would let every caller wait for ever
                self._end(error)
            self._loop.call_soon_threadsafe(self._answer, batch)
            self._written += sum(job.size for job in batch)
            if self._written >= CHECKPOINT:
                self._checkpoint()
        self._checkpoint()

    def _take(self) -> list[_Job]:
        """What is waiting, results of sends first, up to BATCH bytes; empty when closing and all is done."""
        with self._work:
            while not (self._urgent or self._normal or self._closing):
                self._work.wait()
            batch: list[_Job] = []
            size = 0
            for lane in (self._urgent, self._normal):
                while lane and (not batch or size + lane[0].size <= BATCH):
                    batch.append(lane.popleft())
                    size += batch[-1].size
            return batch

    def _commit(self, batch: list[_Job]) -> None:
        """Run every job; those whose transaction ended under them are run again in a new one."""
        waiting = batch
        while waiting:
            waiting = self._transaction(waiting)

    def _transaction(self, jobs: list[_Job]) -> list[_Job]:
        """One transaction over ``jobs``; answers those that must run again."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._savepoint(job)
                if not self._connection.in_transaction:  # SQLITE_FULL ended all of it, not only this savepoint
                    job.error = job.error or RuntimeError("this work ended the transaction that it was part of")
                    return [other for other in jobs if other.error is None]
            changes = self._connection.total_changes
            self._connection.execute("COMMIT")
            self.commits += 1
            if changes != self._changes:
                self._changes, self.no_writes = changes, ""
        except sqlite3.Error as error:
            full = self._full(error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = job.error or full
        return []

    def _savepoint(self, job: _Job) -> None:
        self._connection.execute("SAVEPOINT work")
        try:
            job.result = job.work(self._tx)
        except sqlite3.Error as error:
            job.error = self._translate(error)
        except StopIteration as error:  # a future does not take it
            job.error = RuntimeError(f"work raised {error!r}")
        except BaseException as error:
            job.error = error
        if job.error is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK TO work")
        if self._connection.in_transaction:
            self._connection.execute("RELEASE work")

    def _translate(self, error: sqlite3.Error) -> BaseException:
        """A fault of the disk is told from a fault of the statement: only the latter is the caller's."""
        return self._full(error) if _primary(error) in _DISK else error

    def _full(self, error: sqlite3.Error) -> StoreFull:
        """StoreFull where the disk takes no writes; raises ``error`` again where it is anything else."""
        reason = _no_writes(self.path, error)
        known, self.no_writes = self.no_writes, reason
        if not reason and known and _primary(error) == sqlite3.SQLITE_IOERR and not _of_sync(error):
            reason = known  # it took none a moment ago, and does again by the time that we ask: good for one doubt
        if not reason:
            raise error
        return StoreFull(reason)

    def _end(self, error: Exception) -> NoReturn:
        if isinstance(error, sqlite3.Error) and _primary(error) in _DAMAGE:
            self._fatal(str(_damaged(self.path, error)), EX_DATAERR)
        self._fatal(f"{self.path}: {error!r} ({_code_name(error)})")

    def _checkpoint(self) -> None:
        self._written = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            try:
                self._full(error)
            except sqlite3.Error:
                self._end(error)

    def _answer(self, batch: list[_Job]) -> None:
        for job in batch:
            self._queued -= job.size
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)
        if self._queued < QUEUED:
            self._room.set()

    # -- readers -----------------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Tx], T]) -> T:
        try:
            connection = self._reader()
            with _snapshot(connection):
                return work(SqliteTx(connection))
        except sqlite3.Error as error:
            if _primary(error) not in (*_DAMAGE, sqlite3.SQLITE_IOERR):
                raise
            try:
                raise self._full(error) from error  # even a reader needs a place for the index of the log
            except sqlite3.Error:
                self._end(error)

    def _reader(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None,
                                    check_same_thread=False, cached_statements=256)  # fmt: skip
            found.execute("PRAGMA query_only=ON")
            self._local.connection = found
            self._readers.append(found)
        return found


READ_STEPS = 20_000_000
"""Virtual machine steps after which a read is ended: about a second."""


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    calls = 0

    def overdue() -> bool:
        nonlocal calls
        calls += 1
        return calls > 100

    connection.set_progress_handler(overdue, READ_STEPS // 100)
    connection.execute("BEGIN")
    try:
        yield
    except sqlite3.OperationalError as error:
        if _primary(error) == sqlite3.SQLITE_INTERRUPT:
            raise Refused("reading this takes longer than a second: ask for less at a time") from None
        raise
    finally:
        connection.set_progress_handler(None, 0)
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def hold(path: Path) -> int:
    """Hold the store for this process, as long as the descriptor is open; raises Refused with the other's pid."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise Refused(
            f"another Postroom (pid {pid or 'unknown'}) has the store {path} open: stop it first, "
            "or give this one another state_dir"
        ) from None
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BaseException:
        os.close(lock)  # or it would be in our own way when we try again
        raise
    return lock


def _open(path: Path, fatal: Fatal) -> sqlite3.Connection:
    try:
        _make(path)
        if not path.stat().st_size:
            with closing(sqlite3.connect(path, isolation_level=None)) as first:
                first.execute("PRAGMA auto_vacuum=INCREMENTAL")  # counts only before the first table
                first.execute("PRAGMA journal_mode=WAL")
        _make(path.with_name(path.name + "-wal"))
        return _prepared(path)
    except sqlite3.Error as error:
        if reason := _no_writes(path, error):
            raise StoreFull(reason) from error
        if _primary(error) in _DAMAGE:
            raise _damaged(path, error) from error
        if _primary(error) == sqlite3.SQLITE_IOERR:
            fatal(f"{path}: {error!r} ({_code_name(error)})")
        raise Refused(f"the store {path} cannot be opened: {error} ({_code_name(error)})") from error
    except OSError as error:
        _give_up(path, error, fatal)


def _make(path: Path) -> None:
    """See to it that a file is there, and that its name is durable.

    SQLite syncs the folder of a new log itself, and ignores it when that fails: it must not be the first one to try.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    _sync_folders(path.parent)


def _prepared(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA cache_size=-32768")
        connection.execute("PRAGMA temp_store=MEMORY")  # a full /tmp is not to look like a full store
        migrate(connection)
        _assert_durable(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _assert_durable(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, level) != ("wal", 2):
        raise Refused(f"the store {path} cannot be made durable (journal_mode={mode}, synchronous={level})")


def _sync_folders(folder: Path) -> None:
    """Make the names in ``folder`` durable, and its own name in each folder above it on the same disk."""
    folder = folder.absolute()
    disk = folder.stat().st_dev
    for each in (folder, *folder.parents):
        if each.stat().st_dev != disk:
            return
        try:
            handle = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # somebody else's folder, and so not one that was made for us
            return
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _primary(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _of_sync(error: sqlite3.Error) -> bool:
    """Whether an fsync failed: whatever the reason, what it was to make durable may be gone."""
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


def _code_name(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "no code")


def _damaged(path: Path, error: sqlite3.Error) -> Damaged:
    return Damaged(
        f"the store {path} is damaged ({error}): nothing more is written to it;"
        " see which mails are affected with: postroom doctor"
    )


def _give_up(path: Path, error: OSError, fatal: Fatal) -> NoReturn:
    """A call of our own on the store's files failed."""
    if error.errno in NO_WRITES:
        raise StoreFull(NO_WRITES[error.errno].format(path)) from error
    if error.errno == errno.EIO:
        fatal(f"{path}: {error}")
    raise Refused(f"the store {path} cannot be opened: {error.filename or path}: {error.strerror}") from error


NO_WRITES = {
    errno.ENOSPC: "no room on the disk under {}",
    errno.EDQUOT: "no room on the disk under {}: the quota is used up",
    errno.EROFS: "the disk under {} is read-only",
}
"""What a disk says that takes no writes for now; the place is filled in."""


def _no_writes(path: Path, error: sqlite3.Error) -> str:
    """The sentence that says that the disk takes no writes, where that is what ``error`` comes from; else ""."""
    if _primary(error) == sqlite3.SQLITE_FULL:
        return NO_WRITES[errno.ENOSPC].format(path)
    if _primary(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and not _of_sync(
        error
    ):
        return _refused_by_disk(path)
    return ""


def _refused_by_disk(path: Path) -> str:
    """Why the store's folder takes no more bytes: SQLite reports EDQUOT, EROFS and some ENOSPC as plain I/O errors."""
    probe = path.with_name(path.name + ".probe")
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, b"\0" * 65536)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        return NO_WRITES[error.errno].format(path) if error.errno in NO_WRITES else ""
    finally:
        with suppress(OSError):
            probe.unlink()
    return ""

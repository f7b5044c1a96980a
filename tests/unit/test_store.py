"""The embedded store: an answer means durable, one fault stays one fault, and a disk that lies ends the process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from pipeline.errors import Damaged, PostroomError, Refused, StoreFull
from pipeline.store import Tx, schema, sqlite
from pipeline.store.sqlite import BATCH, QUEUED, SqliteStore, SqliteTx

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "postroom.db")
    yield opened
    await opened.close()


def put(name: str, value: int = 1) -> Callable[[Tx], str]:
    """Work that writes one row."""

    def work(tx: Tx) -> str:
        tx.run("INSERT INTO counter (name, value) VALUES (:name, :value)", {"name": name, "value": value})
        return name

    return work


def seen(store: SqliteStore) -> set[str]:
    """The rows that another connection sees."""
    with closing(sqlite3.connect(store.path)) as other:
        return {row[0] for row in other.execute("SELECT name FROM counter")}


@contextmanager
def closing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield connection
    finally:
        connection.close()


class Gate:
    """Keeps the writer busy, so that what is written meanwhile waits together."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._entered = threading.Event()
        self._go = threading.Event()

    async def __aenter__(self) -> Gate:
        self._task = asyncio.create_task(self._store.write(self._hold))
        await asyncio.to_thread(self._entered.wait, 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        await self._task

    def _hold(self, tx: Tx) -> None:
        self._entered.set()
        self._go.wait(10)


async def queue(*coroutines: Any) -> list[asyncio.Task[Any]]:
    """Start them, and let each reach the writer's queue."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    await asyncio.sleep(0)
    return tasks


# -- group commit ------------------------------------------------------------------------------------------------------


async def test_many_writes_share_a_commit(store: SqliteStore) -> None:
    async with Gate(store):
        tasks = await queue(*(store.write(put(f"row{n}")) for n in range(100)))
    assert await asyncio.gather(*tasks) == [f"row{n}" for n in range(100)]
    assert store.commits == 2  # the gate's and theirs
    assert seen(store) == {f"row{n}" for n in range(100)}


async def test_an_answer_comes_after_the_commit(store: SqliteStore) -> None:
    inside, go = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        put("slow")(tx)
        inside.set()
        go.wait(10)

    async with Gate(store):
        first, second = await queue(store.write(put("first")), store.write(slow))
    await asyncio.to_thread(inside.wait, 10)
    assert not first.done()  # its work is done, its transaction is not
    assert seen(store) == set()
    go.set()
    await first
    assert seen(store) == {"first", "slow"}
    await second


async def test_a_batch_is_bounded(store: SqliteStore) -> None:
    async with Gate(store):
        tasks = await queue(*(store.write(put(f"big{n}"), size=BATCH // 2) for n in range(3)))
    await asyncio.gather(*tasks)
    assert store.commits == 4


async def test_results_of_sends_go_first(store: SqliteStore) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[Tx], None]:
        return lambda tx: order.append(name)

    async with Gate(store):
        tasks = await queue(
            store.write(noting("page"), size=BATCH),
            store.write(noting("mail")),
            store.write(noting("sent"), urgent=True),
        )
    await asyncio.gather(*tasks)
    assert order == ["sent", "page", "mail"]


async def test_callers_wait_while_too_much_is_queued(store: SqliteStore) -> None:
    order: list[str] = []
    async with Gate(store):
        (big,) = await queue(store.write(lambda tx: order.append("big"), size=QUEUED))
        (waits,) = await queue(store.write(lambda tx: order.append("waits")))
        (urgent,) = await queue(store.write(lambda tx: order.append("urgent"), urgent=True))
        assert [len(store._urgent), len(store._normal)] == [1, 1]  # the one that waits is in neither
    await asyncio.gather(big, waits, urgent)
    assert order == ["urgent", "big", "waits"]


# -- faults of work ----------------------------------------------------------------------------------------------------


def fails_with(error: BaseException) -> Callable[[Tx], None]:
    def work(tx: Tx) -> None:
        put("half done")(tx)
        raise error

    return work


@pytest.mark.parametrize("error", [ValueError("no"), Refused("no"), KeyboardInterrupt(), SystemExit(3)])
async def test_a_fault_takes_back_its_own_changes_only(store: SqliteStore, error: BaseException) -> None:
    results: list[Any] = []

    async def gentle() -> None:
        try:
            await store.write(fails_with(error))
        except BaseException as caught:
            results.append(caught)

    async with Gate(store):
        tasks = await queue(store.write(put("before")), gentle(), store.write(put("after")))
    await asyncio.gather(*tasks)
    assert results == [error]
    assert seen(store) == {"before", "after"}
    assert store.commits == 2


async def test_stop_iteration_does_not_strand_its_neighbours(store: SqliteStore) -> None:
    async with Gate(store):
        fault, fine = await queue(store.write(lambda tx: next(iter(()))), store.write(put("fine")))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await fault
    assert await fine == "fine"


async def test_a_wrong_statement_is_its_callers_fault(store: SqliteStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await store.write(lambda tx: tx.run("INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(sqlite3.IntegrityError):
        await store.write(lambda tx: tx.run("INSERT INTO linked_queue VALUES (7, 7)"))  # foreign keys are on
    assert await store.write(put("fine")) == "fine"


async def test_work_that_ends_the_transaction_is_told_so(store: SqliteStore) -> None:
    async with Gate(store):
        first, rude, last = await queue(
            store.write(put("first")), store.write(lambda tx: tx.run("ROLLBACK")), store.write(put("last"))
        )
    with pytest.raises(RuntimeError, match="ended the transaction"):
        await rude
    await asyncio.gather(first, last)
    assert seen(store) == {"first", "last"}


async def test_a_caller_that_gives_up_hurts_nobody(store: SqliteStore) -> None:
    async with Gate(store):
        gone, stays = await queue(store.write(put("gone")), store.write(put("stays")))
        gone.cancel()
    assert await stays == "stays"
    assert seen(store) == {"gone", "stays"}


# -- a full disk -------------------------------------------------------------------------------------------------------


async def limit_pages(store: SqliteStore, spare: int | None) -> None:
    """Leave room for ``spare`` pages more; None for as many as there may be."""

    def work(tx: Tx) -> None:
        count = tx.one("PRAGMA page_count") or {}
        tx.one(f"PRAGMA max_page_count = {count['page_count'] + spare if spare is not None else 2**30}")

    await store.write(work)


async def test_a_full_disk_is_the_culprits_trouble_alone(store: SqliteStore) -> None:
    runs: list[str] = []

    def counted(name: str) -> Callable[[Tx], None]:
        def work(tx: Tx) -> None:
            runs.append(name)
            put(name)(tx)

        return work

    def big(tx: Tx) -> None:
        runs.append("big")
        tx.run("INSERT INTO chunk (id, data) VALUES (1, zeroblob(1000000))")

    await limit_pages(store, 10)
    async with Gate(store):
        first, culprit, last = await queue(
            store.write(counted("first")), store.write(big), store.write(counted("last"))
        )
    with pytest.raises(StoreFull, match="no room"):
        await culprit
    await asyncio.gather(first, last)
    assert runs == ["first", "big", "first", "last"]  # SQLITE_FULL ended the whole transaction
    assert seen(store) == {"first", "last"}

    await limit_pages(store, None)
    await store.write(big)
    assert await store.read(lambda tx: tx.one("SELECT length(data) AS size FROM chunk")) == {"size": 1000000}


async def test_a_fault_before_the_disk_was_full_stays_told(store: SqliteStore) -> None:
    await limit_pages(store, 10)
    async with Gate(store):
        fault, culprit = await queue(
            store.write(fails_with(ValueError("no"))),
            store.write(lambda tx: tx.run("INSERT INTO chunk (id, data) VALUES (1, zeroblob(1000000))")),
        )
    with pytest.raises(ValueError, match="no"):
        await fault
    with pytest.raises(StoreFull):
        await culprit


# -- a disk that fails -------------------------------------------------------------------------------------------------


def disk_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_IOERR"
    return error


class Faulty:
    """A connection that fails at one statement."""

    def __init__(self, connection: sqlite3.Connection, statement: str, error: Exception) -> None:
        self._connection = connection
        self._statement = statement
        self._error = error

    def execute(self, sql: str, params: Any = ()) -> Any:
        if sql.startswith(self._statement):
            raise self._error
        return self._connection.execute(sql, params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Fatal:
    """Ends the writer as ``die`` ends the process, and keeps the last words."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.code = 0

    def __call__(self, reason: str, code: int = 74) -> NoReturn:
        self.words.append(reason)
        self.code = code
        raise SystemExit


ENDS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
"""The writer thread ends by an exception here, where otherwise the process ends."""


def break_at(store: SqliteStore, statement: str, error: Exception) -> None:
    faulty: Any = Faulty(store._connection, statement, error)
    store._connection = faulty
    store._tx = SqliteTx(faulty)


@ENDS
@pytest.mark.parametrize("statement", ["BEGIN", "SAVEPOINT", "INSERT", "COMMIT"])
@pytest.mark.parametrize(
    "error",
    [
        disk_error(sqlite3.SQLITE_IOERR_FSYNC),
        disk_error(sqlite3.SQLITE_IOERR_WRITE),
        disk_error(sqlite3.SQLITE_CORRUPT),
        disk_error(sqlite3.SQLITE_READONLY),
    ],
    ids=["fsync", "write", "corrupt", "readonly"],
)
async def test_a_disk_that_fails_ends_the_process(tmp_path: Path, statement: str, error: sqlite3.Error) -> None:
    fatal = Fatal()
    store = await SqliteStore.open(tmp_path / "postroom.db", fatal=fatal)
    break_at(store, statement, error)
    tasks = await queue(store.write(put("first")), store.write(put("second")))
    await asyncio.to_thread(store._writer.join)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(fatal.words) == 1
    assert str(store.path) in fatal.words[0]
    assert fatal.code == (65 if error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT else 74)
    assert not any(task.done() for task in tasks)  # nobody was told that it is durable
    assert seen(store) == set()
    for task in tasks:
        task.cancel()
    await store.close()


@ENDS
async def test_a_writer_never_ends_unseen(tmp_path: Path) -> None:
    fatal = Fatal()
    store = await SqliteStore.open(tmp_path / "postroom.db", fatal=fatal)
    break_at(store, "COMMIT", OSError("nobody thought of this"))
    (task,) = await queue(store.write(put("first")))
    await asyncio.to_thread(store._writer.join)
    assert "nobody thought of this" in fatal.words[0]
    task.cancel()
    await store.close()


@ENDS
async def test_a_checkpoint_that_fails_ends_the_process(tmp_path: Path) -> None:
    fatal = Fatal()
    store = await SqliteStore.open(tmp_path / "postroom.db", fatal=fatal)
    break_at(store, "PRAGMA wal_checkpoint", disk_error(sqlite3.SQLITE_IOERR_FSYNC))
    await store.write(put("first"), size=sqlite.CHECKPOINT)
    await asyncio.to_thread(store._writer.join)
    assert len(fatal.words) == 1
    await store.close()


@ENDS
async def test_quota_counts_as_full_but_never_a_failed_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_refused_by_disk", lambda path: "no room")
    fatal = Fatal()
    store = await SqliteStore.open(tmp_path / "postroom.db", fatal=fatal)
    healthy = store._connection
    break_at(store, "COMMIT", disk_error(sqlite3.SQLITE_IOERR_WRITE))
    with pytest.raises(StoreFull):
        await store.write(put("first"))
    assert not fatal.words
    break_at(store, "COMMIT", disk_error(sqlite3.SQLITE_IOERR_FSYNC))
    (task,) = await queue(store.write(put("first")))
    await asyncio.to_thread(store._writer.join)
    assert len(fatal.words) == 1
    assert not task.done()
    task.cancel()
    store._connection = healthy
    await store.close()


@ENDS
async def test_a_quota_that_ends_between_the_error_and_the_question_is_forgiven_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["no room", "", ""]
    monkeypatch.setattr(sqlite, "_refused_by_disk", lambda path: answers.pop(0))
    fatal = Fatal()
    store = await SqliteStore.open(tmp_path / "postroom.db", fatal=fatal)
    healthy = store._connection
    break_at(store, "COMMIT", disk_error(sqlite3.SQLITE_IOERR_WRITE))
    for _ in range(2):
        with pytest.raises(StoreFull, match="no room"):
            await store.write(put("first"))
    (task,) = await queue(store.write(put("first")))
    await asyncio.to_thread(store._writer.join)
    assert len(fatal.words) == 1
    task.cancel()
    store._connection = healthy
    await store.close()


async def test_it_says_why_nothing_is_written_until_something_is(store: SqliteStore) -> None:
    await limit_pages(store, 0)
    with pytest.raises(StoreFull):
        await store.write(lambda tx: tx.run("INSERT INTO chunk (id, data) VALUES (1, zeroblob(1000000))"))
    assert "no room" in store.no_writes
    await store.write(lambda tx: None)
    assert "no room" in store.no_writes  # this one asked nothing of the disk
    await limit_pages(store, None)
    await store.write(put("first"))
    assert store.no_writes == ""


@ENDS
async def test_a_reader_that_meets_damage_ends_the_process(tmp_path: Path) -> None:
    fatal = Fatal()
    store = await SqliteStore.open(tmp_path / "postroom.db", fatal=fatal)
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def work(tx: Tx) -> None:
        raise error

    with pytest.raises(SystemExit):
        await asyncio.to_thread(store._read, work)
    assert fatal.code == 65
    assert "postroom doctor" in fatal.words[0]
    await store.close()


@pytest.mark.parametrize(("number", "words"), [(28, "no room"), (122, "quota"), (30, "read-only"), (5, None)])
def test_room_is_asked_for_by_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str | None
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    monkeypatch.setattr(Path, "unlink", fail)  # a file system that turned read-only refuses this as well
    said = sqlite._refused_by_disk(tmp_path / "postroom.db")
    assert said == "" if words is None else words in said


def test_there_is_room(tmp_path: Path) -> None:
    assert not sqlite._refused_by_disk(tmp_path / "postroom.db")
    assert list(tmp_path.iterdir()) == []


# -- readers -----------------------------------------------------------------------------------------------------------


async def test_readers_only_read(store: SqliteStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await store.read(put("sneaked in"))
    assert seen(store) == set()


async def test_a_read_sees_one_moment(store: SqliteStore) -> None:
    looked, go = threading.Event(), threading.Event()

    def twice(tx: Tx) -> tuple[int, int]:
        first = len(tx.all("SELECT name FROM counter"))
        looked.set()
        go.wait(10)
        return first, len(tx.all("SELECT name FROM counter"))

    (reading,) = await queue(store.read(twice))
    await asyncio.to_thread(looked.wait, 10)
    await store.write(put("meanwhile"))
    go.set()
    assert await reading == (0, 0)
    assert await store.read(lambda tx: len(tx.all("SELECT name FROM counter"))) == 1


async def test_a_read_that_takes_too_long_is_ended(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    monkeypatch.setattr(sqlite, "READ_STEPS", 100_000)
    with pytest.raises(Refused, match="longer than a second"):
        await store.read(lambda tx: tx.one(endless))
    assert await store.read(lambda tx: tx.one("SELECT 1 AS one")) == {"one": 1}


# -- the file ----------------------------------------------------------------------------------------------------------


async def test_the_store_is_durable_by_its_settings(store: SqliteStore) -> None:
    asked = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint", "auto_vacuum", "temp_store")
    answers = await store.write(lambda tx: [next(iter((tx.one(f"PRAGMA {name}") or {}).values())) for name in asked])
    assert dict(zip(asked, answers, strict=True)) == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 0, "auto_vacuum": 2,
        "temp_store": 2,
    }  # fmt: skip


@pytest.mark.parametrize("pragma", ["journal_mode=DELETE", "synchronous=NORMAL"])
def test_a_store_that_is_not_durable_is_refused(tmp_path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(tmp_path / "postroom.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        sqlite._assert_durable(connection, tmp_path)
        connection.execute(f"PRAGMA {pragma}")
        with pytest.raises(Refused, match="cannot be made durable"):
            sqlite._assert_durable(connection, tmp_path)


async def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = await SqliteStore.open(tmp_path / "state" / "postroom.db")
        await store.write(put("row"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()}
        assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
        await store.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["postroom.db", "postroom.db-wal", "postroom.db-shm", "postroom.db.lock"], 0o600)


async def test_the_log_exists_before_anything_is_answered(store: SqliteStore) -> None:
    assert store.path.with_name("postroom.db-wal").exists()  # so the sync of its folder was ours


async def test_a_new_folder_is_as_durable_as_what_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set()
    fsync = os.fsync

    def noting(handle: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    store = await SqliteStore.open(tmp_path / "made" / "just" / "now" / "postroom.db")
    await store.close()
    assert {str(tmp_path.joinpath(*parts)) for parts in ((), ("made",), ("made", "just"))} <= synced


async def test_a_second_daemon_is_refused_by_name(store: SqliteStore) -> None:
    with pytest.raises(Refused, match=rf"another Postroom \(pid {os.getpid()}\)"):
        await SqliteStore.open(store.path)
    await store.close()
    again = await SqliteStore.open(store.path)
    await again.close()


async def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "postroom.db"
    path.write_bytes(b"This is a letter. " * 1000)
    for _ in range(2):  # the second time proves that the first let go of the lock
        with pytest.raises(Damaged, match=r"not a database.*postroom doctor"):
            await SqliteStore.open(path)


async def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "postroom.db")
    async with Gate(store):
        tasks = await queue(*(store.write(put(f"row{n}"), size=BATCH) for n in range(3)))
        (closes,) = await queue(store.close())
    await closes
    assert [task.result() for task in tasks] == ["row0", "row1", "row2"]
    assert len(seen(store)) == 3
    for refused in (store.write(put("late")), store.read(put("late"))):
        with pytest.raises(PostroomError, match="closed"):
            await refused
    await store.close()


async def test_callers_that_wait_for_room_are_told_of_the_end(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "postroom.db")
    async with Gate(store):
        big, waits = await queue(store.write(put("big"), size=QUEUED), store.write(put("waits")))
        (closes,) = await queue(store.close())
    with pytest.raises(PostroomError, match="closed"):
        await waits
    await asyncio.gather(big, closes)
    assert seen(store) == {"big"}


# -- migrations --------------------------------------------------------------------------------------------------------


async def test_migrations_are_applied_once(tmp_path: Path) -> None:
    scripts = [file.name for file in files("pipeline.store").joinpath("migrations").iterdir()]
    expected = {name.removesuffix(".sqlite.sql") for name in scripts if name.endswith(".sqlite.sql")}
    for _ in range(2):
        store = await SqliteStore.open(tmp_path / "postroom.db")
        applied = await store.read(lambda tx: [row["name"] for row in tx.all("SELECT name FROM _sqlite_migrations")])
        await store.close()
        assert sorted(applied) == sorted(expected)
        assert expected


def test_a_migration_is_all_or_nothing() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrations = Migrations("test")
        schema._register(migrations, "0001", "CREATE TABLE a (x);\nCREATE TABLE b (x);\nCREATE TABLE a (x);\n")
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrations.apply(Database(connection, execute_plugins=False))
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert not tables & {"a", "b"}
        assert migrations.applied(Database(connection, execute_plugins=False)) == []


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "postroom.db")
    await store.write(
        lambda tx: tx.run(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('postroom', '9999_later', '')"
        )
    )
    await store.close()
    with pytest.raises(Refused, match="9999_later"):
        await SqliteStore.open(store.path)


def test_statements_are_split_as_sqlite_sees_them() -> None:
    script = """-- first; not a statement
CREATE TABLE a (x); -- behind
CREATE TRIGGER t AFTER INSERT ON a BEGIN
  UPDATE a SET x = 'a;b';
END;
-- the end
"""
    found = list(schema.statements(script))
    assert len(found) == 2
    assert found[1].rstrip().endswith("END;")


def test_half_a_statement_is_noticed() -> None:
    with pytest.raises(ValueError, match="within a statement"):
        list(schema.statements("CREATE TABLE a (x);\nCREATE TABLE b (x)\n"))


# -- a real death ------------------------------------------------------------------------------------------------------

WRITES = """
import asyncio, pathlib, sys
from pipeline.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]))
    async def one(lane):
        for n in range(10_000_000):
            name = f"{lane}.{n}"
            await store.write(lambda tx: tx.run("INSERT INTO counter VALUES (:name, 1)", {"name": name}))
            print(name, flush=True)
    await asyncio.gather(*(one(lane) for lane in range(4)))

asyncio.run(main())
"""


async def test_sigkill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "postroom.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITES, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        answered = [(await process.stdout.readline()).decode().strip() for _ in range(200)]
        with pytest.raises(Refused, match=f"pid {process.pid}"):
            await SqliteStore.open(path)
    finally:
        process.kill()
        rest = (await process.stdout.read()).decode()
        await process.wait()
    answered += rest.splitlines()[: rest.count("\n")]
    store = await SqliteStore.open(path)
    try:
        assert len(answered) >= 200
        assert set(answered) <= seen(store)
        assert await store.read(lambda tx: tx.one("PRAGMA integrity_check")) == {"integrity_check": "ok"}
    finally:
        await store.close()


def test_die_ends_the_process_with_its_last_words() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from pipeline.store.sqlite import die\ntry: die('of an fsync')\nfinally: print('no')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (74, "")
    assert "of an fsync" in ended.stderr

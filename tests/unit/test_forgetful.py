"""The forgetful file system keeps what was synced and nothing else, or no power cut of the bench means anything."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.disk import Disk, How, missing


@pytest.fixture(scope="module")
def _disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    if (sentence := missing()) is not None:
        pytest.skip(sentence)
    with Disk(tmp_path_factory.mktemp("forgetful") / "disk") as disk:
        yield disk


@pytest.fixture
def disk(_disk: Disk) -> Iterator[Disk]:
    """A disk that holds nothing and fails nothing."""
    yield _disk
    _disk.heal()
    for path in _disk.place.iterdir():
        path.unlink()
    sync(_disk.place)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def commit(path: Path, values: range, *, synchronous: str = "FULL") -> None:
    """Write rows, a commit each, and die in the middle of a big transaction."""
    code = f"""
import os, sqlite3
store = sqlite3.connect({str(path)!r}, isolation_level=None)
store.execute("PRAGMA journal_mode=WAL")
store.execute("PRAGMA synchronous={synchronous}")
store.execute("PRAGMA cache_size=4")
store.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
for n in range({values.start}, {values.stop}):
    store.execute("INSERT INTO t VALUES (?)", (n,))
store.execute("BEGIN")
store.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(10_000)])
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL


def rows(path: Path) -> list[int]:
    """What a store holds."""
    with closing(sqlite3.connect(path)) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in store.execute("SELECT n FROM t")]


def test_a_file_is_there_once_it_and_its_folder_are_synced(disk: Disk) -> None:
    for name in ("both", "content", "name", "neither"):
        (disk.place / name).write_bytes(b"x" * 10_000)
        if name in ("both", "content"):
            sync(disk.place / name)
        if name == "name":
            sync(disk.place)  # the names of all so far
    disk.cut()
    assert {path.name: path.stat().st_size for path in disk.place.iterdir()} == {"both": 10_000, "content": 10_000,
                                                                                 "name": 0}  # fmt: skip


def test_a_name_goes_back_to_what_it_was(disk: Disk) -> None:
    old, new = disk.place / "old", disk.place / "new"
    old.write_bytes(b"1")
    new.write_bytes(b"2")
    for path in (old, new, disk.place):
        sync(path)
    old.rename(new)
    assert not old.exists() and new.read_bytes() == b"1"
    disk.cut()
    assert (old.read_bytes(), new.read_bytes()) == (b"1", b"2")


def test_a_store_keeps_what_it_synced(disk: Disk) -> None:
    commit(disk.place / "t.db", range(20))
    disk.cut()
    assert rows(disk.place / "t.db") == list(range(20))


def test_a_store_that_does_not_sync_loses_what_it_said_was_there(disk: Disk) -> None:
    commit(disk.place / "t.db", range(20), synchronous="OFF")
    disk.cut()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        rows(disk.place / "t.db")


@pytest.mark.parametrize("how", ["prefix", "some", "torn"])
def test_a_store_survives_that_a_part_of_the_unsynced_came_to_the_disk(disk: Disk, how: How) -> None:
    for seed in range(4):
        path = disk.place / f"{how}{seed}.db"
        commit(path, range(10))
        told = disk.cut(how, seed)
        assert 0 < told["kept"] < told["unsynced"]
        assert rows(path) == list(range(10))


def test_two_processes_share_a_mapped_file(disk: Disk) -> None:
    path = disk.place / "shared"
    path.write_bytes(bytes(4096))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as ours:
        code = (f"import mmap; f = open({str(path)!r}, 'r+b'); m = mmap.mmap(f.fileno(), 4096);"
                " m[:4] = bytes(reversed(m[4:8]))")  # fmt: skip
        ours[4:8] = b"abcd"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert ours[:4] == b"dcba"


def test_the_nth_sync_fails_and_its_bytes_are_never_kept(disk: Disk) -> None:
    path = disk.place / "file"
    path.write_bytes(b"first")
    sync(path)
    sync(disk.place)
    disk.fail("sync", 2, errno.EIO, name="file")
    with open(path, "r+b", buffering=0) as file:
        os.fsync(file)
        file.write(b"other")
        with pytest.raises(OSError, match="Input/output"):
            os.fsync(file)
        os.fsync(file)  # as Linux has it: no second complaint
    assert path.read_bytes() == b"other"
    disk.cut()
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (lambda disk: disk.full(1000), errno.ENOSPC),
        (lambda disk: disk.fail("write", 1, errno.EDQUOT, times=0), errno.EDQUOT),
        (lambda disk: disk.read_only(), errno.EROFS),
    ],
)
def test_writes_are_refused_until_it_is_healed(disk: Disk, trouble: object, code: int) -> None:
    path = disk.place / "file"
    with open(path, "wb", buffering=0) as file:
        trouble(disk)  # type: ignore[operator]
        for _ in range(2):
            with pytest.raises(OSError) as refused:
                file.write(b"x" * 5000)
            assert refused.value.errno == code
        disk.heal()
        assert file.write(b"x" * 5000) == 5000


def test_a_process_dies_within_its_nth_write(disk: Disk) -> None:
    path = disk.place / "file"
    writer = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read(1); f = open({str(path)!r}, 'wb', buffering=0)\n"
         "for _ in range(9): f.write(b'x' * 4096)"],
        stdin=subprocess.PIPE,
    )  # fmt: skip
    disk.kill("write", 3, writer.pid)
    writer.communicate(b"x")
    assert writer.returncode == -signal.SIGKILL
    assert path.stat().st_size == 2 * 4096 + 2048

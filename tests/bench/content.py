"""Where a mail's bytes live: in chunks in the database (ours), or one file each beside it (peer).

Both store the same mails with the same promise: after the commit of a group, bytes and row survive a power cut. The
database runs as the store does (WAL, synchronous=FULL, 256 KiB chunks). A file is written and fsynced, its folder is
fsynced once per group, and its row is committed after that. A group is a page: at most 200 mails and 4 MiB.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench import Figure, Scene, take_turns

CHUNK = 256 * 1024
PAGE_MAILS, PAGE_BYTES = 200, 4 * 1024 * 1024
CASES = {"5 kB": (5_000, 4_000), "50 kB": (50_000, 1_000), "5 MB": (5_000_000, 30)}
"""Size of a mail, and how many of them a round stores."""

SCHEMA = """
CREATE TABLE content (id INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, name TEXT NOT NULL) STRICT;
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
"""


Store = Callable[[sqlite3.Connection, Path, bytes, range], None]


def run(scene: Scene) -> dict[str, Figure]:
    """Mails a second for three sizes of mail."""
    figures = {}
    for case, (size, full) in CASES.items():
        mail, count = os.urandom(size), scene.amount(full)
        figures[case] = take_turns(
            scene,
            f"content {case}",
            partial(_timed, scene.directory / "ours", mail, count, _into_database),
            partial(_timed, scene.directory / "peer", mail, count, _into_files),
            "mails/s",
        )
    return figures


def _timed(directory: Path, mail: bytes, count: int, store: Store) -> float:
    directory.mkdir()
    connection = _open(directory / "store.db")
    try:
        start = time.perf_counter()
        for group in _groups(count, len(mail)):
            store(connection, directory, mail, group)
            # As the store does: after the callers have their answer, and counted here for both.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return count / (time.perf_counter() - start)
    finally:
        connection.close()
        shutil.rmtree(directory)
        os.sync()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.executescript(SCHEMA)
    return connection


def _groups(count: int, size: int) -> Iterator[range]:
    step = max(1, min(PAGE_MAILS, PAGE_BYTES // size))
    for first in range(0, count, step):
        yield range(first, min(first + step, count))


def _into_database(connection: sqlite3.Connection, directory: Path, mail: bytes, group: range) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for _ in group:
        row = connection.execute("INSERT INTO content (size, name) VALUES (?, '')", (len(mail),)).lastrowid or 0
        for number, offset in enumerate(range(0, len(mail), CHUNK)):
            chunk = (row * 2**20 + number, mail[offset : offset + CHUNK])
            connection.execute("INSERT INTO chunk (id, data) VALUES (?, ?)", chunk)
    connection.execute("COMMIT")


def _into_files(connection: sqlite3.Connection, directory: Path, mail: bytes, group: range) -> None:
    for number in group:
        with open(directory / f"{number}.eml", "wb", buffering=0) as file:
            file.write(mail)
            os.fsync(file.fileno())
    _sync_folder(directory)
    connection.execute("BEGIN IMMEDIATE")
    for number in group:
        connection.execute("INSERT INTO content (size, name) VALUES (?, ?)", (len(mail), f"{number}.eml"))
    connection.execute("COMMIT")


def _sync_folder(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

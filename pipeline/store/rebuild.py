"""Makes a sound file of a damaged one: every row that can be read, in a new file that takes the old one's place.

All tables must be readable from end to end but that of the chunks, which is nearly all of a store's bytes: a chunk that
cannot be read is left out, and its mail is then one whose content is missing. Damage elsewhere is for a backup. The
damaged file is kept beside. The caller holds the store's lock.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from pipeline.errors import Refused
from pipeline.store.content import _SHIFT, CHUNK
from pipeline.store.examine import read_only
from pipeline.store.schema import migrate

_NOT_COPIED = ("chunk", "sqlite_stat1", "sqlite_stat4", "_sqlite_migrations")


def rebuild(path: Path) -> Path:
    """Put a sound copy in the place of the store at ``path``; where the damaged file is now. Raises Refused."""
    _empty_log(path)
    kept = next(each for n in range(1, 1000) if not (each := path.with_name(f"{path.name}.damaged-{n}")).exists())
    fresh = path.with_name(path.name + ".rebuilt")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(read_only(path)) as source, closing(sqlite3.connect(fresh, isolation_level=None)) as target:
            _copy(source, target)
        os.link(path, kept)
        _sync(fresh)
        os.replace(fresh, path)
        _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    return kept


def _empty_log(path: Path) -> None:
    """All of the store into its one file: the log of the old file would be applied to the new one."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise Refused(
            f"the log of {path} cannot be taken in ({error}): restore a backup (docs/operations.md)"
        ) from None
    for suffix in ("-wal", "-shm"):
        rest = path.with_name(path.name + suffix)
        if suffix == "-wal" and rest.exists() and rest.stat().st_size:
            raise Refused(f"{rest} is still in use: stop what has the store open")
        rest.unlink(missing_ok=True)


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    target.execute("PRAGMA auto_vacuum=INCREMENTAL")
    migrate(target)
    target.execute("BEGIN")
    tables = [row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if table not in _NOT_COPIED:
            try:
                _copy_table(source, target, table)
            except sqlite3.Error as error:
                raise Refused(
                    f"table {table} cannot be read ({error}): restore a backup (docs/operations.md);"
                    " mail that came since is fetched again where the servers still have it"
                ) from None
    for content_id, size in source.execute("SELECT id, size FROM content"):
        _copy_content(source, target, content_id, size)
    target.execute("COMMIT")


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    target.execute(f'DELETE FROM "{table}"')
    cursor = source.execute(f'SELECT * FROM "{table}"')
    columns = ", ".join(f'"{each[0]}"' for each in cursor.description)
    marks = ", ".join("?" * len(cursor.description))
    target.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', cursor)


def _copy_content(source: sqlite3.Connection, target: sqlite3.Connection, content_id: int, size: int) -> None:
    for number in range(max(1, -(-size // CHUNK))):
        key = content_id * _SHIFT + number
        try:
            row = source.execute("SELECT data FROM chunk WHERE id = ?", (key,)).fetchone()
        except sqlite3.Error:
            continue
        if row is not None:
            target.execute("INSERT INTO chunk (id, data) VALUES (?, ?)", (key, row[0]))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Looks at a store from outside, read-only, and says what is wrong with it; the daemon need not run.

Damage may be anywhere, so every step stands alone: what one of them cannot read is a fault in the answer, never the
end of it. Contents are read chunk by chunk and compared with the hash that was kept when they came.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.store.content import _SHIFT, CHUNK

_MOST = 20
"""Sentences of SQLite's own check that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Affected:
    """A mail whose content is not what it was; where the server gave it to us, where that was."""

    id: int
    direction: str
    touchpoint_id: int
    address: str
    """Of the touchpoint."""
    subject: str
    received_at: float
    size: int
    what: str
    """What is wrong with it."""
    content_id: int
    sha256: bytes = b""
    folder: str = ""
    """"" where it did not come from a server: nobody else has it."""
    epoch: int = 0
    remote_id: int = 0
    internaldate: float = 0.0


@dataclass(kw_only=True, slots=True)
class Examined:
    """What was found."""

    faults: list[str] = field(default_factory=list)
    """Of the file as a whole; empty when it is sound."""
    schema: str = ""
    """The newest migration."""
    mode: str = ""
    """The journal mode: ``wal``, or the file is not as durable as it has to be."""
    bytes: int = 0
    log_bytes: int = 0
    """Of the log beside it (``-wal``); after a clean stop there is none."""
    mails: int = 0
    looked_at: int = 0
    """So many mails' contents were read, the newest ones."""
    unowned: int = 0
    """Contents that belong to no mail yet: partial ones, swept at the next start."""
    affected: list[Affected] = field(default_factory=list)


def examine(path: Path, most: int) -> Examined:
    """Check the store at ``path``, and the contents of its newest ``most`` mails; raises OSError without one."""
    log = path.with_name(path.name + "-wal")
    found = Examined(bytes=path.stat().st_size, log_bytes=log.stat().st_size if log.exists() else 0)
    with closing(read_only(path)) as store:
        for step in (_whole, _schema, _counts, _rows):
            _try(found, step, store)
        for entry_id in _newest(found, store, most):
            found.looked_at += 1
            if (affected := _content(store, entry_id)) is not None:
                found.affected.append(affected)
    return found


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _try(found: Examined, step: Any, store: sqlite3.Connection) -> None:
    try:
        step(found, store)
    except sqlite3.Error as error:
        if (sentence := str(error)) not in found.faults:
            found.faults.append(sentence)


def _whole(found: Examined, store: sqlite3.Connection) -> None:
    rows = [str(row[0]) for row in store.execute(f"PRAGMA integrity_check({_MOST})")]
    found.faults += [] if rows == ["ok"] else rows


def _schema(found: Examined, store: sqlite3.Connection) -> None:
    found.mode = store.execute("PRAGMA journal_mode").fetchone()[0]
    found.schema = store.execute("SELECT max(name) FROM _sqlite_migrations").fetchone()[0] or ""


def _counts(found: Examined, store: sqlite3.Connection) -> None:
    found.mails = store.execute("SELECT count(*) FROM entry").fetchone()[0]
    found.unowned = store.execute("SELECT count(*) FROM content WHERE owned = 0").fetchone()[0]


def _rows(found: Examined, store: sqlite3.Connection) -> None:
    """What the tables say of each other."""
    sql = "SELECT count(*), min(id) FROM ledger WHERE state = 'taken' AND entry_id NOT IN (SELECT id FROM entry)"
    missing, first = store.execute(sql).fetchone()
    if missing:
        found.faults.append(
            f"{missing} items were taken whose mail is not there, the first is row {first} of the ledger"
        )
    broken = store.execute("PRAGMA foreign_key_check").fetchmany(1)
    found.faults += [f"table {row[0]}, row {row[1]}: what it refers to in {row[2]} is not there" for row in broken]


def _newest(found: Examined, store: sqlite3.Connection, most: int) -> list[int]:
    ids: list[int] = []
    try:
        for row in store.execute("SELECT id FROM entry WHERE content_id <> 0 ORDER BY id DESC LIMIT ?", (most,)):
            ids.append(row[0])  # noqa: PERF401 what came before the damage counts
    except sqlite3.Error as error:
        found.faults.append(f"the mails below {ids[-1] if ids else 'the newest'} cannot be listed: {error}")
    return ids


def _content(store: sqlite3.Connection, entry_id: int) -> Affected | None:
    what, sha256 = "", b""
    row: dict[str, Any] = {"id": entry_id}
    try:
        row |= _one(store, _ENTRY, entry_id)
        sha256 = row["kept"] or b""
        what = _wrong(store, row)
    except sqlite3.Error as error:
        what = f"cannot be read: {error}"
    if not what:
        return None
    item: dict[str, Any] = {}
    try:
        item = _one(store, _ITEM, entry_id)
    except sqlite3.Error as error:
        what += f"; nor can its row in the ledger: {error}"
    return Affected(
        id=entry_id, direction=row.get("direction", ""), touchpoint_id=row.get("touchpoint_id", 0),
        address=row.get("address") or "", subject=row.get("subject", ""), received_at=row.get("received_at", 0.0),
        size=row.get("size", 0), what=what, content_id=row.get("content_id", 0), sha256=item.get("sha256") or sha256,
        folder=item.get("folder", ""), epoch=item.get("epoch", 0), remote_id=item.get("remote_id", 0),
        internaldate=item.get("internaldate", 0.0),
    )  # fmt: skip


_ENTRY = """
SELECT e.direction, e.touchpoint_id, e.subject, e.received_at, e.size, e.content_id, t.address,
       c.size AS kept_size, c.sha256 AS kept, c.owned
FROM entry AS e LEFT JOIN touchpoint AS t ON t.id = e.touchpoint_id LEFT JOIN content AS c ON c.id = e.content_id
WHERE e.id = ?
"""
_ITEM = """
SELECT folder, epoch, remote_id, internaldate, sha256 FROM ledger
WHERE entry_id = ? AND state IN ('taken', 'known') ORDER BY id DESC LIMIT 1
"""


def _one(store: sqlite3.Connection, sql: str, entry_id: int) -> dict[str, Any]:
    cursor = store.execute(sql, (entry_id,))
    row = cursor.fetchone()
    return {} if row is None else dict(zip([each[0] for each in cursor.description], row, strict=True))


def _wrong(store: sqlite3.Connection, row: dict[str, Any]) -> str:
    if row.get("kept_size") is None:
        return "its content is not there"
    if not row["owned"]:
        return "its content is marked as nobody's, and would be swept"
    digest, size = hashlib.sha256(), 0
    for data in chunks(store, row["content_id"]):
        digest.update(data)
        size += len(data)
    if size != row["kept_size"]:
        return f"{size} of {row['kept_size']} bytes are there"
    return "" if digest.digest() == row["kept"] else "its bytes are not those that came"


def chunks(store: sqlite3.Connection, content_id: int) -> Iterator[bytes]:
    """A content from its start, as far as it is there."""
    for number in range(_SHIFT):
        row = store.execute("SELECT data FROM chunk WHERE id = ?", (content_id * _SHIFT + number,)).fetchone()
        if row is None:
            return
        yield bytes(row[0])
        if len(row[0]) < CHUNK:
            return

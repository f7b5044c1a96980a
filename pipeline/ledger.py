"""The ledger: one row per item that a server ever showed us, and what became of it.

A row is unique by (touchpoint, folder, epoch, remote id); that is what makes a second fetch harmless. Items that are
left alone as a whole (older than the first connect, skipped on activation) have range rows. Together with the cursor
they answer for every id that the server ever gave out: nothing below the cursor is without a row or a range.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import StaleVersion
from pipeline.store import Row, Tx


class ItemState(StrEnum):
    """What became of one item."""

    TAKEN = "taken"
    """Stored, with an entry in the spool."""
    PENDING = "pending"
    """Could not be fetched; asked for again when due."""
    MOVED = "moved"
    """The same item came to this folder from another one: it has its entry there."""
    GONE = "gone"
    """Somebody removed it before it was fetched."""
    KNOWN = "known"
    """The folder was renumbered: an item that we had already, under its new number; the entry is the one it has."""


class RangeKind(StrEnum):
    """Why a range of items was left alone."""

    OLDER = "older"
    """It was there before the first connect."""
    SKIPPED = "skipped"
    """It came while the touchpoint was inactive, and a person said: start now."""


@dataclass(frozen=True, slots=True)
class Item:
    """Which item of a server: (touchpoint, folder, epoch, remote id) and what was seen of it."""

    touchpoint_id: int
    folder: str
    epoch: int
    remote_id: int
    internaldate: float = 0.0
    size: int = 0

    @property
    def seed(self) -> str:
        """The item's identity as text."""
        return f"{self.touchpoint_id}/{self.folder}/{self.epoch}/{self.remote_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prints:
    """What tells two items apart or shows them equal."""

    message_id: str = ""
    head_hash: bytes = b""
    sha256: bytes = b""


_RECORD = """
INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, entry_id, internaldate, size, message_id,
                    head_hash, sha256, mark_due, attempts, due_at, error, seen_at)
VALUES (:touchpoint_id, :folder, :epoch, :remote_id, :state, :entry_id, :internaldate, :size, :message_id,
        :head_hash, :sha256, :mark_due, :attempts, :due_at, :error, :at)
ON CONFLICT (touchpoint_id, folder, epoch, remote_id) DO UPDATE SET
  state = excluded.state, entry_id = excluded.entry_id, internaldate = excluded.internaldate, size = excluded.size,
  message_id = excluded.message_id, head_hash = excluded.head_hash, sha256 = excluded.sha256,
  mark_due = excluded.mark_due, attempts = excluded.attempts, due_at = excluded.due_at, error = excluded.error
WHERE ledger.state = 'pending'
"""


def record(
    tx: Tx,
    item: Item,
    state: ItemState,
    at: float,
    *,
    entry_id: int = 0,
    prints: Prints = Prints(),
    mark: str = "",
    attempts: int = 0,
    due_at: float = 0.0,
    error: str = "",
) -> None:
    """Write an item's row, or fill in its pending one; raises StaleVersion where it has a settled one (``known``)."""
    changed = tx.run(
        _RECORD,
        {
            "touchpoint_id": item.touchpoint_id,
            "folder": item.folder,
            "epoch": item.epoch,
            "remote_id": item.remote_id,
            "state": state.value,
            "entry_id": entry_id,
            "internaldate": item.internaldate,
            "size": item.size,
            "message_id": prints.message_id,
            "head_hash": prints.head_hash,
            "sha256": prints.sha256,
            "mark_due": mark,
            "attempts": attempts,
            "due_at": due_at,
            "error": error[:500],
            "at": at,
        },
    )
    if not changed:
        raise StaleVersion(f"{item.seed} was settled meanwhile")


def highest(tx: Tx, touchpoint_id: int, folder: str, epoch: int) -> Row | None:
    """The last item of an epoch whose head we know: by it one sees whether the numbers still mean the same."""
    return tx.one(
        "SELECT remote_id, internaldate, size, head_hash FROM ledger WHERE touchpoint_id = :touchpoint"
        " AND folder = :folder AND epoch = :epoch AND sha256 <> x'' AND head_hash <> x''"
        " ORDER BY remote_id DESC LIMIT 1",
        {"touchpoint": touchpoint_id, "folder": folder, "epoch": epoch},
    )


def known(tx: Tx, touchpoint_id: int, folder: str, epoch: int, remote_ids: Sequence[int]) -> set[int]:
    """Which of these items have a row already that is not pending."""
    if not remote_ids:
        return set()
    rows = tx.all(
        "SELECT remote_id FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :epoch"
        " AND remote_id BETWEEN :low AND :high AND state <> 'pending'",
        {
            "touchpoint": touchpoint_id,
            "folder": folder,
            "epoch": epoch,
            "low": min(remote_ids),
            "high": max(remote_ids),
        },
    )
    return {row["remote_id"] for row in rows}.intersection(remote_ids)


def record_range(
    tx: Tx, touchpoint_id: int, folder: str, epoch: int, low: int, high: int, kind: RangeKind, at: float
) -> None:
    """Leave the items ``low``..``high`` alone, both inclusive; an empty range is none."""
    if low > high:
        return
    tx.run(
        "INSERT INTO ledger_range (touchpoint_id, folder, epoch, low, high, kind, at)"
        " VALUES (:touchpoint, :folder, :epoch, :low, :high, :kind, :at)"
        " ON CONFLICT (touchpoint_id, folder, epoch, low) DO UPDATE SET high = max(high, excluded.high)",
        {
            "touchpoint": touchpoint_id,
            "folder": folder,
            "epoch": epoch,
            "low": low,
            "high": high,
            "kind": kind.value,
            "at": at,
        },
    )


def ranges(tx: Tx, touchpoint_id: int, folder: str, epoch: int) -> list[tuple[int, int]]:
    """The ranges of a folder that are left alone."""
    rows = tx.all(
        "SELECT low, high FROM ledger_range WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :epoch",
        {"touchpoint": touchpoint_id, "folder": folder, "epoch": epoch},
    )
    return [(row["low"], row["high"]) for row in rows]


def inside(ranges: Sequence[tuple[int, int]], numbers: Iterable[int]) -> set[int]:
    """Those numbers that lie in one of the ranges."""
    if not ranges:
        return set()
    highs: list[tuple[int, int]] = []  # (low, the highest end of all ranges that begin there or before)
    for low, high in sorted(ranges):
        highs.append((low, max(high, highs[-1][1] if highs else 0)))
    found = set()
    for number in numbers:
        at = bisect_right(highs, number, key=lambda each: each[0]) - 1
        if at >= 0 and number <= highs[at][1]:
            found.add(number)
    return found


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Rising numbers as (first, last) runs of neighbours."""
    result: list[tuple[int, int]] = []
    for number in numbers:
        if result and number == result[-1][1] + 1:
            result[-1] = (result[-1][0], number)
        else:
            result.append((number, number))
    return result


def pending_due(tx: Tx, touchpoint_id: int, now: float, limit: int = 200) -> list[Row]:
    """Pending items whose time has come, the longest due first."""
    return tx.all(
        "SELECT * FROM ledger WHERE touchpoint_id = :touchpoint AND state = 'pending' AND due_at <= :now"
        " ORDER BY due_at LIMIT :limit",
        {"touchpoint": touchpoint_id, "now": now, "limit": limit},
    )


def alike(tx: Tx, touchpoint_id: int, sha256: bytes, internaldate: float) -> list[Row]:
    """Rows of this touchpoint with the same bytes that the server took at the same moment."""
    return tx.all(
        "SELECT folder, epoch, remote_id, state FROM ledger WHERE sha256 = :sha256 AND touchpoint_id = :touchpoint"
        " AND internaldate = :internaldate",
        {"sha256": sha256, "touchpoint": touchpoint_id, "internaldate": internaldate},
    )


def marks_due(tx: Tx, touchpoint_id: int, limit: int = 200, *, without: Iterable[str] = ()) -> list[Row]:
    """Items that are stored and whose mark on the server is still to be made, but for those of some folders."""
    return tx.all(
        "SELECT id, folder, epoch, remote_id, internaldate, size, mark_due FROM ledger"
        " WHERE touchpoint_id = :touchpoint AND mark_due <> '' AND entry_id <> 0"
        " AND folder NOT IN (SELECT value FROM json_each(:without)) LIMIT :limit",
        {"touchpoint": touchpoint_id, "limit": limit, "without": json.dumps(sorted(without))},
    )


def marked(tx: Tx, ids: Sequence[int]) -> None:
    """The server said OK to these marks."""
    tx.many("UPDATE ledger SET mark_due = '' WHERE id = :id", [{"id": each} for each in ids])


def cursor(tx: Tx, touchpoint_id: int, folder: str) -> str | None:
    """How far a folder has been read."""
    row = tx.one(
        "SELECT value FROM cursor WHERE touchpoint_id = :touchpoint AND folder = :folder",
        {"touchpoint": touchpoint_id, "folder": folder},
    )
    return None if row is None else str(row["value"])


def set_cursor(tx: Tx, touchpoint_id: int, folder: str, value: str, at: float) -> None:
    """Move a folder's cursor; only ever in the commit that accounts for what lies below it."""
    tx.run(
        "INSERT INTO cursor (touchpoint_id, folder, value, updated_at) VALUES (:touchpoint, :folder, :value, :at)"
        " ON CONFLICT (touchpoint_id, folder) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        {"touchpoint": touchpoint_id, "folder": folder, "value": value, "at": at},
    )


def still_pending(tx: Tx, ledger_id: int, due_at: float, error: str) -> None:
    """A pending item did not come this time either."""
    tx.run(
        "UPDATE ledger SET attempts = attempts + 1, due_at = :due, error = :error WHERE id = :id AND state = 'pending'",
        {"id": ledger_id, "due": due_at, "error": error[:500]},
    )

"""What a proof reads, as SQL: each function one window, bounded by ids, on one snapshot. It judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.store import Row, Tx
from pipeline.store.content import CHUNK as CHUNK

_SHIFT = 1 << 20
_BYTES = f"""
 c.size AS content_size, c.owned,
 (SELECT count(*) FROM chunk AS k WHERE k.id BETWEEN e.content_id * {_SHIFT} AND e.content_id * {_SHIFT} + {_SHIFT - 1}
 ) AS chunks,
 (SELECT sum(length(k.data)) FROM chunk AS k
   WHERE k.id BETWEEN e.content_id * {_SHIFT} AND e.content_id * {_SHIFT} + {_SHIFT - 1}) AS stored
"""
"""Of entry ``e`` with content ``c``; SQLite knows the length of a blob without reading it."""


class Group(NamedTuple):
    """One folder of a touchpoint in one epoch, as the ledger keeps it."""

    touchpoint_id: int
    folder: str
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """What there was when a proof began, from one snapshot."""

    top: int = 0
    """The last entry id that was given."""
    counters: Mapping[str, int] = field(default_factory=dict)


def horizon(tx: Tx) -> Horizon:
    """Fix what is judged."""
    # The books of AUTOINCREMENT know the ids of entries at the end that are not there any more.
    row = tx.one("SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'entry'), 0),"
                 " coalesce((SELECT max(id) FROM entry), 0)) AS top")  # fmt: skip
    counters = tx.all("SELECT name, value FROM counter")
    return Horizon(top=int(row["top"]) if row else 0, counters={each["name"]: each["value"] for each in counters})


def next_group(tx: Tx, group: Group) -> Group | None:
    """The next folder and epoch that the ledger has rows of."""
    row = tx.one(
        "SELECT touchpoint_id, folder, epoch FROM ledger"
        " WHERE (touchpoint_id, folder, epoch) > (:touchpoint, :folder, :epoch)"
        " ORDER BY touchpoint_id, folder, epoch LIMIT 1",
        {"touchpoint": group.touchpoint_id, "folder": group.folder, "epoch": group.epoch},
    )
    return None if row is None else Group(row["touchpoint_id"], row["folder"], row["epoch"])


def ranges(tx: Tx, group: Group) -> list[tuple[int, int, str]]:
    """What was left alone as a whole, as (low, high, kind)."""
    rows = tx.all(
        "SELECT low, high, kind FROM ledger_range"
        " WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :epoch",
        {"touchpoint": group.touchpoint_id, "folder": group.folder, "epoch": group.epoch},
    )
    return [(row["low"], row["high"], row["kind"]) for row in rows]


def items(tx: Tx, group: Group, after: int, limit: int) -> list[Row]:
    """Rows of the ledger above a remote id, with their entries and what is there of their contents."""
    return tx.all(
        "SELECT l.remote_id, l.state, l.entry_id, l.internaldate, l.seen_at, l.sha256, l.message_id,"
        " e.state AS entry_state, e.direction, e.touchpoint_id AS owner, e.disposition, e.content_id, e.size,"
        f" e.subject, e.accepted_at, {_BYTES} FROM ledger AS l LEFT JOIN entry AS e ON e.id = l.entry_id"
        " LEFT JOIN content AS c ON c.id = e.content_id"
        " WHERE l.touchpoint_id = :touchpoint AND l.folder = :folder AND l.epoch = :epoch AND l.remote_id > :after"
        " ORDER BY l.remote_id LIMIT :limit",
        {"touchpoint": group.touchpoint_id, "folder": group.folder, "epoch": group.epoch, "after": after,
         "limit": limit},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The entries of a run of ids."""

    ids: Sequence[int]
    """All of them, ascending, of every touchpoint."""
    kinds: Sequence[str]
    """What they count as: in, relay, auto-reply, notice."""
    others: frozenset[int]
    """Those of touchpoints that are not asked about."""
    accepted: Sequence[float]
    out: Sequence[Row]
    """The outbound ones with all that is judged."""
    next_id: int
    """The first one behind the window; 0 for none."""
    next_at: float


def entries(tx: Tx, low: int, high: int, touchpoint_id: int) -> Window:
    """Entries with ids low..high."""
    span = {"low": low, "high": high, "touchpoint": touchpoint_id}
    rows = tx.all("SELECT id, direction, origin, touchpoint_id, accepted_at FROM entry WHERE id BETWEEN :low AND :high"
                  " ORDER BY id", span)  # fmt: skip
    behind = tx.one("SELECT id, accepted_at FROM entry WHERE id > :high ORDER BY id LIMIT 1", {"high": high})
    return Window(
        ids=[row["id"] for row in rows],
        kinds=["in" if row["direction"] == "in" else row["origin"] for row in rows],
        others=frozenset(row["id"] for row in rows if touchpoint_id not in (0, row["touchpoint_id"])),
        accepted=[row["accepted_at"] for row in rows],
        out=tx.all(
            "SELECT e.id, e.touchpoint_id, e.origin, e.state, e.disposition, e.size, e.message_id, e.subject,"
            f" e.accepted_at, u.notify, {_BYTES},"
            " (SELECT count(*) FROM recipient AS r WHERE r.entry_id = e.id) AS recipients,"
            " (SELECT count(*) FROM recipient AS r WHERE r.entry_id = e.id AND r.state = 'delivered') AS delivered,"
            " (SELECT count(*) FROM recipient AS r WHERE r.entry_id = e.id"
            "   AND r.state NOT IN ('delivered', 'refused')) AS unsettled,"
            " (SELECT count(*) FROM attempt AS a WHERE a.entry_id = e.id"
            "   AND a.outcome IN ('accepted', 'found', 'confirmed') AND (a.code <> 0 OR a.text <> '')) AS words,"
            " (SELECT count(*) FROM entry AS n WHERE n.notice_for = e.id AND n.notice_for <> 0) AS notices"
            " FROM entry AS e LEFT JOIN content AS c ON c.id = e.content_id"
            " LEFT JOIN relay_user AS u ON u.id = e.relay_user_id"
            # By id: the index that begins with the direction would be gone through as a whole for each window.
            " WHERE e.id BETWEEN :low AND :high AND +e.direction = 'out' AND :touchpoint IN (0, e.touchpoint_id)"
            " ORDER BY e.id",
            span,
        ),
        next_id=behind["id"] if behind else 0,
        next_at=behind["accepted_at"] if behind else 0.0,
    )


def orphans(tx: Tx, ids: Sequence[int]) -> list[Row]:
    """What there is to say of these entries."""
    if not ids:
        return []
    return tx.all(
        "SELECT id, touchpoint_id, seed, message_id, subject, accepted_at FROM entry"
        f" WHERE id IN ({', '.join(map(str, map(int, ids)))})"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Traces:
    """What removed entries left behind."""

    walked: frozenset[int]
    """Their trails: they came through a line."""
    addressed: frozenset[int]
    """Their recipients: they were to go out."""


def traces(tx: Tx, low: int, high: int, limit: int = 100_000) -> Traces:
    """What is left of entries low..high."""
    span = {"low": low, "high": high, "limit": limit}
    found = {
        table: frozenset(
            row["entry_id"]
            for row in tx.all(
                f"SELECT DISTINCT entry_id FROM {table} WHERE entry_id BETWEEN :low AND :high LIMIT :limit", span
            )
        )
        for table in ("walk", "recipient")
    }
    return Traces(walked=found["walk"], addressed=found["recipient"])

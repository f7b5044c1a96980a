"""Held mail that nobody looks after is given up in the end, where the settings say so. SQL only, in a caller's tx.

What counts is the time for which the daemon itself saw the mail held, added up sweep by sweep: a clock that was set, a
long outage or a restored backup lets nothing expire. A release, and every new hold after it, begins anew. Mail that is
being fetched for a release does not wait for a person, and does not expire.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.people import Actor, audit
from pipeline.store import Row, Tx

AT_ONCE = 2_000
"""Held mails that one transaction looks at."""
_MARK = (
    "e.cause || ' ' || e.attempts || ' ' || e.released_by || ' ' || (SELECT count(*) FROM walk WHERE entry_id = e.id)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What one transaction came to."""

    dropped: tuple[tuple[int, int], ...]
    """(mail, touchpoint) of those that were given up."""
    next: int
    """Go on behind this id; 0 where that was all."""


def sweep(tx: Tx, after: int, *, seconds: float, limit: float, now: float, actor: Actor) -> Swept:
    """Add ``seconds`` to held mail behind the id ``after``, and give up what was held for ``limit`` seconds."""
    rows = tx.all(
        "SELECT id FROM entry AS e WHERE state = 'held' AND id > :after"
        " AND NOT (released_by <> '' AND direction = 'in' AND content_id = 0 AND size > 0) ORDER BY id LIMIT :most",
        {"after": after, "most": AT_ONCE},
    )
    span = {"after": after, "last": rows[-1]["id"] if len(rows) == AT_ONCE else 2**62}
    tx.run(
        "DELETE FROM expiry WHERE entry_id > :after AND entry_id <= :last"
        " AND entry_id NOT IN (SELECT id FROM entry WHERE state = 'held')",
        span,
    )
    tx.many(
        f"INSERT INTO expiry (entry_id, mark, expires_at) SELECT e.id, {_MARK}, :now + :limit FROM entry AS e"
        " WHERE e.id = :id ON CONFLICT (entry_id) DO UPDATE SET"
        " seconds = CASE WHEN mark = excluded.mark THEN seconds + :seconds ELSE 0 END, mark = excluded.mark",
        [{"id": row["id"], "now": now, "limit": limit, "seconds": seconds} for row in rows],
    )
    tx.run(
        "UPDATE expiry SET expires_at = :now + :limit - seconds WHERE entry_id > :after AND entry_id <= :last",
        {**span, "now": now, "limit": limit},
    )
    due = tx.all(
        "SELECT e.id, e.touchpoint_id, e.cause, x.seconds FROM expiry AS x JOIN entry AS e ON e.id = x.entry_id"
        " WHERE x.entry_id > :after AND x.entry_id <= :last AND x.seconds >= :limit AND e.state = 'held'",
        {**span, "limit": limit},
    )
    for row in due:
        _drop(tx, row, now, actor)
    dropped = tuple((row["id"], row["touchpoint_id"]) for row in due)
    return Swept(dropped=dropped, next=span["last"] if len(rows) == AT_ONCE else 0)


def _drop(tx: Tx, row: Row, now: float, actor: Actor) -> None:
    at = {"id": row["id"], "now": now}
    tx.run("UPDATE entry SET state = 'done', disposition = 'dropped', settled_at = :now WHERE id = :id", at)
    tx.run("DELETE FROM expiry WHERE entry_id = :id", {"id": row["id"]})
    said = {"cause": row["cause"], "held_days": round(row["seconds"] / 86400, 1)}
    audit(tx, actor, "mail.drop", f"mail {row['id']}", now, said)


def forget(tx: Tx) -> None:
    """Nothing expires any more."""
    tx.run("DELETE FROM expiry")

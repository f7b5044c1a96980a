"""What waits for a person: connections that do not heal by themselves, and mail that goes nowhere without somebody.

Asked for once a second by every feed, so it looks at the touchpoints in trouble and at sums only: what it costs
does not grow with the touchpoints that are well, nor with mail that is at its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from shlex import quote

from gateway.rows import NeedRow
from gateway.views import Scene
from pipeline import resume
from pipeline.lifecycle import ConnectionState
from pipeline.store import Row, Tx

MOST_TOUCHPOINTS = 20
"""That are told one by one."""
LONG_BACKOFF = 3600.0
"""Seconds after which a person should look at what ought to heal by itself: a bad certificate does not."""
MOST_UNASSIGNED = 1000
"""Counting on would cost more than it tells."""
_TROUBLES = (ConnectionState.LOST, ConnectionState.BACKOFF)


class DiskWatch:
    """Since when the disk takes no writes; asked before the rest, which is read from it."""

    def __init__(self) -> None:
        self._since = 0.0

    def needs(self, why: str, now: float) -> tuple[NeedRow, ...]:
        """The row about the disk, where ``why`` says what is wrong with it."""
        if not why:
            self._since = 0.0
            return ()
        self._since = self._since or now
        words = f"{why}: intake pauses, the relay says 452; both resume by themselves"
        return (
            NeedRow(
                kind="disk-full", touchpoint="", count=0, since=self._since, words=words, command="postroom doctor"
            ),
        )


Troubled = dict[ConnectionState, list[int]]
"""Ids of touchpoints by what is wrong."""


def troubled(scene: Scene) -> Troubled:
    """The touchpoints in trouble, as they stand now."""
    found: Troubled = {state: [] for state in _TROUBLES}
    for number in scene.directory.touchpoints:
        if (state := scene.state_of(number)) in found:
            found[state].append(number)
    return found


def needs_you(tx: Tx, trouble: Troubled, now: float) -> tuple[NeedRow, ...]:
    """What waits for a person, touchpoints first."""
    return (*_touchpoints(tx, trouble, now), *_renumbered(tx), *_mail(tx))


def _touchpoints(tx: Tx, trouble: Troubled, now: float) -> Iterator[NeedRow]:
    room = MOST_TOUCHPOINTS
    for state in _TROUBLES:
        before = now - LONG_BACKOFF if state is ConnectionState.BACKOFF else float("inf")
        rows = _longest(tx, trouble[state], before, room)
        for row in rows[:room]:
            yield _touchpoint(row, state, now)
        if rows and (more := rows[0]["number"] - room) > 0:
            yield _more(state, more, rows[-1])
        room = max(0, room - len(rows))


def _longest(tx: Tx, ids: list[int], before: float, room: int) -> list[Row]:
    """Those in trouble since before a time, the longest first: one more than there is room for, and their number."""
    if not ids:
        return []
    sql = (
        "SELECT t.address, t.cause, t.reason, t.state_since, t.number, (SELECT count(*) FROM entry AS e"
        "  WHERE e.touchpoint_id = t.id AND e.direction = 'out' AND e.state = 'waiting') AS kept"
        " FROM (SELECT id, address, cause, reason, state_since, count(*) OVER () AS number FROM touchpoint"
        "  WHERE state_since < :before AND id IN (SELECT value FROM json_each(:ids))"
        "  ORDER BY state_since, id LIMIT :most) AS t ORDER BY t.state_since, t.id"
    )
    return tx.all(sql, {"ids": json.dumps(ids), "before": before, "most": room + 1})


def _touchpoint(row: Row, state: ConnectionState, now: float) -> NeedRow:
    address, cause = row["address"], row["cause"]
    if state is ConnectionState.LOST:
        words, command = f"connection lost ({cause})", f"postroom touchpoint connect {quote(address)}"
    else:
        hours = int((now - row["state_since"]) // 3600)
        words = f"no connection for {hours} h ({cause}: {row['reason'][:500]})"
        command = f"postroom touchpoint test {quote(address)}"
    return NeedRow(
        kind=state.value,
        touchpoint=address,
        count=row["kept"],
        since=row["state_since"],
        words=words,
        command=command,
    )


def _more(state: ConnectionState, number: int, first: Row) -> NeedRow:
    what = "lost their connection" if state is ConnectionState.LOST else "have had no connection for an hour"
    return NeedRow(
        kind=state.value,
        touchpoint="",
        count=0,
        since=first["state_since"],
        words=f"{number:,} more touchpoints {what}",
        command=f"postroom touchpoint list --state {state.value}",
    )


def _renumbered(tx: Tx) -> Iterator[NeedRow]:
    """Folders that came back with new numbers and much old mail: a person says what is taken."""
    sql = (
        "SELECT t.address, r.folder, r.unseen, r.old, r.asked_at FROM resume AS r JOIN touchpoint AS t"
        f" ON t.id = r.touchpoint_id WHERE {resume.OPEN} AND t.deleted_at = 0 ORDER BY r.asked_at LIMIT :most"
    )
    for row in tx.all(sql, {"most": MOST_TOUCHPOINTS}):
        yield NeedRow(
            kind="resume",
            touchpoint=row["address"],
            count=row["unseen"],
            since=row["asked_at"],
            words=f"{row['folder']} was renumbered: take {row['unseen']:,} unseen mails, {row['old']:,} of them old?",
            command=f"postroom touchpoint resume {quote(row['address'])}",
        )


_STATES = {
    "held": ("held", "postroom spool list --state held"),
    "unknown": ("of unknown outcome", "postroom spool list --state unknown"),
    "failed": ("failed", "postroom spool list --state failed"),
}


def _mail(tx: Tx) -> Iterator[NeedRow]:
    # Ids are given in the order of commits: the lowest one is the oldest.
    sql = (
        "SELECT f.state, f.number, e.accepted_at FROM (SELECT state, count(*) AS number, min(id) AS first FROM entry"
        " WHERE state IN ('held', 'unknown', 'failed') GROUP BY state) AS f JOIN entry AS e ON e.id = f.first"
    )
    found = {row["state"]: row for row in tx.all(sql)}
    for state, (words, command) in _STATES.items():
        if row := found.get(state):
            yield _about_mail(state, row, f"{row['number']:,} mail {words}", command)
    yield from _unassigned(tx)


def _unassigned(tx: Tx) -> Iterator[NeedRow]:
    """Open mail that is in no ring group's queue."""
    sql = (
        "SELECT f.number, e.accepted_at FROM (SELECT count(*) AS number, min(id) AS first FROM"
        "  (SELECT e.id FROM entry AS e WHERE e.disposition = 'queued' AND e.closed = 0"
        "   AND NOT EXISTS (SELECT 1 FROM assignment AS a WHERE a.entry_id = e.id) ORDER BY e.id LIMIT :most)"
        " ) AS f JOIN entry AS e ON e.id = f.first"
    )
    for row in tx.all(sql, {"most": MOST_UNASSIGNED}):
        number = f"{row['number']:,}{' and more' if row['number'] == MOST_UNASSIGNED else ''}"
        yield _about_mail(
            "unassigned", row, f"{number} mail queued for no ring group", "postroom queue list --unassigned"
        )


def _about_mail(kind: str, row: Row, words: str, command: str) -> NeedRow:
    return NeedRow(
        kind=kind, touchpoint="", count=row["number"], since=row["accepted_at"], words=words, command=command
    )

"""How old the mail is that still has to go out, by destination or by touchpoint, as Postfix's qshape shows it.

Read in slices of the spool, each a short read of its own, so that a full outbox neither holds a reader up nor meets
the limit of one read; what moves meanwhile may be counted as it was or as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from gateway.rows import Shape, ShapeRow
from gateway.views import Scene, find
from pipeline.errors import Refused
from pipeline.store import Row, Store, Tx, Value

BOUNDS = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
"""Minutes."""
MOST_ROWS = 100
SLICE = 20_000
"""Mails of one read."""
_STATES = ("waiting", "active", "unknown")
_LAST = 2**62

# The oldest first: where much waits, most of it is old.
_AGE = " ".join(
    f"WHEN e.accepted_at <= :now - {60 * minutes} THEN {number}"
    for number, minutes in reversed([*enumerate(BOUNDS, 1)])
)
# Behind the last "@"; a quoted local part may hold others (RFC 5321 section 4.1.2).
_DOMAIN = "lower(substr(r.address, length(rtrim(r.address, replace(r.address, '@', ''))) + 1))"
_WHAT = {
    "destination": (
        f"SELECT {_DOMAIN} AS name, count(DISTINCT e.id) AS number,",
        "JOIN recipient AS r ON r.entry_id = e.id AND r.state IN ('waiting', 'unknown')",
    ),
    "touchpoint": (
        "SELECT t.address AS name, count(*) AS number,",
        "JOIN touchpoint AS t ON t.id = e.touchpoint_id",
    ),
}
_SLICE = (
    "{select} CASE {age} ELSE 0 END AS age,"
    " e.state <> 'unknown' AND e.touchpoint_id NOT IN (SELECT value FROM json_each(:moving)) AS parked"
    " FROM entry AS e {join}"
    " WHERE e.state = :state AND e.disposition = '' AND e.id > :after AND e.id <= :last AND e.direction = 'out'"
    " AND (:touchpoint = 0 OR e.touchpoint_id = :touchpoint) GROUP BY 1, 3, 4"
)
_END = "SELECT id FROM entry WHERE state = :state AND disposition = '' AND id > :after ORDER BY id LIMIT 1 OFFSET :size"


async def shape(store: Store, scene: Scene, touchpoint: str, by: str, now: float) -> Shape:
    """The shape of the outbox; raises Refused for what there is none of."""
    if by not in _WHAT:
        raise Refused(f"there is no shape by {by[:40]!a}; there are: {', '.join(_WHAT)}")
    params: dict[str, Value] = {
        "now": now,
        "moving": json.dumps(sorted(scene.moving())),
        "touchpoint": find(scene.directory, touchpoint).id if touchpoint else 0,
    }
    counted = _Counted()
    for state in _STATES:
        after = 0
        while after < _LAST:
            at = {**params, "state": state, "after": after}
            rows, after = await store.read(lambda tx, at=at: slice_of(tx, by, at))  # type: ignore[misc]
            counted.add(rows)
    return counted.shape()


def slice_of(tx: Tx, by: str, params: dict[str, Value]) -> tuple[list[Row], int]:
    """What the next mails of one state add, and the id of the last of them."""
    end = tx.one(_END, {**params, "size": SLICE - 1})
    last = _LAST if end is None else int(end["id"])
    select, join = _WHAT[by]
    return tx.all(_SLICE.format(select=select, join=join, age=_AGE), {**params, "last": last}), last


class _Counted:
    """Mails by name and age."""

    def __init__(self) -> None:
        self._ages: dict[str, list[int]] = {}
        self._parked = Counter[str]()

    def add(self, rows: Iterable[Row]) -> None:
        """One slice more."""
        for row in rows:
            ages = self._ages.setdefault(row["name"], [0] * (len(BOUNDS) + 1))
            ages[row["age"]] += row["number"]
            if row["parked"]:
                self._parked[row["name"]] += row["number"]

    def shape(self) -> Shape:
        """The fullest first."""
        names = sorted(self._ages, key=lambda name: (-sum(self._ages[name]), name))
        rows = tuple(
            ShapeRow(
                name=name[:320], total=sum(self._ages[name]), parked=self._parked[name], ages=tuple(self._ages[name])
            )
            for name in names[:MOST_ROWS]
        )
        return Shape(bounds=BOUNDS, rows=rows, more=len(names) - len(rows))

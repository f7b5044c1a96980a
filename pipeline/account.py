"""The account: every mail is in exactly one place, and the two sides add up.

    in    taken    = queued + stopped + held + waiting + dropped
    out   accepted = delivered + waiting + parked + unknown + held + failed + dropped

The left sides are counters, added to in the commit that takes a mail; the right sides are counted from the entries.
``lost`` is the difference. It is 0, or something is wrong. Auto-replies and notices are effects, counted apart.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from pipeline.store import Tx


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Both lines of the account, in mails."""

    taken: int
    queued: int
    stopped: int
    held_in: int
    waiting_in: int
    dropped_in: int
    accepted: int
    delivered: int
    waiting_out: int
    parked: int
    unknown: int
    held_out: int
    failed: int
    dropped_out: int
    auto_replied: int

    @property
    def lost(self) -> int:
        """The difference of both lines."""
        inward = self.queued + self.stopped + self.held_in + self.waiting_in + self.dropped_in
        outward = (
            self.delivered + self.waiting_out + self.parked + self.unknown + self.held_out + self.failed
            + self.dropped_out
        )  # fmt: skip
        return abs(self.taken - inward) + abs(self.accepted - outward)

    def as_dict(self) -> dict[str, int]:
        """All figures by name, ``lost`` among them."""
        return {**asdict(self), "lost": self.lost}


def account(tx: Tx, moving: Collection[int]) -> Account:
    """Count; ``moving`` are the touchpoints that are CONNECTED and ACTIVE: what waits at others is parked."""
    counters = {row["name"]: row["value"] for row in tx.all("SELECT name, value FROM counter")}
    rows = tx.all(
        "SELECT direction, state, disposition, count(*) AS n FROM entry"
        " WHERE origin IN ('fetched', 'relay') GROUP BY direction, origin, state, disposition"
    )
    found = {(row["direction"], row["state"], row["disposition"]): row["n"] for row in rows}

    def number(direction: str, state: str, disposition: str = "") -> int:
        return int(found.get((direction, state, disposition), 0))

    waiting = number("out", "waiting") + number("out", "active")
    parked = waiting - _waiting_at(tx, moving)
    return Account(
        taken=counters.get("taken", 0),
        queued=number("in", "done", "queued"),
        stopped=number("in", "done", "stopped"),
        held_in=number("in", "held"),
        waiting_in=number("in", "waiting"),
        dropped_in=number("in", "done", "dropped"),
        accepted=counters.get("accepted", 0),
        delivered=number("out", "done", "delivered"),
        waiting_out=waiting - parked,
        parked=parked,
        unknown=number("out", "unknown"),
        held_out=number("out", "held"),
        failed=number("out", "failed"),
        dropped_out=number("out", "done", "dropped"),
        auto_replied=counters.get("auto-replied", 0),
    )


def _waiting_at(tx: Tx, touchpoints: Collection[int]) -> int:
    rows = tx.all(
        "SELECT touchpoint_id, count(*) AS n FROM entry WHERE state IN ('waiting', 'active') AND direction = 'out'"
        " AND origin = 'relay' GROUP BY touchpoint_id"
    )
    return sum(row["n"] for row in rows if row["touchpoint_id"] in touchpoints)

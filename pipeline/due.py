"""Due times that a wrong clock left behind.

A wait is stored as the time of day at which it is over, since it must survive a restart. Where the clock stood far
ahead when a mail was put off, and is right again, that time may be a year away. No wait is that long, so whatever is
due later than the longest wait allows is due now.
"""

from __future__ import annotations

from pipeline.retry import PENDING_LONGEST, Schedule
from pipeline.store import Tx

_SLACK = 1.5
"""Waits are drawn by chance, up to a quarter more than planned."""
_WAITS = (
    ("entry", "state = 'waiting'"),
    ("entry", "state = 'active'"),  # it may be put off again
    ("ledger", "state = 'pending'"),
)


def astray(tx: Tx, now: float, schedule: Schedule) -> bool:
    """Whether anything waits longer than waits are; reads indexes only."""
    at = {"limit": _limit(now, schedule)}
    return any(
        tx.one(f"SELECT 1 FROM {table} WHERE {which} AND due_at > :limit LIMIT 1", at) for table, which in _WAITS
    )


def bring_back(tx: Tx, now: float, schedule: Schedule) -> int:
    """Have nothing wait longer than waits are; how many mails and pending items that was."""
    at = {"now": now, "limit": _limit(now, schedule)}
    return sum(
        tx.run(f"UPDATE {table} SET due_at = :now WHERE {which} AND due_at > :limit", at) for table, which in _WAITS
    )


def _limit(now: float, schedule: Schedule) -> float:
    return now + _SLACK * max(schedule.longest, PENDING_LONGEST)

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
    "UPDATE entry SET due_at = :now WHERE state = 'waiting' AND due_at > :limit",
    "UPDATE entry SET due_at = :now WHERE state = 'active' AND due_at > :limit",  # it may be put off again
    "UPDATE ledger SET due_at = :now WHERE state = 'pending' AND due_at > :limit",
)


def bring_back(tx: Tx, now: float, schedule: Schedule) -> int:
    """Have nothing wait longer than waits are; how many mails and pending items that was."""
    limit = now + _SLACK * max(schedule.longest, PENDING_LONGEST)
    return sum(tx.run(sql, {"now": now, "limit": limit}) for sql in _WAITS)

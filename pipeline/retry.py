"""How long to wait before trying again, as pure functions of what happened and a random number.

Two clocks that never mix. A *mail* waits after an answered 4xx, minutes to an hour, and is given up when the planned
waits add up to five days: planned, not passed, so an outage or a step of the clock cannot fail it. A *touchpoint*
waits after its connection failed, a second to five minutes, and never gives up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When to try a mail again; the fields are the keys of ``[retry]``. All in seconds."""

    first: float = 300.0
    longest: float = 4000.0
    give_up: float = 5 * 86400.0

    def delay(self, attempts: int, chance: float) -> float:
        """The wait after the ``attempts``-th answered attempt (1 is the first); ``chance`` is in [0, 1)."""
        doubled = min(self.first * 2.0 ** min(attempts - 1, 30), self.longest)
        return max(doubled * _jitter(chance), self.first)

    def exhausted(self, planned: float) -> bool:
        """Whether waits that sum to ``planned`` are enough to give up."""
        return planned >= self.give_up


BACKOFF_FIRST = 1.0
BACKOFF_LONGEST = 300.0


def backoff(failures: int, chance: float) -> float:
    """Seconds before a touchpoint connects again after its ``failures``-th failure in a row (1 is the first)."""
    return min(BACKOFF_FIRST * 2.0 ** min(failures - 1, 30), BACKOFF_LONGEST) * _jitter(chance)


PENDING_FIRST = 60.0
PENDING_LONGEST = 6 * 3600.0


def pending_delay(attempts: int, chance: float) -> float:
    """Seconds before an item that could not be fetched is asked for again."""
    return min(PENDING_FIRST * 4.0 ** min(attempts - 1, 15), PENDING_LONGEST) * _jitter(chance)


def _jitter(chance: float) -> float:
    return 0.75 + chance / 2

"""When and of what the daemon dies: at named points from inside, or at random moments from outside."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.client import CallFailed, Unreachable
from tests.faults.checker import Violation
from tests.faults.house import House
from tests.faults.points import BY_NAME, Seam

_ONCE = (Seam.START, Seam.SECRET)
"""Seams that are passed once in a life: their points die at the first time."""
_SELDOM = ("commit.unknown", "commit.notice", "mark.copy", "wire.smtp.rset", "commit.content", "commit.settle.finish")


@dataclass
class Deaths:
    """What a nemesis did, and what was found after each death."""

    kills: int = 0
    lives: int = 0
    rounds: int = 0
    """In how many all points were reached."""
    violations: list[Violation] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    def found(self, violations: Sequence[Violation], where: str) -> None:
        """Note what does not hold, and after which death."""
        self.violations += [Violation(each.invariant, f"{each.text} (after {where})") for each in violations]


def die_at_points(house: House, names: Sequence[str], rounds: int, dice: random.Random, until: float) -> Deaths:
    """Start, die at whichever point is reached first, check, start again; until each was reached ``rounds`` times.

    All points that are left of a round are armed in each life, so a life is short; what is armed alone at last gets its
    time. When the time is over after the first round, that is enough.
    """
    deaths = Deaths(unreached=sorted(names))
    for number in range(rounds):
        left = set(names)
        _one_round(house, left, number, dice, until, deaths)
        if number == 0:
            deaths.unreached = sorted(left)
        if left:
            break
        deaths.rounds += 1
    return deaths


def _one_round(house: House, left: set[str], number: int, dice: random.Random, until: float, deaths: Deaths) -> None:
    patience, strange = 1.5, 0
    while left and time.monotonic() < until and len(deaths.violations) < 20:
        armed = [f"{name}:{_count(name, number > 0 and patience < 3, dice)}" for name in sorted(left)]
        before = len(house.reached())
        deaths.lives += 1
        up = house.start(points=armed)
        code: int | None = 0
        if up:
            with _provoked(house, left):
                code = house.wait_ended(patience)
        reached = house.reached()[before:]
        strange = 0 if reached or up else strange + 1
        if strange > 3:
            deaths.violations.append(Violation("I6", f"the daemon ends by itself:\n{house.daemon.words()}"))
            break
        if code is None or not reached:
            house.end()
            patience = min(patience * 1.5, 8.0)
        else:
            patience = 1.5
        deaths.kills += len(reached)
        left -= set(reached)
        deaths.found(house.crash_check(), ", ".join(reached) or "a kill from outside")


def _count(name: str, many: bool, dice: random.Random) -> int:
    """The so-many-th time at which a point is deadly."""
    if not many or BY_NAME[name].seam in _ONCE or name.startswith(_SELDOM):
        return 1
    return dice.choice((1, 1, 2, 3))


class _provoked:
    """While the block runs, what is seldom happens: a password is proved again, answers of the provider get lost."""

    def __init__(self, house: House, left: set[str]) -> None:
        self._house = house
        self._secret = any(BY_NAME[name].seam is Seam.SECRET for name in left)
        self._unknown = any(name.startswith("commit.unknown") for name in left)
        self._thread = threading.Thread(target=self._provoke, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)

    def _provoke(self) -> None:
        if self._unknown:
            self._house.lose_answers(2)
        if self._secret:
            with suppress(Unreachable, CallFailed, OSError):
                self._house.reconnect(self._house.desks[0].address)


def kill_at_random(
    house: House,
    kills: int,
    dice: random.Random,
    until: float,
    *,
    low: float = 0.02,
    high: float = 0.45,
    strike: Callable[[House], None] = House.kill,
    every: int = 1,
) -> Deaths:
    """SIGKILL at random moments after each start, now and then during it; checked after each ``every``-th death."""
    deaths = Deaths()
    while deaths.kills < kills and time.monotonic() < until and len(deaths.violations) < 20:
        deaths.lives += 1
        if house.ended and dice.random() < 0.1:  # while it starts
            house.launch()
            time.sleep(dice.uniform(0.01, 0.2))
        else:
            if house.ended and not house.start():
                deaths.violations.append(Violation("I6", f"the daemon did not start:\n{house.daemon.words()}"))
                return deaths
            time.sleep(dice.uniform(low, high))
        strike(house)
        deaths.kills += 1
        if deaths.kills % every == 0:
            deaths.found(house.crash_check(), f"kill {deaths.kills}")
    return deaths

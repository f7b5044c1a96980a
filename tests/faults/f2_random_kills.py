"""F2: SIGKILL at random moments under load, in and out, until the number is full; R1 of the list.

Two houses of five touchpoints share the machine, and the load that the figure is about: 50 mails a second in, 20 out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.checker import Violation
from tests.faults.house import House
from tests.faults.nemesis import kill_at_random
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.workload import loaded

NAME = "R1 random kills under load"
IN, OUT = 55.0, 22.0
"""Mails a second, a tenth above the figure."""
A_HOUSE = 100
"""Kills that one house sees; then a new one, so that no store grows without end."""


def run(plan: Plan) -> Iterator[Result]:
    """``kills`` in all; 0 lost, 0 taken twice, sent twice only inside the window of providers that file no copy."""
    kills = plan.size(150, 1000)
    until = time.monotonic() + plan.seconds
    counts: dict[str, int] = {"kills": 0}
    violations: list[Violation] = []
    notes: list[str] = []
    with Nursery() as nursery, ThreadPoolExecutor(2) as pool:
        shares = _shares(kills)
        work = [
            pool.submit(_house, plan, nursery, number, share, until, violations, notes)
            for number, share in enumerate(shares)
        ]
        for each in work:
            for name, number in each.result().items():
                counts[name] = counts.get(name, 0) + number
    counts["violations"] = len(violations)
    if counts["kills"] < kills:
        notes.append(f"{counts['kills']} of {kills} kills fitted into the time")
    passed = not violations and counts["kills"] >= kills / 3
    yield Result(NAME, passed=passed, counts=counts, notes=[*map(str, violations), *notes])


def _shares(kills: int) -> list[int]:
    """Kills for each house: at most A_HOUSE, and at least two houses."""
    houses = max(2, -(-kills // A_HOUSE))
    return [kills // houses + (number < kills % houses) for number in range(houses)]


def _house(
    plan: Plan, nursery: Nursery, number: int, kills: int, until: float, violations: list[Violation], notes: list[str]
) -> dict[str, int]:
    dice = plan.dice(f"f2/{number}")
    with House(plan.folder / f"k{number}", seed=f"{plan.seed}/f2/{number}", nursery=nursery) as house:
        house.start()
        began = time.monotonic()
        with loaded(house, IN / 2, OUT / 2, clients=4) as load:
            deaths = kill_at_random(house, kills, dice, until, every=3)
        took = time.monotonic() - began
        found = list(deaths.violations)
        if house.start():
            found += [Violation("I1", f"never came to rest: {each}") for each in house.quiesce(60)]
            found += house.check()
            account = house.account()
            house.stop()
        else:
            found.append(Violation("I6", f"the daemon did not start:\n{house.daemon.words()}"))
            account = {"taken": 0, "accepted": 0, "held_out": 0}
        if found:
            house.keep(found)
        violations += found
        notes += house.notes
        return {
            "kills": deaths.kills,
            "in": account["taken"],
            "out": account["accepted"],
            "unknown_held": account["held_out"],
            "in_a_second": round(load.put / took),
            "out_a_second": round(len(house.tries) / took),
        }

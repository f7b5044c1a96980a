"""F1: the daemon dies at every named point, from inside, under load; after each death and at last all is checked.

Points that only a new store reaches are taken first, each in a new house; the others share two houses side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gateway.control import SetConnection
from pipeline.unknown import MARK
from tests.faults.checker import Violation, bare
from tests.faults.desks import Desk
from tests.faults.house import House
from tests.faults.nemesis import Deaths, die_at_points
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.points import POINTS
from tests.faults.workload import FAR, loaded

NAME = "F1 crash points"
HOUSES = 2
IN, OUT = 15.0, 12.0
"""Mails a second into and out of each house."""


@dataclass
class _Story:
    """What one house went through."""

    deaths: Deaths
    violations: list[Violation] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run(plan: Plan) -> Iterator[Result]:
    """Every point ``rounds`` times, as time allows; a point that was never reached is a failure."""
    rounds = plan.size(2, 10)
    until = time.monotonic() + plan.seconds
    dice = plan.dice("f1")
    first = [point.name for point in POINTS if point.first_start]
    rest = [point.name for point in POINTS if not point.first_start]
    dice.shuffle(rest)
    with Nursery() as nursery, ThreadPoolExecutor(HOUSES) as pool:
        begun = _first_starts(plan, nursery, first, rounds, until)
        shares = [rest[number::HOUSES] for number in range(HOUSES)]
        stories = list(
            pool.map(lambda number: _house(plan, nursery, number, shares[number], rounds, until), range(HOUSES))
        )
    stories.append(begun)
    unreached = sorted({name for story in stories for name in story.deaths.unreached})
    violations = [each for story in stories for each in story.violations]
    counts = {
        "points": len(POINTS),
        "kills": sum(story.deaths.kills for story in stories),
        "lives": sum(story.deaths.lives for story in stories),
        "rounds": min(story.deaths.rounds for story in stories),
        "unreached": len(unreached),
        "violations": len(violations),
    }
    for story in stories:
        for name, number in story.counts.items():
            counts[name] = counts.get(name, 0) + number
    notes = [str(each) for each in violations] + ([f"never reached: {', '.join(unreached)}"] if unreached else [])
    notes += [note for story in stories for note in story.notes]
    yield Result(NAME, passed=not violations and not unreached, counts=counts, notes=notes)
    yield from _after_the_answer(plan)


# -- R2 and R3: between the provider's 250 and our commit --------------------------------------------------------------

_RESENT, _HELD = "verify_then_resend", "hold_for_person"
_WINDOW = (
    ("R2 crash after the remote 250, Sent is filed", Desk("one@house.example"), _RESENT, 1, "delivered"),
    ("R3 crash after the remote 250, no Sent", Desk("two@house.example", sent="none"), _RESENT, 2, "delivered"),
    ("R3 the same, hold for a person", Desk("six@house.example", sent="none"), _HELD, 1, "held"),
)
"""Scenario, touchpoint, policy, how often the provider accepts the mail, and its state at the end."""


def _after_the_answer(plan: Plan) -> Iterator[Result]:
    """One mail each, the daemon killed when it has read the provider's 250 and stored nothing of it yet."""
    with Nursery() as nursery:
        for number, (name, desk, policy, times, state) in enumerate(_WINDOW):
            found: list[Violation] = []
            with House(plan.folder / f"w{number}", seed=plan.seed, nursery=nursery, desks=(desk,)) as house:
                house.start()
                house.daemon.call(SetConnection(touchpoint=desk.address, unknown_outcome=policy))
                house.kill()
                house.start(points=["wire.smtp.dot.answered:1"])
                content, message_id = house.writer.outbound(desk.address, recipients := (f"reader@{FAR}",))
                house.client().submit(content, message_id, desk.address, recipients)
                if house.wait_ended(15) != -9:
                    found.append(Violation("F1", "it did not die"))
                found += house.crash_check()
                house.start()
                found += [Violation("I10", each) for each in house.quiesce(20)] + house.check()
                copies = [each for each in house.accepted if bare(each.message_id) == bare(message_id)]
                [row] = house.daemon.mails("out")
                if len(copies) != times or row.state != state:
                    found.append(Violation("I11", f"accepted {len(copies)} times, and the mail is {row.state}"))
                if len(copies) == 2 and row.mark != MARK:
                    found.append(Violation("I11", f"sent twice, and people see {row.mark!r}"))
                if found:
                    house.keep(found)
                house.stop()
            yield Result(name, passed=not found, counts={"accepted": len(copies)}, notes=[*map(str, found)])


def _house(plan: Plan, nursery: Nursery, number: int, names: list[str], rounds: int, until: float) -> _Story:
    """One house under load, killed at its share of the points."""
    dice = plan.dice(f"f1/{number}")
    with House(plan.folder / f"h{number}", seed=f"{plan.seed}/{number}", nursery=nursery) as house:
        with loaded(house, IN, OUT, clients=2) as load:
            deaths = die_at_points(house, names, rounds, dice, until)
        story = _Story(deaths, violations=list(deaths.violations), notes=house.notes)
        if not house.start():
            story.violations.append(Violation("I6", f"the daemon did not start:\n{house.daemon.words()}"))
            return story
        left = house.quiesce(60)
        story.violations += [Violation("I1", f"never came to rest: {each}") for each in left]
        story.violations += house.check()
        account = house.account()
        story.counts = {"in": account["taken"], "out": account["accepted"], "unknown_held": account["held_out"]}
        story.notes += [] if load.put and house.tries else ["no load was put on the house"]
        house.stop()
        if story.violations:
            house.keep(story.violations)
    return story


def _first_starts(plan: Plan, nursery: Nursery, names: list[str], rounds: int, until: float) -> _Story:
    """New stores, each started until nothing kills it any more; what was not reached yet is armed again in the next."""
    deaths = Deaths()
    story = _Story(deaths)
    left = [name for name in names for _ in range(rounds)]
    dry = 0
    for number in range(10 * rounds * len(names)):
        if not left or dry > 3 or time.monotonic() > until:
            break
        before = len(left)
        _one_first_start(plan.folder / f"n{number}", nursery, left, plan.dice(f"n{number}").randrange(1, 60), story)
        dry = dry + 1 if len(left) == before else 0
    deaths.unreached = sorted(set(left))
    deaths.rounds = 0 if left else rounds
    return story


def _one_first_start(folder: Path, nursery: Nursery, left: list[str], count: int, story: _Story) -> None:
    with House(folder, nursery=nursery, desks=()) as house:
        while True:
            armed = [f"{name}:{count if name.endswith('inside') else 1}" for name in sorted(set(left))]
            before = len(house.reached())
            story.deaths.lives += 1
            alive = house.start(points=armed)
            for name in house.reached()[before:]:
                story.deaths.kills += 1
                left.remove(name)
            if alive:
                break
            story.violations += house.crash_check()
            if len(house.reached()) == before:
                story.violations.append(Violation("I6", f"a new store does not start:\n{house.daemon.words()}"))
                return
        story.violations += house.check(quiet=False)

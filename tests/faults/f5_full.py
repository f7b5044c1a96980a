"""F5, R14: the disk takes no writes for a while. The relay says 452, intake waits, people are told, all resume alone.

ENOSPC and EDQUOT from the n-th write on, no room for growth, a file system that turned read-only, and a small tmpfs,
whose errors are the kernel's own. Through all of it the daemon lives on, and nothing is lost.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from gateway.control import GetStatus
from tests.faults.disk import EDQUOT, ENOSPC, Disk, missing
from tests.faults.f3_power_cut import finish
from tests.faults.house import House
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.workload import Answer, loaded

NAME = "full disk"
RESUMED = 10.0
"""Seconds after which all goes on, once there is room."""
TOLD = 10.0
"""Seconds after which people are told."""
NO_ROOM = "452 4.3.1"
Trouble = Callable[[Disk, Random], None]

TROUBLES: dict[str, Trouble] = {
    "enospc": lambda disk, dice: disk.fail("write", dice.randrange(1, 100), ENOSPC, times=0),
    "edquot": lambda disk, dice: disk.fail("write", dice.randrange(1, 100), EDQUOT, times=0),
    "no growth": lambda disk, dice: disk.full(dice.randrange(0, 60_000)),
    "read-only": lambda disk, dice: disk.read_only(),
}
THOROUGH = ("enospc", "read-only")
"""Troubles in whose rounds all that people see is waited for."""


def run(plan: Plan) -> Iterator[Result]:
    """Each trouble in turn; then the kernel's own full disk."""
    if (why := missing()) is None:
        with Nursery() as nursery:
            yield refused_writes(plan, nursery, plan.size(20, 100))
            yield start_without_room(plan, nursery)
    else:
        yield Result("F5", passed=True, skipped=why)
    yield tmpfs(plan)


def refused_writes(plan: Plan, nursery: Nursery | None, rounds: int) -> Result:
    """One life of the daemon through all of it."""
    dice = plan.dice("full")
    result = Result("F5 refused writes", passed=True, counts=dict.fromkeys(TROUBLES, 0) | {"told_452": 0, "told": 0})
    with (
        Disk(plan.folder / "disk") as disk,
        House(plan.folder / "full", state=disk.place / "state", nursery=nursery, seed=plan.seed) as house,
    ):
        house.start()
        with loaded(house, 60, 25):
            for number in range(rounds):
                name = [*TROUBLES][number % len(TROUBLES)]
                result.counts[name] += 1
                thorough = name in THOROUGH and (number < len(TROUBLES) or plan.release)
                result.notes += [
                    f"{number} {name}: {each}" for each in _round(house, disk, name, dice, result.counts, thorough)
                ]
                if house.ended or len(result.notes) > 20:
                    break
        finish(house, result)
        if house.deaths:
            result.notes.append(f"the daemon ended:\n{house.daemon.words()}")
            result.passed = False
    return result


def _round(house: House, disk: Disk, name: str, dice: Random, counts: dict[str, int], thorough: bool) -> Iterator[str]:
    """Trouble, and room again; what is wrong. A ``thorough`` round waits for what people see."""
    disk.failed()
    TROUBLES[name](disk, dice)
    if not _within(TOLD, lambda: house.ended or sum(disk.failed().values()) > 0):
        yield "no write was refused"
    first = len(house.tries)
    if not _within(TOLD, lambda: house.ended or _no_room(house, first) >= 2):
        yield f"no client was told {NO_ROOM}"
    if thorough:
        told = _within(TOLD, lambda: house.ended or (_needs(house) and _paused(house)))
        counts["told"] += told
        if not told:
            yield f"nobody is told: {[(row.state, row.cause) for row in house.daemon.call(GetStatus()).touchpoints]}"
    refused = [each.words for each in house.tries[first:] if each.answer is Answer.REFUSED]
    counts["told_452"] += _no_room(house, first)
    if wrong := [words for words in refused if not words.startswith(NO_ROOM)]:
        yield f"the relay said {wrong[0]!r}"
    disk.heal()
    before, taken = len(house.tries), 0 if house.ended else house.account()["taken"]
    if not _within(RESUMED, lambda: house.ended or _accepted(house, before)):
        yield "the relay does not resume"
    if thorough and not _within(
        RESUMED, lambda: house.ended or (house.account()["taken"] > taken and not _paused(house) and not _needs(house))
    ):
        yield "intake does not resume"


def start_without_room(plan: Plan, nursery: Nursery | None) -> Result:
    """A daemon that finds no room when it starts waits for it."""
    result = Result("F5 start", passed=True)
    with (
        Disk(plan.folder / "disk") as disk,
        House(plan.folder / "start", state=disk.place / "state", nursery=nursery, seed=plan.seed) as house,
    ):
        _first_start(house, disk, plan, result)
        with loaded(house, 30, 10):
            for name in TROUBLES if plan.release else ("edquot", "read-only"):
                house.kill()
                TROUBLES[name](disk, Random(1))
                if name in ("enospc", "edquot"):
                    disk.tell("disarm")
                    disk.fail("write", 1, ENOSPC if name == "enospc" else EDQUOT, times=0)
                house.launch()
                if not _within(TOLD, lambda: house.ended or "waiting for it" in house.daemon.words()[-300:]):
                    result.notes.append(f"{name}: it does not say that it waits:\n{house.daemon.words()[-500:]}")
                if house.ended:
                    result.notes.append(f"{name}: it ended:\n{house.daemon.words()[-500:]}")
                    house.launch()
                disk.heal()
                if not house.up(RESUMED):
                    result.notes.append(f"{name}: it does not come up:\n{house.daemon.words()[-500:]}")
        finish(house, result)
    return result


def _first_start(house: House, disk: Disk, plan: Plan, result: Result) -> None:
    """The very first start, on a disk that is full from its n-th write on: whatever is not there yet has to wait."""
    dice = plan.dice("first start")
    for n in sorted(dice.sample(range(1, 250), plan.size(2, 40)), reverse=True):
        disk.fail("write", n, ENOSPC, times=0)
        house.launch()
        _within(TOLD, lambda: house.ended or "waiting for it" in house.daemon.words() or house.daemon.socket.exists())
        if house.ended:
            result.notes.append(f"first start, write {n}: it ended:\n{house.daemon.words()[-800:]}")
            house.launch()
        disk.heal()
        if not house.up(RESUMED):
            result.notes.append(f"first start, write {n}: it does not come up:\n{house.daemon.words()[-800:]}")
        house.kill()
        for path in house.daemon.state.iterdir():
            path.unlink()
        house.daemon.log.unlink()
        house.daemon.socket.unlink()
    house.start()


def tmpfs(plan: Plan) -> Result:
    """A file system of a few megabytes, filled by the load itself, and then made larger."""
    result = Result("R14 small disk", passed=True, counts={"told_452": 0})
    small = plan.folder / "small"
    small.mkdir(exist_ok=True)
    if why := mount(small, 3):
        result.skipped = why
        return result
    try:
        with House(plan.folder / "tmpfs", state=small / "state", seed=plan.seed) as house:
            house.start()
            with loaded(house, 60, 25):
                if not _within(30, lambda: house.ended or (_no_room(house, 0) >= 2 and _needs(house))):
                    result.notes.append("the disk was never full, or nobody was told")
                result.counts["told_452"] = _no_room(house, 0)
                larger = subprocess.run(["mount", "-o", "remount,size=1g", str(small)], check=False)
                before = len(house.tries)
                if larger.returncode or not _within(
                    RESUMED,
                    lambda: _accepted(house, before) and not _needs(house),
                ):
                    result.notes.append(f"it does not resume:\n{house.daemon.words()}")
            finish(house, result)
            result.passed &= house.deaths == 0
            house.end()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
    return result


def mount(place: Path, megabytes: int) -> str:
    """Mount a tmpfs of this size; the sentence that says why that cannot be done, else ""."""
    size = f"size={megabytes}m,mode=700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], capture_output=True, check=False)
    return "a small disk needs root, and a kernel that lets us mount a tmpfs" if done.returncode else ""


def _no_room(house: House, first: int) -> int:
    """How many clients were told so, from this try on."""
    return sum(each.words.startswith(NO_ROOM) for each in house.tries[first:])


def _accepted(house: House, first: int) -> bool:
    """Whether a client has its 250, from this try on."""
    return any(each.answer is Answer.OK for each in house.tries[first:])


def _needs(house: House) -> bool:
    """Whether "needs you" tells of the disk."""
    return any(row.kind == "disk-full" for row in house.daemon.call(GetStatus()).needs_you)


def _paused(house: House) -> bool:
    return any(row.state == "backoff" for row in house.daemon.call(GetStatus()).touchpoints)


def _within(seconds: float, what: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

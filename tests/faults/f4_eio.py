"""F4, R15: the disk answers EIO, once, at the n-th sync or write. Nothing is promised after it, and the process ends.

A later sync of the same file succeeds, as Linux has it, though what the failed one should have saved never comes to the
disk. So the power is cut right after the daemon's end: whatever it promised after the error is gone then, and found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.faults.disk import EIO, Disk, missing
from tests.faults.f3_power_cut import cut, finish
from tests.faults.house import House
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.workload import loaded

NAME = "EIO"
EX_IOERR = 74
STATE = "state"
"""The name of the folder of the store."""
PATIENCE = 5.0
"""Seconds in which a daemon that saw the error is to be gone; it does nothing more, so this is for a busy machine."""
LATER = 10.0
"""Seconds in which the n-th call is to come."""


def run(plan: Plan) -> Iterator[Result]:
    """Syncs, from the first one of a new store on; then writes of the log and of the database."""
    if (why := missing()) is not None:
        yield Result("F4", passed=True, skipped=why)
        return
    dice = plan.dice("EIO")
    with Nursery() as nursery:
        syncs = [("sync", n, "") for n in range(1, plan.size(40, 200) + 1)]
        yield errors(plan, nursery, Result("F4 sync", passed=True), syncs)
        writes = [("write", dice.randrange(1, 300), "-wal") for _ in range(plan.size(4, 40))]
        writes += [("write", dice.randrange(1, 40), "postroom.db") for _ in range(plan.size(2, 20))]
        yield errors(plan, nursery, Result("F4 write", passed=True), writes)


def errors(plan: Plan, nursery: Nursery | None, result: Result, faults: list[tuple[str, int, str]]) -> Result:
    """One life of the daemon for each (kind, n, end of the file's name)."""
    folder = plan.folder / result.name.replace(" ", "")
    result.counts |= {
        "errors": 0,
        "at_start": 0,
        "ignored": 0,
        "not_reached": 0,
        "forgotten": 0,
        "partly": 0,
        "cuts": 0,
    }
    with (
        Disk(plan.folder / "disk") as disk,
        House(folder, state=disk.place / "state", nursery=nursery, seed=plan.seed) as house,
    ):
        if faults[0][0] == "write":
            house.start()  # syncs fail from the very first one on
            house.kill()
        with loaded(house, 60, 25):
            for fault in faults:
                result.notes += _error(house, disk, *fault, result.counts)
                if len(result.notes) > 20:
                    break
            if not house.start():
                result.notes.append(f"the daemon does not start:\n{house.daemon.words()}")
        finish(house, result)
    return result


def _error(house: House, disk: Disk, on: str, n: int, name: str, counts: dict[str, int]) -> list[str]:
    """Live until the call that fails, and end there; what is wrong."""
    before = disk.counts()["failed"]
    # A write may reach the disk in two halves; when only the second one fails, SQLite tries that again.
    disk.fail(on, n, EIO, name=name, times=2 if on == "write" else 1)
    up = house.start()
    deadline = time.monotonic() + LATER
    while disk.counts()["failed"] == before and not house.ended and time.monotonic() < deadline:
        time.sleep(0.01)
    if disk.counts()["failed"] == before and not house.ended:
        counts["not_reached"] += 1
        house.kill()
        return cut(house, disk, "drop", n, counts)
    names = disk.failed()
    if list(names) == [STATE] and not house.ended:
        counts["ignored"] += 1  # SQLite's own sync of its folder: it may not matter to it, nor to us
        house.kill()
        return cut(house, disk, "drop", n, counts)
    code = house.wait_ended(PATIENCE)
    counts["errors"] += 1
    counts["at_start"] += not up
    wrong = (
        []
        if code == EX_IOERR
        else [f"{on} {n} of {list(names)}: exit code {code}, not {EX_IOERR}:\n{house.daemon.words()}"]
    )
    house.end()
    return wrong + cut(house, disk, "drop", n, counts)

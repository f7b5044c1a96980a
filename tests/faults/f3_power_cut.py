"""F3, R4: the power is cut. What was answered is still there, and the store is whole.

The daemon's state lies on the forgetful file system. At a random moment, or within a write or a sync, the daemon is
killed and the disk forgets all that nobody synced, or, every third time, keeps a random part of it: a prefix, some of
the writes, or some of them torn within a page.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from tests.faults.disk import Disk, How, missing
from tests.faults.house import House
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.workload import Answer, loaded

NAME = "power cut"
PARTLY: tuple[How, ...] = ("prefix", "some", "torn")


def run(plan: Plan) -> Iterator[Result]:
    """Cuts under load, and right after a 250."""
    if (why := missing()) is not None:
        yield Result("F3", passed=True, skipped=why)
        return
    with Nursery() as nursery:
        yield cuts(plan, nursery, plan.size(30, 400))
        yield after_250(plan, nursery, plan.size(5, 50))


def cuts(plan: Plan, nursery: Nursery, rounds: int) -> Result:
    """``rounds`` power cuts under load in both directions."""
    dice = plan.dice("power cut")
    result = Result("F3 power cut", passed=True, counts={"cuts": 0, "within_a_call": 0, "forgotten": 0, "partly": 0})
    with (
        Disk(plan.folder / "disk") as disk,
        House(plan.folder / "cuts", state=disk.place / "state", nursery=nursery, seed=plan.seed) as house,
    ):
        house.start()
        with loaded(house, 60, 25):
            for number in range(rounds):
                result.counts["within_a_call"] += die(house, disk, dice)
                how: How = dice.choice(PARTLY) if number % 3 == 2 else "drop"
                result.notes += cut(house, disk, how, dice.randrange(1 << 30), result.counts)
                if not house.start():
                    result.notes.append(f"cut {number} ({how}): the daemon does not start:\n{house.daemon.words()}")
                    break
        finish(house, result)
    return result


def after_250(plan: Plan, nursery: Nursery, rounds: int) -> Result:
    """R4: a relay client has its 250, and that moment the power is cut."""
    result = Result("R4", passed=True, counts={"cuts": 0, "acknowledged": 0, "forgotten": 0, "partly": 0})
    with (
        Disk(plan.folder / "disk") as disk,
        House(plan.folder / "after250", state=disk.place / "state", nursery=nursery, seed=plan.seed) as house,
    ):
        house.start()
        for number in range(rounds):
            client = house.client()
            content, message_id = house.writer.outbound(
                house.desks[0].address, ("reader@far.example",), size=300_000 if number % 5 == 4 else 0
            )
            answer = client.submit(content, message_id, house.desks[0].address, ("reader@far.example",)).answer
            house.kill()
            client.close()
            result.counts["acknowledged"] += answer is Answer.OK
            result.notes += cut(house, disk, "drop", number, result.counts)
            house.start()
        finish(house, result)
    result.passed &= result.counts["acknowledged"] == rounds
    return result


def cut(house: House, disk: Disk, how: How, seed: int, counts: dict[str, int]) -> list[str]:
    """Cut the power under a dead daemon; what is wrong with what is left."""
    disk.heal()
    told = disk.cut(how, seed)
    counts["cuts"] += 1
    counts["forgotten"] += told["unsynced"] - told["kept"]
    counts["partly"] += told["kept"] > 0
    return [f"{how} {seed}: {each}" for each in wrong(house)]


def wrong(house: House) -> list[str]:
    """What must hold after every death and does not, of a dead daemon's store; at most five."""
    found = damage(house.daemon.store)
    try:
        return [*found, *map(str, house.crash_check())][:5]
    except sqlite3.Error as error:
        return [*found, f"the store cannot be read: {error}"][:5]


def damage(store: Path) -> list[str]:
    """What SQLite's integrity check says of a copy of the store; nothing when it is whole."""
    if not store.exists():
        return []  # not durable yet, and so nothing was answered: crash_check knows what was
    with tempfile.TemporaryDirectory(prefix="postroom-cut-") as folder:
        for suffix in ("", "-wal"):
            part = store.with_name(store.name + suffix)
            if part.exists():
                Path(folder, store.name + suffix).write_bytes(part.read_bytes())
        try:
            with closing(sqlite3.connect(Path(folder, store.name))) as copy:
                rows = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(5)")]
        except sqlite3.Error as error:
            rows = [repr(error)]
    return [] if rows == ["ok"] else rows


def finish(house: House, result: Result) -> None:
    """Come to rest, and check everything."""
    left = house.quiesce() if not house.ended else ["the daemon does not run"]
    violations = house.check(quiet=not left)
    result.notes += [*left, *map(str, violations), *house.notes]
    result.counts |= {"tries": len(house.tries), "deaths": house.deaths}
    result.passed = not result.notes
    if not result.passed:
        house.keep(violations)


def die(house: House, disk: Disk, dice: Random) -> bool:
    """The daemon dies at a random moment, or within one of its next calls; whether it was within a call."""
    process = house.daemon.process
    assert process is not None
    within = dice.random() < 0.5
    if within:
        on, most = dice.choice((("sync", 40), ("write", 400)))
        disk.kill(on, dice.randrange(1, most), process.pid)
        deadline = time.monotonic() + 1.0
        while not house.ended and time.monotonic() < deadline:
            time.sleep(0.01)
    else:
        time.sleep(dice.uniform(0.05, 0.6))
    within = within and house.ended
    house.kill()
    return within

"""F6: a mail that kills whoever holds it: by memory, by a stuck loop, in the fetch, in the walk.

The daemon is started again each time, as the service manager does. At the third strike the mail is held, with its
bytes unless the fetch kills; every other mail, of its own touchpoint and of the others, is taken once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.checker import Violation
from tests.faults.desks import DESKS
from tests.faults.house import House
from tests.faults.inside import KILLER
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result

NAME = "F6 killers"
KINDS = {"memory": -9, "stuck": 70, "fetch": -9, "walk": -9}
"""How a mail kills, and the exit code of that (negative: a signal)."""
OUT = 3
"""The strike at which a mail is out."""


def run(plan: Plan) -> Iterator[Result]:
    """Each kind ``rounds`` times, two houses side by side."""
    rounds = plan.size(2, 25)
    with Nursery() as nursery, ThreadPoolExecutor(2) as pool:
        work = {kind: [pool.submit(_one, plan, nursery, kind, number) for number in range(rounds)] for kind in KINDS}
        for kind, runs in work.items():
            found = [each.result() for each in runs]
            violations = [violation for each, _ in found for violation in each]
            counts = {"runs": rounds, "deaths": sum(deaths for _, deaths in found), "violations": len(violations)}
            yield Result(f"F6 {kind}", passed=not violations, counts=counts, notes=[str(each) for each in violations])


def _one(plan: Plan, nursery: Nursery, kind: str, number: int) -> tuple[list[Violation], int]:
    folder = plan.folder / f"{kind}{number}"
    dice = plan.dice(folder.name)
    found: list[Violation] = []
    with House(folder, seed=f"{plan.seed}/{folder.name}", nursery=nursery, desks=DESKS[:2]) as house:
        house.start(env={KILLER: kind})
        place = dice.randrange(12)
        mails = [(house.desks[n % 2].address, house.writer.inbound(house.desks[n % 2].address), "INBOX")
                 for n in range(24)]  # fmt: skip
        deadly = house.writer.inbound(house.desks[0].address).replace(b"Subject: Order", b"Subject: deadly")
        mails.insert(2 * place, (house.desks[0].address, deadly, "INBOX"))
        house.deliver(mails)
        deaths, left = 0, ["not begun"]
        until = time.monotonic() + 40
        while left and time.monotonic() < until:
            code = house.wait_ended(0.05)
            if code is not None:
                deaths += 1
                if code != KINDS[kind]:
                    found.append(Violation("F6", f"it ended with {code}, not with {KINDS[kind]}"))
                found += house.crash_check()
                house.launch(env={KILLER: kind})
            left = house.quiesce(0)
        found += [Violation("I1", f"never came to rest: {each}") for each in left]
        if not house.up():
            found.append(Violation("I6", f"the daemon did not start:\n{house.daemon.words()}"))
            return found, deaths
        found += house.check()
        if deaths != OUT:
            found.append(Violation("F6", f"it died {deaths} times of one mail, not {OUT} times"))
        account = house.account()
        if (account["taken"], account["held_in"]) != (25, 1):
            found.append(Violation("F6", f"taken {account['taken']} of 25, held {account['held_in']} of 1"))
        if found:
            house.keep(found)
        house.stop()
    return found, deaths

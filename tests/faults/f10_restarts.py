"""F10 and R31: planned restarts by SIGTERM under load, the relay's socket handed over as systemd does.

The socket is open all the while, so nobody is refused: who comes while nobody serves waits a moment longer.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.faults.checker import Violation
from tests.faults.house import House
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.workload import Answer, loaded

NAME = "R31 restarts with a passed-in socket"
DRAIN = 30.0
"""Seconds that a stop may take."""


def run(plan: Plan) -> Iterator[Result]:
    """``restarts`` in a row; 0 refused connections, 0 lost."""
    restarts = plan.size(30, 500)
    dice = plan.dice("f10")
    until = time.monotonic() + 3 * plan.seconds
    found: list[Violation] = []
    longest, done = 0.0, 0
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        nursery = stack.enter_context(Nursery([listener.fileno()]))
        with House(plan.folder / "h", seed=f"{plan.seed}/f10", nursery=nursery) as house:
            house.relay_port = listener.getsockname()[1]
            listen = {"relay": listener.fileno()}
            house.start(listen=listen)
            with loaded(house, 40.0, 30.0) as load:
                while done < restarts and time.monotonic() < until and not found:
                    time.sleep(dice.uniform(0.05, 0.4))
                    began = time.monotonic()
                    code = house.stop(DRAIN * 2)
                    longest = max(longest, time.monotonic() - began)
                    if code != 0:
                        found.append(Violation("F10", f"it ended with {code}:\n{house.daemon.words()}"))
                    if not house.start(listen=listen):
                        found.append(Violation("F10", f"it did not start:\n{house.daemon.words()}"))
                    done += 1
            found += [Violation("I1", f"never came to rest: {each}") for each in house.quiesce(60)]
            found += house.check()
            answers = [each.answer for each in house.tries]
            counts = {
                "restarts": done,
                "refused_connections": load.refused_connections,
                "accepted": answers.count(Answer.OK),
                "unanswered": answers.count(Answer.UNANSWERED),
                "slowest_stop_ms": round(longest * 1000),
                "in": house.account()["taken"],
                "violations": len(found),
            }
            if load.refused_connections:
                found.append(Violation("F10", f"{load.refused_connections} connections were refused"))
            if longest > DRAIN:
                found.append(Violation("F10", f"a stop took {longest:.0f} s"))
            if done < restarts:
                found.append(Violation("F10", f"{done} of {restarts} restarts fitted into the time"))
            if found:
                house.keep(found)
            notes = [*map(str, found), *house.notes]
            house.stop()
    yield Result(NAME, passed=not found, counts=counts, notes=notes)

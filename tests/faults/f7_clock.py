"""F7: the daemon's clock is stepped while it works, far and near, forward and back; R28 of the list.

Nothing is given up or answered twice because of a step, and nothing that waits is forgotten. A mail that was to be
tried again in a second may wait an hour longer when the clock was set back by an hour, but not 400 days.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.demo.smtp_server import Refusal
from pipeline.touchpoint import without_tag
from tests.faults.checker import Accept, Violation
from tests.faults.desks import DESKS
from tests.faults.house import House
from tests.faults.inside import CLOCK
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result
from tests.faults.workload import FAR, LATER, Answer

NAME = "R28 clock steps"
HOUR, DAY = 3600.0, 86400.0
STEPS = {"an hour forward": HOUR, "an hour back": -HOUR, "400 days forward": 400 * DAY, "400 days back": -400 * DAY}
WINDOW = 7 * DAY
"""For so long nobody is answered twice."""


def run(plan: Plan) -> Iterator[Result]:
    """Each step and back again, in a house of its own; what is compared by the clock itself is left out (I14)."""
    with Nursery() as nursery:
        for name, seconds in STEPS.items():
            found = _step(plan, nursery, seconds)
            counts = {"steps": 2, "violations": len(found)}
            yield Result(f"R28 clock {name} and again", not found, counts, [str(each) for each in found])


def _step(plan: Plan, nursery: Nursery, seconds: float) -> list[Violation]:
    """A step, and the same step back, with mail waiting to be tried again across each of them."""
    folder = plan.folder / f"c{seconds:+.0f}"
    clock = folder / "clock"
    folder.mkdir()
    clock.write_bytes(struct.pack("<d", 0.0))
    found: list[Violation] = []
    with House(folder, seed=f"{plan.seed}/f7", nursery=nursery, desks=(DESKS[0], DESKS[3])) as house:
        # The daemon looks at the clock when it tells the service manager that it is well, at half of this time.
        house.start(env={CLOCK: str(clock), "WATCHDOG_USEC": "2000000"})
        _hear_from(house, "first")
        found += _left(house, "before the step")
        before = 0.0
        for moment, offset in ((f"after {seconds:+.0f} s", seconds), ("after the step back", 0.0)):
            _wait_for_a_retry(house)
            back = offset - before
            _set(clock, offset)
            _hear_from(house, moment)
            if back == -HOUR:  # what was due waits for its hour; the clock goes on to then
                time.sleep(1.0)
                _set(clock, before)
                _submit(house, f"reader@{FAR}")  # wakes the lane, which looks every half minute by itself
                found += _left(house, f"an hour later than {moment}")
                _set(clock, offset)
            else:
                found += _left(house, moment)
            before = offset
        found += house.check(besides=("I14", "I16"))
        found += _replies(house, 2 if seconds > WINDOW else 1)
        if failed := house.account()["failed"]:
            found.append(Violation("R28", f"{failed} mails failed because of the clock"))
        if found:
            house.keep(found)
        house.stop()
    return found


def _set(clock: Path, seconds: float) -> None:
    """In place: the daemon has the file mapped."""
    with open(clock, "r+b") as file:
        file.write(struct.pack("<d", seconds))


def _hear_from(house: House, words: str) -> None:
    """The same person writes to a touchpoint that answers, and an answer goes out."""
    desk = house.desks[0]
    mail = house.writer.inbound(desk.address)
    sender = mail.partition(b"From: <")[2].partition(b">")[0]
    house.deliver([(desk.address, mail.replace(sender, f"regular@{FAR}".encode()), "INBOX")])
    _submit(house, f"reader@{FAR}")


def _submit(house: House, recipient: str) -> None:
    client = house.client()
    desk = house.desks[1]
    content, message_id = house.writer.outbound(desk.address, (recipient,))
    attempt = client.submit(content, message_id, desk.address, (recipient,))
    client.close()
    if attempt.answer is not Answer.OK:
        raise RuntimeError(f"the relay said {attempt.answer} {attempt.words}")


def _wait_for_a_retry(house: House) -> None:
    """A mail was answered 451 once, and waits to be tried again."""

    def later() -> None:
        house.server.provider.policy.refusals[LATER] = Refusal(451, "4.2.0 Not now", times=1)

    house.server.call(later)
    _submit(house, LATER)
    refusal = house.server.provider.policy.refusals[LATER]
    until = time.monotonic() + 10
    while refusal.times and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)


def _left(house: House, moment: str) -> list[Violation]:
    return [Violation("R28", f"{moment}: {each}") for each in house.quiesce(12)]


def _accepts(house: House) -> list[Accept]:
    return [Accept.of(each) for each in house.accepted]


def _replies(house: House, most: int) -> list[Violation]:
    replies = {each.message_id for each in _accepts(house) if each.automatic}
    people = {without_tag(r) for each in _accepts(house) if each.automatic for r in each.recipients}
    if len(replies) > most:
        return [Violation("I16", f"{len(replies)} auto-replies to {sorted(people)}, at most {most} are due")]
    return [] if replies else [Violation("I16", "nobody was answered at all")]

"""F8: the network refuses, resets, cuts, stalls, is half open or drips, at places all over a dialogue, IMAP and SMTP.

Each of a row of touchpoints has a proxy of its own before either server. A round puts one kind of trouble at one byte
of the next connection of each, lets a mail come in or go out through it, and heals the network once the connection was
struck. In the end every mail must have been taken once, and every mail that was relayed must have been accepted once:
the provider files Sent copies, so that a lost answer can be found out (semantics, section 5). Silence is found out in
seconds, not minutes, since the settings and ``inside.impatient`` shorten what is waited for. Behind it come R11, R12,
R29 and R30: what strangers do to a daemon, and what it costs others (``f8_strangers.py``).
"""

from __future__ import annotations

import asyncio
import itertools
import smtplib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.control import AddRelayUser
from gateway.demo.provider import Provider
from tests.faults import f8_strangers
from tests.faults.outside import PASSWORD, Outside
from tests.faults.plan import Plan, Result
from tests.servers.fault_proxy import FaultProxy, Trouble
from tests.servers.ports import free_ports

NAME = "network"
LANES = 20
TROUBLES = [each for each in Trouble if each is not Trouble.NONE]
REACH = {"imap": 2_400, "smtp": 770}
"""Bytes of a dialogue, both ways, up to the end of its mail."""
TAIL = 60
"""Bytes at the end of a dialogue, where an answer is lost that was given: a third of the places lie there."""
STRUCK = 4.0
"""Seconds in which a round's connection is to come to where it goes wrong."""
SETTLED = 20.0
"""Seconds in which all mail is to have come and gone once the network is well."""


@dataclass(frozen=True)
class Place:
    """Where what goes wrong."""

    protocol: str
    trouble: Trouble
    at: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.trouble} at byte {self.at}"


def run(plan: Plan) -> Iterator[Result]:
    """The network first, then strangers."""
    yield asyncio.run(network(plan))
    yield from f8_strangers.run(plan)


def places(plan: Plan) -> list[Place]:
    """60 of them by chance, every trouble with both protocols among them; in the long run every tenth byte."""
    kinds = list(itertools.product(REACH, TROUBLES))
    if plan.release:
        return [Place(name, trouble, at) for name, trouble in kinds for at in range(0, REACH[name], 10)]
    dice = plan.dice("network")
    begins = {name: (0, 0, reach - TAIL) for name, reach in REACH.items()}
    return [
        Place(name, trouble, dice.randrange(dice.choice(begins[name]), REACH[name]))
        for name, trouble in (kinds * 5)[:60]
    ]


class Lane:
    """One touchpoint and its two proxies."""

    def __init__(self, number: int, provider: Provider) -> None:
        self.address = f"lane{number}@house.example"
        self.proxies = {"imap": FaultProxy(provider.imap_port), "smtp": FaultProxy(provider.smtp_port)}
        self.provider = provider

    async def round(self, number: int, place: Place, plain: int) -> bool:
        """One mail through one place of trouble; whether its connection came to it."""
        proxy = self.proxies[place.protocol]
        if place.trouble is Trouble.REFUSE:
            await proxy.refuse()
        before = proxy.struck
        proxy.trouble, proxy.at = place.trouble, place.at
        proxy.drop()
        if place.protocol == "imap":
            self.provider.deliver(self.address, letter("buyer@far.example", self.address, f"in {number}"))
        else:
            await asyncio.to_thread(submit, plain, self.address, f"out {number}")
        until = time.monotonic() + (1.0 if place.trouble in (Trouble.REFUSE, Trouble.DRIP) else STRUCK)
        while proxy.struck == before and not self._is_through(number, place) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3 if place.trouble in (Trouble.STALL, Trouble.HALF_OPEN) else 0.0)
        await proxy.heal()
        return proxy.struck > before or place.trouble in (Trouble.REFUSE, Trouble.DRIP)

    def _is_through(self, number: int, place: Place) -> bool:
        """Whether the mail of a round has passed, so that its dialogue was shorter than that."""
        if place.protocol == "smtp":
            return any(_subject(mail.content) == place_name(number, place) for mail in self.provider.submitted)
        return not [key for key in self.provider.ledger.unserved() if key.address == self.address]


async def network(plan: Plan) -> Result:
    """All places, twenty at a time."""
    result = Result("F8 network", passed=True, counts={"places": 0, "struck": 0, "lost": 0, "duplicate": 0})
    work = places(plan)
    relay, plain = free_ports(2)
    async with AsyncExitStack() as stack:
        provider = Provider()
        provider.policy.sent_copy = True
        await provider.start()
        stack.push_async_callback(provider.close)
        outside = await stack.enter_async_context(Outside(plan.folder / "network", relay, plain))
        lanes = [Lane(number, provider) for number in range(min(LANES, len(work)))]
        for lane in lanes:
            provider.open_mailbox(lane.address, PASSWORD)
            for proxy in lane.proxies.values():
                await stack.enter_async_context(proxy)
        ports = [(lane.address, lane.proxies["imap"].port, lane.proxies["smtp"].port) for lane in lanes]
        await asyncio.gather(*(outside.furnish(*each) for each in ports))
        grants = tuple(lane.address for lane in lanes)
        await outside.call(AddRelayUser(name="printer", password=PASSWORD, grants=grants))
        for begin in range(0, len(work), len(lanes)):
            part = work[begin : begin + len(lanes)]
            struck = await asyncio.gather(
                *(lane.round(begin + n, place, plain) for n, (lane, place) in enumerate(zip(lanes, part, strict=False)))
            )
            result.counts["places"] += len(part)
            result.counts["struck"] += sum(struck)
        await judge(outside, provider, work, result)
    result.passed = not (result.counts["lost"] or result.counts["duplicate"] or result.notes)
    return result


async def judge(outside: Outside, provider: Provider, work: list[Place], result: Result) -> None:
    """Wait until everything has come to its end, and count."""
    wanted = {place_name(number, place): place for number, place in enumerate(work)}
    until = time.monotonic() + SETTLED
    while True:
        taken = await outside.subjects("in")
        sent = Counter(_subject(mail.content) for mail in provider.submitted)
        rows = await outside.mails("out")
        missing = [name for name in wanted if not (taken if name.startswith("in") else sent)[name]]
        open_ = [row for row in rows if row.state not in ("delivered", "done")]
        if (not missing and not open_) or time.monotonic() > until:
            break
        await asyncio.sleep(0.1)
    both = taken + sent
    twice = [name for name in wanted if both[name] > 1]
    result.counts["lost"], result.counts["duplicate"] = len(missing), len(twice)
    result.notes += [f"lost: {name} ({wanted[name]})" for name in missing]
    result.notes += [f"{both[name]} times: {name} ({wanted[name]})" for name in twice]
    result.notes += [f"not settled: {row.subject} is {row.state}: {row.reason} {row.cause}" for row in open_]
    status = await outside.status()
    in_trouble = [row for row in status.touchpoints if row.state != "connected"]
    result.notes += [f"{row.address} is {row.state}: {row.reason}" for row in in_trouble]
    if status.account["lost"]:
        result.notes.append(f"the account does not add up: {status.account}")


def _subject(content: bytes) -> str:
    return content.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode()


def place_name(number: int, place: Place) -> str:
    """The subject of the mail of a round."""
    return f"{'in' if place.protocol == 'imap' else 'out'} {number}"


def letter(sender: str, to: str, subject: str) -> bytes:
    """A plain mail."""
    lines = [f"Return-Path: <{sender}>", f"From: {sender}", f"To: {to}", f"Subject: {subject}",
             f"Message-ID: <{subject.replace(' ', '.')}@far.example>", "Date: Mon, 23 Nov 2026 10:00:00 +0000",
             "", "Good morning.", ""]  # fmt: skip
    return "\r\n".join(lines).encode()


def submit(port: int, sender: str, subject: str) -> None:
    """Hand a mail to the relay; it must take it, whatever the network beyond it is like."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="printer.example", timeout=20) as client:
        content = letter(sender, "buyer@far.example", subject).partition(b"\r\n")[2]  # without a return path
        client.sendmail(sender, ["buyer@far.example"], content)

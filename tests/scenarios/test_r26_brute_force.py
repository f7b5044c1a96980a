"""Scenario 26: a brute force on AUTH from five addresses; few tries reach the verifier, and honest users go on.

A sample of the ten thousand tries on real connections; all of them are in the fault bench, and against the tables
alone in ``tests/unit/test_relay_guard.py``.
"""

from __future__ import annotations

import asyncio

from gateway.auth import passwords
from gateway.relay import listen
from gateway.submission import ListenerSettings, Mode
from pipeline.mail import RelayUser
from tests.faults.lag import MEMORY
from tests.unit.relaying import Client, Desk, plain

ADDRESSES = [f"127.0.0.{n}" for n in range(2, 7)]
TRIES = 600


async def test_r26_at_most_fifty_tries_reach_the_verifier() -> None:
    desk = Desk()
    relay = await listen(desk, [ListenerSettings(name="relay", mode=Mode.LOOPBACK)], hostname="relay.example")
    port = relay.ports["relay"]
    honest = await Client.connect(port)
    assert (await honest.sign_in()).startswith("235")
    desk.tried.clear()
    try:
        answers = await asyncio.gather(*(_attack(port, address, TRIES // len(ADDRESSES)) for address in ADDRESSES))
        assert len(desk.tried) <= 50
        assert sum(map(len, answers)) == TRIES
        assert {answer[:3] for each in answers for answer in each} == {"421", "454", "535"}
        again = await Client.connect(port)
        assert (await again.sign_in()).startswith("235"), "the user from the address that it uses every day"
        await again.envelope()
        assert (await again.ask("Subject: x\r\n\r\nhello\r\n.")).startswith("250")
        for client in (honest, again):
            client.close()
    finally:
        await relay.close(0.1)


async def _attack(port: int, address: str, tries: int) -> list[str]:
    """So many tries, three on each connection; what was answered."""
    answers: list[str] = []
    while len(answers) < tries:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        client = Client(reader, writer)
        assert (await client.answer()).startswith("220")
        await client.ask("EHLO evil.example")
        for _ in range(min(4, tries - len(answers))):
            answer = await client.ask("AUTH PLAIN " + plain("crm", f"guess {len(answers)}"))
            if not answer:
                break
            answers.append(answer)
            if answer.startswith("421"):
                break
        client.close()
    return answers


class Busy(Desk):
    """A desk that notes how many passwords it verifies at the same time."""

    now = most = 0

    async def sign_in(self, name: str, password: str) -> RelayUser | None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return await super().sign_in(name, password)


async def test_r26_what_is_verified_at_once_fits_into_the_memory_that_a_stranger_may_cost() -> None:
    desk = Busy()
    relay = await listen(desk, [ListenerSettings(name="relay", mode=Mode.LOOPBACK)], hostname="relay.example")
    try:
        await asyncio.gather(*(_attack(relay.ports["relay"], address, 3) for address in ADDRESSES))
    finally:
        await relay.close(0.1)
    assert 0 < desk.most * passwords._hasher().memory_cost * 1024 <= MEMORY // 2

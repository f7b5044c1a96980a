"""Scenario 12: a server announces a literal of 100 GB for one mail; that mail is pending, all others come."""

from __future__ import annotations

from tests.scenarios.inside import inside, letter
from tests.servers.scripted_imap import Box, ScriptedImap

DESK = "desk@shop.example"


async def test_r12_a_literal_of_100_gb_costs_one_mail_and_one_connection() -> None:
    box = Box()
    async with ScriptedImap(box.play) as server, inside() as house:
        await house.furnish(DESK, imap=server.port)
        box.bodies[2] = b"* 2 FETCH (UID 2 BODY[] {100000000000}\r\n"
        signed_in = box.signed_in
        box.deliver(*(letter("buyer@example.org", DESK, f"mail {n}") for n in (1, 2, 3)))
        await house.until_taken(2)
        assert await house.ledger(DESK) == {1: "taken", 2: "pending", 3: "taken"}
        assert box.signed_in > signed_in, "the connection was closed"
        row = await house.touchpoint(DESK)
        assert (row.state, row.cause) == ("connected", "")
        assert {mail.subject for mail in await house.mails("in")} == {"mail 1", "mail 3"}
        assert (await house.account())["lost"] == 0

        box.bodies.clear()
        house.clock.off = 90.0
        box.deliver(letter("buyer@example.org", DESK, "mail 4"))
        await house.until_taken(4)
        assert set((await house.ledger(DESK)).values()) == {"taken"}

"""Scenario 11: a server floods; what can be processed is, else the connection ends with a reason and begins anew."""

from __future__ import annotations

from tests.scenarios.inside import inside, letter
from tests.servers.scripted_imap import Box, ScriptedImap

DESK, BUYER = "desk@shop.example", "buyer@example.org"
FLOOD = b"".join(b"* %d EXISTS\r\n* %d EXPUNGE\r\n" % (n, n) for n in range(1, 30_000))
"""The long one, of a million, is for the fault bench."""


async def test_r11_more_than_a_thousand_lines_are_processed() -> None:
    box = Box(*(letter(BUYER, DESK, f"old {n}") for n in range(3)))
    async with ScriptedImap(box.play) as server, inside() as house:
        await house.furnish(DESK, imap=server.port)
        many = 1200
        box.deliver(*(letter(BUYER, DESK, f"mail {n}", number=n) for n in range(many)))
        await house.until_taken(many)
        assert (await house.touchpoint(DESK)).state == "connected"
        assert (await house.account())["lost"] == 0


async def test_r11_a_flood_in_idle_is_one_hint() -> None:
    box = Box(letter(BUYER, DESK, "old"))
    async with ScriptedImap(box.play) as server, inside() as house:
        await house.furnish(DESK, imap=server.port)
        await house.until(lambda: _idles(box, 1))
        signed_in = box.signed_in
        box.tell(FLOOD)
        await house.until(lambda: _idles(box, 2))
        box.deliver(letter(BUYER, DESK, "after the flood"))
        await house.until_taken(1)
        assert box.signed_in == signed_in
        assert (await house.touchpoint(DESK)).state == "connected"


async def test_r11_answers_without_end_end_the_connection_with_a_reason_and_it_begins_anew() -> None:
    box = Box(letter(BUYER, DESK, "old"))
    async with ScriptedImap(box.play) as server, inside() as house:
        await house.furnish(DESK, imap=server.port)
        await house.until(lambda: _idles(box, 1))
        box.lies[b"UID SEARCH"] = FLOOD + b"TAG OK done\r\n"
        box.deliver(letter(BUYER, DESK, "behind the flood"))
        row = await house.until_state(DESK, "backoff")
        assert (row.cause, "more than 10000 answers" in row.reason) == ("provider", True), row.reason
        box.lies.clear()
        await house.until_taken(1)
        assert (await house.touchpoint(DESK)).state == "connected"


async def _idles(box: Box, times: int) -> bool:
    return box.idling >= times

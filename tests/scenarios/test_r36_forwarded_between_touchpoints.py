"""Scenario 36: one mail in two touchpoints, and forwarded between them."""

from __future__ import annotations

import pytest

from gateway.control import Why
from tests.scenarios.inside import Inside, inside, letter

SALES, DESK, BUYER = "sales@shop.example", "desk@shop.example", "buyer@example.org"
THANKS = "We have your mail."


async def both(house: Inside) -> None:
    for address in (SALES, DESK):
        await house.furnish(address, auto_reply=THANKS)


async def test_r36_one_mail_to_two_touchpoints_is_two_of_ours_with_an_answer_from_each() -> None:
    async with inside() as house:
        await both(house)
        content = letter(BUYER, f"{SALES}, {DESK}", "An offer, please", number=7)
        for address in (SALES, DESK):
            house.provider.deliver(address, content)
        await house.until_taken(2)
        await house.until_still()
        rows = await house.mails("in")
        assert sorted(row.touchpoint for row in rows) == [DESK, SALES]
        assert len({row.message_id for row in rows}) == 1
        answer = await house.call(Why(message_id=rows[0].message_id))
        assert sorted(each.row.touchpoint for each in answer.mails) == [DESK, SALES], "each leads to the other one"
        replies = [row for row in await house.mails("out") if row.origin == "auto-reply"]
        assert sorted((row.touchpoint, row.recipients) for row in replies) == [(DESK, (BUYER,)), (SALES, (BUYER,))]


WAYS: dict[str, tuple[str, list[str]]] = {
    "redirected as it is": (f"Delivered-To: {DESK}\r\nDelivered-To: {SALES}\r\n", [SALES]),
    "resent, which names the other one": (f"Resent-From: {SALES}\r\nResent-To: {DESK}\r\n", [DESK, SALES]),
    "sent on by the touchpoint itself": (
        f"Return-Path: <{SALES}>\r\nFrom: {SALES}\r\nTo: {DESK}\r\nSubject: Fwd\r\n\r\n", [SALES]),
}  # fmt: skip
"""How a mail comes from one touchpoint to the other, and whose answer the buyer gets then."""


@pytest.mark.parametrize(("before", "answers"), WAYS.values(), ids=WAYS)
async def test_r36_what_one_touchpoint_forwards_to_the_other_is_taken_by_both(before: str, answers: list[str]) -> None:
    async with inside() as house:
        await both(house)
        original = letter(BUYER, SALES, "An offer, please", number=8)
        house.provider.deliver(SALES, original)
        await house.until_taken(1)
        house.provider.deliver(DESK, before.encode() + original)
        await house.until_taken(2)
        await house.until_still()
        rows = await house.mails("in")
        assert [row.touchpoint for row in rows] == [SALES, DESK]
        assert [row.state for row in rows] == ["queued", "queued"]
        replies = [row for row in await house.mails("out") if row.origin == "auto-reply"]
        assert sorted(row.touchpoint for row in replies) == answers
        assert [mail.recipients for mail in house.provider.submitted] == [(BUYER,)] * len(answers)


async def test_r36_a_mail_that_goes_round_between_two_touchpoints_ends() -> None:
    async with inside() as house:
        await both(house)
        content = letter(BUYER, SALES, "Round and round", number=9)
        for turn in range(6):
            address = (SALES, DESK)[turn % 2]
            content = f"Delivered-To: {address}\r\nReceived: from mx by {address} ; round {turn}\r\n".encode() + content
            house.provider.deliver(address, content)
        await house.until_taken(6)
        await house.until_still()
        answers = [row.touchpoint for row in await house.mails("out") if row.origin == "auto-reply"]
        assert answers == [SALES], "once, by the one that it was written to"
        assert len(house.provider.submitted) == 1

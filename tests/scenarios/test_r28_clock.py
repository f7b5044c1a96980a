"""Scenario 28: the clock goes 400 days ahead, and back; nothing expires early, nobody is answered twice."""

from __future__ import annotations

import ssl

import pytest

from gateway.connectors.imap_faults import network_fault
from gateway.connectors.smtp import translate
from gateway.control import AddRelayUser
from gateway.demo.smtp_server import Refusal
from tests.scenarios.inside import PASSWORD, Inside, inside, letter

DESK, BUYER, SLOW = "desk@shop.example", "buyer@example.org", "slow@example.org"
DAYS = 400 * 86400.0


@pytest.mark.parametrize("seen", [True, False], ids=["a step that is seen", "ahead and back between two looks"])
async def test_r28_the_queue_neither_expires_nor_sticks_and_nobody_is_answered_twice(seen: bool) -> None:
    async with inside() as house:
        await house.furnish(DESK, auto_reply="We have your mail.")
        await house.call(AddRelayUser(name="crm", password=PASSWORD, grants=(DESK,)))
        house.provider.policy.refusals[SLOW] = Refusal(450, "4.2.1 Later")
        house.provider.deliver(DESK, letter(BUYER, DESK, "one"))
        await house.until_taken(1)
        await relay(house, 1)
        await until_tried(house, 1)
        assert await replies(house) == 1

        house.clock.off = DAYS
        if seen:
            await house.daemon.mind_the_clock()
        house.provider.deliver(DESK, letter(BUYER, DESK, "two"))
        await house.until_taken(2)
        await relay(house, 2)
        await until_tried(house, 2)
        states = {row.state for row in await house.mails("out") if row.recipients == (SLOW,)}
        assert states <= {"waiting", "active"}, "planned waits count, not those that passed"

        house.clock.off = 0.0
        house.provider.deliver(DESK, letter(BUYER, DESK, "three"))
        await house.until_taken(3)
        house.provider.policy.refusals.clear()
        await house.daemon.mind_the_clock()  # as the daemon does twice a minute
        house.clock.off = 4000.0  # what was tried once more since then has its ordinary pause behind it
        await relay(house, 3)
        await until_delivered(house, 3)
        assert await replies(house) == 1
        account = await house.account()
        assert (account["delivered"], account["failed"], account["lost"]) == (3, 0, 0)
        assert (account["held_in"], account["queued"]) == (0, 3)


async def relay(house: Inside, number: int) -> None:
    content = f"From: {DESK}\r\nTo: {SLOW}\r\nSubject: {number}\r\nMessage-ID: <{number}@shop.example>\r\n"
    content += "Date: Mon, 23 Nov 2026 11:00:00 +0000\r\n\r\nHere you are.\r\n"
    assert (await house.submit(DESK, [SLOW], content.encode()))[0] == 250


async def until_tried(house: Inside, count: int) -> None:
    """Until so many mails were answered 450 at least once."""

    async def tried() -> bool:
        return len([row for row in await house.mails("out") if row.attempts]) >= count

    await house.until(tried)


async def until_delivered(house: Inside, count: int) -> None:
    async def there() -> bool:
        return len([mail for mail in house.provider.submitted if mail.recipients == (SLOW,)]) >= count

    await house.until(there)
    await house.until_still()


async def replies(house: Inside) -> int:
    """Auto-replies that the provider got."""
    await house.until(lambda: _all_left(house))
    return len([mail for mail in house.provider.submitted if mail.recipients == (BUYER,)])


async def _all_left(house: Inside) -> bool:
    return not [row for row in await house.mails("out") if row.origin == "auto-reply" and row.state != "delivered"]


@pytest.mark.parametrize(("code", "words"), [(9, "not yet valid"), (10, "expired")])
def test_r28_a_certificate_that_is_not_valid_now_may_be_a_wrong_clock(code: int, words: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, f"certificate {words}"
    for fault in (network_fault(error, "imap.example:993"), translate(error, "smtp.example")):
        assert words in str(fault)
        assert "clock" in str(fault)


def test_r28_other_faults_of_a_certificate_have_nothing_to_do_with_the_clock() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 18, "self-signed certificate"
    for fault in (network_fault(error, "imap.example:993"), translate(error, "smtp.example")):
        assert "clock" not in str(fault)

"""R22: of three recipients one is answered 4xx at its RCPT: two get the mail once, the third is tried again alone."""

from __future__ import annotations

import pytest

from gateway.control import AddRelayUser, ShowMail
from gateway.demo.smtp_server import Refusal
from tests.scenarios.inside import PASSWORD, inside, letter

DESK = "desk@shop.example"
ONE, TWO, THREE = (f"{name}@far.example" for name in ("one", "two", "three"))


@pytest.mark.parametrize("silent", [False, True], ids=["answered", "never answered"])
async def test_the_others_get_it_once_and_the_one_alone_later(silent: bool) -> None:
    """Also where the answer to the first try was lost: what is found in Sent went to the two, and not to the third."""
    async with inside("[retry]\nfirst = 0.3\n") as house:
        await house.furnish(DESK)
        await house.call(AddRelayUser(name="crm", password=PASSWORD, grants=(DESK,)))
        policy = house.provider.policy
        policy.sent_copy = True
        policy.refusals[TWO] = Refusal(451, "4.2.0 greylisted", times=1)
        policy.swallow_answers = int(silent)
        await house.submit(DESK, (ONE, TWO, THREE), letter(DESK, ONE))

        async def delivered() -> bool:
            if silent:  # the look is five seconds ahead
                house.clock.off = 10.0
                house.daemon.wake(1)
            return (await house.account())["delivered"] == 1

        await house.until(delivered)
        first, second = house.provider.submitted
        assert (first.recipients, second.recipients) == ((ONE, THREE), (TWO,))
        assert first.content == second.content
        detail = await house.call(ShowMail(id=1))
        assert [each.state for each in detail.recipients] == ["delivered"] * 3
        assert [each.outcome for each in detail.attempts] == ["accepted", "found" if silent else "accepted"]
        assert detail.row.mark == ""
        assert (await house.account())["lost"] == 0

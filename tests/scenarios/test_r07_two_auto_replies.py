"""Scenario 7: two touchpoints with auto-reply on write to each other."""

from __future__ import annotations

from gateway.demo.provider import Provider
from tests.scenarios.inside import Inside, inside, letter

ONE, TWO = "one@shop.example", "two@shop.example"
THANKS = "We have your mail."


async def test_r07_within_one_installation_neither_answers() -> None:
    async with inside() as house:
        for address in (ONE, TWO):
            await house.furnish(address, auto_reply=THANKS)
        house.provider.deliver(TWO, letter(ONE, TWO))
        house.provider.deliver(ONE, letter(TWO, ONE))
        await house.until_taken(2)
        await house.until_still()
        assert (await house.account())["auto_replied"] == 0
        assert house.provider.submitted == []


async def test_r07_between_two_installations_one_answers_once() -> None:
    provider = Provider()
    await provider.start()
    try:
        async with inside(provider=provider) as here, inside(provider=provider) as there:
            await here.furnish(ONE, auto_reply=THANKS)
            await there.furnish(TWO, auto_reply=THANKS)
            provider.deliver(TWO, letter(ONE, TWO))  # a person at ONE writes to TWO, whose answer comes to ONE
            await there.until_taken(1)
            await here.until_taken(1)
            for house in (here, there):
                await house.until_still()
            provider.deliver(TWO, letter(ONE, TWO, "Another question"))
            await there.until_taken(2)
            await there.until_still()
            assert await _answered(here) == 0
            assert await _answered(there) == 1
            assert [mail.recipients for mail in provider.submitted] == [(ONE,)]
    finally:
        await provider.close()


async def _answered(house: Inside) -> int:
    return (await house.account())["auto_replied"]

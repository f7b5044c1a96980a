"""Scenario 6: a mailbox gets new numbers, with byte-equal pairs in it; only what is really new is taken."""

from __future__ import annotations

import time

from tests.scenarios.inside import Inside, inside, letter

DESK, BUYER = "desk@shop.example", "buyer@example.org"
MAILS, PAIRS, FRESH = 2000, 100, 7


async def rows(house: Inside, sql: str) -> list[dict[str, object]]:
    return [dict(row) for row in await house.daemon.store.read(lambda tx: tx.all(sql))]


async def fill(house: Inside) -> None:
    """The mailbox as the scenario wants it, all of it taken in."""
    now = int(time.time())
    for number in range(1, MAILS + 1):
        content = letter(f"buyer{number % 50}@example.org", DESK, f"Question {number}", number=number)
        house.provider.deliver(DESK, content, internaldate=now - MAILS + number)
        if number <= PAIRS:
            house.provider.deliver(DESK, content, internaldate=now - MAILS + number)
    await house.until_taken(MAILS + PAIRS)


async def test_r06_nothing_is_lost_and_nothing_is_taken_twice() -> None:
    async with inside() as house:
        await house.furnish(DESK, auto_reply="We have your mail.")
        await fill(house)
        await house.until_still()
        replied = (await house.account())["auto_replied"]
        for turn in range(2):
            house.provider.renumber(DESK)
            for number in range(FRESH):
                content = letter(
                    f"new{number}@example.net", DESK, f"Fresh {turn} {number}", number=10_000 + number + turn
                )
                house.provider.deliver(DESK, content)
            await house.until_taken(MAILS + PAIRS + FRESH * (turn + 1))
            await house.until_still()
            account = await house.account()
            assert account["taken"] == MAILS + PAIRS + FRESH * (turn + 1)
            assert account["lost"] == 0
        assert account["auto_replied"] == replied, "what comes up with a renumbering is never answered"
        contents = await rows(
            house, "SELECT count(*) AS n FROM entry WHERE direction = 'in' GROUP BY subject, message_id"
        )
        assert sorted(int(str(row["n"])) for row in contents)[-PAIRS - 1 :] == [1] + [2] * PAIRS
        states = await rows(
            house, "SELECT epoch, state, count(*) AS n FROM ledger GROUP BY epoch, state ORDER BY epoch, state"
        )
        assert [(row["state"], row["n"]) for row in states] == [
            ("taken", MAILS + PAIRS),
            ("known", MAILS + PAIRS), ("taken", FRESH),
            ("known", MAILS + PAIRS + FRESH), ("taken", FRESH),
        ]  # fmt: skip
        assert (await house.touchpoint(DESK)).state == "connected"
        house.provider.deliver(DESK, letter("later@example.net", DESK, "Afterwards"))
        await house.until_taken(MAILS + PAIRS + 2 * FRESH + 1)
        await house.until_still()
        assert (await house.account())["auto_replied"] == replied + 1, "what comes afterwards is answered as ever"


async def test_r06_bodies_are_not_read_again() -> None:
    async with inside() as house:
        await house.furnish(DESK)
        await fill(house)
        served = sum(house.provider.ledger.served.values())
        house.provider.renumber(DESK)
        house.provider.deliver(DESK, letter(BUYER, DESK, "Fresh"))
        await house.until_taken(MAILS + PAIRS + 1)
        assert sum(house.provider.ledger.served.values()) == served + 1

"""Held without its bytes and released: the mail is fetched, walks as released, and whatever hinders that is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.post import Post
from pipeline.errors import Refused
from pipeline.lifecycle import ConnectionState
from pipeline.mail import OPENING
from pipeline.strikes import InHand, strike
from pipeline.verdict import HoldCause, held
from tests.unit.housing import House, a_house, hurry, until, until_state
from tests.unit.making import NOW, a_content

LARGEST = 1024
BIG = a_content(2, body=b"x" * 4096)


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house that takes in no mail above a KiB."""
    hurry(monkeypatch)
    async with a_house(largest_mail=LARGEST) as made:
        yield made


async def entry(house: House, number: int = 1) -> dict[str, Any]:
    return await house.room.row(number)


async def item(house: House) -> dict[str, Any]:
    row = await house.room.store.read(lambda tx: tx.one("SELECT * FROM ledger WHERE entry_id = 1"))
    assert row is not None
    return dict(row)


async def oversize(house: House) -> Post:
    """One mail that is too big is held, and another one behind it is queued."""
    house.mailbox.put(2, data=BIG)
    house.mailbox.put(3)
    post = house.at_work()
    await until_states(house, {1: "held", 2: "queued"})
    return post


async def until_states(house: House, wanted: dict[int, str]) -> None:
    sql = "SELECT id, state, disposition FROM entry"

    async def so() -> bool:
        return {row["id"]: row["disposition"] or row["state"] for row in await house.rows(sql)} == wanted

    await until(so)


async def released(house: House, by: str = "somebody") -> None:
    await house.services.spool.release(1, by)
    for post in house.posts:
        post.wake.set()


async def test_a_mail_that_was_too_big_is_fetched_and_queued_once_it_is_released(house: House) -> None:
    await oversize(house)
    before = await house.room.number("SELECT value FROM counter WHERE name = 'taken'")
    await released(house)
    row = await entry(house)
    assert (row["state"], row["cause"], row["reason"]) == ("held", "oversize", "being fetched: released by somebody")
    await until_states(house, {1: "queued", 2: "queued"})
    assert await house.room.content(1) == BIG
    row = await entry(house)
    assert (row["subject"], row["message_id"], row["size"]) == ("Question 2", "<2@example.org>", len(BIG))
    assert (await item(house))["state"] == "taken"
    assert await house.room.number("SELECT value FROM counter WHERE name = 'taken'") == before == 2


async def test_one_above_the_opening_is_streamed_and_adopted(house: House) -> None:
    huge = a_content(2, body=b"y" * (OPENING + 100))
    house.mailbox.put(2, data=huge)
    house.at_work()
    await until_states(house, {1: "held"})
    await released(house)
    await until_states(house, {1: "queued"})
    assert await house.room.content(1) == huge
    assert await house.room.number("SELECT count(*) FROM content WHERE owned = 0") == 0


async def test_it_stays_held_until_its_touchpoint_is_connected(house: House) -> None:
    post = await oversize(house)
    await post.stop()
    await released(house)
    assert (await item(house))["state"] == "pending"
    assert (await entry(house))["state"] == "held"
    house.at_work()
    await until_states(house, {1: "queued", 2: "queued"})


async def test_what_is_gone_from_the_server_is_said_and_not_released_again(house: House) -> None:
    await oversize(house)
    del house.mailbox.shelves["INBOX"].letters[2]
    await released(house)

    async def told() -> bool:
        return bool((await entry(house))["reason"].startswith("it is gone from the server"))

    await until(told)
    row = await entry(house)
    assert (row["state"], row["cause"], row["released_by"]) == ("held", "oversize", "")
    assert (await item(house))["state"] == "gone"
    with pytest.raises(Refused, match="gone from the server"):
        await house.services.spool.release(1, "somebody")
    await house.services.spool.drop(1, "somebody")


async def test_the_servers_words_are_told_and_it_is_asked_again_later(house: House) -> None:
    post = await oversize(house)
    house.mailbox.unwilling[2] = "try tomorrow"
    await released(house)

    async def told() -> bool:
        return bool((await entry(house))["reason"] == "being fetched: the server said: try tomorrow")

    await until(told)
    row = await item(house)
    assert (row["state"], row["attempts"], row["error"]) == ("pending", 1, "try tomorrow")
    assert row["due_at"] > NOW
    house.mailbox.unwilling.clear()
    house.room.clock.now = row["due_at"] + 1
    post.wake.set()
    await until_states(house, {1: "queued", 2: "queued"})


async def test_one_that_breaks_the_connection_does_not_break_the_next_one_too(house: House) -> None:
    post = await oversize(house)
    house.mailbox.drops.add(2)
    await released(house)

    async def tried() -> bool:
        return bool((await item(house))["attempts"] == 1)

    await until(tried)
    await until_state(post, ConnectionState.CONNECTED)
    house.mailbox.put(4)
    await until_states(house, {1: "held", 2: "queued", 3: "queued"})
    assert (await item(house))["attempts"] == 1


async def test_dropped_while_it_is_being_fetched_it_is_not_fetched(house: House) -> None:
    post = await oversize(house)
    house.mailbox.unwilling[2] = "later"
    await released(house)

    async def tried() -> bool:
        return bool((await item(house))["attempts"] == 1)

    await until(tried)
    await house.services.spool.drop(1, "somebody")
    asked = list(house.mailbox.asked)
    house.mailbox.unwilling.clear()
    house.room.clock.now += 10 * 86400
    post.wake.set()

    async def settled() -> bool:
        return bool((await item(house))["state"] == "taken")

    await until(settled)
    row = await entry(house)
    assert (row["disposition"], row["content_id"]) == ("dropped", 0)
    assert house.mailbox.asked == asked


async def test_a_release_forgives_the_strikes_of_poison_and_new_ones_hold_it_again(house: House) -> None:
    hand = InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=2, high=2, phase="fetch")
    for _ in range(3):
        await house.room.store.write(lambda tx: strike(tx, [hand], NOW))
    house.mailbox.put(2)
    house.at_work()
    await until_states(house, {1: "held"})
    assert (await entry(house))["cause"] == "poison"
    post = house.posts[0]
    await post.stop()
    await released(house)
    for _ in range(3):  # it kills the process three times more
        await house.room.store.write(lambda tx: strike(tx, [hand], NOW))
    house.at_work()

    async def again() -> bool:
        return bool((await item(house))["state"] == "taken")

    await until(again)
    row = await entry(house)
    assert (row["state"], row["cause"], row["released_by"]) == ("held", "poison", "")
    assert row["reason"].startswith("Postroom died 3 times while fetching it again")
    await released(house, "ops")
    await until_states(house, {1: "queued"})


async def test_a_stage_may_hold_what_was_fetched_and_a_second_release_lets_it_through(house: House) -> None:
    await oversize(house)
    house.stage.verdict = held(HoldCause.BLOCKED, "no")
    await released(house)

    async def blocked() -> bool:
        return bool((await entry(house))["cause"] == "blocked")

    await until(blocked)
    await released(house)
    await until_states(house, {1: "queued", 2: "queued"})

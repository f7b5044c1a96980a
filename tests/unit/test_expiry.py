"""Held mail is given up after the days of the settings, counted by the daemon's own time; by default never."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway import expiry, views
from gateway.control import ListMail
from gateway.views import Scene
from pipeline import expiry as rules
from pipeline.errors import StoreFull
from pipeline.lifecycle import ConnectionState
from tests.unit.housing import House, a_house, until
from tests.unit.making import NOW

DAY = 86400.0
LIMIT = 30 * DAY


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with a_house() as made:
        yield made


async def held(house: House, number: int = 1) -> int:
    entry_id = await house.room.take(number)
    await house.services.spool.hold(entry_id, "somebody")
    return entry_id


async def swept(house: House, seconds: float) -> int:
    return await expiry.sweep(house.services, seconds=seconds, limit=LIMIT)


async def state(house: House, entry_id: int) -> str:
    row = await house.room.row(entry_id)
    return str(row["disposition"] or row["state"])


async def expires_at(house: House, entry_id: int) -> float:
    scene = Scene(
        directory=house.services.directory, state_of=lambda _: ConnectionState.CONNECTED, sends=lambda _: True
    )
    page = await house.room.store.read(lambda tx: views.mails(tx, scene, ListMail(state="all")))
    return next(row.expires_at for row in page.rows if row.id == entry_id)


async def test_a_mail_is_given_up_when_it_was_seen_held_for_long_enough(house: House) -> None:
    first = await held(house)
    assert await swept(house, 99 * DAY) == 0, "what was before it was first seen does not count"
    assert await expires_at(house, first) == NOW + LIMIT
    assert await swept(house, 29 * DAY) == 0
    assert await expires_at(house, first) == NOW + DAY
    assert await swept(house, DAY) == 1
    assert await state(house, first) == "dropped"
    (row,) = await house.rows("SELECT * FROM audit")
    assert (row["actor"], row["verb"], row["subject"]) == ("expiry", "mail.drop", f"mail {first}")
    assert json.loads(row["detail"]) == {"cause": "by-person", "held_days": 30.0}
    assert ("mail.changed", first) in house.mail_facts()
    assert await house.room.content(first), "its content is kept"
    assert await expires_at(house, first) == 0


async def test_no_step_of_the_clock_lets_anything_expire(house: House) -> None:
    first = await held(house)
    await swept(house, 0)
    house.clock.now += 400 * DAY
    assert await swept(house, 3600) == 0
    house.clock.now -= 800 * DAY
    assert await swept(house, 3600) == 0
    assert await state(house, first) == "held"


async def test_a_mail_that_was_released_and_is_held_again_begins_anew(house: House) -> None:
    first = await held(house)
    await swept(house, 0)
    await swept(house, 29 * DAY)
    await house.services.spool.release(first, "somebody")
    await house.services.spool.hold(first, "somebody")
    assert await swept(house, 2 * DAY) == 0
    assert await expires_at(house, first) == NOW + LIMIT


async def test_a_mail_that_was_released_between_two_looks_is_left_alone(house: House) -> None:
    first = await held(house)
    await swept(house, 0)
    await swept(house, 29 * DAY)
    await house.services.spool.release(first, "somebody")
    assert await swept(house, 2 * DAY) == 0
    assert await state(house, first) == "waiting"
    assert await house.values("SELECT count(*) FROM expiry") == [0]


async def test_a_mail_that_is_being_fetched_for_a_release_does_not_expire(house: House) -> None:
    first = await held(house)
    await swept(house, 0)
    await house.change(
        lambda tx: tx.run("UPDATE entry SET content_id = 0, released_by = 'ops' WHERE id = :id", {"id": first})
    )
    for _ in range(3):
        assert await swept(house, 99 * DAY) == 0
    assert await state(house, first) == "held"


async def test_any_number_is_looked_at_in_small_transactions(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "AT_ONCE", 2)
    mails = [await held(house, number) for number in range(1, 6)]
    await swept(house, 0)
    before = house.room.store.commits
    assert await swept(house, LIMIT) == len(mails)
    assert house.room.store.commits - before == 3
    assert {await state(house, each) for each in mails} == {"dropped"}


async def test_by_default_nothing_expires_and_what_was_counted_is_forgotten(house: House) -> None:
    first = await held(house)
    await swept(house, 0)
    assert house.services.settings.held.expire_days == 0
    await expiry.run(house.services)
    assert await expires_at(house, first) == 0
    assert await state(house, first) == "held"


async def test_the_task_goes_on_after_a_full_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    settings = house.services.settings
    house.services.settings = replace(settings, held=settings.held.model_copy(update={"expire_days": 30.0}))
    calls: list[float] = []

    async def failing(services: object, *, seconds: float, limit: float) -> int:
        calls.append(limit)
        if len(calls) == 1:
            raise StoreFull("no room")
        return 0

    monkeypatch.setattr(expiry, "sweep", failing)
    task = asyncio.create_task(expiry.run(house.services, every=0.001))
    await until(lambda: len(calls) >= 3)
    task.cancel()
    assert set(calls) == {LIMIT}

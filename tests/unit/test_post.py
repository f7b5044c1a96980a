"""One touchpoint at work: the state that people see, pauses after trouble, and what a person's reconnect does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.post import FULL_PAUSE, Post
from pipeline import retry, touchpoints
from pipeline.errors import (
    AccessBlocked,
    AuthRequired,
    CertificateFault,
    NetworkFault,
    PostroomError,
    Refused,
    StoreFull,
    Throttled,
)
from pipeline.lifecycle import ConnectionEvent, ConnectionState
from pipeline.touchpoint import Server
from tests.unit.housing import BOTH, House, a_house, hurry, until, until_state

S, E = ConnectionState, ConnectionEvent


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house() as made:
        yield made


async def seen(house: House) -> dict[str, Any]:
    """What people see of the touchpoint."""
    (row,) = await house.rows("SELECT state, cause, reason, signed_in_at, polled_at FROM touchpoint WHERE id = 1")
    return row


# -- one state of two halves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("receiving", "sending", "shown"),
    [
        (None, None, S.CONNECTED),
        (None, NetworkFault("down"), S.BACKOFF),
        (NetworkFault("down"), None, S.BACKOFF),
        (AuthRequired("no"), None, S.LOST),
        (None, AuthRequired("no"), S.LOST),
        (NetworkFault("down"), AuthRequired("no"), S.LOST),
        (AuthRequired("no"), NetworkFault("down"), S.LOST),
    ],
)
async def test_people_see_the_worse_of_the_two_halves(
    house: House, receiving: PostroomError | None, sending: PostroomError | None, shown: ConnectionState
) -> None:
    post = house.post()
    assert post.state is S.CONNECTING
    for name, error in (("receiving", receiving), ("sending", sending)):
        if error is None:
            await post.report(name, E.SIGNED_IN)
        else:
            await post.report(name, E.PERSON_NEEDED if isinstance(error, AuthRequired) else E.TROUBLE, error)
    assert post.state is shown
    assert (await seen(house))["state"] == shown.value
    worst = next((error for error in (receiving, sending) if isinstance(error, AuthRequired)), receiving or sending)
    assert (await seen(house))["cause"] == ("" if worst is None else worst.cause)
    assert post.sends is (sending is None)


@pytest.mark.parametrize(
    ("connection", "states", "shown"),
    [
        (replace(BOTH, smtp=None), {"receiving": S.CONNECTED, "sending": S.CONNECTING}, S.CONNECTED),
        (replace(BOTH, imap=None), {"receiving": S.CONNECTING, "sending": S.CONNECTED}, S.CONNECTED),
        (replace(BOTH, imap=None, smtp=None), {"receiving": S.NEW, "sending": S.NEW}, S.NEW),
    ],
)
async def test_a_half_that_is_not_there_does_not_count(
    connection: Any, states: dict[str, ConnectionState], shown: ConnectionState
) -> None:
    async with a_house(connection=connection) as house:
        post = house.post(connected_before=shown is not S.NEW)
        for name, state in states.items():
            if state is S.CONNECTED:
                await post.report(name, E.SIGNED_IN)
        assert post.state is shown


async def test_a_touchpoint_that_works_is_connected_and_its_rounds_are_noted(house: House) -> None:
    post = house.at_work()
    await until_state(post, S.CONNECTED)

    async def polled() -> bool:
        return bool((await seen(house))["polled_at"] == house.clock.now)

    await until(polled)
    assert (await seen(house))["signed_in_at"] == house.clock.now
    assert post.sends


async def test_a_half_keeps_working_while_the_other_is_in_trouble(house: House) -> None:
    house.outlet.refuses = [AuthRequired("the server refused the login")]
    house.mailbox.put(1)
    post = house.at_work()
    await until_state(post, S.LOST)

    async def taken() -> bool:
        return await house.states() == {1: "queued"}

    await until(taken)
    assert post.half("receiving").state is S.CONNECTED

    async def shown() -> bool:
        row = await seen(house)
        return (row["cause"], row["reason"]) == ("credential", "sending: the server refused the login")

    await until(shown)


# -- pauses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
async def test_pauses_grow_within_bounds_and_begin_again_after_a_session_that_lasted(
    chance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house() as house:
        house.services.chance = lambda: chance
        post = house.post()
        pauses = [await post.report("receiving", E.TROUBLE, NetworkFault("down")) for _ in range(12)]
        for number, pause in enumerate(pauses):
            middle = min(retry.BACKOFF_FIRST * 2**number, retry.BACKOFF_LONGEST)
            assert pause == pytest.approx(middle * (0.75 + chance / 2))
        assert post.half("receiving").failures == 12
        await post.report("receiving", E.CONNECT)
        again = await post.report("receiving", E.TROUBLE, NetworkFault("down"))
        assert again == pauses[-1]  # trying is no success
        await post.report("receiving", E.SIGNED_IN)
        again = await post.report("receiving", E.TROUBLE, NetworkFault("down"))
        assert again == pauses[-1]  # nor is a session that breaks at once
        await post.report("receiving", E.SIGNED_IN)
        monkeypatch.setattr("gateway.post.STABLE", -1.0)
        assert await post.report("receiving", E.TROUBLE, NetworkFault("down")) == pauses[0]
        assert await post.report("receiving", E.TROUBLE, NetworkFault("down")) == pauses[1]


@pytest.mark.parametrize(
    ("error", "pause", "state"),
    [
        (NetworkFault("x"), 1.0, S.BACKOFF),
        (CertificateFault("x"), 1.0, S.BACKOFF),
        (Throttled("x"), 1.0, S.BACKOFF),
        (Throttled("x", 40.0), 40.0, S.BACKOFF),
        (Throttled("x", 0.1), 1.0, S.BACKOFF),
        (StoreFull("x"), FULL_PAUSE, S.BACKOFF),
        (Refused("x"), 1.0, S.BACKOFF),
        (AuthRequired("x"), float("inf"), S.LOST),
        (AccessBlocked("x"), float("inf"), S.LOST),
    ],
)
async def test_how_long_to_wait_after_what(error: PostroomError, pause: float, state: ConnectionState) -> None:
    from pipeline.lifecycle import event_of

    async with a_house() as house:
        post = house.post()
        assert await post.report("receiving", event_of(error), error) == pause
        assert post.half("receiving").state is state


async def test_trouble_that_heals_heals_by_itself(house: House) -> None:
    house.mailbox.refuses = [NetworkFault("down"), Throttled("slow down"), CertificateFault("expired")]
    house.outlet.refuses = [NetworkFault("down")] * 2
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    assert house.mailbox.opened == 4
    assert len(house.mailbox.open) == 1

    async def clean() -> bool:
        return bool((await seen(house))["cause"] == "")

    await until(clean)


async def test_what_needs_a_person_waits_for_one(house: House) -> None:
    house.mailbox.refuses = [AuthRequired("the server refused the login")]
    post = house.at_work()
    await until_state(post, S.LOST)
    post.wake.set()
    await post.changed()
    await until(lambda: not post.wake.is_set())
    assert house.mailbox.opened == 1
    await post.reconnect()
    await until_state(post, S.CONNECTED)
    assert house.mailbox.opened == 2

    async def clean() -> bool:
        return bool((await seen(house))["reason"] == "")

    await until(clean)


async def test_a_changed_connection_starts_over_and_another_change_does_not(house: House) -> None:
    house.mailbox.refuses = [AuthRequired("no")]
    post = house.at_work()
    await until_state(post, S.LOST)
    await house.change(lambda tx: touchpoints.block(tx, 1, "x@example.org", now=1.0))
    await post.changed()
    assert post.state is S.LOST
    other = replace(BOTH, imap=Server(host="imap2.example.org", port=993))
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, other))
    await post.changed()
    await until_state(post, S.CONNECTED)


async def test_what_was_never_connected_stays_new_when_it_is_edited(house: House) -> None:
    post = house.post(connected_before=False)
    post.start()
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, replace(BOTH, user="other")))
    await post.changed()
    post.wake.set()
    await until(lambda: not post.wake.is_set())
    assert post.state is S.NEW
    assert (house.mailbox.opened, house.outlet.opened) == (0, 0)
    await post.reconnect()
    await until_state(post, S.CONNECTED)


async def test_two_who_reconnect_at_once_start_one_task_of_each_kind(house: House) -> None:
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    await asyncio.gather(post.reconnect(), post.reconnect(), post.reconnect())
    await until_state(post, S.CONNECTED)
    names = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("touchpoint")]
    assert sorted(names) == ["touchpoint 1 receiving", "touchpoint 1 sending"]
    assert len(house.mailbox.open) == 1
    await post.stop()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("touchpoint")]
    assert not house.mailbox.open


async def test_what_was_stopped_is_not_started_by_a_change_that_came_too_late(house: House) -> None:
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    await asyncio.gather(post.reconnect(), post.stop(1.0))
    await asyncio.gather(post.stop(1.0), post.reconnect())
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("touchpoint")]


# -- trouble of our own ----------------------------------------------------------------------------------------------


async def test_a_bug_in_a_connector_is_trouble_and_not_the_end_of_the_task(house: House) -> None:
    house.mailbox.refuses = [ZeroDivisionError("a bug"), KeyError("another")]
    house.outlet.refuses = [RuntimeError("a bug")]
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    assert house.mailbox.opened == 3
    assert "touchpoint.backoff" in house.state_facts()


async def test_a_bug_is_shown_with_its_name(house: House) -> None:
    house.mailbox.refuses = [ZeroDivisionError("a bug")]
    house.mailbox.stubborn = True
    post = house.at_work()
    await until_state(post, S.BACKOFF)
    assert post.half("receiving").reason == "receiving: a fault: ZeroDivisionError('a bug')"
    assert post.half("receiving").cause == "provider"


async def test_a_bug_while_waiting_is_not_the_end_of_the_task_either(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.mailbox.refuses = [NetworkFault("down")] * 3
    post = house.post()
    real, faults = post.receiver.until_due, [Refused("reading this takes longer than a second"), KeyError("a bug")]

    async def until_due() -> float:
        if faults:
            raise faults.pop()
        return await real()

    monkeypatch.setattr(post.receiver, "until_due", until_due)
    post.start()
    await until_state(post, S.CONNECTED)
    assert not faults


async def test_a_full_disk_while_the_state_is_written_does_not_end_the_task(house: House) -> None:
    house.store.full = 3
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    assert house.store.full == 0
    house.mailbox.put(1)

    async def taken() -> bool:
        return await house.states() == {1: "queued"}

    await until(taken)


async def test_a_full_disk_pauses_intake_and_goes_on_by_itself(house: House) -> None:
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    house.store.full = 10**6
    house.mailbox.put(1)

    async def paused() -> bool:
        return post.half("receiving").cause == "disk-full"

    await until(paused)
    assert post.state is S.BACKOFF
    house.store.full = 0

    async def taken() -> bool:
        return await house.states() == {1: "queued"}

    await until(taken)
    await until_state(post, S.CONNECTED)


# -- facts -----------------------------------------------------------------------------------------------------------


async def test_each_change_of_the_state_is_stated_once(house: House) -> None:
    post = house.post()
    await post.report("receiving", E.SIGNED_IN)
    await post.report("sending", E.SIGNED_IN)
    await post.report("receiving", E.TROUBLE, NetworkFault("down"))
    await post.report("receiving", E.TROUBLE, NetworkFault("still down"))
    await post.report("receiving", E.TROUBLE, CertificateFault("expired"))
    await post.report("receiving", E.PERSON_NEEDED, AuthRequired("no"))
    await post.report("sending", E.TROUBLE, NetworkFault("down"))
    assert house.state_facts() == [
        "touchpoint.changed",  # connecting: one half is there
        "touchpoint.connected",
        "touchpoint.backoff",
        "touchpoint.backoff",  # another cause
        "touchpoint.connection_lost",
    ]


async def test_the_words_of_the_latest_trouble_are_stored_even_where_the_state_stays(house: House) -> None:
    post: Post = house.post()
    await post.report("receiving", E.TROUBLE, NetworkFault("down"))
    await post.report("receiving", E.TROUBLE, NetworkFault("still down"))
    assert (await seen(house))["reason"] == "receiving: still down"
    assert house.state_facts() == ["touchpoint.backoff"]


async def test_rounds_are_noted_at_most_once_a_minute(house: House) -> None:
    post = house.post()
    start = house.clock.now
    for seconds, noted in ((0, 0), (59, 0), (60, 60), (100, 60), (121, 121), (20, 20)):
        house.clock.now = start + seconds
        await post.polled()
        assert (await seen(house))["polled_at"] == start + noted

"""Where tasks meet: stopping and starting over, guests that hang up, and one mail that would hold up all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import control
from gateway.desk import Desk
from gateway.flight import Flight
from pipeline import memory
from pipeline.conversation import MessageIds
from pipeline.errors import NetworkFault
from pipeline.lifecycle import ConnectionEvent, ConnectionState
from pipeline.strikes import InHand
from tests.unit.housing import House, a_house, failing, hurry, until, until_state
from tests.unit.making import NOW, a_content, a_mail, a_room, a_touchpoint

S = ConnectionState


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house() as made:
        yield made


async def test_two_that_start_a_touchpoint_over_at_once_leave_one_pair_of_tasks(house: House) -> None:
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    await asyncio.gather(post.reconnect(), post.reconnect(), post.reconnect())
    mine = [task for task in asyncio.all_tasks() if task.get_name().startswith("touchpoint 1 ")]
    assert sorted(task.get_name() for task in mine) == ["touchpoint 1 receiving", "touchpoint 1 sending"]


async def test_what_was_stopped_for_good_is_not_started_again(house: House) -> None:
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    await post.stop()
    await post.reconnect()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("touchpoint 1 ")]


async def test_a_lane_that_is_closing_ends_by_itself(house: House) -> None:
    """It must not go round without ever waiting: then nothing else in the process would run again."""
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    post.sender.closing = True
    post.sender.wake.set()
    (lane,) = [task for task in asyncio.all_tasks() if task.get_name() == "touchpoint 1 sending"]
    await lane


async def test_trying_again_stays_backoff_until_it_works(house: House) -> None:
    house.mailbox.refuses = [NetworkFault("down")]
    house.mailbox.stubborn = True
    post = house.at_work()
    await until(lambda: house.mailbox.opened >= 2 and post.half("receiving").state is S.BACKOFF)
    since = await house.values("SELECT state_since FROM touchpoint")
    house.clock.now += 4000
    opened = house.mailbox.opened
    await until(lambda: house.mailbox.opened > opened + 1)
    assert await house.values("SELECT state_since FROM touchpoint") == since
    assert house.state_facts().count("touchpoint.backoff") == 1


async def test_a_session_that_ends_at_once_counts_as_one_more_failure(house: House) -> None:
    post = house.post()
    for _ in range(3):
        await post.report("receiving", ConnectionEvent.SIGNED_IN)
        await post.report("receiving", ConnectionEvent.TROUBLE, NetworkFault("the server hung up"))
    assert post.half("receiving").failures == 3


@pytest.mark.parametrize("after_data", [False, True])
async def test_a_mail_that_breaks_the_connection_lets_the_others_go_first(house: House, after_data: bool) -> None:
    first = await house.room.relay(1)
    await house.room.relay(2)
    house.outlet.steps = [failing(NetworkFault("the server hung up"), after_data=after_data)] * 3
    house.at_work()
    await until(lambda: len(house.outlet.handed) == 1)
    assert house.outlet.handed[0].subject == "Question 2"
    row = await house.room.row(first)
    assert (row["state"], row["attempts"], row["planned"]) == ("waiting", 0, 0.0)
    assert row["due_at"] > house.clock.now
    house.clock.now += 301
    house.posts[0].sender.wake.set()
    await until(lambda: len(house.outlet.handed) == 2)


async def test_a_change_runs_to_its_end_when_the_guest_hangs_up() -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def change(call: object, caller: object) -> None:
        begun.set()
        await go_on.wait()
        done.set()

    class Fake(Desk):
        def __init__(self) -> None:
            self._running = set()
            self._answers = {control.WhoAmI: change}

    guest = asyncio.create_task(Fake().answer(control.WhoAmI(), None))  # type: ignore[arg-type]
    await begun.wait()
    guest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await guest
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)


async def test_mail_of_a_program_that_knows_one_message_id_only_does_not_wedge_its_page() -> None:
    """Every such mail would be looked up again for each mail of a page: at 30,000 of them no page could be read."""
    insert = (
        "INSERT INTO entry (touchpoint_id, direction, origin, state, disposition, accepted_at, message_id)"
        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)"
        " SELECT 1, 'in', 'fetched', 'done', 'queued', 1, '<1@example.org>' FROM n"
    )
    async with a_room() as room:
        await room.store.write(lambda tx: tx.run(insert))
        mails = [a_mail(1, data=a_content(1), seed=f"seed/{number}") for number in range(200)]
        ids = MessageIds(b"k" * 32, "post.example")
        known = await room.store.read(lambda tx: memory.load(tx, a_touchpoint(), ids, mails, NOW))
        assert known.sent == {}


def test_fetches_leave_slots_of_the_flight_note_to_walks(tmp_path: Path) -> None:
    flight = Flight(tmp_path / "flight")

    def hand(number: int, phase: str) -> InHand:
        return InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=number, high=number, phase=phase)

    fetches = [flight.holding(hand(number, "fetch")) for number in range(40)]
    for each in fetches:
        each.__enter__()
    with flight.holding(hand(99, "walk")):
        assert hand(99, "walk") in flight.in_hand()
    for each in fetches:
        each.__exit__(None, None, None)
    flight.close()


async def test_what_was_fetched_when_the_touchpoint_was_switched_off_is_taken_when_it_is_on_again(house: House) -> None:
    house.mailbox.put(1)

    async def switch_off(_: list[int]) -> None:
        house.mailbox.on_fetch = None
        await house.activate(False)
        await post.receiver.quiet()

    house.mailbox.on_fetch = switch_off
    post = house.post()
    post.start()
    await until(lambda: house.mailbox.asked == [[1]] and not post.active)
    await until_state(post, S.CONNECTED)
    post.wake.set()
    await until(lambda: not post.wake.is_set())
    assert await house.states() == {}
    await house.activate(True)
    post.wake.set()

    async def taken() -> bool:
        return await house.states() == {1: "queued"}

    await until(taken)

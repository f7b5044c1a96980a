"""The inbound task of one touchpoint: what it takes, in which order it tells the server, and when it is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.receiver import DEFERRED_LIMIT
from pipeline import ledger
from pipeline.errors import NetworkFault, Refused
from pipeline.intake import DEFER_SECONDS
from pipeline.ledger import RangeKind
from pipeline.lifecycle import ConnectionState
from pipeline.mail import Mail
from pipeline.stage import Context
from pipeline.verdict import HoldCause, Verdict, deferred, held, passed
from tests.unit.housing import BOTH, JUNK, House, Shelf, a_house, hurry, until, until_state
from tests.unit.making import NOW, a_content

S = ConnectionState


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house() as made:
        yield made


@pytest.fixture
async def marking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house whose touchpoint marks what it took."""
    hurry(monkeypatch)
    async with a_house(connection=replace(BOTH, mark="seen")) as made:
        yield made


async def taken(house: House, count: int) -> None:
    """Returns when that many entries are in the spool."""

    async def enough() -> bool:
        return bool(await house.values("SELECT count(*) FROM entry WHERE direction = 'in'") == [count])

    await until(enough)


# -- fresh mail ------------------------------------------------------------------------------------------------------


async def test_mail_is_taken_at_the_start_and_at_every_hint(house: House) -> None:
    house.mailbox.put(1, 2)
    house.at_work()
    await taken(house, 2)
    house.mailbox.put(3)
    await taken(house, 3)
    assert await house.states() == {1: "queued", 2: "queued", 3: "queued"}
    assert [what for what, _ in house.mail_facts()] == ["mail.assigned"] * 3


async def test_every_watched_folder_is_read_inbox_first_and_others_are_not(house: House) -> None:
    shelves = house.mailbox.shelves
    house.mailbox.shelves = {"Junk": Shelf(role=JUNK.role), **shelves, "Sent": Shelf(role="sent")}  # type: ignore[arg-type]
    house.mailbox.put(5, folder="Junk")
    house.mailbox.put(6, folder="INBOX")
    house.mailbox.put(7, folder="Sent")
    house.at_work()
    await taken(house, 2)
    assert house.mailbox.asked == [[6], [5]]
    assert await house.values("SELECT mark FROM entry ORDER BY id") == ["", "junk"]


async def test_what_is_left_alone_is_not_even_asked_for(house: House) -> None:
    house.mailbox.put(*range(1, 8))

    def leave(tx: object) -> None:
        ledger.record_range(tx, 1, "INBOX", 1, 1, 3, RangeKind.OLDER, NOW)  # type: ignore[arg-type]
        ledger.record_range(tx, 1, "INBOX", 1, 6, 6, RangeKind.SKIPPED, NOW)  # type: ignore[arg-type]

    await house.room.store.write(leave)
    house.at_work()
    await taken(house, 3)
    assert sorted(await house.states()) == [4, 5, 7]
    assert house.mailbox.asked == [[4, 5, 7]]


async def test_a_listing_that_is_left_alone_as_a_whole_still_moves_the_cursor(house: House) -> None:
    house.mailbox.put(1, 2)
    work = ledger.record_range
    await house.room.store.write(lambda tx: work(tx, 1, "INBOX", 1, 1, 2, RangeKind.OLDER, NOW))
    house.at_work()

    async def moved() -> bool:
        return await house.values("SELECT value FROM cursor") == ["2"]

    await until(moved)
    assert house.mailbox.asked == []


async def test_the_next_page_is_fetched_before_the_last_one_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with a_house(page_mails=1) as house:
        house.mailbox.put(1, 2)
        second_asked = asyncio.Event()
        order: list[str] = []

        async def fetching(uids: list[int]) -> None:
            order.append(f"fetch {uids[0]}")
            if uids == [2]:
                second_asked.set()

        async def walking(mail: Mail, context: Context) -> Verdict:
            await second_asked.wait()  # the first mail is decided only once the second is being fetched
            order.append(f"walk {mail.seed[-1]}")
            return passed("fine")

        house.mailbox.on_fetch = fetching
        house.stage.verdict = walking
        house.at_work()
        await taken(house, 2)
        assert order == ["fetch 1", "fetch 2", "walk 1", "walk 2"]


async def test_a_page_that_was_fetched_ahead_is_thrown_away_when_the_commit_before_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch)
    async with a_house(page_mails=1) as house:
        house.mailbox.put(1, 2, 3)
        house.store.full_when = lambda urgent: bool(house.stage.seen)  # the commits, not what comes before them
        house.store.full = 2
        house.at_work()
        await taken(house, 3)
        assert house.store.full == 0
        assert await house.values("SELECT remote_id FROM ledger ORDER BY entry_id") == [1, 2, 3]
        assert house.services.budget._used == 0


async def test_a_listing_goes_on_where_the_last_one_ended(house: House) -> None:
    house.mailbox.listing = 2
    house.mailbox.put(*range(1, 6))
    house.at_work()
    await taken(house, 5)
    assert house.mailbox.asked == [[1, 2], [3, 4], [5]]


# -- deactivation ----------------------------------------------------------------------------------------------------


async def test_deactivation_answers_after_the_page_in_hand_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with a_house(page_mails=2) as house:
        house.mailbox.put(*range(1, 7))
        walking, go_on = asyncio.Event(), asyncio.Event()

        async def wait(mail: Mail, context: Context) -> Verdict:
            walking.set()
            await go_on.wait()
            return passed("fine")

        house.stage.verdict = wait
        post = house.at_work()
        await walking.wait()
        await house.activate(False)
        quiet = asyncio.create_task(post.receiver.quiet())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not quiet.done()
        go_on.set()
        await quiet
        # The page was decided again, since the touchpoint changed under it; nothing behind it is taken.
        assert await house.values("SELECT remote_id FROM ledger") == [1, 2]
        assert await house.values("SELECT value FROM cursor") == ["2"]
        rounds = house.mailbox.rounds
        post.wake.set()
        await until(lambda: not post.wake.is_set())
        assert house.mailbox.rounds == rounds
        await house.activate(True)
        post.wake.set()
        await taken(house, 6)


async def test_mail_is_not_left_out_when_a_touchpoint_is_switched_off_and_on_in_the_middle_of_a_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch)
    async with a_house(page_mails=1) as house:
        house.mailbox.listing = 3
        house.mailbox.put(*range(1, 7))
        off = asyncio.Event()

        async def switch(uids: list[int]) -> None:
            if uids != [2] or off.is_set():
                return
            off.set()
            await house.activate(False)
            try:
                await asyncio.Event().wait()
            finally:  # the fetch is cancelled, which takes a moment; meanwhile somebody switches it on again
                await house.activate(True)

        async def walking(mail: Mail, context: Context) -> Verdict:
            await off.wait()
            while house.touchpoint.active and not await house.values("SELECT 1 FROM entry"):
                await asyncio.sleep(0)
            return passed("fine")

        house.mailbox.on_fetch = switch
        house.stage.verdict = walking
        post = house.at_work()
        await until(lambda: off.is_set())
        await until(lambda: house.touchpoint.active)
        post.wake.set()
        await taken(house, 6)
        assert await house.values("SELECT remote_id FROM ledger ORDER BY remote_id") == [1, 2, 3, 4, 5, 6]


# -- items that could not be fetched ---------------------------------------------------------------------------------


async def pending(house: House) -> None:
    """Returns when the one item is pending."""

    async def there() -> bool:
        return await house.states() == {1: "pending"}

    await until(there)


async def test_a_pending_item_is_asked_for_when_it_is_due_and_not_before(house: House) -> None:
    house.mailbox.put(1)
    house.mailbox.unwilling = {1: "NO not now"}
    post = house.at_work()

    async def attempts() -> int:
        return sum(await house.values("SELECT attempts FROM ledger WHERE state = 'pending'"))

    await pending(house)
    rounds = house.mailbox.rounds
    post.wake.set()
    await until(lambda: house.mailbox.rounds > rounds)  # a round that is too early
    house.clock.now += 61

    async def second() -> bool:
        post.wake.set()
        return await attempts() == 2

    await until(second)
    assert house.mailbox.asked == [[1], [1]]
    assert await house.values("SELECT due_at FROM ledger") == [house.clock.now + 240]
    house.mailbox.unwilling = {}
    house.clock.now += 241

    async def came() -> bool:
        post.wake.set()
        return await house.states() == {1: "queued"}

    await until(came)
    assert await house.values("SELECT value FROM cursor") == ["1"]


async def test_while_a_touchpoint_is_inactive_its_server_is_asked_for_nothing(house: House) -> None:
    house.mailbox.put(1)
    house.mailbox.unwilling = {1: "NO"}
    post = house.at_work()
    await pending(house)
    await house.activate(False)
    house.clock.now += 61
    house.mailbox.unwilling = {}
    house.mailbox.hint.set()
    await until(lambda: not house.mailbox.hint.is_set())
    post.wake.set()
    await until(lambda: not post.wake.is_set())
    post.wake.set()
    await until(lambda: not post.wake.is_set())
    assert house.mailbox.asked == [[1]]
    assert await house.states() == {1: "pending"}


async def test_a_pending_item_that_is_gone_is_settled(house: House) -> None:
    house.mailbox.put(1)
    house.mailbox.unwilling = {1: "NO"}
    post = house.at_work()
    await pending(house)
    house.mailbox.shelves["INBOX"].letters.clear()
    house.clock.now += 61

    async def gone() -> bool:
        post.wake.set()
        return await house.states() == {1: "gone"}

    await until(gone)


async def test_what_cannot_be_asked_for_now_does_not_keep_the_task_awake(house: House) -> None:
    """A pending item of a folder that is not watched any more, or of a touchpoint that is off."""
    house.mailbox.put(1)
    house.mailbox.unwilling = {1: "NO"}
    post = house.at_work()
    await pending(house)
    house.clock.now += 61
    await post.stop()
    assert await post.receiver.until_due() < 1
    await house.activate(False)
    assert await post.receiver.until_due() > 60


# -- the server's side -----------------------------------------------------------------------------------------------


async def test_marks_are_made_after_the_commit_and_once(marking: House) -> None:
    house = marking
    house.mailbox.put(1, 2)
    post = house.at_work()

    async def made() -> bool:
        return await house.values("SELECT mark_due FROM ledger") == ["", ""]

    await until(made)
    assert house.mailbox.marks == [(1, "seen"), (2, "seen")]
    rounds = house.mailbox.rounds
    post.wake.set()
    await until(lambda: house.mailbox.rounds > rounds)
    assert len(house.mailbox.marks) == 2


async def test_nothing_is_marked_that_could_not_be_stored(marking: House) -> None:
    house = marking
    house.mailbox.put(1)
    house.store.full = 10**6
    house.store.full_when = lambda urgent: bool(house.stage.seen)
    house.at_work()
    await until(lambda: len(house.stage.seen) > 2)  # it was decided more than once
    assert house.mailbox.marks == []
    house.store.full = 0
    await until(lambda: house.mailbox.marks == [(1, "seen")])
    assert await house.values("SELECT count(*) FROM entry") == [1]


async def test_a_mark_is_repeated_when_the_connection_died_between_the_server_and_us(marking: House) -> None:
    house = marking
    house.mailbox.put(1, 2)
    house.mailbox.mark_faults = [None, NetworkFault("reset")]
    house.at_work()

    async def made() -> bool:
        return await house.values("SELECT mark_due FROM ledger") == ["", ""]

    await until(made)
    assert house.mailbox.marks == [(1, "seen"), (1, "seen"), (2, "seen")]
    assert len(house.mailbox.asked) == 1


async def test_a_mark_that_was_due_at_a_crash_is_made_at_the_next_start(marking: House) -> None:
    house = marking
    house.mailbox.put(1)
    house.mailbox.mark_faults = [NetworkFault("reset")]
    house.mailbox.stubborn = True
    post = house.at_work()
    await taken(house, 1)
    await post.stop()
    house.mailbox.stubborn = False
    house.mailbox.marks.clear()
    await house.room.store.write(lambda tx: tx.run("UPDATE ledger SET mark_due = 'seen'"))
    house.at_work()
    await until(lambda: house.mailbox.marks == [(1, "seen")])


async def test_a_mark_that_is_refused_does_not_stop_intake(marking: House) -> None:
    house = marking
    house.mailbox.put(1)
    house.mailbox.mark_faults = [Refused("there is no folder Done")] * 100
    post = house.at_work()
    await taken(house, 1)
    house.mailbox.put(2)
    await taken(house, 2)
    assert post.state is S.CONNECTED
    assert await house.values("SELECT mark_due FROM ledger") == ["seen", "seen"]
    assert any("there is no folder Done" in fact.words for fact in house.facts())
    house.mailbox.mark_faults = []
    post.wake.set()
    await until(lambda: house.mailbox.marks == [(1, "seen"), (2, "seen")])


async def test_a_copy_of_what_was_sent_is_filed_once(house: House) -> None:
    entry_id = await house.room.relay(1)
    await house.room.store.write(
        lambda tx: tx.run("UPDATE entry SET state = 'done', disposition = 'delivered', sent_copy_due = 1")
    )
    house.mailbox.copy_faults = [NetworkFault("reset")]
    post = house.at_work()
    await until(lambda: len(house.mailbox.copies) == 1)

    async def filed() -> bool:
        return await house.values("SELECT sent_copy_due FROM entry") == [0]

    await until(filed)
    rounds = house.mailbox.rounds
    post.wake.set()
    await until(lambda: house.mailbox.rounds > rounds)
    assert house.mailbox.copies == [("<1@example.org>", await house.room.content(entry_id))]


# -- mail that waits in the spool ------------------------------------------------------------------------------------


async def test_deferred_mail_is_walked_again_when_it_is_due_connected_or_not(house: House) -> None:
    house.mailbox.put(1)
    house.stage.verdict = deferred("ask me later")
    post = house.at_work()
    await taken(house, 1)
    assert await house.values("SELECT state FROM entry") == ["waiting"]
    house.mailbox.refuses = [NetworkFault("no route")]
    house.mailbox.stubborn = True
    await post.reconnect()
    await until_state(post, S.BACKOFF)
    house.stage.verdict = passed("fine now")
    post.wake.set()
    await until(lambda: not post.wake.is_set())
    assert await house.values("SELECT state FROM entry") == ["waiting"]
    house.clock.now += DEFER_SECONDS

    async def walked() -> bool:
        post.wake.set()
        return await house.states() == {1: "queued"}

    await until(walked)
    assert await house.values("SELECT count(*) FROM walk") == [2]
    assert [what for what, _ in house.mail_facts()] == ["mail.undecided", "mail.assigned"]
    assert house.mailbox.asked == [[1]]


async def test_what_was_undecided_in_its_page_is_walked_alone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with a_house(decide_seconds=0.1) as house:

        async def slow_in_company(mail: Mail, context: Context) -> Verdict:
            if len(house.stage.seen) == 1:
                await asyncio.Event().wait()
            return passed("fine")

        house.stage.verdict = slow_in_company
        house.mailbox.put(1, 2)
        post = house.at_work()
        await taken(house, 2)

        async def decided() -> bool:
            post.wake.set()
            return await house.states() == {1: "queued", 2: "queued"}

        await until(decided)


async def test_mail_that_was_deferred_for_more_than_five_days_is_held(house: House) -> None:
    house.mailbox.put(1)
    house.stage.verdict = deferred("ask me later")
    post = house.at_work()
    await taken(house, 1)
    house.clock.now += DEFERRED_LIMIT - 1

    async def walks() -> list[int]:
        post.wake.set()
        return await house.values("SELECT count(*) FROM walk")

    async def twice() -> bool:
        return await walks() == [2]

    await until(twice)
    assert await house.states() == {1: ""}  # still waiting
    house.clock.now += DEFER_SECONDS

    async def is_held() -> bool:
        post.wake.set()
        return await house.states() == {1: "deferred-too-long"}

    await until(is_held)
    (reason,) = await house.values("SELECT reason FROM entry")
    assert "ask me later" in reason
    seen = len(house.stage.seen)
    await house.room.spool.release(1, "somebody")
    house.stage.verdict = passed("fine now")

    async def queued() -> bool:
        post.wake.set()
        return await house.states() == {1: "queued"}

    await until(queued)
    assert len(house.stage.seen) == seen + 1


async def test_released_mail_walks_again_and_the_holding_stage_lets_it_pass(house: House) -> None:
    house.mailbox.put(1)
    house.stage.verdict = held(HoldCause.BLOCKED, "not this one")
    post = house.at_work()
    await taken(house, 1)
    assert await house.states() == {1: "blocked"}
    await house.room.spool.release(1, "somebody")

    async def queued() -> bool:
        post.wake.set()
        return await house.states() == {1: "queued"}

    await until(queued)
    (trail,) = await house.values("SELECT trail FROM walk WHERE number = 2")
    assert "released by somebody" in trail


async def test_released_mail_of_an_inactive_or_lost_touchpoint_walks_too(house: House) -> None:
    await house.room.take(1)
    await house.room.spool.hold(1, "somebody")
    await house.activate(False)
    await house.room.spool.release(1, "somebody")
    post = house.post(connected_before=False)
    post.start()

    async def queued() -> bool:
        return await house.values("SELECT disposition FROM entry") == ["queued"]

    await until(queued)
    assert post.state is S.NEW
    assert house.mailbox.opened == 0


async def test_an_answer_that_the_walk_gave_birth_to_leaves_at_once(house: House) -> None:
    from pipeline import touchpoints

    await house.change(
        lambda tx: touchpoints.set_template(tx, 1, "auto_reply", NOW - 60, text="Thank you.", active=True)  # type: ignore[arg-type]
    )
    data = b"Return-Path: <customer1@example.org>\r\n" + a_content(1)
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    house.mailbox.put(1, data=data)
    await until(lambda: len(house.outlet.handed) == 1)
    assert house.outlet.handed[0].mail.recipients == ("customer1@example.org",)
    assert ("mail.answered", 1) in house.mail_facts()

"""Finding out what became of mail whose answer never came: by whom, when, and what people hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace

import pytest

from gateway.connectors import Folder, Outcome as Sent
from gateway.post import Post
from pipeline import touchpoints
from pipeline.errors import AuthRequired, NetworkFault, ProviderFault, Refused
from pipeline.lifecycle import ConnectionState
from pipeline.touchpoint import Connection, SentCopy, UnknownPolicy
from pipeline.unknown import LOOKS, PATIENCE
from tests.unit.housing import BOTH, House, Session, a_house, answering, hurry, until, until_state

SEARCHABLE = replace(BOTH, sent_copy=SentCopy.PROVIDER)
HOLDING = replace(SEARCHABLE, unknown_outcome=UnknownPolicy.HOLD_FOR_PERSON)
SILENCE = answering(Sent.UNKNOWN, 0, "reset after the final dot")


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house(connection=SEARCHABLE, admins=("admin@example.org",)) as made:
        yield made


async def state(house: House) -> str:
    (row,) = await house.rows("SELECT state, disposition, mark FROM entry WHERE id = 1")
    return " ".join(filter(None, row.values()))


def reached(house: House, expected: str) -> Awaitable[None]:
    """Returns when the mail stands so."""

    async def there() -> bool:
        return await state(house) == expected

    return until(there)


def looked(house: House, times: int) -> Awaitable[None]:
    async def there() -> bool:
        return await house.values("SELECT looks FROM entry WHERE id = 1") == [times]

    return until(there)


async def a_doubt(house: House) -> Post:
    """A post at work whose first mail got no answer."""
    await house.room.relay(1)
    house.outlet.steps = [SILENCE]
    post = house.at_work()
    await until(lambda: ("mail.unknown", 1) in house.mail_facts())
    await until_state(post, ConnectionState.CONNECTED)
    return post


def file(house: House) -> None:
    """The provider files its copy in Sent."""
    house.mailbox.copies.append(("<1@example.org>", b""))


async def test_found_in_sent_it_is_delivered_and_everybody_hears_of_it(house: House) -> None:
    post = await a_doubt(house)
    assert await state(house) == "unknown"
    file(house)
    house.clock.now += LOOKS[0]
    post.wake.set()
    await reached(house, "done delivered")
    assert ("mail.delivered", 1) in house.mail_facts()
    assert len(house.outlet.handed) == 1


async def test_it_wakes_by_itself_for_the_looks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(self: Session, folder: Folder, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return False

    monkeypatch.setattr(Session, "wait", wait)
    monkeypatch.setattr("pipeline.unknown.LOOKS", (0.0, 0.0))
    await house.room.relay(1)
    house.outlet.steps = [SILENCE]
    house.at_work()
    await reached(house, "done delivered possibly twice")
    assert len(house.outlet.handed) == 2


async def test_after_the_last_look_it_is_sent_again(house: House) -> None:
    post = await a_doubt(house)
    for number, seconds in enumerate(LOOKS, 1):
        house.clock.now += seconds
        post.wake.set()
        if number < len(LOOKS):
            await looked(house, number)
    await reached(house, "done delivered possibly twice")
    first, second = house.outlet.handed
    assert (first.data, first.mail.message_id) == (second.data, second.mail.message_id)


async def test_or_held_where_the_policy_says_so(house: House) -> None:
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, HOLDING))
    await house.change(lambda tx: tx.run("UPDATE touchpoint SET version = 1"))
    post = await a_doubt(house)
    for number, seconds in enumerate(LOOKS, 1):
        house.clock.now += seconds
        post.wake.set()
        if number < len(LOOKS):
            await looked(house, number)
    await reached(house, "held")
    assert ("mail.held", 1) in house.mail_facts()
    assert len(house.outlet.handed) == 1


@pytest.mark.parametrize(
    ("connection", "why"),
    [
        (replace(BOTH, sent_copy=SentCopy.APPEND), "filed by us"),
        (replace(BOTH, sent_copy=SentCopy.NONE), "files no copies in Sent"),
        (replace(SEARCHABLE, imap=None), "no mailbox is connected"),
    ],
    ids=["append", "none", "no receiving half"],
)
@pytest.mark.parametrize("policy", UnknownPolicy)
async def test_without_evidence_the_policy_applies_at_once(
    connection: Connection, why: str, policy: UnknownPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with a_house(connection=replace(connection, unknown_outcome=policy)) as house:
        file(house)  # which proves nothing
        await house.room.relay(1)
        house.outlet.steps = [SILENCE]
        house.at_work()
        if policy is UnknownPolicy.VERIFY_THEN_RESEND:
            await reached(house, "done delivered possibly twice")
            assert any(why in fact.words for fact in house.facts())
        else:
            await reached(house, "held")
            assert why in (await house.values("SELECT reason FROM entry"))[0]


async def test_without_a_sent_folder_likewise(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(self: Session, message_id: str) -> None:
        return None

    monkeypatch.setattr(Session, "copies", none)
    post = await a_doubt(house)
    house.clock.now += LOOKS[0]
    post.wake.set()
    await reached(house, "done delivered possibly twice")


@pytest.mark.parametrize("trouble", [NetworkFault("no route"), AuthRequired("no")], ids=["backoff", "lost"])
async def test_while_nobody_can_look_it_stays_unknown_for_a_day_at_the_most(house: House, trouble: Exception) -> None:
    house.mailbox.refuses, house.mailbox.stubborn = [trouble], True
    await house.room.relay(1)
    house.outlet.steps = [SILENCE]
    post = house.at_work()
    await until(lambda: ("mail.unknown", 1) in house.mail_facts())
    house.clock.now += PATIENCE - 1
    await post.receiver.decide_waiting()
    assert await state(house) == "unknown"
    house.clock.now += 2
    await post.receiver.decide_waiting()
    assert await state(house) == "held"
    assert "no connection to look into Sent by" in (await house.values("SELECT reason FROM entry"))[0]


async def test_when_the_connection_comes_back_it_is_looked_for_first_however_late(house: House) -> None:
    house.mailbox.refuses, house.mailbox.stubborn = [AuthRequired("no")], True
    await house.room.relay(1)
    house.outlet.steps = [SILENCE]
    post = house.at_work()
    await until(lambda: ("mail.unknown", 1) in house.mail_facts())
    house.clock.now += PATIENCE / 2
    file(house)
    house.mailbox.refuses = []
    await post.reconnect()
    await reached(house, "done delivered")


@pytest.mark.parametrize("error", [Refused("SEARCH is switched off"), ProviderFault("NO")])
async def test_a_search_that_fails_is_no_look_and_stops_no_mail(
    house: House, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = 0

    async def fails(self: Session, message_id: str) -> int:
        nonlocal searched
        searched += 1
        raise error

    monkeypatch.setattr(Session, "copies", fails)
    post = await a_doubt(house)
    house.clock.now += LOOKS[0]
    post.wake.set()
    await until(lambda: searched == 1)
    house.mailbox.put(7)
    await until(lambda: ("mail.assigned", 2) in house.mail_facts())
    assert await state(house) == "unknown"
    assert await house.values("SELECT looks FROM entry WHERE id = 1") == [0]
    house.clock.now += PATIENCE
    post.wake.set()
    await reached(house, "held")


async def test_a_restart_goes_on_where_it_was(house: House) -> None:
    post = await a_doubt(house)
    house.clock.now += LOOKS[0]
    post.wake.set()
    await looked(house, 1)
    await post.stop()
    house.clock.now += 1000.0
    file(house)
    house.at_work()
    await reached(house, "done delivered")


async def test_a_clock_that_is_set_back_delays_nothing(house: House) -> None:
    post = await a_doubt(house)
    file(house)
    house.clock.now -= 400 * 86400.0
    post.wake.set()
    await reached(house, "done delivered")


async def test_while_the_touchpoint_is_inactive_it_is_looked_for_and_not_sent_again(house: House) -> None:
    post = await a_doubt(house)
    await house.activate(False)
    await post.changed()
    for _ in LOOKS:
        before = await house.values("SELECT looks FROM entry")
        house.clock.now += max(LOOKS)
        post.wake.set()

        async def looked_again(before: list[int] = before) -> bool:
            return await house.values("SELECT looks FROM entry") != before

        await until(looked_again)
    await reached(house, "waiting possibly twice")
    assert len(house.outlet.handed) == 1


async def test_who_was_refused_before_the_silence_is_told_of_when_the_mail_is_found(house: House) -> None:
    await house.room.relay(1, ("a@example.org", "b@example.org"))
    house.outlet.steps = [answering(Sent.UNKNOWN, 550, "no such user", b=Sent.REFUSED)]
    post = house.at_work()
    await until(lambda: ("mail.unknown", 1) in house.mail_facts())
    file(house)
    house.clock.now += LOOKS[0]
    post.wake.set()
    await reached(house, "done delivered")
    await until(lambda: len(house.outlet.handed) == 2)
    assert house.outlet.handed[1].mail.recipients == ("admin@example.org",)
    assert await house.values("SELECT notice_for FROM entry WHERE origin = 'notice'") == [1]
    assert "house.notice" in house.house_facts()

"""Walking mails down a line: deadlines, the flight note, and what decisions of one page know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway import deciding
from gateway.deciding import Walk, decide_alone, decide_page
from pipeline import touchpoints
from pipeline.line import Release
from pipeline.mail import Direction, Mail
from pipeline.stage import Context
from pipeline.strikes import InHand
from pipeline.verdict import Action, HoldCause, Verdict, held, passed
from tests.unit.housing import House, a_house
from tests.unit.making import NOW, OURS, a_content, a_mail


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with a_house(decide_seconds=0.3) as made:
        yield made


def walk(number: int) -> Walk:
    hand = InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=number, high=number, phase="walk")
    return Walk(mail=a_mail(number), hand=hand)


async def test_what_is_undecided_when_the_pages_time_is_over_is_deferred(house: House) -> None:
    async def stuck(mail: Mail, context: Context) -> Verdict:
        if mail.seed == "seed/3":
            await asyncio.Event().wait()
        return passed("fine")

    house.stage.verdict = stuck
    outcomes = await decide_page(house.services, house.touchpoint, [walk(n) for n in range(1, 6)])
    assert [outcome.action for outcome in outcomes] == [Action.PASS] * 2 + [Action.DEFER] * 3
    assert [outcome.mail.seed for outcome in outcomes] == [f"seed/{n}" for n in range(1, 6)]
    assert outcomes[2].trail == (("line", "defer", "the page's time was over before it was decided"),)
    assert outcomes[2].version == house.touchpoint.version
    assert house.services.flight.in_hand() == []


async def test_a_stage_that_overruns_holds_a_mail_that_is_walked_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "ALONE_SECONDS", 0.02)

    async def stuck(mail: Mail, context: Context) -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    house.stage.verdict = stuck
    outcome = await decide_alone(house.services, house.touchpoint, house.services.inbound, walk(1))
    assert (outcome.action, outcome.cause) == (Action.HOLD, HoldCause.STAGE_FAILED)
    assert "its stages took over" in outcome.reason
    assert house.services.flight.in_hand() == []


async def test_a_stage_that_times_out_by_itself_fails_by_itself(house: House) -> None:
    async def impatient(mail: Mail, context: Context) -> Verdict:
        raise TimeoutError("my own server is slow")

    house.stage.verdict = impatient
    outcomes = await decide_page(house.services, house.touchpoint, [walk(1), walk(2)])
    assert [outcome.cause for outcome in outcomes] == [HoldCause.STAGE_FAILED] * 2
    assert "my own server is slow" in outcomes[0].reason


async def test_decisions_within_a_page_see_each_other(house: House) -> None:
    await house.change(
        lambda tx: touchpoints.set_template(tx, 1, "auto_reply", text="Thank you.", active=True, now=NOW - 60)
    )
    mails = []
    for number, author in ((1, "one"), (2, "one"), (3, "ops")):
        data = (
            f"Return-Path: <{author}@example.org>\r\nFrom: {author}@example.org\r\n".encode()
            + a_content(number).partition(b"\r\n")[2]
        )
        mails.append(Walk(mail=a_mail(number, data=data)))
    outcomes = await decide_page(house.services, house.touchpoint, mails)
    assert [[send.recipient for send in outcome.sends] for outcome in outcomes] == [
        ["one@example.org"],
        [],
        ["ops@example.org"],
    ]


async def test_a_reply_within_the_page_joins_the_conversation_that_the_page_opened(house: House) -> None:
    answer = a_content(2, headers=["In-Reply-To: <1@example.org>"]).replace(b"customer2@", b"customer1@")
    outcomes = await decide_page(house.services, house.touchpoint, [walk(1), Walk(mail=a_mail(2, data=answer))])
    assert outcomes[1].facts.continues
    assert outcomes[1].facts.conversation == outcomes[0].facts.conversation


async def test_what_is_set_aside_is_not_walked(house: House) -> None:
    aside = Walk(mail=a_mail(1), aside=(HoldCause.OVERSIZE, "too big"))
    outcomes = await decide_page(house.services, house.touchpoint, [aside, walk(2)])
    assert [(each.action, each.cause) for each in outcomes] == [
        (Action.HOLD, HoldCause.OVERSIZE),
        (Action.PASS, None),
    ]
    assert [mail.seed for mail, _ in house.stage.seen] == ["seed/2"]


async def test_a_released_mail_passes_the_stage_that_held_it(house: House) -> None:
    house.stage.verdict = held(HoldCause.BLOCKED, "not this one")
    freed = Walk(mail=a_mail(1), release=Release(stages=("says",), by="somebody"))
    outcome = await decide_alone(house.services, house.touchpoint, house.services.inbound, freed)
    assert outcome.action is Action.PASS
    assert outcome.trail[-1] == ("says", "pass", "released by somebody")


async def test_stages_get_the_houses_clock_and_the_touchpoint_as_it_is_now(house: House) -> None:
    house.clock.now = NOW + 5
    await decide_alone(house.services, house.touchpoint, house.services.inbound, walk(1))
    _, context = house.stage.seen[0]
    assert (context.now, context.touchpoint) == (NOW + 5, house.touchpoint)
    assert context.installation.addresses == {OURS}


async def test_new_outbound_mail_costs_no_look_into_the_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    real = house.store.read

    async def counted(work):  # type: ignore[no-untyped-def]
        nonlocal reads
        reads += 1
        return await real(work)

    monkeypatch.setattr(house.store, "read", counted)
    out = a_mail(1, direction=Direction.OUT, recipients=("a@example.org",))
    await deciding.context_for(house.services, house.touchpoint, [out])
    assert reads == 0
    answer = a_content(2, headers=["References: <1@example.org>"])
    await deciding.context_for(house.services, house.touchpoint, [a_mail(2, direction=Direction.OUT, data=answer)])
    assert reads == 1


async def test_others_have_their_turn_while_a_slow_page_is_walked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(1, 1_000_000))
    monkeypatch.setattr(deciding, "monotonic", lambda: next(times) * 0.002)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await decide_page(house.services, house.touchpoint, [walk(n) for n in range(1, 41)])
    task.cancel()
    assert turns >= 10

"""The sending lane: what is durable before what, and what each way to fail costs the mail, the lane and the person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway import notices
from gateway.connectors import Outcome as Sent, Outgoing, SendResult
from pipeline import people, touchpoints
from pipeline.errors import AuthRequired, NetworkFault, Poison
from pipeline.lifecycle import ConnectionState
from pipeline.mail import Direction, Mail, RelayUser
from pipeline.retry import Schedule
from pipeline.stage import Context
from pipeline.store import Tx
from pipeline.touchpoint import DirectionType, SentCopy
from pipeline.verdict import HoldCause, Splice, Verdict, deferred, held, rejected, stopped
from tests.unit.housing import BOTH, House, a_house, answering, failing, hurry, until, until_state
from tests.unit.making import NOW, OURS, a_content, a_mail, an_outcome

S = ConnectionState
SEARCHABLE = replace(BOTH, sent_copy=SentCopy.PROVIDER)
TRACE = Splice(0, 0, b"Received: from crm by post.example\r\n")


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house(admins=("admin@example.org",)) as made:
        yield made


async def entries(house: House) -> dict[int, str]:
    """Entry -> its state, with the cause of what is held or failed."""
    rows = await house.rows("SELECT id, state, disposition, cause FROM entry WHERE direction = 'out'")
    return {row["id"]: " ".join(filter(None, (row["disposition"] or row["state"], row["cause"]))) for row in rows}


def reached(house: House, expected: dict[int, str]) -> Awaitable[None]:
    """Returns when the entries stand so."""

    async def there() -> bool:
        return await entries(house) == expected

    return until(there)


async def attempts(house: House) -> list[tuple[int, str, str]]:
    rows = await house.rows("SELECT entry_id, phase, outcome FROM attempt ORDER BY id")
    return [(row["entry_id"], row["phase"], row["outcome"]) for row in rows]


# -- the straight way ------------------------------------------------------------------------------------------------


async def test_first_attempts_leave_in_the_order_of_their_commits(house: House) -> None:
    for number in range(1, 31):
        await house.room.relay(number)
    house.at_work()
    await until(lambda: len(house.outlet.handed) == 30)
    assert [each.subject for each in house.outlet.handed] == [f"Question {n}" for n in range(1, 31)]


async def test_a_deferred_mail_blocks_nobody(house: House) -> None:
    for number in (1, 2, 3):
        await house.room.relay(number)
    house.outlet.steps = [answering(Sent.RETRY, 451, "greylisted")]
    house.at_work()
    await reached(house, {1: "waiting retry", 2: "delivered", 3: "delivered"})


async def test_the_attempt_is_durable_before_the_content_and_the_answer_right_behind_it(house: House) -> None:
    entry_id = await house.room.relay(1)
    saw: list[Any] = []

    async def look(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        saw.append((await attempts(house), await entries(house)))
        await before_data()
        saw.append((await attempts(house), await entries(house)))
        return await answering(Sent.ACCEPTED, 250, "Taken as 4711")(mail, _nothing)

    house.outlet.steps = [look]
    house.at_work()
    await reached(house, {entry_id: "delivered"})
    assert saw == [([], {1: "active"}), ([(1, "data", "")], {1: "active"})]
    (row,) = await house.rows("SELECT phase, outcome, code, text, server FROM attempt")
    assert row == {
        "phase": "answered",
        "outcome": "accepted",
        "code": 250,
        "text": "Taken as 4711",
        "server": "smtp.example.org:465",
    }


async def _nothing() -> None:
    return None


async def test_what_goes_out_is_the_stored_content_with_its_splices(house: House) -> None:
    await house.room.relay(1, ("a@example.org", "b@example.org"), splices=(TRACE,))
    house.at_work()
    await until(lambda: len(house.outlet.handed) == 1)
    (handed,) = house.outlet.handed
    assert handed.data == TRACE.data + a_content(1)
    assert handed.mail.size == len(handed.data)
    assert handed.mail.recipients == ("a@example.org", "b@example.org")
    assert handed.mail.message_id == "<1@example.org>"


@pytest.mark.parametrize(("copy", "due"), [(SentCopy.APPEND, 1), (SentCopy.PROVIDER, 0), (SentCopy.NONE, 0)])
async def test_a_copy_is_due_where_we_file_it(copy: SentCopy, due: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with a_house(connection=replace(BOTH, sent_copy=copy, imap=None)) as house:
        await house.room.relay(1)
        house.at_work()
        await reached(house, {1: "delivered"})
        assert await house.values("SELECT sent_copy_due FROM entry") == [due]


async def test_nothing_is_sent_while_the_touchpoint_is_inactive(house: House) -> None:
    await house.room.relay(1)
    await house.activate(False)
    post = house.at_work()
    await until_state(post, S.CONNECTED)
    assert await entries(house) == {1: "waiting"}
    await house.activate(True)
    await post.changed()
    await reached(house, {1: "delivered"})


@pytest.mark.parametrize("how", ["no server", "lost", "new"])
async def test_a_lane_that_cannot_send_sleeps_although_mail_is_due(
    how: str, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.room.relay(1)
    if how == "no server":
        await house.change(lambda tx: touchpoints.set_connection(tx, 1, replace(BOTH, smtp=None)))
    if how == "lost":
        house.outlet.refuses = [AuthRequired("no")]
    post = house.post(connected_before=how != "new")
    bursts = 0
    real = post.sender._burst

    async def counted() -> None:
        nonlocal bursts
        bursts += 1
        await real()

    monkeypatch.setattr(post.sender, "_burst", counted)
    post.start()
    await asyncio.sleep(0.2)
    assert bursts == 1
    assert await entries(house) == {1: "waiting"}


# -- answers ---------------------------------------------------------------------------------------------------------


async def test_a_4xx_is_charged_to_the_mail(house: House) -> None:
    await house.room.relay(1)
    house.outlet.steps = [answering(Sent.RETRY, 451, "greylisted")] * 2
    post = house.at_work()
    await reached(house, {1: "waiting retry"})
    (row,) = await house.rows("SELECT attempts, planned, due_at, reason FROM entry")
    assert row == {"attempts": 1, "planned": 300.0, "due_at": NOW + 300, "reason": "451 greylisted"}
    assert post.state is S.CONNECTED or post.state is S.CONNECTING
    house.clock.now += 301
    post.sender.wake.set()

    async def twice() -> bool:
        return await house.values("SELECT attempts FROM entry") == [2]

    await until(twice)
    assert await house.values("SELECT due_at FROM entry") == [house.clock.now + 600]
    house.clock.now += 601
    post.sender.wake.set()
    await reached(house, {1: "delivered"})
    assert await house.values("SELECT count(*) FROM attempt") == [3]


async def test_a_retry_that_was_no_answer_costs_nothing(house: House) -> None:
    """Code 0: the connection failed while the content was still going, so nothing can have been taken."""
    await house.room.relay(1)
    await house.room.relay(2)
    house.outlet.steps = [answering(Sent.RETRY, 0, "reset while the content went")]
    post = house.at_work()
    await reached(house, {1: "delivered", 2: "delivered"})
    assert await attempts(house) == [
        (1, "answered", "retry"),
        (1, "answered", "accepted"),
        (2, "answered", "accepted"),
    ]
    assert await house.values("SELECT planned FROM entry") == [0, 0]
    assert "touchpoint.backoff" in house.state_facts()
    await until_state(post, S.CONNECTED)


@pytest.mark.parametrize("after_data", [False, True])
async def test_a_connection_that_fails_puts_everything_back_at_no_cost(house: House, after_data: bool) -> None:
    for number in (1, 2, 3):
        await house.room.relay(number)
    house.outlet.refuses = [NetworkFault("no route")]
    house.outlet.steps = [failing(NetworkFault("reset"), after_data=after_data)]
    seen_in_trouble: list[dict[int, str]] = []
    real = house.services.chance

    def chance() -> float:  # asked for once the lane has given up for now
        return real()

    house.services.chance = chance
    post = house.at_work()

    async def look(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        seen_in_trouble.append(await entries(house))
        return await answering(Sent.ACCEPTED, 250)(mail, before_data)

    house.outlet.steps.append(look)
    await reached(house, {1: "delivered", 2: "delivered", 3: "delivered"})
    assert seen_in_trouble == [{1: "active", 2: "active", 3: "active"}]  # claimed a second time, the first one too
    assert [each.subject[-1] for each in house.outlet.handed] == ["1", "2", "3"]
    assert await house.values("SELECT attempts FROM entry") == [1, 1, 1]
    assert await house.values("SELECT planned FROM entry") == [0, 0, 0]
    open_attempts = [each for each in await attempts(house) if each[1] == "data"]
    assert not open_attempts
    await until_state(post, S.CONNECTED)


async def test_while_the_lane_is_in_backoff_its_mail_waits_in_nobodys_hand(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.retry.BACKOFF_FIRST", 1000.0)
    await house.room.relay(1)
    await house.room.relay(2)
    house.outlet.steps = [failing(NetworkFault("reset"))]
    post = house.at_work()
    await until_state(post, S.BACKOFF)
    assert await entries(house) == {1: "waiting", 2: "waiting"}


async def test_silence_after_the_content_is_an_unknown_outcome_and_pauses_the_lane(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.retry.BACKOFF_FIRST", 1000.0)
    await house.room.relay(1)
    await house.room.relay(2)
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, SEARCHABLE))
    house.outlet.steps = [answering(Sent.UNKNOWN, 0, "reset after the final dot")]
    post = house.at_work()
    await until_state(post, S.BACKOFF)
    assert await entries(house) == {1: "unknown unknown-outcome", 2: "waiting"}
    assert await attempts(house) == [(1, "unknown", "unknown")]
    assert ("mail.unknown", 1) in house.mail_facts()
    await post.reconnect()
    await reached(house, {1: "unknown unknown-outcome", 2: "delivered"})
    assert [each.subject for each in house.outlet.handed] == ["Question 1", "Question 2"]


async def test_a_mail_that_cannot_be_handed_over_as_it_is_is_held(house: House) -> None:
    await house.room.relay(1)
    await house.room.relay(2)
    await house.room.relay(3)
    house.outlet.steps = [
        failing(Poison("an address that the server's grammar forbids")),
        failing(Poison("a line that is too long"), after_data=True),
    ]
    post = house.at_work()
    await reached(house, {1: "held poison", 2: "held poison", 3: "delivered"})
    assert not [each for each in await attempts(house) if each[1] == "data"]
    assert ("mail.held", 1) in house.mail_facts()
    assert post.state is not S.BACKOFF


async def test_each_recipient_has_a_result_of_its_own(house: House) -> None:
    await house.room.relay(1, ("a@example.org", "b@example.org", "c@example.org"))
    house.outlet.steps = [
        answering(Sent.ACCEPTED, 250, "said", b=Sent.RETRY, c=Sent.REFUSED),
    ]
    post = house.at_work()
    await reached(house, {1: "waiting retry"})
    assert await house.values("SELECT state FROM recipient ORDER BY number") == ["delivered", "waiting", "refused"]
    assert house.house_facts() == []  # nobody is told before it is over
    house.clock.now += 301
    post.sender.wake.set()
    await until(lambda: len(house.outlet.handed) >= 2)
    assert house.outlet.handed[1].mail.recipients == ("b@example.org",)
    await reached(house, {1: "delivered refused", 2: "delivered"})
    assert await house.values("SELECT notice_for FROM entry WHERE id = 2") == [1]
    assert house.house_facts() == ["house.notice"]


# -- final failures --------------------------------------------------------------------------------------------------


async def test_a_final_failure_tells_once_also_when_a_person_tries_again_in_vain(house: House) -> None:
    await house.room.relay(1)
    house.outlet.steps = [answering(Sent.REFUSED, 550, "no such user")]
    post = house.at_work()
    await reached(house, {1: "failed refused", 2: "delivered"})
    assert house.outlet.handed[1].mail.recipients == ("admin@example.org",)
    assert ("mail.failed", 1) in house.mail_facts()
    house.outlet.steps = [answering(Sent.REFUSED, 550, "still no such user")]
    await house.room.spool.retry(1, "somebody")
    post.sender.wake.set()

    async def again() -> bool:
        return await house.values("SELECT count(*) FROM attempt WHERE entry_id = 1") == [2]

    await until(again)
    await reached(house, {1: "failed refused", 2: "delivered"})
    assert await house.values("SELECT count(*) FROM entry WHERE origin = 'notice'") == [1]


async def test_a_mail_is_given_up_after_the_planned_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    schedule = Schedule(first=300.0, longest=300.0, give_up=600.0)
    async with a_house(admins=("admin@example.org",), schedule=schedule) as house:
        await house.room.relay(1)
        house.outlet.steps = [answering(Sent.RETRY, 451, "busy")] * 3
        post = house.at_work()
        for number in (1, 2):

            async def tried(number: int = number) -> bool:
                return await house.values("SELECT attempts FROM entry WHERE id = 1") == [number]

            await until(tried)
            house.clock.now += 10_000
            post.sender.wake.set()
        await reached(house, {1: "failed gave-up", 2: "delivered"})
        assert b"451 busy" in house.outlet.handed[3].data


async def test_a_notice_that_cannot_be_written_does_not_undo_the_answer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*of: object) -> None:
        raise ValueError("To cannot be written")

    monkeypatch.setattr(notices, "of_failure", broken)
    await house.room.relay(1, ("a@example.org", "b@example.org"))
    house.outlet.steps = [answering(Sent.ACCEPTED, 250, "said", b=Sent.REFUSED)]
    house.at_work()
    await reached(house, {1: "delivered refused"})
    assert len(house.outlet.handed) == 1


async def test_a_full_disk_keeps_the_answer_until_it_can_be_stored(house: House) -> None:
    await house.room.relay(1)
    await house.room.relay(2)

    async def then_full(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        result = await answering(Sent.ACCEPTED, 250)(mail, before_data)
        house.store.full = 5
        house.store.full_when = lambda urgent: urgent
        return result

    house.outlet.steps = [then_full]
    house.at_work()
    await reached(house, {1: "delivered", 2: "delivered"})
    assert house.store.full == 0
    assert [each.subject[-1] for each in house.outlet.handed] == ["1", "2"]  # each once


@pytest.mark.parametrize("step", [1, 2, 3])
async def test_a_full_disk_at_any_step_sends_nothing_twice(house: House, step: int) -> None:
    await house.room.relay(1)
    left = step

    def this_one(urgent: bool) -> bool:
        nonlocal left
        left -= 1
        return left == 0

    house.store.full_when = this_one
    house.store.full = 1
    house.at_work()
    await reached(house, {1: "delivered"})
    assert len(house.outlet.handed) == 1
    assert house.store.full == 0


# -- stopping --------------------------------------------------------------------------------------------------------


def holding_on(handed: asyncio.Event, go_on: asyncio.Event) -> Any:
    """A provider that takes its time after the content went."""

    async def step(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        await before_data()
        async for _ in mail.chunks():
            pass
        handed.set()
        await go_on.wait()
        return await answering(Sent.ACCEPTED, 250)(mail, _nothing)

    return step


async def test_stop_waits_for_the_mail_that_is_being_handed_over_and_for_no_other(house: House) -> None:
    await house.room.relay(1)
    await house.room.relay(2)
    handed, go_on = asyncio.Event(), asyncio.Event()
    house.outlet.steps = [holding_on(handed, go_on)]
    post = house.at_work()
    await handed.wait()
    stopping = asyncio.create_task(post.stop(20.0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stopping.done()
    go_on.set()
    await stopping
    assert await entries(house) == {1: "delivered", 2: "waiting"}
    assert len(house.outlet.handed) == 1
    assert house.outlet.closed >= 1


async def test_a_lane_that_is_closed_during_its_last_mail_ends(house: House) -> None:
    await house.room.relay(1)
    handed, go_on = asyncio.Event(), asyncio.Event()
    house.outlet.steps = [holding_on(handed, go_on)]
    post = house.at_work()
    await handed.wait()
    (lane,) = [task for task in asyncio.all_tasks() if task.get_name() == "touchpoint 1 sending"]
    post.sender.closing = True
    go_on.set()
    await asyncio.wait({lane}, timeout=5)  # nobody cancels it
    assert lane.done()
    assert await entries(house) == {1: "delivered"}


async def test_a_mail_whose_time_ran_out_after_its_content_went_is_never_simply_sent_again(house: House) -> None:
    await house.room.relay(1)
    await house.room.relay(2)
    handed = asyncio.Event()
    house.outlet.steps = [holding_on(handed, asyncio.Event())]
    post = house.at_work()
    await handed.wait()
    await post.stop(0.01)
    assert await entries(house) == {1: "unknown unknown-outcome", 2: "waiting"}
    assert await attempts(house) == [(1, "unknown", "unknown")]
    assert ("mail.unknown", 1) in house.mail_facts()  # the next start has nothing left to find
    assert await house.room.spool.recover([]) == (0, 0, 0)


async def test_a_mail_whose_time_ran_out_within_its_content_cannot_have_arrived(house: House) -> None:
    await house.room.relay(1)
    reading = asyncio.Event()

    async def step(mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        await before_data()
        await anext(mail.chunks())
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    house.outlet.steps = [step]
    post = house.at_work()
    await reading.wait()
    await post.stop(0.01)
    assert await entries(house) == {1: "waiting"}
    assert await attempts(house) == [(1, "answered", "retry")]


async def test_a_lane_that_ends_before_any_content_leaves_its_mail_simply_waiting(house: House) -> None:
    """It is told to stop while the attempt is being noted: the note is taken back."""
    await house.room.relay(1)
    noting = asyncio.Event()
    real = house.services.spool.begin_attempt

    async def begin_attempt(*of: Any) -> int:
        number = await real(*of)
        noting.set()
        await asyncio.Event().wait()
        return number

    house.services.spool.begin_attempt = begin_attempt  # type: ignore[method-assign, assignment]
    post = house.at_work()
    await noting.wait()
    await post.stop(0.01)
    assert await entries(house) == {1: "waiting"}
    assert await attempts(house) == [(1, "answered", "retry")]
    house.services.spool.begin_attempt = real  # type: ignore[method-assign]
    house.at_work()
    await reached(house, {1: "delivered"})
    assert house.outlet.handed[0].mail.recipients == ("a@example.org",)


async def test_a_bug_after_the_content_went_is_an_unknown_outcome_too(house: House) -> None:
    await house.room.relay(1)
    await house.room.relay(2)
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, SEARCHABLE))
    house.outlet.steps = [failing(ZeroDivisionError("a bug"), after_data=True)]
    house.at_work()
    await reached(house, {1: "unknown unknown-outcome", 2: "delivered"})
    assert [each.subject[-1] for each in house.outlet.handed] == ["2"]
    assert ("mail.unknown", 1) in house.mail_facts()


async def test_an_edit_of_the_connection_lets_the_mail_in_hand_come_to_its_end(house: House) -> None:
    await house.room.relay(1)
    await house.room.relay(2)
    handed, go_on = asyncio.Event(), asyncio.Event()
    house.outlet.steps = [holding_on(handed, go_on)]
    post = house.at_work()
    await handed.wait()
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, replace(BOTH, user="other")))
    changing = asyncio.create_task(post.changed())
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    await changing
    await reached(house, {1: "delivered", 2: "delivered"})
    assert [each.subject[-1] for each in house.outlet.handed] == ["1", "2"]


async def test_mail_that_was_claimed_while_its_lane_was_stopped_leaves_by_the_next_one(house: House) -> None:
    await house.room.relay(1)
    claiming = asyncio.Event()
    real = house.services.spool.claim

    async def claim(touchpoint_id: int, limit: int = 20) -> Any:
        claiming.set()
        return await real(touchpoint_id, limit)

    house.services.spool.claim = claim  # type: ignore[method-assign]
    post = house.at_work()
    await claiming.wait()
    await post.stop(20.0)
    assert house.outlet.handed == []
    house.at_work()
    await reached(house, {1: "delivered"})
    assert len(house.outlet.handed) == 1


# -- released mail ---------------------------------------------------------------------------------------------------


async def relay_held(house: House, number: int = 1, **changes: Any) -> int:
    """A relayed mail that the line's last stage held, and a person released."""
    mail = a_mail(number, direction=Direction.OUT, recipients=("a@example.org",), **changes)
    outcome = an_outcome(mail, **HELD, version=house.touchpoint.version)
    entry_id = await house.room.spool.submit(house.touchpoint, outcome, mail.opening, ("a@example.org",))
    await house.room.spool.release(entry_id, "somebody")
    return entry_id


HELD: dict[str, Any] = {
    "action": held(HoldCause.BLOCKED, "look at this").action,
    "stage": "says",
    "cause": HoldCause.BLOCKED,
    "reason": "look at this",
    "splices": (TRACE,),
}


async def test_released_mail_walks_again_and_keeps_its_trace_field(house: House) -> None:
    house.stage.verdict = held(HoldCause.BLOCKED, "look at this")
    entry_id = await relay_held(house)
    house.at_work()
    await reached(house, {entry_id: "delivered"})
    assert house.outlet.handed[0].data == TRACE.data + a_content(1)
    (trail,) = await house.values("SELECT trail FROM walk WHERE number = 2")
    assert "released by somebody" in trail


async def test_released_mail_is_decided_with_all_that_it_came_with(house: House) -> None:
    """Its recipients, so that a reply is a reply, and its relay user, so that it gets the signature asked for."""

    def people_and_signature(tx: Tx) -> None:
        touchpoints.set_template(tx, 1, "signature", NOW, text="Your support team", active=True)  # type: ignore[arg-type]
        touchpoints.set_direction(tx, 1, DirectionType.INBOUND)
        people.add_relay_user(tx, "crm", password_hash="x", signature=True, now=NOW)

    customer = a_mail(7)
    await house.room.take(7, an_outcome(customer, conversation="k" * 24))
    await house.change(people_and_signature)
    user: RelayUser = house.services.directory.relay_users["crm"]
    reply = a_content(1, headers=["In-Reply-To: <7@example.org>"]).replace(
        b"From: Customer <customer1@example.org>", f"From: {OURS}".encode()
    )
    mail = replace(
        a_mail(1, direction=Direction.OUT, recipients=("customer7@example.org",), data=reply), relay_user=user
    )
    outcome = an_outcome(mail, **HELD, version=house.touchpoint.version)
    to = ("customer7@example.org",)
    entry_id = await house.room.spool.submit(house.touchpoint, outcome, mail.opening, to)
    await house.room.spool.release(entry_id, "somebody")
    house.at_work()
    await reached(house, {entry_id: "delivered"})
    (handed,) = house.outlet.handed
    assert handed.data.startswith(TRACE.data + reply.partition(b"\r\n\r\n")[0])
    assert b"Your support team" in handed.data
    walked, context = house.stage.seen[0]
    assert (walked.envelope.recipients, walked.relay_user) == (to, user)
    assert context.facts.continues


@pytest.mark.parametrize(
    ("verdict", "fate", "fact"),
    [
        (rejected("5.7.1", "not any more"), "held rejected", "mail.held"),
        (held(HoldCause.ENVELOPE, "something else"), "held envelope", "mail.held"),
        (stopped("nobody needs this"), "held stage-failed", "mail.held"),
        (deferred("ask me later"), "waiting", "mail.undecided"),
    ],
)
async def test_released_mail_that_does_not_pass_is_not_sent_and_does_not_trouble_the_lane(
    house: House, verdict: Verdict, fate: str, fact: str
) -> None:
    async def decide(mail: Mail, context: Context) -> Verdict:
        return verdict

    house.stage.verdict = decide
    house.services.outbound = replace(house.services.outbound, stages=(("other", house.stage),))
    entry_id = await relay_held(house)
    await house.room.relay(2)
    post = house.at_work()
    await reached(house, {entry_id: fate, entry_id + 1: "delivered"})
    assert [each.subject for each in house.outlet.handed] == ["Question 2"]
    assert "touchpoint.backoff" not in house.state_facts()
    assert (fact, entry_id) in house.mail_facts()
    assert post.state is not S.BACKOFF


async def test_what_a_person_held_is_sent_as_it_is_when_it_is_released(house: House) -> None:
    await house.room.relay(1, splices=(TRACE,))
    await house.room.spool.hold(1, "somebody")
    await house.room.spool.release(1, "somebody")
    house.stage.verdict = held(HoldCause.BLOCKED, "never asked")
    house.at_work()
    await reached(house, {1: "delivered"})
    assert house.stage.seen == []
    assert house.outlet.handed[0].data == TRACE.data + a_content(1)

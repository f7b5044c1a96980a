"""Outcomes that nobody knows: what counts as evidence, what each policy makes of none, and who is sent to again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipeline import unknown
from pipeline.account import account
from pipeline.errors import Refused
from pipeline.outbox import Answer, RecipientState, Said, Settled
from pipeline.spool import Notice
from pipeline.store import Row
from pipeline.touchpoint import UnknownPolicy
from pipeline.unknown import BLIND_RESENDS, LOOKS, MARK, RESENDS
from tests.unit.making import NOW, Room, a_room

A, B, C = "a@example.org", "b@example.org", "c@example.org"
WAITING, UNKNOWN = RecipientState.WAITING, RecipientState.UNKNOWN
DELIVERED, REFUSED = RecipientState.DELIVERED, RecipientState.REFUSED
RESEND, HOLD = UnknownPolicy.VERIFY_THEN_RESEND, UnknownPolicy.HOLD_FOR_PERSON
SILENCE = Said(outcome="unknown", text="reset", server="mx.example.org:25")


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with a_room() as made:
        yield made


def nobody(row: Row, settled: Settled) -> Notice | None:
    return None


async def a_silence(room: Room, entry_id: int = 0, *, left_out: tuple[str, ...] = (), **before: RecipientState) -> int:
    """A mail whose content went and was not answered; ``before`` are words at RCPT, by local part."""
    entry_id = entry_id or await room.relay()
    await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "mx.example.org:25", left_out)
    answers = [
        Answer(address=f"{name}@example.org", state=state, code=550, text="said at RCPT")
        for name, state in before.items()
    ]
    await room.spool.unknown(entry_id, number, SILENCE, answers)
    return entry_id


async def delivered(room: Room, number: int = 1) -> int:
    """A mail that the server took."""
    entry_id = await room.relay(number)
    await room.spool.claim(1)
    attempt = await room.spool.begin_attempt(entry_id, "mx")
    answers = [Answer(address=A, state=DELIVERED, code=250, text="ok")]
    await room.spool.settle(entry_id, attempt, answers, Said(outcome="accepted", code=250), 0.5, nobody)
    return entry_id


async def look(room: Room, entry_id: int, copies: int, policy: UnknownPolicy = RESEND) -> str:
    """What a look into Sent comes to; the time of the next look is waited for."""
    room.clock.now = max(room.clock.now, (await room.row(entry_id))["due_at"])
    settled = await room.spool.looked(entry_id, copies, policy, 0.5, nobody)
    assert settled is not None
    return settled.state.value


async def stands(room: Room, entry_id: int) -> str:
    row = await room.row(entry_id)
    return " ".join(filter(None, (row["state"], row["disposition"], row["mark"])))


async def recipients(room: Room, entry_id: int) -> list[str]:
    sql = "SELECT state FROM recipient WHERE entry_id = :id ORDER BY number"
    return [row["state"] for row in await room.store.read(lambda tx: tx.all(sql, {"id": entry_id}))]


# -- looking -----------------------------------------------------------------------------------------------------------


async def test_silence_is_a_state_of_its_own_and_stands_in_the_account(room: Room) -> None:
    entry_id = await a_silence(room)
    row = await room.row(entry_id)
    assert (row["state"], row["cause"], row["due_at"]) == ("unknown", "unknown-outcome", NOW + LOOKS[0])
    assert "may have arrived: reset" in row["reason"]
    assert await recipients(room, entry_id) == ["unknown"]
    found = await room.store.read(lambda tx: account(tx, [1]))
    assert (found.unknown, found.accepted, found.lost) == (1, 1, 0)
    assert await room.spool.claim(1) == []


async def test_the_looks_are_spread_over_two_minutes(room: Room) -> None:
    entry_id = await a_silence(room)
    due = []
    while (row := await room.row(entry_id))["state"] == "unknown":
        due.append(row["due_at"] - NOW)
        await look(room, entry_id, 0)
    assert due == [5, 20, 60, 120]


async def test_each_look_shows(room: Room) -> None:
    entry_id = await a_silence(room)
    await look(room, entry_id, 0)
    assert "not found in Sent yet, look 1 of 4" in (await room.row(entry_id))["reason"]


@pytest.mark.parametrize("number", range(len(LOOKS)))
async def test_found_at_any_look_it_is_delivered(room: Room, number: int) -> None:
    entry_id = await a_silence(room)
    for _ in range(number):
        assert await look(room, entry_id, 0) == "unknown"
    assert await look(room, entry_id, 1) == "done"
    assert await stands(room, entry_id) == "done delivered"
    assert await recipients(room, entry_id) == ["delivered"]
    row = await room.store.read(lambda tx: tx.one("SELECT phase, outcome, text FROM attempt"))
    assert row == {"phase": "answered", "outcome": "found", "text": "reset; found in Sent"}
    assert (await room.row(entry_id))["cause"] == ""


@pytest.mark.parametrize(("policy", "fate"), [(RESEND, f"waiting {MARK}"), (HOLD, "held")])
async def test_not_found_at_the_last_look_the_policy_decides(room: Room, policy: UnknownPolicy, fate: str) -> None:
    entry_id = await a_silence(room)
    for _ in LOOKS:
        await look(room, entry_id, 0, policy)
    assert await stands(room, entry_id) == fate
    row = await room.row(entry_id)
    assert row["cause"] == "unknown-outcome"
    assert "not found in Sent" in row["reason"]
    if policy is RESEND:
        assert row["due_at"] == room.clock.now
        (claimed,) = await room.spool.claim(1)
        assert claimed.recipients == (A,)


@pytest.mark.parametrize(("policy", "fate"), [(RESEND, f"waiting {MARK}"), (HOLD, "held")])
async def test_where_nothing_proves_anything_the_policy_decides_at_once(
    room: Room, policy: UnknownPolicy, fate: str
) -> None:
    entry_id = await a_silence(room)
    await room.spool.blind(entry_id, policy, "the provider files no copies")
    assert await stands(room, entry_id) == fate
    assert "the provider files no copies" in (await room.row(entry_id))["reason"]


@pytest.mark.parametrize(("blind", "fate"), [(True, "held"), (False, f"waiting {MARK}")])
async def test_an_automatic_reply_is_sent_again_only_where_sent_could_have_told(
    room: Room, blind: bool, fate: str
) -> None:
    entry_id = await room.relay()
    await room.store.write(lambda tx: tx.run("UPDATE entry SET origin = 'auto-reply'"))
    await a_silence(room, entry_id)
    if blind:
        await room.spool.blind(entry_id, RESEND, "nowhere to look")
    for _ in () if blind else LOOKS:
        await look(room, entry_id, 0)
    assert await stands(room, entry_id) == fate


@pytest.mark.parametrize(("blind", "most"), [(True, BLIND_RESENDS), (False, RESENDS)])
async def test_nothing_is_sent_again_without_end(room: Room, blind: bool, most: int) -> None:
    entry_id = 0
    for _ in range(most + 1):
        entry_id = await a_silence(room, entry_id)
        if blind:
            await room.spool.blind(entry_id, RESEND, "nowhere to look")
        else:
            for _ in LOOKS:
                await look(room, entry_id, 0)
    assert await stands(room, entry_id) == f"held {MARK}"
    assert f"it was sent {most + 1} times and never answered" in (await room.row(entry_id))["reason"]


async def test_a_resent_mail_that_is_answered_stays_marked(room: Room) -> None:
    entry_id = await a_silence(room)
    await room.spool.blind(entry_id, RESEND, "nowhere to look")
    await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "mx")
    answers = [Answer(address=A, state=DELIVERED, code=250, text="ok")]
    await room.spool.settle(entry_id, number, answers, Said(outcome="accepted", code=250), 0.5, nobody)
    assert await stands(room, entry_id) == f"done delivered {MARK}"


async def test_what_is_settled_meanwhile_is_left_alone(room: Room) -> None:
    entry_id = await a_silence(room)
    await room.spool.retry(entry_id, "desk")
    before = await room.row(entry_id)
    assert await room.spool.looked(entry_id, 1, RESEND, 0.5, nobody) is None
    assert await room.spool.blind(entry_id, HOLD, "no") is None
    assert await room.spool.hold_unknown(entry_id, "no") is None
    await room.store.write(lambda tx: unknown.put_off(tx, entry_id, NOW + 999))
    assert await room.row(entry_id) == before


# -- evidence ----------------------------------------------------------------------------------------------------------


async def one_more_of(room: Room, like: int, number: int) -> None:
    """Give a mail the Message-ID of another one, as some clients do."""
    sql = "UPDATE entry SET message_id = (SELECT message_id FROM entry WHERE id = :like) WHERE id = :id"
    await room.store.write(lambda tx: tx.run(sql, {"like": like, "id": number}))


async def test_a_message_id_that_is_used_twice_counts_twice(room: Room) -> None:
    first = await delivered(room, 1)
    second = await room.relay(2)
    await one_more_of(room, first, second)
    await a_silence(room, second)
    assert await look(room, second, 1) == "unknown"  # that is the copy of the first one
    assert await look(room, second, 2) == "done"


async def test_of_two_in_doubt_one_copy_settles_one(room: Room) -> None:
    first = await a_silence(room)
    second = await room.relay(2)
    await one_more_of(room, first, second)
    await a_silence(room, second)
    assert await look(room, first, 1) == "done"
    assert await look(room, second, 1) == "unknown"
    assert await look(room, second, 2) == "done"


async def test_a_copy_of_what_is_on_its_way_right_now_proves_nothing(room: Room) -> None:
    first = await a_silence(room)
    second = await room.relay(2)
    await one_more_of(room, first, second)
    await room.spool.claim(1)
    await room.spool.begin_attempt(second, "mx")
    assert await look(room, first, 1) == "unknown"


async def test_a_copy_of_an_earlier_attempt_for_others_proves_nothing(room: Room) -> None:
    """One recipient had it before, by an attempt that filed its copy; the silence is about the other one."""
    entry_id = await room.relay(1, (A, B))
    await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "mx", (B,))
    answers = [
        Answer(address=A, state=DELIVERED, code=250, text="ok"),
        Answer(address=B, state=WAITING, code=451, text="later"),
    ]
    await room.spool.settle(entry_id, number, answers, Said(outcome="accepted", code=250), 0.5, nobody)
    room.clock.now += 500
    await a_silence(room, entry_id)
    assert await look(room, entry_id, 1) == "unknown"
    assert await recipients(room, entry_id) == ["delivered", "unknown"]
    assert await look(room, entry_id, 2) == "done"


async def test_a_copy_that_comes_late_still_settles_the_second_silence(room: Room) -> None:
    entry_id = await a_silence(room)
    for _ in LOOKS:
        await look(room, entry_id, 0)
    await a_silence(room, entry_id)
    assert await look(room, entry_id, 1) == "done"


async def test_another_touchpoints_mail_is_no_account_of_ours(room: Room) -> None:
    other = await delivered(room, 1)
    entry_id = await room.relay(2)
    await one_more_of(room, other, entry_id)
    await room.store.write(
        lambda tx: (
            tx.run("INSERT INTO touchpoint (address, address_key, name) VALUES ('b@x.test', 'b@x.test', 'B')"),
            tx.run("UPDATE entry SET touchpoint_id = 2 WHERE id = :id", {"id": other}),
        )
    )
    await a_silence(room, entry_id)
    assert await look(room, entry_id, 1) == "done"


# -- each recipient for itself -----------------------------------------------------------------------------------------


async def test_only_those_in_doubt_are_sent_to_again(room: Room) -> None:
    entry_id = await room.relay(1, (A, B, C))
    await a_silence(room, entry_id, left_out=(B,), b=REFUSED)
    assert await recipients(room, entry_id) == ["unknown", "refused", "unknown"]
    await room.spool.blind(entry_id, RESEND, "nowhere to look")
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == (A, C)


async def test_found_means_delivered_to_those_whom_the_content_went_to(room: Room) -> None:
    entry_id = await room.relay(1, (A, B, C))
    await a_silence(room, entry_id, left_out=(B, C), b=WAITING, c=REFUSED)
    assert await look(room, entry_id, 1) == "waiting"
    assert await recipients(room, entry_id) == ["delivered", "waiting", "refused"]
    assert await stands(room, entry_id) == "waiting"  # b is no case of possibly twice
    room.clock.now += 500
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == (B,)


async def test_who_was_refused_before_the_silence_is_told_of_once(room: Room) -> None:
    entry_id = await room.relay(1, (A, B))
    await a_silence(room, entry_id, left_out=(B,), b=REFUSED)
    told: list[Settled] = []

    def keep(row: Row, settled: Settled) -> None:
        told.append(settled)

    settled = await room.spool.looked(entry_id, 1, RESEND, 0.5, keep)
    assert settled is not None and [each.refused[0].address for each in told] == [B]
    assert await stands(room, entry_id) == "done delivered"


@pytest.mark.parametrize("left_out", [(), (B,)])
async def test_a_death_remembers_whom_the_content_went_to(room: Room, left_out: tuple[str, ...]) -> None:
    entry_id = await room.relay(1, (A, B))
    await room.spool.claim(1)
    await room.spool.begin_attempt(entry_id, "mx", left_out)
    assert await room.spool.recover([]) == (1, 0, 0)
    assert await recipients(room, entry_id) == ["unknown", "waiting" if left_out else "unknown"]
    assert await look(room, entry_id, 1) == ("waiting" if left_out else "done")
    row = await room.store.read(lambda tx: tx.one("SELECT outcome, ended_at, text FROM attempt"))
    assert row == {"outcome": "found", "ended_at": NOW,
                   "text": "the process ended before the server answered; found in Sent"}  # fmt: skip


async def test_an_attempt_of_an_earlier_version_went_to_all_who_waited(room: Room) -> None:
    entry_id = await room.relay(1, (A, B))
    await room.spool.claim(1)
    await room.spool.begin_attempt(entry_id, "mx")
    await room.store.write(lambda tx: tx.run("UPDATE recipient SET state = 'waiting'"))
    await room.spool.recover([])
    assert await recipients(room, entry_id) == ["unknown", "unknown"]


# -- what people do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
async def test_a_person_confirms_that_it_arrived(room: Room, held: bool) -> None:
    entry_id = await a_silence(room)
    if held:
        await room.spool.blind(entry_id, HOLD, "nowhere to look")
    await room.spool.confirm(entry_id, "desk", file_copy=True)
    assert await stands(room, entry_id) == "done delivered"
    assert (await room.row(entry_id))["sent_copy_due"] == 1
    assert await room.number("SELECT outcome FROM attempt") == "confirmed"
    assert await room.number("SELECT text FROM recipient") == "confirmed by desk"


async def test_what_is_held_for_another_reason_cannot_be_confirmed(room: Room) -> None:
    entry_id = await room.relay()
    await room.spool.hold(entry_id, "desk")
    with pytest.raises(Refused, match="confirm is for mail that is"):
        await room.spool.confirm(entry_id, "desk")


@pytest.mark.parametrize("held", [False, True])
async def test_a_person_has_it_sent_again(room: Room, held: bool) -> None:
    entry_id = await room.relay(1, (A, B))
    await a_silence(room, entry_id, left_out=(B,), b=REFUSED)
    if held:
        await room.spool.blind(entry_id, HOLD, "nowhere to look")
        await room.spool.release(entry_id, "desk")
    else:
        await room.spool.retry(entry_id, "desk")
    assert (await stands(room, entry_id)).startswith(f"waiting {MARK}")
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == (A,)
    row = await room.row(entry_id)
    assert (row["looks"], row["message_id"]) == (0, "<1@example.org>")


async def test_a_person_gives_it_up(room: Room) -> None:
    entry_id = await a_silence(room)
    await room.spool.drop(entry_id, "desk")
    assert await stands(room, entry_id) == "done dropped"
    assert (await room.store.read(lambda tx: account(tx, [1]))).lost == 0

"""The spool, rule by rule: what a commit holds together, and every arrow of the picture in ``spool.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline import ledger, strikes
from pipeline.account import Account, account
from pipeline.entry import Born, Origin, State
from pipeline.errors import Refused, StaleVersion
from pipeline.intake import Taken
from pipeline.ledger import Item, ItemState
from pipeline.mail import Bounce, Direction, Facts, Kind
from pipeline.outbox import Answer, RecipientState, Said, Settled
from pipeline.retry import Schedule
from pipeline.spool import VERBS, Notice, Verb
from pipeline.store import Row
from pipeline.store.content import ContentWriter
from pipeline.strikes import InHand
from pipeline.verdict import Action, HoldCause, Splice
from tests.unit.making import (
    NOW,
    Room,
    a_content,
    a_mail,
    a_page,
    a_reply,
    a_room,
    a_touchpoint,
    an_outcome,
    taken,
)

A, B = "a@example.org", "b@example.org"
OK = Said(outcome="accepted", code=250, text="2.0.0 OK", server="mx.example.org:25")
LATER = Said(outcome="retry", code=451, text="4.3.0 later")
NO = Said(outcome="refused", code=550, text="5.1.1 no such user")
SILENCE = Said(outcome="unknown", text="connection lost")


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with a_room() as made:
        yield made


async def the_account(room: Room, moving: Sequence[int] = (1,)) -> Account:
    return await room.store.read(lambda tx: account(tx, moving))


def told(row: Row, settled: Settled) -> Notice:
    """The notice of a final failure."""
    born = Born(touchpoint_id=1, direction=Direction.OUT, origin=Origin.NOTICE, state=State.WAITING, at=NOW,
                notice_for=row["id"])  # fmt: skip
    return Notice(born=born, content=settled.reason.encode(), recipients=("admin@example.net",))


def answers(**states: RecipientState) -> list[Answer]:
    texts = {
        RecipientState.DELIVERED: (250, "OK"),
        RecipientState.REFUSED: (550, "no"),
        RecipientState.WAITING: (451, "later"),
    }
    return [
        Answer(address=f"{name}@example.org", state=state, code=texts[state][0], text=texts[state][1])
        for name, state in states.items()
    ]


DELIVERED, REFUSED, WAITING = RecipientState.DELIVERED, RecipientState.REFUSED, RecipientState.WAITING


async def attempt(room: Room, said: Said = OK, chance: float = 0.5, **states: RecipientState) -> Settled:
    """Claim the one mail that is due, try it, settle it."""
    (claimed,) = await room.spool.claim(1)
    number = await room.spool.begin_attempt(claimed.row["id"], "mx.example.org:25")
    return await room.spool.settle(claimed.row["id"], number, answers(**states), said, chance, told)


async def put_into(room: Room, state: State, disposition: str = "", direction: Direction = Direction.OUT) -> int:
    """An entry that stands in this state."""
    number = await room.number("SELECT count(*) FROM entry") + 1
    entry_id = await room.take(number) if direction is Direction.IN else await room.relay(number)
    values: dict[str, Any] = {"state": state.value, "disposition": disposition, "id": entry_id}
    await room.store.write(
        lambda tx: tx.run("UPDATE entry SET state = :state, disposition = :disposition WHERE id = :id", values)
    )
    return entry_id


async def stands(room: Room, entry_id: int) -> tuple[str, str, str]:
    row = await room.row(entry_id)
    return row["state"], row["disposition"], row["cause"]


async def trails(room: Room, entry_id: int) -> list[list[list[str]]]:
    rows = await room.store.read(
        lambda tx: tx.all("SELECT trail FROM walk WHERE entry_id = :id ORDER BY number", {"id": entry_id})
    )
    return [json.loads(row["trail"]) for row in rows]


# -- taking mail in ----------------------------------------------------------------------------------------------------


async def test_a_page_is_one_commit_with_everything_in_it(room: Room) -> None:
    mail = a_mail(1)
    outcome = an_outcome(mail, conversation="key", ring_groups=(1, 2), sends=(a_reply(mail),))
    hand = InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=1, high=9, phase="fetch")
    await room.store.write(lambda tx: strikes.strike(tx, [hand], NOW))
    before = room.store.commits
    page = a_page([taken(1, outcome, mail.opening, mark="seen")], cursor="1:1:9", settled=9)
    (accepted,) = await room.spool.accept(page)
    assert room.store.commits == before + 1
    assert accepted.replied

    row = await room.row(accepted.entry_id)
    assert (row["state"], row["disposition"], row["origin"]) == ("done", "queued", "fetched")
    assert await room.content(accepted.entry_id) == mail.opening
    assert await room.number("SELECT count(*) FROM assignment") == 2
    assert await room.number("SELECT group_concat(address) FROM participant") == "customer1@example.org"
    assert await room.number("SELECT key FROM conversation") == "key"
    assert await room.number("SELECT entry_id FROM ledger") == accepted.entry_id
    assert await room.number("SELECT mark_due FROM ledger") == "seen"
    assert await room.number("SELECT value FROM cursor") == "1:1:9"
    assert await room.number("SELECT count(*) FROM strike") == 0
    (claimed,) = await room.spool.claim(1)
    assert (claimed.row["origin"], claimed.recipients) == ("auto-reply", ("customer1@example.org",))
    assert claimed.row["conversation_id"] == row["conversation_id"] != 0


async def test_a_second_fetch_changes_nothing(room: Room) -> None:
    page = a_page([taken(n, an_outcome(a_mail(n)), a_content(n)) for n in (1, 2)], cursor="1:1:2")
    assert len(await room.spool.accept(page)) == 2
    assert await room.spool.accept(page) == []
    assert (await the_account(room)).queued == 2
    assert await room.number("SELECT count(*) FROM content") == 2


async def test_an_item_that_is_shown_twice_in_a_page_is_one(room: Room) -> None:
    page = a_page([taken(1, an_outcome(a_mail(n)), a_content(n)) for n in (1, 2)], cursor="1:1:1")
    (accepted,) = await room.spool.accept(page)
    assert await room.content(accepted.entry_id) == a_content(1)
    assert (await the_account(room)).taken == 1


async def test_the_rest_of_a_page_stands(room: Room) -> None:
    await room.take(2)
    page = a_page([taken(n, an_outcome(a_mail(n)), a_content(n)) for n in (1, 2, 3)])
    assert [each.outcome.mail.seed for each in await room.spool.accept(page)] == ["seed/1", "seed/3"]
    assert (await the_account(room)).taken == 3


async def test_a_page_that_fails_leaves_nothing(room: Room) -> None:
    gone = Taken(item=Item(1, "INBOX", 1, 2), outcome=an_outcome(a_mail(2)), content_id=77)
    with pytest.raises(Exception, match="gone"):
        await room.spool.accept(a_page([taken(1, an_outcome(a_mail(1)), a_content(1)), gone], cursor="1:1:2"))
    for table in ("entry", "ledger", "cursor", "content", "counter", "walk", "conversation"):
        assert await room.number(f"SELECT count(*) FROM {table}") == 0


@pytest.mark.parametrize("change", ["version = 2", "deleted_at = 5"])
async def test_what_was_decided_with_old_settings_is_not_stored(room: Room, change: str) -> None:
    entry_id = await room.relay()
    (claimed,) = await room.spool.claim(1)
    await room.store.write(lambda tx: tx.run(f"UPDATE touchpoint SET {change}"))
    out = an_outcome(a_mail(3, direction=Direction.OUT))
    for call in (
        room.spool.accept(a_page([taken(1, an_outcome(a_mail(1)), a_content(1))], cursor="1:1:1")),
        room.spool.submit(a_touchpoint(), out, a_content(3), [A]),
        room.spool.redecide(entry_id, a_touchpoint(), an_outcome(a_mail(1))),
        room.spool.resubmit(claimed.row["id"], a_touchpoint(), out),
    ):
        with pytest.raises(StaleVersion):
            await call
    assert await room.number("SELECT count(*) FROM entry") == 1
    assert await room.number("SELECT count(*) FROM cursor") == 0


@pytest.mark.parametrize(
    ("action", "cause", "expected"),
    [
        (Action.PASS, None, ("done", "queued", "")),
        (Action.STOP, None, ("done", "stopped", "")),
        (Action.HOLD, HoldCause.BLOCKED, ("held", "", "blocked")),
        (Action.HOLD, None, ("held", "", "stage-failed")),
        (Action.REJECT, None, ("held", "", "rejected")),
        (Action.DEFER, None, ("waiting", "", "")),
    ],
)
async def test_how_an_inbound_mail_is_born(
    room: Room, action: Action, cause: HoldCause | None, expected: tuple[str, str, str]
) -> None:
    mail = a_mail()
    sends = (a_reply(mail),) if action is Action.PASS else ()
    entry_id = await room.take(1, an_outcome(mail, action, cause=cause, sends=sends, ring_groups=(1,)))
    assert await stands(room, entry_id) == expected
    row = await room.row(entry_id)
    assert row["held_by"] == ("test" if expected[0] == "held" else "")
    assert row["due_at"] == (NOW + 300 if action is Action.DEFER else 0.0)
    assert await room.number("SELECT count(*) FROM assignment") == (action is Action.PASS)
    assert (await the_account(room)).lost == 0


async def test_what_only_lacked_time_walks_again_at_once(room: Room) -> None:
    entry_id = await room.take(1, an_outcome(a_mail(), Action.DEFER, stage=""))
    assert (await room.row(entry_id))["due_at"] == NOW


async def test_a_big_mail_is_adopted(room: Room) -> None:
    data = a_content(1, body=b"x" * 600_000)
    writer = ContentWriter(room.store)
    await writer.write(data)
    written = await writer.finish()
    item = taken(1, an_outcome(a_mail(1, data=data)), b"", content_id=written.content_id)
    (accepted,) = await room.spool.accept(a_page([item]))
    assert await room.spool.recover([]) == (0, 0, 0)
    assert await room.content(accepted.entry_id) == data


async def test_a_mail_that_kills_is_held_without_its_bytes(room: Room) -> None:
    outcome = an_outcome(a_mail(1), Action.HOLD, cause=HoldCause.POISON)
    (accepted,) = await room.spool.accept(a_page([taken(1, outcome, b"", mark="seen")]))
    assert await room.number("SELECT mark_due FROM ledger") == ""  # what is not stored is never marked
    with pytest.raises(Refused, match="no content"):
        await room.content(accepted.entry_id)


async def test_a_pending_item_is_taken_later(room: Room) -> None:
    pending = Taken(item=Item(1, "INBOX", 1, 1), state=ItemState.PENDING, attempts=1, due_at=NOW + 60, error="broken")
    assert await room.spool.accept(a_page([pending], cursor="1:1:1")) == []
    assert (await the_account(room)).taken == 0
    assert await room.take(1)
    assert await room.store.read(lambda tx: ledger.pending_due(tx, 1, NOW + 99)) == []
    assert (await the_account(room)).as_dict()["lost"] == 0
    assert await room.number("SELECT value FROM cursor") == "1:1:1"


@pytest.mark.parametrize("state", [ItemState.MOVED, ItemState.GONE])
async def test_an_item_without_a_mail_is_noted_only(room: Room, state: ItemState) -> None:
    assert await room.spool.accept(a_page([Taken(item=Item(1, "INBOX", 1, 1), state=state)])) == []
    assert await room.number("SELECT state FROM ledger") == state.value
    assert await room.number("SELECT count(*) FROM entry") == 0


async def test_one_reply_per_window_whatever_was_decided(room: Room) -> None:
    def answered(number: int, at: float) -> Taken:
        mail = replace(a_mail(1), seed=f"seed/{number}")
        return taken(number, an_outcome(mail, sends=(a_reply(mail, window=100.0),), at=at), mail.opening)

    first, second = await room.spool.accept(a_page([answered(1, NOW), answered(2, NOW)]))
    assert (first.replied, second.replied) == (True, False)
    assert (await trails(room, second.entry_id))[0][-1] == [
        "auto_reply",
        "drop",
        "answered meanwhile, the effect is dropped",
    ]
    (within,) = await room.spool.accept(a_page([answered(3, NOW + 100)]))
    (back,) = await room.spool.accept(a_page([answered(4, NOW - 5000)]))  # a clock that jumped back
    (beyond,) = await room.spool.accept(a_page([answered(5, NOW + 101)]))
    assert [within.replied, back.replied, beyond.replied] == [False, False, True]
    assert (await the_account(room)).auto_replied == 2


async def test_a_line_without_ingest_still_takes_mail(room: Room) -> None:
    mail = a_mail()
    entry_id = await room.take(1, an_outcome(mail, facts=Facts(), sends=(a_reply(mail),)))
    assert (await room.row(entry_id))["conversation_id"] == 0
    assert await room.number("SELECT count(*) FROM conversation") == 0
    assert len(await room.spool.claim(1)) == 1


async def test_a_bounce_marks_what_it_speaks_about(room: Room) -> None:
    sent = await room.relay(7)
    bounce = Bounce(message_ids=("<7@example.org>",), recipients=(A,), action="failed")
    await room.take(
        1, an_outcome(a_mail(1), facts=Facts(kind=Kind.BOUNCE, conversation="k", bounce=bounce, answers=(sent,)))
    )
    assert (await room.row(sent))["mark"] == "bounced"
    unmatched = await room.take(
        2, an_outcome(a_mail(2), facts=Facts(kind=Kind.BOUNCE, conversation="l", bounce=bounce))
    )
    assert (await room.row(unmatched))["mark"] == "unmatched bounce"


async def test_a_delay_report_marks_nothing(room: Room) -> None:
    sent = await room.relay(7)
    bounce = Bounce(message_ids=(), recipients=(), action="delayed")
    await room.take(
        1, an_outcome(a_mail(1), facts=Facts(kind=Kind.BOUNCE, conversation="k", bounce=bounce, answers=(sent,)))
    )
    assert (await room.row(sent))["mark"] == ""


async def test_half_a_character_strands_no_page(room: Room) -> None:
    outcome = an_outcome(a_mail(1), Action.HOLD, cause=HoldCause.STAGE_FAILED, reason="a plug-in said \udcff")
    outcome = replace(outcome, trail=(("plugin", "hold", "said \ud800"),))
    entry_id = await room.take(1, outcome)
    assert (await room.row(entry_id))["reason"] == "a plug-in said ?"
    assert await trails(room, entry_id) == [[["plugin", "hold", "said ?"]]]


async def test_a_ring_group_that_is_gone_is_left_out(room: Room) -> None:
    await room.take(1, an_outcome(a_mail(), ring_groups=(1, 99)))
    assert await room.number("SELECT group_concat(ring_group_id) FROM assignment") == "1"


# -- taking a submission -----------------------------------------------------------------------------------------------


async def test_a_submission_waits_with_its_recipients(room: Room) -> None:
    entry_id = await room.relay(1, (A, B))
    row = await room.row(entry_id)
    assert (row["state"], row["origin"], row["due_at"], row["reason"]) == ("waiting", "relay", NOW, "")
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == (A, B)
    assert await room.content(entry_id) == a_content(1)
    assert (await the_account(room)).accepted == 1


@pytest.mark.parametrize("action", [each for each in Action if each is not Action.PASS])
async def test_only_what_came_through_its_line_is_sent(room: Room, action: Action) -> None:
    entry_id = await room.relay(1, action=action)
    row = await room.row(entry_id)
    assert row["state"] == "held" and row["cause"] and row["held_by"] == "test"
    assert await room.spool.claim(1) == []


async def test_splices_are_applied_while_reading(room: Room) -> None:
    data = a_content(1, body=b"x" * 600_000)
    mail = a_mail(1, direction=Direction.OUT, data=data)
    writer = ContentWriter(room.store)
    await writer.write(data)
    outcome = an_outcome(mail, splices=(Splice(0, 4, b"FROM"), Splice(len(data), 0, b"-- \r\n")))
    entry_id = await room.spool.submit(a_touchpoint(), outcome, await writer.finish(), [A])
    assert await room.content(entry_id) == b"FROM" + data[4:] + b"-- \r\n"
    row = await room.row(entry_id)
    assert b"".join([chunk async for chunk in room.spool.original(row["content_id"])]) == data


async def test_a_submission_opens_its_conversation(room: Room) -> None:
    await room.relay(1, (A,), conversation="key")
    assert await room.number(
        "SELECT group_concat(address) FROM (SELECT address FROM participant ORDER BY address)"
    ) == ("a@example.org,customer1@example.org")


# -- sending -----------------------------------------------------------------------------------------------------------


async def test_claims_are_in_commit_order_and_exclusive(room: Room) -> None:
    ids = [await room.relay(n) for n in range(1, 6)]
    first = await room.spool.claim(1, limit=3)
    second = await room.spool.claim(1)
    assert [each.row["id"] for each in (*first, *second)] == ids
    assert await room.spool.claim(1) == []
    assert (await the_account(room)).waiting_out == 5
    await room.spool.unclaim([ids[3], ids[1]])
    await room.spool.unclaim([])
    assert [each.row["id"] for each in await room.spool.claim(1)] == [ids[1], ids[3]]


async def test_only_due_mail_of_this_touchpoint_is_claimed(room: Room) -> None:
    entry_id = await room.relay()
    assert await room.spool.claim(2) == []
    room.clock.now = NOW - 1
    assert await room.spool.claim(1) == []
    assert await room.spool.next_due(1) == NOW
    room.clock.now = NOW
    assert [each.row["id"] for each in await room.spool.claim(1)] == [entry_id]
    assert await room.spool.next_due(1) is None


async def test_delivered(room: Room) -> None:
    entry_id = await room.relay(1, (A, B))
    settled = await attempt(room, a=DELIVERED, b=DELIVERED)
    assert settled == Settled(entry_id=entry_id, state=State.DONE)
    assert await stands(room, entry_id) == ("done", "delivered", "")
    row = await room.store.read(lambda tx: tx.one("SELECT phase, outcome, code, text, server FROM attempt"))
    assert row == {"phase": "answered", "outcome": "accepted", "code": 250, "text": OK.text, "server": OK.server}
    assert (await the_account(room)).delivered == 1
    assert (await room.row(entry_id))["sent_copy_due"] == 0


async def test_a_copy_is_filed_where_it_is_ours_to_file(room: Room) -> None:
    entry_id = await room.relay()
    (claimed,) = await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "")
    await room.spool.settle(entry_id, number, answers(a=DELIVERED), OK, 0.5, told, file_copy=True)
    assert (await room.row(entry_id))["sent_copy_due"] == 1
    assert claimed.recipients == (A,)


async def test_an_answered_4xx_waits_by_the_schedule(room: Room) -> None:
    entry_id = await room.relay()
    settled = await attempt(room, LATER, a=WAITING)
    assert (settled.state, settled.due_at, settled.reason) == (State.WAITING, NOW + 300, "451 later")
    row = await room.row(entry_id)
    assert (row["state"], row["due_at"], row["attempts"], row["planned"]) == ("waiting", NOW + 300, 1, 300.0)
    assert await room.spool.claim(1) == []
    room.clock.now = NOW + 300
    assert (await attempt(room, LATER, a=WAITING)).due_at == NOW + 900


async def test_due_times_only_move_forward(room: Room) -> None:
    entry_id = await room.relay()
    (claimed,) = await room.spool.claim(1)
    room.clock.now = NOW - 86400  # the clock was set back meanwhile
    await room.spool.settle(claimed.row["id"], 0, answers(a=WAITING), LATER, 0.5, told)
    assert (await room.row(entry_id))["due_at"] == NOW


async def test_each_recipient_has_a_result_of_its_own(room: Room) -> None:
    entry_id = await room.relay(1, (A, B, "c@example.org"))
    first = await attempt(room, LATER, a=DELIVERED, b=REFUSED, c=WAITING)
    assert (first.state, first.refused) == (State.WAITING, ())
    assert await room.number("SELECT count(*) FROM entry WHERE origin = 'notice'") == 0
    room.clock.now = NOW + 300
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == ("c@example.org",)
    last = await room.spool.settle(entry_id, 0, answers(c=REFUSED), NO, 0.5, told)
    assert (last.state, [each.address for each in last.refused]) == (State.DONE, [B, "c@example.org"])
    assert await stands(room, entry_id) == ("done", "delivered", "refused")
    assert await room.number("SELECT count(*) FROM entry WHERE origin = 'notice'") == 1  # one for both


async def test_who_has_it_is_never_asked_for_again(room: Room) -> None:
    entry_id = await room.relay(1, (A, B))
    await attempt(room, LATER, a=DELIVERED, b=WAITING)
    await room.spool.retry(entry_id, "desk")
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == (B,)
    settled = await room.spool.settle(entry_id, 0, answers(a=REFUSED, b=DELIVERED), OK, 0.5, told)  # confused
    assert settled == Settled(entry_id=entry_id, state=State.DONE)


async def test_refused_by_all_is_failed_with_one_notice(room: Room) -> None:
    entry_id = await room.relay(1, (A, B))
    settled = await attempt(room, NO, a=REFUSED, b=REFUSED)
    assert settled.state is State.FAILED
    assert await stands(room, entry_id) == ("failed", "", "refused")
    assert await room.number(f"SELECT count(*) FROM entry WHERE notice_for = {entry_id}") == 1
    notice_id = await room.number(f"SELECT id FROM entry WHERE notice_for = {entry_id}")
    assert await room.content(notice_id) == settled.reason.encode()
    row = await room.row(notice_id)
    stored = await room.number(f"SELECT sha256 FROM content WHERE id = {row['content_id']}")
    assert (row["size"], stored) == (len(settled.reason), hashlib.sha256(settled.reason.encode()).digest())

    await room.spool.retry(entry_id, "desk")
    assert (await room.spool.claim(1))[0].recipients == (A, B)
    again = await room.spool.settle(entry_id, 0, answers(a=REFUSED, b=REFUSED), NO, 0.5, told)
    assert again.state is State.FAILED
    assert await room.number(f"SELECT count(*) FROM entry WHERE notice_for = {entry_id}") == 1
    assert (await the_account(room)).failed == 1


async def test_a_notice_that_fails_tells_nobody(room: Room) -> None:
    await room.relay()
    await attempt(room, NO, a=REFUSED)
    (claimed,) = await room.spool.claim(1)
    assert claimed.recipients == ("admin@example.net",)
    answer = Answer(address="admin@example.net", state=REFUSED, code=550, text="no")
    await room.spool.settle(claimed.row["id"], 0, [answer], NO, 0.5, told)
    assert await room.number("SELECT count(*) FROM entry") == 2


async def test_nobody_is_told_where_nobody_is_to_be(room: Room) -> None:
    entry_id = await room.relay()
    await room.spool.claim(1)
    await room.spool.settle(entry_id, 0, answers(a=REFUSED), NO, 0.5, lambda row, settled: None)
    assert await room.number("SELECT count(*) FROM entry") == 1


async def test_given_up_when_the_planned_waits_are_five_days() -> None:
    async with a_room(Schedule(first=100.0, longest=100.0, give_up=250.0)) as room:
        entry_id = await room.relay()
        for number in (1, 2, 3):
            assert (await attempt(room, LATER, a=WAITING)).due_at == NOW + 100 * number
            room.clock.now += 100
        room.clock.now += 10_000_000  # an outage changes nothing
        settled = await attempt(room, LATER, a=WAITING)
        assert settled.state is State.FAILED
        assert "given up" in settled.reason and "451 later" in settled.reason
        assert await stands(room, entry_id) == ("failed", "", "gave-up")
        assert await room.number("SELECT count(*) FROM entry WHERE origin = 'notice'") == 1


async def test_silence_after_the_data_is_an_unknown_outcome(room: Room) -> None:
    entry_id = await room.relay()
    await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "mx")
    await room.spool.unknown(entry_id, number, SILENCE)
    assert await stands(room, entry_id) == ("unknown", "", "unknown-outcome")
    assert await room.number("SELECT phase FROM attempt") == "unknown"
    assert await room.spool.claim(1) == []


async def test_trouble_before_the_data_costs_nothing(room: Room) -> None:
    entry_id = await room.relay()
    before = await room.row(entry_id)
    await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "mx")
    await room.spool.withdraw(entry_id, number, LATER)
    assert await room.row(entry_id) == before
    assert await room.spool.recover([]) == (0, 0, 0)


async def test_what_cannot_be_handed_over_is_set_aside(room: Room) -> None:
    entry_id = await room.relay()
    await room.spool.claim(1)
    number = await room.spool.begin_attempt(entry_id, "mx")
    await room.spool.hold_active(entry_id, HoldCause.ENVELOPE, "header and envelope differ", number)
    assert await stands(room, entry_id) == ("held", "", "envelope")
    assert await room.number("SELECT count(*) FROM attempt WHERE phase = 'data'") == 0


async def test_only_a_mail_in_hand_is_tried_and_settled(room: Room) -> None:
    for state in set(State) - {State.ACTIVE}:
        entry_id = await put_into(room, state)
        before = await room.row(entry_id)
        with pytest.raises(Refused, match="in no lane's hand"):
            await room.spool.begin_attempt(entry_id, "mx")
        with pytest.raises(Refused, match="in no lane's hand"):
            await room.spool.settle(entry_id, 0, answers(a=DELIVERED), OK, 0.5, told)
        await room.spool.unclaim([entry_id])
        await room.spool.hold_active(entry_id, HoldCause.ENVELOPE, "no")
        assert await room.row(entry_id) == before
    assert await room.number("SELECT count(*) FROM attempt") == 0


async def test_half_a_character_in_an_answer_is_no_trouble(room: Room) -> None:
    entry_id = await room.relay()
    await room.spool.claim(1)
    odd = Answer(address=A, state=DELIVERED, code=250, text="queued as \udcff")
    await room.spool.settle(entry_id, 0, [odd], replace(OK, text="queued as \udcff"), 0.5, told)
    assert await room.number("SELECT text FROM attempt") == "queued as ?"
    assert await room.number("SELECT text FROM recipient") == "queued as ?"


# -- start-up ----------------------------------------------------------------------------------------------------------


async def test_recovery_after_a_death(room: Room) -> None:
    ids = [await room.relay(n) for n in (1, 2, 3)]
    await room.spool.claim(1, limit=2)
    await room.spool.begin_attempt(ids[1], "mx")
    orphan = ContentWriter(room.store)
    await orphan.write(b"x" * 300_000)
    hands = [InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=5, high=5, phase="walk")]
    assert await room.spool.recover(hands) == (1, 1, 1)
    assert [(await stands(room, each))[0] for each in ids] == ["waiting", "unknown", "waiting"]
    assert await stands(room, ids[1]) == ("unknown", "", "unknown-outcome")
    assert await room.number("SELECT count FROM strike") == 1
    assert await room.spool.recover([]) == (0, 0, 0)
    assert (await the_account(room)).lost == 0


# -- what people do ----------------------------------------------------------------------------------------------------

PLACES = [(state, "", direction) for state in State if state is not State.DONE for direction in Direction] + [
    (State.DONE, disposition, direction)
    for disposition, direction in (
        ("queued", Direction.IN),
        ("stopped", Direction.IN),
        ("delivered", Direction.OUT),
        ("dropped", Direction.IN),
        ("dropped", Direction.OUT),
    )
]
ALLOWED = {
    (Verb.RETRY, "failed", "out"), (Verb.RETRY, "waiting", "out"), (Verb.RETRY, "unknown", "out"),
    (Verb.HOLD, "waiting", "in"), (Verb.HOLD, "waiting", "out"), (Verb.HOLD, "queued", "in"),
    (Verb.RELEASE, "held", "in"), (Verb.RELEASE, "held", "out"),
    (Verb.DROP, "waiting", "in"), (Verb.DROP, "waiting", "out"), (Verb.DROP, "held", "in"),
    (Verb.DROP, "held", "out"), (Verb.DROP, "failed", "in"), (Verb.DROP, "failed", "out"),
    (Verb.DROP, "unknown", "in"), (Verb.DROP, "unknown", "out"), (Verb.CONFIRM, "unknown", "out"),
}  # fmt: skip


@pytest.mark.parametrize("verb", Verb)
async def test_verbs(room: Room, verb: Verb) -> None:
    act = getattr(room.spool, verb.value)
    for state, disposition, direction in PLACES:
        entry_id = await put_into(room, state, disposition, direction)
        before = await room.row(entry_id)
        place = disposition or state.value
        if (verb, place, direction.value) in ALLOWED:
            await act(entry_id, "desk")
            await check_done(room, verb, entry_id)
        else:
            with pytest.raises(Refused, match=f"mail {entry_id} is {place}.*{verb} is for mail that is"):
                await act(entry_id, "desk")
            assert await room.row(entry_id) == before


async def check_done(room: Room, verb: Verb, entry_id: int) -> None:
    row = await room.row(entry_id)
    assert row["state"] == VERBS[verb][1].value
    assert row["disposition"] == {Verb.DROP: "dropped", Verb.CONFIRM: "delivered"}.get(verb, "")
    if verb is Verb.HOLD:
        assert (row["cause"], row["reason"]) == ("by-person", "held by desk")
    if verb is Verb.RELEASE:
        assert row["released_by"] == "desk"


async def test_what_is_not_there_is_said(room: Room) -> None:
    for verb in (*Verb, "close", "reopen"):
        with pytest.raises(Refused, match="no mail 77"):
            await getattr(room.spool, str(verb))(77, "desk")


async def test_a_queued_mail_is_closed_and_reopened(room: Room) -> None:
    entry_id = await room.take()
    await room.spool.close(entry_id, "desk")
    assert (await room.row(entry_id))["closed"] == 1
    with pytest.raises(Refused, match="queued, closed"):
        await room.spool.close(entry_id, "desk")
    await room.spool.reopen(entry_id, "desk")
    assert (await room.row(entry_id))["closed"] == 0
    with pytest.raises(Refused):
        await room.spool.close(await room.relay(), "desk")


async def test_a_retry_starts_the_planned_waits_anew(room: Room) -> None:
    entry_id = await room.relay()
    await attempt(room, LATER, a=WAITING)
    room.clock.now = NOW + 10
    await room.spool.retry(entry_id, "desk")
    row = await room.row(entry_id)
    assert (row["due_at"], row["planned"]) == (NOW + 10, 0.0)


async def test_a_dropped_mail_keeps_its_content(room: Room) -> None:
    entry_id = await room.relay()
    await room.spool.drop(entry_id, "desk")
    assert await room.content(entry_id) == a_content(1)
    assert await room.spool.recover([]) == (0, 0, 0)
    assert (await the_account(room)).dropped_out == 1


# -- walked again ------------------------------------------------------------------------------------------------------


async def test_a_released_mail_is_decided_anew(room: Room) -> None:
    mail = a_mail()
    entry_id = await room.take(1, an_outcome(mail, Action.HOLD, cause=HoldCause.BLOCKED))
    hand = InHand(touchpoint_id=1, folder="", epoch=0, low=entry_id, high=entry_id, phase="walk")
    await room.store.write(lambda tx: strikes.strike(tx, [hand], NOW))
    await room.spool.release(entry_id, "desk")
    assert (await room.row(entry_id))["held_by"] == "test"  # so the walk knows who is silenced
    outcome = an_outcome(mail, ring_groups=(1,), sends=(a_reply(mail),))
    accepted = await room.spool.redecide(entry_id, a_touchpoint(), outcome)
    assert accepted is not None and accepted.replied
    assert await stands(room, entry_id) == ("done", "queued", "")
    assert await room.number("SELECT count(*) FROM assignment") == 1
    assert await room.number("SELECT count(*) FROM strike") == 0
    assert len(await trails(room, entry_id)) == 2
    assert (await the_account(room)).as_dict()["lost"] == 0
    assert await room.spool.redecide(entry_id, a_touchpoint(), outcome) is None


async def test_the_effects_of_a_mail_happen_once(room: Room) -> None:
    mail = a_mail()
    first = an_outcome(mail, ring_groups=(1,), sends=(a_reply(mail, window=10.0),), conversation="first")
    entry_id = await room.take(1, first)
    conversation = (await room.row(entry_id))["conversation_id"]
    await room.spool.hold(entry_id, "desk")
    await room.spool.release(entry_id, "desk")
    later = an_outcome(mail, ring_groups=(2,), sends=(a_reply(mail, window=10.0),), conversation="other", at=NOW + 999)
    accepted = await room.spool.redecide(entry_id, a_touchpoint(), later)
    assert accepted is not None and not accepted.replied
    assert await stands(room, entry_id) == ("done", "queued", "")
    assert await room.number("SELECT group_concat(ring_group_id) FROM assignment") == "1"
    assert (await room.row(entry_id))["conversation_id"] == conversation
    assert (await the_account(room)).auto_replied == 1
    assert len(await trails(room, entry_id)) == 2


async def test_how_long_a_mail_is_deferred_is_counted_from_the_first_time(room: Room) -> None:
    mail = a_mail()
    entry_id = await room.take(1, an_outcome(mail, Action.DEFER))
    await room.spool.redecide(entry_id, a_touchpoint(), an_outcome(mail, Action.DEFER, at=NOW + 300))
    row = await room.row(entry_id)
    assert (row["state"], row["deferred_since"], row["due_at"]) == ("waiting", NOW, NOW + 600)
    await room.spool.redecide(entry_id, a_touchpoint(), an_outcome(mail, at=NOW + 600))
    assert (await room.row(entry_id))["deferred_since"] == 0.0


async def released(room: Room) -> tuple[int, Any]:
    """An outbound mail that was held, released and claimed."""
    mail = a_mail(1, direction=Direction.OUT)
    entry_id = await room.relay(1, action=Action.HOLD, cause=HoldCause.BLOCKED)
    await room.spool.release(entry_id, "desk")
    (claimed,) = await room.spool.claim(1)
    assert (claimed.row["held_by"], claimed.row["released_by"]) == ("test", "desk")
    return entry_id, mail


async def test_a_released_submission_goes_on_as_it_was_walked(room: Room) -> None:
    entry_id, mail = await released(room)
    outcome = an_outcome(mail, splices=(Splice(0, 0, b"X: y\r\n"),), conversation="key")
    await room.spool.resubmit(entry_id, a_touchpoint(), outcome)
    row = await room.row(entry_id)
    assert (row["state"], row["held_by"], row["cause"]) == ("active", "", "")
    assert row["conversation_id"] != 0
    assert await room.content(entry_id) == b"X: y\r\n" + a_content(1)
    assert len(await trails(room, entry_id)) == 2


@pytest.mark.parametrize("action", [Action.HOLD, Action.REJECT, Action.STOP])
async def test_a_released_submission_that_does_not_pass_is_held_again(room: Room, action: Action) -> None:
    entry_id, mail = await released(room)
    await room.spool.resubmit(entry_id, a_touchpoint(), an_outcome(mail, action, stage="other"))
    row = await room.row(entry_id)
    assert (row["state"], row["held_by"]) == ("held", "test other")
    assert row["cause"]


async def test_a_released_submission_that_is_deferred_walks_again(room: Room) -> None:
    entry_id, mail = await released(room)
    await room.spool.resubmit(entry_id, a_touchpoint(), an_outcome(mail, Action.DEFER))
    row = await room.row(entry_id)
    assert (row["state"], row["due_at"]) == ("waiting", NOW + 300)
    assert (row["held_by"], row["released_by"]) == ("test", "desk")


async def test_a_person_may_hold_again_what_was_released(room: Room) -> None:
    entry_id = await room.relay(1, action=Action.HOLD, cause=HoldCause.BLOCKED)
    await room.spool.release(entry_id, "desk")
    await room.spool.hold(entry_id, "shop")
    await room.spool.release(entry_id, "shop")
    row = await room.row(entry_id)
    assert (row["held_by"], row["released_by"]) == ("test", "shop")  # never sent without its walk


async def test_only_a_lane_walks_a_submission_again(room: Room) -> None:
    entry_id = await room.relay()
    with pytest.raises(Refused, match="in no lane's hand"):
        await room.spool.resubmit(entry_id, a_touchpoint(), an_outcome(a_mail(1, direction=Direction.OUT)))


# -- the account -------------------------------------------------------------------------------------------------------


async def test_parked_is_what_waits_where_nothing_moves(room: Room) -> None:
    await room.relay(1)
    await room.relay(2)
    await room.spool.claim(1, limit=1)
    here, there = await the_account(room, [1]), await the_account(room, [])
    assert (here.waiting_out, here.parked, here.lost) == (2, 0, 0)
    assert (there.waiting_out, there.parked, there.lost) == (0, 2, 0)


async def test_a_difference_shows(room: Room) -> None:
    entry_id = await room.take()
    await room.relay()
    await room.store.write(lambda tx: tx.run("UPDATE counter SET value = value + 1 WHERE name = 'accepted'"))
    assert (await the_account(room)).lost == 1
    await room.store.write(lambda tx: tx.run(f"UPDATE entry SET state = 'limbo' WHERE id = {entry_id}"))
    assert (await the_account(room)).lost == 2

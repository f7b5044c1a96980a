"""A person moves a mail between queues: exactly there, once, written down, and nothing else of the mail changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway.control import CloseMail, HoldMail, ListMail, ListRingGroups, MoveMail, ReleaseMail, Role
from gateway.events import MailFact
from pipeline.account import account
from pipeline.entry import Disposition, State
from pipeline.errors import Refused
from pipeline.mail import Direction
from pipeline.verdict import Action, HoldCause
from tests.unit.desking import Office, an_office, caller
from tests.unit.making import Room, a_mail, a_reply, a_room, a_touchpoint, an_outcome

FROZEN = ("entry", "walk", "answered", "conversation", "participant", "counter", "recipient", "ledger")


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with a_room() as made:
        yield made


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


async def queued(room: Room, *groups: int, number: int = 1) -> int:
    mail = a_mail(number)
    return await room.take(number, an_outcome(mail, ring_groups=groups, sends=(a_reply(mail),)))


async def queues(room: Room, entry_id: int) -> str:
    return str(
        await room.number(
            "SELECT coalesce(group_concat(name), '') FROM (SELECT g.name FROM assignment AS a"
            f" JOIN ring_group AS g ON g.id = a.ring_group_id WHERE a.entry_id = {entry_id} ORDER BY g.name)"
        )
    )


async def everything(room: Room) -> dict[str, list[Any]]:
    """All that a move must not touch."""
    return {name: await room.store.read(lambda tx, name=name: tx.all(f"SELECT * FROM {name}")) for name in FROZEN}  # type: ignore[misc]


# -- The spool -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "wanted", "after", "moved"),
    [
        ((1,), ("second",), "second", True),
        ((1,), ("first", "second"), "first,second", True),
        ((1, 2), ("second",), "second", True),
        ((), ("first",), "first", True),
        ((1, 2), (), "", True),
        ((1,), (" second ", "second"), "second", True),
        ((1, 2), ("second", "first", "second"), "first,second", False),
        ((), (), "", False),
    ],
)
async def test_a_mail_is_in_exactly_the_queues_that_were_named(
    room: Room, before: tuple[int, ...], wanted: tuple[str, ...], after: str, moved: bool
) -> None:
    number, other = await queued(room, *before), await queued(room, 1, 2, number=2)
    kept, told = await everything(room), list[Any]()
    assert await room.spool.move(number, wanted, lambda tx, was, now: told.append((was, now))) is moved
    assert await queues(room, number) == after
    assert await queues(room, other) == "first,second"
    names = tuple(("first", "second")[group - 1] for group in before)
    assert told == ([(names, tuple(filter(None, after.split(","))))] if moved else [])
    assert await everything(room) == kept


async def test_a_move_and_its_way_back_leave_the_account_as_it_was(room: Room) -> None:
    number = await queued(room, 1)
    before = await room.store.read(lambda tx: account(tx, [1]))
    for wanted in ((), ("second",), ("first",)):
        await room.spool.move(number, wanted)
        assert await room.store.read(lambda tx: account(tx, [1])) == before
    assert (before.lost, before.queued, before.auto_replied) == (0, 1, 1)


@pytest.mark.parametrize(
    ("state", "disposition", "direction", "words"),
    [
        (State.DONE, Disposition.STOPPED, Direction.IN, "is stopped: only mail in a queue can be moved"),
        (State.DONE, Disposition.DROPPED, Direction.IN, "is dropped"),
        (State.HELD, "", Direction.IN, "is held"),
        (State.WAITING, "", Direction.IN, "is waiting"),
        (State.WAITING, "", Direction.OUT, "is waiting"),
        (State.DONE, Disposition.DELIVERED, Direction.OUT, "is delivered"),
    ],
)
async def test_only_mail_in_a_queue_is_moved(
    room: Room, state: State, disposition: str, direction: Direction, words: str
) -> None:
    number = await queued(room, 1) if direction is Direction.IN else await room.relay()
    values = {"id": number, "state": state.value, "disposition": str(disposition)}
    sql = "UPDATE entry SET state = :state, disposition = :disposition WHERE id = :id"
    await room.store.write(lambda tx: tx.run(sql, values))
    before = await queues(room, number)
    with pytest.raises(Refused, match=f"mail {number} {words}"):
        await room.spool.move(number, ("second",))
    assert await queues(room, number) == before


async def test_what_is_refused_changes_nothing_and_says_what_to_do(room: Room) -> None:
    number = await queued(room, 1)
    with pytest.raises(Refused, match="no ring group named 'third'"):
        await room.spool.move(number, ("second", "third"))
    with pytest.raises(Refused, match="there is no mail 99"):
        await room.spool.move(99, ("second",))
    await room.spool.close(number, "desk")
    with pytest.raises(Refused, match=f"is closed; reopen it first: postroom queue reopen {number}"):
        await room.spool.move(number, ("second",))
    assert await queues(room, number) == "first"


async def test_a_move_that_cannot_be_written_down_does_not_happen(room: Room) -> None:
    number = await queued(room, 1)

    def fails(*_: object) -> None:
        raise Refused("no")

    with pytest.raises(Refused, match="no"):
        await room.spool.move(number, ("second",), fails)
    assert await queues(room, number) == "first"


async def test_a_moved_mail_that_is_held_and_released_comes_back_to_where_it_was_moved(room: Room) -> None:
    number = await queued(room, 1)
    await room.spool.move(number, ("second",))
    await room.spool.hold(number, "desk")
    await room.spool.release(number, "desk")
    await room.spool.redecide(number, a_touchpoint(), an_outcome(a_mail(1), ring_groups=(1,)))
    assert await queues(room, number) == "second"
    assert await room.number("SELECT open FROM assignment") == 1


@given(
    st.lists(
        st.one_of(
            st.sets(st.sampled_from(["first", "second"])), st.sampled_from(["close", "reopen", "hold", "release"])
        ),
        max_size=12,
    )
)
async def test_whatever_people_do_a_mail_is_where_they_put_it_last(acts: list[set[str] | str]) -> None:
    async with a_room() as room:
        number, there = await queued(room, 1), {"first"}
        for act in acts:
            try:
                if isinstance(act, str):
                    await getattr(room.spool, act)(number, "desk")
                    if act == "release":
                        await room.spool.redecide(number, a_touchpoint(), an_outcome(a_mail(1), ring_groups=(1, 2)))
                else:
                    await room.spool.move(number, tuple(act))
                    there = act
            except Refused:
                pass
            assert await queues(room, number) == ",".join(sorted(there))
            row = await room.row(number)
            is_open = row["disposition"] == "queued" and not row["closed"]
            assert await room.number(f"SELECT count(*) FROM assignment WHERE open = {is_open:d}") == len(there)
            assert (await room.store.read(lambda tx: account(tx, [1]))).lost == 0
            assert await room.number("SELECT count(*) FROM answered") == 1


# -- The desk ------------------------------------------------------------------------------------------------------


async def audit(office: Office) -> list[tuple[str, str, Any]]:
    rows = await office.room.store.read(lambda tx: tx.all("SELECT * FROM audit ORDER BY id"))
    return [(row["verb"], row["subject"], json.loads(row["detail"])) for row in rows]


def facts(office: Office) -> list[MailFact]:
    return [fact for fact in office.events.since("boot", 0) or [] if isinstance(fact, MailFact)]


async def test_a_move_is_told_and_written_down(office: Office) -> None:
    number = await queued(office.room, 1)
    row = await office.desk.answer(MoveMail(id=number, ring_groups=("second", "first")), caller(Role.OPS))
    assert (row.state, row.queues) == ("queued", ("first", "second"))
    row = await office.desk.answer(MoveMail(id=number, ring_groups=()), caller(Role.OPS))
    assert row.queues == ()
    assert await audit(office) == [
        ("mail.move", f"mail {number}", {"from": ["first"], "to": ["first", "second"]}),
        ("mail.move", f"mail {number}", {"from": ["first", "second"], "to": []}),
    ]
    assert [(fact.what.value, fact.id, fact.words) for fact in facts(office)] == [
        ("mail.changed", number, "mail.move by somebody")
    ] * 2


async def test_where_it_is_already_nothing_happens(office: Office) -> None:
    number = await queued(office.room, 1)
    row = await office.desk.answer(MoveMail(id=number, ring_groups=("first",)), caller(Role.OPS))
    assert row.queues == ("first",)
    assert (await audit(office), facts(office)) == ([], [])


async def test_an_agent_moves_what_is_in_a_queue_and_knows_of_nothing_else(office: Office) -> None:
    agent = caller(Role.AGENT)
    number = await queued(office.room, 1)
    held = await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    assert (await office.desk.answer(MoveMail(id=number, ring_groups=("second",)), agent)).queues == ("second",)
    with pytest.raises(Refused, match=f"no mail {held} in a queue"):
        await office.desk.answer(MoveMail(id=held, ring_groups=("second",)), agent)


async def test_the_lists_follow_a_mail_through_its_life(office: Office) -> None:
    ops, desk = caller(Role.OPS), office.desk
    number = await queued(office.room, 1)

    async def seen() -> tuple[list[str], list[int]]:
        """In which queues it is open, and how many open mails each ring group has."""
        names = ("first", "second")
        pages = [await desk.answer(ListMail(state="open", ring_group=name), ops) for name in names]
        groups = (await desk.answer(ListRingGroups(), ops)).rows
        return [name for name, page in zip(names, pages, strict=True) if page.rows], [each.open for each in groups]

    assert await seen() == (["first"], [1, 0])
    await desk.answer(MoveMail(id=number, ring_groups=("second",)), ops)
    assert await seen() == (["second"], [0, 1])
    await desk.answer(HoldMail(id=number), ops)
    assert await seen() == ([], [0, 0])
    await desk.answer(ReleaseMail(id=number), ops)
    await office.room.spool.redecide(number, a_touchpoint(), an_outcome(a_mail(1)))
    assert await seen() == (["second"], [0, 1])
    await desk.answer(CloseMail(id=number), ops)
    assert await seen() == ([], [0, 0])
    closed = await desk.answer(ListMail(state="closed", ring_group="second"), ops)
    assert [row.id for row in closed.rows] == [number]

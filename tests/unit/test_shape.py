"""The shape of the outbox: who waits where and for how long, counted per mail, and read in short slices."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway import shapes
from gateway.control import Role, Shape, ShapeOutbox
from gateway.shapes import BOUNDS
from pipeline import directory, touchpoints
from pipeline.errors import Refused
from pipeline.lifecycle import ConnectionState
from pipeline.mail import Direction
from pipeline.touchpoint import DirectionType
from tests.unit.desking import HOST, Office, an_office, caller
from tests.unit.making import NOW, OURS, Room, a_mail, a_room, a_touchpoint, an_outcome

AUDIT = caller(Role.AUDIT)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


async def second_touchpoint(office: Office, address: str = "sales@post.example") -> None:
    def work(tx: Any) -> None:
        touchpoints.create(tx, address=address, name="Sales", direction=DirectionType.BOTH, now=NOW)

    await office.room.store.write(work)
    await office.house.directory_changed(None)


async def put(room: Room, number: int, *recipients: str, age: float = 0.0, **columns: Any) -> int:
    """An outbound mail that was accepted ``age`` seconds ago, with these columns."""
    entry_id = await room.relay(number, recipients or ("a@example.org",))
    values = {"accepted_at": NOW - age, **columns}
    sql = f"UPDATE entry SET {', '.join(f'{name} = :{name}' for name in values)} WHERE id = :id"
    await room.store.write(lambda tx: tx.run(sql, {**values, "id": entry_id}))
    return entry_id


async def shape(office: Office, **asked: str) -> Shape:
    found: Shape = await office.desk.answer(ShapeOutbox(**asked), AUDIT)
    return found


def totals(found: Shape) -> dict[str, int]:
    return {row.name: row.total for row in found.rows}


async def test_a_column_holds_what_is_younger_than_its_bound(office: Office) -> None:
    edges = (-60.0, 0.0, *(60.0 * minutes for minutes in BOUNDS))
    for number, age in enumerate(edges, 1):
        await put(office.room, number, age=age)
    await put(office.room, 50, age=60 * 5 - 0.5)
    (row,) = (await shape(office)).rows
    assert row.ages == (3, 1, 1, 1, 1, 1, 1, 1, 1, 1)  # a clock that was set back makes nothing older
    assert row.total == sum(row.ages) == len(edges) + 1
    assert (await shape(office)).bounds == BOUNDS


async def test_a_mail_counts_once_for_each_domain_that_still_waits_for_it(office: Office) -> None:
    room = office.room
    await put(room, 1, "a@one.example", "b@one.example", "c@TWO.example")
    await put(room, 2, '"a@b"@one.example')
    third = await put(room, 3, "a@one.example", "b@three.example")
    sql = "UPDATE recipient SET state = :state WHERE entry_id = :id AND number = :number"
    for number, state in enumerate(("delivered", "refused")):
        values = {"id": third, "state": state, "number": number}
        await room.store.write(lambda tx, values=values: tx.run(sql, values))  # type: ignore[misc]
    assert totals(await shape(office)) == {"one.example": 2, "two.example": 1}
    assert totals(await shape(office, by="touchpoint")) == {OURS: 3}


@pytest.mark.parametrize(
    ("state", "disposition", "counted", "parked"),
    [
        ("waiting", "", 1, 1),
        ("active", "", 1, 1),
        ("unknown", "", 1, 0),
        ("held", "", 0, 0),
        ("failed", "", 0, 0),
        ("done", "delivered", 0, 0),
        ("done", "dropped", 0, 0),
    ],
)
async def test_what_still_has_to_go_out_is_counted(
    office: Office, state: str, disposition: str, counted: int, parked: int
) -> None:
    await put(office.room, 1, state=state, disposition=disposition)
    for by in ("destination", "touchpoint"):
        rows = (await shape(office, by=by)).rows
        assert (sum(row.total for row in rows), sum(row.parked for row in rows)) == (counted, parked)
    office.house.states[1] = ConnectionState.CONNECTED
    assert sum(row.parked for row in (await shape(office)).rows) == 0


async def test_inbound_mail_has_no_shape(office: Office) -> None:
    number = await office.room.take(1)
    sql = "UPDATE entry SET state = 'waiting', disposition = '' WHERE id = :id"
    await office.room.store.write(lambda tx: tx.run(sql, {"id": number}))
    assert await shape(office) == Shape(bounds=BOUNDS, rows=(), more=0)


async def test_of_one_touchpoint(office: Office) -> None:
    await second_touchpoint(office)
    await put(office.room, 1, "a@one.example")
    await put(office.room, 2, "a@two.example", touchpoint_id=2)
    office.house.states[1] = ConnectionState.CONNECTED
    assert totals(await shape(office, touchpoint="sales@post.example")) == {"two.example": 1}
    assert totals(await shape(office, touchpoint="sales@post.example", by="touchpoint")) == {"sales@post.example": 1}
    by_touchpoint = (await shape(office, by="touchpoint")).rows
    assert [(row.name, row.parked) for row in by_touchpoint] == [("sales@post.example", 1), (OURS, 0)]


async def test_the_fullest_come_first_and_the_rest_is_a_number(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MOST_ROWS", 2)
    for number, name in enumerate(("b", "a", "c", "c", "d"), 1):
        await put(office.room, number, f"x@{name}.example")
    found = await shape(office)
    assert (totals(found), found.more) == ({"c.example": 2, "a.example": 1}, 2)
    assert [row.name for row in found.rows] == ["c.example", "a.example"]


async def test_what_there_is_no_shape_of_is_refused(office: Office) -> None:
    with pytest.raises(Refused, match="there are: destination, touchpoint"):
        await shape(office, by="colour")
    with pytest.raises(Refused, match="no touchpoint"):
        await shape(office, touchpoint="nobody@example.org")


MAILS = st.lists(
    st.tuples(
        st.sampled_from(["waiting", "waiting", "active", "unknown", "held"]),
        st.integers(0, 90_000),
        st.lists(st.sampled_from(["a@x.example", "b@x.example", "a@y.example", "a@z.example"]), min_size=1, max_size=4),
    ),
    max_size=12,
)


@given(MAILS, st.integers(1, 5))
async def test_slices_add_up_to_the_whole(mails: list[tuple[str, int, list[str]]], size: int) -> None:
    wanted: dict[str, list[int]] = {}
    async with a_room() as room:
        await room.store.write(lambda tx: directory.first_start(tx, bytes(range(48))))
        for number, (state, age, recipients) in enumerate(mails, 1):
            await put(room, number, *recipients, age=age, state=state)
            if state != "held":
                column = sum(age >= 60 * minutes for minutes in BOUNDS)
                for domain in {address.partition("@")[2] for address in recipients}:
                    wanted.setdefault(domain, [0] * 10)[column] += 1
        known = await room.store.read(lambda tx: directory.load(tx, HOST))
        scene = shapes.Scene(directory=known, state_of=lambda _: ConnectionState.NEW, sends=lambda _: True)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(shapes, "SLICE", size)
            found = await shapes.shape(room.store, scene, "", "destination", NOW)
    assert {row.name: list(row.ages) for row in found.rows} == wanted
    assert all(row.parked == 0 for row in found.rows)


@pytest.mark.parametrize("by", ["destination", "touchpoint"])
async def test_a_slice_reads_its_own_mail_only(office: Office, by: str) -> None:
    """What is delivered costs nothing, and neither does what waits behind the slice."""
    await office.room.relay(1, ("a@example.org",))
    params = {"now": NOW, "moving": "[]", "touchpoint": 0, "state": "waiting", "after": 0, "last": 20, "size": 9}
    select, join = shapes._WHAT[by]
    sql = shapes._SLICE.format(select=select, join=join, age=shapes._AGE)
    connection = sqlite3.connect(office.room.store.path)
    plans = [
        [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {each}", params)] for each in (sql, shapes._END)
    ]
    connection.close()
    assert plans[0][0].endswith("entry_state (state=? AND disposition=? AND id>? AND id<?)")
    assert plans[0][1].startswith("SEARCH")
    assert plans[1] == ["SEARCH entry USING COVERING INDEX entry_state (state=? AND disposition=? AND id>?)"]


async def test_a_relayed_mail_is_seen_with_its_own_time(office: Office) -> None:
    mail = a_mail(1, direction=Direction.OUT, recipients=("a@example.org",))
    outcome = an_outcome(mail, at=NOW - 601)
    await office.room.spool.submit(a_touchpoint(), outcome, mail.opening, ("a@example.org",))
    (row,) = (await shape(office)).rows
    assert row.ages[2] == 1

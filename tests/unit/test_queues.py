"""Lists of queues and blocklists: the right rows in windows, from an index and not through all mail there is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway import views
from gateway.control import Block, DeleteTouchpoint, ListBlocklist, ListMail, ListRingGroups, Page, Role
from pipeline import touchpoints
from pipeline.errors import Refused
from pipeline.store import Tx
from pipeline.store.sqlite import SqliteTx
from pipeline.touchpoint import DirectionType
from tests.unit.desking import Office, an_office, caller
from tests.unit.making import NOW, OURS, a_mail, an_outcome

T = TypeVar("T")
ADMIN = caller(Role.ADMIN)
SALES = "sales@post.example"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


async def fill(office: Office, count: int, *, ring_group: int, closed: bool = False, touchpoint: int = 1) -> None:
    """Queued mail, as many rows as are wanted at once."""
    values = {"count": count, "group": ring_group, "closed": int(closed), "touchpoint": touchpoint, "now": NOW}

    def work(tx: Tx) -> None:
        first = (tx.one("SELECT coalesce(max(id), 0) AS id FROM entry") or {})["id"]
        tx.run(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
            " INSERT INTO entry (touchpoint_id, direction, origin, state, disposition, accepted_at)"
            " SELECT :touchpoint, 'in', 'fetched', 'done', 'queued', :now + i FROM n",
            values,
        )
        at = {**values, "first": first}
        if ring_group:
            tx.run(
                "INSERT INTO assignment (ring_group_id, entry_id) SELECT :group, id FROM entry WHERE id > :first", at
            )
        tx.run("UPDATE entry SET closed = :closed WHERE id > :first", at)

    await office.room.store.write(work)


def steps(office: Office, work: Callable[[Tx], T]) -> tuple[T, int]:
    """What a read answers, and the steps that the database's machine takes for it."""
    connection = sqlite3.connect(office.room.store.path)
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 100
        return 0

    connection.set_progress_handler(count, 100)
    try:
        return work(SqliteTx(connection)), taken
    finally:
        connection.close()


QUESTIONS: dict[str, dict[str, Any]] = {
    "a queue": {"state": "open", "ring_group": "first"},
    "a queue with little in it": {"state": "open", "ring_group": "second"},
    "a later window of a queue": {"state": "open", "ring_group": "first", "after": 5000},
    "a queue with its closed mail": {"state": "queued", "ring_group": "first"},
    "the closed mail of a queue": {"state": "closed", "ring_group": "second"},
    "all open mail": {"state": "open"},
    "the open mail of a touchpoint": {"state": "open", "touchpoint": OURS},
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_window_costs_the_same_however_much_mail_there_is(office: Office, question: dict[str, Any]) -> None:
    """A queue that is full, one that is nearly empty behind a long history, and other mail in front of both."""
    await fill(office, 7, ring_group=2)
    await fill(office, 4000, ring_group=2, closed=True)
    await fill(office, 4000, ring_group=1)
    await fill(office, 4000, ring_group=0, closed=True)
    scene = office.desk._parts.scene
    asked = ListMail(**question, limit=100)
    page, taken = steps(office, lambda tx: views.mails(tx, scene, asked))
    assert len(page.rows) == (7 if question == QUESTIONS["a queue with little in it"] else 100)
    assert taken < 15_000  # to walk through 4,000 mails takes more than 30,000


async def test_the_sizes_of_queues_cost_what_is_open(office: Office) -> None:
    await fill(office, 9, ring_group=2)
    await fill(office, 6000, ring_group=2, closed=True)
    known = office.house.directory
    page, taken = steps(office, lambda tx: views.ring_groups(tx, known, 0, 100))
    assert [(row.name, row.open, row.oldest_at) for row in page.rows] == [("first", 0, 0.0), ("second", 9, NOW + 1)]
    assert taken < 3_000


async def test_windows_of_a_queue_join_without_gap_or_double(office: Office) -> None:
    both = [await office.room.take(number, an_outcome(a_mail(number), ring_groups=(1, 2))) for number in range(1, 8)]
    await office.room.take(9, an_outcome(a_mail(9), ring_groups=(2,)))
    await office.room.spool.close(both[3], "desk")
    for state, expected in (("open", [n for n in both if n != both[3]]), ("queued", both), ("closed", [both[3]])):
        seen: list[int] = []
        after = 0
        while True:
            asked = ListMail(state=state, ring_group="first", after=after, limit=2)
            page: Page[Any] = await office.desk.answer(asked, ADMIN)
            seen += [row.id for row in page.rows]
            if not (after := page.next):
                break
        assert seen == expected[::-1]


async def test_filters_beside_the_queue_hold(office: Office) -> None:
    number = await office.room.take(1, an_outcome(a_mail(1), ring_groups=(1,)))
    await office.room.take(2, an_outcome(a_mail(2), ring_groups=(1,)))

    async def ids(**filters: Any) -> list[int]:
        page = await office.desk.answer(ListMail(ring_group="first", **filters), ADMIN)
        return [row.id for row in page.rows]

    assert await ids(subject="question 1", state="open") == [number]
    assert await ids(author="customer1@example.org", touchpoint=OURS) == [number]
    assert await ids(unassigned=True) == await ids(direction="out") == await ids(state="held") == []


async def test_the_oldest_of_a_queue_is_the_oldest_that_is_open(office: Office) -> None:
    ids = [
        await office.room.take(number, an_outcome(a_mail(number), ring_groups=(1,), at=NOW + number))
        for number in (1, 2, 3)
    ]

    async def oldest() -> list[float]:
        return [row.oldest_at for row in (await office.desk.answer(ListRingGroups(), ADMIN)).rows]

    assert await oldest() == [NOW + 1, 0.0]
    await office.room.spool.close(ids[0], "desk")
    assert await oldest() == [NOW + 2, 0.0]
    await office.room.spool.reopen(ids[0], "desk")
    assert await oldest() == [NOW + 1, 0.0]


# -- Blocklists ----------------------------------------------------------------------------------------------------


async def blocked(office: Office, **asked: Any) -> list[tuple[str, str]]:
    page = await office.desk.answer(ListBlocklist(**asked), ADMIN)
    return [(row.touchpoint, row.pattern) for row in page.rows]


@pytest.fixture
async def listed(office: Office) -> Office:
    """Two touchpoints, with three entries on their blocklists."""

    def work(tx: Tx) -> None:
        touchpoints.create(tx, address=SALES, name="Sales", direction=DirectionType.BOTH, now=NOW)

    await office.room.store.write(work)
    await office.house.directory_changed(None)
    for touchpoint, pattern, note in (
        (OURS, "@pest.example", "asked 50% twice"),
        (SALES, "@pest.example", ""),
        (OURS, "robot_1@shop.example", ""),
    ):
        await office.desk.answer(Block(touchpoint=touchpoint, pattern=pattern, note=note), ADMIN)
    return office


async def test_one_blocklist_or_all_of_them(listed: Office) -> None:
    assert await blocked(listed, touchpoint=OURS) == [(OURS, "@pest.example"), (OURS, "robot_1@shop.example")]
    everything = [(OURS, "@pest.example"), (SALES, "@pest.example"), (OURS, "robot_1@shop.example")]
    assert await blocked(listed) == everything
    with pytest.raises(Refused, match="no touchpoint"):
        await blocked(listed, touchpoint="nobody@example.org")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PEST", [(OURS, "@pest.example"), (SALES, "@pest.example")]),
        ("twice", [(OURS, "@pest.example")]),
        ("50%", [(OURS, "@pest.example")]),
        ("t_1@", [(OURS, "robot_1@shop.example")]),
        ("t_2", []),
        ("5%t", []),
        ("nobody", []),
    ],
)
async def test_entries_are_found_by_pattern_and_note(
    listed: Office, text: str, expected: list[tuple[str, str]]
) -> None:
    assert await blocked(listed, text=text) == expected


async def test_windows_over_all_blocklists(listed: Office) -> None:
    first = await listed.desk.answer(ListBlocklist(limit=2), ADMIN)
    second = await listed.desk.answer(ListBlocklist(limit=2, after=first.next), ADMIN)
    assert [row.touchpoint for row in (*first.rows, *second.rows)] == [OURS, SALES, OURS]
    assert second.next == 0


async def test_the_blocklist_of_a_deleted_touchpoint_is_gone_from_the_list(listed: Office) -> None:
    await listed.desk.answer(DeleteTouchpoint(touchpoint=SALES), ADMIN)
    assert await blocked(listed, text="pest") == [(OURS, "@pest.example")]

"""The proof: in a house where all is well nothing is missing, and each kind of damage is found, counted and named."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pipeline import entry, ledger, proof
from pipeline.cursor import FolderCursor, epoch_after
from pipeline.entry import Born, Origin, State
from pipeline.errors import CursorLost, PostroomError
from pipeline.ledger import Item, ItemState, RangeKind
from pipeline.losses import Loss
from pipeline.mail import Direction
from pipeline.outbox import Answer, RecipientState, Said
from pipeline.proof import Books, Marks, Scope, Tally, _Sweep
from pipeline.spool import Notice
from pipeline.store import Tx, content
from pipeline.verdict import Action
from tests.unit.making import NOW, Room, a_mail, a_page, a_reply, a_room, an_outcome, taken

EPOCH = 1
CURSOR = "1:1:40"
LISTED = (*range(1, 6), *range(11, 17), 20, 21, 30, 31, 41, 42, 43)
"""What the server has: 1-5 older, 11-16 and 20 taken, 21 pending, 30-31 skipped, 41-43 beyond the cursor."""
ALL = Scope()
BIG = b"x" * (2 * content.CHUNK + 5)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with a_room() as made:
        yield made


@dataclass
class House:
    """A house in which every place has somebody."""

    room: Room
    mails: dict[str, int] = field(default_factory=dict)
    """Entries by what they are."""

    def damage(self, *statements: str) -> None:
        """Change the database behind the daemon's back; names in braces are entries."""
        with closing(sqlite3.connect(self.room.store.path)) as other, other:
            for statement in statements:
                other.execute(statement.format_map(self.mails))

    async def prove(
        self, *, listed: Sequence[int] | None = LISTED, cursor: str | None = CURSOR, scope: Scope = ALL
    ) -> Tally:
        books = Books(self.room.store, scope)
        await books.open()
        if listed is not None:
            await books.folder(1, "INBOX", EPOCH, listed, cursor)
        return await books.close(lambda touchpoint: touchpoint == 1, bool)


def an_item(number: int, **changes: Any) -> Item:
    return Item(**{"touchpoint_id": 1, "folder": "INBOX", "epoch": EPOCH, "remote_id": number, "internaldate": NOW,
                   **changes})  # fmt: skip


@pytest.fixture
async def house(room: Room, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(proof, "WINDOW", 3)
    made = House(room)
    await fill_in(made)
    await fill_out(made)
    return made


async def fill_in(house: House) -> None:
    room, mails = house.room, house.mails

    async def take(name: str, number: int, action: Action = Action.PASS, **more: Any) -> int:
        mail = a_mail(number, seed=an_item(number).seed)
        outcome = an_outcome(mail, action, sends=(a_reply(mail),) if name == "answered" else ())
        accepted = await room.spool.accept(a_page([taken(number, outcome, mail.opening, **more)]))
        mails[name] = accepted[0].entry_id
        return mails[name]

    await room.store.write(lambda tx: ledger.record_range(tx, 1, "INBOX", EPOCH, 1, 5, RangeKind.OLDER, NOW))
    await room.store.write(lambda tx: ledger.record_range(tx, 1, "INBOX", EPOCH, 30, 31, RangeKind.SKIPPED, NOW))
    await take("queued", 11)
    await take("stopped", 12, Action.STOP)
    await take("held", 13, Action.HOLD)
    await take("waiting", 14, Action.DEFER)
    await room.spool.drop(await take("dropped", 15, Action.HOLD), "ops")
    await take("answered", 16)
    mails["reply"] = mails["answered"] + 1
    big = content.ContentWriter(room.store)
    await big.write(BIG)
    written = await big.finish()
    mail = a_mail(20, data=BIG, seed=an_item(20).seed)
    (accepted,) = await room.spool.accept(
        a_page([taken(20, an_outcome(mail), b"", content_id=written.content_id)], cursor=CURSOR)
    )
    mails["big"], mails["content"] = accepted.entry_id, written.content_id
    for number, state in ((21, ItemState.PENDING), (22, ItemState.MOVED), (23, ItemState.GONE)):
        await room.store.write(lambda tx, n=number, s=state: ledger.record(tx, an_item(n), s, NOW))  # type: ignore[misc]
    known = an_item(11, epoch=EPOCH + 1)
    await room.store.write(lambda tx: ledger.record(tx, known, ItemState.KNOWN, NOW, entry_id=mails["queued"]))


async def fill_out(house: House) -> None:
    room, mails = house.room, house.mails

    def notice(row: Any, settled: Any) -> Notice:
        born = Born(touchpoint_id=1, direction=Direction.OUT, origin=Origin.NOTICE, state=State.WAITING, at=NOW,
                    notice_for=row["id"])  # fmt: skip
        return Notice(born=born, content=b"It failed.\r\n", recipients=("ops@example.org",))

    async def send(name: str, number: int, state: RecipientState | None, **changes: Any) -> int:
        mails[name] = await room.relay(number, ("a@example.org", "b@example.org"), **changes)
        if state is not None:
            claimed = [each.row["id"] for each in await room.spool.claim(1)]
            await room.spool.unclaim([each for each in claimed if each != mails[name]])
            attempt = await room.spool.begin_attempt(mails[name], "smtp.example.org:587")
            answers = [Answer(address=f"{who}@example.org", state=state, code=250, text="fine") for who in "ab"]
            said = Said(outcome="accepted" if state is RecipientState.DELIVERED else "refused", code=250, text="fine")
            await room.spool.settle(mails[name], attempt, answers, said, 0.5, notice)
        return mails[name]

    await send("delivered", 101, RecipientState.DELIVERED)
    await send("failed", 102, RecipientState.REFUSED)
    mails["notice"] = mails["failed"] + 1
    await send("refused", 103, None, action=Action.HOLD)
    await room.spool.drop(await send("given_up", 104, None, action=Action.HOLD), "ops")
    await send("sending", 105, None)
    mails["unknown"] = await room.relay(106)
    house.damage("UPDATE entry SET state = 'unknown' WHERE id = {unknown}")
    mails["parked"] = await room.relay(107)
    house.damage(
        "INSERT INTO touchpoint (id, address, address_key, name, deleted_at)"
        " VALUES (2, 'old@post.example', 'old@post.example', 'Old', 1)",
        "UPDATE entry SET touchpoint_id = 2 WHERE id = {parked}",
    )


ALL_IN = {
    "queued": 3, "stopped": 1, "held": 1, "waiting": 1, "dropped": 1, "pending": 1, "moved": 1, "gone": 1,
    "older": 5, "skipped": 2, "not_taken": 3, "known": 1,
}  # fmt: skip
ALL_OUT = {"delivered": 1, "failed": 1, "held": 1, "dropped": 1, "waiting": 3, "unknown": 1, "parked": 1}


async def test_where_all_is_well_everything_is_in_one_place(house: House) -> None:
    tally = await house.prove()
    assert (dict(+tally.inward), dict(+tally.outward), tally.found) == (ALL_IN, ALL_OUT, [])
    assert set(ALL_IN) - {"known"} == set(proof.IN)
    assert set(ALL_OUT) == set(proof.OUT)
    assert (tally.missing, tally.untold) == (0, 0)


async def test_without_a_server_the_books_are_proven_all_the_same(house: House) -> None:
    tally = await house.prove(listed=None)
    asked = {"older", "skipped", "not_taken"}
    assert dict(+tally.inward) == {place: number for place, number in ALL_IN.items() if place not in asked}
    assert (dict(+tally.outward), tally.missing) == (ALL_OUT, 0)


async def test_an_empty_house_lacks_nothing(room: Room) -> None:
    tally = await House(room).prove(listed=(), cursor=None)
    assert (dict(+tally.inward), dict(+tally.outward), tally.missing) == ({}, {}, 0)


IN_DAMAGE: dict[str, tuple[tuple[str, ...], Loss, str, int]] = {
    "ledger row of a mail": (("DELETE FROM ledger WHERE remote_id = 12",), Loss.NO_ROW, "stopped", 12),
    "ledger row of a pending item": (("DELETE FROM ledger WHERE remote_id = 21",), Loss.UNKNOWN_ITEM, "", 21),
    "range": (("UPDATE ledger_range SET high = 30 WHERE low = 30",), Loss.UNKNOWN_ITEM, "", 31),
    "entry": (("DELETE FROM entry WHERE id = {held}",), Loss.NO_ENTRY, "held", 13),
    "entry and its ledger row": (
        ("DELETE FROM entry WHERE id = {queued}", "DELETE FROM ledger WHERE entry_id = {queued}"),
        Loss.UNKNOWN_ITEM, "", 11,
    ),
    "entry of another mail": (("UPDATE ledger SET entry_id = {delivered} WHERE remote_id = 12",),
                              Loss.NO_ENTRY, "delivered", 12),
    "state": (("UPDATE entry SET state = 'active' WHERE id = {waiting}",), Loss.NO_STATE, "waiting", 14),
    "disposition": (("UPDATE entry SET disposition = 'delivered' WHERE id = {queued}",), Loss.NO_STATE, "queued", 11),
    "content": (("DELETE FROM content WHERE id = {content}",), Loss.NO_CONTENT, "big", 20),
    "chunk": (("DELETE FROM chunk WHERE id = {content} * 1048576 + 1",), Loss.NO_CONTENT, "big", 20),
    "bytes of a chunk": (("UPDATE chunk SET data = x'00' WHERE id = {content} * 1048576 + 2",),
                         Loss.NO_CONTENT, "big", 20),
    "owner": (("UPDATE content SET owned = 0 WHERE id = {content}",), Loss.NO_CONTENT, "big", 20),
    "name of the content": (("UPDATE entry SET content_id = 0 WHERE id = {big}",), Loss.NO_CONTENT, "big", 20),
    "size": (("UPDATE entry SET size = 1 WHERE id = {stopped}",), Loss.NO_CONTENT, "stopped", 12),
}  # fmt: skip


@pytest.mark.parametrize("damage", IN_DAMAGE)
async def test_damage_on_the_way_in_is_found(house: House, damage: str) -> None:
    statements, loss, mail, remote_id = IN_DAMAGE[damage]
    house.damage(*statements)
    tally = await house.prove()
    told = [each for each in tally.found if each.loss is loss]
    assert [(each.way, each.remote_id, each.folder, each.touchpoint_id) for each in told] == [
        ("in", remote_id, "INBOX", 1)
    ]
    assert told[0].entry_id == house.mails.get(mail, 0)
    if mail in ("queued", "held", "stopped"):
        assert told[0].message_id == f"<{remote_id}@example.org>"
    assert [each.loss for each in tally.found if each.loss is not loss] == TELLS_MORE.get(damage, [])
    assert tally.missing == len(tally.found)


TELLS_MORE = {
    "entry and its ledger row": [Loss.REMOVED],
    "entry of another mail": [Loss.NO_ROW],
}
"""What else tells of the same damage, where there is nothing to show that both are one."""


OUT_DAMAGE: dict[str, tuple[tuple[str, ...], Loss, str]] = {
    "relayed mail": (("DELETE FROM entry WHERE id = {sending}",), Loss.REMOVED, "sending"),
    "delivered mail": (("DELETE FROM entry WHERE id = {delivered}",), Loss.REMOVED, "delivered"),
    "last mail": (("DELETE FROM entry WHERE id = {parked}",), Loss.REMOVED, "parked"),
    "auto-reply": (("DELETE FROM entry WHERE id = {reply}",), Loss.REMOVED, "reply"),
    "notice": (("DELETE FROM entry WHERE id = {notice}",), Loss.REMOVED, "notice"),
    "mail without a trace": (
        ("DELETE FROM entry WHERE id = {sending}", "DELETE FROM recipient WHERE entry_id = {sending}",
         "DELETE FROM walk WHERE entry_id = {sending}"), Loss.REMOVED, "sending"),
    "state": (("UPDATE entry SET state = 'gone' WHERE id = {sending}",), Loss.NO_STATE, "sending"),
    "recipients": (("DELETE FROM recipient WHERE entry_id = {unknown}",), Loss.UNSETTLED, "unknown"),
    "result of a recipient": (
        ("UPDATE recipient SET state = 'waiting' WHERE entry_id = {delivered} AND number = 1",),
        Loss.UNSETTLED, "delivered"),
    "result of a failure": (
        ("UPDATE recipient SET state = 'waiting' WHERE entry_id = {failed} AND number = 1",), Loss.UNSETTLED, "failed"),
    "attempt": (("DELETE FROM attempt WHERE entry_id = {delivered}",), Loss.UNSETTLED, "delivered"),
    "word": (("UPDATE attempt SET code = 0, text = '' WHERE entry_id = {delivered}",), Loss.UNSETTLED, "delivered"),
    "chunk": (("DELETE FROM chunk WHERE id = (SELECT content_id FROM entry WHERE id = {reply}) * 1048576",),
              Loss.NO_CONTENT, "reply"),
    "content": (("UPDATE entry SET content_id = 0 WHERE id = {sending}",), Loss.NO_CONTENT, "sending"),
}  # fmt: skip


@pytest.mark.parametrize("damage", OUT_DAMAGE)
async def test_damage_on_the_way_out_is_found(house: House, damage: str) -> None:
    statements, loss, mail = OUT_DAMAGE[damage]
    house.damage(*statements)
    tally = await house.prove()
    way = "in" if "without a trace" in damage else "out"
    assert [(each.way, each.loss, each.entry_id) for each in tally.found] == [(way, loss, house.mails[mail])]
    assert tally.missing == 1


@pytest.mark.parametrize(
    ("counter", "by", "missing"),
    [("taken", 2, 2), ("taken", -1, 1), ("accepted", 1, 1), ("accepted", -3, 3), ("auto-replied", 1, 1),
     ("auto-replied", -1, 1)],
)  # fmt: skip
async def test_a_counter_that_says_otherwise_is_found(house: House, counter: str, by: int, missing: int) -> None:
    house.damage(f"UPDATE counter SET value = value + {by} WHERE name = '{counter}'")
    tally = await house.prove()
    assert [each.loss for each in tally.found] == [Loss.COUNTER]
    assert tally.missing == missing


async def test_a_removed_tail_that_the_numbering_forgot_shows_in_the_counter(house: House) -> None:
    house.damage("DELETE FROM entry WHERE id >= {unknown}", "DELETE FROM sqlite_sequence WHERE name = 'entry'")
    tally = await house.prove()
    assert [(each.loss, each.way) for each in tally.found] == [(Loss.COUNTER, "out")]
    assert tally.missing == 2


async def test_all_of_many_are_counted_and_the_first_are_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "SHOWN", 4)
    house.damage("DELETE FROM ledger")
    tally = await house.prove()
    assert tally.missing == 7 + 1  # all that were taken, and the pending one; moved and gone are not at the server
    assert [each.loss for each in tally.found] == [Loss.NO_ROW] * 4


async def test_a_long_run_of_removed_mail_is_counted_without_a_walk_through_it(house: House) -> None:
    top = max(house.mails[name] for name in house.mails if name != "content")
    house.damage("UPDATE sqlite_sequence SET seq = 9000000000000 WHERE name = 'entry'")
    tally = await house.prove()
    assert tally.missing == 9_000_000_000_000 - top
    assert len(tally.found) == proof.SHOWN


@pytest.mark.parametrize("state", [ItemState.TAKEN, ItemState.PENDING, ItemState.GONE, ItemState.KNOWN])
async def test_a_mail_held_without_its_bytes_is_held_whatever_the_ledger_waits_for(
    room: Room, state: ItemState
) -> None:
    mail = replace(a_mail(7, seed=an_item(7).seed), sha256=b"", size=5000)
    await room.spool.accept(a_page([taken(7, an_outcome(mail, Action.HOLD), b"")], cursor="1:1:7"))
    house = House(room)
    house.damage(f"UPDATE ledger SET state = '{state.value}'")
    tally = await house.prove(listed=(7,), cursor="1:1:7")
    assert (dict(+tally.inward), tally.found) == ({"held": 1}, [])
    house.damage("UPDATE ledger SET sha256 = x'aa'")  # its bytes were here once
    assert [each.loss for each in (await house.prove(listed=(7,), cursor="1:1:7")).found] == [Loss.NO_CONTENT]


async def test_a_mail_that_is_known_under_many_numbers_counts_once(house: House) -> None:
    again = an_item(12, epoch=EPOCH + 1)
    await house.room.store.write(
        lambda tx: ledger.record(tx, again, ItemState.TAKEN, NOW, entry_id=house.mails["stopped"])
    )
    tally = await house.prove()
    assert dict(+tally.inward) == {**ALL_IN, "known": 2}
    assert tally.missing == 0


async def test_a_generation_of_a_numbering_is_the_same_to_the_server(room: Room) -> None:
    epoch = epoch_after(5, 5)
    assert epoch > 2**32
    item = an_item(3, epoch=epoch)
    await room.store.write(lambda tx: ledger.record(tx, item, ItemState.GONE, NOW))
    books = Books(room.store)
    await books.open()
    found = await books.folder(1, "INBOX", 5, (3, 4), FolderCursor(epoch, 3).text())
    assert (found.trouble, found.not_taken, books.tally.inward["gone"]) == ("", 1, 1)
    assert (await books.close(bool, bool)).missing == 0


async def test_a_mail_at_the_server_that_nobody_knows_is_missing(house: House) -> None:
    tally = await house.prove(listed=sorted((*LISTED, 6, 19, 32, 40)))
    assert [(each.loss, each.remote_id) for each in tally.found] == [(Loss.UNKNOWN_ITEM, n) for n in (6, 19, 32, 40)]


@pytest.mark.parametrize(("cursor", "not_taken"), [("", 2), (None, 2), ("1:1:7", 2), ("1:1:8", 1), ("1:1:9", 0)])
async def test_what_lies_beyond_the_cursor_is_not_taken_yet(room: Room, cursor: str | None, not_taken: int) -> None:
    tally = await House(room).prove(listed=(8, 9), cursor=cursor)
    assert (tally.inward["not_taken"], tally.missing) == (not_taken, 2 - not_taken)


@given(
    listed=st.sets(st.integers(1, 60)),
    known=st.sets(st.integers(1, 60)),
    ranges=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12), st.sampled_from(RangeKind)), max_size=6),
    low=st.integers(0, 60),
    window=st.integers(1, 9),
)
def test_runs_come_to_the_same_as_item_by_item(
    listed: set[int], known: set[int], ranges: list[tuple[int, int, RangeKind]], low: int, window: int
) -> None:
    spans = [(first, first + more, kind.value) for first, more, kind in ranges]
    sweep = _Sweep(sorted(listed), low, spans)
    rows = sorted(known)
    for at in range(0, len(rows) + 1, window):
        list(sweep.window(rows[at : at + window], last=at + window > len(rows)))
    free = listed - known
    left_alone = {each for each in free if any(first <= each <= last for first, last, _ in spans)}
    assert sweep.places["older"] + sweep.places["skipped"] == len(left_alone)
    assert sweep.places["not_taken"] == sum(each > low for each in free - left_alone)
    assert list(sweep.unplaced) == sorted(each for each in free - left_alone if each <= low)


async def test_ranges_may_overlap(room: Room) -> None:
    for low, high, kind in ((1, 9, RangeKind.OLDER), (3, 4, RangeKind.SKIPPED), (8, 12, RangeKind.SKIPPED)):
        await room.store.write(
            lambda tx, a=low, b=high, k=kind: ledger.record_range(tx, 1, "INBOX", EPOCH, a, b, k, NOW)  # type: ignore[misc]
        )
    tally = await House(room).prove(listed=range(1, 14), cursor="1:1:12")
    assert tally.inward["older"] + tally.inward["skipped"] == 12
    assert (tally.inward["not_taken"], tally.missing) == (1, 0)


async def test_another_numbering_cannot_be_compared(room: Room) -> None:
    books = Books(room.store)
    await books.open()
    found = await books.folder(1, "INBOX", 2, (1, 2, 3), CURSOR)
    assert (found.trouble, found.not_taken) == ("INBOX was renumbered, and its resume is pending", 0)
    assert (await books.close(bool, bool)).missing == 0
    with pytest.raises(CursorLost):
        await books.folder(1, "INBOX", 2, (1, 2, 3), "0:strange")


async def test_one_touchpoint_is_proven_without_the_others(house: House) -> None:
    house.damage("DELETE FROM chunk WHERE id = (SELECT content_id FROM entry WHERE id = {parked}) * 1048576")
    other = await house.prove(scope=Scope(touchpoint_id=1))
    assert (other.missing, other.outward["parked"]) == (0, 0)
    assert dict(+other.inward) == ALL_IN
    mine = await house.prove(listed=None, scope=Scope(touchpoint_id=2))
    assert [(each.loss, each.touchpoint_id) for each in mine.found] == [(Loss.NO_CONTENT, 2)]
    assert dict(mine.inward) == {}


async def test_since_a_time_leaves_older_mail_out(house: House) -> None:
    long_ago = NOW - 99
    house.damage("DELETE FROM entry WHERE id IN ({held}, {delivered})")
    house.damage(
        f"UPDATE ledger SET internaldate = {long_ago}, seen_at = {long_ago} WHERE remote_id < 16",
        f"UPDATE entry SET accepted_at = {long_ago} WHERE id < {house.mails['reply']}",
    )
    tally = await house.prove(listed=(20, 21, 41, 42, 43), scope=Scope(since=NOW - 9))
    assert [(each.loss, each.entry_id) for each in tally.found] == [(Loss.REMOVED, house.mails["delivered"])]
    assert dict(+tally.inward) == {"queued": 2, "pending": 1, "moved": 1, "gone": 1, "not_taken": 3}


async def test_a_failure_that_nobody_was_told_of_is_said(house: House) -> None:
    house.damage("UPDATE entry SET notice_for = 0 WHERE id = {notice}")
    assert (await house.prove()).untold == 0
    house.damage(
        "INSERT INTO relay_user (id, name, password_hash, notify) VALUES (1, 'shop', 'x', 'ops@example.org')",
        "UPDATE entry SET relay_user_id = 1 WHERE id = {failed}",
    )
    tally = await house.prove()
    assert (tally.untold, tally.missing) == (1, 0)


async def test_mail_that_comes_meanwhile_is_nobodys_loss(house: House) -> None:
    books = Books(house.room.store)
    await books.open()
    await house.room.take(41)
    await house.room.relay(108)
    await books.folder(1, "INBOX", EPOCH, LISTED, CURSOR)
    await house.room.take(42)
    tally = await books.close(lambda _: True, bool)
    assert (tally.found, tally.inward["queued"], tally.inward["not_taken"]) == ([], ALL_IN["queued"] + 1, 2)


async def test_ids_of_entries_have_no_legal_gaps(room: Room) -> None:
    await room.take(1)

    def insert_and_fail(tx: Tx) -> None:
        entry.insert(tx, Born(touchpoint_id=1, direction=Direction.IN, origin=Origin.FETCHED, state=State.DONE, at=NOW))
        raise PostroomError("on second thoughts")

    for _ in range(3):
        with pytest.raises(PostroomError):
            await room.store.write(insert_and_fail)
    assert await room.take(2) == 2
    assert (await House(room).prove(listed=None)).missing == 0


def test_marks_hold_any_number_without_the_ones_between() -> None:
    marks = Marks()
    numbers = (0, 1, 65_535, 65_536, 2**40)
    assert [marks.add(number) for number in numbers] == [True] * 5
    assert [marks.add(number) for number in numbers] == [False] * 5
    assert [number in marks for number in (*numbers, 2, 2**40 + 1, 2**50)] == [True] * 5 + [False] * 3

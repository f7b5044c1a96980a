"""The ledger: at most one row for an item, whatever the server shows us again; and the strikes of its items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pipeline import ledger, strikes
from pipeline.errors import StaleVersion
from pipeline.ledger import Item, ItemState, Prints, RangeKind
from pipeline.store import Tx
from pipeline.strikes import InHand, Strikes
from tests.unit.making import NOW, Room, a_room


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with a_room() as made:
        yield made


def an_item(number: int = 7, **changes: Any) -> Item:
    return Item(**{"touchpoint_id": 1, "folder": "INBOX", "epoch": 1, "remote_id": number, **changes})


def recording(item: Item, state: ItemState, **changes: Any) -> Callable[[Tx], None]:
    return lambda tx: ledger.record(tx, item, state, NOW, **changes)


async def rows(room: Room) -> list[dict[str, Any]]:
    return [dict(row) for row in await room.store.read(lambda tx: tx.all("SELECT * FROM ledger ORDER BY id"))]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=8), st.lists(st.integers(0, 50), max_size=20)
)
def test_what_lies_in_a_range(ranges: list[tuple[int, int]], numbers: list[int]) -> None:
    made = [(low, low + length) for low, length in ranges]
    wanted = {number for number in numbers if any(low <= number <= high for low, high in made)}
    assert ledger.inside(made, numbers) == wanted


def test_an_item_names_itself() -> None:
    assert an_item(9, folder="Junk", epoch=3).seed == "1/Junk/3/9"


@pytest.mark.parametrize("first", [ItemState.TAKEN, ItemState.MOVED, ItemState.GONE])
@pytest.mark.parametrize("second", list(ItemState))
async def test_an_item_is_settled_once(room: Room, first: ItemState, second: ItemState) -> None:
    await room.store.write(recording(an_item(), first, prints=Prints(message_id="<1@example.org>")))
    with pytest.raises(StaleVersion, match="1/INBOX/1/7 was settled"):
        await room.store.write(recording(an_item(), second, mark="seen"))
    (row,) = await rows(room)
    assert (row["state"], row["message_id"], row["mark_due"]) == (first.value, "<1@example.org>", "")


@pytest.mark.parametrize(
    "other", [an_item(8), an_item(folder="Junk"), an_item(epoch=2)], ids=["remote id", "folder", "epoch"]
)
async def test_another_key_is_another_item(room: Room, other: Item) -> None:
    same = Prints(sha256=b"same bytes")
    await room.store.write(recording(an_item(), ItemState.TAKEN, prints=same))
    await room.store.write(recording(other, ItemState.TAKEN, prints=same))
    assert len(await rows(room)) == 2


async def test_a_pending_item_is_filled_in(room: Room) -> None:
    await room.store.write(recording(an_item(), ItemState.PENDING, attempts=2, due_at=NOW + 60, error="x" * 900))
    (row,) = await rows(room)
    assert (row["attempts"], row["due_at"], len(row["error"])) == (2, NOW + 60, 500)
    pending, prints = row["id"], Prints(sha256=b"hash")
    await room.store.write(recording(an_item(size=70), ItemState.TAKEN, prints=prints, mark="seen", entry_id=5))
    (row,) = await rows(room)
    found = [row[name] for name in ("id", "state", "entry_id", "size", "sha256", "mark_due", "attempts", "error")]
    assert found == [pending, "taken", 5, 70, b"hash", "seen", 0, ""]


async def test_known_is_what_is_settled(room: Room) -> None:
    for number, state in ((1, ItemState.TAKEN), (2, ItemState.PENDING), (3, ItemState.GONE), (5, ItemState.MOVED)):
        await room.store.write(recording(an_item(number), state))
    await room.store.write(recording(an_item(4, folder="Junk"), ItemState.TAKEN))

    async def known(*numbers: int) -> set[int]:
        return await room.store.read(lambda tx: ledger.known(tx, 1, "INBOX", 1, numbers))

    assert await known(1, 2, 3, 4, 5) == {1, 3, 5}
    assert await known(5, 1) == {1, 5}
    assert await known() == set()


async def test_pending_items_come_back_when_due(room: Room) -> None:
    for number, wait in ((1, 30.0), (2, 10.0), (3, 20.0)):
        await room.store.write(recording(an_item(number), ItemState.PENDING, due_at=NOW + wait))
    await room.store.write(recording(an_item(4), ItemState.TAKEN))

    async def due(seconds: float, limit: int = 200) -> list[int]:
        found = await room.store.read(lambda tx: ledger.pending_due(tx, 1, NOW + seconds, limit))
        return [row["remote_id"] for row in found]

    assert await due(9) == []
    assert await due(20) == [2, 3]
    assert await due(99, limit=1) == [2]


async def test_only_what_has_an_entry_is_marked(room: Room) -> None:
    for number, entry_id in ((1, 51), (2, 52), (3, 0)):
        await room.store.write(recording(an_item(number), ItemState.TAKEN, mark="seen", entry_id=entry_id))
    due = await room.store.read(lambda tx: ledger.marks_due(tx, 1))
    assert [(row["remote_id"], row["mark_due"]) for row in due] == [(1, "seen"), (2, "seen")]
    await room.store.write(lambda tx: ledger.marked(tx, [1]))
    assert [row["remote_id"] for row in await room.store.read(lambda tx: ledger.marks_due(tx, 1))] == [2]


async def test_alike_means_same_bytes_at_the_same_moment(room: Room) -> None:
    same = Prints(sha256=b"same bytes")
    await room.store.write(recording(an_item(1, folder="Junk", internaldate=5.0), ItemState.TAKEN, prints=same))
    await room.store.write(recording(an_item(2, folder="Junk", internaldate=6.0), ItemState.TAKEN, prints=same))
    found = await room.store.read(lambda tx: ledger.alike(tx, 1, b"same bytes", 5.0))
    assert [(row["folder"], row["remote_id"]) for row in found] == [("Junk", 1)]
    assert await room.store.read(lambda tx: ledger.alike(tx, 2, b"same bytes", 5.0)) == []


async def test_ranges_are_inclusive_and_only_grow(room: Room) -> None:
    def work(tx: Tx) -> None:
        ledger.record_range(tx, 1, "INBOX", 1, 1, 10, RangeKind.OLDER, NOW)
        ledger.record_range(tx, 1, "INBOX", 1, 1, 5, RangeKind.OLDER, NOW)
        ledger.record_range(tx, 1, "INBOX", 1, 20, 30, RangeKind.SKIPPED, NOW)
        ledger.record_range(tx, 1, "INBOX", 1, 9, 8, RangeKind.SKIPPED, NOW)
        ledger.record_range(tx, 1, "INBOX", 2, 1, 99, RangeKind.OLDER, NOW)

    await room.store.write(work)
    assert await room.store.read(lambda tx: ledger.ranges(tx, 1, "INBOX", 1)) == [(1, 10), (20, 30)]


@given(st.sets(st.integers(1, 60)))
def test_runs_are_the_same_numbers_in_fewer_words(numbers: set[int]) -> None:
    found = ledger.runs(sorted(numbers))
    assert [n for low, high in found for n in range(low, high + 1)] == sorted(numbers)
    assert all(before[1] + 1 < behind[0] for before, behind in pairwise(found))


async def test_the_cursor_is_what_was_said_last(room: Room) -> None:
    assert await room.store.read(lambda tx: ledger.cursor(tx, 1, "INBOX")) is None
    await room.store.write(lambda tx: ledger.set_cursor(tx, 1, "INBOX", "1:1:5", NOW))
    await room.store.write(lambda tx: ledger.set_cursor(tx, 1, "INBOX", "1:1:9", NOW))
    assert await room.store.read(lambda tx: ledger.cursor(tx, 1, "INBOX")) == "1:1:9"
    assert await room.store.read(lambda tx: ledger.cursor(tx, 1, "Junk")) is None


# -- strikes -----------------------------------------------------------------------------------------------------------


def in_hand(low: int, high: int, phase: str = "fetch", folder: str = "INBOX") -> InHand:
    return InHand(touchpoint_id=1, folder=folder, epoch=1 if folder else 0, low=low, high=high, phase=phase)


async def load(room: Room, folder: str = "INBOX") -> Strikes:
    return await room.store.read(lambda tx: strikes.load(tx, 1, folder, 1 if folder else 0))


async def test_every_death_is_a_strike(room: Room) -> None:
    await room.store.write(lambda tx: strikes.strike(tx, [in_hand(1, 9)], NOW))
    for _ in range(2):
        await room.store.write(lambda tx: strikes.strike(tx, [in_hand(4, 4, "walk")], NOW))
    found = await load(room)
    assert [found.of(number) for number in (0, 1, 4, 9, 10)] == [0, 1, 3, 1, 0]
    assert found.of(4) >= strikes.OUT
    assert found.killed_by_walk(4)
    assert not found.killed_by_walk(5)


async def test_the_last_phase_counts(room: Room) -> None:
    await room.store.write(lambda tx: strikes.strike(tx, [in_hand(4, 4, "walk")], NOW))
    await room.store.write(lambda tx: strikes.strike(tx, [in_hand(4, 4, "fetch")], NOW))
    assert not (await load(room)).killed_by_walk(4)


async def test_what_is_settled_is_forgiven(room: Room) -> None:
    hands = [in_hand(1, 9), in_hand(4, 4), in_hand(8, 12), in_hand(4, 4, "walk", folder="")]
    await room.store.write(lambda tx: strikes.strike(tx, hands, NOW))
    await room.store.write(lambda tx: strikes.clear(tx, 1, "INBOX", 1, 0, 9))
    assert (await load(room)).rows == ((8, 12, 1, "fetch"),)
    assert (await load(room, "")).of(4) == 1


async def test_a_pending_item_keeps_its_strikes(room: Room) -> None:
    """Else an item that kills at each fetch would be forgiven with each mail that comes in behind it."""
    await room.store.write(recording(an_item(4), ItemState.PENDING, due_at=NOW))
    await room.store.write(lambda tx: strikes.strike(tx, [in_hand(4, 4), in_hand(5, 5)], NOW))
    await room.store.write(lambda tx: strikes.clear(tx, 1, "INBOX", 1, 0, 9))
    found = await load(room)
    assert (found.of(4), found.of(5)) == (1, 0)
    await room.store.write(recording(an_item(4), ItemState.TAKEN))
    await room.store.write(lambda tx: strikes.clear(tx, 1, "INBOX", 1, 0, 9))
    assert (await load(room)).of(4) == 0

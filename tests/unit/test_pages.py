"""Pages of fetched mail: what travels together, what becomes of each item, and what a broken connection costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.connectors import Ref
from gateway.pages import Batch, Drops, Haul, Pages, batches
from pipeline import ledger, resume, strikes, touchpoints
from pipeline.errors import NetworkFault, StaleVersion, StoreFull
from pipeline.ledger import ItemState
from pipeline.mail import OPENING, Mail
from pipeline.resume import Place, Renumbered
from pipeline.stage import Context
from pipeline.strikes import InHand, Strikes
from pipeline.verdict import HoldCause as Why, Verdict, held, passed
from tests.unit.housing import BOTH, INBOX, JUNK, House, Letter, Session, Shelf, a_house, hurry
from tests.unit.making import NOW, a_content

NO_STRIKES = Strikes(())


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house() as made:
        yield made


def refs(*sizes: int, cursors: bool = True) -> list[Ref]:
    """Items 1, 2, ... of these sizes."""
    return [Ref("INBOX", 1, n, NOW, size, f"c{n}" if cursors else "") for n, size in enumerate(sizes, 1)]


def grouped(found: list[Batch]) -> list[list[int]]:
    return [[ref.remote_id for ref in batch.refs] for batch in found]


# -- which items travel together -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "mails", "size", "expected"),
    [
        ([], 3, 100, []),
        ([10], 3, 100, [[1]]),
        ([10] * 3, 3, 100, [[1, 2, 3]]),
        ([10] * 7, 3, 100, [[1, 2, 3], [4, 5, 6], [7]]),
        ([50, 50, 50], 9, 100, [[1, 2], [3]]),
        ([50, 50, 1], 9, 100, [[1, 2], [3]]),
        ([500, 10, 10], 9, 100, [[1], [2, 3]]),  # one that is too big for any page travels alone
        ([10, 500, 10], 9, 100, [[1], [2], [3]]),
        ([0, 0, 0], 9, 100, [[1, 2, 3]]),
    ],
)
def test_pages_are_cut_by_number_and_by_bytes(
    sizes: list[int], mails: int, size: int, expected: list[list[int]]
) -> None:
    found = batches(INBOX, refs(*sizes), NO_STRIKES, Drops(), "end", mails=mails, size=size)
    assert grouped(found) == expected


def test_a_big_mail_weighs_what_of_it_is_in_memory() -> None:
    """Behind it there is room for what fits beside its opening; its rest is streamed."""
    size = 4 * OPENING
    found = batches(
        INBOX, refs(100 * OPENING, OPENING, OPENING, OPENING, 1), NO_STRIKES, Drops(), "e", mails=9, size=size
    )
    assert grouped(found) == [[1, 2, 3, 4], [5]]


def test_each_page_moves_the_cursor_behind_its_last_item_and_the_last_one_to_the_end() -> None:
    found = batches(INBOX, refs(*[10] * 5), NO_STRIKES, Drops(), "end", mails=2, size=100)
    assert [batch.cursor for batch in found] == ["c2", "c4", "end"]


def test_without_cursors_inside_a_page_only_the_last_one_moves_it() -> None:
    found = batches(INBOX, refs(*[10] * 5, cursors=False), NO_STRIKES, Drops(), "end", mails=2, size=100)
    assert [batch.cursor for batch in found] == [None, None, "end"]


def test_a_mail_with_a_strike_travels_alone() -> None:
    struck = Strikes(((3, 3, 1, "walk"), (6, 7, 2, "fetch")))
    found = batches(INBOX, refs(*[10] * 9), struck, Drops(), "end", mails=9, size=1000)
    assert grouped(found) == [[1, 2], [3], [4, 5], [6], [7], [8, 9]]
    assert [batch.struck for batch in found] == [False, True, False, True, True, False]
    assert [batch.cursor for batch in found] == ["c2", "c3", "c5", "c6", "c7", "end"]


def test_a_mail_at_which_the_connection_broke_travels_alone() -> None:
    drops = Drops()
    items = refs(*[10] * 4)
    drops.note(items[1:3])
    drops.forget(items[2:3])
    found = batches(INBOX, items, NO_STRIKES, drops, "end", mails=9, size=1000)
    assert grouped(found) == [[1], [2], [3, 4]]


def test_drops_are_counted_for_each_item_of_each_epoch() -> None:
    drops = Drops()
    ref = refs(10)[0]
    other = Ref("INBOX", 2, 1, NOW, 10)
    drops.note([ref])
    drops.note([ref])
    assert (drops.of(ref), drops.of(other)) == (2, 0)
    drops.forget([ref])
    assert drops.of(ref) == 0


# -- one page through fetch and commit -------------------------------------------------------------------------------


@dataclass
class Desk:
    """Fetches and commits as the receiver would, a listing at a time."""

    house: House
    pages: Pages = field(init=False)

    def __post_init__(self) -> None:
        self.pages = Pages(self.house.services, 1, lambda: self.house.touchpoint)

    async def work(self, name: str = "INBOX", **limits: int) -> list[Batch]:
        """The batches of what lies beyond the cursor."""
        folder = INBOX if name == "INBOX" else JUNK
        store = self.house.services.store
        cursor = await store.read(lambda tx: ledger.cursor(tx, 1, name)) or ""
        page = await Session(self.house.mailbox).changes(folder, cursor)
        struck = await store.read(lambda tx: strikes.load(tx, 1, name, self.house.mailbox.shelves[name].epoch))
        return batches(
            folder, page.refs, struck, self.pages.drops, page.cursor, **{"mails": 200, "size": 1 << 22, **limits}
        )

    async def take(self, name: str = "INBOX", **limits: int) -> None:
        """Take one listing."""
        session = Session(self.house.mailbox)
        for batch in await self.work(name, **limits):
            haul = await self.pages.fetch(session, batch)
            try:
                await self.pages.commit(session, haul)
            finally:
                await self.pages.discard(haul)

    async def take_through_breaks(self, **limits: int) -> int:
        """Take until nothing is left, signing in again when the connection breaks; how often it broke."""
        broke = 0
        while await self.work():
            assert broke < 20
            try:
                await self.take(**limits)
            except NetworkFault:
                broke += 1
        return broke


async def cursor(house: House, folder: str = "INBOX") -> str | None:
    return await house.room.store.read(lambda tx: ledger.cursor(tx, 1, folder))


async def test_a_page_is_stored_with_its_cursor_and_gives_its_budget_back(house: House) -> None:
    house.mailbox.put(1, 2, 3)
    await Desk(house).take()
    assert await house.states() == {1: "queued", 2: "queued", 3: "queued"}
    assert await cursor(house) == "3"
    assert house.services.budget._used == 0
    assert house.services.flight.in_hand() == []


async def test_a_server_that_hangs_up_at_one_mail_costs_that_mail_alone(house: House) -> None:
    house.mailbox.put(*range(1, 7))
    house.mailbox.drops = {4}
    broke = await Desk(house).take_through_breaks()
    assert broke == Drops.PATIENCE
    assert await house.states() == {1: "queued", 2: "queued", 3: "queued", 4: "pending", 5: "queued", 6: "queued"}
    assert await cursor(house) == "6"
    (row,) = await house.rows("SELECT * FROM ledger WHERE state = 'pending'")
    assert "broke 3 times" in row["error"]
    assert row["due_at"] > NOW
    assert house.mailbox.asked[0] == [1, 2, 3, 4, 5, 6]
    assert house.mailbox.asked.count([4]) == 2  # once with the others, twice alone, and never a fourth time
    assert house.services.budget._used == 0


async def test_a_connection_that_breaks_for_other_reasons_costs_nothing(house: House) -> None:
    house.mailbox.put(1, 2)
    desk = Desk(house)
    house.mailbox.drops = {2}
    with pytest.raises(NetworkFault):
        await desk.take()
    with pytest.raises(NetworkFault):
        await desk.take()
    house.mailbox.drops = set()
    await desk.take()
    assert await house.states() == {1: "queued", 2: "queued"}
    assert [desk.pages.drops.of(ref) for ref in refs(1, 1)] == [0, 0]


async def test_a_full_disk_or_a_stop_is_not_blamed_on_the_mail(house: House) -> None:
    house.mailbox.put(1)
    desk = Desk(house)
    for error in (StoreFull("no room"), asyncio.CancelledError()):

        async def fail(uids: list[int], error: BaseException = error) -> None:
            raise error

        house.mailbox.on_fetch = fail
        with pytest.raises(type(error)):
            await desk.take()
    assert desk.pages.drops.of(refs(1)[0]) == 0
    assert house.services.budget._used == 0


async def test_a_mail_that_is_too_big_is_held_and_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_house(largest_mail=2000) as house:
        house.mailbox.put(1, 3)
        house.mailbox.put(2, size=2001)
        house.mailbox.put(4, size=2000)
        await Desk(house).take()
        assert house.mailbox.asked == [[1, 3, 4]]
        assert await house.states() == {1: "queued", 2: "oversize", 3: "queued", 4: "queued"}
        (row,) = await house.rows("SELECT content_id, size, reason FROM entry WHERE cause = 'oversize'")
        assert (row["content_id"], row["size"]) == (0, 2001)
        assert "still on the server" in row["reason"]
        assert house.stage.seen and all(mail.size <= 2000 for mail, _ in house.stage.seen)


async def test_a_big_mail_comes_in_chunks_and_is_owned_after_the_commit(house: House) -> None:
    data = a_content(1, body=b"x" * 900_000)
    house.mailbox.put(1, data=data)
    await Desk(house).take()
    (entry,) = await house.rows("SELECT id, size FROM entry")
    assert await house.room.content(entry["id"]) == data
    assert entry["size"] == len(data)
    assert await house.values("SELECT owned FROM content") == [1]
    mail = house.stage.seen[0][0]
    assert (len(mail.opening), mail.size) == (OPENING, len(data))


async def test_what_is_gone_and_what_is_refused_costs_one_mail_each(house: House) -> None:
    house.mailbox.put(1, 2, 3)
    house.mailbox.unwilling = {2: "NO mail is damaged"}

    async def expunge(uids: list[int]) -> None:
        del house.mailbox.shelves["INBOX"].letters[3]

    house.mailbox.on_fetch = expunge
    await Desk(house).take()
    assert await house.states() == {1: "queued", 2: "pending", 3: "gone"}
    assert await cursor(house) == "3"
    (row,) = await house.rows("SELECT attempts, due_at, error FROM ledger WHERE state = 'pending'")
    assert (row["attempts"], row["error"]) == (1, "NO mail is damaged")
    assert row["due_at"] == NOW + 60


async def test_a_second_fetch_of_the_same_mail_is_harmless(house: House) -> None:
    house.mailbox.put(1, 2)
    desk = Desk(house)
    work = await desk.work()
    for _ in range(2):
        haul = await desk.pages.fetch(Session(house.mailbox), work[0])
        await desk.pages.commit(Session(house.mailbox), haul)
    assert await house.values("SELECT count(*) FROM entry") == [2]
    assert await house.values("SELECT value FROM counter WHERE name = 'taken'") == [2]


async def test_marks_are_due_for_what_has_bytes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    async with a_house(connection=replace(BOTH, mark="seen"), largest_mail=2000) as house:
        house.mailbox.put(1)
        house.mailbox.put(2, size=5000)
        house.mailbox.put(3)
        house.mailbox.unwilling = {3: "NO"}
        await Desk(house).take()
        assert await house.values("SELECT mark_due FROM ledger ORDER BY remote_id") == ["seen", "", ""]


# -- the same item under another number ------------------------------------------------------------------------------


async def test_a_mail_that_comes_from_another_folder_is_moved_and_not_walked_again(house: House) -> None:
    house.mailbox.shelves["Junk"] = Shelf(role=JUNK.role)
    house.mailbox.put(1, folder="Junk")
    desk = Desk(house)
    await desk.take("Junk")
    letter = house.mailbox.shelves["Junk"].letters.pop(1)
    house.mailbox.shelves["INBOX"].letters[50] = letter
    await desk.take()
    assert await house.values("SELECT state FROM ledger ORDER BY folder") == ["moved", "taken"]
    assert len(house.stage.seen) == 1
    assert house.stage.seen[0][0].junk
    assert await cursor(house) == "50"


@pytest.mark.parametrize(
    ("still_there", "state", "entries"),
    [(False, ItemState.MOVED, 1), (True, ItemState.TAKEN, 2)],
    ids=["renumbered", "a copy beside the original"],
)
async def test_equal_bytes_within_a_folder(house: House, still_there: bool, state: ItemState, entries: int) -> None:
    house.mailbox.put(1)
    desk = Desk(house)
    await desk.take()
    letters = house.mailbox.shelves["INBOX"].letters
    letters[9] = letters[1] if still_there else letters.pop(1)
    await desk.take()
    assert await house.values("SELECT state FROM ledger WHERE remote_id = 9") == [state]
    assert await house.values("SELECT count(*) FROM entry") == [entries]


async def renumbered(house: House, *known: int) -> Desk:
    """A folder of two byte-equal mails, and its next epoch, in which some uids are known to be such."""
    house.mailbox.put(1)
    house.mailbox.put(2, data=house.mailbox.shelves["INBOX"].letters[1].data)
    desk = Desk(house)
    await desk.take()
    shelf = house.mailbox.shelves["INBOX"]
    shelf.epoch = 2
    shelf.letters = dict.fromkeys(known, shelf.letters[1])
    places = [Place(uid, NOW, 100, row) for row, uid in enumerate(known, 1)]
    await house.room.store.write(lambda tx: resume.keep(tx, Renumbered(1, "INBOX", 2), places, NOW))
    await house.room.store.write(lambda tx: ledger.set_cursor(tx, 1, "INBOX", "10", NOW))
    return desk


@pytest.mark.parametrize(
    ("known", "states"),
    [((), ["moved", "moved", "taken"]), ((5,), ["moved", "taken", "taken"]), ((5, 6), ["taken", "taken", "taken"])],
    ids=["none is known", "one is known", "both are known"],
)
async def test_after_a_renumbering_as_many_are_new_as_there_are_more(
    house: House, known: tuple[int, ...], states: list[str]
) -> None:
    """A resume that could not compare a head leaves an item for the sweep, which compares the bytes."""
    desk = await renumbered(house, *known)
    letter = house.mailbox.shelves["INBOX"].letters.get(5) or Letter(a_content(1))
    house.mailbox.shelves["INBOX"].letters |= {20: letter, 21: letter, 22: letter}
    await desk.take()
    sql = "SELECT state FROM ledger WHERE epoch = 2 AND remote_id > 10 ORDER BY remote_id"
    assert await house.values(sql) == states


async def test_a_known_item_that_comes_under_another_number_is_moved(house: House) -> None:
    desk = await renumbered(house, 5, 6)
    letters = house.mailbox.shelves["INBOX"].letters
    letters[20] = letters.pop(5)
    del letters[6]
    await desk.take()
    assert await house.values("SELECT state FROM ledger WHERE remote_id = 20") == ["moved"]


@pytest.mark.parametrize("change", ["bytes", "time"])
async def test_what_is_only_alike_is_new(house: House, change: str) -> None:
    house.mailbox.put(1)
    desk = Desk(house)
    await desk.take()
    letter = house.mailbox.shelves["INBOX"].letters.pop(1)
    house.mailbox.put(2, data=letter.data + (b"." if change == "bytes" else b""), at=NOW + (change == "time"))
    await desk.take()
    assert await house.values("SELECT state FROM ledger WHERE remote_id = 2") == ["taken"]


# -- when the touchpoint changes meanwhile ---------------------------------------------------------------------------


async def test_a_page_is_decided_again_when_the_touchpoint_changed_meanwhile(house: House) -> None:
    house.mailbox.put(1, 2)
    changes = 0

    async def change_once(mail: Mail, context: Context) -> Verdict:
        nonlocal changes
        if not changes:
            changes = 1
            await house.change(lambda tx: touchpoints.block(tx, 1, "customer1@example.org", now=NOW))
        return passed("fine")

    house.stage.verdict = change_once
    await Desk(house).take()
    version = house.touchpoint.version
    assert await house.states() == {1: "blocked", 2: "queued"}
    assert set(await house.values("SELECT config_version FROM entry")) == {version}
    assert set(await house.values("SELECT config_version FROM walk")) == {version}
    assert house.mailbox.asked == [[1, 2]]  # decided again, not fetched again


async def test_a_snapshot_that_stays_behind_stores_nothing(house: House) -> None:
    house.mailbox.put(1)
    await house.room.store.write(lambda tx: touchpoints.block(tx, 1, "x@example.org", now=NOW))  # and no new snapshot
    with pytest.raises(StaleVersion):
        await Desk(house).take()
    assert await house.values("SELECT count(*) FROM entry") == [0]
    assert await cursor(house) is None
    assert house.services.budget._used == 0


# -- killers ---------------------------------------------------------------------------------------------------------


async def struck(house: House, phase: str, times: int, *, low: int = 2, high: int = 2) -> None:
    hand = InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=low, high=high, phase=phase)
    for _ in range(times):
        await house.room.store.write(lambda tx: strikes.strike(tx, [hand], NOW))


@pytest.mark.parametrize(
    ("phase", "times", "fate", "asked", "walked", "bytes_kept"),
    [
        ("fetch", 1, "queued", True, True, True),
        ("fetch", 2, "queued", True, True, True),
        ("fetch", 3, "poison", False, False, False),
        ("walk", 2, "queued", True, True, True),
        ("walk", 3, "poison", True, False, True),
    ],
)
async def test_a_killer_is_held_at_the_third_strike(
    house: House, phase: str, times: int, fate: str, asked: bool, walked: bool, bytes_kept: bool
) -> None:
    house.mailbox.put(1, 2, 3)
    await struck(house, phase, times)
    await Desk(house).take()
    assert await house.states() == {1: "queued", 2: fate, 3: "queued"}
    assert ([2] in house.mailbox.asked) is asked  # and never together with others
    seen = [mail.headers.message_id for mail, _ in house.stage.seen]
    assert ("<2@example.org>" in seen) is walked
    (entry,) = await house.rows(
        "SELECT e.* FROM entry AS e JOIN ledger AS l ON l.entry_id = e.id WHERE l.remote_id = 2"
    )
    assert (entry["content_id"] > 0) is bytes_kept
    assert await house.values("SELECT count(*) FROM strike") == [0]  # it is settled


async def test_strikes_of_a_range_are_forgotten_once_its_mails_are_taken_and_kept_for_what_is_pending(
    house: House,
) -> None:
    house.mailbox.put(*range(1, 6))
    await struck(house, "fetch", 1, low=1, high=3)
    await struck(house, "fetch", 1, low=4, high=4)
    house.mailbox.unwilling = {4: "NO"}
    await Desk(house).take()
    assert house.mailbox.asked == [[1], [2], [3], [4], [5]]
    assert await house.rows("SELECT low, high FROM strike") == [{"low": 4, "high": 4}]


async def test_the_flight_note_names_the_page_while_fetched_and_the_mail_while_walked(house: House) -> None:
    house.mailbox.put(4, 5, 6)
    noted: list[Any] = []

    async def look(uids: list[int]) -> None:
        noted.extend((each.phase, each.low, each.high) for each in house.services.flight.in_hand())

    async def look_walking(mail: Mail, context: Context) -> Verdict:
        await look([])
        return passed("fine")

    house.mailbox.on_fetch = look
    house.stage.verdict = look_walking
    await Desk(house).take()
    assert noted == [("fetch", 4, 6), ("walk", 4, 4), ("walk", 5, 5), ("walk", 6, 6)]
    assert house.services.flight.in_hand() == []


# -- the memory of the daemon ----------------------------------------------------------------------------------------


async def test_a_page_waits_until_the_daemon_has_memory_for_it(house: House) -> None:
    house.mailbox.put(1)
    desk = Desk(house)
    (batch,) = await desk.work()
    others = await house.services.budget.take(64 * 1024 * 1024)
    fetching = asyncio.create_task(desk.pages.fetch(Session(house.mailbox), batch))
    for _ in range(20):
        await asyncio.sleep(0)
    assert house.mailbox.asked == []
    await house.services.budget.give_back(others)
    haul: Haul = await fetching
    assert haul.reserved == len(a_content(1))
    await desk.pages.discard(haul)
    assert house.services.budget._used == 0


async def test_a_stage_that_holds_holds_one_mail_of_the_page(house: House) -> None:
    house.mailbox.put(1, 2, 3)

    async def hold_second(mail: Mail, context: Context) -> Verdict:
        return held(Why.BY_PERSON, "odd") if mail.seed.endswith("/2") else passed("fine")

    house.stage.verdict = hold_second
    await Desk(house).take()
    assert await house.states() == {1: "queued", 2: "by-person", 3: "queued"}

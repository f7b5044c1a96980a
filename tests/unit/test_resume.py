"""A folder with new numbers: what is known stays known, what is new is taken, and a person is asked about old mail.

The provider is the embedded one, over the real connector; the store is real too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.connecting import skip_to_now
from gateway.connectors import Ref
from gateway.connectors.imap_smtp import ImapReceiving
from gateway.demo.mailbox import Folder, Message
from gateway.demo.provider import Provider
from gateway.events import TouchpointFact
from gateway.post import Post
from gateway.resume import MARGIN, MOST_OLD, Resume
from pipeline import ledger, resume
from pipeline.cursor import FolderCursor, epoch_after
from pipeline.errors import CursorLost, NetworkFault, Refused, StaleVersion
from pipeline.headers import date_header
from pipeline.ledger import RangeKind
from pipeline.lifecycle import ConnectionState
from pipeline.store import Tx
from pipeline.touchpoint import ResumeChoice, Security, Server, Touchpoint
from tests.unit.housing import BOTH, INBOX, House, a_house, hurry, until
from tests.unit.making import NOW, a_content

BOX, PASSWORD = "desk@shop.example", "correct horse"
DAY = 86400.0


@dataclass
class Place:
    """A house whose one mailbox is at the embedded provider."""

    house: House
    provider: Provider

    def folder(self, name: str = "INBOX") -> Folder:
        """As the provider has it."""
        box = self.provider.mailboxes.find(BOX)
        assert box is not None
        return box.folders[name]

    def put(self, *numbers: int, folder: str = "INBOX", at: float = NOW, sent: float = 0.0) -> None:
        """A mail for each number, which the provider took at NOW + number; written then, or at a time of its own."""
        for number in numbers:
            content = a_content(number).replace(
                b"Mon, 04 Jan 2027 10:00:00 +0000", date_header(sent or at + number).encode()
            )
            self.provider.deliver(BOX, content, folder, at + number)

    def renumber(self, folder: str = "INBOX") -> None:
        """New UIDVALIDITY, new UIDs."""
        self.provider.renumber(BOX, folder)

    def set_back(self, drop: int = 0, folder: str = "INBOX") -> None:
        """The same UIDVALIDITY and UIDs from 1, without the first ``drop`` mails: restored from a backup."""
        held = self.folder(folder)
        kept = list(held.messages.values())[drop:]
        held.messages.clear()
        held.messages.update({
            uid: Message(uid, each.content, each.internaldate, each.flags) for uid, each in enumerate(kept, 1)
        })  # fmt: skip
        held.uid_next = len(kept) + 1
        self.provider.kick(BOX)

    async def entries(self, count: int) -> None:
        """Until so many mails are in the spool."""
        await until(self._equal("SELECT count(*) FROM entry WHERE direction = 'in'", [count]))

    async def come(self, sql: str, values: list[Any]) -> None:
        """Until a query has these values in its first column."""
        await until(self._equal(sql, values))

    def _equal(self, sql: str, values: list[Any]) -> Callable[[], Any]:
        async def there() -> bool:
            return await self.house.values(sql) == values

        return there

    async def states(self, folder: str = "INBOX") -> list[dict[str, int]]:
        """State -> how many rows, for each epoch in order."""
        rows = await self.house.rows(f"SELECT epoch, state FROM ledger WHERE folder = '{folder}' ORDER BY epoch")
        return [dict(Counter(r["state"] for r in rows if r["epoch"] == e)) for e in sorted({r["epoch"] for r in rows})]

    def connector(self) -> ImapReceiving:
        """A connection of the test's own."""
        return ImapReceiving(self.house.touchpoint.connection, PASSWORD, timeout=10)

    def said(self, what: str) -> list[str]:
        """What was told of the touchpoint."""
        return [f.words for f in self.house.facts() if isinstance(f, TouchpointFact) and f.what.value == what]


@asynccontextmanager
async def a_place(*, mark: str = "", **intake: Any) -> AsyncIterator[Place]:
    provider = Provider()
    await provider.start()
    provider.open_mailbox(BOX, PASSWORD)
    server = Server(host="127.0.0.1", port=provider.imap_port, security=Security.NONE)
    connection = replace(BOTH, user=BOX, imap=server, mark=mark)
    try:
        async with a_house(connection=connection, **intake) as house:

            async def receiving(touchpoint: Touchpoint) -> ImapReceiving:
                return ImapReceiving(touchpoint.connection, PASSWORD, timeout=10)

            house.services.receiving = receiving
            yield Place(house, provider)
    finally:
        await provider.close()


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    hurry(monkeypatch)
    async with a_place() as made:
        yield made


# -- what is taken, and what is not ----------------------------------------------------------------------------------


async def test_after_new_numbers_only_what_is_unseen_is_taken_and_how_much_that_is_is_said(place: Place) -> None:
    place.put(*range(1, 21), 7, 7)
    post = place.house.at_work()
    await place.entries(22)
    place.renumber()
    place.put(30, 31)
    await place.entries(24)
    assert await place.states() == [{"taken": 22}, {"known": 22, "taken": 2}]
    assert post.state is ConnectionState.CONNECTED
    (said,) = place.said("touchpoint.resumed")
    assert said.endswith("known 22, left alone 0, unseen 2")
    assert await place.house.values("SELECT mark FROM entry ORDER BY id DESC LIMIT 3") == ["resumed", "resumed", ""]
    entries = await place.house.values("SELECT entry_id FROM ledger WHERE state = 'known' ORDER BY remote_id")
    assert entries == list(range(1, 23))


async def test_a_third_equal_one_is_new(place: Place) -> None:
    place.put(1, 1)
    place.house.at_work()
    await place.entries(2)
    place.renumber()
    place.put(1)
    await place.entries(3)
    assert await place.states() == [{"taken": 2}, {"known": 2, "taken": 1}]


async def test_one_that_differs_in_its_body_alone_is_new(place: Place) -> None:
    place.provider.deliver(BOX, a_content(1, body=b"one\r\n"), internaldate=NOW)
    place.house.at_work()
    await place.entries(1)
    held = place.folder()
    held.messages[1].uid = 2  # the new one comes to stand before it
    held.messages[2] = held.messages.pop(1)
    held.messages = {1: Message(1, a_content(1, body=b"two\r\n"), NOW), **held.messages}
    held.uid_next = 3
    place.renumber()
    await place.entries(2)
    rows = await place.house.rows("SELECT remote_id, state FROM ledger WHERE known_id <> 0 OR entry_id = 2")
    assert {row["remote_id"]: row["state"] for row in rows} == {1: "taken", 2: "known"}


@pytest.mark.parametrize("size", [0, 300 * 1024], ids=["small", "big"])
async def test_a_head_that_the_server_reads_otherwise_than_we_do(place: Place, size: int) -> None:
    """A line that is no field ends the header section for us, and does not for many servers."""
    head, _, body = a_content(1).partition(b"\r\nSubject")
    place.provider.deliver(BOX, head + b"\r\nno field\r\nSubject" + body + b"x" * size, internaldate=NOW)
    place.house.at_work()
    await place.entries(1)
    chunks = await place.house.values("SELECT count(*) FROM content")
    place.renumber()
    place.put(2)
    await place.entries(2)
    assert await place.states() == [{"taken": 1}, {"known": 1, "taken": 1}]
    assert await place.house.values("SELECT count(*) FROM content") == [chunks[0] + 1]


async def test_a_mail_that_is_too_big_stays_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with a_place(largest_mail=1000) as place:
        place.provider.deliver(BOX, a_content(1, body=b"x" * 2000), internaldate=NOW)
        place.house.at_work()
        await place.entries(1)
        place.renumber()
        place.put(2)
        await place.entries(2)
        assert await place.states() == [{"taken": 1}, {"known": 1, "taken": 1}]
        assert await place.house.values("SELECT state FROM entry ORDER BY id") == ["held", "done"]


async def test_a_server_that_hangs_up_at_one_head_costs_that_mail_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for alone, it is left to the sweep, which compares its bytes."""
    place.put(*range(1, 6))
    place.house.at_work()
    await place.entries(5)
    tried: list[list[int]] = []
    ordinary = ImapReceiving.heads

    async def heads(self: ImapReceiving, refs: Sequence[Ref]) -> AsyncIterator[tuple[int, bytes]]:
        tried.append([ref.remote_id for ref in refs])
        if any(ref.remote_id == 3 for ref in refs):
            raise NetworkFault("the server hung up")
        async for each in ordinary(self, refs):
            yield each

    monkeypatch.setattr(ImapReceiving, "heads", heads)
    place.renumber()
    place.put(9)
    await place.entries(6)
    assert tried.count([3]) == 2
    assert await place.states() == [{"taken": 5}, {"known": 4, "moved": 1, "taken": 1}]


@pytest.mark.parametrize("folder", ["INBOX", "Junk"])
async def test_every_watched_folder_and_one_that_was_made_anew(place: Place, folder: str) -> None:
    place.put(1, 2, 3, folder=folder)
    place.house.at_work()
    await place.entries(3)
    box = place.provider.mailboxes.find(BOX)
    assert box is not None
    special, kept = place.folder(folder).special, list(place.folder(folder).messages.values())[1:]
    was = place.folder(folder).uid_validity
    made = box.create(folder, special)
    made.uid_validity = was + 5
    for each in kept:
        made.add(each.content, internaldate=each.internaldate)
    place.provider.kick(BOX)
    place.put(9, folder=folder)
    await place.entries(4)
    assert await place.states(folder) == [{"taken": 3}, {"known": 2, "taken": 1}]


async def test_again_and_again(place: Place) -> None:
    place.put(1, 2)
    place.house.at_work()
    await place.entries(2)
    for turn in range(3):
        place.renumber()
        place.put(10 + turn)
        await place.entries(3 + turn)
    assert [sum(each.values()) for each in await place.states()] == [2, 3, 4, 5]


async def test_what_was_older_than_the_first_connect_is_left_alone_again(place: Place) -> None:
    place.put(*range(1, 6), at=NOW - DAY)
    epoch = place.folder().uid_validity

    def connected(tx: Tx) -> None:
        ledger.record_range(tx, 1, "INBOX", epoch, 1, 5, RangeKind.OLDER, NOW)
        ledger.set_cursor(tx, 1, "INBOX", FolderCursor(epoch, 5).text(), NOW)

    await place.house.room.store.write(connected)
    place.put(10, 11)
    place.house.at_work()
    await place.entries(2)
    place.renumber()
    place.put(12)
    await place.entries(3)
    assert await place.states() == [{"taken": 2}, {"known": 2, "taken": 1}]
    rows = await place.house.rows("SELECT low, high, kind, at FROM ledger_range ORDER BY epoch")
    assert [tuple(row.values()) for row in rows] == [(1, 5, "older", NOW)] * 2
    place.renumber()
    await place.come("SELECT count(*) FROM ledger_range", [3])
    assert len(await place.states()) == 3


async def test_a_server_whose_clock_is_off_takes_no_mail_away(place: Place) -> None:
    """What came right before the range was made may be new by the server's clock."""
    epoch = place.folder().uid_validity

    def connected(tx: Tx) -> None:
        ledger.record_range(tx, 1, "INBOX", epoch, 1, 5, RangeKind.SKIPPED, NOW)
        ledger.set_cursor(tx, 1, "INBOX", FolderCursor(epoch, 5).text(), NOW)

    await place.house.room.store.write(connected)
    place.put(1, at=NOW - MARGIN - 5)
    place.put(2, at=NOW - MARGIN + 5)
    place.renumber()
    place.house.at_work()
    await place.entries(1)
    assert await place.house.values("SELECT subject FROM entry") == ["Hello 2"] or await place.states() == [
        {"taken": 1}
    ]
    assert await place.house.values("SELECT remote_id FROM ledger") == [2]


async def test_start_now_after_new_numbers_leaves_alone_what_is_unseen_and_keeps_what_is_known(place: Place) -> None:
    place.put(1, 2, 3)
    place.folder().unreadable.add(3)
    post = place.house.at_work()
    await place.come("SELECT state FROM ledger ORDER BY remote_id", ["taken", "taken", "pending"])
    await place.house.activate(False)
    await post.stop()
    place.renumber()
    place.put(*range(20, 25))
    connector = place.connector()
    assert await skip_to_now(place.house.services, connector, place.house.touchpoint) == 5
    await connector.close()
    await place.house.activate(True)
    place.put(30)
    place.house.clock.now += 3600
    place.house.at_work()
    await place.entries(4)
    assert await place.states() == [{"taken": 2, "gone": 1}, {"known": 2, "taken": 2}]
    assert await place.house.values("SELECT kind FROM ledger_range") == ["skipped"]


async def test_only_what_is_unseen_is_fetched(place: Place) -> None:
    place.put(*range(1, 11))
    place.house.at_work()
    await place.entries(10)
    served = sum(place.provider.ledger.served.values())
    held = place.folder()
    held.messages = {99: Message(99, a_content(20), NOW), **held.messages}  # it gets the first of the new numbers
    place.renumber()
    await place.entries(11)
    assert sum(place.provider.ledger.served.values()) == served + 1


async def test_a_mail_that_the_line_deferred_is_not_answered_later_either(place: Place) -> None:
    place.put(1)
    place.house.at_work()
    await place.entries(1)
    place.renumber()
    place.put(2)
    await place.entries(2)
    place.house.stage.seen.clear()
    await place.house.room.store.write(
        lambda tx: tx.run("UPDATE entry SET state = 'waiting', disposition = '', due_at = 0 WHERE id = 2")
    )
    place.house.posts[0].wake.set()
    await until(lambda: place.house.stage.seen)
    assert place.house.stage.seen[0][0].resumed


# -- numbers that the server used before -----------------------------------------------------------------------------


async def test_a_folder_that_was_set_back_gets_an_epoch_of_its_own(place: Place) -> None:
    place.put(*range(1, 6))
    place.house.at_work()
    await place.entries(5)
    place.set_back(drop=2)
    place.put(10)
    await place.entries(6)
    validity = place.folder().uid_validity
    assert await place.house.values("SELECT DISTINCT epoch FROM ledger ORDER BY 1") == [validity, (1 << 32) | validity]
    assert await place.states() == [{"taken": 5}, {"known": 3, "taken": 1}]
    place.put(11)
    await place.entries(7)
    place.set_back(drop=1)
    place.put(12)
    await place.entries(8)
    assert await place.house.values("SELECT max(epoch) FROM ledger") == [(2 << 32) | validity]


async def test_a_folder_that_was_restored_and_grew_since_is_seen_by_its_last_item(place: Place) -> None:
    """UIDNEXT alone would not tell: the folder ends above what we have read."""
    place.put(*range(1, 6))
    place.house.at_work()
    await place.entries(5)
    place.set_back(drop=3)
    place.put(*range(20, 30))
    await place.entries(15)
    assert await place.states() == [{"taken": 5}, {"known": 2, "taken": 10}]


async def test_a_size_that_the_server_corrects_is_no_restored_folder(place: Place) -> None:
    place.put(1, 2)
    place.house.at_work()
    await place.entries(2)
    await place.house.room.store.write(lambda tx: tx.run("UPDATE ledger SET size = size + 9"))
    place.provider.kick(BOX)
    place.put(3)
    await place.entries(3)
    assert await place.states() == [{"taken": 3}]


@pytest.mark.parametrize(
    ("last", "uidvalidity", "epoch"),
    [
        (7, 8, 8), (7, 7, (1 << 32) | 7), (7, 3, (1 << 32) | 3), ((1 << 32) | 7, 8, (1 << 32) | 8),
        ((1 << 32) | 7, 7, (2 << 32) | 7), (0, 5, 5), (0xFFFFFFFF, 1, (1 << 32) | 1),
    ],
)  # fmt: skip
def test_epochs_only_grow_and_keep_uidvalidity(last: int, uidvalidity: int, epoch: int) -> None:
    assert epoch_after(last, uidvalidity) == epoch


# -- items that wait for something ------------------------------------------------------------------------------------


async def test_a_pending_item_is_asked_for_under_its_new_number_and_never_answered(place: Place) -> None:
    place.put(1, 2, 3)
    place.folder().unreadable.add(2)
    post = place.house.at_work()
    await place.come("SELECT state FROM ledger ORDER BY remote_id", ["taken", "pending", "taken"])
    place.provider.expunge(BOX, [1])
    place.renumber()
    place.folder().unreadable.add(1)
    await place.come("SELECT count(*) FROM resume WHERE resumed_at > 0", [1])
    rows = await place.house.rows("SELECT state, remote_id, error FROM ledger ORDER BY epoch, remote_id")
    assert [row["state"] for row in rows] == ["taken", "gone", "taken", "pending", "known"]
    assert "uid 1" in rows[1]["error"]
    place.folder().unreadable.clear()
    place.house.clock.now += 3600
    post.wake.set()
    await place.entries(3)
    assert await place.states() == [{"taken": 2, "gone": 1}, {"taken": 1, "known": 1}]
    assert await place.house.values("SELECT mark FROM entry ORDER BY id DESC LIMIT 1") == ["resumed"]


async def test_a_pending_item_that_is_not_there_any_more_is_settled(place: Place) -> None:
    place.put(1, 2)
    place.folder().unreadable.add(1)
    place.house.at_work()
    await place.come("SELECT state FROM ledger ORDER BY remote_id", ["pending", "taken"])
    place.provider.expunge(BOX, [1])
    place.renumber()
    await place.come("SELECT state FROM ledger ORDER BY epoch, remote_id", ["gone", "taken", "known"])
    (error,) = await place.house.values("SELECT error FROM ledger WHERE state = 'gone'")
    assert "never fetched" in error


async def test_marks_are_made_under_the_new_numbers_and_those_of_what_is_gone_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch)
    async with a_place(mark="seen") as place:
        place.put(1, 2, 3)
        post = place.house.at_work()
        await place.come("SELECT mark_due FROM ledger", ["", "", ""])
        await post.stop()
        for each in place.folder().messages.values():
            each.flags.clear()
        place.provider.expunge(BOX, [1])
        place.renumber()
        await place.house.room.store.write(lambda tx: tx.run("UPDATE ledger SET mark_due = 'seen'"))
        place.house.at_work()
        await place.come("SELECT count(*) FROM ledger WHERE state = 'known'", [2])
        await place.come("SELECT count(*) FROM ledger WHERE mark_due <> ''", [0])
        assert [sorted(each.flags) for each in place.folder().messages.values()] == [["\\Seen"]] * 2


async def test_a_mail_that_moved_between_folders_while_both_got_new_numbers(place: Place) -> None:
    place.put(1, 2, folder="Junk")
    place.put(3)
    place.house.at_work()
    await place.entries(3)
    moving = place.folder("Junk").messages.pop(1)
    place.folder().add(moving.content, internaldate=moving.internaldate)
    place.renumber("Junk")
    place.renumber()
    place.put(4)
    await place.entries(4)
    assert await place.states() == [{"taken": 1}, {"known": 1, "moved": 1, "taken": 1}]
    await place.come("SELECT count(*) FROM ledger WHERE folder = 'Junk' AND state = 'known'", [1])
    place.renumber()
    place.put(5)
    await place.entries(5)
    assert (await place.states())[2] == {"known": 3, "taken": 1}


# -- cut off anywhere ------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for SIGKILL between two commits."""


async def _outcome(place: Place) -> list[dict[str, Any]]:
    items = await place.house.rows(
        "SELECT folder, epoch, remote_id, state, entry_id, known_id FROM ledger ORDER BY epoch, remote_id"
    )
    ranges = await place.house.rows("SELECT epoch, low, high, kind FROM ledger_range ORDER BY epoch, low")
    found = await place.house.rows("SELECT known, left_alone, unseen, old, high FROM resume")
    assert [list(row.values()) for row in found] == [[12, 3, 3, 1, 18]]
    return [*items, *ranges]


def _connected(tx: Tx) -> None:
    ledger.record_range(tx, 1, "INBOX", 100, 1, 3, RangeKind.OLDER, NOW)
    ledger.set_cursor(tx, 1, "INBOX", FolderCursor(100, 3).text(), NOW)


async def test_killed_between_any_two_commits_it_comes_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("gateway.resume.SLICE", 3)
    monkeypatch.setattr("gateway.resume.LISTING", 4)
    monkeypatch.setattr("gateway.resume.HEADS", 2)
    ends = []
    for last in [None, *range(8)]:
        async with a_place() as place:
            place.folder().uid_validity = 100
            place.put(1, 2, 3, at=NOW - DAY)
            await place.house.room.store.write(_connected)
            place.put(*range(11, 21), 14, 14, 15)
            place.folder().unreadable.add(12)
            post = place.house.at_work()
            await place.come("SELECT count(*) FROM ledger", [13])
            await post.stop()
            cursor = (await place.house.values("SELECT value FROM cursor WHERE folder = 'INBOX'"))[0]
            place.provider.expunge(BOX, [5])
            place.renumber()
            place.put(14, 40, 41)
            if last is not None:
                assert await _killed_after(place, cursor, last) == (last < 6)
            place.house.at_work()
            await place.come("SELECT count(*) FROM ledger WHERE folder = 'INBOX' AND epoch = 101", [15])
            place.house.clock.now += 3600
            place.house.posts[-1].wake.set()
            await place.entries(16)
            await place.come("SELECT count(*) FROM ledger WHERE state = 'pending'", [0])
            ends.append(await _outcome(place))
    assert all(end == ends[0] for end in ends)
    assert Counter(row["state"] for row in ends[0] if row["epoch"] == 101 and "state" in row) == {
        "known": 11,
        "taken": 4,
    }


async def _killed_after(place: Place, cursor: str, commits: int) -> bool:
    """Whether a resume that is killed after so many commits was killed at all."""
    done = 0

    async def write(work: Callable[[Tx], Any]) -> Any:
        nonlocal done
        if done == commits:
            raise Killed
        done += 1
        return await place.house.room.store.write(work)

    connector = place.connector()
    await connector.open()
    try:
        with pytest.raises(CursorLost) as lost:
            await connector.changes(INBOX, cursor)
        await Resume(place.house.services, connector, 1, INBOX, write=write).run(cursor, lost.value.start)
    except Killed:
        return True
    finally:
        await connector.close()
    return False


async def test_a_cursor_that_somebody_moved_meanwhile_is_not_moved_back(place: Place) -> None:
    place.put(1)
    post = place.house.at_work()
    await place.entries(1)
    await post.stop()
    place.renumber()
    connector = place.connector()
    await connector.open()
    start = FolderCursor(place.folder().uid_validity, 0).text()
    with pytest.raises(StaleVersion):
        await Resume(place.house.services, connector, 1, INBOX).run("1:1:1", start)
    await connector.close()


async def test_switched_off_in_the_middle_it_goes_on_when_it_is_on_again(place: Place) -> None:
    place.put(1, 2)
    post = place.house.at_work()
    await place.entries(2)
    await place.house.activate(False)
    place.renumber()
    place.put(3)
    await place.house.activate(True)
    post.wake.set()
    await place.entries(3)
    assert await place.states() == [{"taken": 2}, {"known": 2, "taken": 1}]


# -- a person is asked -----------------------------------------------------------------------------------------------


async def asked(place: Place, more: int = 1) -> Post:
    """Two known mails, then new numbers with much old mail and some that is new."""
    place.put(1, 2)
    post = place.house.at_work()
    await place.entries(2)
    place.renumber()
    place.put(*range(100, 100 + MOST_OLD + more), sent=NOW - DAY)
    place.put(500, 501)
    return post


async def test_much_old_mail_is_not_taken_before_a_person_says_so(place: Place) -> None:
    post = await asked(place)
    await place.come("SELECT old FROM resume", [MOST_OLD + 1])
    place.put(7, folder="Junk")
    post.wake.set()
    await place.entries(3)
    assert post.state is ConnectionState.CONNECTED
    (said,) = place.said("touchpoint.asks")
    assert "renumbered" in said
    assert await place.states() == [{"taken": 2}]
    assert await place.house.values("SELECT unseen FROM resume") == [MOST_OLD + 3]
    assert await post.receiver.until_due() > 1


@pytest.mark.parametrize(("choice", "entries"), [(ResumeChoice.TAKE, MOST_OLD + 5), (ResumeChoice.LEAVE, 4)])
async def test_a_person_says_what_is_taken(place: Place, choice: ResumeChoice, entries: int) -> None:
    post = await asked(place)
    await place.come("SELECT count(*) FROM resume WHERE asked_at > 0", [1])
    assert await place.house.room.store.write(lambda tx: resume.choose(tx, 1, "", choice, "ops")) == ["INBOX"]
    place.put(600)
    post.wake.set()
    await place.entries(entries + 1)
    await place.come("SELECT chosen_by FROM resume WHERE resumed_at > 0", ["ops"])
    (_, new) = await place.states()
    assert new == {"known": 2, "taken": entries - 1}
    left = await place.house.rows("SELECT low, high, kind FROM ledger_range")
    assert [tuple(row.values()) for row in left] == (
        [(3, MOST_OLD + 3, "skipped")] if choice is ResumeChoice.LEAVE else []
    )
    with pytest.raises(Refused):
        await place.house.room.store.write(lambda tx: resume.choose(tx, 1, "", choice, "ops"))


async def test_what_is_pending_there_does_not_keep_the_task_awake(place: Place) -> None:
    place.put(1, 2)
    place.folder().unreadable.add(2)
    post = place.house.at_work()
    await place.come("SELECT state FROM ledger ORDER BY remote_id", ["taken", "pending"])
    await post.stop()
    place.renumber()
    place.put(*range(100, 101 + MOST_OLD), sent=NOW - DAY)
    post = place.house.at_work()
    await place.come("SELECT count(*) FROM resume WHERE asked_at > 0", [1])
    place.house.clock.now += 3600
    assert await post.receiver.until_due() > 1
    assert await place.house.values("SELECT state FROM ledger ORDER BY remote_id") == ["taken", "pending"]


async def test_a_little_old_mail_is_taken_without_a_question(place: Place) -> None:
    await asked(place, more=0)
    await place.entries(MOST_OLD + 4)
    assert await place.house.values("SELECT asked_at FROM resume") == [0]


async def test_the_question_survives_a_restart_and_is_void_when_the_old_numbers_come_back(place: Place) -> None:
    post = await asked(place)
    await place.come("SELECT count(*) FROM resume WHERE asked_at > 0", [1])
    since = await place.house.values("SELECT asked_at FROM resume")
    await post.stop()
    place.house.clock.now += 60
    post = place.house.at_work()
    await until(lambda: len(place.said("touchpoint.asks")) == 2)
    assert await place.house.values("SELECT asked_at FROM resume") == since
    await post.stop()
    held = place.folder()
    kept = list(held.messages.values())[:2]
    held.messages.clear()
    held.messages.update({each.uid: each for each in kept})
    held.uid_validity -= 1
    held.uid_next = 3
    place.put(8)
    place.house.at_work()
    await place.entries(3)
    assert await place.house.values("SELECT count(*) FROM resume") == [0]
    assert await place.states() == [{"taken": 3}]


async def test_a_third_numbering_is_asked_about_anew(place: Place) -> None:
    post = await asked(place)
    await place.come("SELECT count(*) FROM resume WHERE asked_at > 0", [1])
    (epoch,) = await place.house.values("SELECT epoch FROM resume")
    await place.house.room.store.write(lambda tx: resume.choose(tx, 1, "INBOX", ResumeChoice.TAKE, "ops"))
    place.renumber()
    post.wake.set()
    await place.come("SELECT epoch, choice FROM resume WHERE choice = ''", [epoch + 1])
    assert await place.states() == [{"taken": 2}]

"""The first connect: what is left alone, what would be taken, and which mailbox is taken already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.connecting import Survey, begin, check_alone, skip_to_now, survey, try_sending
from gateway.connectors import Folder, Identity
from pipeline import touchpoints
from pipeline.errors import AuthRequired, NetworkFault, Refused
from pipeline.store import Tx
from tests.unit.housing import BOTH, JUNK, House, Mailbox, Session, Shelf, a_house, hurry, until
from tests.unit.making import NOW, a_content

DAY = 86400.0


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house() as made:
        yield made


async def found_in(house: House, since: float | None = None, box: Mailbox | None = None) -> Survey:
    return await survey(house.services, Session(box or house.mailbox), since)


async def begun(house: House, since: float | None = None, touchpoint_id: int = 1) -> Survey:
    """Connect, as the daemon does it."""
    found = await found_in(house, since)
    await check_alone(house.services, house.services.directory.touchpoints[touchpoint_id], found)
    await house.change(lambda tx: begin(tx, touchpoint_id, found, NOW))
    return found


async def ranges(house: House) -> list[tuple[str, int, int, str]]:
    rows = await house.rows("SELECT folder, low, high, kind FROM ledger_range ORDER BY folder, low")
    return [(row["folder"], row["low"], row["high"], row["kind"]) for row in rows]


async def cursors(house: House) -> dict[str, str]:
    return {row["folder"]: row["value"] for row in await house.rows("SELECT folder, value FROM cursor")}


async def taken_from_now_on(house: House, *uids: int) -> None:
    """The receiver runs, and takes exactly these."""
    post = house.at_work()

    async def there() -> bool:
        return sorted(await house.states()) == sorted(uids)

    await until(there)
    rounds = house.mailbox.rounds
    post.wake.set()
    await until(lambda: house.mailbox.rounds > rounds or not uids)
    assert sorted(await house.states()) == sorted(uids)
    await post.stop()


# -- what is left alone ----------------------------------------------------------------------------------------------


async def test_what_lies_there_is_left_alone_and_what_comes_is_taken(house: House) -> None:
    house.mailbox.put(3, 4, 5, 9)
    found = await begun(house)
    (inbox,) = found.folders
    assert (inbox.there, inbox.taken, inbox.older) == (4, 0, ((3, 5), (9, 9)))
    assert await ranges(house) == [("INBOX", 3, 5, "older"), ("INBOX", 9, 9, "older")]
    assert await cursors(house) == {"INBOX": "9"}
    house.mailbox.put(10)
    await taken_from_now_on(house, 10)
    assert house.mailbox.asked[-1] == [10]


async def test_mail_since_a_date_is_taken_and_older_mail_is_not(house: House) -> None:
    for uid, days in ((1, 9), (2, 8), (3, 1), (4, 7), (5, 0)):
        house.mailbox.put(uid, at=NOW - days * DAY)
    found = await begun(house, since=NOW - 2 * DAY)
    (inbox,) = found.folders
    assert (inbox.there, inbox.taken, inbox.older) == (5, 2, ((1, 2), (4, 4)))
    await taken_from_now_on(house, 3, 5)


async def test_a_survey_changes_nothing(house: House) -> None:
    house.mailbox.put(1, 2)
    await found_in(house)
    await found_in(house, since=0.0)
    assert await ranges(house) == []
    assert await cursors(house) == {}
    assert await house.values("SELECT count(*) FROM fingerprint") == [0]
    assert house.mailbox.marks == []


async def test_every_watched_folder_is_surveyed_and_no_other(house: House) -> None:
    house.mailbox.shelves["Junk"] = Shelf(role=JUNK.role)
    house.mailbox.shelves["Sent"] = Shelf(role="sent")  # type: ignore[arg-type]
    house.mailbox.put(1, 2)
    house.mailbox.put(7, folder="Junk")
    house.mailbox.put(8, folder="Sent")
    found = await begun(house)
    assert [(each.folder.name, each.there) for each in found.folders] == [("INBOX", 2), ("Junk", 1)]
    assert await cursors(house) == {"INBOX": "2", "Junk": "7"}


async def test_a_long_listing_is_read_to_its_end(house: House) -> None:
    house.mailbox.listing = 3
    house.mailbox.put(*range(1, 11))
    (inbox,) = (await found_in(house)).folders
    assert (inbox.there, inbox.older) == (10, ((1, 10),))


async def test_mail_that_comes_while_we_look_is_new(house: House) -> None:
    house.mailbox.put(1, 2)

    @dataclass
    class Busy(Session):
        async def baseline(self, folder: Folder) -> tuple[str, int]:
            answer = await super().baseline(folder)
            self.box.put(3)
            return answer

    found = await survey(house.services, Busy(house.mailbox), None)
    await house.change(lambda tx: begin(tx, 1, found, NOW))
    assert await ranges(house) == [("INBOX", 1, 2, "older")]
    await taken_from_now_on(house, 3)


async def test_an_empty_mailbox_begins_at_its_start(house: House) -> None:
    (inbox,) = (await begun(house)).folders
    assert (inbox.there, inbox.taken, inbox.older, inbox.last) == (0, 0, (), ())
    house.mailbox.put(1)
    await taken_from_now_on(house, 1)


@pytest.mark.parametrize("since", [None, NOW - DAY], ids=["from now on", "since a date"])
async def test_connecting_again_leaves_nothing_out_that_came_meanwhile(house: House, since: float | None) -> None:
    """A person gives a new password after a week: what came in that week is new, also in a folder that was empty."""
    house.mailbox.shelves["Junk"] = Shelf(role=JUNK.role)
    await begun(house, since)
    house.mailbox.put(1, 2)
    house.mailbox.put(7, folder="Junk")
    await begun(house)
    assert await ranges(house) == []
    await taken_from_now_on(house, 1, 2, 7)


async def test_a_folder_that_appeared_later_is_new_also_when_somebody_connects_again(house: House) -> None:
    await begun(house)
    house.mailbox.shelves["Junk"] = Shelf(role=JUNK.role)
    house.mailbox.put(7, folder="Junk")
    await begun(house)
    await taken_from_now_on(house, 7)


# -- one mailbox, one touchpoint -------------------------------------------------------------------------------------


@pytest.fixture
async def two(house: House) -> House:
    """A house whose touchpoint 1 is connected, and touchpoint 2 is to be."""

    def another(tx: Tx) -> None:
        touchpoints.create(tx, address="sales@post.example", name="Sales", now=NOW)
        touchpoints.set_connection(tx, 2, BOTH)

    await house.change(another)
    house.mailbox.put(*range(1, 9))
    await begun(house)
    return house


@pytest.mark.parametrize(
    "identity", [("imap.example.org", "support"), ("IMAP.Example.ORG", "Support")], ids=["equal", "another case"]
)
async def test_the_same_login_at_the_same_server_is_refused(two: House, identity: tuple[str, str]) -> None:
    box = Mailbox()
    box.identity = Identity(server=identity[0], principal=identity[1])
    found = await found_in(two, box=box)
    with pytest.raises(Refused, match=r"support@post\.example"):
        await check_alone(two.services, two.services.directory.touchpoints[2], found)


async def test_the_same_mailbox_under_another_login_is_refused_by_its_mail(two: House) -> None:
    two.mailbox.identity = Identity(server="mail.example.org", principal="alias")
    found = await found_in(two)
    assert len(found.folders[0].last) == 5
    with pytest.raises(Refused, match=r"support@post\.example"):
        await check_alone(two.services, two.services.directory.touchpoints[2], found)


async def test_it_is_refused_also_by_what_was_taken_since(two: House) -> None:
    two.mailbox.put(*range(20, 30))
    await taken_from_now_on(two, *range(20, 30))
    two.mailbox.identity = Identity(server="mail.example.org", principal="alias")
    for uid in range(1, 9):
        del two.mailbox.shelves["INBOX"].letters[uid]
    with pytest.raises(Refused):
        await check_alone(two.services, two.services.directory.touchpoints[2], await found_in(two))


@pytest.mark.parametrize("differs", ["epoch", "mail", "number"])
async def test_another_mailbox_is_welcome(two: House, differs: str) -> None:
    box = Mailbox()
    box.identity = Identity(server="imap.example.org", principal="sales")
    shift = 100 if differs == "number" else 0
    for uid in range(1, 9):
        box.put(uid + shift, data=a_content(uid + (100 if differs == "mail" else 0)))
    box.shelves["INBOX"].epoch = 2 if differs == "epoch" else 1
    await check_alone(two.services, two.services.directory.touchpoints[2], await found_in(two, box=box))


async def test_a_touchpoint_is_not_its_own_rival_and_a_deleted_one_is_none(two: House) -> None:
    found = await found_in(two)
    await check_alone(two.services, two.touchpoint, found)
    await two.room.store.write(lambda tx: tx.run("UPDATE touchpoint SET deleted_at = 1.0 WHERE id = 1"))
    await check_alone(two.services, two.services.directory.touchpoints[2], found)


async def test_the_mailbox_is_remembered_and_a_known_one_changes_no_version(house: House) -> None:
    before = house.touchpoint.version
    await begun(house)
    assert house.touchpoint.mailbox_identity == "imap.example.org support"
    assert house.touchpoint.version == before + 1
    await begun(house)
    assert house.touchpoint.version == before + 1


# -- start now -------------------------------------------------------------------------------------------------------


async def test_start_now_leaves_alone_what_came_while_the_touchpoint_was_inactive(house: House) -> None:
    house.mailbox.put(1, 2)
    await begun(house)
    house.mailbox.put(5, 6, 9)
    assert await skip_to_now(house.services, Session(house.mailbox), house.touchpoint) == 3
    assert await ranges(house) == [("INBOX", 1, 2, "older"), ("INBOX", 5, 6, "skipped"), ("INBOX", 9, 9, "skipped")]
    assert await cursors(house) == {"INBOX": "9"}
    assert await skip_to_now(house.services, Session(house.mailbox), house.touchpoint) == 0
    house.mailbox.put(10)
    await taken_from_now_on(house, 10)


async def test_start_now_skips_in_every_watched_folder(house: House) -> None:
    house.mailbox.shelves["Junk"] = Shelf(role=JUNK.role)
    await begun(house)
    house.mailbox.put(1)
    house.mailbox.put(4, 5, folder="Junk")
    assert await skip_to_now(house.services, Session(house.mailbox), house.touchpoint) == 3
    assert await ranges(house) == [("INBOX", 1, 1, "skipped"), ("Junk", 4, 5, "skipped")]


# -- both halves -----------------------------------------------------------------------------------------------------


async def test_a_login_that_is_refused_leaves_no_trace(house: House) -> None:
    house.mailbox.refuses = [AuthRequired("the server refused the login")]
    with pytest.raises(AuthRequired):
        await found_in(house)
    house.outlet.refuses = [NetworkFault("no route")]
    with pytest.raises(NetworkFault):
        await try_sending(house.outlet)
    assert house.outlet.closed == 1
    assert await cursors(house) == {}


async def test_a_touchpoint_without_a_sending_half_has_nothing_to_try(house: House) -> None:
    await try_sending(None)
    await try_sending(house.outlet)
    assert (house.outlet.opened, house.outlet.closed) == (1, 1)

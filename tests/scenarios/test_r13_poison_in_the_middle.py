"""Scenario 13: what breaks readers lies in the middle of a folder; it is stored byte for byte, and all behind it comes.

A mail that kills the process is another matter: at its third strike it is held without its bytes, and a person who
releases it has it fetched once more. At the end everything that was decided is walked again: the same input makes the
same decision.
"""

from __future__ import annotations

from typing import Any

from gateway.control import CreateRingGroup, LinkRingGroup, ReleaseMail, ReplayMail, ShowMail
from pipeline import strikes
from pipeline.strikes import InHand
from tests.faults.hostile import DESK, MAILS
from tests.scenarios.inside import Inside, inside, letter

BIG = 1 << 18
POISON = {name: data for name, make in MAILS.items() if len(data := make()) <= BIG}
BUYER = "buyer@example.org"


async def content(house: Inside, number: int) -> bytes:
    """The bytes of a mail as they are stored."""
    return b"".join([chunk async for chunk in house.daemon.spool.chunks(number)])


async def test_r13_poison_in_the_middle_is_stored_as_it_came_and_stops_nobody() -> None:
    async with inside() as house:
        await house.furnish(DESK, auto_reply="We have your mail.")
        await house.call(CreateRingGroup(name="Front office"))
        await house.call(LinkRingGroup(touchpoint=DESK, ring_group="Front office"))
        wanted: list[bytes] = []
        for number, data in enumerate(POISON.values()):
            wanted += [letter(BUYER, DESK, f"before {number}"), data, letter(BUYER, DESK, f"after {number}")]
        for data in wanted:
            house.provider.deliver(DESK, data)
        await house.until_taken(len(wanted))
        await house.until_still()

        rows = dict(await _entries(house))
        assert list(rows) == list(range(1, len(wanted) + 1))
        assert list(rows.values()) == sorted(rows.values()), "in the order of the folder"
        for entry, data in zip(rows.values(), wanted, strict=True):
            assert not data or await content(house, entry) == data
        mails = {row.id: row for row in await house.mails("in")}
        for uid in (each for number in range(len(POISON)) for each in (3 * number + 1, 3 * number + 3)):
            row = mails[rows[uid]]
            assert (row.state, row.queues) == ("queued", ("Front office",)), row
        states = {(row.state, row.cause) for row in mails.values()}
        assert states <= {("queued", ""), ("stopped", ""), ("held", "undecodable")}
        assert (await house.account())["lost"] == 0

        answer = await house.call(ReplayMail(since=1.0))
        differ, walked = answer.differ, answer.walked
        while answer.next:
            answer = await house.call(ReplayMail(since=1.0, after=answer.next))
            differ, walked = differ + answer.differ, walked + answer.walked
        assert (differ, walked) == (0, sum(map(bool, wanted)))


async def _entries(house: Inside) -> list[tuple[int, int]]:
    def work(tx: Any) -> list[tuple[int, int]]:
        return [(row["remote_id"], row["entry_id"]) for row in tx.all("SELECT * FROM ledger ORDER BY remote_id")]

    return await house.daemon.store.read(work)


async def test_r13_a_killer_in_the_middle_is_held_and_a_release_has_it_fetched_again() -> None:
    async with inside() as house:
        await house.furnish(DESK)
        box = house.provider.mailboxes.find(DESK)
        assert box is not None
        epoch = box.folders["INBOX"].uid_validity
        hand = InHand(touchpoint_id=1, folder="INBOX", epoch=epoch, low=2, high=2, phase="fetch")
        for _ in range(strikes.OUT):
            await house.daemon.store.write(lambda tx: strikes.strike(tx, [hand], 1.0))
        killer = letter(BUYER, DESK, "mail 2")
        for data in (letter(BUYER, DESK, "mail 1"), killer, letter(BUYER, DESK, "mail 3")):
            house.provider.deliver(DESK, data)
        await house.until_taken(3)
        assert [(row.state, row.cause) for row in await house.mails("in")] == [
            ("queued", ""), ("held", "poison"), ("queued", ""),
        ]  # fmt: skip
        detail = await house.call(ShowMail(id=2))
        assert "Postroom died 3 times while fetching it; it is still on the server" in detail.row.reason

        released = await house.call(ReleaseMail(id=2))
        assert (released.state, released.cause) == ("held", "poison")
        assert released.reason.startswith("being fetched")
        await house.until(lambda: _queued(house, 3))
        assert await content(house, 2) == killer
        assert (await house.call(ShowMail(id=2))).row.subject == "mail 2"
        assert await house.ledger(DESK) == {1: "taken", 2: "taken", 3: "taken"}
        account = await house.account()
        assert (account["taken"], account["queued"], account["lost"]) == (3, 3, 0)


async def _queued(house: Inside, number: int) -> bool:
    return (await house.account())["queued"] == number

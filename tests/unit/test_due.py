"""What was put off while the clock stood ahead does not wait for that time to come again."""

from __future__ import annotations

from pipeline import ledger
from pipeline.due import astray, bring_back
from pipeline.ledger import Item, ItemState
from pipeline.retry import PENDING_LONGEST, Schedule
from pipeline.store import Tx
from tests.unit.making import NOW, a_room

AHEAD = NOW + 400 * 86400


async def test_only_what_waits_longer_than_anything_can_is_brought_back() -> None:
    async with a_room() as room:
        ids = [await room.relay(number) for number in (1, 2, 3)]

        def put_off(tx: Tx) -> None:
            for entry_id, state, due in zip(
                ids, ("waiting", "active", "waiting"), (AHEAD, AHEAD, NOW + 300), strict=True
            ):
                tx.run(
                    "UPDATE entry SET state = :state, due_at = :due WHERE id = :id",
                    {"id": entry_id, "state": state, "due": due},
                )
            for uid, due in ((1, AHEAD), (2, NOW + PENDING_LONGEST)):
                ledger.record(tx, Item(1, "INBOX", 1, uid, NOW, 5), ItemState.PENDING, NOW, due_at=due, error="no")

        await room.store.write(put_off)
        assert await room.store.read(lambda tx: astray(tx, NOW, Schedule()))
        assert await room.store.write(lambda tx: bring_back(tx, NOW, Schedule())) == 3
        assert not await room.store.read(lambda tx: astray(tx, NOW, Schedule()))
        assert [(await room.row(entry_id))["due_at"] for entry_id in ids] == [NOW, NOW, NOW + 300]
        rows = await room.store.read(lambda tx: tx.all("SELECT due_at FROM ledger ORDER BY remote_id"))
        assert [row["due_at"] for row in rows] == [NOW, NOW + PENDING_LONGEST]

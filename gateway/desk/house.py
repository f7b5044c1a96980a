"""Calls about the daemon itself: how it does at each station of a mail's way, and what its relay is doing."""

from __future__ import annotations

import json

from gateway.control import GetStages, ShowRelay
from gateway.desk.parts import Parts
from gateway.rows import RelayState, Stages
from gateway.server import Caller
from pipeline.entry import Origin
from pipeline.mail import Direction
from pipeline.store import Tx


class HouseAnswers:
    """Answers to calls about the daemon."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def stages(self, call: GetStages, caller: Caller) -> Stages:
        """Since the start, and what waits in the store now."""
        pending, waiting = await self._parts.store.read(lambda tx: (_pending(tx), _waiting(tx)))
        return self._parts.metrics.stages(
            self._parts.clock(),
            pending=pending,
            undecided=waiting.get(Direction.IN, 0),
            outbound=waiting.get(Direction.OUT, 0),
        )

    async def relay(self, call: ShowRelay, caller: Caller) -> RelayState:
        """As it stands."""
        return self._parts.house.relay_watch.state()


def _pending(tx: Tx) -> int:
    row = tx.one("SELECT count(*) AS n FROM ledger WHERE state = 'pending'")
    return int(row["n"]) if row else 0


def _waiting(tx: Tx) -> dict[str, int]:
    """Mail that waits to be decided (in), or to be sent (out); parked and in hand included. One index has it."""
    rows = tx.all(
        "SELECT direction, count(*) AS n FROM entry WHERE direction IN ('in', 'out') AND state IN ('waiting', 'active')"
        " AND origin IN (SELECT value FROM json_each(:origins)) GROUP BY direction",
        {"origins": json.dumps(list(Origin))},
    )
    return {row["direction"]: row["n"] for row in rows}

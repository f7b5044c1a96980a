"""The call that walks kept mail again: one mail, or what was taken in a time, a window at a time.

It only looks. Between two mails the store is asked, so that the loop serves others; one replay runs at once, and a
window ends when its time is over: a range of any length, and whatever is in it, delays nobody.
"""

from __future__ import annotations

import asyncio
import time

from gateway import views
from gateway.control import ReplayMail
from gateway.desk.parts import Parts
from gateway.replay import Moves, Then, moves, recall, replay_row, walk_again
from gateway.rows import Replayed, ReplayRow
from gateway.server import Caller
from gateway.services import Services
from pipeline.errors import Refused
from pipeline.store import Row, Tx

LOOKED_AT = 20_000
"""Entries that one window looks through for those of its time."""
MOST_AT_ONCE = 100
"""Mails of one window: so many rows fit into one line of the wire, whatever they say."""
SECONDS = 2.0
"""For one window."""


class Replaying:
    """Answers to the call that walks mail again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turn = asyncio.Semaphore(1)

    async def replay(self, call: ReplayMail, caller: Caller) -> Replayed:
        """What is decided otherwise."""
        services = self._parts.at_work()
        if not call.id and not (call.since or call.until or call.touchpoint):
            raise Refused("say which mail: an id, or --since TIME, --until TIME, --touchpoint ADDRESS")
        async with self._turn:
            return await (self._one(services, call.id) if call.id else self._window(services, call))

    async def _one(self, services: Services, entry_id: int) -> Replayed:
        def work(tx: Tx) -> tuple[Row, Then | str]:
            row = views.entry_row(tx, entry_id)
            if row["origin"] not in _WALKED:
                raise Refused(f"mail {entry_id} was written by Postroom itself ({row['origin']}): it walks no line")
            return row, recall(tx, row, moves(tx))

        row, then = await services.store.read(work)
        made = await _made(services, row, then)
        return _counted([made], [made], 0)

    async def _window(self, services: Services, call: ReplayMail) -> Replayed:
        touchpoint = views.find(services.directory, call.touchpoint).id if call.touchpoint else 0
        limit = max(1, min(call.limit, MOST_AT_ONCE))
        wanted, examined, moved = await services.store.read(lambda tx: (*_ids(tx, call, touchpoint, limit), moves(tx)))
        made: list[ReplayRow] = []
        end = time.monotonic() + SECONDS
        for number in wanted:
            row, then = await services.store.read(lambda tx, i=number, m=moved: _recalled(tx, i, m))  # type: ignore[misc]
            made.append(await _made(services, row, then))
            if time.monotonic() > end and number != wanted[-1]:
                examined = number
                break
        told = [each for each in made if each.changes or each.skipped]
        return _counted(told, made, examined)


_WALKED = ("fetched", "relay")


def _ids(tx: Tx, call: ReplayMail, touchpoint: int, limit: int) -> tuple[list[int], int]:
    """The next ids of mail that is meant, and how far the entries were looked through; 0 is to their end."""
    rows = tx.all(
        "SELECT id, origin IN ('fetched', 'relay') AND accepted_at >= :since AND (:until = 0 OR accepted_at < :until)"
        " AND (:touchpoint = 0 OR touchpoint_id = :touchpoint) AS wanted"
        " FROM entry WHERE id > :after ORDER BY id LIMIT :looked",
        {"since": call.since, "until": call.until, "touchpoint": touchpoint, "after": call.after, "looked": LOOKED_AT},
    )
    wanted = [row["id"] for row in rows if row["wanted"]]
    if len(wanted) > limit:
        return wanted[:limit], wanted[limit - 1]
    return wanted, rows[-1]["id"] if len(rows) == LOOKED_AT else 0


def _recalled(tx: Tx, entry_id: int, moved: Moves) -> tuple[Row, Then | str]:
    row = views.entry_row(tx, entry_id)
    return row, recall(tx, row, moved)


async def _made(services: Services, row: Row, then: Then | str) -> ReplayRow:
    return replay_row(row, skipped=then) if isinstance(then, str) else await walk_again(services, then)


def _counted(told: list[ReplayRow], made: list[ReplayRow], following: int) -> Replayed:
    skipped = sum(bool(each.skipped) for each in made)
    return Replayed(
        rows=tuple(told),
        walked=len(made) - skipped,
        differ=sum(bool(each.changes) for each in made),
        skipped=skipped,
        next=following,
    )

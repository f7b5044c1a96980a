"""Calls about mail: lists, one mail, its content, why, and what people do to it.

Agents see queued mail and nothing else; to them, other mail does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway import views
from gateway.control import (
    LONGEST_CHUNK,
    CloseMail,
    DropMail,
    HoldMail,
    ListMail,
    ReadContent,
    ReleaseMail,
    ReopenMail,
    RetryMail,
    ShowMail,
    Why,
    sees_all,
)
from gateway.desk.parts import Parts
from gateway.events import MailFact, MailWhat
from gateway.rows import Chunk, MailDetail, MailRow, Page, WhyAnswer
from gateway.server import Caller
from pipeline import people
from pipeline.errors import Refused
from pipeline.spool import Also
from pipeline.store import Row, Tx

Act = Callable[[int, str, Also], Awaitable[None]]
"""A verb of the spool."""
_MOST_ANSWERS = 5
_DROPPED_AT_ONCE = 200


class Mails:
    """Answers to calls about mail."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def search(self, call: ListMail, caller: Caller) -> Page[MailRow]:
        """The newest first."""
        scene, queued_only = self._parts.scene, not sees_all(caller.roles)
        return await self._parts.store.read(lambda tx: views.mails(tx, scene, call, queued_only=queued_only))

    async def show(self, call: ShowMail, caller: Caller) -> MailDetail:
        """All but the content."""
        scene = self._parts.scene

        def work(tx: Tx) -> MailDetail:
            _visible(tx, call.id, caller)
            return views.mail_detail(tx, scene, call.id)

        return await self._parts.store.read(work)

    async def content(self, call: ReadContent, caller: Caller) -> Chunk:
        """A piece of it."""
        if not 0 < call.length <= LONGEST_CHUNK or call.offset < 0:
            raise Refused(f"length must be 1 to {LONGEST_CHUNK}, offset 0 or more")

        def work(tx: Tx) -> Chunk:
            return views.content_window(tx, _visible(tx, call.id, caller), call.offset, call.length)

        return await self._parts.store.read(work)

    async def why(self, call: Why, caller: Caller) -> WhyAnswer:
        """What became of a mail."""
        scene = self._parts.scene

        def work(tx: Tx) -> WhyAnswer:
            ids, items = views.why(
                tx, scene, entry_id=call.id, message_id=call.message_id, author=call.author, subject=call.subject
            )
            found = tuple(views.mail_detail(tx, scene, number) for number in ids[:_MOST_ANSWERS])
            return WhyAnswer(mails=found, items=tuple(items), more=len(ids) > _MOST_ANSWERS)

        return await self._parts.store.read(work)

    async def close(self, call: CloseMail, caller: Caller) -> MailRow:
        """Dealt with."""
        return await self._act("mail.close", call.id, caller, self._parts.spool.close)

    async def reopen(self, call: ReopenMail, caller: Caller) -> MailRow:
        """Not dealt with."""
        return await self._act("mail.reopen", call.id, caller, self._parts.spool.reopen)

    async def retry(self, call: RetryMail, caller: Caller) -> MailRow:
        """Now."""
        return await self._act("mail.retry", call.id, caller, self._parts.spool.retry)

    async def hold(self, call: HoldMail, caller: Caller) -> MailRow:
        """Set aside."""

        async def hold(entry_id: int, actor: str, also: Also) -> None:
            await self._parts.spool.hold(entry_id, actor, also, reason=call.reason[:500])

        return await self._act("mail.hold", call.id, caller, hold)

    async def release(self, call: ReleaseMail, caller: Caller) -> MailRow:
        """Let it go on."""
        return await self._act("mail.release", call.id, caller, self._parts.spool.release)

    async def drop(self, call: DropMail, caller: Caller) -> MailRow:
        """Give it up."""
        return await self._act("mail.drop", call.id, caller, self._parts.spool.drop)

    async def drop_all(self, touchpoint_id: int, caller: Caller) -> None:
        """Give up what waits at a touchpoint, and close what is in its queues."""
        groups: tuple[tuple[str, str, Act], ...] = (
            ("mail.drop", "state IN ('waiting', 'held')", self._parts.spool.drop),
            ("mail.close", "disposition = 'queued' AND closed = 0", self._parts.spool.close),
        )
        for verb, where, act in groups:
            while ids := await self._some(touchpoint_id, where):
                await asyncio.gather(*(self._recorded(verb, number, caller, act) for number in ids))

    async def _some(self, touchpoint_id: int, where: str) -> list[int]:
        sql = f"SELECT id FROM entry WHERE touchpoint_id = :id AND {where} LIMIT {_DROPPED_AT_ONCE}"
        rows = await self._parts.store.read(lambda tx: tx.all(sql, {"id": touchpoint_id}))
        return [row["id"] for row in rows]

    async def _act(self, verb: str, entry_id: int, caller: Caller, act: Act) -> MailRow:
        await self._parts.store.read(lambda tx: _visible(tx, entry_id, caller))
        await self._recorded(verb, entry_id, caller, act)
        scene = self._parts.scene
        row = (await self._parts.store.read(lambda tx: views.mail_rows(tx, scene, [entry_id])))[0]
        self._parts.events.publish(MailFact(MailWhat.CHANGED, entry_id, row.touchpoint_id, f"{verb} by {caller.name}"))
        self._parts.house.wake(row.touchpoint_id)
        return row

    async def _recorded(self, verb: str, entry_id: int, caller: Caller, act: Act) -> None:
        """Do it, with its audit row in the same commit."""
        now = self._parts.clock()
        await act(entry_id, caller.name, lambda tx: people.audit(tx, caller.actor, verb, f"mail {entry_id}", now, {}))


def _visible(tx: Tx, entry_id: int, caller: Caller) -> Row:
    row = views.entry_row(tx, entry_id)
    if row["disposition"] != "queued" and not sees_all(caller.roles):
        raise Refused(f"there is no mail {entry_id} in a queue; see: postroom queue list")
    return row

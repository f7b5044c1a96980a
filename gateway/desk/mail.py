"""Calls about mail: lists, one mail, its content and text, the shape of the outbox, and what people do to it.

Agents see queued mail and nothing else; to them, other mail does not exist.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable

from gateway import notices, shapes, views
from gateway.control import (
    LONGEST_CHUNK,
    CloseMail,
    ConfirmMail,
    DropMail,
    HoldMail,
    ListMail,
    MoveMail,
    ReadContent,
    ReadText,
    ReleaseMail,
    ReopenMail,
    RetryMail,
    ShapeOutbox,
    ShowMail,
    sees_all,
)
from gateway.desk.parts import Parts
from gateway.events import MailFact, MailWhat
from gateway.rows import Chunk, HeaderRow, MailDetail, MailRow, MailText, Page, PartRow, Shape
from gateway.server import Caller
from pipeline import people, reading
from pipeline.errors import Refused
from pipeline.spool import Also
from pipeline.store import Row, Tx
from pipeline.touchpoint import SentCopy

Act = Callable[[int, str, Also], Awaitable[None]]
"""A verb of the spool."""
_DROPPED_AT_ONCE = 200
_READ_AT_ONCE = 2
"""Mails that are made readable at the same time: each costs memory, and the loop its share of the processor."""
LONGEST_HEADERS = 300 * 1024
"""Bytes of all headers' values on the wire, so that the line of a text stays below 1 MiB whatever is in it."""


class Mails:
    """Answers to calls about mail."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

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

    async def text(self, call: ReadText, caller: Caller) -> MailText:
        """As people read it."""

        def work(tx: Tx) -> Chunk:
            return views.content_window(tx, _visible(tx, call.id, caller), 0, reading.LOOKED_AT)

        async with self._reading:
            opening = await self._parts.store.read(work)
            whole = opening.size <= len(opening.data)
            return _mail_text(call.id, await asyncio.to_thread(reading.read, opening.data, whole=whole))

    async def shape(self, call: ShapeOutbox, caller: Caller) -> Shape:
        """The fullest first."""
        parts = self._parts
        return await shapes.shape(parts.store, parts.scene, call.touchpoint, call.by, parts.clock())

    async def close(self, call: CloseMail, caller: Caller) -> MailRow:
        """Dealt with."""
        return await self._act("mail.close", call.id, caller, self._parts.spool.close)

    async def reopen(self, call: ReopenMail, caller: Caller) -> MailRow:
        """Not dealt with."""
        return await self._act("mail.reopen", call.id, caller, self._parts.spool.reopen)

    async def move(self, call: MoveMail, caller: Caller) -> MailRow:
        """Into these queues and no others; where it is there already, nothing happens."""
        verb, now = "mail.move", self._parts.clock()

        def also(tx: Tx, before: tuple[str, ...], after: tuple[str, ...]) -> None:
            people.audit(tx, caller.actor, verb, f"mail {call.id}", now, {"from": before, "to": after})

        await self._parts.store.read(lambda tx: _visible(tx, call.id, caller))
        moved = await self._parts.spool.move(call.id, call.ring_groups, also)
        row = await self._row(call.id)
        if moved:
            self._changed(row.id, row.touchpoint_id, verb, caller)
        return row

    async def retry(self, call: RetryMail, caller: Caller) -> MailRow:
        """Now."""
        return await self._act("mail.retry", call.id, caller, self._parts.spool.retry)

    async def confirm(self, call: ConfirmMail, caller: Caller) -> MailRow:
        """It did arrive; whom its content never went to is tried again, and who was refused is told of."""

        async def confirm(entry_id: int, actor: str, also: Also) -> None:
            row = await self._row(entry_id)
            touchpoint = views.find(self._parts.directory, str(row.touchpoint_id))
            file_copy = touchpoint.connection.sent_copy is SentCopy.APPEND
            notice = notices.writer(self._parts, touchpoint)
            await self._parts.spool.confirm(entry_id, actor, also, notice=notice, file_copy=file_copy)

        return await self._act("mail.confirm", call.id, caller, confirm)

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
            ("mail.drop", "state IN ('waiting', 'held', 'unknown')", self._parts.spool.drop),
            ("mail.close", "disposition = 'queued' AND closed = 0", self._parts.spool.close),
        )
        for verb, where, act in groups:
            while ids := await self._some(touchpoint_id, where):
                await asyncio.gather(*(self._recorded(verb, number, caller, act) for number in ids))
                for number in ids:
                    self._changed(number, touchpoint_id, verb, caller)

    async def _some(self, touchpoint_id: int, where: str) -> list[int]:
        sql = f"SELECT id FROM entry WHERE touchpoint_id = :id AND {where} LIMIT {_DROPPED_AT_ONCE}"
        rows = await self._parts.store.read(lambda tx: tx.all(sql, {"id": touchpoint_id}))
        return [row["id"] for row in rows]

    async def _act(self, verb: str, entry_id: int, caller: Caller, act: Act) -> MailRow:
        await self._parts.store.read(lambda tx: _visible(tx, entry_id, caller))
        await self._recorded(verb, entry_id, caller, act)
        row = await self._row(entry_id)
        self._changed(row.id, row.touchpoint_id, verb, caller)
        self._parts.house.wake(row.touchpoint_id)
        return row

    async def _row(self, entry_id: int) -> MailRow:
        scene = self._parts.scene
        return (await self._parts.store.read(lambda tx: views.mail_rows(tx, scene, [entry_id])))[0]

    def _changed(self, entry_id: int, touchpoint_id: int, verb: str, caller: Caller) -> None:
        """Let everybody know."""
        self._parts.events.publish(MailFact(MailWhat.CHANGED, entry_id, touchpoint_id, f"{verb} by {caller.name}"))

    async def _recorded(self, verb: str, entry_id: int, caller: Caller, act: Act) -> None:
        """Do it, with its audit row in the same commit."""
        now = self._parts.clock()
        await act(entry_id, caller.name, lambda tx: people.audit(tx, caller.actor, verb, f"mail {entry_id}", now, {}))


def _visible(tx: Tx, entry_id: int, caller: Caller) -> Row:
    row = views.entry_row(tx, entry_id)
    if row["disposition"] != "queued" and not sees_all(caller.roles):
        raise Refused(f"there is no mail {entry_id} in a queue; see: postroom queue list")
    return row


def _mail_text(entry_id: int, found: reading.Reading) -> MailText:
    values = _fitting((value for _, value in found.fields), LONGEST_HEADERS)
    return MailText(
        id=entry_id,
        headers=tuple(HeaderRow(name=name, value=value) for (name, _), value in zip(found.fields, values, strict=True)),
        text=found.text,
        source=found.source.value,
        cut=found.cut,
        parts=tuple(PartRow(name=part.name, type=part.type, size=part.size) for part in found.parts),
    )


def _fitting(values: Iterable[str], room: int) -> list[str]:
    """The values as long as there is room for them on the wire, where a control character takes six bytes."""
    kept = []
    for value in values:
        size = len(json.dumps(value, ensure_ascii=False).encode())
        kept.append(value if size <= room else "…")
        room -= min(size, room)
    return kept

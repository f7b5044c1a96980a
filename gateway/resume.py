"""Resumes a folder whose numbers changed: nothing is lost, nothing taken twice, and how much of it is what is said.

A cursor dies when the server renumbers a folder (UIDVALIDITY, RFC 9051 section 2.3.1.1), sets it back, or when
somebody deletes it and makes it anew. ``Resume`` lists the folder under its new numbers, reads heads (and bodies only
where heads leave a doubt), lets ``pipeline/identity.py`` say which item is which, and writes that down. Only what is
left over is unseen, and is taken by the next sweep. Promises:

- It may be killed or switched off anywhere: the old cursor stands until the end, and done again it comes to the same.
- A mail that is new never passes for a known one; what was left alone before is left alone again.
- Where a great deal of the unseen is older than what came last, a person decides, and nothing is taken until then.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.connectors import Fetched, Folder, Receiving, Ref
from gateway.pages import Drops
from gateway.services import Services
from pipeline import ledger, resume, strikes
from pipeline.cursor import FolderCursor
from pipeline.errors import CursorLost, StoreFull, Transient
from pipeline.headers import Headers, head_hash
from pipeline.identity import New, Old, match
from pipeline.ledger import RangeKind
from pipeline.mail import OPENING
from pipeline.resume import Found, Place, Renumbered
from pipeline.store import Tx
from pipeline.store.content import Written
from pipeline.strikes import InHand
from pipeline.touchpoint import ResumeChoice

LISTING = 2000
"""Items that are listed at once."""
HEADS = 500
"""Heads that are asked for at once."""
BREATH = 50
"""Heads that are read before others have their turn."""
BODIES = 50
"""Bodies that are asked for at once."""
SLICE = 1000
"""Rows of one commit, so that others are not delayed."""
READING = 5000
"""Rows of one read."""
MOST_OLD = 200
"""Unseen items with a Date before the last arrival that are taken without asking a person."""
MARGIN = 600.0
"""Seconds by which a server's clock may differ from ours."""
_NO_HEAD = bytes(16)

Work = Callable[[Tx], Any]


class SwitchedOff(Exception):
    """The touchpoint was deactivated meanwhile; what is written stays, and the rest is done next time."""


@dataclass(slots=True)
class _Listing:
    """What is in a folder and has no row under its new number yet: 56 bytes an item, since mailboxes are big."""

    uids: array[int] = field(default_factory=lambda: array("q"))
    order: array[int] = field(default_factory=lambda: array("q"))
    """Place in the whole folder."""
    dates: array[float] = field(default_factory=lambda: array("d"))
    """INTERNALDATE."""
    sizes: array[int] = field(default_factory=lambda: array("q"))
    sent: array[float] = field(default_factory=lambda: array("d"))
    """The Date field; INTERNALDATE where there is none."""
    heads: bytearray = field(default_factory=bytearray)
    known: int = 0
    """Items that have a row already."""
    left: int = 0
    """Items that lie in a range already."""
    high: int = 0

    def add(self, ref: Ref, head: bytes, sent: float) -> None:
        """One more, behind the others."""
        self.uids.append(ref.remote_id)
        self.order.append(self.known + self.left + len(self.order))
        self.dates.append(ref.internaldate)
        self.sizes.append(ref.size)
        self.sent.append(sent or ref.internaldate)
        self.heads += head or _NO_HEAD

    def items(self) -> Iterator[New]:
        """All, for matching."""
        for n, uid in enumerate(self.uids):
            head = bytes(self.heads[16 * n : 16 * n + 16])
            yield New(uid, b"" if head == _NO_HEAD else head, self.sizes[n], self.dates[n])


@dataclass(slots=True)
class _Plan:
    """What becomes of the items of a listing."""

    known: list[Place] = field(default_factory=list)
    pending: list[Place] = field(default_factory=list)
    left: list[tuple[int, int, RangeKind, float]] = field(default_factory=list)
    """Runs that are left alone: low, high, why, and since when."""
    left_count: int = 0
    unseen: int = 0
    old: int = 0
    first_unseen: int = 0


class Resume:
    """Resumes one folder of one touchpoint."""

    def __init__(
        self,
        services: Services,
        connector: Receiving,
        touchpoint_id: int,
        folder: Folder,
        *,
        drops: Drops | None = None,
        write: Callable[[Work], Awaitable[Any]] | None = None,
    ) -> None:
        self._services = services
        self._store = services.store
        self._connector = connector
        self._id = touchpoint_id
        self._folder = folder
        self._drops = drops or Drops()
        self._write = write or self._store.write

    async def run(self, cursor: str | None, start: str, *, leave_all: bool = False) -> Found | None:
        """Resume from ``start``, where ``cursor`` died; None while a person is asked what to do.

        ``leave_all`` leaves alone whatever is unseen. Raises SwitchedOff, StaleVersion where somebody moved the cursor
        meanwhile, and CursorLost where the numbers changed once more.
        """
        at = Renumbered(self._id, self._folder.name, FolderCursor.parse(start).epoch)
        listing = await self._list(at, start)
        pairs = await self._match(at, listing)
        plan = await self._plan(at, listing, pairs, leave_all=leave_all)
        now = self._services.clock()
        if plan is None:
            return None
        for part in _slices(plan.known):
            await self._write(lambda tx, part=part: resume.keep(tx, at, part, now))  # type: ignore[misc]
        for runs in _slices(plan.left):
            await self._write(lambda tx, runs=runs: _leave(tx, at, runs))  # type: ignore[misc]
        found = _found(listing, plan)
        low = plan.first_unseen - 1 if plan.first_unseen else listing.high
        end = FolderCursor(at.epoch, low).text()
        await self._write(lambda tx: resume.finish(tx, at, (cursor, end), plan.pending, found, now))
        return found

    # -- Looking -----------------------------------------------------------------------------------------------------

    async def _list(self, at: Renumbered, start: str) -> _Listing:
        ranges = await self._store.read(lambda tx: ledger.ranges(tx, self._id, at.folder, at.epoch))
        listing, cursor, more = _Listing(), start, True
        while more:
            page = await self._connector.changes(self._folder, cursor, LISTING)
            if page.refs:
                await self._add(at, listing, page.refs, ranges)
                listing.high = page.refs[-1].remote_id
            cursor, more = page.cursor, page.more
        return listing

    async def _add(
        self, at: Renumbered, listing: _Listing, refs: Sequence[Ref], ranges: Sequence[tuple[int, int]]
    ) -> None:
        low, high = refs[0].remote_id, refs[-1].remote_id
        there = await self._store.read(lambda tx: resume.placed(tx, at, low, high))
        left = ledger.inside(ranges, [ref.remote_id for ref in refs])
        heads = await self._heads([ref for ref in refs if ref.remote_id not in there and ref.remote_id not in left])
        for ref in refs:
            if ref.remote_id in there:
                listing.known += 1
            elif ref.remote_id in left:
                listing.left += 1
            else:
                listing.add(ref, *heads.get(ref.remote_id, (b"", 0.0)))

    async def _heads(self, refs: Sequence[Ref]) -> dict[int, tuple[bytes, float]]:
        """Remote id -> head hash and Date, of those whose head comes."""
        found: dict[int, tuple[bytes, float]] = {}
        for part in self._parts(refs, HEADS):
            try:
                async for number, raw in self._connector.heads(part):
                    headers = Headers.scan(raw[:OPENING])
                    found[number] = head_hash(headers), headers.date
                    if len(found) % BREATH == 0:
                        await asyncio.sleep(0)
            except Transient as error:
                self._broke(error, part)
                raise
        return found

    def _parts(self, refs: Sequence[Ref], most: int) -> Iterator[Sequence[Ref]]:
        """Refs to be asked for together; those that were in hand when the connection broke travel alone."""
        well = [ref for ref in refs if not self._drops.of(ref)]
        for start in range(0, len(well), most):
            yield well[start : start + most]
        for ref in refs:
            if 0 < self._drops.of(ref) < Drops.PATIENCE:
                yield [ref]

    def _broke(self, error: Transient, refs: Sequence[Ref]) -> None:
        if not isinstance(error, StoreFull):
            self._drops.note(refs)

    async def _match(self, at: Renumbered, listing: _Listing) -> Mapping[int, int]:
        """Remote id -> row, of what we had; reads the bodies that it takes to be sure."""
        bodies: dict[int, bytes] = {}
        while True:
            async with self._services.resuming:  # one at a time: all rows of a folder are in memory
                old = await self._known(at)
                matching = await asyncio.to_thread(match, old, listing.items(), bodies)
                del old
            if not matching.doubtful:
                return matching.pairs
            doubtful = set(matching.doubtful)
            bodies |= await self._bodies(at, [
                Ref(at.folder, at.epoch, uid, listing.dates[n], listing.sizes[n])
                for n, uid in enumerate(listing.uids) if uid in doubtful
            ])  # fmt: skip

    async def _known(self, at: Renumbered) -> list[Old]:
        taken = await self._store.read(lambda tx: resume.used(tx, at))
        found: list[Old] = []
        after = (-1, 0)
        while rows := await self._store.read(lambda tx, a=after: resume.known_items(tx, at, a, READING)):  # type: ignore[misc]
            found += [one for _, one in rows if one.id not in taken]
            after = rows[-1][0]
        return found

    async def _bodies(self, at: Renumbered, refs: Sequence[Ref]) -> dict[int, bytes]:
        """The SHA-256 of each body; b"" for what does not come, is too big, or killed us before."""
        struck = await self._store.read(lambda tx: strikes.load(tx, self._id, at.folder, at.epoch))
        largest = self._services.settings.intake.largest_mail
        found = dict.fromkeys((ref.remote_id for ref in refs), b"")
        wanted = [ref for ref in refs if ref.size <= largest and not struck.of(ref.remote_id)]
        for part in self._parts(wanted, BODIES):
            hand = InHand(touchpoint_id=self._id, folder=at.folder, epoch=at.epoch, low=part[0].remote_id,
                          high=part[-1].remote_id, phase="fetch")  # fmt: skip
            try:
                with self._services.flight.holding(hand):
                    async for answer in self._connector.fetch(part, _Hashing):
                        if isinstance(answer, Fetched):
                            found[answer.ref.remote_id] = answer.sha256
            except Transient as error:
                self._broke(error, part)
                raise
        return found

    # -- Deciding ----------------------------------------------------------------------------------------------------

    async def _plan(
        self, at: Renumbered, listing: _Listing, pairs: Mapping[int, int], *, leave_all: bool
    ) -> _Plan | None:
        """What becomes of each item; None where a person is asked first."""
        before, last, choice, pending = await self._store.read(
            lambda tx: (
                resume.left_before(tx, at), resume.last_arrival(tx, at), resume.chosen(tx, at),
                resume.pending(tx, at),
            )
        )  # fmt: skip
        now = self._services.clock()
        plan = await asyncio.to_thread(
            _plan, listing, pairs, pending, before, last, (float("inf"), now) if leave_all else None
        )
        if leave_all or plan.old <= MOST_OLD or choice is ResumeChoice.TAKE:
            return plan
        if choice is ResumeChoice.LEAVE:
            return await asyncio.to_thread(_plan, listing, pairs, pending, before, last, (last, now))
        found = _found(listing, plan)
        await self._write(lambda tx: resume.ask(tx, at, found, now))
        return None


def _plan(
    listing: _Listing,
    pairs: Mapping[int, int],
    pending: set[int],
    before: Mapping[RangeKind, float],
    last: float,
    leave: tuple[float, float] | None,
) -> _Plan:
    """``leave`` has the Date before which the unseen is left alone, and the time of that decision."""
    plan = _Plan()
    previous = -1
    for n, uid in enumerate(listing.uids):
        if row := pairs.get(uid):
            place = Place(uid, listing.dates[n], listing.sizes[n], row)
            (plan.pending if row in pending else plan.known).append(place)
            continue
        old = listing.sent[n] < last
        why = _left(before, listing.dates[n])
        if why is None and leave is not None and listing.sent[n] < leave[0]:
            why = RangeKind.SKIPPED, leave[1]
        if why is None:
            plan.unseen += 1
            plan.old += old
            plan.first_unseen = plan.first_unseen or uid
            continue
        plan.left_count += 1
        if plan.left and plan.left[-1][2:] == why and listing.order[n] == previous + 1:
            plan.left[-1] = (plan.left[-1][0], uid, *why)
        else:
            plan.left.append((uid, uid, *why))
        previous = listing.order[n]
    return plan


def _left(before: Mapping[RangeKind, float], internaldate: float) -> tuple[RangeKind, float] | None:
    """Why an item was left alone before, as far as its time tells."""
    for kind in (RangeKind.OLDER, RangeKind.SKIPPED):
        if 0 < internaldate < before.get(kind, 0.0) - MARGIN:
            return kind, before[kind]
    return None


def _found(listing: _Listing, plan: _Plan) -> Found:
    return Found(
        known=listing.known + len(plan.known) + len(plan.pending),
        left=listing.left + plan.left_count,
        unseen=plan.unseen,
        old=plan.old,
        high=listing.high,
    )


def _leave(tx: Tx, at: Renumbered, runs: Sequence[tuple[int, int, RangeKind, float]]) -> None:
    for low, high, kind, since in runs:
        ledger.record_range(tx, at.touchpoint_id, at.folder, at.epoch, low, high, kind, since)


def _slices(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]


class _Hashing:
    """Takes a content and keeps nothing of it but its hash."""

    content_id = 0

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)

    async def finish(self) -> Written:
        return Written(content_id=0, size=self._size, sha256=self._hash.digest(), opening=b"")

    async def discard(self) -> None:
        pass


async def check_numbers(
    services: Services, connector: Receiving, touchpoint_id: int, folder: Folder, cursor: str
) -> None:
    """Raise CursorLost where the last item that we know is another one by now: the folder was restored underneath."""
    try:
        epoch = FolderCursor.parse(cursor).epoch
    except CursorLost:
        return  # whoever reads from it will say so
    row = await services.store.read(lambda tx: ledger.highest(tx, touchpoint_id, folder.name, epoch))
    if row is None:
        return
    page = await connector.changes(folder, FolderCursor(epoch, row["remote_id"] - 1).text(), 1)
    for ref in page.refs:
        same = ref.internaldate == row["internaldate"] and ref.size == row["size"]
        if ref.remote_id != row["remote_id"] or same:
            continue
        async for _, raw in connector.heads([ref]):
            if head_hash(Headers.scan(raw[:OPENING])) != row["head_hash"]:
                words = f"{folder.name} was restored: its uid {ref.remote_id} is another mail than before"
                raise CursorLost(words, FolderCursor.anew(epoch).text())

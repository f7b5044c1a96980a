"""The proof that nothing is lost: what servers list, laid beside the ledger, the spool and the contents it keeps.

``Books`` goes through all of it in windows of ascending ids, each one short read, while mail goes on to flow. Every
item of a server and every row of the ledger must be in exactly one place; every submission must stand somewhere in the
account; what one table says of another must be there, with all its bytes. What is not so is ``Missing``. Judged is
what was there when the books were opened (the horizon), and what servers listed: what comes later is nobody's loss.

Entry ids are given once and in one commit with their entry (AUTOINCREMENT), so an id without its entry is a mail that
was removed. Memory: one byte for each entry id, eight for each listed item, and nothing for each mail.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pipeline import proof_rows
from pipeline.cursor import UIDVALIDITY, FolderCursor
from pipeline.ledger import ItemState, RangeKind
from pipeline.losses import Loss, Missing, entry_loss, kind_of, out_loss
from pipeline.proof_rows import Group, Horizon
from pipeline.store import Row, Store

WINDOW = 500
"""Rows of one read."""
STEPS = 2000
"""Steps of a comparison after which others have their turn."""
SHOWN = 100
"""Missing things that are described; all are counted."""
_PAGE = 1 << 16
IN = ("queued", "stopped", "held", "waiting", "dropped", "pending", "moved", "older", "skipped", "gone", "not_taken")
"""Places of an item, in the order in which they are told."""
OUT = ("delivered", "waiting", "parked", "unknown", "held", "failed", "dropped")
"""Places of a submission, likewise."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a proof counted."""

    inward: Counter[str] = field(default_factory=Counter)
    """Items by place, with ``missing``, and ``known``: rows for a mail under another number, which counts once."""
    outward: Counter[str] = field(default_factory=Counter)
    found: list[Missing] = field(default_factory=list)
    """The first ones."""
    untold: int = 0
    """Failed submissions of which no notice tells."""

    @property
    def missing(self) -> int:
        """How many things are missing, both ways."""
        return self.inward["missing"] + self.outward["missing"]

    def miss(self, missing: Missing, number: int = 1) -> None:
        """Count something that is missing."""
        (self.inward if missing.way == "in" else self.outward)["missing"] += number
        if len(self.found) < SHOWN:
            self.found.append(missing)


class Marks:
    """A set of numbers, a byte for each in pages that are made when they are needed."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Whether it is new."""
        page = self._pages.setdefault(number // _PAGE, bytearray(_PAGE))
        new = not page[number % _PAGE]
        page[number % _PAGE] = 1
        return new

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number // _PAGE)
        return page is not None and page[number % _PAGE] == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderFound:
    """What came of one folder that a server listed."""

    not_taken: int
    """Items beyond the cursor."""
    trouble: str = ""
    """Why its items cannot be told to be here or not; "" where they can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What is proven: all, one touchpoint, or what came since a time."""

    touchpoint_id: int = 0
    since: float = 0.0
    """Items that the server or we have since then, and mails accepted since then."""

    @property
    def whole(self) -> bool:
        """Whether the counters can be compared."""
        return not self.touchpoint_id and not self.since


class Books:
    """One proof. ``open``, then ``folder`` for each folder that a server listed, then ``close``."""

    def __init__(self, store: Store, scope: Scope = Scope()) -> None:
        self.tally = Tally()
        self._store = store
        self._scope = scope
        self._horizon = Horizon()
        self._named = Marks()
        """Entries that the ledger names as taken."""
        self._done: set[Group] = set()
        self._unplaced: dict[Group, array[int]] = {}
        """Listed items that nothing knows of."""
        self._rescued: dict[tuple[Group, int], Row] = {}
        self._mails: Counter[str] = Counter()
        """Entries by what they count as."""
        self._removed: Counter[str] = Counter()

    async def open(self) -> None:
        """Fix what is judged."""
        self._horizon = await self._store.read(proof_rows.horizon)

    # -- the way in --------------------------------------------------------------------------------------------------

    async def folder(
        self, touchpoint_id: int, name: str, epoch: int, remote_ids: Sequence[int], cursor: str | None
    ) -> FolderFound:
        """Lay a server's list (ascending) beside the ledger; the cursor must have been read after the list came.

        ``epoch`` is the UIDVALIDITY that the server says. Raises CursorLost for a cursor that cannot be read.
        """
        at = FolderCursor.parse(cursor) if cursor else FolderCursor(epoch, 0)
        if at.epoch & UIDVALIDITY != epoch:
            return FolderFound(not_taken=0, trouble=f"{name} was renumbered, and its resume is pending")
        group = Group(touchpoint_id, name, at.epoch)
        ranges = await self._store.read(lambda tx: proof_rows.ranges(tx, group))
        sweep = _Sweep(remote_ids, at.low, ranges)
        await self._rows(group, sweep)
        self.tally.inward.update(sweep.places)
        self._unplaced[group] = sweep.unplaced
        return FolderFound(not_taken=sweep.places["not_taken"])

    async def _rows(self, group: Group, sweep: _Sweep | None = None) -> None:
        """All ledger rows of a folder and epoch, window by window."""
        self._done.add(group)
        after, more = -1, True
        while more:
            rows = await self._store.read(lambda tx, a=after: proof_rows.items(tx, group, a, WINDOW))  # type: ignore[misc]
            more = len(rows) == WINDOW
            for row in rows:
                self._item(group, row)
            for _ in sweep.window([row["remote_id"] for row in rows], last=not more) if sweep else ():
                await asyncio.sleep(0)
            after = rows[-1]["remote_id"] if rows else after

    def _item(self, group: Group, row: Row) -> None:
        """One row of the ledger: its place, or what is missing of it. A mail counts once, however often it is named."""
        named = bool(row["entry_id"])
        first = self._named.add(row["entry_id"]) if named else True
        at = row["seen_at"] if row["accepted_at"] is None else row["accepted_at"]
        if max(at, row["internaldate"]) < self._scope.since:
            return
        if not first:
            self.tally.inward["known"] += 1
        elif not named and row["state"] != ItemState.TAKEN:
            self.tally.inward[row["state"]] += 1
        elif (loss := entry_loss(group, row)) is not None:
            self._lost(*loss, group, row)
        else:
            self.tally.inward[row["disposition"] or row["entry_state"]] += 1

    def _lost(self, loss: Loss, words: str, group: Group, row: Row) -> None:
        self.tally.miss(
            Missing(
                way="in", loss=loss, words=words, touchpoint_id=group.touchpoint_id, folder=group.folder,
                remote_id=row["remote_id"], entry_id=row["entry_id"], message_id=row["message_id"],
                subject=row["subject"] or "",
            )
        )  # fmt: skip

    # -- the rest ----------------------------------------------------------------------------------------------------

    async def close(self, sends: Callable[[int], bool], told: Callable[[str], bool]) -> Tally:
        """Rows that no server was asked about, all mails, and the counters.

        ``sends``: whether a touchpoint's outbound mail moves, or is parked. ``told``: whether somebody is there to be
        told of a failure, given the notify address of its relay user ("" for none).
        """
        group: Group | None = Group(self._scope.touchpoint_id, "", -1)
        while (group := await self._store.read(lambda tx, g=group: proof_rows.next_group(tx, g))) is not None:  # type: ignore[misc]
            if self._scope.touchpoint_id not in (0, group.touchpoint_id):
                break
            if group not in self._done:
                await self._rows(group)
        await self._entries(sends, told)
        self._tell_unplaced()
        if self._scope.whole:
            self._counters()
        return self.tally

    async def _entries(self, sends: Callable[[int], bool], told: Callable[[str], bool]) -> None:
        low, top = 1, self._horizon.top
        while low <= top:
            high = min(low + WINDOW - 1, top)
            window = await self._store.read(
                lambda tx, a=low, b=high: proof_rows.entries(tx, a, b, self._scope.touchpoint_id)  # type: ignore[misc]
            )
            if not window.ids:  # nothing for a long way, maybe: all of it is one gap
                high = min(window.next_id - 1, top) if window.next_id else top
            await self._gaps(window.ids, window.accepted, low, high, window.next_at)
            self._mails.update(window.kinds)
            fetched = (number for number, kind in zip(window.ids, window.kinds, strict=True) if kind == "in")
            orphans = [number for number in fetched if number not in self._named and number not in window.others]
            for row in await self._store.read(lambda tx, o=orphans: proof_rows.orphans(tx, o)) if orphans else ():  # type: ignore[misc]
                self._orphan(row)
            for row in window.out:
                self._outward(row, sends, told)
            low = high + 1

    async def _gaps(self, ids: Sequence[int], accepted: Sequence[float], low: int, high: int, next_at: float) -> None:
        """Ids between two entries: each was a mail. One that the ledger names has been told already."""
        if len(ids) == high - low + 1 or self._scope.touchpoint_id:
            return
        for first, last in _between(ids, low, high):
            at = bisect_right(ids, last)
            when = accepted[at] if at < len(ids) else next_at
            if when and when < self._scope.since:
                continue
            traces = await self._store.read(lambda tx, f=first, t=last: proof_rows.traces(tx, f, t))  # type: ignore[misc]
            for number in range(first, min(last, first + 100 * WINDOW) + 1):
                if number in self._named:
                    self._removed["in"] += 1
                else:
                    kind = kind_of(number in traces.walked, number in traces.addressed)
                    self._removed[kind] += 1
                    words = f"mail {number} was removed: its number was given, and there is no such mail"
                    way = "in" if kind in ("in", "") else "out"
                    self.tally.miss(Missing(way=way, loss=Loss.REMOVED, words=words, entry_id=number))
            if (beyond := last - first - 100 * WINDOW) > 0:
                words = f"mails {last - beyond + 1} to {last} were removed"
                self.tally.miss(Missing(way="in", loss=Loss.REMOVED, words=words), beyond)
                self._removed[""] += beyond

    def _orphan(self, row: Row) -> None:
        """A fetched mail that no row of the ledger names."""
        if row["accepted_at"] < self._scope.since:
            return
        group, remote_id = _read_seed(row["seed"])
        if _holds(self._unplaced.get(group, ()), remote_id):  # one thing, seen from both ends
            if len(self._rescued) < SHOWN:
                self._rescued[group, remote_id] = row
            return
        words = f"its ledger row is gone; the mail is here as {row['id']}"
        self.tally.miss(
            Missing(
                way="in", loss=Loss.NO_ROW, words=words, touchpoint_id=row["touchpoint_id"], folder=group.folder,
                remote_id=remote_id, entry_id=row["id"], message_id=row["message_id"], subject=row["subject"],
            )
        )  # fmt: skip

    def _tell_unplaced(self) -> None:
        for group, remote_ids in self._unplaced.items():
            shown = remote_ids[: SHOWN - min(SHOWN, len(self.tally.found))]
            self.tally.inward["missing"] += len(remote_ids) - len(shown)
            for remote_id in shown:
                row = self._rescued.get((group, remote_id))
                loss, words = Loss.UNKNOWN_ITEM, "the server has it, and nothing here knows of it"
                if row is not None:
                    loss, words = Loss.NO_ROW, f"its ledger row is gone; the mail is here as {row['id']}"
                self.tally.miss(
                    Missing(
                        way="in", loss=loss, words=words, touchpoint_id=group.touchpoint_id, folder=group.folder,
                        remote_id=remote_id, entry_id=row["id"] if row else 0,
                        message_id=row["message_id"] if row else "", subject=row["subject"] if row else "",
                    )
                )  # fmt: skip

    # -- the way out -------------------------------------------------------------------------------------------------

    def _outward(self, row: Row, sends: Callable[[int], bool], told: Callable[[str], bool]) -> None:
        """One submission: its place, or what is missing of it."""
        if row["accepted_at"] < self._scope.since:
            return
        if (loss := out_loss(row)) is not None:
            self.tally.miss(
                Missing(
                    way="out", loss=loss[0], words=loss[1], touchpoint_id=row["touchpoint_id"], entry_id=row["id"],
                    message_id=row["message_id"], subject=row["subject"],
                )
            )  # fmt: skip
            return
        place = row["disposition"] or row["state"]
        if place in ("waiting", "active"):
            place = "waiting" if sends(row["touchpoint_id"]) else "parked"
        self.tally.outward[place] += 1
        if place == "failed" and row["origin"] == "relay" and not row["notices"] and told(row["notify"] or ""):
            self.tally.untold += 1

    # -- the counters ------------------------------------------------------------------------------------------------

    def _counters(self) -> None:
        """The left sides of the account, as far as no removed mail explains the difference."""
        untraced = self._removed[""]
        for name, kind in (("taken", "in"), ("accepted", "relay"), ("auto-replied", "auto-reply")):
            said, there = self._horizon.counters.get(name, 0), self._mails[kind]
            most = self._removed[kind]
            least = 0 if kind == "auto-reply" else most  # a removed notice looks the same, and has no counter
            lacking = said - there
            difference = max(0, lacking - most) + min(0, lacking - least)
            if difference > 0:
                explained = min(difference, untraced)
                difference, untraced = difference - explained, untraced - explained
            if difference:
                words = f"the counter {name} says {said}, and there are {there} such mails"
                missing = Missing(way="in" if kind == "in" else "out", loss=Loss.COUNTER, words=words)
                self.tally.miss(missing, abs(difference))


class _Sweep:
    """A server's list, laid beside the rows of the ledger window by window; by runs, since most items are like others.

    Ranges may overlap: an item lies in one if the furthest end of all that begin before it lies behind it.
    """

    def __init__(self, remote_ids: Sequence[int], low: int, ranges: Sequence[tuple[int, int, str]]) -> None:
        self.places: Counter[str] = Counter()
        self.unplaced: array[int] = array("Q")
        self._listed = remote_ids
        self._low = low
        self._lows = sorted(first for first, _, _ in ranges)
        self._ends = list(accumulate(((last, kind) for _, last, kind in sorted(ranges)), max))
        self._at = 0

    def window(self, known: Sequence[int], *, last: bool) -> Iterator[None]:
        """Place the listed items up to the last one that has a row, or all that are left; yields now and then."""
        for number, remote_id in enumerate(known):
            end = bisect_left(self._listed, remote_id, self._at)
            yield from self._place(end)
            self._at = end + (end < len(self._listed) and self._listed[end] == remote_id)
            if number % STEPS == STEPS - 1:
                yield
        if last:
            yield from self._place(len(self._listed))

    def _place(self, end: int) -> Iterator[None]:
        """Items without a row, from where we are to ``end``."""
        steps = 0
        while self._at < end:
            self._at = self._run(self._at, end)
            steps += 1
            if steps % STEPS == 0:
                yield

    def _run(self, at: int, end: int) -> int:
        """One run of items that are alike; where the next one begins."""
        begun = bisect_right(self._lows, self._listed[at])
        last, kind = self._ends[begun - 1] if begun else (0, "")
        if last >= self._listed[at]:
            behind = bisect_right(self._listed, last, at, end)
            self.places["older" if kind == RangeKind.OLDER else "skipped"] += behind - at
            return behind
        behind = bisect_left(self._listed, self._lows[begun], at, end) if begun < len(self._lows) else end
        settled = bisect_right(self._listed, self._low, at, behind)
        self.unplaced.extend(self._listed[at:settled])
        self.places["not_taken"] += behind - settled
        return behind


def _between(ids: Sequence[int], low: int, high: int) -> Iterable[tuple[int, int]]:
    """The runs of numbers in low..high that are not among ``ids`` (ascending)."""
    for number in (*ids, high + 1):
        if number > low:
            yield low, number - 1
        low = number + 1


def _holds(numbers: Sequence[int], number: int) -> bool:
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number


def _read_seed(seed: str) -> tuple[Group, int]:
    """The item that a fetched mail was made of (``ledger.Item.seed``); all 0 where it does not say."""
    touchpoint, _, rest = seed.partition("/")
    folder, _, numbers = rest.rpartition("/")
    folder, _, epoch = folder.rpartition("/")
    if not (touchpoint.isdigit() and epoch.isdigit() and numbers.isdigit()):
        return Group(0, "", 0), 0
    return Group(int(touchpoint), folder, int(epoch)), int(numbers)

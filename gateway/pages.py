"""Pages of fetched mail: which items are fetched together, what the line says of them, and their one commit.

Used by ``receiver.py``, which knows when; this file knows how. It talks to the server only to fetch, never to mark.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.connectors import Fetched, Folder, FolderRole, Missing, Receiving, Ref
from gateway.deciding import Walk, decide_page
from gateway.patience import until_fresh
from gateway.services import Services
from pipeline import ledger
from pipeline.errors import StaleVersion, StoreFull, Transient
from pipeline.headers import Headers, head_hash
from pipeline.intake import Accepted, DecidedPage, Taken
from pipeline.ledger import Item, ItemState, Prints
from pipeline.line import Release
from pipeline.mail import OPENING, Direction, Envelope, Mail
from pipeline.retry import pending_delay
from pipeline.store import Row, Tx
from pipeline.store.content import ContentWriter
from pipeline.strikes import OUT, InHand, Strikes
from pipeline.touchpoint import Touchpoint
from pipeline.verdict import HoldCause


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Items of one folder that are fetched and committed together."""

    folder: Folder
    refs: Sequence[Ref]
    strikes: Strikes
    """Of the folder, when the batch was made."""
    cursor: str | None
    """Where the folder's cursor goes with this commit; None leaves it (items that come late)."""
    resumed: int = 0
    """Items up to this remote id were there when the folder had new numbers."""

    @property
    def struck(self) -> bool:
        """Whether a mail of it was in hand when the process died: such a mail travels alone."""
        return any(self.strikes.of(ref.remote_id) for ref in self.refs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Haul:
    """What a fetch of a batch brought; ``reserved`` bytes of the budget are to be given back after the commit."""

    batch: Batch
    answers: Sequence[Fetched | Missing]
    reserved: int


class Drops:
    """Which mails were in hand when the connection broke or their page failed, and how often; in memory only.

    A server that hangs up at one certain mail must not stop its folder, nor must a mail that breaks its page: what was
    in hand is asked for alone next time, and what goes wrong again and again becomes a pending item.
    """

    PATIENCE = 3

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int, int], int] = {}

    def note(self, refs: Sequence[Ref]) -> None:
        """The connection broke with these in hand."""
        for ref in refs:
            key = (ref.folder, ref.epoch, ref.remote_id)
            self._counts[key] = self._counts.get(key, 0) + 1

    def forget(self, refs: Sequence[Ref]) -> None:
        """They came, or are settled otherwise."""
        for ref in refs if self._counts else ():
            self._counts.pop((ref.folder, ref.epoch, ref.remote_id), None)

    def of(self, ref: Ref) -> int:
        """How often in a row."""
        return self._counts.get((ref.folder, ref.epoch, ref.remote_id), 0) if self._counts else 0


def batches(
    folder: Folder,
    refs: Sequence[Ref],
    strikes: Strikes,
    drops: Drops,
    end: str,
    *,
    mails: int,
    size: int,
    resumed: int = 0,
) -> list[Batch]:
    """Refs in pages of at most ``mails`` and ``size`` bytes, suspects alone; ``end`` is the last one's cursor."""
    groups: list[list[Ref]] = []
    weight = 0
    alone = False
    for ref in refs:
        suspect = strikes.of(ref.remote_id) > 0 or drops.of(ref) > 0
        if not groups or alone or suspect or len(groups[-1]) >= mails or weight + ref.size > size:
            groups.append([])
            weight = 0
        groups[-1].append(ref)
        weight += min(ref.size, OPENING)
        alone = suspect
    cursors = [group[-1].cursor or None for group in groups[:-1]] + [end]
    return [
        Batch(folder=folder, refs=group, strikes=strikes, cursor=cursor, resumed=resumed)
        for group, cursor in zip(groups, cursors, strict=False)
    ]


class Pages:
    """Fetches, decides and commits the batches of one touchpoint."""

    def __init__(self, services: Services, touchpoint_id: int, current: Callable[[], Touchpoint]) -> None:
        self._services = services
        self._id = touchpoint_id
        self._current = current
        self.drops = Drops()

    async def fetch(self, connector: Receiving, batch: Batch) -> Haul:
        """The contents of a batch; what is too big, or held for its strikes, is not asked for."""
        largest = self._services.settings.intake.largest_mail
        wanted = [ref for ref in batch.refs if ref.size <= largest and not _killed_by_fetch(ref, batch.strikes)]
        broken = [ref for ref in wanted if self.drops.of(ref) >= Drops.PATIENCE]
        if not wanted or broken:  # a broken one travels alone, so there is nothing else in this batch
            self.drops.forget(broken)
            return Haul(batch=batch, answers=[_unfetchable(ref) for ref in broken], reserved=0)
        hand = InHand(touchpoint_id=self._id, folder=batch.folder.name, epoch=wanted[0].epoch,
                      low=wanted[0].remote_id, high=wanted[-1].remote_id, phase="fetch")  # fmt: skip
        reserved = await self._services.budget.take(sum(min(ref.size, OPENING) for ref in wanted))
        station = self._services.metrics.fetch
        began = station.clock()
        try:
            with self._services.flight.holding(hand):
                answers = [a async for a in connector.fetch(wanted, lambda: ContentWriter(self._services.store))]
        except BaseException as error:
            await self._services.budget.give_back(reserved)
            if isinstance(error, Transient) and not isinstance(error, StoreFull):
                self.drops.note(wanted)
            if isinstance(error, Exception):
                station.failed()
            raise
        missing = [answer for answer in answers if isinstance(answer, Missing)]
        station.passed(began, len(answers) - len(missing), errors=sum(not each.gone for each in missing))
        return Haul(batch=batch, answers=answers, reserved=reserved)

    async def discard(self, haul: Haul) -> None:
        """Forget a haul that is not committed."""
        await self._services.budget.give_back(haul.reserved)

    async def commit(self, connector: Receiving, haul: Haul) -> list[Accepted]:
        """Decide a haul and make it durable; decided again when the touchpoint changed meanwhile."""
        try:
            moved = await self._moved(connector, haul)
            accepted: list[Accepted] = await until_fresh()(self._commit_once, haul, moved)
        except Exception as error:
            if not isinstance(error, StoreFull | StaleVersion):
                self.drops.note(haul.batch.refs)  # whatever it is, it must not stop the folder for ever
            raise
        self.drops.forget(haul.batch.refs)
        return accepted

    async def _commit_once(self, haul: Haul, moved: set[int]) -> list[Accepted]:
        batch = haul.batch
        touchpoint = self._current()
        page = DecidedPage(
            touchpoint=touchpoint,
            folder=batch.folder.name,
            epoch=batch.refs[0].epoch,
            items=await self._decided(haul, moved, touchpoint),
            at=self._services.clock(),
            cursor=batch.cursor,
            settled=batch.refs[-1].remote_id if batch.cursor is not None else 0,
        )
        return await self._services.spool.accept(page)

    async def _decided(self, haul: Haul, moved: set[int], touchpoint: Touchpoint) -> list[Taken]:
        """What becomes of each item of a haul."""
        answers = {answer.ref.remote_id: answer for answer in haul.answers}
        settled: dict[int, Taken] = {}
        walks: list[tuple[Ref, Fetched | None, Walk]] = []
        for ref in haul.batch.refs:
            item = self._item(ref)
            match answers.get(ref.remote_id):
                case Missing(gone=True):
                    settled[ref.remote_id] = Taken(item=item, state=ItemState.GONE)
                case Missing() as missing:
                    settled[ref.remote_id] = self._pending(item, missing.error)
                case Fetched() as fetched if ref.remote_id in moved:
                    settled[ref.remote_id] = Taken(item=item, state=ItemState.MOVED, prints=_prints(fetched))
                case Fetched() as fetched:
                    walks.append((ref, fetched, self._walk_of(haul.batch, ref, fetched)))
                case None:
                    walks.append((ref, None, self._unfetched(haul.batch, ref)))
        outcomes = await decide_page(self._services, touchpoint, [walk for _, _, walk in walks])
        for (ref, content, _), outcome in zip(walks, outcomes, strict=True):
            settled[ref.remote_id] = Taken(
                item=self._item(ref), outcome=outcome, mark=touchpoint.connection.mark,
                data=content.data if content else b"", content_id=content.content_id if content else 0,
            )  # fmt: skip
        return [settled[ref.remote_id] for ref in haul.batch.refs]

    def _item(self, ref: Ref) -> Item:
        return Item(self._id, ref.folder, ref.epoch, ref.remote_id, ref.internaldate, ref.size)

    def _pending(self, item: Item, error: str) -> Taken:
        due = self._services.clock() + pending_delay(1, self._services.chance())
        return Taken(item=item, state=ItemState.PENDING, attempts=1, due_at=due, error=error)

    def _walk_of(self, batch: Batch, ref: Ref, fetched: Fetched) -> Walk:
        hand = InHand(touchpoint_id=self._id, folder=ref.folder, epoch=ref.epoch, low=ref.remote_id,
                      high=ref.remote_id, phase="walk")  # fmt: skip
        aside = None
        if (count := batch.strikes.of(ref.remote_id)) >= OUT:
            aside = HoldCause.POISON, f"Postroom died {count} times with this mail in hand"
        return Walk(mail=self._mail(batch, ref, fetched), hand=hand, aside=aside)

    def _unfetched(self, batch: Batch, ref: Ref) -> Walk:
        """A mail that is held without its bytes; the copy on the server stays as it is."""
        if ref.size > self._services.settings.intake.largest_mail:
            aside = HoldCause.OVERSIZE, f"{ref.size} bytes, more than intake.largest_mail; it is still on the server"
        else:
            count = batch.strikes.of(ref.remote_id)
            aside = HoldCause.POISON, f"Postroom died {count} times while fetching it; it is still on the server"
        empty = Fetched(ref=ref, size=ref.size)
        return Walk(mail=self._mail(batch, ref, empty), aside=aside)

    def _mail(self, batch: Batch, ref: Ref, fetched: Fetched) -> Mail:
        mail = _mail(batch.folder, ref, fetched, self._item(ref).seed)
        return replace(mail, resumed=True) if ref.remote_id <= batch.resumed else mail

    async def _moved(self, connector: Receiving, haul: Haul) -> set[int]:
        """Items that we know already, from another folder or under a number that is gone from this one."""
        found = [answer for answer in haul.answers if isinstance(answer, Fetched)]
        known = await self._services.store.read(lambda tx: _alike(tx, self._id, found))
        moved: set[int] = set()
        absorbed: Counter[tuple[bytes, float]] = Counter()
        for answer, rows in known:
            ref, print_ = answer.ref, (answer.sha256, answer.ref.internaldate)
            itself = ref.epoch, ref.remote_id
            mine = [each for each in rows if each["folder"] == ref.folder]
            mine = [each for each in mine if (each["epoch"], each["remote_id"]) != itself]
            here = {row["remote_id"] for row in mine if row["epoch"] == ref.epoch}
            elsewhere = any(row["folder"] != ref.folder for row in rows)
            if _before_renumbering(mine, ref) > absorbed[print_]:
                absorbed[print_] += 1
                moved.add(ref.remote_id)
            elif elsewhere or (here and not await connector.present(haul.batch.folder, sorted(here))):
                moved.add(ref.remote_id)
        return moved


def _before_renumbering(rows: Sequence[Row], ref: Ref) -> int:
    """How many items of earlier epochs of this folder nothing stands for in the one of ``ref``."""
    before = sum(row["epoch"] < ref.epoch and row["state"] != ItemState.KNOWN for row in rows)
    standing = sum(row["epoch"] == ref.epoch and row["state"] in (ItemState.KNOWN, ItemState.MOVED) for row in rows)
    return int(before - standing)


def _prints(fetched: Fetched) -> Prints:
    headers = Headers.scan(fetched.data[:OPENING] if fetched.data else fetched.opening)
    return Prints(message_id=headers.message_id, head_hash=head_hash(headers), sha256=fetched.sha256)


def _unfetchable(ref: Ref) -> Missing:
    error = f"the connection or the page broke {Drops.PATIENCE} times with it in hand"
    return Missing(ref=ref, gone=False, error=error)


def _killed_by_fetch(ref: Ref, strikes: Strikes) -> bool:
    return strikes.of(ref.remote_id) >= OUT and not strikes.killed_by_walk(ref.remote_id)


def _alike(tx: Tx, touchpoint_id: int, found: Sequence[Fetched]) -> list[tuple[Fetched, list[Row]]]:
    rows = ((each, ledger.alike(tx, touchpoint_id, each.sha256, each.ref.internaldate)) for each in found)
    return [(each, alike) for each, alike in rows if alike]


def _mail(folder: Folder, ref: Ref, fetched: Fetched, seed: str) -> Mail:
    opening = fetched.data[:OPENING] if fetched.data else fetched.opening
    headers = Headers.scan(opening)
    return Mail(
        direction=Direction.IN,
        envelope=Envelope(sender=headers.return_path),
        opening=opening,
        headers=headers,
        size=fetched.size,
        received_at=ref.internaldate,
        seed=seed,
        sha256=fetched.sha256 or (hashlib.sha256(fetched.data).digest() if fetched.data else b""),
        junk=folder.role is FolderRole.JUNK,
    )


def stored_mail(row: Row, opening: bytes) -> Mail:
    """A mail of the spool as a line sees it."""
    return Mail(
        direction=Direction(row["direction"]),
        envelope=Envelope(sender=row["envelope_sender"]),
        opening=opening,
        headers=Headers.scan(opening),
        size=row["size"],
        received_at=row["received_at"],
        seed=row["seed"],
        junk=row["mark"] == "junk",
        resumed=row["mark"] == "resumed",
        given_id=row["message_id"],
    )


def release_of(row: Row) -> Release | None:
    """What a person let a mail of the spool pass; None where nobody did."""
    return Release(stages=tuple(row["held_by"].split()), by=row["released_by"]) if row["released_by"] else None

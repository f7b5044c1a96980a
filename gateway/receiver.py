"""The inbound task of one touchpoint: it alone takes this mailbox's mail in and decides it.

The task reads every watched folder from its cursor, and then waits for a hint that something changed. Each page is
fetched, decided and committed as one; the next FETCH is sent before that commit is answered. Promises:

- Nothing is marked or moved on the server before the commit that holds the mail.
- Trouble of this mailbox is raised to ``Post`` and stays there; a mail that cannot be fetched costs one mail.
- Mail that waits in the spool (deferred, released) is decided here too, connected or not.
- A folder with new numbers is resumed (``resume.py``); the other folders go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.connectors import Folder, FolderRole, Missing, Page, Receiving, Ref
from gateway.deciding import Walk, decide_alone
from gateway.events import MailFact, MailWhat, TouchpointFact, TouchpointWhat
from gateway.outcomes import Outcomes
from gateway.pages import Batch, Drops, Haul, Pages, batches, release_of, stored_mail
from gateway.patience import until_fresh
from gateway.refetching import fetch_again
from gateway.resume import Resume, SwitchedOff, Work, check_numbers
from gateway.services import Services
from pipeline import ledger, resume, strikes
from pipeline.errors import CursorLost, PostroomError, ProviderFault, Refused, StaleVersion
from pipeline.intake import Accepted
from pipeline.lifecycle import ConnectionState
from pipeline.retry import pending_delay
from pipeline.splice import size_after, unpack
from pipeline.store import Row, Tx, content
from pipeline.strikes import OUT, InHand, Strikes
from pipeline.verdict import Action, HoldCause

if TYPE_CHECKING:
    from gateway.post import Post

LISTING = 2000
"""Items that are listed at once."""
RENUMBERINGS = 3
"""How often a folder may get new numbers while it is read."""
DEFERRED_LIMIT = 5 * 86400.0
"""A mail that stages deferred for longer is held."""
FACTS = {
    Action.PASS: MailWhat.ASSIGNED,
    Action.STOP: MailWhat.STOPPED,
    Action.HOLD: MailWhat.HELD,
    Action.REJECT: MailWhat.HELD,
    Action.DEFER: MailWhat.UNDECIDED,
}


class Receiver:
    """Takes in the mail of one touchpoint."""

    def __init__(self, post: Post, services: Services) -> None:
        self._post = post
        self._services = services
        self._store = services.store
        self._pages = Pages(services, post.id, lambda: post.touchpoint)
        self._outcomes = Outcomes(post, services)
        self._in_page = asyncio.Lock()
        self._watching: frozenset[str] = frozenset()
        """Names of the folders that pending items can be asked for in."""
        self._asking: set[str] = set()
        """Folders with new numbers about which a person is asked; nothing is taken from them until then."""
        self._checked: set[str] = set()
        """Folders whose numbers mean what they meant before this session."""
        self._broke_at = Drops()
        """Items that were in hand when the connection broke during a resume."""

    async def quiet(self) -> None:
        """Returns once the page in hand is committed."""
        async with self._in_page:
            pass

    async def session(self, connector: Receiving) -> None:
        """Serve a connector that is signed in; ends only by an error."""
        folders = await self._watched(connector)
        self._watching = frozenset(folder.name for folder in folders)
        self._asking.clear()
        self._checked.clear()
        while True:
            await self.decide_waiting(connector)
            if self._post.active:
                await self._round(connector, folders)
            await self._wait(connector, folders[0])

    async def _watched(self, connector: Receiving) -> list[Folder]:
        wanted = {FolderRole(name) for name in self._services.settings.intake.folders}
        folders = [folder for folder in await connector.folders() if folder.role in wanted]
        return sorted(folders, key=lambda folder: folder.role is not FolderRole.INBOX)

    async def _round(self, connector: Receiving, folders: Sequence[Folder]) -> None:
        for folder in folders:
            await self._sweep(connector, folder)
            await self._ask_again(connector, folder)
        await self._make_marks(connector)
        await self._file_copies(connector)
        await self._post.polled()

    async def _wait(self, connector: Receiving, inbox: Folder) -> None:
        """Until the server hints, somebody here wakes us, or it is time for a sweep."""
        intake = self._services.settings.intake
        seconds = min(intake.sweep_seconds, intake.idle_seconds, await self.until_due())
        hint = asyncio.ensure_future(connector.wait(inbox, seconds))
        wake = asyncio.ensure_future(self._post.wake.wait())
        try:
            await asyncio.wait({hint, wake}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wake.cancel()
            hint.cancel()
            await asyncio.wait({hint})  # not the hint itself: who cancels us meanwhile must not be overheard
        self._post.wake.clear()
        if not hint.cancelled():
            hint.result()

    async def until_due(self) -> float:
        """Seconds until something of ours falls due."""
        connected = self._post.active and self._post.half("receiving").state is ConnectionState.CONNECTED
        watching = self._watching - self._asking if connected else frozenset()
        looking = self._post.half("receiving").state is ConnectionState.CONNECTED
        due = await self._store.read(lambda tx: _next_due(tx, self._post.id, watching, looking=looking))
        return 3600.0 if due is None else max(0.2, due - self._services.clock())

    # -- fresh mail --------------------------------------------------------------------------------------------------

    async def _sweep(self, connector: Receiving, folder: Folder) -> None:
        """Take everything beyond the folder's cursor; where that died, resume first."""
        if await self._is_asked(folder):
            return
        lost: CursorLost | None = None
        for _ in range(RENUMBERINGS):
            try:
                if lost is None or await self._resume(connector, folder, lost):
                    await self._beyond_cursor(connector, folder)
                return
            except CursorLost as error:
                if not error.start:
                    raise
                lost = error
        raise ProviderFault(f"{folder.name} is renumbered again and again: {lost}")

    async def _beyond_cursor(self, connector: Receiving, folder: Folder) -> None:
        # A folder without a cursor appeared after the first connect: all of it is new.
        cursor = await self._store.read(lambda tx: ledger.cursor(tx, self._post.id, folder.name)) or ""
        if first := folder.name not in self._checked:
            await check_numbers(self._services, connector, self._post.id, folder, cursor)
        more = True
        while more and self._post.active:
            page = await connector.changes(folder, cursor, LISTING)
            if first:
                await self._in_order(folder)
                first = False
            if page.refs and not await self._take(connector, folder, page):
                return
            cursor, more = page.cursor, page.more

    # -- folders with new numbers ------------------------------------------------------------------------------------

    async def _resume(self, connector: Receiving, folder: Folder, lost: CursorLost) -> bool:
        """Find out what we have of a folder under its new numbers; whether the rest is to be taken now."""
        cursor = await self._store.read(lambda tx: ledger.cursor(tx, self._post.id, folder.name))
        work = Resume(
            self._services, connector, self._post.id, folder, drops=self._broke_at, write=self._write_while_active
        )
        try:
            found = await work.run(cursor, lost.start)
        except (SwitchedOff, StaleVersion):
            return False
        if found is None:
            self._asking.add(folder.name)
            words = f"{lost}; much of what is there seems to be old: a person has to say what is taken"
            self._services.events.publish(TouchpointFact(TouchpointWhat.ASKS, self._post.id, words))
            return False
        self._checked.add(folder.name)
        self._broke_at = Drops()
        words = f"{lost}; known {found.known}, left alone {found.left}, unseen {found.unseen}"
        self._services.events.publish(TouchpointFact(TouchpointWhat.RESUMED, self._post.id, words))
        return True

    async def _write_while_active(self, work: Work) -> None:
        async with self._in_page:
            if not self._post.active:
                raise SwitchedOff
            await self._store.write(work)

    async def _is_asked(self, folder: Folder) -> bool:
        """Whether a person still has to say what is taken from a folder."""
        if folder.name not in self._asking:
            return False
        row = await self._store.read(lambda tx: resume.standing(tx, self._post.id, folder.name))
        if row is not None and resume.is_open(row):
            return True
        self._asking.discard(folder.name)
        return False

    async def _in_order(self, folder: Folder) -> None:
        """The numbers are those we know; a question that was asked about new ones is void."""
        self._checked.add(folder.name)
        row = await self._store.read(lambda tx: resume.standing(tx, self._post.id, folder.name))
        if row is not None and not row["resumed_at"]:
            await self._store.write(lambda tx: resume.forget_question(tx, self._post.id, folder.name))

    # -- pages -------------------------------------------------------------------------------------------------------

    async def _take(self, connector: Receiving, folder: Folder, page: Page) -> bool:
        """Take a listed page, fetching one batch ahead of the one that is committed; whether all of it was taken."""
        work = await self._batches(folder, page)
        ahead: asyncio.Task[Haul] | None = None
        try:
            for number, batch in enumerate(work):
                haul = await (ahead or self._pages.fetch(connector, batch))
                ahead = None
                following = work[number + 1] if number + 1 < len(work) else None
                if following and self._post.active and not (batch.struck or following.struck):
                    ahead = asyncio.create_task(self._pages.fetch(connector, following))
                if not await self._commit(connector, haul):
                    return False
                if not self._post.active:
                    return following is None
        finally:
            await self._forget(ahead)
        return True

    async def _batches(self, folder: Folder, page: Page) -> list[Batch]:
        epoch, numbers = page.refs[0].epoch, [ref.remote_id for ref in page.refs]
        struck, left, known, resumed = await self._store.read(
            lambda tx: (
                strikes.load(tx, self._post.id, folder.name, epoch),
                ledger.inside(ledger.ranges(tx, self._post.id, folder.name, epoch), numbers),
                ledger.known(tx, self._post.id, folder.name, epoch, numbers),
                resume.high(tx, self._post.id, folder.name, epoch),
            )
        )
        refs = [ref for ref in page.refs if ref.remote_id not in left and ref.remote_id not in known]
        if not refs:  # all of it is left alone, or settled
            now = self._services.clock()
            await self._store.write(lambda tx: ledger.set_cursor(tx, self._post.id, folder.name, page.cursor, now))
        limits = self._services.settings.intake
        drops = self._pages.drops
        return batches(
            folder, refs, struck, drops, page.cursor,
            mails=limits.page_mails, size=limits.page_bytes, resumed=resumed,
        )  # fmt: skip

    async def _forget(self, ahead: asyncio.Task[Haul] | None) -> None:
        if ahead is None:
            return
        ahead.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await self._pages.discard(await ahead)

    async def _commit(self, connector: Receiving, haul: Haul) -> bool:
        """Decide and commit; False where the touchpoint was switched off while it was fetched: the server keeps it."""
        try:
            async with self._in_page:
                if not self._post.active:
                    return False
                accepted = await self._pages.commit(connector, haul)
                self._services.metrics.taken(len(accepted))
                self._tell(accepted)
                return True
        finally:
            await self._pages.discard(haul)

    def _tell(self, accepted: Sequence[Accepted]) -> None:
        for each in accepted:
            outcome = each.outcome
            what = FACTS[outcome.action]
            self._services.events.publish(MailFact(what, each.entry_id, self._post.id, outcome.reason))
            if each.replied:
                self._services.events.publish(MailFact(MailWhat.ANSWERED, each.entry_id, self._post.id))
        if any(each.replied for each in accepted):
            self._post.sender.wake.set()

    async def _ask_again(self, connector: Receiving, folder: Folder) -> None:
        """Fetch pending items whose time has come, each alone."""
        now = self._services.clock()
        for row in await self._store.read(lambda tx: ledger.pending_due(tx, self._post.id, now)):
            if row["folder"] == folder.name and self._post.active and folder.name not in self._asking:
                await self._ask_for(connector, folder, row)

    async def _ask_for(self, connector: Receiving, folder: Folder, row: Row) -> None:
        try:
            await self._ask_for_one(connector, folder, row)
        except CursorLost as error:  # renumbered just now: the next round resumes
            await self._put_off_pending(row, str(error))

    async def _ask_for_one(self, connector: Receiving, folder: Folder, row: Row) -> None:
        if row["entry_id"]:  # held without its bytes, and released by a person
            async with self._in_page:
                await fetch_again(self._services, connector, folder, row)
            self._post.wake.set()  # it walks now
            return
        struck, resumed = await self._store.read(
            lambda tx: (
                strikes.load(tx, self._post.id, folder.name, row["epoch"]),
                resume.high(tx, self._post.id, folder.name, row["epoch"]),
            )
        )
        batch = Batch(folder=folder, refs=[_ref(row)], strikes=struck, cursor=None, resumed=resumed)
        haul = await self._pages.fetch(connector, batch)
        answer = haul.answers[0] if haul.answers else None
        if not isinstance(answer, Missing) or answer.gone:
            await self._commit(connector, haul)
            return
        await self._pages.discard(haul)
        await self._put_off_pending(row, answer.error)

    async def _put_off_pending(self, row: Row, error: str) -> None:
        due = self._services.clock() + pending_delay(row["attempts"] + 1, self._services.chance())
        await self._store.write(lambda tx: ledger.still_pending(tx, row["id"], due, error))

    # -- mail that waits in the spool --------------------------------------------------------------------------------

    async def decide_waiting(self, connector: Receiving | None = None) -> None:
        """Decide the inbound mail in the spool whose time has come, and what became of sends without an answer."""
        await self._outcomes.find_out(connector)
        while rows := await self._store.read(lambda tx: _waiting(tx, self._post.id, self._services.clock())):
            struck = await self._store.read(lambda tx: strikes.load(tx, self._post.id, "", 0))
            for row in rows:
                async with self._in_page:
                    await self._decide_again(row, struck)

    async def _decide_again(self, row: Row, struck: Strikes) -> None:
        opening = await self._store.read(lambda tx: content.chunk(tx, row["content_id"], 0))
        walk = Walk(
            mail=stored_mail(row, opening),
            hand=InHand(touchpoint_id=self._post.id, folder="", epoch=0, low=row["id"], high=row["id"], phase="walk"),
            release=release_of(row),
            aside=self._overdue(row, struck),
        )
        accepted: Accepted | None = await until_fresh()(self._redecide, row["id"], walk)
        self._tell([accepted] if accepted else [])

    async def _redecide(self, entry_id: int, walk: Walk) -> Accepted | None:
        touchpoint = self._post.touchpoint
        outcome = await decide_alone(self._services, touchpoint, self._services.inbound, walk)
        return await self._services.spool.redecide(entry_id, touchpoint, outcome)

    def _overdue(self, row: Row, struck: Strikes) -> tuple[HoldCause, str] | None:
        if (count := struck.of(row["id"])) >= OUT:
            return HoldCause.POISON, f"Postroom died {count} times with this mail in hand"
        since = row["deferred_since"]
        if since and self._services.clock() - since > DEFERRED_LIMIT:
            return HoldCause.DEFERRED_TOO_LONG, f"deferred for five days: {row['reason']}"
        return None

    # -- the server's side, always after our commit ------------------------------------------------------------------

    async def _make_marks(self, connector: Receiving) -> None:
        without = set(self._asking)
        try:
            while rows := await self._store.read(lambda tx: ledger.marks_due(tx, self._post.id, without=without)):
                if done := [row["id"] for row in rows if await self._mark(connector, row, without)]:
                    await self._store.write(lambda tx, ids=done: ledger.marked(tx, ids))  # type: ignore[misc]
        except (Refused, ProviderFault) as error:
            self._put_off(error)

    async def _mark(self, connector: Receiving, row: Row, without: set[str]) -> bool:
        """Make a mark, but for folders that have new numbers: the next round resumes those first."""
        if row["folder"] in without:
            return False
        try:
            await connector.mark(_ref(row), row["mark_due"])
        except CursorLost:
            without.add(row["folder"])
            return False
        return True

    async def _file_copies(self, connector: Receiving) -> None:
        """File what was sent in the Sent folder, where the provider does not do it."""
        try:
            for row in await self._store.read(lambda tx: _copies_due(tx, self._post.id)):
                size = size_after(row["size"], unpack(row["splices"]))
                await connector.file_copy(self._services.spool.chunks(row["id"]), size, row["message_id"])
                await self._store.write(lambda tx, i=row["id"]: _copy_filed(tx, i))  # type: ignore[misc]
        except (Refused, ProviderFault) as error:
            self._put_off(error)

    def _put_off(self, error: PostroomError) -> None:
        """What the server will not do stays due until the next round; no reason to stop taking mail."""
        self._services.events.publish(TouchpointFact(TouchpointWhat.CHANGED, self._post.id, str(error)))


def _ref(row: Row) -> Ref:
    return Ref(row["folder"], row["epoch"], row["remote_id"], row["internaldate"], row["size"])


def _waiting(tx: Tx, touchpoint_id: int, now: float) -> list[Row]:
    return tx.all(
        "SELECT * FROM entry WHERE touchpoint_id = :touchpoint AND direction = 'in' AND state = 'waiting'"
        " AND due_at <= :now ORDER BY id LIMIT 50",
        {"touchpoint": touchpoint_id, "now": now},
    )


def _next_due(tx: Tx, touchpoint_id: int, watching: frozenset[str], *, looking: bool) -> float | None:
    """When mail in the spool, a pending item of a watched folder, or a look into Sent falls due."""
    rows = tx.all(
        "SELECT '' AS folder, min(due_at) AS due FROM entry"
        " WHERE touchpoint_id = :id AND direction = 'in' AND state = 'waiting' UNION ALL"
        " SELECT '', min(due_at) FROM entry WHERE touchpoint_id = :id AND state = 'unknown' AND :looking UNION ALL"
        " SELECT folder, min(due_at) FROM ledger WHERE touchpoint_id = :id AND state = 'pending' GROUP BY folder",
        {"id": touchpoint_id, "looking": int(looking)},
    )
    return min(
        (row["due"] for row in rows if row["due"] is not None and row["folder"] in {"", *watching}), default=None
    )


def _copies_due(tx: Tx, touchpoint_id: int) -> list[Row]:
    return tx.all(
        "SELECT id, size, splices, message_id FROM entry WHERE touchpoint_id = :id AND sent_copy_due = 1 LIMIT 200",
        {"id": touchpoint_id},
    )


def _copy_filed(tx: Tx, entry_id: int) -> None:
    tx.run("UPDATE entry SET sent_copy_due = 0 WHERE id = :id", {"id": entry_id})

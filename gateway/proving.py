"""Proves that nothing is lost: asks the servers what they have and lays it beside the books, while mail flows.

Each server is asked on a connection of its own, by EXAMINE and for ids only; a few at once, and none for ever. What
cannot be asked is said and not proven; our own books are proven all the same. What is counted and compared is in
``pipeline/proof.py``. Mail that a server has and we did not take yet is no loss: the touchpoint is woken and given some
seconds for it, so that the proof can say when that does not help.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.connectors import Folder, FolderRole, Receiving
from gateway.notices import reachable
from gateway.services import Services
from pipeline import ledger, resume
from pipeline.cursor import FolderCursor
from pipeline.errors import CursorLost, PostroomError, ProviderFault, TimedOut
from pipeline.lifecycle import ConnectionState
from pipeline.proof import Books, Scope, Tally
from pipeline.store import Tx
from pipeline.touchpoint import Touchpoint

log = logging.getLogger("postroom.proving")

AT_ONCE = 4
"""Servers that are asked at the same time."""
LONGEST = 300.0
"""Seconds for all folders of one touchpoint."""
PATIENCE = 5.0
"""Seconds without progress after which a touchpoint that was woken is not waited for any more."""
MOST_PATIENCE = 30.0
_LOOK = 0.25


class House(Protocol):
    """What a proof asks of the daemon."""

    def state_of(self, touchpoint_id: int) -> ConnectionState:
        """Where its connection stands."""
        ...

    def sends(self, touchpoint_id: int) -> bool:
        """Whether outbound mail moves."""
        ...

    def wake(self, touchpoint_id: int) -> None:
        """There may be something to take."""
        ...


@dataclass(kw_only=True, slots=True)
class Asked:
    """What came of asking one touchpoint's server."""

    touchpoint: Touchpoint
    trouble: list[str] = field(default_factory=list)
    """Why it is not proven; empty where it is."""
    remarks: list[str] = field(default_factory=list)
    listed: int = 0
    not_taken: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """A proof."""

    tally: Tally
    asked: Sequence[Asked]


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a proof is."""

    done: int = 0
    of: int = 0
    step: str = ""


async def prove(
    services: Services, house: House, wanted: Sequence[Touchpoint], scope: Scope, progress: Progress
) -> Proven:
    """Ask the servers of these touchpoints, then go through the books; raises Refused where a read takes too long."""
    books = Books(services.store, scope)
    await books.open()
    progress.of, progress.step = len(wanted), "asking the servers"
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(touchpoint: Touchpoint) -> Asked:
        async with room:
            try:
                return await _Asking(services, house, books, touchpoint, scope.since).ask()
            finally:
                progress.done += 1

    asked = await asyncio.gather(*map(ask, wanted))
    progress.step = "reading the books"
    admins = services.settings.notices.admins
    tally = await books.close(house.sends, lambda notify: bool(reachable(services, (notify,) if notify else admins)))
    return Proven(tally=tally, asked=asked)


class _Asking:
    """Asks the server of one touchpoint."""

    def __init__(self, services: Services, house: House, books: Books, touchpoint: Touchpoint, since: float) -> None:
        self._services = services
        self._house = house
        self._books = books
        self._touchpoint = touchpoint
        self._since = since
        self._found = Asked(touchpoint=touchpoint)

    async def ask(self) -> Asked:
        """Lay all watched folders beside the books; trouble of this server stays here."""
        found = self._found
        if self._touchpoint.connection.imap is None:
            found.remarks.append("it receives nothing")
            return found
        if self._house.state_of(self._touchpoint.id) is ConnectionState.NEW:
            found.remarks.append("it was never connected: there is nothing to prove")
            return found
        try:
            async with asyncio.timeout(LONGEST):
                await self._folders()
        except TimeoutError:
            found.trouble.append(_words(TimedOut(f"the server took longer than {LONGEST:.0f} seconds")))
        except PostroomError as error:
            found.trouble.append(_words(error))
        except Exception as error:
            log.exception("touchpoint %d could not be proven", self._touchpoint.id)
            found.trouble.append(_words(ProviderFault(f"a fault of ours: {type(error).__name__}")))
        return found

    async def _folders(self) -> None:
        connector = await self._services.receiving(self._touchpoint)
        if connector is None:
            return
        try:
            await connector.open()
            wanted = {FolderRole(name) for name in self._services.settings.intake.folders}
            for folder in [each for each in await connector.folders() if each.role in wanted]:
                await self._folder(connector, folder)
        finally:
            await connector.close()

    async def _folder(self, connector: Receiving, folder: Folder) -> None:
        listed = await connector.everything(folder, self._since)
        self._found.listed += len(listed.remote_ids)
        last = listed.remote_ids[-1] if listed.remote_ids else 0
        at_work = self._touchpoint.active and self._house.state_of(self._touchpoint.id) is ConnectionState.CONNECTED
        try:
            taken = await self._caught_up(folder, last) if at_work else 0
            cursor = await self._cursor(folder)
            found = await self._books.folder(self._touchpoint.id, folder.name, listed.epoch, listed.remote_ids, cursor)
        except CursorLost as error:
            self._found.trouble.append(_words(error))
            return
        if found.trouble:
            self._found.trouble.append(found.trouble + await self._question(folder))
        self._found.not_taken += found.not_taken
        if found.not_taken:
            self._found.remarks.append(_waiting(folder.name, found.not_taken, taken, self._why_not(at_work=at_work)))

    async def _caught_up(self, folder: Folder, last: int) -> int:
        """Give a touchpoint that is at work the time to take what was listed; how many numbers it came forward."""
        first = low = await self._low(folder)
        loop = asyncio.get_running_loop()
        moved = began = loop.time()
        while low < last and loop.time() < min(moved + PATIENCE, began + MOST_PATIENCE):
            self._house.wake(self._touchpoint.id)
            await asyncio.sleep(_LOOK)
            if (now := await self._low(folder)) != low:
                low, moved = now, loop.time()
        return max(0, low - first)

    async def _low(self, folder: Folder) -> int:
        cursor = await self._cursor(folder)
        return FolderCursor.parse(cursor).low if cursor else 0

    async def _cursor(self, folder: Folder) -> str | None:
        return await self._services.store.read(lambda tx: ledger.cursor(tx, self._touchpoint.id, folder.name))

    async def _question(self, folder: Folder) -> str:
        """That a person has to decide first, where that is so."""

        def work(tx: Tx) -> bool:
            row = resume.standing(tx, self._touchpoint.id, folder.name)
            return row is not None and resume.is_open(row)

        asks = await self._services.store.read(work)
        return f": a person is asked; see postroom touchpoint show {self._touchpoint.address}" if asks else ""

    def _why_not(self, *, at_work: bool) -> str:
        if at_work:
            return "though it is connected and active, and was woken"
        if not self._touchpoint.active:
            return "it is inactive"
        return f"its connection is {self._house.state_of(self._touchpoint.id).value}"


def _waiting(folder: str, number: int, taken: int, why: str) -> str:
    items = "1 item of" if number == 1 else f"{number:,} items of"
    if taken:
        return f"{items} {folder} not taken yet: it is taking them in"
    return f"{items} {folder} not taken yet: {why}"


def _words(error: PostroomError) -> str:
    cause = getattr(error, "cause", "")
    return f"{cause}: {error}" if cause else str(error) or type(error).__name__

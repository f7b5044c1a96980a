"""The sending lane of one touchpoint: hands over what is due, one mail at a time, over a connection that is reused.

    claim (committed) -> connect, MAIL, RCPT -> attempt (committed) -> DATA -> the answer (committed, ahead of all else)

Trouble of the connection is charged to the touchpoint and costs the mail nothing; an answered 4xx is charged to the
mail. When the connection dies after the content went, nobody can know: the outcome is unknown, and ``outcomes.py``
finds out what became of the mail; it is never blindly sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway import notices
from gateway.connectors import Outcome as Sent, Outgoing, RecipientResult, Sending, SendResult
from gateway.deciding import Walk, decide_alone
from gateway.events import HouseFact, HouseWhat, MailFact, MailWhat
from gateway.pages import release_of, stored_mail
from gateway.patience import until_stored
from gateway.services import Services
from pipeline.entry import State
from pipeline.errors import Poison, PostroomError, ProviderFault, Refused, StaleVersion, StoreFull
from pipeline.lifecycle import ConnectionEvent, ConnectionState, event_of
from pipeline.mail import Envelope
from pipeline.outbox import Answer, RecipientState, Said, Settled
from pipeline.splice import ordered, size_after, unpack
from pipeline.spool import Claimed
from pipeline.store import content
from pipeline.touchpoint import SentCopy
from pipeline.verdict import Action, HoldCause

if TYPE_CHECKING:
    from gateway.post import Post

log = logging.getLogger("postroom.sender")

STATES = {
    Sent.ACCEPTED: RecipientState.DELIVERED,
    Sent.REFUSED: RecipientState.REFUSED,
    Sent.RETRY: RecipientState.WAITING,
    Sent.UNKNOWN: RecipientState.UNKNOWN,
}
FACTS = {State.DONE: MailWhat.DELIVERED, State.FAILED: MailWhat.FAILED, State.WAITING: MailWhat.DEFERRED}
IDLE = 30.0
"""Seconds after which an unused session is ended."""
BREAKS = 3
"""A mail with which the connection broke so often in a row lets the others go first."""
STEP_BACK = 300.0
"""For so many seconds."""


class Sender:
    """Sends the mail of one touchpoint."""

    def __init__(self, post: Post, services: Services) -> None:
        self._post = post
        self._services = services
        self._spool = services.spool
        self._connector: Sending | None = None
        self.wake = asyncio.Event()
        """Set when there may be something to send."""
        self.idle = asyncio.Event()
        """Set while no mail is in hand."""
        self.idle.set()
        self.closing = False
        self._unsure = True
        """Whether something may be in hand that no task of ours knows of."""
        self._breaks: dict[int, int] = {}

    async def run(self) -> None:
        """Send what is due, until it is closing."""
        try:
            while not self.closing:
                pause = await self._supervised()
                self.wake.clear()
                if not self.closing:
                    await self._rest(pause)
        finally:
            await self._hang_up()

    async def _supervised(self) -> float:
        """One burst of sending; seconds until the next try, 0 when nothing is wrong."""
        try:
            await self._burst()
        except PostroomError as error:
            return await self._trouble(error)
        except Exception as error:
            log.exception("touchpoint %d: sending failed", self._post.id)
            return await self._trouble(ProviderFault(f"a fault: {error!r}"))
        return 0.0

    async def _trouble(self, error: PostroomError) -> float:
        self._unsure = True
        self._services.metrics.send.failed()
        await self._hang_up()
        return await self._post.report("sending", event_of(error), error)

    async def _rest(self, pause: float) -> None:
        """After trouble the whole pause; else until woken or until something is due."""
        if pause:
            await asyncio.sleep(min(pause, 1e8))
            return
        due = await self._spool.next_due(self._post.id) if self._post.sends else None
        wait = IDLE if due is None else min(IDLE, max(0.05, due - self._services.clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self.wake.wait()
        if not self.wake.is_set() and wait == IDLE:
            await self._hang_up()

    async def _burst(self) -> None:
        """Hand over everything that is due."""
        if self._unsure:
            for entry_id in await self._spool.recover_lane(self._post.id):
                self._in_doubt(entry_id, "it was given up while the content was on its way")
            self._unsure = False
        if not await self._ready():
            return
        while self._post.active and not self.closing:
            self.idle.clear()
            try:
                claimed = await self._spool.claim(self._post.id)
                if not claimed:
                    return
                await self._hand_over_all(claimed)
            finally:
                self.idle.set()

    async def _ready(self) -> bool:
        """Whether there is a half to send by; a half that was never tried counts as connected until it fails."""
        half = self._post.half("sending")
        if half.state in (ConnectionState.NEW, ConnectionState.LOST) or self._post.touchpoint.connection.smtp is None:
            return False
        if half.state is not ConnectionState.CONNECTED:
            connector = await self._connected()
            await connector.open()
            await self._post.report("sending", ConnectionEvent.SIGNED_IN)
        return True

    async def _connected(self) -> Sending:
        if self._connector is None:
            connector = await self._services.sending(self._post.touchpoint)
            if connector is None:
                raise ProviderFault("this touchpoint has no server to send by")
            self._connector = connector
        return self._connector

    async def _hang_up(self) -> None:
        connector, self._connector = self._connector, None
        if connector is not None:
            await connector.close()

    async def _hand_over_all(self, claimed: Sequence[Claimed]) -> None:
        left = {each.row["id"] for each in claimed}
        try:
            for each in claimed:
                if self.closing or not self._post.active:
                    return
                await self._hand_over(each, left)
        finally:
            await self._put_back(left)

    async def _put_back(self, ids: Collection[int]) -> None:
        try:
            await self._spool.unclaim(sorted(ids))
        except StoreFull:  # then they stay in hand until the next burst, which puts them back
            self._unsure = True

    async def _hand_over(self, claimed: Claimed, left: set[int]) -> None:
        """One attempt at one mail; from its attempt on it is no longer ``left`` to be put back, whatever happens."""
        entry_id = claimed.row["id"]
        if claimed.row["held_by"] and claimed.row["released_by"] and not await self._walked_again(claimed):
            left.discard(entry_id)
            return
        began = self._services.metrics.clock()
        attempt = 0

        async def before_data(left_out: Sequence[str] = ()) -> None:
            nonlocal attempt
            attempt = await self._spool.begin_attempt(entry_id, self._server, left_out)
            left.discard(entry_id)

        connector = await self._connected()
        outgoing = await self._outgoing(claimed)
        content = _Reading(outgoing.chunks)
        try:
            result = await connector.send(replace(outgoing, chunks=content), before_data)
        except Poison as error:
            await until_stored()(self._spool.hold_active, entry_id, HoldCause.POISON, str(error), attempt)
            left.discard(entry_id)
            self._services.metrics.send.failed()
            self._fact(MailWhat.HELD, claimed, str(error))
            return
        except PostroomError as error:
            pause = 0.0 if isinstance(error, StoreFull) else self._pause(entry_id)
            if attempt or pause:
                said = Said(outcome="retry", text=str(error), server=self._server)
                await until_stored()(self._spool.withdraw, entry_id, attempt, said, pause)
            raise
        except asyncio.CancelledError:
            if attempt:
                await self._leave(entry_id, attempt, whole=content.ended)
            raise
        # The server's answer becomes durable before anything else happens.
        await until_stored()(self._store_answer, claimed, attempt, result, began)
        left.discard(entry_id)

    async def _leave(self, entry_id: int, attempt: int, *, whole: bool) -> None:
        """The lane has to end while the content is on its way, or, where that is ``whole``, the answer to it."""
        words = f"the lane ended before {'the server answered' if whole else 'the end of the content'}"
        said = Said(outcome="unknown" if whole else "retry", text=words, server=self._server)
        with suppress(StoreFull, Refused):  # then the next start, or the next lane, finds it
            if not whole:
                return await self._spool.withdraw(entry_id, attempt, said)
            await self._spool.unknown(entry_id, attempt, said)
            self._in_doubt(entry_id, words)
        return None

    def _in_doubt(self, entry_id: int, words: str) -> None:
        """Tell that an outcome is unknown, and whom it is for to find it out."""
        log.warning("mail %d of touchpoint %d: outcome unknown: %s", entry_id, self._post.id, words)
        self._services.events.publish(MailFact(MailWhat.UNKNOWN, entry_id, self._post.id, words))
        self._post.wake.set()

    def _pause(self, entry_id: int) -> float:
        """The connection broke with this mail in hand; how long it steps back for the others."""
        self._breaks[entry_id] = self._breaks.get(entry_id, 0) + 1
        if self._breaks[entry_id] < BREAKS:
            return 0.0
        del self._breaks[entry_id]
        return STEP_BACK

    @property
    def _server(self) -> str:
        server = self._post.touchpoint.connection.smtp
        return f"{server.host}:{server.port}" if server else ""

    async def _outgoing(self, claimed: Claimed) -> Outgoing:
        # The row may have been rewritten by a walk since it was claimed.
        row = await self._services.store.read(
            lambda tx: tx.one("SELECT * FROM entry WHERE id = :id", {"id": claimed.row["id"]})
        )
        row = row or claimed.row
        return Outgoing(
            sender=row["envelope_sender"] or "",
            recipients=claimed.recipients,
            message_id=row["message_id"],
            size=size_after(row["size"], unpack(row["splices"])),
            chunks=lambda: self._spool.chunks(row["id"]),
        )

    async def _walked_again(self, claimed: Claimed) -> bool:
        """Walk a released mail down its line; whether it may be sent now."""
        row = claimed.row
        opening = await self._services.store.read(lambda tx: content.chunk(tx, row["content_id"], 0))
        users = self._services.directory.relay_users.values()
        mail = replace(
            stored_mail(row, opening),
            envelope=Envelope(sender=row["envelope_sender"], recipients=claimed.recipients),
            relay_user=next((user for user in users if user.id == row["relay_user_id"]), None),
        )
        walk = Walk(mail=mail, release=release_of(row))
        touchpoint = self._post.touchpoint
        outcome = await decide_alone(self._services, touchpoint, self._services.outbound, walk)
        # What a held mail carries is its trace field, put on top when it came.
        outcome = replace(outcome, splices=ordered((*unpack(row["splices"]), *outcome.splices)))
        try:
            await self._spool.resubmit(row["id"], touchpoint, outcome)
        except StaleVersion:
            await self._spool.unclaim([row["id"]])
            return False
        if outcome.action is not Action.PASS:
            what = MailWhat.UNDECIDED if outcome.action is Action.DEFER else MailWhat.HELD
            self._fact(what, claimed, outcome.reason)
        return outcome.action is Action.PASS

    async def _store_answer(self, claimed: Claimed, attempt: int, result: SendResult, began: float) -> None:
        said = Said(
            outcome=result.outcome.value, code=result.code, text=result.text, server=result.server or self._server
        )
        entry_id = claimed.row["id"]
        if result.outcome is Sent.UNKNOWN:
            await self._spool.unknown(entry_id, attempt, said, [_answer(each) for each in result.recipients])
            self._breaks.pop(entry_id, None)
            self._in_doubt(entry_id, result.text)
            raise ProviderFault(result.text)
        if result.outcome is Sent.RETRY and result.code == 0:
            await self._spool.withdraw(entry_id, attempt, said, self._pause(entry_id))
            raise ProviderFault(result.text)
        self._breaks.pop(entry_id, None)
        settled = await self._spool.settle(
            entry_id,
            attempt,
            [_answer(each) for each in result.recipients],
            said,
            self._services.chance(),
            notices.writer(self._services, self._post.touchpoint),
            file_copy=self._post.touchpoint.connection.sent_copy is SentCopy.APPEND,
        )
        self._measure(settled, began)
        self._tell(claimed, settled)

    def _measure(self, settled: Settled, began: float) -> None:
        metrics = self._services.metrics
        delivered = settled.state is State.DONE
        metrics.send.passed(began, errors=0 if delivered and not settled.refused else 1)
        if delivered:
            metrics.delivered()

    def _tell(self, claimed: Claimed, settled: Settled) -> None:
        self._fact(FACTS[settled.state], claimed, settled.reason)
        if settled.refused:
            words = f"mail {settled.entry_id} did not reach {len(settled.refused)} of its recipients: {settled.reason}"
            self._services.events.publish(HouseFact(HouseWhat.NOTICE, words))
            self.wake.set()
        if settled.state is State.DONE and self._post.touchpoint.connection.sent_copy is SentCopy.APPEND:
            self._post.wake.set()

    def _fact(self, what: MailWhat, claimed: Claimed, words: str) -> None:
        self._services.events.publish(MailFact(what, claimed.row["id"], self._post.id, words))


class _Reading:
    """A content as it is read to be sent: until it was read to its end, no final dot can have gone."""

    def __init__(self, opens: Callable[[], AsyncIterator[bytes]]) -> None:
        self._open = opens
        self.ended = False

    async def __call__(self) -> AsyncIterator[bytes]:
        """Open it from its start."""
        self.ended = False
        async for chunk in self._open():
            yield chunk
        self.ended = True


def _answer(result: RecipientResult) -> Answer:
    return Answer(address=result.address, state=STATES[result.outcome], code=result.code, text=result.text)

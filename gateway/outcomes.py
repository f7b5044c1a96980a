"""Finds out what became of the mails whose answer never came; part of the inbound task of their touchpoint.

The receiving half can look into Sent, so it does: four times within two minutes, and on from where it was after a
restart. What follows is decided in ``pipeline/unknown.py``. Where the provider files no copies by itself there is no
evidence, and the touchpoint's policy applies at once. While there is no connection to look by, a mail stays unknown,
for a day at the most: a provider that is down may come back, and a person sees the mail all the while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import notices
from gateway.connectors import Receiving
from gateway.events import HouseFact, HouseWhat, MailFact, MailWhat, TouchpointFact, TouchpointWhat
from gateway.services import Services
from pipeline import unknown
from pipeline.entry import State
from pipeline.errors import ProviderFault, Refused
from pipeline.outbox import Settled
from pipeline.touchpoint import Connection, SentCopy
from pipeline.unknown import Doubt

if TYPE_CHECKING:
    from gateway.post import Post

FACTS = {
    State.DONE: MailWhat.DELIVERED,
    State.FAILED: MailWhat.FAILED,
    State.WAITING: MailWhat.DEFERRED,
    State.UNKNOWN: MailWhat.UNKNOWN,
    State.HELD: MailWhat.HELD,
}
_AGAIN = 60.0
"""Seconds until Sent is asked again that could not be searched."""
_FAR = max(unknown.LOOKS)
"""No look is further ahead than this, unless the clock was set back."""


class Outcomes:
    """The mails of unknown outcome of one touchpoint."""

    def __init__(self, post: Post, services: Services) -> None:
        self._post = post
        self._services = services
        self._spool = services.spool

    async def find_out(self, connector: Receiving | None) -> None:
        """Settle what can be settled now; ``connector`` is signed in, None where there is none."""
        doubts = await self._services.store.read(lambda tx: unknown.all_of(tx, self._post.id))
        if not doubts:
            return
        why = _no_evidence(self._post.touchpoint.connection)
        for doubt in doubts:
            if why or not doubt.message_id:
                self._tell(await self._blind(doubt, why or "it has no Message-ID to look for"))
            elif connector is None:
                await self._wait_on(doubt, "there is no connection to look into Sent by")
            elif self._is_due(doubt):
                await self._look(connector, doubt)

    def _is_due(self, doubt: Doubt) -> bool:
        ahead = doubt.due_at - self._services.clock()
        return ahead <= 0 or ahead > _FAR

    async def _look(self, connector: Receiving, doubt: Doubt) -> None:
        try:
            copies = await connector.copies(doubt.message_id)
        except (Refused, ProviderFault) as error:  # no reason to stop taking mail
            until = self._services.clock() + _AGAIN
            await self._services.store.write(lambda tx: unknown.put_off(tx, doubt.entry_id, until))
            words = f"Sent cannot be searched for mail {doubt.entry_id}: {error}"
            self._services.events.publish(TouchpointFact(TouchpointWhat.CHANGED, self._post.id, words))
            await self._wait_on(doubt, f"Sent could not be searched: {error}")
            return
        if copies is None:
            self._tell(await self._blind(doubt, "there is no Sent folder to look into"))
            return
        touchpoint = self._post.touchpoint
        policy, notice = touchpoint.connection.unknown_outcome, notices.writer(self._services, touchpoint)
        self._tell(await self._spool.looked(doubt.entry_id, copies, policy, self._services.chance(), notice))

    async def _wait_on(self, doubt: Doubt, why: str) -> None:
        """It stays unknown, but not for ever."""
        if self._services.clock() - doubt.since > unknown.PATIENCE:
            self._tell(await self._spool.hold_unknown(doubt.entry_id, f"for a day: {why}"))

    async def _blind(self, doubt: Doubt, why: str) -> Settled | None:
        return await self._spool.blind(doubt.entry_id, self._post.touchpoint.connection.unknown_outcome, why)

    def _tell(self, settled: Settled | None) -> None:
        if settled is None:
            return
        words = settled.reason or "found in Sent"
        self._services.events.publish(MailFact(FACTS[settled.state], settled.entry_id, self._post.id, words))
        if settled.state is State.DONE:
            self._services.metrics.delivered()
        if settled.refused:
            words = f"mail {settled.entry_id} did not reach {len(settled.refused)} of its recipients: {settled.reason}"
            self._services.events.publish(HouseFact(HouseWhat.NOTICE, words))
        if settled.state is State.WAITING or settled.refused:
            self._post.sender.wake.set()


def _no_evidence(connection: Connection) -> str:
    """Why Sent proves nothing here; "" where it does."""
    if connection.has_evidence:
        return ""
    if connection.imap is None:
        return "no mailbox is connected whose Sent could be looked into"
    if connection.sent_copy is SentCopy.APPEND:
        return "its copy in Sent would be filed by us, and later"
    return "the provider files no copies in Sent"

"""The memory of the line: what earlier mail means for the mail in hand.

It is read from the store once per page, for the senders and references of that page, and then told each outcome, so
that decisions within a page see each other. Stages only ask; ``line.py`` tells. The commit re-checks what matters
(auto-reply memory is a conditional upsert), so a stale memory costs a dropped effect, never a second reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.bounce import read_bounce
from pipeline.conversation import Known, MessageIds
from pipeline.mail import Mail
from pipeline.store import Tx, Value
from pipeline.touchpoint import Touchpoint, domain_of, normalise, without_tag


@dataclass(kw_only=True, slots=True)
class Memory:
    """What the line remembers about one touchpoint, as far as one page needs it."""

    by_reference: dict[str, list[Known]] = field(default_factory=dict)
    """Message-ID -> conversations of this touchpoint that hold it."""
    by_key: dict[str, Known] = field(default_factory=dict)
    """Conversation key -> conversation, for keys named by our own signed Message-IDs."""
    sent: dict[str, list[int]] = field(default_factory=dict)
    """Message-ID -> outbound entries that carry it (client ids may repeat)."""
    auto_replies: set[str] = field(default_factory=set)
    """Message-IDs that belong to our own auto-replies."""
    looked_for: set[str] = field(default_factory=set, compare=False)
    """Message-IDs that the store was asked for: some programs give all their mail the same one."""
    answered: dict[str, float] = field(default_factory=dict)
    """Normalised address without tag -> when it last got an auto-reply from this mailbox."""
    replies_this_hour: int = 0
    """Auto-replies of this touchpoint in the last hour."""
    replies_to_domain: dict[str, int] = field(default_factory=dict)
    """Domain -> auto-replies to it in the last hour."""

    def joins(self, message_id: str, conversation: Known) -> None:
        """Remember that a mail with this Message-ID is now part of ``conversation``."""
        if message_id:
            self.by_reference.setdefault(message_id, []).append(conversation)
        self.by_key[conversation.key] = conversation

    def replied(self, address: str, domain: str, now: float) -> None:
        """Remember an auto-reply."""
        self.answered[address] = now
        self.replies_this_hour += 1
        self.replies_to_domain[domain] = self.replies_to_domain.get(domain, 0) + 1


HOUR = 3600.0


def load(tx: Tx, touchpoint: Touchpoint, installation_ids: MessageIds, mails: Iterable[Mail], now: float) -> Memory:
    """What the store knows about the authors and references of these mails of one touchpoint."""
    memory = Memory()
    for mail in mails:
        for message_id in mail.headers.references:
            _recall(tx, memory, touchpoint.id, installation_ids, message_id)
        _recall_bounced(tx, memory, touchpoint.id, installation_ids, mail)
        _recall_answered(tx, memory, touchpoint, mail)
    _recall_rates(tx, memory, touchpoint.id, now)
    return memory


def _recall(tx: Tx, memory: Memory, touchpoint_id: int, ids: MessageIds, message_id: str) -> None:
    if message_id in memory.by_reference:
        return
    values: dict[str, Value] = {"touchpoint": touchpoint_id, "id": message_id}
    rows = tx.all(
        "SELECT DISTINCT c.id, c.key FROM entry AS e JOIN conversation AS c ON c.id = e.conversation_id"
        " WHERE e.message_id = :id AND e.touchpoint_id = :touchpoint LIMIT 20",
        values,
    )
    memory.by_reference[message_id] = [_known(tx, memory, row["id"], row["key"]) for row in rows]
    _recall_sent(tx, memory, message_id)
    if (key := ids.conversation_of(message_id)) is not None and key not in memory.by_key:
        row = tx.one("SELECT id, key FROM conversation WHERE key = :key AND touchpoint_id = :touchpoint",
                     {"key": key, "touchpoint": touchpoint_id})  # fmt: skip
        if row is not None:
            _known(tx, memory, row["id"], row["key"])


def _known(tx: Tx, memory: Memory, conversation_id: int, key: str) -> Known:
    if key not in memory.by_key:
        rows = tx.all("SELECT address FROM participant WHERE conversation_id = :id LIMIT 1000", {"id": conversation_id})
        memory.by_key[key] = Known(key, frozenset(row["address"] for row in rows))
    return memory.by_key[key]


def _recall_sent(tx: Tx, memory: Memory, message_id: str) -> None:
    if message_id in memory.looked_for:
        return
    memory.looked_for.add(message_id)
    rows = tx.all(
        "SELECT id, origin FROM entry WHERE message_id = :id AND direction = 'out' LIMIT 20", {"id": message_id}
    )
    if rows:
        memory.sent[message_id] = [row["id"] for row in rows]
    if any(row["origin"] == "auto-reply" for row in rows):
        memory.auto_replies.add(message_id)


def _recall_bounced(tx: Tx, memory: Memory, touchpoint_id: int, ids: MessageIds, mail: Mail) -> None:
    """A mail's own id may be one we sent (a copy coming back); a bounce joins by the mail that it returns."""
    if mail.headers.message_id:
        _recall_sent(tx, memory, mail.headers.message_id)
    bounce = read_bounce(mail)
    for message_id in bounce.message_ids if bounce else ():
        _recall(tx, memory, touchpoint_id, ids, message_id)


def _recall_answered(tx: Tx, memory: Memory, touchpoint: Touchpoint, mail: Mail) -> None:
    for address in {mail.headers.return_path or "", mail.headers.author} - {""}:
        key = without_tag(address)
        row = tx.one(
            "SELECT at FROM answered WHERE mailbox = :mailbox AND address = :address",
            {"mailbox": mailbox_of(touchpoint), "address": key},
        )
        if row is not None:
            memory.answered[key] = row["at"]


def _recall_rates(tx: Tx, memory: Memory, touchpoint_id: int, now: float) -> None:
    rows = tx.all(
        "SELECT r.address FROM entry AS e JOIN recipient AS r ON r.entry_id = e.id"
        " WHERE e.direction = 'out' AND e.origin = 'auto-reply' AND e.touchpoint_id = :touchpoint"
        " AND e.accepted_at > :since LIMIT 1000",
        {"touchpoint": touchpoint_id, "since": now - HOUR},
    )
    memory.replies_this_hour = len(rows)
    for row in rows:
        domain = domain_of(row["address"])
        memory.replies_to_domain[domain] = memory.replies_to_domain.get(domain, 0) + 1


def mailbox_of(touchpoint: Touchpoint) -> str:
    """What the auto-reply memory is keyed by: the mailbox, whatever touchpoint it is reached through."""
    return touchpoint.mailbox_identity or normalise(touchpoint.address)

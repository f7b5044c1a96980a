"""The memory of the line as it was when a mail was decided, as far as the store still tells; for replay and audits.

``memory.py`` reads what is known now; this file leaves out what came later than one walk of one mail. Entries are in
the order of their ids and of their commits, so "then" is: an id before the mail's own, or a commit before the walk.
Not told apart in time are the participants of a conversation; where that may matter, whoever asks walks once more with
an empty memory and sees whether the decision rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.bounce import read_bounce
from pipeline.conversation import Known, MessageIds
from pipeline.mail import Direction, Mail
from pipeline.memory import HOUR, Memory, mailbox_of
from pipeline.store import Tx, Value
from pipeline.touchpoint import Touchpoint, domain_of, without_tag

LONGEST_WINDOW = 90 * 86400.0
"""No auto-reply memory is asked for longer."""
_THEN = "(e.id < :entry OR e.accepted_at < :at) AND e.id <> :entry"


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """When a mail was walked."""

    entry_id: int
    at: float


def load(tx: Tx, touchpoint: Touchpoint, ids: MessageIds, mail: Mail, moment: Moment) -> Memory:
    """What the store knew at that moment about the author and references of a mail."""
    memory = Memory()
    bounce = read_bounce(mail) if mail.direction is Direction.IN else None
    for message_id in dict.fromkeys((*mail.headers.references, *(bounce.message_ids if bounce else ()))):
        _recall(tx, memory, touchpoint.id, ids, message_id, moment)
    if mail.direction is Direction.IN:
        if mail.headers.message_id:
            _recall_sent(tx, memory, mail.headers.message_id, moment)
        for address in {mail.headers.return_path or "", mail.headers.author} - {""}:
            _recall_answered(tx, memory, touchpoint, without_tag(address), moment)
        _recall_rates(tx, memory, touchpoint.id, moment)
    return memory


def _values(moment: Moment, **more: Value) -> dict[str, Value]:
    return {"entry": moment.entry_id, "at": moment.at, **more}


def _recall(tx: Tx, memory: Memory, touchpoint_id: int, ids: MessageIds, message_id: str, moment: Moment) -> None:
    rows = tx.all(
        "SELECT DISTINCT c.id, c.key FROM entry AS e JOIN conversation AS c ON c.id = e.conversation_id"
        f" WHERE e.message_id = :id AND e.touchpoint_id = :touchpoint AND {_THEN} LIMIT 20",
        _values(moment, id=message_id, touchpoint=touchpoint_id),
    )
    memory.by_reference[message_id] = [_known(tx, memory, row["id"], row["key"]) for row in rows]
    _recall_sent(tx, memory, message_id, moment)
    if (key := ids.conversation_of(message_id)) is not None and key not in memory.by_key:
        row = tx.one(
            "SELECT id, key FROM conversation WHERE key = :key AND touchpoint_id = :touchpoint AND opened_at <= :at",
            {"key": key, "touchpoint": touchpoint_id, "at": moment.at},
        )
        if row is not None:
            _known(tx, memory, row["id"], row["key"])


def _known(tx: Tx, memory: Memory, conversation_id: int, key: str) -> Known:
    if key not in memory.by_key:
        rows = tx.all("SELECT address FROM participant WHERE conversation_id = :id LIMIT 1000", {"id": conversation_id})
        memory.by_key[key] = Known(key, frozenset(row["address"] for row in rows))
    return memory.by_key[key]


def _recall_sent(tx: Tx, memory: Memory, message_id: str, moment: Moment) -> None:
    rows = tx.all(
        f"SELECT e.id, e.origin FROM entry AS e WHERE e.message_id = :id AND e.direction = 'out' AND {_THEN} LIMIT 20",
        _values(moment, id=message_id),
    )
    if rows:
        memory.sent[message_id] = [row["id"] for row in rows]
    if any(row["origin"] == "auto-reply" for row in rows):
        memory.auto_replies.add(message_id)


def _recall_answered(tx: Tx, memory: Memory, touchpoint: Touchpoint, address: str, moment: Moment) -> None:
    """The store keeps the last answer only; where that one came later, the answers themselves tell of one before."""
    row = tx.one(
        "SELECT at FROM answered WHERE mailbox = :mailbox AND address = :address",
        {"mailbox": mailbox_of(touchpoint), "address": address},
    )
    if row is not None and row["at"] >= moment.at:
        row = _answer_before(tx, touchpoint.id, address, moment)
    if row is not None and row["at"] is not None:
        memory.answered[address] = row["at"]


def _answer_before(tx: Tx, touchpoint_id: int, address: str, moment: Moment) -> dict[str, float] | None:
    rows = tx.all(
        "SELECT r.address, e.accepted_at AS at FROM entry AS e JOIN recipient AS r ON r.entry_id = e.id"
        " WHERE e.origin = 'auto-reply' AND e.touchpoint_id = :touchpoint AND e.accepted_at BETWEEN :since AND :at"
        f" AND r.address LIKE :domain AND {_THEN} ORDER BY e.accepted_at DESC LIMIT 1000",
        _values(moment, touchpoint=touchpoint_id, since=moment.at - LONGEST_WINDOW, domain=f"%@{domain_of(address)}"),
    )
    return next(({"at": row["at"]} for row in rows if without_tag(row["address"]) == address), None)


def _recall_rates(tx: Tx, memory: Memory, touchpoint_id: int, moment: Moment) -> None:
    rows = tx.all(
        "SELECT r.address FROM entry AS e JOIN recipient AS r ON r.entry_id = e.id"
        " WHERE e.origin = 'auto-reply' AND e.touchpoint_id = :touchpoint AND e.accepted_at BETWEEN :since AND :at"
        f" AND {_THEN} LIMIT 1000",
        _values(moment, touchpoint=touchpoint_id, since=moment.at - HOUR),
    )
    memory.replies_this_hour = len(rows)
    for row in rows:
        domain = domain_of(row["address"])
        memory.replies_to_domain[domain] = memory.replies_to_domain.get(domain, 0) + 1

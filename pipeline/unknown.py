"""Sends that were never answered, as SQL: the content went, and nobody knows whether the provider took it.

      ACTIVE --silence after the data, or a death--> UNKNOWN
      UNKNOWN --found in Sent, or confirmed by a person--> DONE(delivered); WAITING for whom the content never went to
      UNKNOWN --not found, or nowhere to look--> WAITING, "possibly twice" | HELD, as the touchpoint's policy says

Sent is looked into four times within two minutes, since providers file copies late. Evidence is counted, since clients
use Message-IDs twice: a copy proves something only if there are more of them than sends that are accounted for. Every
doubt in the counting leads to a second copy rather than to none, and nothing is sent again without end.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import outbox
from pipeline.entry import Origin, State
from pipeline.outbox import Answer, RecipientState, Settled
from pipeline.retry import Schedule
from pipeline.store import Row, Tx, Value
from pipeline.touchpoint import UnknownPolicy
from pipeline.verdict import HoldCause

LOOKS = (5.0, 15.0, 40.0, 60.0)
"""Seconds before each look into Sent, counted from the one before; the last one is two minutes after the silence."""
RESENDS = 3
"""So often a mail is sent again by itself when Sent was looked into and had it not; then a person is asked."""
BLIND_RESENDS = 1
"""The same where no evidence is to be had: each time may be one copy more."""
PATIENCE = 86400.0
"""Seconds after which a mail is held whose Sent folder could not be looked into."""
MARK = "possibly twice"
"""Of a mail that was sent again while nobody knew whether it had arrived."""
_IN_DOUBT = "SELECT address FROM recipient WHERE entry_id = :id AND state = 'unknown' ORDER BY number"
_LAST = "SELECT max(id) FROM attempt WHERE entry_id = :id AND phase = 'unknown'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A mail of unknown outcome."""

    entry_id: int
    message_id: str
    due_at: float
    """When Sent is to be looked into."""
    since: float
    """When it became unknown."""


def begin(tx: Tx, entry_id: int, reason: str, now: float) -> int:
    """The answer never came: doubt begins. How many entries that is, 0 where it was in no lane's hand."""
    return tx.run(
        "UPDATE entry SET state = 'unknown', looks = 0, due_at = :due, cause = :cause, reason = :reason"
        " WHERE id = :id AND state = 'active'",
        {"due": now + LOOKS[0], "cause": HoldCause.UNKNOWN_OUTCOME.value, "reason": reason[:1000], "id": entry_id},
    )


def all_of(tx: Tx, touchpoint_id: int) -> list[Doubt]:
    """The mails of a touchpoint that are in doubt, the next look first; at most 100."""
    rows = tx.all(
        "SELECT e.id, e.message_id, e.due_at, coalesce((SELECT max(a.ended_at) FROM attempt AS a"
        "  WHERE a.entry_id = e.id AND a.phase = 'unknown'), 0) AS since"
        " FROM entry AS e WHERE e.touchpoint_id = :touchpoint AND e.state = 'unknown' ORDER BY e.due_at LIMIT 100",
        {"touchpoint": touchpoint_id},
    )
    return [
        Doubt(entry_id=row["id"], message_id=row["message_id"], due_at=row["due_at"], since=row["since"])
        for row in rows
    ]


def looked(
    tx: Tx, entry_id: int, copies: int, policy: UnknownPolicy, schedule: Schedule, now: float, chance: float
) -> Settled | None:
    """Sent holds so many copies; None where the mail is in doubt no longer."""
    row = _doubtful(tx, entry_id)
    if row is None:
        return None
    if copies > _accounted(tx, row):
        return delivered(tx, entry_id, "found", "found in Sent", schedule, now, chance)
    looks = row["looks"] + 1
    if looks >= len(LOOKS):
        return _by_policy(tx, entry_id, policy, "not found in Sent", RESENDS, now)
    reason = f"{_silence(tx, entry_id)}; not found in Sent yet, look {looks} of {len(LOOKS)}"
    due = now + LOOKS[looks]
    tx.run(
        "UPDATE entry SET looks = :looks, due_at = :due, reason = :reason WHERE id = :id",
        {"looks": looks, "due": due, "reason": reason[:1000], "id": entry_id},
    )
    return Settled(entry_id=entry_id, state=State.UNKNOWN, due_at=due, reason=reason)


def blind(tx: Tx, entry_id: int, policy: UnknownPolicy, why: str, now: float) -> Settled | None:
    """There is no evidence to be had, for this reason; None where the mail is in doubt no longer."""
    row = _doubtful(tx, entry_id)
    if row is None:
        return None
    if row["origin"] == Origin.AUTO_REPLY:  # no reply is ever the safe failure, and two never are
        return _held(tx, entry_id, f"{why}, and an automatic reply is not risked twice")
    return _by_policy(tx, entry_id, policy, why, BLIND_RESENDS, now)


def hold(tx: Tx, entry_id: int, why: str) -> Settled | None:
    """A person is to find out; None where the mail is in doubt no longer."""
    return _held(tx, entry_id, why) if _doubtful(tx, entry_id) is not None else None


def put_off(tx: Tx, entry_id: int, until: float) -> None:
    """Sent could not be looked into; that counts as no look."""
    tx.run("UPDATE entry SET due_at = :due WHERE id = :id AND state = 'unknown'", {"due": until, "id": entry_id})


def delivered(
    tx: Tx, entry_id: int, outcome: str, words: str, schedule: Schedule, now: float, chance: float
) -> Settled:
    """It is known now that it arrived at those in doubt; whom its content never went to is tried again."""
    _make_certain(tx, entry_id)
    answers = [
        Answer(address=row["address"], state=RecipientState.DELIVERED, code=0, text=words)
        for row in tx.all(_IN_DOUBT, {"id": entry_id})
    ]
    tx.run(
        "UPDATE attempt SET phase = 'answered', outcome = :outcome, text = substr(text, 1, 1800) || :words"
        f" WHERE id = ({_LAST})",
        {"outcome": outcome, "words": f"; {words}", "id": entry_id},
    )
    tx.run("UPDATE entry SET state = 'active', cause = '', looks = 0 WHERE id = :id", {"id": entry_id})
    return outbox.settle(tx, entry_id, answers, schedule, now, chance)


def resend(tx: Tx, entry_id: int) -> None:
    """Those in doubt wait again, and people see that they may get it twice; nothing where nobody is in doubt."""
    if tx.run("UPDATE recipient SET state = 'waiting' WHERE entry_id = :id AND state = 'unknown'", {"id": entry_id}):
        tx.run("UPDATE entry SET mark = :mark, looks = 0 WHERE id = :id", {"mark": MARK, "id": entry_id})


def recover(tx: Tx, now: float) -> tuple[int, int]:
    """At start-up: what was in a lane's hand when the process died; (unknown outcomes, simply waiting again)."""
    unknown = _abandoned(tx, "state = 'active'", "the process ended before the server answered", now)
    tx.run("UPDATE attempt SET phase = 'unknown', outcome = 'unknown', ended_at = :now WHERE phase = 'data'",
           {"now": now})  # fmt: skip
    return unknown, tx.run("UPDATE entry SET state = 'waiting' WHERE state = 'active'")


def recover_lane(tx: Tx, touchpoint_id: int, now: float) -> list[int]:
    """What an earlier lane of this touchpoint left in hand; the entries of unknown outcome."""
    at: dict[str, Value] = {"touchpoint": touchpoint_id}
    own = "touchpoint_id = :touchpoint AND state = 'active'"
    before = {row["id"] for row in tx.all(f"SELECT id FROM entry WHERE {own}", at)}
    if not before:
        return []
    _abandoned(tx, own, "it was given up while the content was on its way", now, at)
    left = {row["id"] for row in tx.all(f"SELECT id FROM entry WHERE {own}", at)}
    tx.run(f"UPDATE entry SET state = 'waiting' WHERE {own}", at)
    return sorted(before - left)


def _abandoned(tx: Tx, which: str, words: str, now: float, at: dict[str, Value] | None = None) -> int:
    """Doubt begins for entries whose content was on its way; how many."""
    number = 0
    mine = f"SELECT id FROM entry WHERE {which}"
    for row in tx.all(f"SELECT DISTINCT entry_id FROM attempt WHERE phase = 'data' AND entry_id IN ({mine})", at or {}):
        entry_id = row["entry_id"]
        _make_certain(tx, entry_id)
        tx.run(
            "UPDATE attempt SET phase = 'unknown', outcome = 'unknown', ended_at = :now, text = :words"
            " WHERE phase = 'data' AND entry_id = :id",
            {"now": now, "words": words, "id": entry_id},
        )
        number += begin(tx, entry_id, _silence(tx, entry_id), now)
    return number


def _make_certain(tx: Tx, entry_id: int) -> None:
    """An attempt of a version that did not note whom its content went to, went to all who were waiting."""
    tx.run(
        "UPDATE recipient SET state = 'unknown' WHERE entry_id = :id AND state = 'waiting'"
        " AND NOT EXISTS (SELECT 1 FROM recipient WHERE entry_id = :id AND state = 'unknown')",
        {"id": entry_id},
    )


def _doubtful(tx: Tx, entry_id: int) -> Row | None:
    return tx.one("SELECT * FROM entry WHERE id = :id AND state = 'unknown'", {"id": entry_id})


def _accounted(tx: Tx, row: Row) -> int:
    """Sends of this touchpoint with this Message-ID whose copies in Sent prove nothing about this one.

    Each accepted attempt has filed one, of this mail too; one that is on its way may have, before its answer is stored.
    """
    found = tx.one(
        "SELECT count(*) AS n FROM entry AS e JOIN attempt AS a ON a.entry_id = e.id"
        " WHERE e.message_id = :message AND e.touchpoint_id = :touchpoint AND e.direction = 'out'"
        " AND (a.phase = 'data' OR a.outcome IN ('accepted', 'found', 'confirmed'))",
        {"message": row["message_id"], "touchpoint": row["touchpoint_id"]},
    )
    return 0 if found is None else int(found["n"])


def _by_policy(tx: Tx, entry_id: int, policy: UnknownPolicy, why: str, most: int, now: float) -> Settled:
    unknown = tx.one("SELECT count(*) AS n FROM attempt WHERE entry_id = :id AND phase = 'unknown'", {"id": entry_id})
    times = unknown["n"] if unknown else 0
    if policy is UnknownPolicy.HOLD_FOR_PERSON:
        return _held(tx, entry_id, why)
    if times > most:
        return _held(tx, entry_id, f"{why}; it was sent {times} times and never answered")
    reason = f"{_silence(tx, entry_id)}; {why}: it is sent again, and may arrive twice"
    resend(tx, entry_id)
    tx.run(
        "UPDATE entry SET state = 'waiting', due_at = :now, reason = :reason WHERE id = :id",
        {"now": now, "reason": reason[:1000], "id": entry_id},
    )
    return Settled(entry_id=entry_id, state=State.WAITING, due_at=now, reason=reason)


def _held(tx: Tx, entry_id: int, why: str) -> Settled:
    reason = f"{_silence(tx, entry_id)}; {why}"
    tx.run(
        "UPDATE entry SET state = 'held', cause = :cause, reason = :reason, held_by = '' WHERE id = :id",
        {"cause": HoldCause.UNKNOWN_OUTCOME.value, "reason": reason[:1000], "id": entry_id},
    )
    return Settled(entry_id=entry_id, state=State.HELD, reason=reason)


def _silence(tx: Tx, entry_id: int) -> str:
    """How the answer got lost, in words."""
    row = tx.one(f"SELECT text FROM attempt WHERE id = ({_LAST})", {"id": entry_id})
    return f"it may have arrived: {row['text'][:500] if row else 'no answer'}"

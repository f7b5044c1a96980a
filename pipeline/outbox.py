"""The outbound half of the spool as SQL: claim, attempt, settle. Compare-and-set, so that no two lanes hold one mail.

The attempt is committed right before the content goes, the provider's answer right after it came. Between the two
lies the one window in which nobody can know: each recipient that the content goes to is ``unknown`` in it, and a crash
there leaves an attempt in phase ``data``. What becomes of that is in ``unknown.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.entry import Disposition, Origin, State
from pipeline.errors import Refused
from pipeline.retry import Schedule
from pipeline.store import Row, Tx, Value
from pipeline.verdict import HoldCause


class RecipientState(StrEnum):
    """What became of one RCPT."""

    WAITING = "waiting"
    UNKNOWN = "unknown"
    """The content is on its way to it, or went and was never answered."""
    DELIVERED = "delivered"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The server's word on one recipient."""

    address: str
    state: RecipientState
    code: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """How an attempt ended, for its row."""

    outcome: str
    """accepted, refused, retry or unknown; an unknown one may become found (in Sent) or confirmed (by a person)."""
    code: int = 0
    text: str = ""
    """The server's words."""
    server: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What an attempt came to."""

    entry_id: int
    state: State
    due_at: float = 0.0
    refused: tuple[Answer, ...] = ()
    """With a final state: every recipient that did not get it."""
    reason: str = ""


def claim(tx: Tx, touchpoint_id: int, now: float, limit: int) -> list[Row]:
    """Take what is due into a lane's hand, in commit order; a deferred mail blocks nobody."""
    return tx.all(
        "UPDATE entry SET state = 'active' WHERE state = 'waiting' AND id IN ("
        " SELECT id FROM entry WHERE touchpoint_id = :touchpoint AND direction = 'out' AND state = 'waiting'"
        " AND due_at <= :now ORDER BY id LIMIT :limit) RETURNING *",
        {"touchpoint": touchpoint_id, "now": now, "limit": limit},
    )


def unclaim(tx: Tx, ids: Sequence[int], not_before: float = 0.0) -> None:
    """Put back what no content went of; ``not_before`` lets the mail behind it go first, at no cost to it."""
    rows: list[dict[str, Value]] = [{"id": each, "due": not_before} for each in ids]
    mine = "entry_id IN (SELECT id FROM entry WHERE id = :id AND state = 'active')"
    tx.many(f"UPDATE recipient SET state = 'waiting' WHERE state = 'unknown' AND {mine}", rows)
    # An attempt that was noted when its lane was told to stop, before any of the content.
    tx.many(f"UPDATE attempt SET phase = 'answered', outcome = 'retry' WHERE phase = 'data' AND {mine}", rows)
    tx.many("UPDATE entry SET state = 'waiting', due_at = max(due_at, :due) WHERE id = :id AND state = 'active'", rows)


def recipients(tx: Tx, entry_id: int) -> list[str]:
    """Who has not been settled yet."""
    rows = tx.all(
        "SELECT address FROM recipient WHERE entry_id = :id AND state = 'waiting' ORDER BY number", {"id": entry_id}
    )
    return [row["address"] for row in rows]


def check_in_hand(tx: Tx, entry_id: int) -> None:
    """Raise Refused where no lane has the mail in hand: what it would do is not in the table of states."""
    row = tx.one("SELECT state FROM entry WHERE id = :id", {"id": entry_id})
    if row is None or row["state"] != State.ACTIVE:
        raise Refused(f"mail {entry_id} is in no lane's hand: it is {row['state'] if row else 'not there'}")


def begin_attempt(tx: Tx, entry_id: int, server: str, at: float, left_out: Collection[str] = ()) -> int:
    """The content is about to go to all who wait but those ``left_out``; the attempt's id.

    Raises Refused where the mail is not in hand.
    """
    check_in_hand(tx, entry_id)
    tx.run("UPDATE recipient SET state = 'unknown' WHERE entry_id = :id AND state = 'waiting'", {"id": entry_id})
    tx.many(
        "UPDATE recipient SET state = 'waiting' WHERE entry_id = :id AND address = :address AND state = 'unknown'",
        [{"id": entry_id, "address": address} for address in left_out],
    )
    return tx.insert(
        "INSERT INTO attempt (entry_id, started_at, server) VALUES (:entry, :at, :server)",
        {"entry": entry_id, "at": at, "server": server},
    )


def end_attempt(tx: Tx, entry_id: int, attempt_id: int, said: Said, at: float) -> None:
    """Note how an attempt ended; one that never came to its content (id 0) gets its row now.

    Unless that is unknown, nobody is in doubt any more: all who were wait until an answer settles them.
    """
    values: dict[str, Value] = {
        "id": attempt_id,
        "entry": entry_id,
        "phase": "unknown" if said.outcome == "unknown" else "answered",
        "at": at,
        "outcome": said.outcome,
        "code": said.code,
        "text": said.text[:2000],
        "server": said.server,
    }
    if attempt_id:
        tx.run(
            "UPDATE attempt SET phase = :phase, ended_at = :at, outcome = :outcome, code = :code, text = :text,"
            " server = :server WHERE id = :id",
            values,
        )
    else:
        tx.insert(
            "INSERT INTO attempt (entry_id, started_at, phase, ended_at, outcome, code, text, server)"
            " VALUES (:entry, :at, :phase, :at, :outcome, :code, :text, :server)",
            values,
        )
    if said.outcome != "unknown":
        tx.run("UPDATE recipient SET state = 'waiting' WHERE entry_id = :entry AND state = 'unknown'", values)


def apply(tx: Tx, entry_id: int, answers: Sequence[Answer], at: float) -> None:
    """Write the server's words to the recipients that are not settled yet."""
    tx.many(
        "UPDATE recipient SET state = :state, code = :code, text = :text, at = :at"
        " WHERE entry_id = :entry AND address = :address AND state IN ('waiting', 'unknown')",
        [
            {"state": a.state.value, "code": a.code, "text": a.text[:1000], "at": at, "entry": entry_id,
             "address": a.address}
            for a in answers
        ],
    )  # fmt: skip


def settle(tx: Tx, entry_id: int, answers: Sequence[Answer], schedule: Schedule, now: float, chance: float) -> Settled:
    """Apply the answers of one attempt: final, or due again later. Raises Refused where the mail is not in hand."""
    check_in_hand(tx, entry_id)
    apply(tx, entry_id, answers, now)
    if recipients(tx, entry_id):
        return _again(tx, entry_id, answers, schedule, now, chance)
    return finish(tx, entry_id, now)


def _again(tx: Tx, entry_id: int, answers: Sequence[Answer], schedule: Schedule, now: float, chance: float) -> Settled:
    row = tx.one("SELECT attempts, planned FROM entry WHERE id = :id", {"id": entry_id})
    attempts, planned = (row["attempts"] + 1, row["planned"]) if row else (1, 0.0)
    reason = next((f"{a.code} {a.text}".strip() for a in answers if a.state is RecipientState.WAITING), "")
    if schedule.exhausted(planned):
        tx.run(
            "UPDATE recipient SET state = 'refused', at = :at WHERE entry_id = :id AND state = 'waiting'",
            {"id": entry_id, "at": now},
        )
        return finish(tx, entry_id, now, gave_up=True)
    delay = schedule.delay(attempts, chance)
    tx.run(
        "UPDATE entry SET state = 'waiting', due_at = max(due_at, :due), attempts = :attempts,"
        " planned = planned + :delay, cause = 'retry', reason = :reason WHERE id = :id AND state = 'active'",
        {"due": now + delay, "attempts": attempts, "delay": delay, "reason": reason[:1000], "id": entry_id},
    )
    return Settled(entry_id=entry_id, state=State.WAITING, due_at=now + delay, reason=reason)


def finish(tx: Tx, entry_id: int, now: float, *, gave_up: bool = False) -> Settled:
    """Every recipient has its result: delivered if at least one got it, else failed."""
    rows = tx.all("SELECT address, state, code, text FROM recipient WHERE entry_id = :id", {"id": entry_id})
    refused = tuple(
        Answer(address=row["address"], state=RecipientState.REFUSED, code=row["code"], text=row["text"])
        for row in rows
        if row["state"] == "refused"
    )
    delivered = len(refused) < len(rows)
    reason = "" if not refused else _words(refused[0], gave_up)
    tx.run(
        "UPDATE entry SET state = :state, disposition = :disposition, settled_at = :at, cause = :cause,"
        " reason = :reason, attempts = attempts + 1 WHERE id = :id",
        {
            "state": (State.DONE if delivered else State.FAILED).value,
            "disposition": Disposition.DELIVERED.value if delivered else "",
            "at": now,
            "cause": "" if not refused else ("gave-up" if gave_up else "refused"),
            "reason": reason,
            "id": entry_id,
        },
    )
    return Settled(entry_id=entry_id, state=State.DONE if delivered else State.FAILED, refused=refused, reason=reason)


def _words(answer: Answer, gave_up: bool) -> str:
    said = f"{answer.address}: {answer.code or ''} {answer.text}".strip()[:1000]
    return f"given up after too many tries; last answer: {said}" if gave_up else said


def hold_active(tx: Tx, entry_id: int, cause: HoldCause, reason: str) -> None:
    """What a lane cannot hand over as it is, is set aside."""
    tx.run(
        "UPDATE entry SET state = 'held', cause = :cause, reason = :reason, held_by = ''"
        " WHERE id = :id AND state = 'active'",
        {"cause": cause.value, "reason": reason[:1000], "id": entry_id},
    )


def next_due(tx: Tx, touchpoint_id: int) -> float | None:
    """When the next outbound mail of a touchpoint is due; None when nothing waits."""
    row = tx.one(
        "SELECT min(due_at) AS due FROM entry WHERE touchpoint_id = :touchpoint AND direction = 'out'"
        " AND state = 'waiting'",
        {"touchpoint": touchpoint_id},
    )
    return None if row is None else row["due"]


def wants_notice(tx: Tx, settled: Settled) -> Row | None:
    """The entry whose submitter must be told of this final failure; None where nobody is, or was told already."""
    if not settled.refused or settled.state not in (State.DONE, State.FAILED):
        return None
    return tx.one(
        "SELECT e.*, u.notify AS notify FROM entry AS e LEFT JOIN relay_user AS u ON u.id = e.relay_user_id"
        " WHERE e.id = :id AND e.origin = :relay AND NOT EXISTS"
        " (SELECT 1 FROM entry AS n WHERE n.notice_for = e.id AND n.notice_for <> 0)",  # <> 0 names the partial index
        {"id": settled.entry_id, "relay": Origin.RELAY.value},
    )

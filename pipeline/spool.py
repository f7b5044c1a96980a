"""The durable buffer, both directions: one table of states, one transaction per method.

      born by accept    in: DONE(queued | stopped), HELD, or WAITING (undecided)      out: WAITING or HELD

      WAITING --claimed--> ACTIVE --answered--> DONE(delivered) | WAITING, due later | FAILED | HELD
                           ACTIVE --silence after the data--> UNKNOWN
      UNKNOWN --found in Sent--> DONE(delivered)     UNKNOWN --not found--> WAITING | HELD, by policy     (unknown.py)
      WAITING --decided--> DONE(queued | stopped) | HELD         (in: a mail that is walked again)
      DONE(queued) --hold--> HELD          WAITING --hold--> HELD          DONE(queued) --move--> DONE(queued)
      HELD --release--> WAITING            FAILED | UNKNOWN --retry--> WAITING
      UNKNOWN | HELD (unknown outcome) --confirm--> DONE(delivered)
      WAITING | HELD | FAILED | UNKNOWN --drop--> DONE(dropped)
      start-up: ACTIVE with an attempt in phase ``data`` -> UNKNOWN; any other ACTIVE -> WAITING

PARKED is not a state but a view: WAITING while the touchpoint is not CONNECTED and ACTIVE. It costs a mail nothing.
Only methods of this class (and of its kind in the directory) open a transaction on the spool.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline import entry, intake, outbox, people, refetch, strikes, unknown
from pipeline.entry import Born, Disposition, Origin, State
from pipeline.errors import Refused
from pipeline.intake import Accepted, DecidedPage
from pipeline.line import Outcome
from pipeline.mail import Direction
from pipeline.outbox import Answer, Said, Settled
from pipeline.retry import Schedule
from pipeline.splice import applied, unpack
from pipeline.store import Row, Store, Tx, Value, content
from pipeline.store.content import Written
from pipeline.strikes import InHand
from pipeline.touchpoint import Touchpoint, UnknownPolicy
from pipeline.verdict import Action, HoldCause


class Verb(StrEnum):
    """What a person can do to an entry."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    DROP = "drop"
    CONFIRM = "confirm"


_S = State
VERBS: dict[Verb, tuple[tuple[State, ...], State]] = {
    Verb.RETRY: ((_S.FAILED, _S.WAITING, _S.UNKNOWN), _S.WAITING),
    Verb.HOLD: ((_S.WAITING, _S.DONE), _S.HELD),
    Verb.RELEASE: ((_S.HELD,), _S.WAITING),
    Verb.DROP: ((_S.WAITING, _S.HELD, _S.FAILED, _S.UNKNOWN), _S.DONE),
    Verb.CONFIRM: ((_S.UNKNOWN, _S.HELD), _S.DONE),
}
"""Verb -> the states it is for, and where it leads.

HOLD of a DONE entry is for queued mail only; CONFIRM of a HELD one for an unknown outcome only, and where some of the
recipients are still to be tried, it leads to WAITING.
"""

_ACTS = {
    Verb.RETRY: "state = 'waiting', due_at = :now, cause = '', planned = 0, settled_at = 0",
    Verb.HOLD: "state = 'held', disposition = '', closed = 0, cause = :cause, reason = :reason",
    Verb.RELEASE: "state = 'waiting', due_at = :now, released_by = :actor, cause = ''",
    Verb.DROP: "state = 'done', disposition = 'dropped', settled_at = :now",
}


Also = Callable[[Tx], object]
"""What goes into the same commit as an act of a person: its audit row."""


Moved = Callable[[Tx, tuple[str, ...], tuple[str, ...]], object]
"""The same for a move, which tells it the ring groups before and after, by name."""


def nothing(tx: Tx, *_: object) -> None:
    """For acts that nobody records."""


def nobody(row: Row, settled: Settled) -> None:
    """For failures that nobody is told of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """An outbound mail in a lane's hand."""

    row: Row
    recipients: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """The mail that tells a submitter of a final failure; it enters the spool with the failure."""

    born: Born
    """Its entry; content and size are filled in here."""
    content: bytes
    recipients: tuple[str, ...]


Writer = Callable[[Row, Settled], Notice | None]
"""Writes the notice of a failure, given the entry's row with its relay user's ``notify``; None: nobody is told."""


class Spool:
    """Every change of a spool entry, each method one transaction."""

    def __init__(self, store: Store, clock: Callable[[], float], schedule: Schedule = Schedule()) -> None:  # noqa: B008
        self.store = store
        self._clock = clock
        self._schedule = schedule

    # -- taking mail in ----------------------------------------------------------------------------------------------

    async def accept(self, page: DecidedPage) -> list[Accepted]:
        """Commit a decided page: all of it, or nothing; raises StaleVersion, StoreFull."""
        size = sum(len(item.data) for item in page.items)
        return await self.store.write(lambda tx: intake.accept(tx, page), size=size)

    async def submit(
        self, touchpoint: Touchpoint, outcome: Outcome, data: bytes | Written, recipients: Sequence[str]
    ) -> int:
        """Commit a relayed mail, WAITING or HELD as decided; its entry's id. Raises StaleVersion, StoreFull."""
        size = len(data) if isinstance(data, bytes) else 0
        return await self.store.write(lambda tx: _submit(tx, touchpoint, outcome, data, recipients), size=size)

    async def redecide(self, entry_id: int, touchpoint: Touchpoint, outcome: Outcome) -> Accepted | None:
        """Commit what a later walk of a waiting inbound mail decided; None where it no longer waits."""
        return await self.store.write(lambda tx: _redecide(tx, entry_id, touchpoint, outcome))

    async def resubmit(self, entry_id: int, touchpoint: Touchpoint, outcome: Outcome) -> None:
        """Commit a later walk of a released outbound mail that a lane has in hand; only after PASS it stays there."""
        await self.store.write(lambda tx: _resubmit(tx, entry_id, touchpoint, outcome))

    # -- sending -----------------------------------------------------------------------------------------------------

    async def recover_lane(self, touchpoint_id: int) -> list[int]:
        """Settle what an earlier lane of a touchpoint left in hand: no two lanes of one touchpoint run at once.

        The mails whose outcome is unknown now.
        """
        now = self._clock()
        return await self.store.write(lambda tx: unknown.recover_lane(tx, touchpoint_id, now))

    async def claim(self, touchpoint_id: int, limit: int = 20) -> list[Claimed]:
        """Take due outbound mail in hand, in commit order."""

        def work(tx: Tx) -> list[Claimed]:
            rows = outbox.claim(tx, touchpoint_id, self._clock(), limit)
            rows.sort(key=lambda row: int(row["id"]))
            return [Claimed(row=row, recipients=tuple(outbox.recipients(tx, row["id"]))) for row in rows]

        return await self.store.write(work)

    async def unclaim(self, ids: Sequence[int]) -> None:
        """Put back what was not tried; it costs the mail nothing."""
        if ids:
            await self.store.write(lambda tx: outbox.unclaim(tx, ids), urgent=True)

    async def begin_attempt(self, entry_id: int, server: str, left_out: Sequence[str] = ()) -> int:
        """Make durable that the content is about to go, and to whom of those who wait it does not."""
        now = self._clock()
        return await self.store.write(lambda tx: outbox.begin_attempt(tx, entry_id, server, now, left_out), urgent=True)

    async def settle(
        self,
        entry_id: int,
        attempt_id: int,
        answers: Sequence[Answer],
        said: Said,
        chance: float,
        notice: Writer,
        *,
        file_copy: bool = False,
    ) -> Settled:
        """Make the answers of an attempt durable; a final failure gives birth to its one notice in the same commit.

        ``file_copy``: what was delivered is to be filed in the Sent folder, by us.
        """
        now = self._clock()

        def work(tx: Tx) -> Settled:
            outbox.end_attempt(tx, entry_id, attempt_id, said, now)
            settled = outbox.settle(tx, entry_id, answers, self._schedule, now, chance)
            _followed(tx, settled, notice, file_copy=file_copy)
            return settled

        return await self.store.write(work, urgent=True)

    async def unknown(self, entry_id: int, attempt_id: int, said: Said, answers: Sequence[Answer] = ()) -> None:
        """No answer came after the data; ``answers`` are for the recipients that had one before."""
        now = self._clock()

        def work(tx: Tx) -> None:
            outbox.check_in_hand(tx, entry_id)
            outbox.end_attempt(tx, entry_id, attempt_id, said, now)
            outbox.apply(tx, entry_id, answers, now)
            unknown.begin(tx, entry_id, f"it may have arrived: {said.text}", now)

        await self.store.write(work, urgent=True)

    async def looked(
        self, entry_id: int, copies: int, policy: UnknownPolicy, chance: float, notice: Writer
    ) -> Settled | None:
        """Sent was looked into for a mail of unknown outcome; None where that is settled already."""
        now = self._clock()

        def work(tx: Tx) -> Settled | None:
            settled = unknown.looked(tx, entry_id, copies, policy, self._schedule, now, chance)
            if settled is not None:
                _followed(tx, settled, notice)
            return settled

        return await self.store.write(work)

    async def blind(self, entry_id: int, policy: UnknownPolicy, why: str) -> Settled | None:
        """There is nothing to look into for a mail of unknown outcome; None where that is settled already."""
        now = self._clock()
        return await self.store.write(lambda tx: unknown.blind(tx, entry_id, policy, why, now))

    async def hold_unknown(self, entry_id: int, why: str) -> Settled | None:
        """A person is to find out what became of a mail; None where that is settled already."""
        return await self.store.write(lambda tx: unknown.hold(tx, entry_id, why))

    async def withdraw(self, entry_id: int, attempt_id: int, said: Said, pause: float = 0.0) -> None:
        """The connection failed before the content was complete: waiting again, at no cost to the mail."""
        now = self._clock()
        due = now + pause if pause else 0.0

        def work(tx: Tx) -> None:
            outbox.end_attempt(tx, entry_id, attempt_id, said, now)
            outbox.unclaim(tx, [entry_id], due)

        await self.store.write(work, urgent=True)

    async def hold_active(self, entry_id: int, cause: HoldCause, reason: str, attempt_id: int = 0) -> None:
        """Set aside what a lane cannot hand over as it is; an attempt that was begun ends with it."""
        now = self._clock()

        def work(tx: Tx) -> None:
            if attempt_id:
                outbox.end_attempt(tx, entry_id, attempt_id, Said(outcome="refused", text=reason), now)
            outbox.hold_active(tx, entry_id, cause, reason)

        await self.store.write(work, urgent=True)

    async def next_due(self, touchpoint_id: int) -> float | None:
        """When the next outbound mail of a touchpoint is due."""
        return await self.store.read(lambda tx: outbox.next_due(tx, touchpoint_id))

    # -- start-up ----------------------------------------------------------------------------------------------------

    async def recover(self, in_hand: Sequence[InHand]) -> tuple[int, int, int]:
        """Settle what a death left open; (unknown outcomes, waiting again, unowned contents swept)."""
        now = self._clock()

        def work(tx: Tx) -> tuple[int, int, int]:
            strikes.strike(tx, in_hand, now)
            in_doubt, waiting = unknown.recover(tx, now)
            return in_doubt, waiting, content.sweep(tx, 2**62)

        return await self.store.write(work)

    # -- what people do ----------------------------------------------------------------------------------------------

    async def retry(self, entry_id: int, actor: str, also: Also = nothing) -> None:
        """Try a failed or waiting mail now, or one of unknown outcome, which may arrive twice then."""
        await self._act(Verb.RETRY, entry_id, actor, also)

    async def hold(self, entry_id: int, actor: str, also: Also = nothing, *, reason: str = "") -> None:
        """Set a waiting or queued mail aside."""
        await self._act(Verb.HOLD, entry_id, actor, also, reason or f"held by {actor}")

    async def release(self, entry_id: int, actor: str, also: Also = nothing) -> None:
        """Let a held mail go on: in walks its line again, out is handed over."""
        await self._act(Verb.RELEASE, entry_id, actor, also)

    async def drop(self, entry_id: int, actor: str, also: Also = nothing) -> None:
        """Give a mail up; its content is kept."""
        await self._act(Verb.DROP, entry_id, actor, also)

    async def confirm(
        self,
        entry_id: int,
        actor: str,
        also: Also = nothing,
        *,
        notice: Writer = nobody,
        file_copy: bool = False,
    ) -> Settled:
        """A mail of unknown outcome did arrive, as somebody found out; ``file_copy`` as in ``settle``."""
        now = self._clock()

        def work(tx: Tx) -> Settled:
            row = _existing(tx, entry_id)
            _check(Verb.CONFIRM, row)
            settled = unknown.delivered(tx, entry_id, "confirmed", f"confirmed by {actor}", self._schedule, now, 0.5)
            _followed(tx, settled, notice, file_copy=file_copy)
            also(tx)
            return settled

        return await self.store.write(work)

    async def close(self, entry_id: int, actor: str, also: Also = nothing) -> None:
        """Somebody dealt with a queued mail."""
        await self._toggle(entry_id, also, closed=1)

    async def reopen(self, entry_id: int, actor: str, also: Also = nothing) -> None:
        """A closed mail needs somebody again."""
        await self._toggle(entry_id, also, closed=0)

    async def move(self, entry_id: int, ring_groups: Sequence[str], also: Moved = nothing) -> bool:
        """Put an open queued mail into the queues of these ring groups, by name, and no others; whether that is new.

        Its trail stays: it tells of what was decided, the audit of what people did. Raises Refused.
        """
        return await self.store.write(lambda tx: _move(tx, entry_id, ring_groups, also))

    async def _act(self, verb: Verb, entry_id: int, actor: str, also: Also, reason: str = "") -> None:
        now = self._clock()

        def work(tx: Tx) -> None:
            row = _existing(tx, entry_id)
            _check(verb, row)
            values: dict[str, Value] = {"id": entry_id, "now": now, "actor": actor, "reason": reason,
                                        "cause": HoldCause.BY_PERSON.value}  # fmt: skip
            if verb is Verb.RETRY and row["state"] != State.UNKNOWN:
                tx.run("UPDATE recipient SET state = 'waiting' WHERE entry_id = :id AND state = 'refused'", values)
            if verb in (Verb.RETRY, Verb.RELEASE):
                unknown.resend(tx, entry_id)
            if verb is Verb.RELEASE and refetch.lacks_bytes(row):  # it goes on once its bytes are here
                refetch.ask_again(tx, row, actor, now)
            else:
                tx.run(f"UPDATE entry SET {_ACTS[verb]} WHERE id = :id", values)
            also(tx)

        await self.store.write(work)

    async def _toggle(self, entry_id: int, also: Also, *, closed: int) -> None:
        def work(tx: Tx) -> None:
            row = _existing(tx, entry_id)
            if row["disposition"] != Disposition.QUEUED or row["closed"] == closed:
                there = row["disposition"] or row["state"]
                raise Refused(f"mail {entry_id} is {there}{', closed' if row['closed'] else ''}: nothing to do")
            tx.run("UPDATE entry SET closed = :closed WHERE id = :id", {"id": entry_id, "closed": closed})
            also(tx)

        await self.store.write(work)

    # -- content -----------------------------------------------------------------------------------------------------

    async def chunks(self, entry_id: int) -> AsyncIterator[bytes]:
        """The content of an entry with its splices applied; raises Refused where there is none."""
        row = await self.store.read(lambda tx: _existing(tx, entry_id))
        if not row["content_id"]:
            raise Refused(f"mail {entry_id} has no content: it could not be fetched")
        async for chunk in applied(content.chunks(self.store, row["content_id"]), unpack(row["splices"])):
            yield chunk

    async def original(self, content_id: int) -> AsyncIterator[bytes]:
        """A content as it came, without splices."""
        async for chunk in content.chunks(self.store, content_id):
            yield chunk


def _existing(tx: Tx, entry_id: int) -> Row:
    row = tx.one("SELECT * FROM entry WHERE id = :id", {"id": entry_id})
    if row is None:
        raise Refused(f"there is no mail {entry_id}: see `postroom spool list`")
    return row


def _move(tx: Tx, entry_id: int, ring_groups: Sequence[str], also: Moved) -> bool:
    row = _existing(tx, entry_id)
    if row["disposition"] != Disposition.QUEUED:
        raise Refused(f"mail {entry_id} is {row['disposition'] or row['state']}: only mail in a queue can be moved")
    if row["closed"]:
        raise Refused(f"mail {entry_id} is closed; reopen it first: postroom queue reopen {entry_id}")
    wanted = {people.ring_group_id(tx, name): name for name in dict.fromkeys(map(str.strip, ring_groups))}
    before = {each["id"]: each["name"] for each in entry.queues(tx, entry_id)}
    if wanted.keys() == before.keys():
        return False
    tx.run("DELETE FROM assignment WHERE entry_id = :id", {"id": entry_id})
    entry.assign(tx, entry_id, list(wanted))
    also(tx, tuple(before.values()), tuple(sorted(wanted.values())))
    return True


def _check(verb: Verb, row: Row) -> None:
    allowed, _ = VERBS[verb]
    state = State(row["state"])
    wrong = state is State.DONE and row["disposition"] != Disposition.QUEUED
    if verb is Verb.CONFIRM:
        wrong = state is State.HELD and row["cause"] != HoldCause.UNKNOWN_OUTCOME
    if state not in allowed or wrong or (verb in (Verb.RETRY, Verb.CONFIRM) and row["direction"] != Direction.OUT):
        what = row["disposition"] or row["state"]
        raise Refused(
            f"mail {row['id']} is {what} ({row['direction']}): {verb.value} is for mail that is"
            f" {' or '.join(each.value for each in allowed)}"
        )


def _followed(tx: Tx, settled: Settled, notice: Writer, *, file_copy: bool = False) -> None:
    """What follows from a mail that came to its end: a copy for Sent, and the one notice of a failure."""
    if file_copy and settled.state is State.DONE:
        tx.run("UPDATE entry SET sent_copy_due = 1 WHERE id = :id", {"id": settled.entry_id})
    row = outbox.wants_notice(tx, settled)
    if row is not None and (told := notice(row, settled)) is not None:
        _give_notice(tx, told)


def _give_notice(tx: Tx, notice: Notice) -> None:
    content_id = content.put(tx, notice.content, b"")
    entry_id = entry.insert(tx, replace(notice.born, content_id=content_id, size=len(notice.content)))
    entry.add_recipients(tx, entry_id, notice.recipients)


def _submit(tx: Tx, touchpoint: Touchpoint, outcome: Outcome, data: bytes | Written, recipients: Sequence[str]) -> int:
    intake.check_version(tx, touchpoint)
    if isinstance(data, bytes):
        content_id = content.put(tx, data, outcome.mail.sha256)
    else:
        content_id = data.content_id
        content.adopt(tx, content_id)
    conversation_id = entry.join_conversation(tx, outcome, touchpoint)
    born = _born_outbound(outcome, touchpoint.id, content_id=content_id, conversation_id=conversation_id)
    entry_id = entry.insert(tx, born)
    entry.add_recipients(tx, entry_id, recipients)
    entry.add_walk(tx, entry_id, outcome.trail, outcome.version, outcome.at)
    entry.count(tx, "accepted")
    return entry_id


def _born_outbound(outcome: Outcome, touchpoint_id: int, **fate: Any) -> Born:
    if outcome.action is Action.PASS:
        fate |= {"state": State.WAITING, "due_at": outcome.at, "reason": ""}
    else:  # only what came through its line is ever sent
        fate |= {"state": State.HELD, "held_by": outcome.stage}
    return entry.from_outcome(outcome, touchpoint_id, Origin.RELAY, **fate)


def _redecide(tx: Tx, entry_id: int, touchpoint: Touchpoint, outcome: Outcome) -> Accepted | None:
    intake.check_version(tx, touchpoint)
    before = tx.one(
        "SELECT deferred_since, conversation_id, held_by FROM entry"
        " WHERE id = :id AND state = 'waiting' AND direction = 'in'",
        {"id": entry_id},
    )
    if before is None:
        return None
    born = intake.born_inbound(outcome, touchpoint.id)
    conversation_id = before["conversation_id"] or entry.join_conversation(tx, outcome, touchpoint)
    tx.run(
        "UPDATE entry SET state = :state, disposition = :disposition, cause = :cause, reason = :reason,"
        " held_by = :held_by, kind = :kind, mark = :mark, config_version = :version, due_at = :due,"
        " deferred_since = :deferred, conversation_id = :conversation WHERE id = :id",
        {
            "state": born.state.value,
            "disposition": born.disposition,
            "cause": born.cause,
            "reason": born.reason,
            "held_by": _holders(before["held_by"], outcome),
            "kind": born.kind,
            "mark": born.mark,
            "version": born.config_version,
            "due": born.due_at,
            "deferred": (before["deferred_since"] or born.deferred_since) if born.state is State.WAITING else 0.0,
            "conversation": conversation_id,
            "id": entry_id,
        },
    )
    strikes.clear(tx, touchpoint.id, "", 0, entry_id, entry_id)
    if before["conversation_id"]:  # it was queued before somebody held it: the effects of that walk stand
        entry.add_walk(tx, entry_id, outcome.trail, outcome.version, outcome.at, entry.walks(tx, entry_id) + 1)
        return Accepted(entry_id=entry_id, outcome=outcome, replied=False)
    replied = intake.apply_effects(tx, entry_id, outcome, touchpoint, conversation_id, entry.walks(tx, entry_id) + 1)
    return Accepted(entry_id=entry_id, outcome=outcome, replied=replied)


def _holders(before: str, outcome: Outcome) -> str:
    """Every stage that held a mail so far, so that one release after the other lets it through them all."""
    match outcome.action:
        case Action.PASS:
            return ""
        case Action.DEFER:
            return before
        case _:
            return " ".join(dict.fromkeys((*before.split(), outcome.stage)))


def _resubmit(tx: Tx, entry_id: int, touchpoint: Touchpoint, outcome: Outcome) -> None:
    intake.check_version(tx, touchpoint)
    outbox.check_in_hand(tx, entry_id)
    entry.add_walk(tx, entry_id, outcome.trail, outcome.version, outcome.at, entry.walks(tx, entry_id) + 1)
    if outcome.action is Action.DEFER:  # walks again: who held and who released it stays noted
        tx.run(
            "UPDATE entry SET state = 'waiting', due_at = :due, reason = :reason WHERE id = :id",
            {"due": intake.due_again(outcome), "reason": outcome.reason[:2000], "id": entry_id},
        )
        return
    before = tx.one("SELECT held_by FROM entry WHERE id = :id", {"id": entry_id})
    born = _born_outbound(outcome, touchpoint.id)
    state = State.HELD if born.state is State.HELD else State.ACTIVE
    tx.run(
        "UPDATE entry SET state = :state, cause = :cause, reason = :reason, held_by = :held_by, splices = :splices,"
        " config_version = :version, conversation_id = :conversation WHERE id = :id",
        {
            "state": state.value,
            "cause": born.cause,
            "reason": born.reason,
            "held_by": _holders(before["held_by"] if before else "", outcome),
            "splices": born.splices,
            "version": born.config_version,
            "conversation": entry.join_conversation(tx, outcome, touchpoint),
            "id": entry_id,
        },
    )

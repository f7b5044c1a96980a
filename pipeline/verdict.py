"""What a stage says about a mail, as data.

A stage returns one ``Verdict``; ``line.py`` is the only place that merges them, and one commit of ``spool.py`` makes
them true. The short constructors at the end are how stages write verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.mail import Facts


class Action(StrEnum):
    """What shall become of the mail now."""

    PASS = "pass"
    """Next stage, please."""
    STOP = "stop"
    """Finished here, nothing more to do."""
    HOLD = "hold"
    """Wait for a person, with a cause code."""
    DEFER = "defer"
    """Walk this line again later."""
    REJECT = "reject"
    """Tell the submitter; outbound only, since bouncing fetched mail is backscatter."""


class HoldCause(StrEnum):
    """Why a mail is set aside for a person."""

    POISON = "poison"
    BLOCKED = "blocked"
    DIRECTION = "direction"
    REJECTED = "rejected"
    """A stage would refuse it, and fetched mail is never bounced."""
    OVERSIZE = "oversize"
    UNDECODABLE = "undecodable"
    """There is no header field in it, so it has no author, and nobody could answer."""
    UNKNOWN_OUTCOME = "unknown-outcome"
    STAGE_FAILED = "stage-failed"
    DEFERRED_TOO_LONG = "deferred-too-long"
    ENVELOPE = "envelope"
    BY_PERSON = "by-person"


@dataclass(frozen=True, slots=True)
class Splice:
    """Replace ``length`` bytes of the original content at ``offset`` by ``data``."""

    offset: int
    length: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewrite:
    """Effect: new content, as splices on the original; outbound only. Untouched parts stay equal by construction."""

    splices: tuple[Splice, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Assign:
    """Effect: the mail joins the queues of these ring groups (ids); an empty set is visible to ops only."""

    ring_groups: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """Effect: a further outbound mail, with its envelope fixed here and never taken from its headers again."""

    content: bytes
    envelope_sender: str
    """MAIL FROM; "" is the null sender."""
    recipient: str
    message_id: str
    remember: str
    """The normalised address whose auto-reply memory this takes; the effect is dropped if it is already taken."""
    window: float
    """Seconds during which that memory blocks another one."""


Effect = Rewrite | Assign | Send


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One stage's word on one mail."""

    action: Action
    reason: str
    """Why, in words; it is shown to people."""
    cause: HoldCause | None = None
    effects: tuple[Effect, ...] = ()
    facts: Facts | None = None
    """What the stage learnt, for the stages behind it."""
    code: str = ""
    """For REJECT: the enhanced status code (RFC 3463), such as "5.7.1"."""


def passed(reason: str, *effects: Effect, facts: Facts | None = None) -> Verdict:
    """Nothing against it; the next stage decides."""
    return Verdict(action=Action.PASS, reason=reason, effects=effects, facts=facts)


def stopped(reason: str, *, facts: Facts | None = None) -> Verdict:
    """Taken, kept, and nobody needs to see it."""
    return Verdict(action=Action.STOP, reason=reason, facts=facts)


def held(cause: HoldCause, reason: str, *, facts: Facts | None = None) -> Verdict:
    """Set aside for a person."""
    return Verdict(action=Action.HOLD, reason=reason, cause=cause, facts=facts)


def deferred(reason: str) -> Verdict:
    """Ask again later."""
    return Verdict(action=Action.DEFER, reason=reason)


def rejected(code: str, reason: str) -> Verdict:
    """Refuse it to the submitter, with an enhanced status code (RFC 3463)."""
    return Verdict(action=Action.REJECT, reason=reason, code=code)

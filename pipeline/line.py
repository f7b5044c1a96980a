"""Walks one mail down its line; the only place where verdicts are merged.

A line is a tuple of named stages that anyone can read in the settings. The walk asks each in turn until one says
something else than PASS. It promises:

- A stage that raises puts its mail on HOLD with the traceback in the trail: a bug may delay mail, never lose it.
- A walk that ends in HOLD or DEFER has no effects.
- A released mail walks again from the start; the stage that held it answers "released by NAME".

It never stores or sends anything, and has no clock: deadlines are set, and stages timed, by whoever calls.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.conversation import Known
from pipeline.mail import Direction, Facts, Mail
from pipeline.memory import Memory
from pipeline.splice import ordered
from pipeline.stage import Context, Stage
from pipeline.touchpoint import domain_of, normalise
from pipeline.verdict import Action, Assign, Effect, HoldCause, Rewrite, Send, Splice, Verdict, held, passed

Trail = tuple[tuple[str, str, str], ...]
"""(stage, action, reason) for each verdict, in order."""
Observer = Callable[[str, Verdict | None], None]
"""Is told of each stage when it has answered; None where it was stopped before it did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A person let a held mail go on."""

    stages: tuple[str, ...]
    """The stages that held it, each released once."""
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the line decided about a mail; ``action`` PASS means that it came through to the end."""

    mail: Mail
    action: Action
    trail: Trail
    version: int
    """The version of the touchpoint that this was decided by."""
    at: float
    facts: Facts = Facts()
    stage: str = ""
    """The stage that ended the walk; "" after PASS."""
    reason: str = ""
    cause: HoldCause | None = None
    code: str = ""
    splices: tuple[Splice, ...] = ()
    ring_groups: tuple[int, ...] = ()
    sends: tuple[Send, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """An ordered tuple of stages, each with its name in the settings."""

    stages: tuple[tuple[str, Stage], ...]

    async def walk(
        self, mail: Mail, context: Context, release: Release | None = None, observe: Observer | None = None
    ) -> Outcome:
        """Ask the stages in order until one does not pass."""
        trail: list[tuple[str, str, str]] = []
        verdicts: list[Verdict] = []
        for name, stage in self.stages:
            verdict = await _ask(name, stage, mail, context, observe)
            if release is not None and name in release.stages and verdict.action is Action.HOLD:
                verdict = passed(f"released by {release.by}", facts=verdict.facts)
            trail.append((name, verdict.action.value, verdict.reason))
            verdicts.append(verdict)
            if verdict.facts is not None:
                context = replace(context, facts=verdict.facts)
            if verdict.action is not Action.PASS:
                return _ended(name, mail, context, tuple(trail), verdict)
        return _merged(mail, context, tuple(trail), verdicts)


async def _ask(name: str, stage: Stage, mail: Mail, context: Context, observe: Observer | None) -> Verdict:
    verdict: Verdict | None = None
    try:
        verdict = _sound(await stage(mail, context))
    except Exception:
        verdict = held(HoldCause.STAGE_FAILED, f"stage {name} failed:\n{traceback.format_exc(limit=-8)[-4000:]}")
    finally:
        if observe is not None:
            observe(name, verdict)
    return verdict


def _sound(verdict: object) -> Verdict:
    """A plug-in may answer anything; what is no verdict counts as a failure of the stage."""
    if not isinstance(verdict, Verdict) or not isinstance(verdict.reason, str):
        raise TypeError(f"a stage answers with a Verdict that has a reason, not {verdict!r:.200}")
    if wrong := [effect for effect in verdict.effects if not isinstance(effect, Rewrite | Assign | Send)]:
        raise TypeError(f"not an effect: {wrong[0]!r:.200}")
    return verdict


def _ended(name: str, mail: Mail, context: Context, trail: Trail, verdict: Verdict) -> Outcome:
    return Outcome(
        mail=mail,
        action=verdict.action,
        trail=trail,
        version=context.touchpoint.version,
        at=context.now,
        facts=context.facts,
        stage=name,
        reason=verdict.reason,
        cause=verdict.cause,
        code=verdict.code,
    )


def _merged(mail: Mail, context: Context, trail: Trail, verdicts: Sequence[Verdict]) -> Outcome:
    effects = [effect for verdict in verdicts for effect in verdict.effects]
    try:
        splices = _spliced(mail, effects)
    except ValueError as error:
        wrong = held(HoldCause.STAGE_FAILED, f"its stages do not agree on its content: {error}")
        return _ended("line", mail, context, (*trail, ("line", Action.HOLD.value, wrong.reason)), wrong)
    return Outcome(
        mail=mail,
        action=Action.PASS,
        trail=trail,
        version=context.touchpoint.version,
        at=context.now,
        facts=context.facts,
        splices=splices,
        ring_groups=tuple(group for effect in effects if isinstance(effect, Assign) for group in effect.ring_groups),
        sends=tuple(effect for effect in effects if isinstance(effect, Send)),
    )


def _spliced(mail: Mail, effects: Sequence[Effect]) -> tuple[Splice, ...]:
    splices = ordered(splice for effect in effects if isinstance(effect, Rewrite) for splice in effect.splices)
    if splices and mail.direction is Direction.IN:
        raise ValueError("what was received is never rewritten")
    if any(each.offset < 0 or each.length < 0 or each.offset + each.length > mail.size for each in splices):
        raise ValueError("a splice lies outside the content")
    return splices


def undecided(mail: Mail, context: Context, reason: str) -> Outcome:
    """The outcome of a mail whose walk ran out of time: stored, and walked again later."""
    return Outcome(
        mail=mail,
        action=Action.DEFER,
        trail=(("line", Action.DEFER.value, reason),),
        version=context.touchpoint.version,
        at=context.now,
        reason=reason,
    )


def set_aside(mail: Mail, context: Context, cause: HoldCause, reason: str) -> Outcome:
    """The outcome of a mail that no stage is asked about: held for a person."""
    return _ended("line", mail, context, (("line", Action.HOLD.value, reason),), held(cause, reason))


def participants(mail: Mail, ours: str) -> frozenset[str]:
    """Who takes part in a conversation through this mail: its author and whom it is written to, without ourselves."""
    named = {mail.headers.author, *mail.headers.recipients[:50], *map(normalise, mail.envelope.recipients[:50])}
    return frozenset(named - {"", ours})


def tell(memory: Memory, outcome: Outcome, ours: str) -> None:
    """Let the memory know an outcome, so that the next mail of the page is decided with it."""
    if outcome.action is not Action.PASS:
        return
    people = participants(outcome.mail, ours)
    before = memory.by_key.get(outcome.facts.conversation)
    known = Known(outcome.facts.conversation, people | (before.participants if before else frozenset()))
    memory.joins(outcome.mail.message_id, known)
    for send in outcome.sends:
        memory.joins(send.message_id, known)
        memory.auto_replies.add(send.message_id)
        memory.replied(send.remember, domain_of(send.remember), outcome.at)

"""Walks mails down a line with all that a walk needs: context, memory, flight note and deadline.

The one place where the daemon calls a line, whether the mail was just fetched, waited, was released or is being
submitted. It stores nothing; what comes back goes into a commit of the spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from gateway.services import Services
from pipeline import memory
from pipeline.line import Line, Outcome, Release, set_aside, tell, undecided
from pipeline.mail import Direction, Mail
from pipeline.memory import Memory
from pipeline.stage import Context
from pipeline.strikes import InHand
from pipeline.touchpoint import Touchpoint, normalise
from pipeline.verdict import HoldCause

ALONE_SECONDS = 10.0
"""What the stages have for a mail that is walked alone."""
_BREATH = 0.005
"""Seconds of walking before the loop may serve others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """A mail that is to be walked."""

    mail: Mail
    hand: InHand | None = None
    """What the flight note says meanwhile; None for mail that nobody would fetch again."""
    release: Release | None = None
    aside: tuple[HoldCause, str] | None = None
    """Not walked at all but held, with this cause and reason."""


async def context_for(services: Services, touchpoint: Touchpoint, mails: Sequence[Mail]) -> Context:
    """What stages may know when they decide these mails of one touchpoint."""
    now = services.clock()
    installation = services.directory.installation
    known = Memory()
    if any(mail.direction is Direction.IN or mail.headers.references for mail in mails):
        known = await services.store.read(lambda tx: memory.load(tx, touchpoint, installation.message_ids, mails, now))
    return Context(touchpoint=touchpoint, installation=installation, memory=known, now=now)


async def decide_page(services: Services, touchpoint: Touchpoint, walks: Sequence[Walk]) -> list[Outcome]:
    """Decide a page of inbound mail; what is undecided when the page's time is over is stored so and walks later."""
    context = await context_for(services, touchpoint, [walk.mail for walk in walks])
    outcomes: list[Outcome] = []
    try:
        async with asyncio.timeout(services.settings.intake.decide_seconds):
            breath = monotonic() + _BREATH  # not the loop's own time, which stands still until the loop turns
            for walk in walks:
                if monotonic() > breath:
                    await asyncio.sleep(0)
                    breath = monotonic() + _BREATH
                outcomes.append(await _walk(services, services.inbound, walk, context))
    except TimeoutError:
        rest = walks[len(outcomes) :]
        outcomes += [undecided(walk.mail, context, "the page's time was over before it was decided") for walk in rest]
    return outcomes


async def decide_alone(services: Services, touchpoint: Touchpoint, line: Line, walk: Walk) -> Outcome:
    """Decide one mail by itself; a stage that overruns holds it."""
    context = await context_for(services, touchpoint, [walk.mail])
    try:
        async with asyncio.timeout(ALONE_SECONDS):
            return await _walk(services, line, walk, context)
    except TimeoutError:
        return set_aside(walk.mail, context, HoldCause.STAGE_FAILED, f"its stages took over {ALONE_SECONDS:.0f} s")


async def _walk(services: Services, line: Line, walk: Walk, context: Context) -> Outcome:
    if walk.aside is not None:
        return set_aside(walk.mail, context, *walk.aside)
    watch = services.metrics.stopwatch(walk.mail.direction)
    if walk.hand is None:
        outcome = await line.walk(walk.mail, context, walk.release, watch)
    else:
        with services.flight.holding(walk.hand):
            outcome = await line.walk(walk.mail, context, walk.release, watch)
    tell(context.memory, outcome, normalise(context.touchpoint.address))
    return outcome

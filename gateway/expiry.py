"""The task that gives up held mail after ``held.expire_days``; by default it has nothing to do.

It measures with the steady clock and never with the time of day, and looks every ten minutes. What it gives up has an
audit row by "expiry", and people see beforehand when: in the list of held mail, and in ``why``.
"""

from __future__ import annotations

import asyncio
import logging
import os

from gateway.events import MailFact, MailWhat
from gateway.services import Services
from pipeline import expiry
from pipeline.people import Actor

log = logging.getLogger("postroom.expiry")

SWEEP = 600.0
"""Seconds between two looks."""
NAME = "expiry"
"""Who gave up the mail, in the audit."""


async def run(services: Services, every: float = SWEEP) -> None:
    """Look now and then, for ever; trouble with the store is logged, and the time meanwhile does not count."""
    limit = services.settings.held.expire_days * 86400.0
    loop = asyncio.get_running_loop()
    seen = loop.time()
    while True:
        try:
            if not limit:
                return await services.store.write(expiry.forget)
            now = loop.time()
            await sweep(services, seconds=now - seen, limit=limit)
        except Exception:
            log.exception("held mail cannot be looked through for what expires")
        seen = loop.time()
        await asyncio.sleep(every)


async def sweep(services: Services, *, seconds: float, limit: float) -> int:
    """Count this time for all held mail and give up what is due; how many that were."""
    actor = Actor(name=NAME, uid=os.geteuid(), role="")
    after, number = 0, 0
    while True:
        swept = await services.store.write(
            lambda tx, a=after: expiry.sweep(  # type: ignore[misc]
                tx, a, seconds=seconds, limit=limit, now=services.clock(), actor=actor
            )
        )
        for entry_id, touchpoint_id in swept.dropped:
            services.events.publish(MailFact(MailWhat.CHANGED, entry_id, touchpoint_id, f"mail.drop by {NAME}"))
        number += len(swept.dropped)
        if not (after := swept.next):
            return number

"""Assigns a mail to the ring groups that are linked to its touchpoint now.

The set is frozen with the mail: linking another group later moves nothing (the trail holds the touchpoint's version).
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.mail import Mail
from pipeline.stage import Context
from pipeline.verdict import Assign, Verdict, passed


@dataclass(frozen=True, kw_only=True, slots=True)
class RingGroupStage:
    """Put the mail into the queues of the linked ring groups."""

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        """Awaits nothing."""
        groups = context.touchpoint.ring_groups
        return passed(_told(len(groups)), Assign(ring_groups=groups))


def _told(count: int) -> str:
    if not count:
        return "no ring group is linked: visible to ops only"
    return f"assigned to {count} ring group{'s' if count > 1 else ''}"

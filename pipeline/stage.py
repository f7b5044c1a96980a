"""The contract of a stage, and all that a stage may know.

A stage decides; it never stores, sends or edits. ``Context`` is a frozen snapshot taken before the walk, so the same
mail and the same context give the same verdict on any day: that is what makes replay and ``why`` honest.

To add one: a file in ``stages/`` with a frozen dataclass that ends in ``Stage``; its fields are the keys of
``[stages.NAME]`` in the settings; name it in a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.conversation import MessageIds
from pipeline.mail import Facts, Mail
from pipeline.memory import Memory
from pipeline.touchpoint import Touchpoint
from pipeline.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """Who we are, and every address that is ours: the directory as the stages see it."""

    id: str
    """Random, fixed at the first start; the value of X-Postroom-Loop."""
    hostname: str
    """Right side of the Message-IDs that we make."""
    addresses: frozenset[str]
    """``without_tag`` of all touchpoints, their aliases and the notify addresses of relay users."""
    message_ids: MessageIds
    """Signs and checks the Message-IDs of what we write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """All that a stage may know besides the mail itself."""

    touchpoint: Touchpoint
    installation: Installation
    memory: Memory
    """What the line remembers: conversations, who was answered when. Read only for stages."""
    now: float
    """Seconds since the epoch; stages have no clock of their own."""
    facts: Facts = Facts()
    """What the stages before this one learnt."""


class Stage(Protocol):
    """One decision about one mail. Decides; never stores, sends or edits."""

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        """Built-in stages await nothing; plug-ins may await their own client, under a deadline."""
        ...

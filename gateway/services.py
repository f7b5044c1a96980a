"""What every touchpoint's tasks share: one of each, built by ``daemon.py`` and handed down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.connectors import Receiving, Sending
from gateway.events import Events
from gateway.flight import Flight
from gateway.metrics import Metrics
from gateway.settings import Settings
from pipeline.directory import Directory
from pipeline.line import Line
from pipeline.spool import Spool
from pipeline.store import Store
from pipeline.touchpoint import Touchpoint


class Budget:
    """Bytes that may be fetched and not yet committed, in the whole daemon."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = asyncio.Condition()

    async def take(self, size: int) -> int:
        """Wait until there is room; what was taken (never more than all of it), to be given back."""
        size = min(size, self._limit)
        async with self._freed:
            await self._freed.wait_for(lambda: self._used + size <= self._limit)
            self._used += size
        return size

    async def give_back(self, size: int) -> None:
        """The bytes are committed, or forgotten."""
        async with self._freed:
            self._used -= size
            self._freed.notify_all()


@dataclass(kw_only=True, slots=True)
class Services:
    """The parts that the tasks of touchpoints work with."""

    settings: Settings
    store: Store
    spool: Spool
    events: Events
    flight: Flight
    budget: Budget
    metrics: Metrics
    inbound: Line
    outbound: Line
    directory: Directory
    """The current snapshot; replaced whole, never changed."""
    clock: Callable[[], float]
    chance: Callable[[], float]
    """A random number in [0, 1)."""
    receiving: Callable[[Touchpoint], Awaitable[Receiving | None]]
    """Makes the inbound half of a touchpoint's connector, with its secrets; None where it lacks one."""
    sending: Callable[[Touchpoint], Awaitable[Sending | None]]
    """Makes the outbound half."""
    resuming: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the rows of a whole folder are in memory (``gateway/resume.py``)."""

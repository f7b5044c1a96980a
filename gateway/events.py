"""Every fact the daemon can state, and the hub that passes each on once: to the journal, and to whoever listens.

A fact is small: what happened, to which mail or touchpoint, and maybe why in words. Stating one costs microseconds and
waits for nobody. The full rows that people see are read when a batch goes out on the socket (server.py), so they are
never older than the fact. Facts are numbered (boot, n) and the last 10,000 are kept; a listener that falls behind is
told of the gap and takes a new snapshot. What must survive a restart is a row in the store, not an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

KEPT = 10_000
log = logging.getLogger("postroom.events")


class MailWhat(StrEnum):
    """What can happen to a mail."""

    ASSIGNED = "mail.assigned"
    """Taken in and queued for its ring groups, maybe for none."""
    STOPPED = "mail.stopped"
    HELD = "mail.held"
    UNDECIDED = "mail.undecided"
    """Taken in and waiting to be walked again."""
    ANSWERED = "mail.answered"
    """An auto-reply went into the spool because of it."""
    ACCEPTED = "mail.accepted"
    """Taken from a relay user, or born here, and waiting to go out."""
    DELIVERED = "mail.delivered"
    DEFERRED = "mail.deferred"
    """The server said: not now."""
    FAILED = "mail.failed"
    UNKNOWN = "mail.unknown"
    CHANGED = "mail.changed"
    """A person did something to it."""


class TouchpointWhat(StrEnum):
    """What can happen to a touchpoint."""

    CREATED = "touchpoint.created"
    CHANGED = "touchpoint.changed"
    DELETED = "touchpoint.deleted"
    CONNECTED = "touchpoint.connected"
    BACKOFF = "touchpoint.backoff"
    CONNECTION_LOST = "touchpoint.connection_lost"
    ACTIVATED = "touchpoint.activated"
    DEACTIVATED = "touchpoint.deactivated"
    RESUMED = "touchpoint.resumed"
    """A folder had new numbers: how many of its items are known, left alone, unseen."""
    ASKS = "touchpoint.asks"
    """A folder had new numbers, and a person has to say what is taken."""


class HouseWhat(StrEnum):
    """What can happen to the daemon as a whole."""

    STARTED = "house.started"
    STOPPING = "house.stopping"
    DISK_FULL = "house.disk_full"
    DISK_FREE = "house.disk_free"
    NOTICE = "house.notice"


@dataclass(frozen=True, slots=True)
class MailFact:
    """Something happened to the spool entry ``id``."""

    what: MailWhat
    id: int
    touchpoint_id: int
    words: str = ""


@dataclass(frozen=True, slots=True)
class TouchpointFact:
    """Something happened to the touchpoint ``id``."""

    what: TouchpointWhat
    id: int
    words: str = ""


@dataclass(frozen=True, slots=True)
class HouseFact:
    """Something happened to the daemon."""

    what: HouseWhat
    words: str = ""


Fact = MailFact | TouchpointFact | HouseFact


class Events:
    """Takes each fact once and passes it on; belongs to the event loop."""

    def __init__(self, boot: str, *, kept: int = KEPT) -> None:
        self.boot = boot
        """Random, so that numbers of an earlier start are not taken for ours."""
        self.number = 0
        """Of the last fact."""
        self._ring: deque[Fact] = deque(maxlen=kept)
        self._listeners: set[Listener] = set()

    def publish(self, fact: Fact) -> None:
        """State a fact."""
        self.number += 1
        self._ring.append(fact)
        for listener in self._listeners:
            listener.hear(fact, self.number)
        if log.isEnabledFor(logging.INFO):
            _write(fact)

    def listen(self, most: int = 1000) -> Listener:
        """Hear every fact from now on; at most ``most`` are kept for a slow listener."""
        listener = Listener(self, most)
        self._listeners.add(listener)
        return listener

    def since(self, boot: str, number: int) -> list[Fact] | None:
        """The facts after this number, or None where they are no longer known."""
        missing = self.number - number
        if boot != self.boot or missing < 0 or missing > len(self._ring):
            return None
        return list(self._ring)[len(self._ring) - missing :]

    def _forget(self, listener: Listener) -> None:
        self._listeners.discard(listener)


@dataclass(frozen=True, slots=True)
class Heard:
    """Facts in the order in which they were stated."""

    facts: tuple[Fact, ...]
    number: int
    """Of the last one."""
    gap: bool
    """Some were missed before them."""


class Listener:
    """One listener's bounded share of the facts."""

    def __init__(self, events: Events, most: int) -> None:
        self._events = events
        self._most = most
        self._facts: deque[Fact] = deque()
        self._number = events.number
        self._gap = False
        self._ready = asyncio.Event()

    def hear(self, fact: Fact, number: int) -> None:
        """Called by the hub."""
        if len(self._facts) >= self._most:
            self._facts.clear()
            self._gap = True
        self._facts.append(fact)
        self._number = number
        self._ready.set()

    async def next(self) -> Heard:
        """All that was stated since the last call; waits until there is something."""
        await self._ready.wait()
        self._ready.clear()
        heard = Heard(tuple(self._facts), self._number, self._gap)
        self._facts.clear()
        self._gap = False
        return heard

    def close(self) -> None:
        """Listen no more."""
        self._events._forget(self)


def _write(fact: Fact) -> None:
    match fact:
        case MailFact(what, number, touchpoint_id, words):
            fields: Iterable[object] = (what.value, f"mail={number}", f"touchpoint={touchpoint_id}", ascii(words[:500]))
        case TouchpointFact(what, number, words):
            fields = (what.value, f"touchpoint={number}", ascii(words[:500]))
        case HouseFact(what, words):
            fields = (what.value, ascii(words[:500]))
    log.info("%s", " ".join(map(str, fields)))

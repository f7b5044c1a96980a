"""What the relay is doing, for people to see: its listeners and clients, who hands in how much, and what was refused.

Owns counters and the last refusals; all of it is in memory, bounded, and forgotten at a restart. The relay tells it
what happens, and nothing is ever decided by it. A refusal is every 4xx and 5xx that a client was told, for a command,
a sign-in or a mail; the goodbye to a client that idles is none.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from gateway.metrics import Ring, Station
from gateway.rows import ListenerRow, RefusalRow, RelayClientRow, RelayRateRow, RelayState
from gateway.submission import ListenerSettings

MOST_USERS = 1000
"""Relay users that are remembered; of more, those that were silent the longest are forgotten."""
MOST_REFUSALS = 100
MOST_SHOWN = 200
"""Clients, and users."""


@dataclass(kw_only=True, slots=True, eq=False)
class Door:
    """One listener, and what came of it since the start."""

    name: str
    host: str
    port: int
    mode: str
    sessions: int = 0
    accepted: int = 0
    refused: int = 0


@dataclass(kw_only=True, slots=True, eq=False)
class Visit:
    """One connection of a client."""

    door: Door
    peer: str
    since: float
    user: str = ""
    """To be set when it signs in."""
    accepted: int = 0
    refused: int = 0


@dataclass(slots=True, eq=False)
class _Hour:
    """What one relay user handed in."""

    accepted: Ring = field(default_factory=lambda: Ring(60))
    refused: Ring = field(default_factory=lambda: Ring(60))
    last_at: float = 0.0


class RelayWatch:
    """Everything that is known of one running relay; belongs to its event loop."""

    def __init__(self, station: Station | None = None, clock: Callable[[], float] = time.time) -> None:
        """``station`` is where submissions are timed; ``clock`` tells the time of day."""
        self._station = station or Station("relay", time.perf_counter)
        self._clock = clock
        self._doors: dict[ListenerSettings, Door] = {}
        self._visits: dict[Visit, None] = {}
        self._users: OrderedDict[str, _Hour] = OrderedDict()
        self._refusals: deque[RefusalRow] = deque(maxlen=MOST_REFUSALS)

    # -- what the relay tells ----------------------------------------------------------------------------------------

    def listens(self, settings: ListenerSettings, host: str, port: int) -> None:
        """A listener is open, at this address."""
        door = self._door(settings)
        door.host, door.port = host, port

    def enter(self, settings: ListenerSettings, peer: str) -> Visit:
        """A client is here; its visit lasts until ``leave``."""
        visit = Visit(door=self._door(settings), peer=peer, since=self._clock())
        visit.door.sessions += 1
        self._visits[visit] = None
        return visit

    def leave(self, visit: Visit) -> None:
        """The client is gone."""
        if visit in self._visits:
            del self._visits[visit]
            visit.door.sessions -= 1

    def refused(self, visit: Visit, answer: bytes) -> None:
        """A client was told this line, a 4xx or 5xx."""
        now = self._clock()
        text = answer.decode("ascii", "replace").rstrip()
        visit.refused += 1
        visit.door.refused += 1
        if visit.user:
            self._hour(visit.user, now).refused.add(now)
        self._refusals.append(
            RefusalRow(
                at=now,
                peer=visit.peer,
                listener=visit.door.name,
                user=visit.user,
                code=int(text[:3]),
                text=text[4:],
            )
        )

    def begin(self) -> float:
        """The final dot of a mail has come; for ``answered``."""
        return self._station.clock()

    def answered(self, visit: Visit, code: int, began: float) -> None:
        """There is an answer to a whole mail, whether or not its client is still there to be told."""
        taken = code < 400
        self._station.passed(began, errors=0 if taken else 1)
        if taken:
            now = self._clock()
            visit.accepted += 1
            visit.door.accepted += 1
            self._hour(visit.user, now).accepted.add(now)

    def _door(self, settings: ListenerSettings) -> Door:
        if (door := self._doors.get(settings)) is None:
            door = Door(name=settings.name, host=settings.host, port=settings.port, mode=settings.mode.value)
            self._doors[settings] = door
        return door

    def _hour(self, user: str, now: float) -> _Hour:
        hour = self._users.get(user)
        if hour is None:
            hour = self._users[user] = _Hour()
            if len(self._users) > MOST_USERS:
                self._users.popitem(last=False)
        self._users.move_to_end(user)
        hour.last_at = now
        return hour

    # -- what people ask ---------------------------------------------------------------------------------------------

    def state(self) -> RelayState:
        """The relay as it stands."""
        return RelayState(
            listeners=tuple(_listener(door) for door in self._doors.values()),
            clients=tuple(_client(visit) for visit in islice(self._visits, MOST_SHOWN)),
            rates=self._rates(),
            refusals=tuple(reversed(self._refusals)),
        )

    def _rates(self) -> tuple[RelayRateRow, ...]:
        now = self._clock()
        rows = [
            RelayRateRow(
                user=user,
                accepted=sum(hour.accepted.counts(now)),
                refused=sum(hour.refused.counts(now)),
                last_at=hour.last_at,
            )
            for user, hour in self._users.items()
        ]
        busy = [row for row in rows if row.accepted or row.refused]
        return tuple(sorted(busy, key=lambda row: (-row.accepted - row.refused, row.user))[:MOST_SHOWN])


def _listener(door: Door) -> ListenerRow:
    return ListenerRow(
        name=door.name,
        host=door.host,
        port=door.port,
        mode=door.mode,
        sessions=door.sessions,
        accepted=door.accepted,
        refused=door.refused,
    )


def _client(visit: Visit) -> RelayClientRow:
    return RelayClientRow(
        peer=visit.peer,
        listener=visit.door.name,
        user=visit.user,
        since=visit.since,
        accepted=visit.accepted,
        refused=visit.refused,
    )

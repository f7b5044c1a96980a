"""Rates and percentiles: how fast mail passes each station of its way, and how often something goes wrong there.

Owns counters in memory, of the last hour; a restart forgets them, and nothing is ever decided by them. Noting a mail
costs less than a microsecond and keeps nothing of it, so every mail may be noted. Time comes from the clock that is
handed in; it has to be a steady one, since a change of the time of day must not make mail fast or slow.

    fetch -> the stages of the inbound line        relay -> the other stages of the outbound line -> send
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from gateway.rows import StageRow, Stages
from pipeline.mail import Direction
from pipeline.verdict import HoldCause, Verdict

Clock = Callable[[], float]

SHARES = (0.50, 0.95, 0.99)
_SMALLEST = -19
"""Exponent, as frexp has it, of the first bucket: it begins at 2**-20 seconds, a microsecond."""
_OCTAVES = 32
"""Doublings; the last bucket ends at 2**12 seconds, more than an hour."""
_BUCKETS = 4 * _OCTAVES
_SPAN, _SPANS = 600, 6
"""Seconds of one histogram, and how many make the last hour."""


class Ring:
    """Counts of the last spans of time, each ``span`` seconds long; what is older is forgotten."""

    __slots__ = ("_at", "_counts", "_span")

    def __init__(self, span: int, spans: int = 60) -> None:
        self._span = span
        self._at = 0
        self._counts = deque([0] * spans, maxlen=spans)

    def add(self, now: float, count: int = 1) -> None:
        """Count in the span that is now."""
        at = int(now / self._span)
        if at != self._at:
            self._turn(at)
        self._counts[-1] += count

    def counts(self, now: float) -> tuple[int, ...]:
        """One number for each span, the oldest first; the last span is not over yet."""
        if (at := int(now / self._span)) != self._at:
            self._turn(at)
        return tuple(self._counts)

    def _turn(self, at: int) -> None:
        self._counts.extend([0] * _passed(self._at, at, len(self._counts)))
        self._at = at


class Times:
    """How long things took in the last hour: a histogram for each ten minutes, with four buckets for a doubling."""

    __slots__ = ("_at", "_histograms")

    def __init__(self) -> None:
        self._at = 0
        self._histograms = deque([[0] * _BUCKETS for _ in range(_SPANS)], maxlen=_SPANS)

    def add(self, now: float, seconds: float, count: int = 1) -> None:
        """So many things took so long."""
        self.filling(now)[bucket(seconds)] += count

    def filling(self, now: float) -> list[int]:
        """The histogram of now: a number for each ``bucket``."""
        if (at := int(now / _SPAN)) != self._at:
            self._histograms.extend([0] * _BUCKETS for _ in range(_passed(self._at, at, _SPANS)))
            self._at = at
        return self._histograms[-1]

    def percentiles(self, now: float) -> tuple[float, ...]:
        """The seconds of each of ``SHARES``, 13 % off at the most; 0 where there was nothing."""
        self.filling(now)
        upto = list(accumulate(map(sum, zip(*self._histograms, strict=True))))
        total = upto[-1]
        return tuple(_middle(bisect_left(upto, math.ceil(share * total))) if total else 0.0 for share in SHARES)


def _passed(before: int, at: int, most: int) -> int:
    """How many spans have begun; a clock that was set back begins everything anew."""
    return min(at - before, most) if at > before else most


def bucket(seconds: float) -> int:
    """Which bucket of a histogram counts such times."""
    if seconds <= 0.0:
        return 0
    fraction, exponent = math.frexp(seconds)  # the fraction is from a half up to one: int() makes 4, 5, 6 or 7 of it
    number = 4 * (exponent - _SMALLEST) + int(fraction * 8) - 4
    return 0 if number < 0 else number if number < _BUCKETS else _BUCKETS - 1


def _middle(number: int) -> float:
    octave, quarter = divmod(number, 4)
    return math.ldexp((4.5 + quarter) / 8, octave + _SMALLEST)


class Station:
    """One station of a mail's way; what a second brought is put down when the second is over, or asked for."""

    __slots__ = ("_at", "_errors", "_filling", "_minutes", "_put_down", "_seconds", "_times", "clock", "name", "total")

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        """Tells when something begins, for ``passed``."""
        self.total = 0
        self._put_down = 0
        self._seconds = Ring(1)
        self._minutes = Ring(60)
        self._errors = Ring(60)
        self._times = Times()
        self._at = int(clock())
        self._filling = self._times.filling(self._at)

    def note(self, now: float, seconds: float, count: int = 1) -> None:
        """Mails that took ``seconds`` each are through."""
        if int(now) != self._at:
            self._turn(now)
        self.total += count
        self._filling[bucket(seconds)] += count

    def passed(self, began: float, count: int = 1, *, errors: int = 0) -> None:
        """Mails that were begun together at ``began`` are through; each took its share of the time."""
        now = self.clock()
        if count:
            self.note(now, (now - began) / count, count)
        if errors:
            self._errors.add(now, errors)

    def failed(self) -> None:
        """Something went wrong."""
        self._errors.add(self.clock())

    def row(self, waiting: int = 0) -> StageRow:
        """How it does now."""
        now = self.clock()
        self._turn(now)
        p50, p95, p99 = self._times.percentiles(now)
        return StageRow(
            name=self.name,
            rate=_rate(self._seconds, now),
            p50=p50,
            p95=p95,
            p99=p99,
            waiting=waiting,
            errors_hour=sum(self._errors.counts(now)),
            total=self.total,
            minutes=self._minutes.counts(now),
        )

    def _turn(self, now: float) -> None:
        if new := self.total - self._put_down:
            self._seconds.add(self._at, new)
            self._minutes.add(self._at, new)
            self._put_down = self.total
        self._at = int(now)
        self._filling = self._times.filling(now)


def _rate(seconds: Ring, now: float) -> float:
    return sum(seconds.counts(now)) / 60


class Stopwatch:
    """Times the stages of one walk; a line calls it after each."""

    __slots__ = ("_at", "_clock", "_stations")

    def __init__(self, stations: Mapping[str, Station], clock: Clock) -> None:
        self._stations = stations
        self._clock = clock
        self._at = clock()

    def __call__(self, name: str, verdict: Verdict | None) -> None:
        """This stage has answered, or was stopped without an answer."""
        now = self._clock()
        if (station := self._stations.get(name)) is not None:
            station.note(now, now - self._at)
            if verdict is None or verdict.cause is HoldCause.STAGE_FAILED:
                station.failed()
        self._at = self._clock()  # the noting is no part of the next stage


class Metrics:
    """All stations of this daemon."""

    def __init__(self, inbound: Sequence[str], outbound: Sequence[str], clock: Clock = time.perf_counter) -> None:
        """The names are those of the stages of the two lines."""
        self.clock = clock
        self.fetch, self.relay, self.send = (Station(name, clock) for name in ("fetch", "relay", "send"))
        self._inbound = {name: Station(name, clock) for name in inbound}
        # A stage of both lines is shown for inbound mail; what it takes outbound is part of what the relay takes.
        self._outbound = {name: Station(name, clock) for name in outbound if name not in self._inbound}
        self._taken, self._delivered = Ring(1), Ring(1)

    def stopwatch(self, direction: Direction) -> Stopwatch:
        """For one walk of a mail of this direction."""
        return Stopwatch(self._inbound if direction is Direction.IN else self._outbound, self.clock)

    def taken(self, count: int) -> None:
        """Fetched mails are committed."""
        self._taken.add(self.clock(), count)

    def delivered(self) -> None:
        """A provider has taken a mail."""
        self._delivered.add(self.clock())

    def stages(self, at: float, *, pending: int, undecided: int, outbound: int) -> Stages:
        """Everything, in the order of the way; ``at`` is the time of day, the others say how much mail waits where."""
        now = self.clock()
        inbound = [each.row(undecided if number == 0 else 0) for number, each in enumerate(self._inbound.values())]
        others = [each.row() for each in self._outbound.values()]
        return Stages(
            now=at,
            rate_in=_rate(self._taken, now),
            rate_out=_rate(self._delivered, now),
            rows=(self.fetch.row(pending), *inbound, self.relay.row(), *others, self.send.row(outbound)),
        )

"""Measurements against peers, side by side in one run: ``./dev bench [NAME...] [--json FILE]``.

Each module measures one thing: ``run(scene)`` answers its cases. Ours and the peer take turns, round by round, on the
same disk and machine, so that a slow minute hurts both; what is reported is the median of the rounds.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


class Unavailable(Exception):
    """Something that this measurement needs is not here; the text says what brings it."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one case measured; more is better, unless the unit says otherwise."""

    ours: float
    peer: float
    ratio: float
    unit: str

    def as_dict(self) -> dict[str, float | str]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where and how thoroughly to measure."""

    directory: Path
    """On the disk that is measured; empty, and thrown away afterwards."""
    rounds: int
    scale: float
    """Share of the full amount of mail; below 1 only to try things out."""

    def amount(self, full: int) -> int:
        """How many of something to use."""
        return max(20, int(full * self.scale))


def take_turns(scene: Scene, case: str, ours: Callable[[], float], peer: Callable[[], float], unit: str) -> Figure:
    """Let both measure themselves in turn and compare the medians; who begins alternates."""
    rates: dict[Callable[[], float], list[float]] = {ours: [], peer: []}
    for number in range(scene.rounds):
        for measure in (ours, peer) if number % 2 == 0 else (peer, ours):
            rates[measure].append(measure())
        say(f"{case}, round {number + 1}: ours {rates[ours][-1]:.0f}, peer {rates[peer][-1]:.0f} {unit}")
    mine, theirs = statistics.median(rates[ours]), statistics.median(rates[peer])
    return Figure(ours=round(mine, 1), peer=round(theirs, 1), ratio=round(mine / theirs, 2), unit=unit)


def say(text: str) -> None:
    """Narrate; standard output is for the table."""
    print(text, file=sys.stderr, flush=True)

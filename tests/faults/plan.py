"""What a run of the fault bench is asked for, and what a family of faults answers."""

from __future__ import annotations

import os
import random
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """One run. ``folder`` is the family's own, empty and short; what is left in it after a failure is the evidence."""

    seed: int
    release: bool
    folder: Path
    seconds: float
    """What the family may take, roughly; every wait inside has a deadline of its own."""

    def dice(self, name: str) -> random.Random:
        """Chance that is the same in every run with this seed."""
        return random.Random(f"{self.seed}/{name}")

    def size(self, short: int, release: int) -> int:
        """How many rounds: the short run's or the release's number."""
        return release if self.release else short


@dataclass
class Result:
    """What one scenario came to. A skipped one says why, and is neither passed nor failed."""

    name: str
    """R<n> where it is a scenario of the list, else F<n>; it may go on after a blank: ``F1 crash points``."""
    passed: bool
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a person is to read: violations first."""
    skipped: str = ""
    """Why it could not be run here; "" means that it ran."""

    @property
    def word(self) -> str:
        """PASS, FAIL or SKIP."""
        return "SKIP" if self.skipped else "PASS" if self.passed else "FAIL"


def skip(name: str, why: str) -> Result:
    """A scenario that this machine cannot run; with POSTROOM_REQUIRE_SERVERS=1 that is a failure."""
    required = os.environ.get("POSTROOM_REQUIRE_SERVERS") == "1"
    if required:
        return Result(name, passed=False, notes=[f"cannot be run here: {why}"])
    return Result(name, passed=True, skipped=why)


def repeat(family: str, plan: Plan) -> str:
    """The command that runs one family again with the same seed."""
    words = ["./dev", "faults", "--only", family, "--seed", str(plan.seed)]
    return shlex.join([*words, *(["--release"] if plan.release else [])])


def say(text: str) -> None:
    """One line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)

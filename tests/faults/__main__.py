"""``./dev faults [--only f1,f3] [--release] [--seed N] [--json FILE]``: break it, check it, print a line for each.

A line is ``R<n> PASS|FAIL|SKIP counts`` (F<n> where it is no scenario of the list). Exit code 1 on any failure. What a
failed family leaves (state folders, daemon logs, the servers' ledgers) is kept in a folder that is named at the end,
with the command that repeats it; all else is removed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.plan import Plan, Result, repeat, say

FAMILIES = {
    "f1": "f1_crash_points",
    "f2": "f2_random_kills",
    "f3": "f3_power_cut",
    "f4": "f4_eio",
    "f5": "f5_full",
    "f6": "f6_killers",
    "f7": "f7_clock",
    "f8": "f8_network",
    "f10": "f10_restarts",
}
SECONDS = {"f1": 85.0, "f2": 70.0, "f3": 45.0, "f4": 30.0, "f5": 30.0, "f6": 20.0, "f7": 15.0, "f8": 45.0, "f10": 15.0}
"""What each may take in the short run: the whole stays below six minutes on two cores."""
BUDGET = 345.0
"""What they may take together in the short run; where the machine is slow, the later ones get less."""
LONGER = 20.0
"""So much more in the long run."""


def main() -> int:
    """Run what was asked for; 1 on any failure."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    root = Path(tempfile.mkdtemp(prefix="postroom-faults-", dir=options.directory))
    root.chmod(0o755)
    say(f"seed {seed}, in {root}")
    began = time.monotonic()
    results: dict[str, list[Result]] = {}
    families = options.only or [*FAMILIES]
    for number, family in enumerate(families):
        left = BUDGET - (time.monotonic() - began)
        share = left * SECONDS[family] / sum(SECONDS[each] for each in families[number:])
        seconds = SECONDS[family] * LONGER if options.release else min(SECONDS[family], max(share, 1.0))
        results[family] = _family(family, seed, root, seconds, options)
    failed = [each for rows in results.values() for each in rows if each.word == "FAIL"]
    skipped = [each for rows in results.values() for each in rows if each.word == "SKIP"]
    count = sum(map(len, results.values()))
    print(
        f"{count} scenarios, {len(failed)} failed, {len(skipped)} skipped,"
        f" seed {seed}, {time.monotonic() - began:.0f} s{' (release)' if options.release else ''}"
    )
    if options.json:
        plain = {family: [asdict(each) for each in rows] for family, rows in results.items()}
        text = json.dumps({"seed": seed, "release": options.release, "results": plain}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    if failed:
        print(f"the evidence is in {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failed else 0


def _family(family: str, seed: int, root: Path, seconds: float, options: argparse.Namespace) -> list[Result]:
    """Run one family; a fault of the bench itself is a failure of the family."""
    folder = root / family
    folder.mkdir()
    plan = Plan(seed=seed, release=options.release, folder=folder, seconds=seconds)
    began = time.monotonic()
    results: list[Result] = []
    try:
        module = importlib.import_module(f"tests.faults.{FAMILIES[family]}")
        for result in _results(module.run(plan)):
            results.append(result)
            _print(result)
    except ModuleNotFoundError as error:
        if error.name != f"tests.faults.{FAMILIES[family]}":
            raise
        results.append(Result(family.upper(), passed=False, notes=["this family is not written"]))
        _print(results[-1])
    except Exception:
        results.append(Result(family.upper(), passed=False, notes=[traceback.format_exc()]))
        _print(results[-1])
    say(f"{family} took {time.monotonic() - began:.0f} s")
    if any(each.word == "FAIL" for each in results):
        (folder / "result.txt").write_text(
            "\n".join([repeat(family, plan), *(note for each in results for note in each.notes)]) + "\n", "utf-8"
        )
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _results(answers: Iterable[Result] | AsyncIterator[Result]) -> Iterator[Result]:
    """The results of a family, plain or asynchronous."""
    if isinstance(answers, AsyncIterator):
        import asyncio

        with asyncio.Runner() as runner, contextlib.suppress(StopAsyncIteration):
            while True:
                yield runner.run(_next(answers))
    else:
        yield from answers


async def _next(answers: AsyncIterator[Result]) -> Result:
    return await anext(answers)


def _print(result: Result) -> None:
    counts = " ".join(f"{name}={count}" for name, count in result.counts.items())
    first, _, rest = result.name.partition(" ")
    print(" ".join(filter(None, [first, result.word, rest, counts])), flush=True)
    if result.skipped:
        print(f"    skipped: {result.skipped}", flush=True)
    for note in result.notes:
        print("    " + note.rstrip().replace("\n", "\n    "), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev faults", description="Break Postroom in every way, and check it.")
    parser.add_argument("--only", type=_families, metavar="F,F", help=f"families: {', '.join(FAMILIES)} (all)")
    parser.add_argument("--release", action="store_true", help="the long run")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat a run (else by chance)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument("--directory", default=_short(), help="where state folders are made (a short path)")
    return parser.parse_args()


def _families(text: str) -> list[str]:
    names: list[Any] = [each.strip().lower() for each in text.split(",")]
    if unknown := [name for name in names if name not in FAMILIES]:
        raise argparse.ArgumentTypeError(f"no family {', '.join(unknown)}; there are: {', '.join(FAMILIES)}")
    return names


def _short() -> str:
    """A socket's path may have 107 bytes at most, so a deep TMPDIR is of no use."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 40 else "/tmp" if os.access("/tmp", os.W_OK) else folder


if __name__ == "__main__":
    sys.exit(main())

"""``./dev bench [NAME...] [--json FILE]``: measure, print the table, write the figures."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.bench import Figure, Scene, Unavailable, say

NAMES = {
    "relay": "durable acceptance by our relay against Postfix smtpd",
    "intake": "a backlog in Dovecot through the whole line into the store, against mbsync with FSync",
    "content": "mail in the database against files beside it",
    "idle": "memory of a touchpoint that waits for mail over TLS, against connections of aioimaplib",
    "large": "a mail of 100 MB on its three ways: memory and time, against mbsync, Postfix and aiosmtplib",
    "latency": "from APPEND to assigned by IDLE, against a script on aioimaplib",
    "tui": "the terminal UI against Textual's own widgets: first paint, 10,000 rows, bytes, CPU, memory",
}
UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h."""


def main() -> int:
    """Measure what was asked for; 69 when something for it is missing, 1 when a measurement failed."""
    options = _options()
    figures: dict[str, dict[str, Figure]] = {}
    status = 0
    for name in options.names or NAMES:
        directory = Path(tempfile.mkdtemp(prefix=f"postroom-bench-{name}-", dir=options.directory))
        directory.chmod(0o755)
        say(f"{name}: {NAMES[name]}")
        try:
            scene = Scene(directory=directory, rounds=options.rounds, scale=options.scale)
            figures[name] = importlib.import_module(f"tests.bench.{name}").run(scene)
        except Unavailable as lack:
            say(f"{name} is left out: {lack}")
            status = status or UNAVAILABLE
        except RuntimeError as fault:
            say(f"{name} failed, its figures would be worth nothing: {fault}")
            status = 1
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    print(_machine(options.directory))
    print(_table(figures))
    if options.json:
        plain = {name: {case: each.as_dict() for case, each in cases.items()} for name, cases in figures.items()}
        options.json.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure Postroom against its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)} (all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write {name: {case: {ours, peer, ratio, unit}}}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is measured (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of mail (1.0)")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="a folder on the disk to measure")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"no bench {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return options


def _machine(directory: str) -> str:
    """The machine, as far as it explains the figures."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{os.cpu_count()} cores, {_memory():.0f} GiB, {_file_system(directory)}, {system}, {python}\n"


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _file_system(directory: str) -> str:
    """Kind of the file system that holds a folder: the longest mount point that leads to it."""
    place = Path(directory).resolve()
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return max((mount for mount in mounts if place.is_relative_to(mount[0])), key=lambda mount: len(mount[0]))[1]


def _table(figures: dict[str, dict[str, Figure]]) -> str:
    """A table that Markdown understands as well."""
    rows = [("bench", "case", "ours", "peer", "ratio", "unit"), ("---", "---", "---:", "---:", "---:", "---")]
    for name, cases in figures.items():
        for case, each in cases.items():
            rows.append((name, case, _number(each.ours), _number(each.peer), f"{each.ratio:.2f}", each.unit))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def _number(value: float) -> str:
    """With a decimal where it says something."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())

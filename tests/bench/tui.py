"""The terminal UI in a real pseudo-terminal, against Textual's own widgets in the same place.

First paint is from the start of the process to the first screen. Bytes are those that go to the terminal while thirty
visible rows change once a second, which is what an SSH line has to carry; CPU and resident memory are the process's
own, from /proc. The daemon is a canned one on a real socket, and ours reads its rows from there; the peer makes its
rows itself. Less is better everywhere, so a ratio below 1 means ours is better.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gateway.control import Event, GetStatus, ListTouchpoints, Page
from tests.bench import Figure, Scene, say
from tests.tui.canned import Canned, served, status, touchpoint

ROOT = Path(__file__).parents[2]
MANY = 10_000
ROWS = 30
SETTLED, WATCHED = 4.0, 15.0
"""Seconds that are left out, since a screen has to be drawn once, and seconds of watching after them."""
PATIENCE = 60.0
Live = tuple[float, float, float]


def run(scene: Scene) -> dict[str, Figure]:
    """Seconds to first paint and to 10,000 rows; bytes a second, CPU and memory while it is live."""
    with _daemon(scene.directory / "few.sock", ROWS) as few, _daemon(scene.directory / "many.sock", MANY) as many:
        figures = {
            "first paint": _turns(scene, "first paint", b"connecting to", _ours(few), _peer("bare")),
            f"start to {MANY:,} touchpoints": _turns(
                scene, "touchpoints", f"{MANY:,} of {MANY:,}".encode(), _ours(many), _peer("table", str(MANY))
            ),
        }
        live: tuple[list[Live], list[Live]] = ([], [])
        sides = (_ours(few), _peer("table", str(ROWS)))
        for number in range((scene.rounds + 1) // 2):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                live[side].append(_live(sides[side]))
    watched = f"{ROWS} rows at 1 Hz"
    for at, (name, unit) in enumerate(((f"bytes to the terminal, {watched}", "B/s"), (f"CPU, {watched}", "% of a core"),
                                       (f"resident memory, {watched}", "MB"))):  # fmt: skip
        mine, theirs = (statistics.median(each[at] for each in live[side]) for side in (0, 1))
        figures[name] = _figure(mine, theirs, unit)
        say(f"tui {name}: ours {mine:.2f}, peer {theirs:.2f} {unit}")
    return figures


def _turns(scene: Scene, case: str, words: bytes, ours: list[str], peer: list[str]) -> Figure:
    """Milliseconds until these words are on the terminal, in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(scene.rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            times[side].append(_until((ours, peer)[side], words) * 1000)
        say(f"tui {case}, round {number + 1}: ours {times[0][-1]:.0f}, peer {times[1][-1]:.0f} ms")
    return _figure(statistics.median(times[0]), statistics.median(times[1]), "ms")


def _figure(mine: float, theirs: float, unit: str) -> Figure:
    return Figure(
        ours=round(mine, 3), peer=round(theirs, 3), ratio=round(mine / theirs, 2), unit=f"{unit}, less is better"
    )


def _ours(socket: Path) -> list[str]:
    return ["-m", "gateway.cli", "tui", "--socket", str(socket), "--screen", "touchpoints"]


def _peer(*arguments: str) -> list[str]:
    return ["-m", "tests.bench.tui_peer", *arguments]


# -- A process in a pseudo-terminal --------------------------------------------------------------------------------


@contextmanager
def _terminal(arguments: Sequence[str], size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The process, and our end of its terminal."""
    pid, end = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "SSH_TTY": "/dev/pts/0"}
        os.execve(sys.executable, [sys.executable, *arguments], environment)
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    try:
        yield pid, end
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(end)


def _read(end: int, seconds: float) -> bytes:
    ready, _, _ = select.select([end], [], [], max(0.0, seconds))
    try:
        return os.read(end, 65536) if ready else b""
    except OSError:
        return b""


def _until(arguments: Sequence[str], words: bytes) -> float:
    """Seconds until these words are on the terminal."""
    start = time.perf_counter()
    with _terminal(arguments, (80, 24)) as (_, end):
        seen = b""
        while words not in seen.replace(b"\x1b[0m", b""):
            seen = seen[-65536:] + _read(end, 1.0)
            if time.perf_counter() - start > PATIENCE:
                raise RuntimeError(f"{words!r} never came; the end of it was {seen[-300:]!r}")
        return time.perf_counter() - start


def _live(arguments: Sequence[str]) -> Live:
    """Bytes a second, percent of a core and megabytes, while rows change; what stands still or is dead costs least."""
    with _terminal(arguments, (160, 48)) as (pid, end):
        if f"{ROWS} of {ROWS}".encode() not in _drain(end, SETTLED):
            raise RuntimeError(f"the rows were not there after {SETTLED:.0f} s")
        before, start = _cpu(pid), time.monotonic()
        told = _drain(end, WATCHED)
        seconds = time.monotonic() - start
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) or len(told) < ROWS * (WATCHED - 1):
            raise RuntimeError(f"it did not show what changed; the end of it was {told[-300:]!r}")
        return len(told) / seconds, 100 * (_cpu(pid) - before) / seconds, _memory(pid)


def _drain(end: int, seconds: float) -> bytes:
    made, until = bytearray(), time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        made += _read(end, left)
    return bytes(made)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# -- The canned daemon -----------------------------------------------------------------------------------------------


@contextmanager
def _daemon(path: Path, count: int) -> Iterator[Path]:
    """A canned daemon in a thread, whose first thirty touchpoints change once a second."""
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        rows = tuple(touchpoint(n, f"desk{n:05}@acme.example", name=f"Desk {n}") for n in range(1, count + 1))
        canned = Canned({GetStatus: status(rows[:400], touchpoint_count=count)})
        canned.answers[ListTouchpoints] = lambda call: _window(rows, call)
        async with served(canned, path):
            ready.set()
            turn = 0
            while not over.is_set():
                await asyncio.sleep(1.0)
                turn += 1
                canned.tell(*(Event(what="touchpoint.changed", touchpoint=replace(row, queued=turn * 7 % 1000))
                              for row in rows[:ROWS]))  # fmt: skip

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    if not ready.wait(PATIENCE):
        raise RuntimeError("the canned daemon did not start")
    try:
        yield path
    finally:
        over.set()
        thread.join(PATIENCE)


def _window(rows: Sequence[object], call: ListTouchpoints) -> Page[object]:
    found = rows[call.after : call.after + call.limit]
    return Page(rows=tuple(found), next=call.after + len(found) if call.after + len(found) < len(rows) else 0)

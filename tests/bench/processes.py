"""What a process costs, from /proc: memory now, its peak since it was asked, and whether it still lives.

Memory is resident memory in bytes. The kernel keeps the peak (VmHWM); ``forget_peak`` sets it back to what is there
now, which the owner of a process may do. A process that died would look cheap in everything, so it is a RuntimeError.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import Daemon

_PATIENCE, _STEADY, _LOOK = 60.0, 2.0, 0.25
_NOISE = 64 * 1024
"""Bytes by which a process at rest may still change."""


@contextmanager
def alive(daemon: Daemon) -> Iterator[int]:
    """The process id of a daemon that runs; it is ended even if it never came to answer."""
    try:
        daemon.start()
        assert daemon.process is not None
        yield daemon.process.pid
    finally:
        daemon.stop()


def resident(pid: int) -> int:
    """Bytes that the process holds now."""
    return _field(_status(pid), "VmRSS")


def peak(pid: int) -> int:
    """The most it held since ``forget_peak``, or since it began."""
    return _field(_status(pid), "VmHWM")


def forget_peak(pid: int) -> None:
    """From now on the peak is of what comes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def at_rest(pid: int) -> int:
    """What it holds once that no longer changes."""
    last, since = resident(pid), time.monotonic()
    until = since + _PATIENCE
    while time.monotonic() - since < _STEADY:
        time.sleep(_LOOK)
        if abs((now := resident(pid)) - last) > _NOISE:
            last, since = now, time.monotonic()
        if time.monotonic() > until:
            raise RuntimeError(f"process {pid} does not come to rest: {now} bytes")
    return last


def children(pid: int) -> list[int]:
    """The processes that it started."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        raise RuntimeError(f"process {pid} is gone") from None


def named(pid: int) -> str:
    """The name of its program; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def above(before: dict[int, int], pids: Iterable[int]) -> int:
    """By how many bytes the peaks of these processes lie above what was held ``before``; one that is new, all of it."""
    return sum(peak(pid) - before.get(pid, 0) for pid in pids)


def expect(process: subprocess.Popen[str], word: str) -> None:
    """Read the next line of a peer; RuntimeError if it is another word, or none because it ended."""
    assert process.stdout is not None
    if (line := process.stdout.readline().strip()) != word:
        raise RuntimeError(f"the peer was to say {word!r}, and said {line!r}")


def until(what: Callable[[], object], why: str, patience: float = _PATIENCE) -> None:
    """Wait until ``what`` is true; RuntimeError with the reason if it does not come about."""
    end = time.monotonic() + patience
    while not what():
        if time.monotonic() > end:
            raise RuntimeError(f"not in {patience:.0f} s: {why}")
        time.sleep(0.05)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise RuntimeError(f"process {pid} is gone") from None


def _field(status: str, name: str) -> int:
    """A field of /proc/PID/status in bytes; a process that is dead and not waited for has no memory fields."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no {name}: the process is dead")
    return int(found[1]) * 1024

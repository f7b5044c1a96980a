"""The lag meter: how long a daemon lets others wait, measured from outside while something happens to it.

A process of its own asks one cheap question every five milliseconds over the control socket, on a connection that does
nothing else, and says how long each answer took, counted from when the question was due: a question that could not be
asked because the last answer was late counts as late itself. Idle is measured right before and right after, and the
worse of the two is what is compared with.

On a busy machine that tells more of the machine than of the daemon, so the daemon's loop measures itself too: how late
it turns, less the time for which it could have run and was given no processor (``inside.tell_lag``).
"""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.control import WhoAmI, request_line

EVERY = 0.005
"""Seconds between two questions."""
ADDED = 0.100
"""Seconds that the slowest hundredth may be slower than idle (invariant I20)."""
MEMORY = 256 << 20
"""Bytes that a daemon may grow beyond idle (invariant I20)."""
ROOT = Path(__file__).parents[2]
_KEPT = 200_000


@dataclass(frozen=True)
class Span:
    """What was measured while something went on."""

    count: int
    p99: float
    """Seconds, as others see it."""
    own: float
    """Seconds, as the loop sees it, the machine's part left out: the slowest hundredth too."""
    memory: int
    """Bytes, at the highest."""

    def added(self, idle: Span) -> float:
        """How much slower than idle, by the one of both measures that the machine disturbs less."""
        return min(self.p99 - idle.p99, self.own - idle.own)


class Meter:
    """Measures one daemon from ``__enter__`` to ``__exit__``."""

    def __init__(self, path: Path, pid: int, own: Path) -> None:
        self._path = path
        self._own = own
        self._pid = pid
        self._lags: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._memory: deque[tuple[float, int]] = deque(maxlen=_KEPT)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._weigh)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.lag", str(self._path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for thread in self._threads:
            thread.start()
        until = time.monotonic() + 20
        while not self._lags and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            due, _, took = line.partition(" ")
            self._lags.append((float(due), float(took)))

    def _weigh(self) -> None:
        while not self._over.wait(0.02):
            if (size := memory_of(self._pid)) is not None:
                self._memory.append((time.monotonic(), size))

    def idle(self, seconds: float = 0.5) -> Span:
        """Measure while nothing is done."""
        with self.measuring() as found:
            time.sleep(seconds)
        return found[0]

    @contextmanager
    def measuring(self) -> Iterator[list[Span]]:
        """Measure what goes on in the block; the span is in the list when it is over."""
        found: list[Span] = []
        begin = time.monotonic()
        yield found
        found.append(self.between(begin, time.monotonic()))

    def between(self, begin: float, end: float) -> Span:
        """What was measured then; waits for answers that are still out."""
        until = time.monotonic() + 20.0
        while (not self._lags or self._lags[-1][0] < end) and time.monotonic() < until:
            time.sleep(EVERY)
        sizes = [size for at, size in list(self._memory) if begin <= at <= end]
        return Span(
            count=sum(begin <= due <= end for due, _ in list(self._lags)),
            p99=_slowest_hundredth(took for due, took in list(self._lags) if begin <= due <= end),
            own=_slowest_hundredth(late for at, late in self._told() if begin <= at <= end + EVERY),
            memory=max(sizes, default=memory_of(self._pid) or 0),
        )

    def _told(self) -> list[tuple[float, float]]:
        """What the loop says: (when, how late)."""
        told = self._own.read_bytes()
        told = told[max(0, len(told) - 16 * _KEPT) :]
        return list(struct.iter_unpack("<dd", told[: len(told) // 16 * 16]))


def _slowest_hundredth(lags: Iterable[float]) -> float:
    ordered = sorted(lags)
    return ordered[int(len(ordered) * 0.99)] if ordered else float("inf")


def memory_of(pid: int) -> int | None:
    """Resident bytes of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text()
    except OSError:
        return None
    return int(text.split()[1]) * 4096


def ask(path: str) -> None:
    """Ask until standard input ends; a line ``due took`` for each question, in seconds."""
    question = request_line(1, WhoAmI())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            try:
                sock.sendall(question)
                answer = sock.recv(65536)
                while answer and not answer.endswith(b"\n"):
                    answer = sock.recv(65536)
            except OSError:
                answer = b""
            if not answer:
                return
            now = time.monotonic()
            while due <= now:
                print(f"{due:.6f} {now - due:.6f}")
                due += EVERY
            sys.stdout.flush()


if __name__ == "__main__":
    ask(sys.argv[1])

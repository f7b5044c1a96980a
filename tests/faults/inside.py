"""What runs inside a daemon that is to die at a named place: ``python -m tests.faults.inside POINT... -- run ...``.

The daemon's own code has no hooks. This module replaces functions by name (``points.py`` says which) before the daemon
starts, and each of them ends the process by SIGKILL when its place is reached for the so-many-th time: ``NAME:COUNT``.
Before it dies it says where, in the file that POSTROOM_REACHED names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
HURRY = "POSTROOM_HURRY"
"""Environment: set where waiting is to be short."""
CLOCK = "POSTROOM_CLOCK"
"""Environment: a file of eight bytes, how many seconds the daemon's clock is off."""
IMPATIENT = "POSTROOM_IMPATIENT"
"""Environment: set where silence and pauses of the network are to be short as well."""
LAG = "POSTROOM_LAG"
"""Environment: a file that the loop writes its lag into."""
KILLER = "POSTROOM_KILLER"
"""Environment: how a mail kills that says it is deadly."""


def hand_over(sockets: Mapping[str, int]) -> None:
    """Give this process sockets as systemd does (sd_listen_fds(3)): name -> descriptor."""
    kept = [os.dup(each) for each in sockets.values()]  # so that none of them is written over below
    for place, handle in enumerate(kept):
        os.dup2(handle, FIRST_FD + place, inheritable=True)
    for handle in kept:
        if handle >= FIRST_FD + len(kept):
            os.close(handle)
    os.environ |= {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(kept)),
        "LISTEN_FDNAMES": ":".join(sockets),
    }


def hurry() -> None:
    """Shorten what only waits: looks into Sent for an unknown outcome; and have checkpoints come often."""
    import pipeline.store.sqlite
    import pipeline.unknown

    pipeline.unknown.LOOKS = (0.1, 0.3, 0.5, 0.7)  # two minutes as a rule
    pipeline.store.sqlite.CHECKPOINT = 256 * 1024


def impatient() -> None:
    """Shorten how long a submission server may be silent (minutes as a rule), and the pauses between connections."""
    import pipeline.retry
    from gateway.connectors.smtp import SmtpTimeouts

    assert SmtpTimeouts.__init__.__kwdefaults__ is not None
    SmtpTimeouts.__init__.__kwdefaults__.update(connect=1.0, command=1.0, block=1.0, after_dot=1.5, goodbye=0.2)
    pipeline.retry.BACKOFF_FIRST, pipeline.retry.BACKOFF_LONGEST = 0.1, 0.8


def tell_lag(path: str) -> None:
    """Write how late the loop turns, every five milliseconds, without what it waited for a processor."""
    import asyncio
    import struct
    import threading
    import time

    from gateway.daemon import Daemon

    start = Daemon.start
    every = 0.005

    def waited(statistics: Any) -> float:
        statistics.seek(0)
        return int(statistics.read().split()[1]) / 1e9

    async def measure() -> None:
        thread = threading.get_native_id()
        with open(path, "ab", buffering=0) as out, open(f"/proc/self/task/{thread}/schedstat", "rb", 0) as statistics:
            before = waited(statistics)
            while True:
                due = time.monotonic() + every
                await asyncio.sleep(every)
                now, queued = time.monotonic(), waited(statistics)
                out.write(struct.pack("<dd", now, max(0.0, now - due - (queued - before))))
                before = queued

    async def starting(self: Any) -> None:
        await start(self)
        self._lag_told = asyncio.create_task(measure())

    Daemon.start = starting  # type: ignore[method-assign]


def step_the_clock(path: str) -> None:
    """The daemon's clock is off by the seconds that this file says, a double, whenever it says otherwise."""
    import mmap
    import struct
    import time

    from gateway.daemon import Daemon

    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def clock() -> float:
        (seconds,) = struct.unpack("<d", offset[:8])
        return time.time() + float(seconds)

    assert Daemon.__init__.__kwdefaults__ is not None
    Daemon.__init__.__kwdefaults__["clock"] = clock


def kill_by_mail(kind: str) -> None:
    """A mail that says ``deadly`` kills: memory (it grows, then the kernel kills it), stuck, walk or fetch."""
    import functools
    import signal
    import time

    from gateway import daemon
    from gateway.connectors.imap_wire import Protocol
    from gateway.watchdog import Watchdog
    from pipeline.line import Line

    def end() -> None:
        if kind == "stuck":
            time.sleep(600)
        grown = bytearray()
        while kind == "memory" and len(grown) < 200 << 20:
            grown += b"x" * (8 << 20)
        os.kill(os.getpid(), signal.SIGKILL)

    walk, received = Line.walk, Protocol.data_received

    async def walking(self: Any, mail: Any, *rest: Any) -> Any:
        if b"Subject: deadly" in mail.opening[:4096]:
            end()
        return await walk(self, mail, *rest)

    def receiving(self: Any, data: bytes) -> None:
        if b"Subject: deadly" in data:
            end()
        received(self, data)

    if kind == "fetch":
        Protocol.data_received = receiving  # type: ignore[method-assign]
    else:
        Line.walk = walking  # type: ignore[method-assign, assignment]
    if kind == "stuck":  # twenty seconds as a rule
        daemon.Watchdog = functools.partial(Watchdog, 1.0)  # type: ignore[assignment, attr-defined]


def arm(points: Sequence[str]) -> None:
    """Replace what these points (``NAME:COUNT``) name."""
    if os.environ.get(HURRY):
        hurry()
    if os.environ.get(IMPATIENT):
        impatient()
    if path := os.environ.get(LAG):
        tell_lag(path)
    if path := os.environ.get(CLOCK):
        step_the_clock(path)
    if kind := os.environ.get(KILLER):
        kill_by_mail(kind)
    if points:
        from tests.faults import points as known

        known.arm(points)


def main() -> int:
    """Arm, then run the daemon's command line."""
    words = sys.argv[1:]
    end = words.index("--")
    arm(words[:end])
    from gateway.cli import main as command

    return command(words[end + 1 :])


if __name__ == "__main__":
    sys.exit(main())

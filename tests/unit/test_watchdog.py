"""The watchdog: a stuck loop is noticed, a turning one is left alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway import watchdog
from gateway.watchdog import EX_SOFTWARE, Watchdog

ROOT = Path(__file__).parents[2]


class HandClock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: self.now))


async def test_a_stuck_loop_is_noticed_while_it_is_stuck() -> None:
    noticed = threading.Event()
    guard = Watchdog(0.1, noticed.set)
    try:
        assert noticed.wait(20)  # this very call is what holds the loop
    finally:
        guard.close()


async def test_a_loop_that_turns_is_left_alone_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock(monkeypatch)
    noticed = threading.Event()
    guard = Watchdog(0.05, noticed.set)
    try:
        for _ in range(6):
            before = clock.now
            clock.now += 0.045  # 0.27 s in all, far more than the limit
            async with asyncio.timeout(20):
                while guard._seen <= before:
                    await asyncio.sleep(0.001)
        await asyncio.sleep(0.03)  # some looks of the thread
        assert not noticed.is_set()
    finally:
        guard.close()


async def test_a_closed_watchdog_looks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock(monkeypatch)
    noticed = threading.Event()
    before = {thread.ident for thread in threading.enumerate()}
    guard = Watchdog(0.05, noticed.set)
    (thread,) = [each for each in threading.enumerate() if each.ident not in before]
    guard.close()
    clock.now += 1000
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert not noticed.is_set()


def test_the_end_says_where_every_thread_stood() -> None:
    code = "from gateway.watchdog import end\ndef the_culprit(): end()\nthe_culprit()"
    dead = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dead.returncode == EX_SOFTWARE == 70
    assert "the event loop was stuck" in dead.stderr
    assert "the_culprit" in dead.stderr

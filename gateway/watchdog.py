"""The watchdog: a thread that ends the process when the event loop is stuck.

A stuck loop serves nobody and cannot even say so. The flight note names the mail that was in hand, systemd starts the
daemon again, and that mail gets a strike.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

STUCK = 20.0
"""Seconds without a turn of the loop."""
EX_SOFTWARE = 70


def end() -> None:
    """Say where every thread stands, then exit at once (sysexits EX_SOFTWARE)."""
    print(f"postroom: the event loop was stuck for {STUCK:.0f} s, stopping", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(file=sys.stderr)
    os._exit(EX_SOFTWARE)


class Watchdog:
    """Watches the running loop until closed."""

    def __init__(self, limit: float = STUCK, stuck: Callable[[], None] = end) -> None:
        self._limit = limit
        self._stuck = stuck
        self._seen = time.monotonic()
        self._closed = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._beat()
        threading.Thread(target=self._watch, name="postroom-watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._handle.cancel()

    def _beat(self) -> None:
        self._seen = time.monotonic()
        self._handle = self._loop.call_later(self._limit / 20, self._beat)

    def _watch(self) -> None:
        while not self._closed.wait(self._limit / 10):
            if time.monotonic() - self._seen > self._limit:
                self._stuck()
                return

"""The real daemon as a process of its own, for as long as a measurement needs it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from gateway.client import Unreachable, connected
from gateway.control import Call, GetStatus

R = TypeVar("R")
ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds for starting, stopping, and for a state to come about."""


class Daemon:
    """A running daemon, asked over its control socket."""

    def __init__(self, process: subprocess.Popen[bytes], socket: Path, log: Path, store: Path) -> None:
        self.process = process
        self.socket = socket
        self.log = log
        self.store = store

    def call(self, call: Call[R]) -> R:
        """Make one call."""

        async def there() -> R:
            async with connected(self.socket) as client:
                return await client.call(call)

        return asyncio.run(there())

    def relay_port(self, listener: str) -> int:
        """Where a listener with port 0 came to listen, as the daemon says on standard error."""
        found = re.search(rf"relay listener {listener} on port (\d+)", self.log.read_text())
        assert found, self.log.read_text()
        return int(found[1])

    def wait_until_it_answers(self) -> None:
        """Until the control socket answers; raises with the log when the daemon ends instead."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.call(GetStatus())
                return
            except Unreachable:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the daemon did not start:\n{self.log.read_text()}") from None
                time.sleep(0.05)

    def wait_for_state(self, address: str, states: tuple[str, ...]) -> None:
        """Until a touchpoint is in one of these states."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = {row.address: row.state for row in self.call(GetStatus()).touchpoints}
            if found.get(address) in states:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{address} is {found.get(address)}, not {states}:\n{self.log.read_text()}")
            time.sleep(0.05)


@contextmanager
def running(directory: Path, settings: str = "") -> Iterator[Daemon]:
    """The daemon with a store in ``directory`` and these settings besides; ended, by its id, at the end."""
    state, socket, log = directory / "state", directory / "control.sock", directory / "daemon.log"
    state.mkdir(mode=0o700)
    toml = directory / "postroom.toml"
    toml.write_text(
        f'[daemon]\nhostname = "bench.example.org"\nstate_dir = "{state}"\nsocket = "{socket}"\n\n{settings}',
        encoding="utf-8",
    )
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "run", "--config", str(toml)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    daemon = Daemon(process, socket, log, state / "postroom.db")
    try:
        daemon.wait_until_it_answers()
        yield daemon
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

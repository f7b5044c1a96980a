"""The real daemon as a process of its own, asked over its control socket as any guest would.

Used by the journeys and the benchmarks. ``kill`` is SIGKILL; ``start`` after it is what systemd would do.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from gateway.client import Unreachable, connected
from gateway.control import (
    ActivateTouchpoint,
    Call,
    ConnectTouchpoint,
    CreateTouchpoint,
    GetStatus,
    ListMail,
    ReadContent,
    SetConnection,
)
from gateway.rows import MailRow, TouchpointRow

R = TypeVar("R")
ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
"""Seconds for anything to come about."""


class Daemon:
    """A daemon with its store in ``directory``; as a context manager it is started, and ended by its own id."""

    def __init__(
        self,
        directory: Path,
        settings: str = "",
        environment: dict[str, str] | None = None,
        *,
        module: str = "gateway.cli",
    ) -> None:
        """``module`` is what is run: the command line, or something that changes it first."""
        self.directory = directory
        self._module = module
        self.socket = directory / "control.sock"
        self.log = directory / "daemon.log"
        self.state = directory / "state"
        self.store = self.state / "postroom.db"
        self.toml = directory / "postroom.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, **(environment or {})}
        self.toml.write_text(
            f'[daemon]\nhostname = "post.example.org"\nstate_dir = "{self.state}"\n'
            f'socket = "{self.socket}"\n\n{settings}',
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- life --------------------------------------------------------------------------------------------------------

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it."""
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module, "run", "--config", str(self.toml)],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self.process

    def start(self) -> None:
        """Start it and wait until it answers; raises with the log when it ends instead."""
        process = self.launch()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.call(GetStatus())
                return
            except Unreachable:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the daemon did not start:\n{self.words()}") from None
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def words(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-4000:] if self.log.exists() else ""

    # -- asking ------------------------------------------------------------------------------------------------------

    def call(self, call: Call[R]) -> R:
        """Make one call."""

        async def there() -> R:
            async with connected(self.socket) as client:
                return await client.call(call)

        return asyncio.run(there())

    def cli(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command of the command line against this daemon."""
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments, "--socket", str(self.socket)],
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def account(self) -> dict[str, int]:
        """Both lines of the account."""
        return dict(self.call(GetStatus()).account)

    def touchpoint(self, address: str) -> TouchpointRow:
        """One touchpoint as the status shows it."""
        return next(row for row in self.call(GetStatus()).touchpoints if row.address == address)

    def relay_port(self, listener: str) -> int:
        """Where a listener with port 0 came to listen, as the daemon says on standard error."""
        found = re.findall(rf"relay listener {listener} on port (\d+)", self.log.read_text())
        assert found, self.words()
        return int(found[-1])

    def mails(self, direction: str = "", state: str = "all") -> list[MailRow]:
        """All entries of the spool that fit, the oldest first."""
        rows: list[MailRow] = []
        after = 0
        while True:
            page = self.call(ListMail(direction=direction, state=state, after=after, limit=500))
            rows += page.rows
            if not (after := page.next):
                return rows[::-1]

    def content(self, entry_id: int) -> bytes:
        """What would be exported of a mail."""
        data = b""
        while True:
            chunk = self.call(ReadContent(id=entry_id, offset=len(data)))
            data += chunk.data
            if len(data) >= chunk.size or not chunk.data:
                return data

    def until(self, what: Callable[[], object], why: str, patience: float = PATIENCE) -> None:
        """Wait until ``what`` is true; fails with the log."""
        deadline = time.monotonic() + patience
        while not what():
            assert time.monotonic() < deadline, f"not in {patience:.0f} s: {why}\n{self.words()}"
            time.sleep(0.03)

    def wait_for_state(self, address: str, states: tuple[str, ...]) -> None:
        """Until a touchpoint is in one of these states."""
        self.until(lambda: self.touchpoint(address).state in states, f"{address} is {' or '.join(states)}")

    # -- furnishing --------------------------------------------------------------------------------------------------

    def furnish(
        self,
        address: str,
        password: str,
        *,
        imap: str = "",
        smtp: str = "",
        ca_file: str = "",
        since: float | None = None,
        active: bool = True,
        name: str = "Support",
        sent_copy: str | None = None,
    ) -> None:
        """Create, connect and activate a touchpoint; servers as host:port:security."""
        self.call(CreateTouchpoint(address=address, name=name))
        self.call(
            SetConnection(
                touchpoint=address, preset="custom", user=address, imap=imap, smtp=smtp, ca_file=ca_file,
                null_sender=True, sent_copy=sent_copy,
            )
        )  # fmt: skip
        self.call(ConnectTouchpoint(touchpoint=address, password=password, since=since))
        if active:
            self.call(ActivateTouchpoint(touchpoint=address))


@contextmanager
def running(directory: Path, settings: str = "") -> Iterator[Daemon]:
    """A daemon for as long as the block runs."""
    with Daemon(directory, settings) as daemon:
        yield daemon

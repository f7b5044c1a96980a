"""The daemon as a process, asked from the loop in which its servers run: what the network's faults are judged by."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from gateway.client import Client, Unreachable, connected
from gateway.control import (
    ActivateTouchpoint,
    Call,
    ConnectTouchpoint,
    CreateTouchpoint,
    GetStatus,
    ListMail,
    SetConnection,
    SetTemplate,
)
from gateway.rows import MailRow, Status
from tests.faults.inside import HURRY, IMPATIENT, LAG
from tests.faults.nursery import ROOT, clean_environment

R = TypeVar("R")
PASSWORD = "correct horse battery"
SETTINGS = """\
[daemon]
hostname = "post.house.example"
state_dir = "{folder}/state"
socket = "{folder}/control.sock"

[[relay.listener]]
name = "relay"
host = "127.0.0.1"
port = {relay}

[[relay.listener]]
name = "plain"
host = "127.0.0.1"
port = {plain}
mode = "plain"

[[relay.network]]
cidr = "127.0.0.0/8"
user = "printer"

[intake]
sweep_seconds = 1.0
timeout_seconds = 1.0

[retry]
first = 1.0
longest = 4.0
"""


class Outside:
    """One daemon in a folder of its own; ``guest`` is a connection to its socket."""

    def __init__(self, folder: Path, relay: int, plain: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.relay, self.plain = relay, plain
        self.socket = folder / "control.sock"
        self.log = folder / "daemon.log"
        self.lag = folder / "lag"
        self.guest: Client
        self._stack = AsyncExitStack()
        (folder / "postroom.toml").write_text(SETTINGS.format(folder=folder, relay=relay, plain=plain), "utf-8")

    def _launch(self) -> None:
        words = [sys.executable, "-m", "tests.faults.inside", "--", "run", "--config"]
        env = clean_environment({HURRY: "1", IMPATIENT: "1", LAG: str(self.lag)})
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*words, str(self.folder / "postroom.toml")],
                cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    async def __aenter__(self) -> Self:
        self._launch()
        async with asyncio.timeout(30):
            while True:
                try:
                    self.guest = await self._stack.enter_async_context(connected(self.socket))
                    return self
                except Unreachable:
                    if self.process.poll() is not None:
                        raise RuntimeError(f"the daemon did not start:\n{self.words()}") from None
                    await asyncio.sleep(0.02)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return self.process.pid

    def words(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-3000:] if self.log.exists() else ""

    async def call(self, call: Call[R]) -> R:
        """Make one call."""
        return await self.guest.call(call)

    async def furnish(self, address: str, imap: int, smtp: int, *, templates: bool = False) -> None:
        """A touchpoint on these ports of loopback, connected and active."""
        await self.call(CreateTouchpoint(address=address, name="Desk"))
        await self.call(
            SetConnection(
                touchpoint=address, preset="custom", user=address, imap=f"127.0.0.1:{imap}:none",
                smtp=f"127.0.0.1:{smtp}:none", null_sender=True, sent_copy="provider",
            )
        )  # fmt: skip
        if templates:
            for kind in ("auto_reply", "signature"):
                await self.call(SetTemplate(touchpoint=address, kind=kind, active=True, text="We have your mail."))
        await self.call(ConnectTouchpoint(touchpoint=address, password=PASSWORD))
        await self.call(ActivateTouchpoint(touchpoint=address))

    async def status(self) -> Status:
        """The whole house."""
        return await self.call(GetStatus())

    async def mails(self, direction: str) -> list[MailRow]:
        """All mail of one direction."""
        rows: list[MailRow] = []
        after = 0
        while True:
            page = await self.call(ListMail(direction=direction, state="all", after=after, limit=500))
            rows += page.rows
            if not (after := page.next):
                return rows

    async def subjects(self, direction: str) -> Counter[str]:
        """How often each subject is there."""
        return Counter(row.subject for row in await self.mails(direction))

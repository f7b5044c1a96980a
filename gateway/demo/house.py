"""The real daemon for the demo: a process of its own on a temporary folder, furnished through its control socket.

The demo uses what everybody uses: the settings file, ``postroom run``, the calls of the control socket. It reaches
into nothing else, so that what it shows is what an installation does.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from gateway.client import Client, Unreachable, connected
from gateway.control import (
    ActivateTouchpoint,
    AddRelayUser,
    Block,
    ConnectTouchpoint,
    CreateRingGroup,
    CreateTouchpoint,
    LinkRingGroup,
    ListMail,
    ReadContent,
    SetConnection,
    SetTemplate,
)
from gateway.demo.corpus import HELPDESK, SHOP
from gateway.demo.press import DOMAIN, JOBS, SALES, SUPPORT, TOUCHPOINTS
from gateway.demo.provider import Provider
from gateway.demo.senders import BLOCKED
from gateway.rows import MailRow

PASSWORD = "demo password"
"""Opens nothing but the demo."""
SIGNATURE = "The demo desk · 4 Sample Street"
QUEUES = {JOBS: "Recruiting", SUPPORT: "Support desk", SALES: "Sales desk"}
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_SETTINGS = """\
# Written by postroom demo.
[daemon]
hostname = "postroom.{domain}"
state_dir = "{folder}/state"
socket = "{folder}/control.sock"

[[relay.listener]]
name = "demo"
host = "127.0.0.1"
port = 0
mode = "submission"

[intake]
sweep_seconds = 1.0
"""
RUN = "import sys; from gateway.cli import main; sys.exit(main())"
# What systemd tells a service is not meant for a daemon that the demo starts.
_NOT_OURS = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC",
             "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")  # fmt: skip


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


class House:
    """A daemon that the demo runs; use as an async context manager."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self.relay_port = 0
        self.folder = Path()
        self.client: Client

    @property
    def socket(self) -> Path:
        """The daemon's control socket."""
        return self.folder / "control.sock"

    @property
    def settings(self) -> Path:
        """The daemon's settings file."""
        return self.folder / "postroom.toml"

    async def __aenter__(self) -> House:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        # A socket's path may have 107 bytes at most, so a deep TMPDIR is of no use.
        short = None if len(tempfile.gettempdir()) < 60 else "/tmp"
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="postroom-demo-", dir=short)))
        text = _SETTINGS.format(domain=DOMAIN, folder=self.folder)
        self.settings.write_text(text, "utf-8")
        await self._start()
        self.relay_port = self._told_port()
        self.client = await self._stack.enter_async_context(connected(self.socket))

    async def _start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        with open(self.folder / "daemon.log", "wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", RUN, "run", "--config", str(self.settings),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        self._stack.push_async_callback(self._stop)
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._answers():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoFailed(f"the daemon did not answer within {_START_SECONDS:.0f} s:\n{self.last_words()}") from None

    async def _answers(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise DemoFailed(f"the daemon ended with exit code {self._process.returncode}:\n{self.last_words()}")
        try:
            async with connected(self.socket):
                return True
        except Unreachable:
            return False

    async def _stop(self) -> None:
        """End the process that we started, by its own id."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def running(self) -> bool:
        """Whether the daemon still runs."""
        return self._process is not None and self._process.returncode is None

    def _told_port(self) -> int:
        """Where the relay listens, as the daemon says when it starts."""
        found = re.search(rb"relay listener demo on port (\d+)", (self.folder / "daemon.log").read_bytes())
        if found is None:
            raise DemoFailed(f"the daemon does not say where its relay listens:\n{self.last_words()}")
        return int(found[1])

    def last_words(self) -> str:
        """The end of the daemon's log."""
        return (self.folder / "daemon.log").read_bytes()[-2000:].decode("utf-8", "replace")

    # Furnishing ---------------------------------------------------------------------------------------------------

    async def furnish(self, provider: Provider) -> None:
        """Touchpoints with ring groups, texts and blocklists, connected and active; two relay users."""
        for address in TOUCHPOINTS:
            provider.open_mailbox(address, PASSWORD)
            await self._touchpoint(address, provider)
        for name, signature in ((HELPDESK, True), (SHOP, False)):
            grants = (SUPPORT, SALES)
            await self.client.call(AddRelayUser(name=name, password=PASSWORD, signature=signature, grants=grants))

    async def _touchpoint(self, address: str, provider: Provider) -> None:
        call = self.client.call
        await call(CreateRingGroup(name=QUEUES[address]))
        await call(CreateTouchpoint(address=address, name=f"Demo {address.partition('@')[0]}"))
        await call(LinkRingGroup(touchpoint=address, ring_group=QUEUES[address]))
        if address in BLOCKED:
            await call(Block(touchpoint=address, pattern=BLOCKED[address], note="the demo's pest"))
        await call(SetTemplate(touchpoint=address, kind="signature", active=True, text=SIGNATURE))
        if address == SUPPORT:
            text = "Thank you for your mail. Somebody will answer it within a day.\n"
            await call(SetTemplate(touchpoint=address, kind="auto_reply", active=True, text=text))
        await call(
            SetConnection(
                touchpoint=address,
                preset="custom",
                user=address,
                imap=f"127.0.0.1:{provider.imap_port}:none",
                smtp=f"127.0.0.1:{provider.smtp_port}:none",
                null_sender=True,
            )
        )
        await call(ConnectTouchpoint(touchpoint=address, password=PASSWORD))
        await call(ActivateTouchpoint(touchpoint=address))

    # Reading ------------------------------------------------------------------------------------------------------

    async def mails(self, *, direction: str, state: str = "all") -> list[MailRow]:
        """All entries of the spool of one direction."""
        rows: list[MailRow] = []
        after = 0
        while True:
            page = await self.client.call(ListMail(direction=direction, state=state, after=after))
            rows += page.rows
            after = page.next
            if not after:
                return rows

    async def content(self, id: int) -> bytes:
        """The whole content of an entry."""
        data = b""
        while True:
            chunk = await self.client.call(ReadContent(id=id, offset=len(data)))
            data += chunk.data
            if len(data) >= chunk.size or not chunk.data:
                return data

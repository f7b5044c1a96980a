"""The whole daemon inside the test's own loop, a provider opposite it, and a clock that only the test turns.

Faster than a process of its own, and open to the test: it is what the scenarios run on that need no kill. Everything
is reached as a guest reaches it, over the control socket, but for the ledger, which is read from the store.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import smtplib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from gateway import settings
from gateway.client import Client, connected
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
from gateway.daemon import Daemon
from gateway.demo.provider import Provider
from gateway.rows import MailRow, TouchpointRow

R = TypeVar("R")
PASSWORD = "correct horse battery"
RELAY = '[[relay.listener]]\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'
PLAIN = """
[[relay.listener]]
name = "plain"
host = "127.0.0.1"
port = 0
mode = "plain"

[[relay.network]]
cidr = "127.0.0.0/8"
user = "printer"
"""
"""Settings for a listener that asks for no password, so that many sessions are quick."""
PATIENCE = 10.0


class TurnedClock:
    """The time of day, as far off as the test says."""

    def __init__(self) -> None:
        self.off = 0.0

    def __call__(self) -> float:
        return time.time() + self.off


class Inside:
    """A running daemon, and the guest that asks it."""

    def __init__(self, daemon: Daemon, guest: Client, provider: Provider, clock: TurnedClock) -> None:
        self.daemon = daemon
        self.guest = guest
        self.provider = provider
        self.clock = clock
        self._senders: dict[str, smtplib.SMTP] = {}

    def close(self) -> None:
        """Hang up on the relay."""
        for client in self._senders.values():
            client.close()

    async def call(self, call: Call[R]) -> R:
        """Make one call."""
        return await self.guest.call(call)

    async def furnish(
        self, address: str, *, imap: int = 0, smtp: int = 0, auto_reply: str = "", signature: str = "", box: bool = True
    ) -> None:
        """A touchpoint, connected and active; on these ports of loopback, or on those of the provider."""
        if box and self.provider.mailboxes.find(address) is None:
            self.provider.open_mailbox(address, PASSWORD)
        await self.call(CreateTouchpoint(address=address, name="Support"))
        imap, smtp = imap or self.provider.imap_port, smtp or self.provider.smtp_port
        await self.call(
            SetConnection(
                touchpoint=address, preset="custom", user=address, imap=f"127.0.0.1:{imap}:none",
                smtp=f"127.0.0.1:{smtp}:none", null_sender=True, sent_copy="provider",
            )
        )  # fmt: skip
        if auto_reply:
            await self.call(SetTemplate(touchpoint=address, kind="auto_reply", active=True, text=auto_reply))
        if signature:
            await self.call(SetTemplate(touchpoint=address, kind="signature", active=True, text=signature))
        await self.call(ConnectTouchpoint(touchpoint=address, password=PASSWORD))
        await self.call(ActivateTouchpoint(touchpoint=address))

    async def account(self) -> dict[str, int]:
        """Both lines of the account."""
        return dict((await self.call(GetStatus())).account)

    async def touchpoint(self, address: str) -> TouchpointRow:
        """One touchpoint as the status shows it."""
        return next(row for row in (await self.call(GetStatus())).touchpoints if row.address == address)

    async def mails(self, direction: str = "", state: str = "all") -> list[MailRow]:
        """What the spool holds, the oldest first."""
        return list((await self.call(ListMail(direction=direction, state=state, limit=500))).rows)[::-1]

    async def ledger(self, address: str) -> dict[int, str]:
        """Uid -> what became of it, in the INBOX of a touchpoint."""

        def work(tx: Any) -> dict[int, str]:
            rows = tx.all(
                "SELECT l.remote_id AS uid, l.state AS state FROM ledger AS l JOIN touchpoint AS t"
                " ON t.id = l.touchpoint_id WHERE t.address = :address AND l.folder = 'INBOX'",
                {"address": address},
            )
            return {row["uid"]: row["state"] for row in rows}

        return await self.daemon.store.read(work)

    async def submit(
        self, sender: str, recipients: Sequence[str], content: bytes, user: str = "crm"
    ) -> tuple[int, str]:
        """Hand a mail to the relay as an internal sender does; how that was answered. By the plain listener for ""."""

        def there() -> tuple[int, str]:
            client = self._senders.get(user)
            if client is None:
                port = self.daemon.ports["relay" if user else "plain"]
                client = smtplib.SMTP("127.0.0.1", port, local_hostname="client.example")
                if user:
                    client.login(user, PASSWORD)
                else:
                    client.ehlo()
                self._senders[user] = client
            client.mail(sender)
            for recipient in recipients:
                client.rcpt(recipient)
            code, words = client.data(content)
            if code != 250:  # the relay may hang up on a content that is broken
                self._senders.pop(user).close()
            return code, words.decode()

        return await asyncio.to_thread(there)

    async def until(self, true: Callable[[], Awaitable[object]]) -> None:
        """Until something has come about."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await true():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it did not come about; the house says: {await self.call(GetStatus())}") from None

    async def until_taken(self, count: int) -> None:
        """Until so many mails were taken in."""

        async def there() -> bool:
            return (await self.account())["taken"] >= count

        await self.until(there)

    async def until_state(self, address: str, *states: str) -> TouchpointRow:
        """Until a touchpoint is in one of these states."""

        async def there() -> bool:
            return (await self.touchpoint(address)).state in states

        await self.until(there)
        return await self.touchpoint(address)

    async def until_still(self) -> None:
        """Until nothing is on its way: all that came is decided, and all that leaves has left."""

        async def still() -> bool:
            return not any(row.state in ("waiting", "active", "parked") for row in await self.mails())

        await self.until(still)


@asynccontextmanager
async def inside(text: str = "", provider: Provider | None = None) -> AsyncIterator[Inside]:
    """A daemon with a provider of its own, or with one that others use too; both are gone at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="postroom-in-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if provider is None:
            provider = Provider()
            await provider.start()
            stack.push_async_callback(provider.close)
        clock = TurnedClock()
        (folder / "state").mkdir()
        toml = folder / "postroom.toml"
        toml.write_text(
            f'[daemon]\nhostname = "post.example"\nstate_dir = "{folder}/state"\n'
            f'socket = "{folder}/control.sock"\n\n{RELAY}\n{text}'
        )
        daemon = Daemon(settings.load(toml), clock=clock)
        await daemon.start()
        stack.push_async_callback(_stop, daemon)
        guest = await stack.enter_async_context(connected(folder / "control.sock"))
        house = Inside(daemon, guest, provider, clock)
        stack.callback(house.close)
        yield house


async def _stop(daemon: Daemon) -> None:
    async with asyncio.timeout(PATIENCE):
        await daemon.stop()


def letter(
    sender: str, to: str, subject: str = "A question", *extra: str, body: str = "Good morning.", number: int = 0
) -> bytes:
    """A mail as a person's client writes it, under the return path of its sender."""
    unique = f"<{number or os.urandom(8).hex()}.{sender}>"
    lines = [f"Return-Path: <{sender}>", f"From: {sender}", f"To: {to}", f"Subject: {subject}", f"Message-ID: {unique}"]
    lines += ["Date: Mon, 23 Nov 2026 10:00:00 +0000", *extra, "", body, ""]
    return "\r\n".join(lines).encode()

"""Daemons and mailboxes for the journeys: each test has its own daemon, all share the real servers of the process."""

from __future__ import annotations

import itertools
import os
import shutil
import smtplib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon

if TYPE_CHECKING:
    from tests.servers.dovecot import Dovecot
    from tests.servers.postfix import Postfix

RELAY = '[[relay.listener]]\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'
PASSWORD = "correct horse"
_NUMBERS = itertools.count(1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder for one daemon: a socket's path may have 107 bytes at most."""
    made = Path(tempfile.mkdtemp(prefix="postroom-journey-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    """A running daemon with a relay on loopback."""
    with Daemon(folder, RELAY) as running:
        yield running


@dataclass(frozen=True)
class Mailbox:
    """A mailbox at the real Dovecot, and how a touchpoint reaches it."""

    address: str
    dovecot: Dovecot

    @property
    def imap(self) -> str:
        """The server as the command line takes it."""
        return f"127.0.0.1:{self.dovecot.imaps_port}:tls"

    @property
    def ca_file(self) -> str:
        """Whom to trust."""
        return str(self.dovecot.tls.ca)

    def deliver(self, *contents: bytes) -> None:
        """Deliver mail by LMTP, each from the address in its From."""
        for content in contents:
            sender = content.partition(b"From: ")[2].partition(b"\r\n")[0].decode()
            self.dovecot.deliver(self.address, content, sender)


@pytest.fixture
def new_mailbox(dovecot: Dovecot) -> Callable[[str], Mailbox]:
    """Makes mailboxes that no other test of this process has."""

    def make(name: str = "support") -> Mailbox:
        address = f"{name}{next(_NUMBERS)}x{os.getpid()}@example.org"
        dovecot.add_user(address, PASSWORD)
        return Mailbox(address, dovecot)

    return make


@pytest.fixture
def trusted(dovecot: Dovecot, postfix: Postfix, folder: Path) -> str:
    """One CA file with the authorities of both servers."""
    both = folder / "both.pem"
    both.write_bytes(Path(dovecot.tls.ca).read_bytes() + Path(postfix.tls.ca).read_bytes())
    return str(both)


def mail(
    sender: str, to: str, subject: str, body: str = "Good morning.", *, extra: str = "", message_id: str = ""
) -> bytes:
    """A plain mail, as a person's client writes it."""
    unique = message_id or f"<{os.urandom(8).hex()}@client.example.net>"
    lines = f"From: {sender}\nTo: {to}\nSubject: {subject}\nMessage-ID: {unique}\n"
    lines += f"Date: Mon, 23 Nov 2026 10:00:00 +0000\n{extra}\n{body}\n"
    return lines.replace("\n", "\r\n").encode()


def submit(port: int, user: str, sender: str, recipients: list[str], content: bytes) -> None:
    """Hand a mail to the relay as an internal sender does."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=30) as client:
        client.ehlo()
        client.login(user, PASSWORD)
        client.sendmail(sender, recipients, content)

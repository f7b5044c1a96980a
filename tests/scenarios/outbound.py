"""A real daemon with one touchpoint at the embedded provider, and an internal sender who hands mail to its relay.

The provider keeps its own list of what it took; it is laid beside the daemon's account.
"""

from __future__ import annotations

import shutil
import smtplib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.control import AddRelayUser, MailDetail, SetConnection, ShowMail
from gateway.demo.smtp_server import Submitted
from tests.daemon import Daemon
from tests.servers.embedded import Embedded

DESK, BUYER = "desk@shop.example", "buyer@far.example"
PASSWORD = "correct horse battery"
RELAY = '[[relay.listener]]\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'


@dataclass
class Outbound:
    """The daemon, the provider, and the file that makes the daemon die."""

    daemon: Daemon
    provider: Embedded
    dies: Path

    def submit(self, *recipients: str, number: int = 1) -> None:
        """An internal sender's mail; it has our 250 when this returns."""
        content = (
            f"From: {DESK}\r\nTo: {BUYER}\r\nSubject: Your order {number}\r\nMessage-ID: <{number}@shop.example>\r\n"
            f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nIt is on its way.\r\n"
        )
        with smtplib.SMTP("127.0.0.1", self.daemon.relay_port("relay"), local_hostname="shop.example") as client:
            client.login("shop", PASSWORD)
            client.sendmail(DESK, recipients or (BUYER,), content)

    @property
    def taken(self) -> list[Submitted]:
        """What the provider took, by its own account."""
        return self.provider.call(lambda: list(self.provider.provider.submitted))

    def mail(self, number: int = 1) -> MailDetail:
        """One entry, with all that is known of it."""
        return self.daemon.call(ShowMail(id=number))

    def until_died(self) -> None:
        """Until the daemon killed itself."""
        assert self.daemon.process is not None
        assert self.daemon.process.wait(30) == -9

    def until(self, state: str, number: int = 1) -> MailDetail:
        """Until an entry stands so; nothing may be lost then."""
        self.daemon.until(lambda: self.mail(number).row.state == state, f"mail {number} is {state}")
        account = self.daemon.account()
        assert account["lost"] == 0, account
        return self.mail(number)


@contextmanager
def outbound(*, files_copies: bool, policy: str = "verify_then_resend", grace: float = 15.0) -> Iterator[Outbound]:
    """All of it, running; ``files_copies`` is whether the provider files what it took in Sent, and whether we know."""
    folder = Path(tempfile.mkdtemp(prefix="postroom-out-"))
    dies = folder / "dies"
    environment = {"ODD_DIES": str(dies), "ODD_GRACE": str(grace)}
    daemon = Daemon(folder, RELAY, environment, module="tests.scenarios.odd")
    try:
        with Embedded(folder) as provider, daemon:
            provider.call(lambda: setattr(provider.provider.policy, "sent_copy", files_copies))
            provider.open_mailbox(DESK, PASSWORD)
            imap, smtp = (f"127.0.0.1:{port}:none" for port in (provider.imap_port, provider.smtp_port))
            daemon.furnish(DESK, PASSWORD, imap=imap, smtp=smtp, sent_copy="provider" if files_copies else "none")
            daemon.call(SetConnection(touchpoint=DESK, unknown_outcome=policy))
            daemon.call(AddRelayUser(name="shop", password=PASSWORD, grants=(DESK,)))
            daemon.wait_for_state(DESK, ("connected",))
            yield Outbound(daemon, provider, dies)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

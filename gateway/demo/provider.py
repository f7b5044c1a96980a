"""The embedded provider: mailboxes with an IMAP and a submission server before them, which can die and come back.

Everything lives in memory and on a few ports of the loopback interface, so the demo and the tests need no mail server
on the machine. While it is dead, ``deliver`` still works: mail from elsewhere piles up behind a provider's front doors.
All methods belong to the loop that ran ``start``.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from gateway.demo.imap_server import ImapServer
from gateway.demo.mailbox import Ledger, Mailbox, Mailboxes, Message
from gateway.demo.smtp_server import Policy, SmtpServer, Submitted
from gateway.demo.wire import Listener


class Provider:
    """A mail provider in a box."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, clear_passwords: bool = False) -> None:
        """Without ``tls`` everything is in clear. With it, both ports offer STARTTLS, and insist on it for signing in
        unless ``clear_passwords`` are allowed, and two further ports speak TLS from the first byte."""
        self.mailboxes = Mailboxes()
        self.imap = ImapServer(self.mailboxes, starttls=tls, clear_passwords=clear_passwords)
        self.smtp = SmtpServer(self.mailboxes, starttls=tls, clear_passwords=clear_passwords)
        self.imap.faults.die = self.kill
        self._doors = {"imap": Listener(self.imap.talk), "smtp": Listener(self.smtp.talk)}
        if tls is not None:
            self._doors |= {"imaps": Listener(self.imap.talk, tls=tls), "smtps": Listener(self.smtp.talk, tls=tls)}
        self.alive = False

    # Ports are the same for the provider's whole life.

    @property
    def imap_port(self) -> int:
        """Where IMAP is, in clear or with STARTTLS."""
        return self._doors["imap"].port

    @property
    def smtp_port(self) -> int:
        """Where submission is, in clear or with STARTTLS."""
        return self._doors["smtp"].port

    @property
    def imaps_port(self) -> int:
        """Where IMAP over TLS is; only with ``tls``."""
        return self._doors["imaps"].port

    @property
    def smtps_port(self) -> int:
        """Where submission over TLS is; only with ``tls``."""
        return self._doors["smtps"].port

    @property
    def ledger(self) -> Ledger:
        """What every folder ever held, and what was served of it."""
        return self.mailboxes.ledger

    @property
    def policy(self) -> Policy:
        """Refusals, Sent copies and the like."""
        return self.smtp.policy

    @property
    def submitted(self) -> list[Submitted]:
        """Every mail that the submission server took, in order."""
        return self.smtp.submitted

    @property
    def connections(self) -> int:
        """How many clients are connected now, on all ports."""
        return sum(door.connections for door in self._doors.values())

    def open_mailbox(self, address: str, password: str, *, folders: Iterable[str] = ()) -> Mailbox:
        """A new account with INBOX, Junk and Sent, and the named folders besides."""
        mailbox = self.mailboxes.open(address, password)
        for name in folders:
            mailbox.create(name)
        return mailbox

    async def start(self) -> None:
        """Open all ports."""
        for door in self._doors.values():
            await door.open()
        self.alive = True

    def kill(self) -> None:
        """Die at once: all ports refuse, every connection is reset. The mail stays."""
        self.alive = False
        for door in self._doors.values():
            door.kill()

    async def resume(self) -> None:
        """Come back on the same ports, with the same mail and the same UIDVALIDITY."""
        self.smtp.admitting.set()
        await self.start()

    async def close(self) -> None:
        """The end."""
        self.alive = False
        for door in self._doors.values():
            await door.close()

    def deliver(
        self, address: str, content: bytes, folder: str = "INBOX", internaldate: float | None = None
    ) -> Message:
        """Put a mail into a folder, as the provider's own delivery does."""
        box = self._mailbox(address)
        target = box.folder(folder) or box.create(folder)
        return target.add(content, internaldate=internaldate)

    def expunge(self, address: str, uids: Iterable[int], folder: str = "INBOX") -> None:
        """Somebody else deletes mails for good."""
        box = self._mailbox(address)
        box.folders[folder].remove(uids)

    def renumber(self, address: str, folder: str = "INBOX") -> int:
        """Give a folder a new UIDVALIDITY, and end the sessions that knew the old one; the new value."""
        box = self._mailbox(address)
        box.folders[folder].renumber()
        self.imap.kick(box)
        return box.folders[folder].uid_validity

    def kick(self, address: str) -> int:
        """Reset every IMAP connection of this account; how many."""
        return self.imap.kick(self._mailbox(address))

    def cut_after(self, count: int) -> None:
        """Die in the middle of a literal, once ``count`` more bytes of content are served."""
        self.imap.faults.cut_after = count

    def _mailbox(self, address: str) -> Mailbox:
        box = self.mailboxes.find(address)
        if box is None:
            raise LookupError(f"no mailbox for {address}")
        return box

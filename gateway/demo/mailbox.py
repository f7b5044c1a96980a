"""The demo provider's mailboxes, in memory: what its IMAP and SMTP halves share.

A folder numbers its mail as RFC 3501 section 2.3.1.1 asks: UIDs only grow, and renumbering takes a new UIDVALIDITY.
The ledger remembers everything that any folder ever held and how often it was served whole, so that afterwards the
provider's word can be laid beside the daemon's account. Nothing here knows a protocol or opens a connection.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.touchpoint import without_tag


class ItemKey(NamedTuple):
    """One item, as a client names it."""

    address: str
    folder: str
    epoch: int
    uid: int


@dataclass(slots=True)
class Ledger:
    """The provider's own account."""

    held: dict[ItemKey, str] = field(default_factory=dict)
    """Every item that was ever put into a folder -> SHA-256 of its content, in hex."""
    served: Counter[ItemKey] = field(default_factory=Counter)
    """How often the last byte of an item was sent to a client."""

    def holds(self, folder: str) -> dict[ItemKey, str]:
        """What was ever put into the folders of this name."""
        return {key: digest for key, digest in self.held.items() if key.folder == folder}

    def unserved(self, folder: str = "INBOX") -> list[ItemKey]:
        """Items of the folders of this name that no client has read to the end."""
        return [key for key in self.holds(folder) if not self.served[key]]


@dataclass(slots=True)
class Message:
    """One mail in a folder."""

    uid: int
    content: bytes
    internaldate: float
    """Seconds since the epoch."""
    flags: set[str] = field(default_factory=set)


class Folder:
    """One folder: mail by UID, in order, and who wants to hear of changes."""

    def __init__(self, name: str, ledger: Ledger, *, owner: str, special: str = "") -> None:
        self.name = name
        self.special = special
        """The special-use attribute (RFC 6154), such as ``\\Junk``, or ""."""
        self.uid_validity = int(time.time())
        self.uid_next = 1
        self.messages: dict[int, Message] = {}
        self.unreadable: set[int] = set()
        """UIDs that FETCH refuses to read, as some providers do for single mails."""
        self.watchers: set[asyncio.Event] = set()
        self._ledger = ledger
        self._owner = owner

    def add(self, content: bytes, *, internaldate: float | None = None, flags: Iterable[str] = ()) -> Message:
        """Put a mail in, under the next UID."""
        message = Message(self.uid_next, content, time.time() if internaldate is None else internaldate, set(flags))
        self.uid_next += 1
        self.messages[message.uid] = message
        self._ledger.held[self.key(message.uid)] = hashlib.sha256(content).hexdigest()
        self._tell()
        return message

    def remove(self, uids: Iterable[int]) -> None:
        """Take mails out; unknown UIDs are ignored."""
        for uid in uids:
            self.messages.pop(uid, None)
        self._tell()

    def renumber(self) -> None:
        """A new UIDVALIDITY, and every mail under a new UID from 1."""
        old = list(self.messages.values())
        self.uid_validity += 1
        self.uid_next = 1
        self.messages.clear()
        self.unreadable.clear()
        for message in old:
            self.add(message.content, internaldate=message.internaldate, flags=message.flags)

    def served(self, uid: int) -> None:
        """Note that a client was sent this mail to its last byte."""
        self._ledger.served[self.key(uid)] += 1

    def key(self, uid: int) -> ItemKey:
        """How the ledger names a mail of this folder."""
        return ItemKey(self._owner, self.name, self.uid_validity, uid)

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher.set()


class Mailbox:
    """One account: an address, its password, and its folders."""

    def __init__(self, address: str, password: str, ledger: Ledger) -> None:
        self.address = address
        self.password = password
        self.folders: dict[str, Folder] = {}
        self._ledger = ledger
        for name, special in (("INBOX", ""), ("Junk", "\\Junk"), ("Sent", "\\Sent")):
            self.create(name, special)

    def create(self, name: str, special: str = "") -> Folder:
        """A new, empty folder."""
        self.folders[name] = Folder(name, self._ledger, owner=self.address, special=special)
        return self.folders[name]

    def folder(self, name: str) -> Folder | None:
        """A folder by name; INBOX in any case (RFC 3501 section 5.1)."""
        return self.folders.get("INBOX" if name.upper() == "INBOX" else name)


class Mailboxes:
    """All accounts of the provider, found by address, tags ignored."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._by_address: dict[str, Mailbox] = {}

    def open(self, address: str, password: str) -> Mailbox:
        """A new account."""
        mailbox = Mailbox(address, password, self.ledger)
        self._by_address[without_tag(address)] = mailbox
        return mailbox

    def find(self, address: str) -> Mailbox | None:
        """The account that gets mail for this address."""
        return self._by_address.get(without_tag(address))

    def sign_in(self, user: str, password: str) -> Mailbox | None:
        """The account, if user name and password are right."""
        mailbox = self.find(user)
        return mailbox if mailbox is not None and mailbox.password == password else None

"""The embedded provider as a server for tests: the twin of the real Dovecot, in a thread with a loop of its own.

So the same suite can run against both: everything here is called from the test's thread, as one would call a server
that runs elsewhere. ``with Embedded() as server`` starts and ends it.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.demo.mailbox import Message
from gateway.demo.provider import Provider
from tests.servers.tls import TlsFiles, make_ca

T = TypeVar("T")


class Embedded:
    """A provider on loopback; ``provider`` may be looked at, but is to be changed through ``call`` only.

    Like Dovecot it has one IMAP port with STARTTLS, where loopback may also sign in in clear, and one with TLS.
    """

    host = "127.0.0.1"

    def __init__(self, directory: Path | str | None = None, *, tls: TlsFiles | None = None) -> None:
        self._directory = None if directory or tls else tempfile.TemporaryDirectory(prefix="postroom-embedded-")
        self.tls = tls or make_ca(directory or self._directory.name)  # type: ignore[union-attr]
        self.provider = Provider(tls=self.tls.server_context(), clear_passwords=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded provider", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self.provider.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.provider.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._directory is not None:
            self._directory.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the provider's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, work: Callable[[], T]) -> T:
        """Run a function on the provider's loop."""

        async def there() -> T:
            return work()

        return self.run(there())

    @property
    def imap_port(self) -> int:
        """Where IMAP is."""
        return self.provider.imap_port

    @property
    def imaps_port(self) -> int:
        """Where IMAP over TLS is."""
        return self.provider.imaps_port

    @property
    def smtp_port(self) -> int:
        """Where submission is."""
        return self.provider.smtp_port

    # Life: ``down`` and ``kill`` are one, since it has no state to write

    def down(self) -> None:
        """Die at once."""
        self.call(self.provider.kill)

    kill = down

    def up(self) -> None:
        """Come back, on the same ports with the same mail."""
        self.run(self.provider.resume())

    # Mailboxes and mail, in the words of the real Dovecot

    def open_mailbox(self, address: str, password: str, *, folders: Iterable[str] = ()) -> None:
        """A new mailbox, with further folders."""
        self.call(lambda: self.provider.open_mailbox(address, password, folders=folders))

    def add_user(self, user: str, password: str) -> None:
        """A mailbox; one that is there gets this password."""

        def there() -> None:
            mailbox = self.provider.mailboxes.find(user)
            if mailbox is None:
                self.provider.open_mailbox(user, password)
            else:
                mailbox.password = password

        self.call(there)

    def deliver(self, user: str, content: bytes, folder: str = "INBOX", internaldate: float | None = None) -> int:
        """One mail into a folder, as it is; its UID."""
        return self.call(lambda: self.provider.deliver(user, content, folder, internaldate).uid)

    def save(self, address: str, content: bytes, folder: str = "INBOX") -> None:
        """One mail into a folder."""
        self.deliver(address, content, folder)

    def save_many(
        self, user: str, contents: Iterable[bytes], folder: str = "INBOX", internaldate: float | None = None
    ) -> None:
        """Many mails at once."""

        def there() -> None:
            for content in contents:
                self.provider.deliver(user, content, folder, internaldate)

        self.call(there)

    def expunge(self, address: str, uids: Iterable[int], folder: str = "INBOX") -> None:
        """Somebody else deletes mails for good."""
        self.call(lambda: self.provider.expunge(address, uids, folder))

    def contents(self, address: str, folder: str = "INBOX") -> dict[int, bytes]:
        """What a folder holds, by UID."""
        return self.call(lambda: {uid: each.content for uid, each in self._messages(address, folder).items()})

    def flags(self, address: str, folder: str = "INBOX") -> dict[int, str]:
        """The flags of each mail."""
        return self.call(lambda: {uid: " ".join(each.flags) for uid, each in self._messages(address, folder).items()})

    def _messages(self, address: str, folder: str) -> dict[int, Message]:
        mailbox = self.provider.mailboxes.find(address)
        assert mailbox is not None
        return mailbox.folders[folder].messages

    def kick(self, user: str) -> None:
        """Reset every connection of this mailbox."""
        self.call(lambda: self.provider.kick(user))

    def renumber(self, address: str, folder: str = "INBOX") -> int:
        """Give a folder a new UIDVALIDITY; the new value."""
        return self.call(lambda: self.provider.renumber(address, folder))

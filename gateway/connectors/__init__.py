"""One provider's way in and out, behind one protocol.

A connector is owned by one touchpoint. Its methods raise the errors of ``pipeline.errors`` and nothing else: each
connector has one function per library that translates. What the rest of Postroom relies on:

- ``changes`` may be asked again with the same cursor and answers a superset of what was not committed.
- A cursor is opaque text; a folder that the server renumbered, or set back, raises ``CursorLost``, with the cursor from
  which it is resumed.
- ``wait`` never delivers data. It is a hint and may lie both ways; a sweep of ``changes`` runs anyway.
- ``send`` answers one outcome per recipient, and ``unknown`` when the connection died after the data.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.store.content import Written


class FolderRole(StrEnum):
    """What a folder is for (RFC 6154)."""

    INBOX = "inbox"
    JUNK = "junk"
    SENT = "sent"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A folder of a mailbox."""

    name: str
    """As people read it (Unicode), and as cursors and ledger name it."""
    role: FolderRole = FolderRole.OTHER


@dataclass(frozen=True, slots=True)
class Ref:
    """One item as a server lists it, before it is fetched."""

    folder: str
    epoch: int
    """UIDVALIDITY, above it a generation (``pipeline/cursor.py``); 0 where a provider has no such thing."""
    remote_id: int
    """UID."""
    internaldate: float
    """Seconds since the epoch."""
    size: int
    """What the server says; advisory."""
    cursor: str = ""
    """The cursor that stands right behind this item; "" where a provider knows none within a page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What a folder shows beyond a cursor, in the order in which it is to be taken."""

    refs: tuple[Ref, ...]
    cursor: str
    """Where to go on once every ref of this page is stored or pending."""
    more: bool
    """Whether there is more behind this page right now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The content of one item, whole in ``data`` or, when big, already in the store as ``content_id``."""

    ref: Ref
    data: bytes = b""
    content_id: int = 0
    opening: bytes = b""
    """For stored content: its first OPENING bytes."""
    size: int = 0
    sha256: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """An item that did not come: ``gone`` from the server, or refused with the server's words."""

    ref: Ref
    gone: bool
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    """What a folder holds right now, as far as a server says without giving out any mail."""

    epoch: int
    """UIDVALIDITY."""
    next_id: int
    """UIDNEXT: what the next item will be numbered at least; 0 where the server does not say."""
    remote_ids: array[int]
    """UIDs, ascending, each once."""


class ContentWriter(Protocol):
    """Takes a big content chunk by chunk into the store, unowned until a page's commit adopts it."""

    content_id: int

    async def write(self, data: bytes) -> None:
        """Store more bytes; returns when they are committed as far as memory asks for it."""
        ...

    async def finish(self) -> Written:
        """All is written: the size and hash."""
        ...

    async def discard(self) -> None:
        """Forget what was written."""
        ...


class Outcome(StrEnum):
    """What became of one attempt to hand over a mail."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """For good (5xx)."""
    RETRY = "retry"
    """Answered, not now (4xx)."""
    UNKNOWN = "unknown"
    """The connection died after the data: it may have been taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipientResult:
    """The server's word on one recipient."""

    address: str
    outcome: Outcome
    code: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SendResult:
    """The server's word on one mail; ``recipients`` has every recipient that was tried."""

    outcome: Outcome
    """ACCEPTED if at least one recipient was."""
    recipients: tuple[RecipientResult, ...]
    code: int = 0
    text: str = ""
    server: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A mail to hand over, its bytes fixed and read in chunks."""

    sender: str
    """MAIL FROM; "" is the null sender."""
    recipients: tuple[str, ...]
    message_id: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]
    """Opens the content from its start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Which mailbox we are signed in to, for telling whether two touchpoints are the same one."""

    server: str
    principal: str


class Receiving(Protocol):
    """The inbound half of a connector."""

    async def open(self) -> Identity:
        """Connect and sign in."""
        ...

    async def folders(self) -> list[Folder]:
        """The folders that are watched: INBOX, and Junk where there is one; Sent for filing copies."""
        ...

    async def baseline(self, folder: Folder) -> tuple[str, int]:
        """The cursor that leaves everything now in the folder alone, and the highest remote id left so."""
        ...

    async def changes(self, folder: Folder, cursor: str, limit: int = 1000) -> Page:
        """What lies beyond the cursor ("" is the folder's start); raises CursorLost."""
        ...

    def heads(self, refs: Sequence[Ref]) -> AsyncIterator[tuple[int, bytes]]:
        """Remote id and the fields Message-ID, Date, From and Subject as they stand, of these items of one folder.

        Nothing comes for an item that is gone, or that the server does not give out.
        """
        ...

    def fetch(self, refs: Sequence[Ref], writer: Callable[[], ContentWriter]) -> AsyncIterator[Fetched | Missing]:
        """The contents of these items of one folder, one answer for each."""
        ...

    async def present(self, folder: Folder, remote_ids: Sequence[int]) -> set[int]:
        """Which of these items are still in the folder."""
        ...

    async def everything(self, folder: Folder, since: float = 0.0) -> Everything:
        """The remote ids of all that is in the folder, without bodies; changes nothing on the server.

        With ``since`` (seconds since the epoch) only what the server received then or later; it tells whole days at
        best, so up to two days' older items may come along.
        """
        ...

    async def every_folder(self) -> list[Folder]:
        """All folders of the mailbox that can be opened, watched or not; at most 1,000."""
        ...

    async def find(
        self,
        folder: Folder,
        *,
        message_id: str = "",
        sender: str = "",
        subject: str = "",
        since: float = 0.0,
        before: float = 0.0,
    ) -> list[Ref]:
        """The mails of a folder that fit all that is given, newest first, at most 50; changes nothing on the server.

        ``message_id`` is meant exactly, ``sender`` and ``subject`` as a part of the field, the times by the server's
        clock. Raises Refused for text that cannot be searched for.
        """
        ...

    async def copies(self, message_id: str) -> int | None:
        """How many mails in the Sent folder have exactly this Message-ID, at most 50.

        None where that is no evidence: there is no Sent folder, or this Message-ID cannot be searched for.
        """
        ...

    async def file_copy(self, chunks: AsyncIterator[bytes], size: int, message_id: str) -> None:
        """File a copy of a sent mail in the Sent folder, unless one with its Message-ID is there."""
        ...

    async def wait(self, folder: Folder, seconds: float) -> bool:
        """Until something may have changed (True) or the time is over (False)."""
        ...

    async def mark(self, ref: Ref, action: str) -> None:
        """``seen`` or ``move:FOLDER``; repeating it is harmless."""
        ...

    async def close(self) -> None:
        """Say goodbye if that goes quickly; never raises."""
        ...


class BeforeData(Protocol):
    """What is awaited right before a content goes."""

    async def __call__(self, left_out: Sequence[str] = ()) -> None:
        """The content goes to all recipients but these, whom the server did not take at their RCPT."""
        ...


class Sending(Protocol):
    """The outbound half of a connector."""

    async def open(self) -> Identity:
        """Connect and sign in, unless that is done already."""
        ...

    async def send(self, mail: Outgoing, before_data: BeforeData) -> SendResult:
        """Hand over one mail; ``before_data`` is awaited after the RCPT replies, right before the content goes.

        Raises an error of ``pipeline.errors`` when the connection failed before the content went.
        """
        ...

    async def close(self) -> None:
        """End the session if there is one; never raises."""
        ...

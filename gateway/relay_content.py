"""One content on its way in, from DATA to its final dot.

Owns what is held of it in memory: at most 256 KiB and one read; what is more goes to the store. Knows its limits of
size and pace, and in the end makes the ``Submission``. No sockets; the session tells it what came and when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress

from gateway.connectors import ContentWriter
from gateway.smtp_data import DataReader
from gateway.smtp_grammar import Reply
from gateway.submission import RelayLimits, Submission
from pipeline.errors import PostroomError
from pipeline.mail import OPENING, Envelope, RelayUser

TOO_BIG = Reply(552, "5.3.4", "Too big")


class IncomingContent:
    """What a client is sending behind DATA."""

    __slots__ = ("_begun_at", "_held", "_limits", "_longest", "_reader", "_writer", "refusal", "size")

    def __init__(self, limits: RelayLimits, announced: int, now: float) -> None:
        self._limits = limits
        self._reader = DataReader()
        self._held = bytearray()
        self._writer: ContentWriter | None = None
        self._begun_at = now
        self._longest = limits.data_base + (announced or limits.size) / limits.min_rate
        self.size = 0
        self.refusal: Reply | None = None
        """Why it is read to its end but not taken."""

    def take(self, data: bytes) -> bytes:
        """Take what came; what lies behind the final dot comes back."""
        content, rest = self._reader.feed(data)
        self.size += len(content)
        if self.refusal is None and self.size > self._limits.size:
            self.refusal = TOO_BIG
        if self.refusal is None:
            self._held += content
        else:
            self._held.clear()
        return rest

    @property
    def over(self) -> bool:
        """Whether the final dot was read."""
        return self._reader.over

    @property
    def fault(self) -> str:
        """What makes the content unfit; "" if nothing does."""
        return self._reader.fault

    @property
    def hopeless(self) -> bool:
        """Whether so much came that reading to the end is not worth it."""
        return self._reader.received > 2 * self._limits.size + OPENING

    @property
    def held(self) -> int:
        """Octets in memory."""
        return len(self._held)

    @property
    def stored(self) -> bool:
        """Whether a part of it lies in the store."""
        return self._writer is not None

    async def discard(self) -> None:
        """Take its part out of the store again; what that misses, the next start sweeps."""
        if self._writer is not None:
            with suppress(PostroomError):
                await self._writer.discard()

    def too_slow(self, now: float) -> bool:
        """Whether the client takes longer than it may."""
        elapsed = now - self._begun_at
        return (
            elapsed > self._longest or elapsed > self._limits.slow_grace + self._reader.received / self._limits.min_rate
        )

    async def pour(self, open_writer: Callable[[], ContentWriter]) -> None:
        """Put what is held into the store."""
        if self._writer is None:
            self._writer = open_writer()
        held = bytes(self._held)
        self._held.clear()
        await self._writer.write(held)

    async def finish(
        self, *, user: RelayUser, envelope: Envelope, peer: str, helo: str, with_protocol: str
    ) -> Submission:
        """The whole of it, once it is over and not refused."""
        held = bytes(self._held)
        written = None
        if self._writer is not None:
            if held:
                await self._writer.write(held)
            written = await self._writer.finish()
        return Submission(
            user=user,
            envelope=envelope,
            data=held if written is None else None,
            written=written,
            opening=held[:OPENING] if written is None else written.opening,
            size=self.size,
            sha256=hashlib.sha256(held).digest() if written is None else written.sha256,
            peer=peer,
            helo=helo,
            with_protocol=with_protocol,
        )

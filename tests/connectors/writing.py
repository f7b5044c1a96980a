"""A ContentWriter that keeps what it is given, for tests without a store."""

from __future__ import annotations

import hashlib
import itertools
from typing import ClassVar

from gateway.connectors import Written
from pipeline.mail import OPENING


class Writer:
    """Keeps contents in ``stored``, by id."""

    stored: ClassVar[dict[int, bytes]] = {}
    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.content_id = next(self._numbers)
        self.data = bytearray()

    async def write(self, data: bytes) -> None:
        """Take a piece; none is bigger than a chunk."""
        assert len(data) <= OPENING
        self.data += data

    async def finish(self) -> Written:
        """All is there."""
        content = self.stored[self.content_id] = bytes(self.data)
        return Written(self.content_id, len(content), hashlib.sha256(content).digest(), content[:OPENING])

    async def discard(self) -> None:
        """Forget it."""
        self.data.clear()

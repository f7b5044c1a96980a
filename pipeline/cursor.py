"""How far one folder has been read: the text that is committed together with the mail it speaks about.

A cursor says ``version:epoch:low``: everything up to and including remote id ``low`` of that epoch is settled. Others
treat it as opaque. A text of another version is never guessed at: it counts as lost, so that a person decides and no
mail is taken twice or skipped.

An epoch is a folder's UIDVALIDITY (RFC 9051 section 2.3.1.1) in the low 32 bits, and above it a generation, which is 0
unless the server used that UIDVALIDITY before: a folder that was set back, or restored, has old numbers for other mail.
Epochs of a folder only grow, so no two items ever share epoch and remote id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import CursorLost

UIDVALIDITY = 0xFFFFFFFF
"""The bits of an epoch that the server knows."""
_TEXT = re.compile(r"1:([1-9][0-9]{0,19}|0):([1-9][0-9]{0,19}|0)", re.ASCII)


def epoch_after(last: int, uidvalidity: int) -> int:
    """The epoch of a folder that is numbered anew, or again, under this UIDVALIDITY."""
    epoch = last & ~UIDVALIDITY | uidvalidity
    return epoch if epoch > last else epoch + UIDVALIDITY + 1


@dataclass(frozen=True, slots=True)
class FolderCursor:
    """All of ``epoch`` up to ``low``, inclusive, is settled."""

    epoch: int
    low: int

    def text(self) -> str:
        """The form that is stored."""
        return f"1:{self.epoch}:{self.low}"

    @classmethod
    def anew(cls, epoch: int) -> FolderCursor:
        """The start of a folder whose numbers mean something else than in ``epoch``, under the same UIDVALIDITY."""
        return cls(epoch_after(epoch, epoch & UIDVALIDITY), 0)

    @classmethod
    def parse(cls, text: str) -> FolderCursor:
        """Read a stored cursor; raises CursorLost for a text that this version did not write."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise CursorLost(f"the stored cursor {text[:60]!r} is of an unknown kind")
        return cls(int(match[1]), int(match[2]))

"""Three levels of what may be drawn: braille, block and ascii. Letters and digits carry the meaning at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Glyphs(StrEnum):
    """What the terminal's font has."""

    BRAILLE = "braille"
    BLOCK = "block"
    ASCII = "ascii"


_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"
_ROWS = (0x00, 0x40, 0x44, 0x46, 0x47), (0x00, 0x80, 0xA0, 0xB0, 0xB8)  # left and right half of a braille cell
# Drawn by us, and by safe_text (the ellipsis); what mail and people wrote is never translated.
_TO_ASCII = str.maketrans("·─│┌┐└┘…→←↑↓", "|-|++++~><^v")


def spark(counts: Sequence[int], width: int, glyphs: Glyphs) -> str:
    """Counts as a line of ``width`` cells, the newest at the right; sums where there are more counts than room."""
    columns = width * 2 if glyphs is Glyphs.BRAILLE else width
    if columns <= 0:
        return ""
    share = max(1, -(-len(counts) // columns))
    head = len(counts) % share
    starts = ([0] if head else []) + list(range(head, len(counts), share))
    sums = [sum(counts[at : head if at == 0 and head else at + share]) for at in starts]
    sums = [0] * (columns - len(sums)) + sums
    most = max(sums, default=0) or 1
    if glyphs is Glyphs.BRAILLE:
        steps = [-(-each * 4 // most) for each in sums]
        pairs = zip(steps[::2], steps[1::2], strict=True)
        # U+2800 draws nothing and is a letter to some terminals; a space is a space everywhere.
        return "".join(chr(0x2800 + _ROWS[0][one] + _ROWS[1][two]) if one or two else " " for one, two in pairs)
    scale = _BLOCKS if glyphs is Glyphs.BLOCK else _ASCII
    return "".join(scale[each * (len(scale) - 1) // most] for each in sums)


def plain(text: str, glyphs: Glyphs) -> str:
    """Text that we drew, with nothing but ASCII where that is asked for."""
    return text.translate(_TO_ASCII) if glyphs is Glyphs.ASCII else text

"""A list in sections: each with a heading that the cursor passes over, and rows that are lines of their own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui.glyphs import Glyphs
from tui.lines import Line, Piece, fit
from tui.vlist import VList

LEAST = 12
"""Cells that the column gets which takes the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the list."""

    key: Hashable
    made: Callable[[int], Line] = field(compare=False)
    """The line, for a width in cells."""
    row: Any = None
    """What it shows; None is a heading, or a line that only says something."""


class Sections(VList):
    """The list; ``set_rows`` takes items."""

    def __init__(self, *, glyphs: Glyphs, empty: str) -> None:
        super().__init__((), lambda item: item.key, glyphs=glyphs, header=False, empty=empty)

    @property
    def current(self) -> Any | None:
        """The item under the cursor, if it shows a row."""
        item: Item | None = super().current
        return None if item is None or item.row is None else item

    def set_rows(self, rows: Sequence[Item], *, more: bool = False) -> None:
        super().set_rows(rows, more=more)
        if rows and rows[self.cursor].row is None:
            self.move_to(self.cursor)

    def move_to(self, number: int) -> None:
        """The row that is meant, or the next one that is a row; first in the direction of the move."""
        if not self.rows:
            return
        there = range(max(0, min(number, len(self.rows) - 1)), len(self.rows))
        ways = [there, range(there.start, -1, -1)]
        if number < self.cursor:
            ways.reverse()
        super().move_to(next((n for way in ways for n in way if self.rows[n].row is not None), there.start))

    def _scroll(self) -> None:
        super()._scroll()
        if 0 < self.top == self.cursor and self.page > 1 and self.rows[self.top - 1].row is None:
            self.top -= 1  # the heading is seen with the first row of its section

    def _cells(self, row: Any, mark: str = "", *, title: bool = False) -> list[Piece]:
        return list(row.made(self.size.width - 1))


def cells(width: int, *parts: tuple[str, int], style: str = "") -> Line:
    """Texts in columns: each as wide as is said, below 0 to the right of it, 0 takes what the others leave."""
    while (left := width - sum(abs(size) for _, size in parts) - len(parts)) < LEAST and len(parts) > 2:
        widest = max(range(1, len(parts)), key=lambda n: abs(parts[n][1]))
        parts = parts[:widest] + parts[widest + 1 :]  # the first column says what the line is about
    return tuple((fit(text, abs(size) or max(left, 0), right=size < 0) + " ", style) for text, size in parts)

"""A list of any length, drawn line by line: only what is seen is ever rendered, only what changed is drawn again.

Rows are any objects; a key names each, and the cursor and the marks hold on to keys, never to positions. The first line
is the header. New rows do not move the row under the cursor on the screen. A list that is fed in windows says so with
``more`` and asks for the next one by posting ``NearEnd``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual.events import Click
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.glyphs import Glyphs
from tui.lines import Line, Piece, difference, fit, folded, line, strip

Cell = Callable[[Any], "str | Piece"]
NARROW = 12
"""Cells that a column keeps which grows, where all columns are asked for."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: ``width`` cells, or with ``grow`` a share of what the others leave."""

    title: str
    cell: Cell
    width: int
    grow: int = 0
    right: bool = False
    keep: int = 9
    """Columns with low numbers go first when there is no room."""
    wide: bool = False
    """Shown only when wide columns are asked for, or where there is room for all."""


class VList(Widget, can_focus=True):
    """The list. ``set_rows`` is all that feeds it."""

    DEFAULT_CSS = "VList { height: 1fr; width: 1fr; }"

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, sender: VList) -> None:
            super().__init__()
            self.list = sender

    class NearEnd(Message):
        """The cursor comes near the end of what is loaded."""

        def __init__(self, sender: VList) -> None:
            super().__init__()
            self.list = sender

    def __init__(
        self,
        columns: Sequence[Column],
        key: Callable[[Any], Hashable],
        *,
        glyphs: Glyphs = Glyphs.BLOCK,
        empty: str = "nothing here",
        header: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.key = key
        self.glyphs = glyphs
        self.empty = empty
        self.header = header
        self.rows: Sequence[Any] = ()
        self.marks: set[Hashable] = set()
        self._acted_on: set[Hashable] = set()
        """What was marked when something was last done to the marked rows."""
        self._bereft = False
        """All marked rows went by themselves: the next act was meant for them."""
        self.more = False
        self.all_columns = False
        """Those that there is no room for go first, and others go for them."""
        self.left_out: Sequence[Column] = ()
        """Those that there is no room for."""
        self.cursor = 0
        self.top = 0
        self._shown: list[Line] = []
        self._widths: tuple[tuple[Column, int], ...] = ()

    # -- rows --------------------------------------------------------------------------------------------------------

    @property
    def current(self) -> Any | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def chosen(self) -> list[Any]:
        """The marked rows, or the one under the cursor."""
        if self.marks:
            return [row for row in self.rows if self.key(row) in self.marks]
        return [] if self.current is None else [self.current]

    def set_rows(self, rows: Sequence[Any], *, more: bool = False) -> None:
        """Show these; the row under the cursor stays where it is on the screen, if it is still there."""
        old = self.current
        held = None if old is None else self.key(old)
        self.rows, self.more = rows, more
        if held is not None:
            self._hold(held)
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        if self.marks:
            left = self.marks & {self.key(row) for row in rows}
            self._bereft = not left and not self.marks <= self._acted_on
            self.marks = left
        self._scroll()
        self.redraw()
        now = self.current
        if (None if now is None else self.key(now)) != held:
            self.post_message(self.Moved(self))

    def _hold(self, held: Hashable) -> None:
        if self.cursor < len(self.rows) and self.key(self.rows[self.cursor]) == held:
            return
        for number, row in enumerate(self.rows):
            if self.key(row) == held:
                self.top = max(0, self.top + number - self.cursor)
                self.cursor = number
                return

    def find(self, key: Hashable) -> bool:
        """Put the cursor on the row of this key."""
        for number, row in enumerate(self.rows):
            if self.key(row) == key:
                self.move_to(number)
                return True
        return False

    # -- moving ------------------------------------------------------------------------------------------------------

    @property
    def page(self) -> int:
        """How many rows are seen at once."""
        return max(1, self.size.height - (1 if self.header else 0))

    def move_to(self, number: int) -> None:
        """Put the cursor on a row by its number."""
        before = self.cursor
        self.cursor = max(0, min(number, len(self.rows) - 1))
        self._scroll()
        self.redraw()
        if self.cursor != before:
            self.post_message(self.Moved(self))
        if self.more and self.cursor >= len(self.rows) - self.page:
            self.post_message(self.NearEnd(self))

    def nav(self, key: str) -> bool:
        """Move, if the key is one that moves."""
        steps = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": self.page, "pageup": -self.page}
        if key in steps:
            self.move_to(self.cursor + steps[key])
        elif key in ("g", "home"):
            self.move_to(0)
        elif key in ("G", "end"):
            self.move_to(len(self.rows) - 1)
        else:
            return False
        return True

    def mark(self) -> None:
        """Mark or unmark the row under the cursor, and go on to the next."""
        if (row := self.current) is not None:
            self.marks ^= {self.key(row)}
            self._bereft = False
            self.move_to(self.cursor + 1)
            self.redraw()

    def mark_all(self) -> None:
        """Mark all that is loaded, or nothing."""
        keys = {self.key(row) for row in self.rows}
        self.marks = set() if self.marks >= keys else keys
        self._bereft = False
        self.redraw()

    def unmarked(self) -> str:
        """Something is to be done to the marked rows: "", or that they are gone, which is said once."""
        self._acted_on = set(self.marks)
        gone, self._bereft = self._bereft, False
        return "the marked rows are gone; again does it to the one under the cursor" if gone else ""

    def _scroll(self) -> None:
        self.top = max(0, min(self.top, len(self.rows) - self.page))
        if self.cursor < self.top:
            self.top = self.cursor
        elif self.cursor >= self.top + self.page:
            self.top = self.cursor - self.page + 1

    def on_click(self, event: Click) -> None:
        self.move_to(self.top + event.y - (1 if self.header else 0))

    def on_mouse_scroll_down(self) -> None:
        self.move_to(self.cursor + 3)

    def on_mouse_scroll_up(self) -> None:
        self.move_to(self.cursor - 3)

    # -- drawing -----------------------------------------------------------------------------------------------------

    def redraw(self, *, all_of_it: bool = False) -> None:
        """Draw the lines that are not what they were."""
        if not self.size:
            return
        self._fit_columns()
        now = [self._made(y) for y in range(self.size.height)]
        if all_of_it or len(now) != len(self._shown):
            self._shown = now
            self.refresh()
            return
        before, self._shown = self._shown, now
        spans = (difference(new, old) for new, old in zip(now, before, strict=True))
        if changed := [Region(x, y, width, 1) for y, (x, width) in enumerate(spans) if width]:
            self.refresh(*(region.intersection(self.size.region) for region in changed))

    def on_resize(self) -> None:
        self._scroll()
        self.redraw(all_of_it=True)

    def render_line(self, y: int) -> Strip:
        if y >= len(self._shown):
            return strip((), self.size.width, self.glyphs)  # Strip.blank has no style, and NO_COLOR fails on that
        made = self._shown[y]
        under = made[:1] == ((">", "here"),)
        return strip(made, self.size.width, self.glyphs, under=under, fill="head" if y == 0 and self.header else "")

    def _made(self, y: int) -> Line:
        if self.header:
            if y == 0:
                return line(" ", *self._cells(None, title=True))
            y -= 1
        number = self.top + y
        if number >= len(self.rows):
            return self._nothing(y) if not self.rows else ()
        row = self.rows[number]
        mark = "*" if self.key(row) in self.marks else " "
        if number == self.cursor:
            return ((">", "here"), *self._cells(row, mark))
        return ((mark, "key" if mark == "*" else ""), *self._cells(row))

    def _nothing(self, y: int) -> Line:
        """Why there is no row."""
        told = folded(self.empty, self.size.width - 4)
        return line((f"  {told[y]}", "dim")) if y < len(told) else ()

    def _cells(self, row: Any, mark: str = "", *, title: bool = False) -> list[Piece]:
        out: list[Piece] = []
        for number, (column, width) in enumerate(self._widths):
            if title:
                text, style = column.title, "head"
            else:
                cell = column.cell(row)
                text, style = cell if isinstance(cell, tuple) else (cell, "")
            if number:
                out.append(("  ", ""))
            elif mark == "*":
                text, width = "*" + text, width
            out.append((fit(text, width, right=column.right), style))
        return out

    def _fit_columns(self) -> None:
        """Leave out columns by priority until the rest fits, then share what is left among those that grow."""
        room = self.size.width - 1
        every = self._need(self.columns) <= room
        shown = self._fitting([column for column in self.columns if every or not column.wide], room)
        self.left_out = [column for column in self.columns if column not in shown]
        if self.all_columns and self.left_out:
            first, *others = self.columns
            shown = self._fitting([first, *map(_narrow, others)], room, (first, *map(_narrow, self.left_out)))
        left = max(0, room - self._need(shown))
        shares = sum(column.grow for column in shown)
        widths = []
        for column in shown:
            extra = left * column.grow // shares if shares else 0
            widths.append((column, min(column.width + extra, room) if column.grow else column.width))
        self._widths = tuple(widths)

    @classmethod
    def _fitting(cls, columns: Sequence[Column], room: int, wanted: Sequence[Column] = ()) -> list[Column]:
        shown = list(columns)
        while len(shown) > 1 and cls._need(shown) > room:
            shown.remove(min(reversed(shown), key=lambda column: (column in wanted, column.keep)))
        return shown

    @staticmethod
    def _need(columns: Sequence[Column]) -> int:
        return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _narrow(column: Column) -> Column:
    """A column that grows, as narrow as it can be read."""
    return replace(column, width=min(column.width, NARROW)) if column.grow else column

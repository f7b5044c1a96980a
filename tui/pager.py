"""Lines to read, scrolled as a whole: a page of one thing, a mail, a log. Draws again only what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.glyphs import Glyphs
from tui.lines import STYLES, Line, strip, text_of

Make = Callable[[int], Sequence[Line]]
"""Lines for a width in cells, which is never less than NARROWEST."""
NARROWEST = 24


class Pager(Widget, can_focus=True):
    """The page. ``set`` takes a function that makes its lines for a width, so that it folds again when resized."""

    DEFAULT_CSS = "Pager { height: 1fr; width: 1fr; }"

    def __init__(self, *, glyphs: Glyphs = Glyphs.BLOCK, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.top = 0
        self.follow = False
        """Stay at the end when lines are added."""
        self.needle = ""
        """What was searched for last; its hits are shown."""
        self._hit = -1
        """The line that the last search went to; the last page holds several that cannot be scrolled to its top."""
        self._make: Make = lambda width: ()
        self._lines: Sequence[Line] = ()
        self._shown: list[Line] = []

    def set(self, make: Make, *, keep: bool = True) -> None:
        """Show these lines; ``keep`` the place."""
        self._make = make
        if not keep:
            self.top = 0
        self._lines = make(max(self.size.width, NARROWEST)) if self.size.width else ()
        self._place()
        self.redraw()

    @property
    def text(self) -> str:
        """All lines without their styles."""
        return "\n".join(text_of(each).rstrip() for each in self._lines)

    def nav(self, key: str) -> bool:
        """Scroll, if the key is one that scrolls."""
        page = max(1, self.size.height - 1)
        steps = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": page, "pageup": -page, "space": page}
        if key in steps:
            self.top += steps[key]
        elif key in ("g", "home"):
            self.top = 0
        elif key in ("G", "end"):
            self.top = len(self._lines)
        else:
            return False
        self.follow = key in ("G", "end")
        self._place(moved=True)
        self.redraw()
        return True

    def on_mouse_scroll_down(self) -> None:
        self.nav("down")

    def on_mouse_scroll_up(self) -> None:
        self.nav("up")

    def search(self, needle: str, step: int = 1) -> bool:
        """Scroll to the next line that holds the words; whether there is one."""
        seen = self.top <= self._hit < self.top + self.size.height
        start = self._hit + step if needle == self.needle and seen else self.top - (step < 0)
        self.needle = needle
        folded = needle.casefold()
        hits = [n for n, each in enumerate(self._lines) if folded and folded in text_of(each).casefold()]
        if not hits:
            self.redraw(all_of_it=True)
            return False
        beyond = [n for n in hits if (n >= start if step > 0 else n <= start)] or hits
        self.top = self._hit = beyond[0] if step > 0 else beyond[-1]
        self._place(moved=True)
        self.redraw(all_of_it=True)
        return True

    def _place(self, *, moved: bool = False) -> None:
        most = max(0, len(self._lines) - self.size.height)
        self.top = most if self.follow and not moved else max(0, min(self.top, most))

    def redraw(self, *, all_of_it: bool = False) -> None:
        """Draw the lines that are not what they were."""
        if not self.size:
            return
        now = [self._lines[n] if n < len(self._lines) else () for n in range(self.top, self.top + self.size.height)]
        if all_of_it or len(now) != len(self._shown):
            self._shown = now
            self.refresh()
            return
        before, self._shown = self._shown, now
        pairs = enumerate(zip(now, before, strict=True))
        if changed := [Region(0, y, self.size.width, 1) for y, (new, old) in pairs if new != old]:
            self.refresh(*changed)

    def on_resize(self) -> None:
        self._lines = self._make(max(self.size.width, NARROWEST))
        self._place()
        self.redraw(all_of_it=True)

    def render_line(self, y: int) -> Strip:
        if y >= len(self._shown):
            return strip((), self.size.width, self.glyphs)  # Strip.blank has no style, and NO_COLOR fails on that
        made = strip(self._shown[y], self.size.width, self.glyphs)
        if self.needle and self.needle.casefold() in text_of(self._shown[y]).casefold():
            return made.apply_style(STYLES["here"])
        return made

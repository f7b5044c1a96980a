"""What every screen is: a title line, a list or a page, and a pane with the details of what is under the cursor.

A view draws from what is known (``show``) and asks for more when that is stale (``load``). Neither happens while a
question is open or the screen is paused, so that nothing moves under the cursor. The details stand below the list, or
beside it where the terminal is wide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.strip import Strip
from textual.widget import Widget

from gateway.client import CallFailed, Unreachable
from gateway.control import Call, Code
from tui.acts import Act
from tui.lines import Line, folded, line, strip
from tui.link import words
from tui.pager import Pager
from tui.vlist import Column, VList

if TYPE_CHECKING:
    from tui.app import TerminalUI

DETAIL_PAUSE = 0.15
"""Seconds that the cursor rests before the details of a row are asked for."""


class Title(Widget):
    """One line."""

    DEFAULT_CSS = "Title { height: 1; }"

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__()
        self._ui = ui
        self._line: Line = ()

    def set(self, made: Line) -> None:
        """Show this."""
        if made != self._line:
            self._line = made
            self.refresh()

    def render_line(self, y: int) -> Strip:
        return strip(self._line, self.size.width, self._ui.glyphs)


class View(Container):
    """A screen. A subclass says its columns or lines, its acts, and what makes it stale."""

    NAME: ClassVar[str] = ""
    """What ``:`` and the tests call it."""
    TITLE: ClassVar[str] = ""
    ACTS: ClassVar[tuple[Act, ...]] = ()
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    """Empty for a page of lines."""
    EMPTY: ClassVar[str] = "nothing here"
    WATCHES: ClassVar[tuple[str, ...]] = ()
    """Which changes of the picture make it stale: touchpoint_changes, mail_changes, feed_changes, all_changes."""
    EVERY: ClassVar[float] = 0.0
    """Seconds after which it is stale anyway; 0 is never."""
    PAUSE: ClassVar[float] = 2.0
    """Seconds between two loads at least."""
    PREVIEW: ClassVar[int] = 0
    """Lines of details below the list at 80 columns; beside it there are always as many as there is room."""
    SORTS: ClassVar[tuple[str, ...]] = ()
    """Names of the orders that ``s`` goes through."""

    DEFAULT_CSS = """
    View { layout: vertical; height: 1fr; }
    View > .body { layout: vertical; height: 1fr; }
    View > .body > Pager.detail { border-top: none; }
    View.wide > .body { layout: horizontal; }
    View.wide > .body > VList { width: 3fr; }
    View.wide > .body > Pager.detail { width: 2fr; height: 1fr; padding-left: 1; }
    """

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__()
        self.ui = ui
        self.title = Title(ui)
        self.list: VList | None = None
        if self.COLUMNS:
            self.list = VList(self.COLUMNS, self.key_of, glyphs=ui.glyphs, empty="asking the daemon ...")
        self.pager = Pager(glyphs=ui.glyphs)
        """The page itself, or the details beside a list."""
        self.needle = ""
        """The filter of a list, or what was searched for on a page."""
        self.sort = 0
        self.trouble = ""
        """Why the last load failed."""
        self.full = False
        """The details take the whole screen."""
        self._seen: tuple[int, ...] = ()
        self._loaded_at = float("-inf")
        self._load_task: asyncio.Task[None] | None = None
        self._again = False
        """Somebody asked for a load while one was going on, which may have asked too early to know of it."""
        self._wanted = False
        """The person asked for what is loaded now: it is drawn even while the screen is paused."""
        self._detail: asyncio.Task[None] | None = None
        self._detailed: Any = None
        """The row that the details are of, as it was then."""
        self._old_details = False
        """The details were asked for over a connection that is gone."""

    # -- for subclasses ----------------------------------------------------------------------------------------------

    def key_of(self, row: Any) -> Hashable:
        """What names a row."""
        key: Hashable = row.id
        return key

    def name_of(self, row: Any) -> str:
        """What a row is called in the title of its menu."""
        names = (getattr(row, name, "") for name in ("address", "subject", "name", "pattern", "words"))
        return str(next(filter(None, names), "") or self.key_of(row))

    async def load(self) -> None:
        """Ask the daemon for what this screen shows; may raise CallFailed and Unreachable."""

    def check_role(self, call: type[Call[Any]], what: str) -> None:
        """Raise CallFailed where the daemon would refuse calls of this type, instead of asking it again and again."""
        if not self.ui.may(call):
            mine = ", ".join(self.ui.picture.me.roles) if self.ui.picture.me else ""
            raise CallFailed(Code.NOT_PERMITTED, f"not shown to your role ({mine or 'none'}): {what}")

    def show(self) -> None:
        """Draw from what is known: set the rows or lines, and the title."""

    def details(self, row: Any, width: int) -> Sequence[Line]:
        """The details of a row, from what is known."""
        return ()

    async def load_details(self, row: Any) -> None:
        """Ask for more about a row; ``details`` is drawn again afterwards."""

    def title_line(self) -> Line:
        """What the title says."""
        return line((f" {self.TITLE.upper()}", "title"))

    def command(self) -> str:
        """The command that shows what is under the cursor."""
        return ""

    def value(self) -> str:
        """What ``y`` copies."""
        return ""

    def open(self, row: Any) -> None:
        """Enter on a row."""

    async def more(self) -> None:
        """Load the next window of a list."""

    def widen(self) -> bool:
        """Esc: take back what narrows the list beside the filter; whether there was anything."""
        return False

    # -- life --------------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield self.title
        with Container(classes="body"):
            if self.list is not None:
                yield self.list
                self.pager.add_class("detail")
            yield self.pager

    def on_mount(self) -> None:
        self.lay_out()
        self.draw()

    def lay_out(self) -> None:
        """Put the details below or beside."""
        wide = self.ui.wide and bool(self.list)
        self.set_class(wide, "wide")
        if self.list is not None:
            shown = wide or self.PREVIEW > 0 or self.full
            self.pager.display = shown
            self.list.display = not self.full
            if not wide:
                least = max(min(self.PREVIEW, (self.ui.size.height - 4) // 2), 1)
                self.pager.styles.height = "1fr" if self.full else least

    @property
    def new(self) -> bool:
        """Whether it was never loaded yet."""
        return self._loaded_at == float("-inf")

    @property
    def busy(self) -> bool:
        """Whether something is being loaded."""
        return self._load_task is not None and not self._load_task.done()

    def tick(self, now: float) -> None:
        """Twice a second while it is on the screen: load what is stale, draw what is known."""
        picture = self.ui.picture
        seen = tuple(getattr(picture, name) for name in self.WATCHES)
        stale = seen != self._seen or (self.EVERY and now - self._loaded_at >= self.EVERY)
        if picture.connected and not self.busy and (self.new or (stale and now - self._loaded_at >= self.PAUSE)):
            self._seen = seen
            self.reload(asked=self.new)
        self.draw()
        self._wanted = self._wanted and self.busy

    def catch_up(self) -> None:
        """The same while the screen is paused: draw only what the person asked for, once it is here."""
        if self._wanted and not self.busy:
            self._wanted = False
            self.draw()

    def reload(self, *, anew: bool = False, asked: bool = True) -> None:
        """Load now, or once more after the load that is going on; ``anew`` gives that one up instead.

        ``asked`` is false for what the person did not ask for: it waits for the end of a pause to be drawn.
        """
        self._wanted = self._wanted or asked
        if anew and self._load_task is not None:
            self._load_task.cancel()
            self._load_task, self._again = None, False
        if self.busy:
            self._again = True
        else:
            self._loaded_at = self.ui.now()
            self._load_task = asyncio.create_task(self._load())

    def load_more(self, *, asked: bool = True) -> None:
        """Load the next window, unless something is being loaded."""
        if not self.busy:
            self._wanted = self._wanted or asked
            self._load_task = asyncio.create_task(self._load(more=True))

    async def _load(self, *, more: bool = False) -> None:
        try:
            await (self.more() if more else self.load())
            self.trouble = self.trouble if more else ""
        except (CallFailed, Unreachable) as error:
            self.trouble = words(error)
        except Exception as error:  # nobody waits for this task: what went wrong would look like an empty list
            self.trouble = f"this screen failed by a fault of ours ({type(error).__name__}: {error})"
        self._load_task = None if self._again else self._load_task
        if self._again:
            self._again = False
            self.reload(asked=False)
        elif self.is_attached and not self.ui.frozen:
            self.draw()

    def loaded(self) -> bool:
        """Whether the last load is over."""
        return self._load_task is not None and self._load_task.done()

    def draw(self) -> None:
        """Draw from what is known."""
        if not self.is_attached:
            return
        if self.list is not None:
            waiting = self.ui.picture.trouble or "asking the daemon ..."
            self.list.empty = self.trouble or (self.EMPTY if self.loaded() else waiting)
        self.show()
        self._freshen_details()
        made = self.title_line()
        if self.trouble:
            head = (made[0][0].rstrip(), made[0][1])
            rest = [] if len(made) < 2 else [("  |", "dim"), (" " * (not made[1][0].startswith(" ")), ""), *made[1:]]
            made = line(head, (": ", "title"), (self.trouble, "bad"), *rest)  # it is the rest that may be cut
        self.title.set(made)

    def joined(self) -> None:
        """There is a connection again: all that was asked for before it is old."""
        self._old_details = True
        self.reload(asked=self.new)

    def forget(self) -> None:
        """It goes from the screen for good."""
        for task in (self._load_task, self._detail):
            if task is not None:
                task.cancel()

    # -- keys --------------------------------------------------------------------------------------------------------

    def nav(self, key: str) -> bool:
        """Move, if the key is one that moves."""
        if self.list is None or self.full:
            return self.pager.nav(key)
        return self.list.nav(key)

    def chosen(self) -> list[Any]:
        """The rows that an act is about."""
        return [] if self.list is None else self.list.chosen()

    def unmarked(self) -> str:
        """Why an act must not take the row under the cursor for the marked ones: these went meanwhile. Says so once."""
        return "" if self.list is None else self.list.unmarked()

    @property
    def current(self) -> Any | None:
        """The row under the cursor."""
        return None if self.list is None else self.list.current

    def filter(self, text: str) -> None:
        """Show only what holds this; on a page, go to the next place that does."""
        self.needle = text
        if self.list is None:
            if text and not self.pager.search(text):
                self.ui.say(f"nothing here holds {text!r}", "warn")
        else:
            self.filtered()

    def filtered(self) -> None:
        """The filter of the list is another one; where the daemon filters, ask it again."""
        self.draw()

    def on_vlist_moved(self, event: VList.Moved) -> None:
        event.stop()
        if self.current is None or self.current != self._detailed:
            self.draw_details()

    def on_vlist_near_end(self, event: VList.NearEnd) -> None:
        event.stop()
        self.load_more()

    def draw_details(self, *, keep: bool = False) -> None:
        """Show the details of the row under the cursor, and ask for more once the cursor rests."""
        if self.list is None or not self.pager.display:
            return
        row = self._detailed = self.current
        self._old_details = False
        self.pager.set(lambda width: self.details(row, width) if row is not None else (), keep=keep)
        if keep and self._detail is not None and not self._detail.done():
            return  # it looks at the row again when it is done
        if self._detail is not None:
            self._detail.cancel()
        if row is not None and self.ui.picture.connected:
            self._detail = asyncio.create_task(self._load_details(DETAIL_PAUSE))

    def _freshen_details(self) -> None:
        """The same row may say something else by now, and the pane may not have been there before."""
        now, then = self.current, self._detailed
        if self.list is None or not self.pager.display:
            self._detailed = None
        elif now != then or (self._old_details and self.ui.picture.connected):
            same = now is not None and then is not None and self.key_of(now) == self.key_of(then)
            self.draw_details(keep=same)

    async def _load_details(self, pause: float) -> None:
        await asyncio.sleep(pause)
        while (row := self.current) is not None:
            try:
                await self.load_details(row)
            except (CallFailed, Unreachable) as error:
                self._said_instead(words(error))
                return
            except Exception as error:  # as above
                self._said_instead(f"these details failed by a fault of ours ({type(error).__name__}: {error})")
                return
            now = self.current
            if not self.is_attached or now is None or self.key_of(now) != self.key_of(row):
                return
            self.pager.set(lambda width, now=now: self.details(now, width))  # type: ignore[misc]
            if now == row:
                return
            await asyncio.sleep(self.PAUSE)

    def _said_instead(self, problem: str) -> None:
        """Why there are no details."""
        self.pager.set(lambda width: [line((each, "bad")) for each in folded(problem, width)])

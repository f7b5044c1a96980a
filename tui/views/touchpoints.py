"""Screen 2: all touchpoints, those in trouble first."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import Any, ClassVar

from gateway.control import ListTouchpoints, ShowTouchpoint, TouchpointDetail, TouchpointRow
from tui.acts import Act
from tui.keys import shown
from tui.lines import Line, line
from tui.view import View
from tui.views.outbox import short
from tui.views.touchpoint_acts import CONNECT, DETAILS, NEW, PAGE
from tui.views.touchpoint_words import direction_of, kept_of, page, preview, searched, state_of as state_of
from tui.vlist import Column

WINDOW = 300
_ORDER = ("lost", "backoff", "new", "connecting", "connected")


class Touchpoints(View):
    """The list of touchpoints."""

    NAME = "touchpoints"
    TITLE = "Touchpoints"
    WATCHES = ("mail_changes",)
    EVERY = 30.0
    PAUSE = 5.0
    PREVIEW = 4
    SORTS = ("problems first", "address", "newest first", "most held")
    EMPTY = "there is no touchpoint yet; n makes one"
    COLUMNS = (
        Column(title="address", cell=lambda row: row.address, width=25, grow=3),
        Column(title="name", cell=lambda row: row.name, width=14, grow=1, keep=2),
        Column(title="dir", cell=direction_of, width=4, keep=5),
        Column(title="on", cell=lambda row: ("yes", "") if row.active else ("off", "dim"), width=3),
        Column(title="state", cell=state_of, width=19, grow=1),
        Column(title="queued", cell=lambda row: _count(row.queued, 6), width=6, right=True, keep=6),
        Column(title="held", cell=lambda row: _count(row.held, 5, "warn"), width=5, right=True, keep=7),
        Column(title="kept", cell=lambda row: _count(kept_of(row), 5), width=5, right=True, keep=7),
    )
    ACTS: ClassVar[tuple[Act, ...]] = (NEW, *CONNECT, DETAILS, *PAGE)

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        self._known: dict[int, TouchpointDetail] = {}
        """The page of the row whose details were asked for last."""
        self._sorted: tuple[Any, ...] = ()
        """What the list was last made of."""
        self._was_wide = False
        self._after = 0
        """Where the next window of counts begins."""

    async def load(self) -> None:
        """One window of rows anew, the next one the next time: states are told as they change, counts are not."""
        page = await self.ui.call(ListTouchpoints(after=self._after, limit=WINDOW))
        self.ui.picture.put_touchpoints(page.rows)
        self._after = page.next

    def title_line(self) -> Line:
        shown_now, all_of_it = len(self.list.rows) if self.list else 0, self.ui.picture.touchpoint_count
        return line(
            (" TOUCHPOINTS", "title"), f" {shown_now:,} of {all_of_it:,}   filter: {self.needle or '-'}",
            f"   sort: {self.SORTS[self.sort]}",
        )  # fmt: skip

    def show(self) -> None:
        assert self.list is not None
        picture = self.ui.picture
        if not picture.told_at:
            self.list.empty = picture.trouble or "asking the daemon ..."
        elif self.needle and picture.touchpoints:
            self.list.empty = f"no touchpoint holds {self.needle!r}; Esc shows all"
        made_of = (picture.touchpoint_changes, self.needle, self.sort)
        if made_of != self._sorted:
            self._sorted = made_of
            text = self.needle.casefold()
            rows = [row for row in picture.touchpoints.values() if not text or text in searched(row)]
            rows.sort(key=_KEYS[self.sort])
            self.list.set_rows(rows)
        else:
            self.list.redraw()
        wide = self.ui.wide or self.full
        if wide is not self._was_wide:
            self._was_wide, self._detailed = wide, None  # the pane needs more than the lines below the list
        elif (row := self.current) is not None and self.pager.display:
            self.pager.set(lambda width: self.details(row, width))  # ages go on

    def point_at(self, row: TouchpointRow) -> None:
        """Put the cursor on a row that was just made."""
        self.ui.picture.put_touchpoints((row,))
        self.needle = ""
        self.draw()
        assert self.list is not None
        self.list.find(row.id)

    def _key(self, id: str) -> str:
        return shown(self.ui.key(id))

    def details(self, row: Any, width: int) -> Sequence[Line]:
        now = self.ui.wall()
        if self.ui.wide or self.full:
            head = line((f' {row.address} "{row.name}"', "strong"))
            return [head, *page(row, self._known.get(row.id), self._key, now, width)]
        return preview(row, self._key, now, width)

    async def load_details(self, row: Any) -> None:
        if (self.ui.wide or self.full) and self.ui.may(ShowTouchpoint):
            self._known = {row.id: await self.ui.call(ShowTouchpoint(touchpoint=str(row.id)))}

    def command(self) -> str:
        return f"postroom touchpoint show {quote(self.current.address)}" if self.current else "postroom touchpoint list"

    def value(self) -> str:
        return self.current.address if self.current else ""

    def open(self, row: Any) -> None:
        from tui.views.touchpoint import TouchpointPage

        self.ui.work(self.ui.open(TouchpointPage(self.ui, row.id)))


def _count(number: int, cells: int, style: str = "") -> tuple[str, str]:
    return (short(number, cells), style) if number else ("-", "dim")


def _trouble(row: TouchpointRow) -> tuple[int, int, str]:
    order = _ORDER.index(row.state) if row.state in _ORDER else len(_ORDER)
    return (order if row.active or row.state == "lost" else len(_ORDER), -row.held, row.address)


_KEYS: tuple[Any, ...] = (
    _trouble,
    lambda row: row.address,
    lambda row: -row.id,
    lambda row: (-row.held, row.address),
)
VIEW = Touchpoints

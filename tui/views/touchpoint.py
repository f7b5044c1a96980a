"""A touchpoint's page: how it stands, its mail, its connection, its use; and the page of what was done to it."""

from __future__ import annotations

from dataclasses import replace
from shlex import quote
from typing import Any, ClassVar

from gateway.client import CallFailed
from gateway.control import ShowTouchpoint, TouchpointDetail, TouchpointRow
from tui.acts import Act
from tui.keys import shown
from tui.lines import Line, line, text_of
from tui.view import View
from tui.views.audit import Audit
from tui.views.touchpoint_acts import CONNECT, PAGE
from tui.views.touchpoint_words import page, state_of


class TouchpointPage(View):
    """One touchpoint, live."""

    NAME = "touchpoint"
    TITLE = "Touchpoint"
    WATCHES = ("touchpoint_changes", "mail_changes")
    EVERY = 10.0
    PAUSE = 3.0
    ACTS: ClassVar[tuple[Act, ...]] = (*CONNECT, *PAGE)

    def __init__(self, ui: Any, number: int) -> None:
        super().__init__(ui)
        self._number = number
        self._told: TouchpointRow | None = None
        """What the picture held last."""
        self._row: TouchpointRow | None = None
        """The newest row that is known, from the picture or the page."""
        self._page: TouchpointDetail | None = None
        self._gone = ""
        """What the daemon said once there was no such touchpoint."""

    @property
    def current(self) -> Any | None:
        """The row that acts are about."""
        told = self.ui.picture.touchpoints.get(self._number)
        if told is not self._told:
            self._told = self._row = told
        return None if self._gone else self._row

    def chosen(self) -> list[Any]:
        return [] if self.current is None else [self.current]

    async def load(self) -> None:
        if not self.ui.may(ShowTouchpoint):
            return
        try:
            self._page = await self.ui.call(ShowTouchpoint(touchpoint=str(self._number)))
        except CallFailed as error:
            if self.ui.picture.touchpoints.get(self._number) is not None:
                raise
            self._gone = str(error)
            return
        self._gone, self._row = "", self._page.row

    def show(self) -> None:
        row = self.current
        if row is None:
            said = self._gone or ("asking the daemon ..." if not self.loaded() else "this touchpoint is no more")
            self.pager.set(lambda width: [line((f"  {said}", "warn")), line(("  Esc goes back", "dim"))])
            return
        now = self.ui.wall()
        self.pager.set(lambda width: page(row, self._page, lambda id: shown(self.ui.key(id)), now, width))

    def title_line(self) -> Line:
        if (row := self.current) is None:
            return line((" TOUCHPOINT", "title"), f" {self._number}")
        return line((" TOUCHPOINT ", "title"), (row.address, "strong"), f' "{row.name}"   ', state_of(row))

    def command(self) -> str:
        return f"postroom touchpoint show {quote(self.current.address)}" if self.current else ""

    def value(self) -> str:
        """The server's words where something is wrong."""
        return (self.current.reason or self.current.address) if self.current else ""

    def open(self, row: Any) -> None:
        """Enter: what can be done to it."""
        self.ui.start(next(act for act in self.ui.acts() if act.id == "ui.menu"))


class HistoryPage(Audit):
    """What was done to a touchpoint, by whom, and how it stands now."""

    NAME = "history"
    TITLE = "History"
    EMPTY = "nobody has changed anything here yet"
    COLUMNS: ClassVar[Any] = (
        *(column for column in Audit.COLUMNS if column.title not in ("to", "change")),
        *(replace(column, wide=False, width=26, keep=9) for column in Audit.COLUMNS if column.title == "change"),
    )
    ACTS: ClassVar[tuple[Act, ...]] = ()

    def __init__(self, ui: Any, row: TouchpointRow) -> None:
        super().__init__(ui, row.address)
        self._number, self._first = row.id, row

    def title_line(self) -> Line:
        row = self.ui.picture.touchpoints.get(self._number, self._first)
        return line(
            (" HISTORY ", "title"), (row.address, "strong"), "   now ", state_of(row),
            f", {'on' if row.active else 'off'}   filter: {self.needle or '-'}",
        )  # fmt: skip

    def open(self, row: Any) -> None:
        """Enter: all of it."""
        from tui.dialogs import Show

        told = "\n".join(text_of(each).rstrip() for each in self.details(row, 10_000))
        self.ui.work(self.ui.ask(Show(self.ui, row.subject, told)))

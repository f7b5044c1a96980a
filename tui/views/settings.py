"""Screen 0: who I am to the daemon, how this terminal UI is set, and every setting in force with its file and line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from gateway.control import VERSION, ListSettings, SettingRow
from tui.acts import Act, Rows
from tui.frame import age
from tui.keys import home_of_taste, shown
from tui.lines import Line, Piece, cut, folded, line, text_of
from tui.pager import Pager
from tui.view import View
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI

HEAD = 6
"""Lines above the list."""
OURS = ("ansi-dark", "ansi-light")


def origin(row: SettingRow) -> str:
    """Where a setting comes from."""
    return f"{row.file}:{row.line}" if row.file else "built-in default"


def _theme(view: Settings, rows: Rows) -> None:
    ui = view.ui
    names = [*OURS, *sorted(name for name in ui.available_themes if name not in OURS)]
    ui.theme = names[(names.index(ui.theme) + 1) % len(names) if ui.theme in names else 0]
    ui.say(f"theme: {ui.theme} until you leave; your own file can keep it")
    view.draw()


class Settings(View):
    """What is in force, here and at the daemon."""

    NAME = "settings"
    TITLE = "Settings"
    PREVIEW = 2
    SORTS = ("as in the file", "set by this host first")
    EMPTY = "there is no such setting"
    COLUMNS = (
        Column(title="setting", cell=lambda row: row.key, width=24, grow=2),
        Column(title="value", cell=lambda row: (row.value, "strong" if row.file else ""), width=16, grow=2),
        Column(title="set in", cell=lambda row: (_short(row), "" if row.file else "dim"), width=16, grow=1),
    )
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="settings.theme", key="T", words="Theme", run=_theme, on_row=False, bar=50),
    )  # fmt: skip
    DEFAULT_CSS = "Settings > .head { height: 6; }"

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        self.head = Pager(glyphs=ui.glyphs)
        self.head.add_class("head")
        self._rows: tuple[SettingRow, ...] = ()
        self._own = home_of_taste()
        self._own_there = os.path.exists(self._own)

    def compose(self) -> ComposeResult:
        assert self.list is not None
        self.pager.add_class("detail")
        yield self.head
        yield self.title
        yield Container(self.list, self.pager, classes="body")

    def lay_out(self) -> None:
        super().lay_out()
        self.head.display = not self.full and self.ui.size.height > 18

    async def load(self) -> None:
        self.check_role(ListSettings, "the daemon's settings")
        self._rows = (await self.ui.call(ListSettings())).rows

    def key_of(self, row: SettingRow) -> str:
        return row.key

    # -- drawing -----------------------------------------------------------------------------------------------------

    def show(self) -> None:
        assert self.list is not None
        rows: Sequence[SettingRow] = self._rows
        if text := self.needle.casefold():
            rows = [row for row in rows if text in f"{row.key} = {row.value}  {origin(row)}".casefold()]
        if self.sort:
            rows = sorted(rows, key=lambda row: not row.file)
        self.list.set_rows(rows)
        self.head.set(lambda width: self._head(width))

    def title_line(self) -> Line:
        ours = sum(bool(row.file) for row in self._rows)
        known = len(self.list.rows) if self.list else 0
        return line(
            (" SETTINGS", "title"), f" {known} of {len(self._rows)}, {ours} set by this host   filter: "
            f"{self.needle or '-'}   sort: {self.SORTS[self.sort]}",
        )  # fmt: skip

    def _head(self, width: int) -> list[Line]:
        ui = self.ui
        mouse = "ours" if ui.mouse_on else "the terminal's"
        looks = f"theme {ui.theme} · glyphs {ui.glyphs} · mouse {mouse}"
        key = shown(ui.key("settings.theme"))
        own = [f"{id} = {shown(key) if key else 'none'}" for id, key in sorted(ui.options.taste.keys.items())]
        parts: list[tuple[str, tuple[Piece, ...]]] = [
            ("you", self._me()),
            ("daemon", self._daemon()),
            ("socket", ((self._age(), ""), (ui.where, "dim"))),
            ("screen", ((looks, ""), (f"   {key} next theme", "dim"))),
            ("own file", (("" if self._own_there else "there is none yet   ", ""), (str(self._own), "dim"))),
            ("own keys", ((cut(", ".join(own), width - 10), "") if own else ("none: all are as shipped", "dim"),)),
        ]
        return [line((f" {name:<9}", "key"), *made) for name, made in parts]

    def _me(self) -> tuple[Piece, ...]:
        ui, me = self.ui, self.ui.picture.me
        if me is None:
            return (("asking the daemon ...", "dim"),)
        why = "this is a recording" if ui.options.replay else "started with --read-only" if ui.options.read_only else ""
        if ui.read_only:
            state = (f"   RO: {why or 'your roles may only look'}", "warn")
        else:
            state = ("   RW: may change things", "good")
        return ((f"{me.name} (uid {me.uid}), roles: {', '.join(me.roles) or 'none'}", ""), state)

    def _daemon(self) -> tuple[Piece, ...]:
        picture = self.ui.picture
        me = picture.me
        if me is None:
            return (("asking the daemon ...", "dim"),)
        up = f", up {age(self.ui.wall() - picture.started_at)}" if picture.started_at else ""
        here = (f"   this program: {VERSION}", "dim" if me.version == VERSION else "warn")
        return ((f"postroom {me.version} on {me.hostname}{up}", ""), here)

    def _age(self) -> str:
        picture = self.ui.picture
        if picture.connected:
            return "connected   "
        told = f", told {age(self.ui.now() - picture.told_at)} ago" if picture.told_at else ""
        return f"no connection{told}   "

    def details(self, row: SettingRow, width: int) -> Sequence[Line]:
        text = [f"{row.key} = {row.value}", origin(row)]
        return [line(each) for part in text for each in folded(part, width - 1, "  ")]

    # -- acts --------------------------------------------------------------------------------------------------------

    def command(self) -> str:
        from shlex import quote

        row = self.current
        return f"postroom settings show --text {quote(row.key)}" if row else "postroom settings show"

    def value(self) -> str:
        return f"{self.current.key} = {self.current.value}" if self.current else text_of(line(*self._me()))

    def open(self, row: Any) -> None:
        self.full = True
        self.lay_out()
        self.draw_details()


def _short(row: SettingRow) -> str:
    return f"{row.file.rpartition('/')[2]}:{row.line}" if row.file else "built-in default"


VIEW = Settings

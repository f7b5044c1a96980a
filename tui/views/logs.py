"""Screen 8: the daemon's log as it is written, the newest line last; the audit of changes is a page of its own.

Filtering is the daemon's work. Of the log at most ``MOST`` lines are kept here; what is older is asked for when the
cursor comes near the first line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from gateway.control import MOST_ROWS, ListAudit, ListLog, LogRow, ShowMail, Why
from tui.acts import Act, Rows
from tui.frame import clock, moment
from tui.keys import shown
from tui.lines import Line, Piece, folded, line
from tui.view import View
from tui.vlist import Column, VList

if TYPE_CHECKING:
    from tui.app import TerminalUI

MOST = 5_000
"""Lines of the log that are kept here."""
WINDOW = 200
AROUND = 5
"""Lines before and after one, as its context."""
LEVELS = ("", "info", "warning", "error")
_STYLES = {"warning": "warn", "error": "bad", "critical": "bad", "debug": "dim"}
_MAIL = re.compile(r"\bmail[= ](\d{1,18})\b")
_TOUCHPOINT = re.compile(r"\btouchpoint[= ](\d{1,18})\b")


def _level(row: LogRow) -> Piece:
    style = _STYLES.get(row.level, "")
    return (row.level.upper() if style in ("warn", "bad") else row.level, style)


def _whence(row: LogRow) -> str:
    return row.logger.removeprefix("postroom.").removeprefix("gateway.")


def _day(at: float) -> str:
    """The day of the month and the time: what is remembered is younger than a month, nearly always."""
    return moment(at)[8:]


# -- One mail's whole walk -----------------------------------------------------------------------------------------


async def _walk(view: View, rows: Rows) -> None:
    """Ask for a mail by its number or Message-ID, and open what is known of it."""
    from tui.dialogs import Field, Form

    asked: list[str] = []

    async def keep(values: dict[str, str]) -> None:
        asked.append(values["mail"].strip())

    hint = "its number here, or its Message-ID"
    fields = [Field(name="mail", label="Mail", hint=hint, required=True)]
    if await view.ui.ask(Form(view.ui, "one mail's whole walk", fields, keep)) is not None:
        await open_walk(view.ui, asked[-1])


async def open_walk(ui: TerminalUI, named: str) -> None:
    """The page of a mail by its number, or what became of a Message-ID."""
    from tui.views.mail import MailPage, WhyPage

    if named.isascii() and named.isdigit():
        await ui.open(MailPage(ui, int(named[:18])))
    else:
        await ui.open(WhyPage(ui, Why(message_id=named)))


def walk_act(screen: str) -> Act:
    """The act that asks for a mail, for a screen of this name."""
    return Act(id=f"{screen}.walk", key="m", words="A mail's whole walk ...", run=_walk, on_row=False, bar=45,
               calls=(Why, ShowMail), command="postroom why ID")  # fmt: skip


# -- The log -------------------------------------------------------------------------------------------------------


def _next_level(view: Logs, rows: Rows) -> None:
    view.level = LEVELS[(LEVELS.index(view.level) + 1) % len(LEVELS)]
    view.ui.say(f"level: {view.level} and worse" if view.level else "level: all")
    view.filtered()


def _follow(view: Logs, rows: Rows) -> None:
    view.set_follow(not view.follow)
    key = shown(view.ui.key("log.follow"))
    view.ui.say("follows what is new" if view.follow else f"stands still; {key} follows again")


async def _context(view: Logs, rows: Rows) -> None:
    """The lines around one, whatever the filter leaves out."""
    from tui.dialogs import Show

    hit: LogRow = rows[0]
    found = await view.ui.call(ListLog(after=hit.id + AROUND + 1, limit=2 * AROUND + 1))
    around = [row for row in reversed(found.rows) if row.id >= hit.id - AROUND]
    if all(row.id != hit.id for row in around):
        view.ui.say("the daemon remembers this line no longer", "warn")
        return
    text = "\n".join(f"{'>' if row.id == hit.id else ' '} {clock(row.at)} {row.level} {row.text}" for row in around)
    await view.ui.ask(Show(view.ui, f"the lines around {moment(hit.at)}", text))


async def _audit(view: Logs, rows: Rows) -> None:
    from tui.views.audit import Audit

    await view.ui.open(Audit(view.ui))


def as_text(row: LogRow) -> str:
    """A line of the log as ``postroom log`` writes it."""
    return f"{moment(row.at)} {row.level:<8} {row.logger}: {row.text}"


class Logs(View):
    """The log, as far back as the daemon remembers."""

    NAME = "logs"
    TITLE = "Log"
    EVERY = 1.0
    PAUSE = 1.0
    PREVIEW = 4
    EMPTY = "the daemon remembers no such line"
    COLUMNS = (
        Column(title="time", cell=lambda row: _day(row.at), width=11),
        Column(title="level", cell=_level, width=8),
        Column(title="from", cell=_whence, width=10, keep=2),
        Column(title="line", cell=lambda row: row.text.partition("\n")[0], width=24, grow=1),
    )
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="log.level", key="l", words="Level", run=_next_level, on_row=False, bar=64, calls=(ListLog,),
            command="postroom log list --level LEVEL"),
        Act(id="log.follow", key="F", words="Follow", run=_follow, on_row=False, bar=63, calls=(ListLog,),
            command="postroom log list --follow"),
        Act(id="log.context", key="C", words="Context", run=_context, single=True, bar=62, calls=(ListLog,),
            command="postroom log list"),
        Act(id="log.audit", key="e", words="Audit", run=_audit, on_row=False, bar=65, calls=(ListAudit,),
            command="postroom audit list"),
        walk_act("log"),
    )  # fmt: skip

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        self.level = ""
        self.follow = True
        self._rows: list[LogRow] = []
        """The oldest first."""
        self._asked: tuple[str, str, float] | None = None
        """What the rows are the answer to: level, text, and which start of the daemon, since that numbers them."""
        self._older = False
        """The daemon remembers lines that are older than the first."""

    def name_of(self, row: LogRow) -> str:
        first = row.text.partition("\n")[0]
        return f"{clock(row.at)} {first}"

    # -- loading -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        self.check_role(ListLog, "the log")
        wanted = (self.level, self.needle, self.ui.picture.started_at)
        if self._asked != wanted:
            page = await self.ui.call(ListLog(level=self.level, text=self.needle, limit=WINDOW))
            self._rows, self._asked, self._older = list(reversed(page.rows)), wanted, page.next > 0
        elif self.follow:
            await self._newer()

    async def _newer(self) -> None:
        """What was written since the last line; if that is more than is kept here, the newest of it."""
        level, text = self.level, self.needle
        since = self._rows[-1].id if self._rows else 0
        found: list[LogRow] = []
        after = 0
        while len(found) < MOST:
            page = await self.ui.call(ListLog(level=level, text=text, since=since, after=after, limit=MOST_ROWS))
            found += page.rows
            if not (after := page.next):
                break
        if found:
            self._older = self._older or after > 0 or len(self._rows) + len(found) > MOST
            self._rows = [*self._rows, *reversed(found)][-MOST:]

    async def more(self) -> None:
        asked = ListLog(level=self.level, text=self.needle, after=self._rows[0].id, limit=WINDOW)
        page = await self.ui.call(asked)
        self._rows = [*reversed(page.rows), *self._rows]
        self._older = page.next > 0

    def filtered(self) -> None:
        self.reload(anew=True)
        self.draw()

    def widen(self) -> bool:
        if self.level:
            self.level = ""
            self.filtered()
            return True
        return False

    def on_vlist_moved(self, event: VList.Moved) -> None:
        self._moved()

    def nav(self, key: str) -> bool:
        moved = super().nav(key)
        if not self.full:
            self._moved()
            if key in ("G", "end"):
                self.set_follow(True)
        return moved

    def _moved(self) -> None:
        """A cursor that leaves the last line stays where it is; near the first one, older lines are asked for."""
        assert self.list is not None
        if self.list.cursor < len(self._rows) - 1:
            self.follow = False
        if self.list.cursor < self.list.page and self._rows and self._older and len(self._rows) < MOST:
            self.on_vlist_near_end(VList.NearEnd(self.list))
        self.title.set(self.title_line())

    def set_follow(self, follow: bool) -> None:
        """Stay at the newest line, or not."""
        self.follow = follow
        if follow:
            self.reload()
        self.draw()

    # -- drawing -----------------------------------------------------------------------------------------------------

    def show(self) -> None:
        assert self.list is not None
        self.list.set_rows(self._rows)
        if self.follow and self.list.cursor < len(self._rows) - 1:
            self.list.move_to(len(self._rows) - 1)

    def title_line(self) -> Line:
        parts: list[Piece] = [(" LOG", "title"), (f" {len(self._rows):,} lines", "")]
        if self._older:
            full = len(self._rows) >= MOST
            parts.append((f" ({MOST:,} are kept here: filter for older ones)" if full else " and older ones", "dim"))
        parts.append((f"   level: {self.level or 'all'}   filter: {self.needle or '-'}   ", ""))
        parts.append(("following", "good") if self.follow else ("standing still", "warn"))
        return tuple(parts)

    def details(self, row: LogRow, width: int) -> Sequence[Line]:
        head = line((f"{moment(row.at)}  ", "dim"), _level(row), (f"  {row.logger}", "dim"))
        return [head, *(line(each) for each in folded(row.text, width - 1))]

    # -- acts --------------------------------------------------------------------------------------------------------

    def command(self) -> str:
        from shlex import quote

        level = f" --level {self.level}" if self.level else ""
        text = f" --text {quote(self.needle)}" if self.needle else ""
        return f"postroom log list{level}{text}" + (" --follow" if self.follow else "")

    def value(self) -> str:
        return as_text(self.current) if self.current else ""

    def open(self, row: LogRow) -> None:
        """The mail or the touchpoint that the line names; else the whole line."""
        if found := _MAIL.search(row.text):
            return self.ui.work(open_walk(self.ui, found[1]))
        if (found := _TOUCHPOINT.search(row.text)) and int(found[1]) in self.ui.picture.touchpoints:
            return self.ui.work(open_touchpoint(self.ui, int(found[1])))
        self.full = True
        self.lay_out()
        return self.draw_details()


async def open_touchpoint(ui: TerminalUI, number: int) -> None:
    """The page of a touchpoint by its number."""
    from tui.views.touchpoint import TouchpointPage

    await ui.open(TouchpointPage(ui, number))


VIEW = Logs

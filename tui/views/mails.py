"""A list of mail of any length: what Queues, Outbox and Held are made of.

The daemon sorts and filters; the list asks for windows, the newest mail first, and for the next window when the cursor
comes near the end of what is loaded. While mail moves only the first window is asked for again: rows beyond it are
replaced in place as the daemon tells of them. After a gap in what was told, all that is loaded is read anew.

``/`` takes words of the subject, a sender (``name@domain`` or ``@domain``), and where causes are shown ``cause:NAME``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from gateway.client import CallFailed
from gateway.control import ListMail, MailDetail, MailRow, MailText, ReadText, ShowMail, sees_all
from tui.acts import Act, Rows
from tui.frame import age
from tui.lines import Piece
from tui.link import words
from tui.picture import MOST_MAIL
from tui.view import View
from tui.views.story import born, marks_of, state_of, subject_of, who
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI

WINDOW = 200
MOST_WINDOWS = 25
"""Windows that are read anew in one go, after a gap or a flood; what lies beyond is loaded again as one goes there."""
MOST_LOOKED = 5_000
"""Mails that are loaded by themselves, to sort or to filter here what the daemon does not."""
KEPT = 64
"""Details and texts that are remembered."""
OLDEST = 1
T = TypeVar("T")
Wall = Callable[[], float]


# -- Columns -------------------------------------------------------------------------------------------------------


def id_column() -> Column:
    """Its number."""
    return Column(title="mail", cell=lambda row: str(row.id), width=6, right=True, keep=6)


def age_column(wall: Wall) -> Column:
    """How long it is here."""
    return Column(title="age", cell=lambda row: age(wall() - born(row)), width=8, right=True, keep=8)


def who_column(title: str, width: int = 20) -> Column:
    """The other side."""
    return Column(title=title, cell=who, width=width, grow=2)


def subject_column(width: int = 16) -> Column:
    """What it is about."""
    return Column(title="subject", cell=subject_of, width=width, grow=3)


def marks_column() -> Column:
    """What is peculiar about it."""
    return Column(title="marks", cell=lambda row: (marks_of(row), "dim"), width=8, keep=2)


def state_column() -> Column:
    """Where it stands."""
    return Column(title="state", cell=state_of, width=8)


def touchpoint_column() -> Column:
    """Whose mail it is."""
    return Column(title="touchpoint", cell=lambda row: row.touchpoint, width=18, grow=1, keep=1, wide=True)


def next_try(row: MailRow, now: float) -> Piece:
    """When an outgoing mail is tried again."""
    if row.state == "parked":
        return "parked", "warn"
    if row.state != "waiting":
        return "-", "dim"
    return (age(row.due_at - now), "") if row.due_at > now else ("now", "")


# -- What is loaded ------------------------------------------------------------------------------------------------


class Loaded:
    """The opening of the daemon's answer to one question: windows without a gap between them, kept fresh."""

    def __init__(self, ui: TerminalUI) -> None:
        self._ui = ui
        self.asked: ListMail | None = None
        self.rows: list[MailRow] = []
        """The newest first."""
        self.next = 0
        """Where it goes on; 0 is its end."""
        self._gaps = 0
        self._changes = self._followed = 0
        self._told: dict[int, MailRow] = {}

    async def load(self, question: Callable[[], ListMail], fits: Callable[[MailRow], bool]) -> bool:
        """Read the first window, and what joins it to the rest; whether the question is another one than before."""
        while True:
            self.follow()
            asked, gaps = question(), self._ui.picture.gaps
            told = dict(self._ui.picture.changed_mail)
            old = self.rows if asked == self.asked else []
            until = _NEVER if not old else old[-1].id if gaps != self._gaps else old[0].id
            rows, low = await self._read(asked, until)
            if asked == question():  # else somebody typed on meanwhile
                break
        joined = bool(old) and low <= until
        beyond = [row for row in old if row.id < low and fits(row)] if joined else []
        self.next = self.next if joined and old[-1].id < low else low
        self.rows = [*rows, *beyond]
        another, self.asked = asked != self.asked, asked
        self._gaps, self._told = gaps, told
        self._changes = -1  # what was told since is looked at again
        return another

    async def _read(self, asked: ListMail, until: int) -> tuple[list[MailRow], int]:
        rows: list[MailRow] = []
        after = 0
        for _ in range(MOST_WINDOWS):
            page = await self._ui.call(replace(asked, after=after, limit=WINDOW))
            rows += page.rows
            after = page.next
            if after <= until:
                break
        return rows, after

    async def more(self) -> None:
        """Read the next window."""
        asked, after = self.asked, self.next
        if asked is None or not after:
            return
        page = await self._ui.call(replace(asked, after=after, limit=WINDOW))
        if asked == self.asked and after == self.next:
            self.rows, self.next = [*self.rows, *page.rows], page.next

    def follow(self) -> None:
        """Put in their place the rows that the daemon told of since."""
        picture = self._ui.picture
        if picture.mail_changes == self._changes:
            return
        if picture.mail_changes - self._followed > MOST_MAIL:
            self._gaps = -1  # this screen was away for so long that the picture may have forgotten some of them
        self._changes = self._followed = picture.mail_changes
        told = picture.changed_mail
        news = {number: row for number, row in told.items() if self._told.get(number) is not row}
        self._told = dict(told)
        if any(row.id in news for row in self.rows):
            self.rows = [news.get(row.id, row) for row in self.rows]


_NEVER = 1 << 62
"""Above every id: the first window is enough."""


# -- The list ------------------------------------------------------------------------------------------------------


class MailList(View):
    """Mail that the daemon lists; a subclass says which, and its columns."""

    WATCHES = ("mail_changes",)
    SORTS = ("newest first", "oldest first")
    STATES: ClassVar[tuple[str, ...]] = ("all",)
    """Which mail can be shown, as ``ListMail.state`` says it; one key goes through these."""
    CAUSES: ClassVar[bool] = False
    """Whether ``cause:NAME`` filters."""
    TEXTS: ClassVar[bool] = False
    """Whether the details show the text."""
    COLUMNS = (Column(title="", cell=lambda row: str(row.id), width=1),)  # the real ones need a clock

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        assert self.list is not None
        self.list.columns = self.columns(ui.wall)
        self.loads = Loaded(ui)
        self.which = 0
        """Of ``STATES``."""
        self._to_top = False
        self._reversed = False
        self._drawn: MailRow | None = None
        self._details: dict[int, MailDetail] = {}
        self._texts: dict[int, MailText | str] = {}

    # -- for subclasses ----------------------------------------------------------------------------------------------

    def columns(self, wall: Wall) -> tuple[Column, ...]:
        """The columns, with the clock that ages are told by."""
        return (id_column(), age_column(wall), state_column(), who_column("from/to"), subject_column())

    def question(self) -> ListMail:
        """Which mail, without the filter that a person typed."""
        return ListMail(state=self.state)

    def fits(self, row: MailRow) -> bool:
        """Whether a mail that changed still belongs here, as far as that can be told without the daemon."""
        return self.state in (row.state, "all")

    def keeps(self, row: MailRow) -> bool:
        """What is filtered here, since the daemon cannot; see ``filters_here``."""
        return True

    @property
    def filters_here(self) -> bool:
        """Whether ``keeps`` leaves anything out."""
        return False

    # -- what is asked -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Which mail is shown, as the daemon calls it."""
        return self.STATES[self.which]

    @property
    def mails(self) -> list[MailRow]:
        """What is loaded, the newest first."""
        return self.loads.rows

    def asked(self) -> ListMail:
        """Which mail, with the filter."""
        asked, subject = self.question(), []
        for word in self.needle.split():
            if self.CAUSES and word.startswith("cause:"):
                asked = replace(asked, cause=word.removeprefix("cause:"))
            elif "@" in word:
                asked = self.asked_of(asked, word)
            else:
                subject.append(word)
        return replace(asked, subject=" ".join(subject))

    def asked_of(self, asked: ListMail, address: str) -> ListMail:
        """The question with an address, or a @domain, in it."""
        return replace(asked, author=address)

    def filtered(self) -> None:
        self.reload()
        super().filtered()

    def next_state(self) -> None:
        """Show the next kind of mail."""
        self.which = (self.which + 1) % len(self.STATES)
        self.reload()
        self.draw()

    # -- loading -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        if await self.loads.load(self.asked, self.fits):
            self._to_top = True

    async def more(self) -> None:
        await self.loads.more()

    def tick(self, now: float) -> None:
        super().tick(now)
        if self._short() and self.loaded() and not self.trouble and self.ui.picture.connected:
            self.load_more(asked=False)

    def _short(self) -> bool:
        """Whether more has to be loaded by itself, for what the daemon cannot sort or filter."""
        assert self.list is not None
        if not self.loads.next or len(self.mails) >= MOST_LOOKED:
            return False
        return self.sort == OLDEST or (self.filters_here and len(self.list.rows) < 2 * self.list.page)

    # -- drawing -----------------------------------------------------------------------------------------------------

    def show(self) -> None:
        assert self.list is not None
        self.loads.follow()
        turned = self.sort == OLDEST and not self._short()
        if turned != self._reversed:
            self._reversed, self._to_top = turned, True
        rows = [row for row in self.mails if self.keeps(row)] if self.filters_here else self.mails
        if self.loaded() and not self.trouble:
            self.list.empty = self.empty_words()
        self.list.set_rows(rows[::-1] if turned else rows, more=bool(self.loads.next) and not turned)
        if self._to_top:
            self._to_top = False
            self.list.move_to(0)
        if self.current != self._drawn:
            self.draw_details(keep=True)

    def empty_words(self) -> str:
        """Why there is nothing."""
        if self._short():
            return f"looking: {len(self.mails):,} mails so far ..."
        if self.needle:
            more = " or cause:NAME" if self.CAUSES else ""
            return f"no such mail; / takes words of the subject, name@domain, @domain{more}"
        me = self.ui.picture.me
        if me is not None and not sees_all(self.ui.roles):
            return "nothing here; with your roles you see the mail of the queues only"
        return self.EMPTY

    def count_words(self) -> str:
        """How much of it is loaded."""
        more = " and more" if self.loads.next else ""
        return f"{len(self.mails):,}{more} loaded"

    # -- details -----------------------------------------------------------------------------------------------------

    def draw_details(self, *, keep: bool = False) -> None:
        self._drawn = self.current
        super().draw_details(keep=keep)

    def detail_of(self, row: MailRow) -> MailDetail | None:
        """What was last told of a mail, with its row as it is now."""
        kept = self._details.get(row.id)
        return None if kept is None else replace(kept, row=row)

    def text_of(self, row: MailRow) -> MailText | str | None:
        """Its text, or why there is none."""
        return self._texts.get(row.id)

    async def load_details(self, row: Any) -> None:
        asked = self.ui.call(ShowMail(id=row.id))
        if self.TEXTS and row.id not in self._texts:
            detail, text = await asyncio.gather(asked, read_text(self.ui, row.id))
            _remember(self._texts, row.id, text)
        else:
            detail = await asked
        _remember(self._details, row.id, detail)

    # -- what is under the cursor ------------------------------------------------------------------------------------

    def command(self) -> str:
        return f"postroom spool show {self.current.id}" if self.current is not None else self.list_command()

    def list_command(self) -> str:
        """The command that shows this list."""
        return f"postroom spool list --state {self.state}"

    def value(self) -> str:
        return (self.current.message_id or self.current.subject) if self.current is not None else ""

    def open(self, row: Any) -> None:
        from tui.views.mail import MailPage

        self.ui.work(self.ui.open(MailPage(self.ui, row.id)))


async def read_text(ui: TerminalUI, number: int) -> MailText | str:
    """A mail's text, or in words why there is none: a mail that could not be fetched is a mail all the same."""
    try:
        return await ui.call(ReadText(id=number))
    except CallFailed as error:
        return words(error)


def _remember(kept: dict[int, T], number: int, value: T) -> None:
    kept.pop(number, None)
    kept[number] = value
    while len(kept) > KEPT:
        del kept[next(iter(kept))]


def _next_state(view: MailList, rows: Rows) -> None:
    view.next_state()


def other_states(id: str, key: str, command: str, bar: int = 45) -> Act:
    """The act that goes through the states of a list."""
    return Act(id=id, key=key, words="Other states", run=_next_state, on_row=False, calls=(ListMail,), bar=bar,
               command=command)  # fmt: skip

"""Screen 4: how old the mail is that waits to go out, by destination or by touchpoint, and behind each the mail itself.

The grid is Postfix's qshape in six columns of age: where the numbers stand at the right, something does not move. A
list shows each mail with its next try, and the attempts with the server's own words.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.control import ListMail, MailRow, Shape, ShapeOutbox, ShapeRow, TouchpointRow
from tui.acts import Act, Rows
from tui.lines import Line, Piece, line
from tui.view import View
from tui.views import mail_acts
from tui.views.mails import (
    MailList,
    Wall,
    id_column,
    next_try,
    other_states,
    state_column,
    subject_column,
    touchpoint_column,
    who_column,
)
from tui.views.story import attempt_lines, because, counted, prose, recipient_lines, rule, standing
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI

BOUNDS = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
"""Minutes, until the daemon says its own."""
COLUMNS_OF_AGE = 6
BY = ("destination", "touchpoint")
WAITING = ("waiting", "parked", "active", "unknown", "held", "failed")
"""What ``unsettled`` means."""


def span(minutes: int) -> str:
    """A bound of age for people."""
    if minutes < 100:
        return f"{minutes}m"
    return f"{round(minutes / 60)}h" if minutes < 2880 else f"{round(minutes / 1440)}d"


def merged(bounds: Sequence[int], columns: int = COLUMNS_OF_AGE) -> list[tuple[str, range]]:
    """Columns of age: a title, and which ages of a row it sums up. The last one is open."""
    shown = max(1, columns - 1)
    each = -(-len(bounds) // shown)
    ends = list(range(len(bounds) - 1, -1, -each))[::-1] if bounds else []
    made = [
        (f"<{span(bounds[end])}", range(start, end + 1))
        for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)
    ]
    last = f">{span(bounds[-1])}" if bounds else "all"
    return [*made, (last, range(len(bounds), len(bounds) + 1))]


def short(number: int, cells: int = 4) -> str:
    """A number in so many cells."""
    if len(told := f"{number:,}") <= cells:
        return told
    for unit, scale in (("k", 1_000), ("M", 1_000_000)):
        if number < 1_000 * scale:
            return f"{number // scale}{unit}"
    return ">1G"


def _cell(ages: range, old: bool) -> Any:
    def cell(row: ShapeRow) -> Piece:
        number = sum(row.ages[at] for at in ages if at < len(row.ages))
        return (short(number), "warn" if old else "") if number else ("-", "dim")

    return cell


def grid(bounds: Sequence[int]) -> tuple[Column, ...]:
    """The columns of the grid."""
    ages = merged(bounds)
    return (
        Column(title="", cell=lambda row: row.name or "(nobody)", width=18, grow=1),
        Column(title="total", cell=lambda row: short(row.total, 6), width=6, right=True),
        Column(title="parked", cell=lambda row: (short(row.parked, 6), "warn") if row.parked else ("-", "dim"), width=6,
               right=True),
        *(Column(title=title, cell=_cell(at, number >= len(ages) - 2), width=4, right=True)
          for number, (title, at) in enumerate(ages)),
    )  # fmt: skip


async def _by(view: Outbox, rows: Rows) -> None:
    view.by = BY[1 - BY.index(view.by)]
    view.reload()
    view.draw()


async def _all(view: View, rows: Rows) -> None:
    await view.ui.open(OutboxPage(view.ui))


def _open(view: View, rows: Rows) -> None:
    view.open(rows[0])


class Outbox(View):
    """The grid."""

    NAME = "outbox"
    TITLE = "Outbox"
    WATCHES = ("mail_changes", "touchpoint_changes")
    EVERY = 30.0
    PAUSE = 4.0
    PREVIEW = 4
    EMPTY = "nothing waits to go out"
    COLUMNS = grid(BOUNDS)
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="outbox.open", key="enter", words="Its mail", run=_open, single=True, calls=(ListMail,),
            command="postroom spool list --out"),
        Act(id="outbox.by", key="s", words="By destination or touchpoint", run=_by, on_row=False, bar=58,
            calls=(ShapeOutbox,), command="postroom spool shape --by touchpoint"),
        Act(id="outbox.all", key="o", words="One list of all", run=_all, on_row=False, bar=57, calls=(ListMail,),
            command="postroom spool list --out"),
    )  # fmt: skip

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        self.by = BY[0]
        self._shape: tuple[str, Shape] | None = None
        """By what, and the answer."""
        self._drawn: object = None

    def key_of(self, row: Any) -> Hashable:
        return str(row.name)

    async def load(self) -> None:
        while True:
            by = self.by
            shape = await self.ui.call(ShapeOutbox(by=by))
            if by == self.by:
                break
        self._shape = by, shape

    def show(self) -> None:
        assert self.list is not None
        if self._shape is None:
            self.list.set_rows([])
            return
        by, shape = self._shape
        first, *rest = grid(shape.bounds)
        self.list.columns = (replace(first, title=by), *rest)
        text = self.needle.casefold()
        self.list.set_rows([row for row in shape.rows if text in row.name.casefold()])
        drawn = self.current, self._touchpoint(self.current.name if self.current is not None else "")
        if drawn != self._drawn:
            self._drawn = drawn
            self.draw_details(keep=True)

    def title_line(self) -> Line:
        account = self.ui.picture.account
        made: list[Piece] = [(" OUTBOX", "title"), (f"  by {self.by}  ", "")]
        for key, words in (("waiting_out", "waiting"), ("parked", "parked"), ("unknown", "unknown")):
            if key in account:
                style = "warn" if account[key] and key != "waiting_out" else ""
                made += [(f" {account[key]:,} {words}", style), (" ·", "dim")]
        made = made[:-1] if made[-1] == (" ·", "dim") else made
        if self._shape is not None and self._shape[1].more:
            made.append((f"   {self._shape[1].more:,} more not shown", "warn"))
        made.append((f"   filter: {self.needle or '-'}", ""))
        return tuple(made)

    def details(self, row: Any, width: int) -> Sequence[Line]:
        told = f"{counted(row.total, 'mail')} to go out"
        told += f", {row.parked:,} of them parked: their touchpoint does not send now." if row.parked else "."
        made = [rule(row.name, "Enter its mail", width), *prose(told, width)]
        if self._shape is not None and self._shape[0] == "touchpoint" and (tp := self._touchpoint(row.name)):
            stands = f"{tp.address} {standing(tp)}"
            sends = tp.active and tp.state == "connected"
            made += prose(f"{stands}{f': {tp.reason}' if tp.reason else '.'}", width, "" if sends else "warn")
        return made

    def _touchpoint(self, address: str) -> TouchpointRow | None:
        return next((each for each in self.ui.picture.touchpoints.values() if each.address == address), None)

    def command(self) -> str:
        return f"postroom spool shape --by {self.by}"

    def value(self) -> str:
        return self.current.name if self.current is not None else ""

    def open(self, row: Any) -> None:
        by = self._shape[0] if self._shape is not None else self.by
        if by == "destination" and not row.name:
            return self.ui.say("these go to nobody: o lists them among all")
        if by == "destination":
            page = OutboxPage(self.ui, destination=row.name)
        else:
            touchpoint = self._touchpoint(row.name)
            page = OutboxPage(self.ui, touchpoint=row.name, number=touchpoint.id if touchpoint else 0)
        return self.ui.work(self.ui.open(page))


class OutboxPage(MailList):
    """Outgoing mail that is not at its end: all of it, that of one touchpoint, or that to one destination."""

    NAME = "outgoing"
    TITLE = "Outgoing mail"
    PREVIEW = 8
    STATES = ("unsettled", "waiting", "parked", "failed", "held", "unknown", "active")
    EMPTY = "no such mail waits to go out"
    ACTS: ClassVar[tuple[Act, ...]] = (
        mail_acts.OPEN,
        mail_acts.RETRY,
        mail_acts.CONFIRM,
        mail_acts.HOLD,
        mail_acts.RELEASE,
        mail_acts.DROP,
        mail_acts.RAW,
        mail_acts.EXPORT,
        mail_acts.REPLAY,
        other_states("outgoing.state", "t", "postroom spool list --out --state parked"),
    )

    def __init__(self, ui: TerminalUI, *, touchpoint: str = "", number: int = 0, destination: str = "") -> None:
        self._of, self._number, self._to = touchpoint, number, destination.casefold()
        super().__init__(ui)

    def columns(self, wall: Wall) -> tuple[Column, ...]:
        return (
            id_column(), state_column(), who_column("to", 18), subject_column(),
            Column(title="tries", cell=lambda row: str(row.attempts), width=5, right=True, keep=7),
            Column(title="next try", cell=lambda row: next_try(row, wall()), width=8, right=True),
            touchpoint_column(),
        )  # fmt: skip

    def question(self) -> ListMail:
        touchpoint = str(self._number) if self._number else self._of
        return ListMail(direction="out", state=self.state, touchpoint=touchpoint)

    def asked_of(self, asked: ListMail, address: str) -> ListMail:
        return asked  # whom it goes to is filtered here

    def fits(self, row: MailRow) -> bool:
        return row.direction == "out" and row.state in (WAITING if self.state == "unsettled" else (self.state,))

    @property
    def _typed(self) -> list[str]:
        """Addresses and @domains, or parts of such, that its recipients are filtered by."""
        return [word.casefold() for word in self.needle.split() if "@" in word]

    @property
    def filters_here(self) -> bool:
        return bool(self._to or self._typed)

    def keeps(self, row: MailRow) -> bool:
        addresses = [address.casefold() for address in row.recipients]
        if self._to and not any(address.endswith(f"@{self._to}") for address in addresses):
            return False
        return all(any(typed in address for address in addresses) for typed in self._typed)

    def title_line(self) -> Line:
        assert self.list is not None
        whose = self._of or (f"to {self._to}" if self._to else "all")
        made: list[Piece] = [(f" OUTBOX {whose}", "title"), (f"  {self.state} · ", "")]
        if self.filters_here:
            made.append((f"{len(self.list.rows):,} of {self.count_words()}", ""))
        else:
            made.append((self.count_words(), ""))
        made.append((f"   filter: {self.needle or '-'}", ""))
        if self.sort:
            made.append((f"   {self.SORTS[self.sort]}", ""))
        return tuple(made)

    def empty_words(self) -> str:
        if self.needle and not self._short():
            return "no such mail; / takes words of the subject, and whom it goes to: name@domain or @domain"
        return super().empty_words()

    def details(self, row: Any, width: int) -> Sequence[Line]:
        made = [rule(f"mail {row.id} · {row.state} · from {row.touchpoint}", "Enter page", width)]
        detail, now = self.detail_of(row), self.ui.wall()
        if detail is None:
            return [*made, *prose(row.reason, width)]
        told, style = because(detail, now, self.ui.picture.touchpoints.get(row.touchpoint_id))
        made += prose(told, width, style)
        if row.recipient_count > 1:
            made += recipient_lines(detail.recipients[:5], width)
        if not detail.attempts and not row.attempts:
            made.append(line(("not tried yet", "dim")))
        return [*made, *attempt_lines(detail.attempts, now, width)]

    def list_command(self) -> str:
        from shlex import quote

        of = f" --touchpoint {quote(self._of)}" if self._of else ""
        return f"postroom spool list --out --state {self.state}{of}"


VIEW = Outbox

"""Screen 3: the ring groups with their queues, and behind each the mail that waits, with its text.

What a move, a block or a close does is said, counted, before or after it is made; each can be taken back.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.client import CallFailed
from gateway.control import (
    CreateRingGroup,
    DeleteRingGroup,
    ListMail,
    ListRingGroups,
    MailDetail,
    MailRow,
    MailText,
    RingGroupRow,
    sees_all,
)
from tui.acts import Act, Kind, Rows, Undo
from tui.dialogs import Field, Form
from tui.frame import age
from tui.lines import Line, Piece, fit, line
from tui.link import words
from tui.view import View
from tui.views import mail_acts
from tui.views.mails import (
    MailList,
    Wall,
    age_column,
    id_column,
    marks_column,
    other_states,
    subject_column,
    touchpoint_column,
    who_column,
)
from tui.views.story import because, counted, field_of, part_lines, prose, rule, text_lines, when, who
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI

WINDOW = 500
MOST_RELATED = 10
"""Other mails of a conversation that the daemon tells of."""
MOST = 20
"""Windows: 10,000 ring groups."""
NOBODY = "(no queue)"


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One line of the screen: a ring group's queue, or the mail that is in none."""

    id: int
    name: str
    """"" for mail that is in no queue."""
    open: int
    oldest_at: float
    touchpoints: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """What it is called."""
        return self.name or NOBODY


def queue_of(row: RingGroupRow) -> Queue:
    """A ring group as a line."""
    return Queue(id=row.id, name=row.name, open=row.open, oldest_at=row.oldest_at, touchpoints=row.touchpoints)


# -- Ring groups ---------------------------------------------------------------------------------------------------


async def _create(view: Queues, rows: Rows) -> None:
    ui = view.ui

    async def create(values: dict[str, str]) -> dict[str, str] | None:
        name = values["name"].strip()
        try:
            await ui.call(CreateRingGroup(name=name))
        except CallFailed as error:
            return {"name": words(error)}
        made.append(name)
        return None

    made: list[str] = []
    fields = [Field(name="name", label="Name", hint="as agents know it, such as Front office", required=True)]
    intro = "A ring group has a queue. Link touchpoints to it on their page; mail that comes from then on joins it."
    if await ui.ask(Form(ui, "new ring group", fields, create, intro=intro)) is not None and made:
        undo = Undo(
            words=f"ring group {made[-1]} made",
            back=[DeleteRingGroup(name=made[-1])],
            again=[CreateRingGroup(name=made[-1])],
        )
        ui.did(f"ring group {made[-1]} is there", undo)


def _not_deleted(row: Queue) -> str:
    if not row.name:
        return "this is the mail that is in no queue"
    if row.touchpoints:
        more = f" and {len(row.touchpoints) - 1} more" if len(row.touchpoints) > 1 else ""
        return f"{row.touchpoints[0]}{more} is linked to it; unlink that first"
    return f"{counted(row.open, 'mail')} in its queue; move them first" if row.open else ""


async def _delete(view: Queues, rows: Rows) -> None:
    row = rows[0]
    undo = Undo(
        words=f"{row.name} deleted", back=[CreateRingGroup(name=row.name)], again=[DeleteRingGroup(name=row.name)]
    )
    await view.ui.change(DeleteRingGroup(name=row.name), f"ring group {row.name} is deleted", undo)


def _open(view: View, rows: Rows) -> None:
    view.open(rows[0])


class Queues(View):
    """The ring groups, with what waits in their queues."""

    NAME = "queues"
    TITLE = "Queues"
    WATCHES = ("mail_changes", "touchpoint_changes")
    EVERY = 30.0
    PREVIEW = 3
    SORTS = ("oldest mail first", "most open", "name")
    EMPTY = "there is no ring group yet; n makes one"
    COLUMNS = (Column(title="", cell=lambda row: row.shown, width=1),)
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="queue.open", key="enter", words="Its mail", run=_open, single=True, calls=(ListMail,),
            command="postroom queue list --ring-group {name}",
            command_of=lambda row: f"postroom queue list {'--ring-group {name}' if row.name else '--unassigned'}"),
        Act(id="queue.create", key="n", words="New ring group ...", run=_create, on_row=False, bar=50,
            calls=(CreateRingGroup,), command="postroom ring-group create NAME"),
        Act(id="queue.delete", key="x", words="Delete ring group ...", run=_delete, kind=Kind.NAME, single=True,
            calls=(DeleteRingGroup,), command="postroom ring-group delete {name}", bar=45,
            why_not=_not_deleted, name=lambda rows: rows[0].name,
            question=lambda view, rows: f"Deletes the ring group {rows[0].name}; nothing is linked to it."),
    )  # fmt: skip

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        assert self.list is not None
        self.list.columns = (
            Column(title="ring group", cell=self._shown, width=20, grow=2),
            Column(title="open", cell=lambda row: f"{row.open:,}", width=7, right=True),
            Column(title="oldest", cell=self._oldest, width=9, right=True),
            Column(title="touchpoints", cell=_touchpoints, width=24, grow=3, keep=3),
        )
        self._queues: list[Queue] = []
        self._known = False
        self._drawn: Queue | None = None

    @staticmethod
    def _shown(row: Queue) -> Piece:
        return row.shown, "" if row.name else "warn"

    def _oldest(self, row: Queue) -> Piece:
        return (age(self.ui.wall() - row.oldest_at), "") if row.oldest_at else ("-", "dim")

    async def load(self) -> None:
        rows: list[RingGroupRow] = []
        after = 0
        for _ in range(MOST):
            page = await self.ui.call(ListRingGroups(after=after, limit=WINDOW))
            rows += page.rows
            if not (after := page.next):
                break
        self._queues, self._known = list(map(queue_of, rows)), True

    def unassigned(self) -> Queue | None:
        """The mail that is in no queue, for those who may see it."""
        me = self.ui.picture.me
        if me is None or not sees_all(self.ui.roles):
            return None
        need = next((need for need in self.ui.picture.needs if need.kind == "unassigned"), None)
        return Queue(id=0, name="", open=need.count if need else 0, oldest_at=need.since if need else 0.0)

    def show(self) -> None:
        rows = [*self._queues, *filter(None, [self.unassigned()])]
        if text := self.needle.casefold():
            rows = [row for row in rows if text in f"{row.shown} {' '.join(row.touchpoints)}".casefold()]
        rows.sort(key=_KEYS[self.sort])
        assert self.list is not None
        self.list.set_rows(rows if self._known else [])
        if self.current != self._drawn:
            self._drawn = self.current
            self.draw_details(keep=True)

    def title_line(self) -> Line:
        return line(
            (" QUEUES", "title"), f"  {counted(len(self._queues), 'ring group')}", f"   filter: {self.needle or '-'}",
            f"   sort: {self.SORTS[self.sort]}",
        )  # fmt: skip

    def details(self, row: Any, width: int) -> Sequence[Line]:
        if not row.name:
            told = "Mail of touchpoints that had no ring group when it came: no agent is told of it until it is moved."
        elif row.touchpoints:
            told = f"New mail comes from {', '.join(row.touchpoints)}."
        else:
            told = "No touchpoint is linked to it: nothing new comes here."
        return [rule(row.shown, "", width), *prose(told, width, "" if row.name else "warn")]

    def command(self) -> str:
        if (row := self.current) is None:
            return "postroom ring-group list"
        return list_command(row.name or None, "open")

    def value(self) -> str:
        return self.current.name if self.current is not None else ""

    def open(self, row: Any) -> None:
        self.ui.work(self.ui.open(QueuePage(self.ui, row.name or None)))


def _touchpoints(row: Queue) -> Piece:
    return (", ".join(row.touchpoints), "") if row.touchpoints else ("-", "dim")


_KEYS: tuple[Any, ...] = (
    lambda row: (not row.open, row.oldest_at, row.shown),
    lambda row: (-row.open, row.shown),
    lambda row: row.shown.casefold(),
)


def list_command(name: str | None, state: str) -> str:
    """The command that lists a queue."""
    from shlex import quote

    where = "--unassigned" if name is None else f"--ring-group {quote(name)}"
    more = {"closed": " --closed", "queued": " --all"}.get(state, "")
    return f"postroom queue list {where}{more}"


# -- One queue -----------------------------------------------------------------------------------------------------


class QueuePage(MailList):
    """The mail of one ring group's queue, or with None the mail that is in no queue."""

    NAME = "queue"
    TITLE = "Queue"
    PREVIEW = 10
    TEXTS = True
    STATES = ("open", "closed", "queued")
    EMPTY = "nothing waits here"
    ACTS: ClassVar[tuple[Act, ...]] = (
        mail_acts.OPEN,
        mail_acts.CLOSE,
        mail_acts.REOPEN,
        mail_acts.MOVE,
        mail_acts.BLOCK,
        mail_acts.HOLD,
        mail_acts.RAW,
        mail_acts.EXPORT,
        mail_acts.REPLAY,
        other_states("queue.state", "t", "postroom queue list --closed"),
    )

    def __init__(self, ui: TerminalUI, name: str | None = None) -> None:
        self._ring_group = name
        super().__init__(ui)
        self._waits: tuple[int, float] | None = None
        """Open mail of the queue and since when the oldest waits, where not all of it is loaded."""
        self._summed: tuple[list[MailRow], str, float] = [], "0", 0.0
        """The same, of what is loaded: counted once for each load."""

    def key_of(self, row: Any) -> Hashable:
        return int(row.id)

    def columns(self, wall: Wall) -> tuple[Column, ...]:
        return (
            age_column(wall), who_column("from"), subject_column(30), marks_column(),
            Column(title="state", cell=_closed, width=6, keep=1, wide=True), touchpoint_column(),
            Column(title="mail", cell=id_column().cell, width=7, right=True, keep=0, wide=True),
        )  # fmt: skip

    def question(self) -> ListMail:
        name = self._ring_group
        return ListMail(direction="in", state=self.state, ring_group=name or "", unassigned=name is None)

    def fits(self, row: MailRow) -> bool:
        states = {"open": ("queued",), "closed": ("closed",), "queued": ("queued", "closed")}[self.state]
        here = not row.queues if self._ring_group is None else self._ring_group in row.queues
        return row.state in states and here

    async def load(self) -> None:
        await super().load()
        self._waits = None
        if self.loads.next and self._ring_group is not None:
            page = await self.ui.call(ListRingGroups(limit=WINDOW))
            found = (row for row in page.rows if row.name == self._ring_group)
            self._waits = next(((row.open, row.oldest_at) for row in found), None)

    def waits(self) -> tuple[str, float]:
        """How much is open here, in words, and since when the oldest waits."""
        if not self.loads.next:
            if self._summed[0] is not self.mails:
                still = [row.accepted_at for row in self.mails if row.state == "queued"]
                self._summed = self.mails, f"{len(still):,}", min(still, default=0.0)
            return self._summed[1:]
        if self._ring_group is None:
            need = next((need for need in self.ui.picture.needs if need.kind == "unassigned"), None)
            return (f"{need.count:,}", need.since) if need else (f"{len(self.mails):,} or more", 0.0)
        return (f"{self._waits[0]:,}", self._waits[1]) if self._waits else (f"{len(self.mails):,} or more", 0.0)

    def title_line(self) -> Line:
        made = [(f" QUEUE {self._ring_group or NOBODY}", "title"), ("  ", "")]
        if self.state == "open" and not self.needle:
            number, oldest = self.waits()
            told = f"{number} open · {self.count_words()}"
            made.append((told + (f" · oldest {age(self.ui.wall() - oldest)}" if oldest else ""), ""))
        else:
            shown = {"queued": "open and closed"}.get(self.state, self.state)
            made.append((f"{shown} · {self.count_words()}", "warn" if self.state != "open" else ""))
        if self.needle:
            made.append((f"   filter: {self.needle}", "warn"))
        if self.sort:
            made.append((f"   {self.SORTS[self.sort]}", ""))
        return tuple(made)

    def details(self, row: Any, width: int) -> Sequence[Line]:
        detail, text = self.detail_of(row), self.text_of(row)
        hint = "f back" if self.full else "f full · v raw"
        made = [rule(_conversation(row, detail), hint, width)]
        if isinstance(text, MailText):
            return [*made, *self._letter(row, text, width)]
        made += _head(row, None, width)
        return [*made, *(prose(text, width, "warn") if text else [line(("reading it ...", "dim"))])]

    def _letter(self, row: MailRow, text: MailText, width: int) -> list[Line]:
        made = _head(row, text, width, subject=self.full or self.ui.wide)
        if (detail := self.detail_of(row)) is not None and (self.full or self.ui.wide):
            told, style = because(detail, self.ui.wall(), self.ui.picture.touchpoints.get(row.touchpoint_id))
            made += prose(told, width, style or "dim")
        return [*made, *part_lines(text.parts, width, "With:", 6), (), *text_lines(text, width)]

    def list_command(self) -> str:
        return list_command(self._ring_group, self.state)


def _closed(row: MailRow) -> Piece:
    return {"closed": ("closed", "dim"), "queued": ("open", "")}.get(row.state, (row.state, "warn"))


def _conversation(row: MailRow, detail: MailDetail | None) -> str:
    if detail is None:
        return f"mail {row.id}"
    others = len(detail.related)
    if not others:
        return f"mail {row.id} · alone in its conversation"
    number = f"more than {others}" if others >= MOST_RELATED else others + 1
    return f"mail {row.id} · {number} mails in its conversation"


def _head(row: MailRow, text: MailText | None, width: int, *, subject: bool = False) -> list[Line]:
    """From, to and when; in two lines, since a pane has few."""
    sender = field_of(text, "from") or who(row)
    to = field_of(text, "to") or row.touchpoint
    came = when(row.received_at or row.accepted_at)[:-3]
    room = max(width - 6 - len(came) - 2, 10)
    made = [line(("From: ", "dim"), sender), line(("To:   ", "dim"), fit(to, room), f"  {came}")]
    if subject:
        made.append(line(("Subject: ", "dim"), (field_of(text, "subject") or row.subject, "strong")))
    return made


VIEW = Queues

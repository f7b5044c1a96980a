"""The audit, opened from the log: who changed what, the newest first. Filtering is the daemon's work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.client import Unreachable
from gateway.control import AuditRow, ListAudit, Page
from gateway.text import safe_text
from tui.acts import Act, Rows
from tui.clean import clean
from tui.frame import moment
from tui.lines import Line, folded, line
from tui.view import View
from tui.views.logs import open_touchpoint, open_walk, walk_act
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A row of the audit, with its detail read."""

    row: AuditRow
    detail: tuple[tuple[str, str], ...]
    """Names and values; what a value took the place of stands before it."""
    via: str

    @property
    def id(self) -> int:
        """The row's."""
        return self.row.id

    @property
    def subject(self) -> str:
        """The row's."""
        return self.row.subject


def changed(raw: AuditRow) -> Changed:
    """A row as it came: its detail is read before anything in it is made safe to show."""
    row = clean(raw)
    try:
        detail = json.loads(raw.detail)
    except (ValueError, RecursionError):
        detail = None
    if not isinstance(detail, dict):
        return Changed(row=row, detail=(("", row.detail),) if row.detail else (), via="")
    via = detail.pop("via", "")
    return Changed(row=row, detail=tuple(_differences(detail)), via=_said(via) if via else "")


def _differences(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    was = detail.get("was")
    was = was if isinstance(was, dict) else {}
    told = {name: value for name, value in detail.items() if name != "was" or not was}
    if told.keys() == {"from", "to"}:
        return [("", f"{_said(told['from'])} -> {_said(told['to'])}")]
    made = [(name, f"{_said(was[name])} -> {_said(value)}" if name in was else _said(value))
            for name, value in told.items()]  # fmt: skip
    made += [(name, f"{_said(value)} -> (nothing)") for name, value in was.items() if name not in told]
    return [(safe_text(name), text) for name, text in made]


def _said(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = safe_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), multiline=True)
    return text or "(nothing)"


async def _log(view: Audit, rows: Rows) -> None:
    await view.ui.back()


def _who(each: Changed) -> str:
    uid = f" ({each.row.uid})" if each.row.actor != str(each.row.uid) else ""
    return f"{each.row.actor}{uid}"


class Audit(View):
    """Who changed what, the newest first."""

    NAME = "audit"
    TITLE = "Audit"
    EVERY = 5.0
    PREVIEW = 5
    EMPTY = "no such change is written down"
    COLUMNS = (
        Column(title="time", cell=lambda each: moment(each.row.at)[5:-3], width=11),
        Column(title="who (uid)", cell=_who, width=14, grow=1),
        Column(title="did", cell=lambda each: each.row.verb, width=21, keep=8),
        Column(title="to", cell=lambda each: each.row.subject, width=20, grow=2),
        Column(title="change", cell=lambda each: ", ".join(f"{name} {text}".strip() for name, text in each.detail),
               width=30, grow=3, keep=1, wide=True),
    )  # fmt: skip
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="audit.log", key="e", words="Log", run=_log, on_row=False, bar=65, command="postroom log list"),
        walk_act("audit"),
    )

    def __init__(self, ui: TerminalUI, subject: str = "") -> None:
        super().__init__(ui)
        self._subject = subject
        """Only changes of this touchpoint or mail; "" is all."""
        self._rows: list[Changed] = []
        self._asked: str | None = None
        self._next = 0

    async def _ask(self, after: int = 0) -> Page[AuditRow]:
        self.check_role(ListAudit, "the audit")
        if self.ui.link is None:
            raise Unreachable("there is no connection to the daemon yet")
        # The detail is JSON: it has to be read before it is made safe to show.
        asked = ListAudit(subject=self._subject, text=self.needle, after=after, limit=100)
        return await self.ui.link.raw(asked)

    async def load(self) -> None:
        wanted = self.needle
        page = await self._ask()
        first = self._rows[0].id if self._rows and self._asked == wanted else 0
        new = [changed(row) for row in page.rows if row.id > first]
        if first and len(new) < len(page.rows):
            self._rows = [*new, *self._rows]
        else:
            self._rows, self._next = new, page.next
        self._asked = wanted

    async def more(self) -> None:
        if self._next:
            page = await self._ask(self._next)
            self._rows = [*self._rows, *map(changed, page.rows)]
            self._next = page.next

    def filtered(self) -> None:
        self.reload(anew=True)
        self.draw()

    def show(self) -> None:
        assert self.list is not None
        self.list.set_rows(self._rows, more=self._next > 0)

    def title_line(self) -> Line:
        about = f" of {self._subject}" if self._subject else ""
        more = " and older ones" if self._next else ""
        return line((" AUDIT", "title"), f"{about} {len(self._rows):,} changes{more}   filter: {self.needle or '-'}")

    def details(self, row: Changed, width: int) -> Sequence[Line]:
        made = row.row
        via = f", via {row.via}" if row.via else ""
        told = [(f"{moment(made.at)}  {made.actor} (uid {made.uid}, {made.role or 'no role'}){via}", "dim")]
        told.append((f"{made.verb}  {made.subject}", "head"))
        told += [(f"{name}: {text}" if name else text, "") for name, text in row.detail]
        return [line((each, style)) for text, style in told for each in folded(text, width - 1, "  ")]

    def command(self) -> str:
        from shlex import quote

        subject = f" --subject {quote(self._subject)}" if self._subject else ""
        return f"postroom audit list{subject}" + (f" --text {quote(self.needle)}" if self.needle else "")

    def value(self) -> str:
        if not self.current:
            return ""
        made = self.current.row
        return f"{moment(made.at)} {made.actor} {made.verb} {made.subject} {made.detail}".rstrip()

    def open(self, row: Changed) -> None:
        subject = row.subject
        if found := re.fullmatch(r"mail (\d{1,18})", subject):
            return self.ui.work(open_walk(self.ui, found[1]))
        known = self.ui.picture.touchpoints.values()
        if (point := next((each for each in known if each.address == subject), None)) is not None:
            return self.ui.work(open_touchpoint(self.ui, point.id))
        if row.row.verb.startswith("relay_user."):
            return self.ui.work(_open_relay_user(self.ui, subject))
        return self.ui.say(f"{subject or 'this'} has no page: it is no mail, and no touchpoint that there is now")


async def _open_relay_user(ui: TerminalUI, name: str) -> None:
    from tui.views.relay_users import RelayUsers

    await ui.open(RelayUsers(ui, name))


VIEW = Audit

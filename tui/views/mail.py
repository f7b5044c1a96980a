"""A mail's page, and the answer to "why?": from anywhere, by number.

The page begins with one sentence that says why the mail is where it is; then what it is, its text, and everything that
happened to it, the newest first. It follows the mail while it is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.client import CallFailed
from gateway.control import (
    AuditRow,
    Finding,
    LedgerRow,
    ListAudit,
    MailDetail,
    MailRow,
    MailText,
    ReadText,
    ShowMail,
    Why,
    WhyAnswer,
)
from tui.acts import Act, Rows
from tui.frame import age
from tui.lines import Line, Piece, line
from tui.view import View
from tui.views import mail_acts
from tui.views.mails import Wall, read_text
from tui.views.story import (
    STATES,
    amount,
    attempt_lines,
    because,
    born,
    counted,
    field_of,
    header_lines,
    help_for,
    item_lines,
    labelled,
    mail_line,
    marks_of,
    part_lines,
    people_lines,
    prose,
    recipient_lines,
    rule,
    state_of,
    subject_of,
    text_lines,
    walk_lines,
    when,
    who,
)
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI

MOST_TEXT = 60
"""Lines of the text that stand on the page before all of it is asked for: what happened to the mail comes after."""
MOST_PEOPLE = 20


async def _related(view: MailPage, rows: Rows) -> None:
    from tui.dialogs import Pick

    ui, detail = view.ui, view.detail
    if detail is None or not detail.related:
        return ui.say("it is alone in its conversation")
    options = [(row.id, f"{row.id:>6}  {age(ui.wall() - born(row)):>8}  {who(row)}  {subject_of(row)}")
               for row in detail.related]  # fmt: skip
    picked = await ui.ask(Pick(ui, "mail of the same conversation", options))
    return await ui.open(MailPage(ui, picked[0])) if picked else None


def _headers(view: MailPage, rows: Rows) -> None:
    view.headers = not view.headers
    view.draw()
    if view.headers:
        view.pager.search("all headers")
        view.pager.needle = ""


def _whole(view: MailPage, rows: Rows) -> None:
    view.whole = not view.whole
    view.draw()
    view.ui.say("the whole text" if view.whole else f"the first {MOST_TEXT} lines of the text")


class MailPage(View):
    """Everything about one mail."""

    NAME = "mail"
    TITLE = "Mail"
    WATCHES = ("gaps",)
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="mail.related", key="o enter", words="Open its conversation ...", run=_related, bar=95,
            calls=(ShowMail, ReadText), command="postroom spool show {id}"),
        Act(id="mail.headers", key="H", words="All headers", run=_headers, bar=59, calls=(ReadText,),
            command="postroom spool text {id}"),
        Act(id="mail.text", key="t", words="Whole text", run=_whole, bar=34, calls=(ReadText,),
            command="postroom spool text {id}"),
        *mail_acts.ALL,
    )  # fmt: skip

    def __init__(self, ui: TerminalUI, number: int) -> None:
        super().__init__(ui)
        self.number = number
        self.detail: MailDetail | None = None
        self.text: MailText | str | None = None
        self.people: tuple[AuditRow, ...] = ()
        self.headers = False
        """Whether all headers stand at the end."""
        self.whole = False
        """Whether all of the text is shown."""
        self._told: MailRow | None = None
        self._drawn: tuple[Any, ...] = ()

    # -- what it is about --------------------------------------------------------------------------------------------

    @property
    def current(self) -> Any | None:
        return None if self.detail is None else self.detail.row

    def chosen(self) -> list[Any]:
        return [] if self.detail is None else [self.detail.row]

    def open(self, row: Any) -> None:
        self.ui.work(_related(self, [row]))

    def tick(self, now: float) -> None:
        told = self.ui.picture.changed_mail.get(self.number)
        busy = self._load_task is not None and not self._load_task.done()
        if told is not self._told and not busy and self.ui.picture.connected:
            self._told = told
            self.reload()
        super().tick(now)

    async def load(self) -> None:
        self._told = self.ui.picture.changed_mail.get(self.number)
        detail, people, text = await asyncio.gather(
            self.ui.call(ShowMail(id=self.number)), self._people(), self._read()
        )
        self.detail, self.people, self.text = detail, people, text

    async def _read(self) -> MailText | str:
        """Its text, which never changes."""
        return self.text if isinstance(self.text, MailText) else await read_text(self.ui, self.number)

    async def _people(self) -> tuple[AuditRow, ...]:
        """What people did to it, for those who may know."""
        if self.ui.may(ListAudit):
            with suppress(CallFailed):
                return (await self.ui.call(ListAudit(subject=f"mail {self.number}", limit=MOST_PEOPLE))).rows
        return ()

    # -- drawing -----------------------------------------------------------------------------------------------------

    def title_line(self) -> Line:
        made: list[Piece] = [(f" MAIL {self.number}", "title")]
        if self.detail is not None:
            row = self.detail.row
            way = "from" if row.direction == "in" else "to"
            made += [("  ", ""), state_of(row), (f" · {way} {who(row)} · {subject_of(row)}", "")]
        return tuple(made)

    def show(self) -> None:
        touchpoint = None if self.detail is None else self.ui.picture.touchpoints.get(self.detail.row.touchpoint_id)
        # Made again when something is another one, and now and then for the ages; not at every tick.
        drawn = (self.detail, self.text, self.people, self.headers, self.whole, touchpoint, self.trouble,
                 int(self.ui.wall()) // 10)  # fmt: skip
        if drawn != self._drawn:
            self._drawn = drawn
            self.pager.set(self.lines)

    def lines(self, width: int) -> Sequence[Line]:
        """The page."""
        if self.detail is None:
            return prose(self.trouble or "asking the daemon ...", width, "bad" if self.trouble else "dim")
        width = max(width - 1, 20)
        made = [*self._top(self.detail, width), *self._letter(self.detail, width), *self._story(self.detail, width)]
        return [line(" ", *each) for each in made]

    def _top(self, detail: MailDetail, width: int) -> list[Line]:
        """Why it is here, and what it is."""
        row, now = detail.row, self.ui.wall()
        told, style = because(detail, now, self.ui.picture.touchpoints.get(row.touchpoint_id))
        text = self.text if isinstance(self.text, MailText) else None
        sender = {None: "", "": "<> (the null sender)"}.get(detail.envelope_sender, detail.envelope_sender or "")
        came = f"{when(born(row))} ({age(now - born(row))} ago)"
        settled = f", settled {when(row.settled_at)}" if row.settled_at else ""
        facts = (
            ("state", f"{row.state} {row.cause}".strip() + f", {'came in' if row.direction == 'in' else 'goes out'}"
             f" ({row.origin}), {amount(row.size)}"),
            ("touchpoint", row.touchpoint),
            ("queues", ", ".join(row.queues)),
            ("marks", marks_of(row)),
            ("from", field_of(text, "from") or row.author),
            ("envelope", sender if sender != row.author else ""),
            ("to", field_of(text, "to") or ", ".join(row.recipients)),
            ("copy", field_of(text, "cc")),
            ("subject", field_of(text, "subject") or subject_of(row)),
            ("content", "" if detail.has_content else "not here: it was never fetched"),
            ("here since", came + settled),
            ("next try", f"in {age(row.due_at - now)}" if row.due_at > now and row.state == "waiting" else ""),
            ("released", detail.released_by and f"by {detail.released_by}"),
            ("notice of", f"mail {detail.notice_for}, that it failed" if detail.notice_for else ""),
            ("message-id", row.message_id),
        )  # fmt: skip
        made = [*prose(told, width, style if style not in ("", "good", "dim") else "strong"), *help_for(row, width), ()]
        for label, value in facts:
            made += labelled(label, value, width, "strong" if label == "subject" else "")
        return made

    def _letter(self, detail: MailDetail, width: int) -> list[Line]:
        """Its text, and what hangs on it."""
        if not isinstance(self.text, MailText):
            return [(), *prose(self.text or "reading it ...", width, "warn" if self.text else "dim")]
        lines = text_lines(self.text, width)
        if len(lines) > MOST_TEXT and not self.whole:
            more = len(lines) - MOST_TEXT
            lines = [*lines[:MOST_TEXT], line((f"... {more:,} more lines; t shows the whole text", "dim"))]
        return [(), *lines, (), *part_lines(self.text.parts, width)]

    def _story(self, detail: MailDetail, width: int) -> list[Line]:
        """What happened to it."""
        now = self.ui.wall()
        walks = [each for walk in detail.walks for each in walk_lines(walk, width)]
        items = [each for item in detail.ledger for each in item_lines(item, now, width)]
        sections = (
            ("recipients", recipient_lines(detail.recipients if detail.row.direction == "out" else (), width)),
            ("tried, the newest first", attempt_lines(detail.attempts, now, width)),
            ("its way through the line, the newest walk first", walks),
            ("what people did", people_lines(self.people, width)),
            ("on the server", items),
            (f"conversation {detail.conversation_id}: o opens one", [mail_line(row, now) for row in detail.related]),
        )
        made: list[Line] = []
        for title, lines in sections:
            if lines:
                made += [(), line((title, "head")), *lines]
        if isinstance(self.text, MailText) and self.text.headers:
            number = len(self.text.headers)
            made += [(), line(("all headers" if self.headers else f"{number} headers: H shows them", "head"))]
            made += header_lines(self.text, width) if self.headers else []
        return made

    def command(self) -> str:
        return f"postroom spool show {self.number}"

    def value(self) -> str:
        return "" if self.detail is None else self.detail.row.message_id or self.detail.row.subject


# -- Why -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Found:
    """One answer: a mail, an item of a server that no mail was made of, or what else was found out."""

    key: Hashable
    row: MailRow | None = None
    detail: MailDetail | None = None
    """Of the newest mails; of the others ``row`` is all that is known here."""
    item: LedgerRow | None = None
    finding: Finding | None = None
    """What the daemon says of it, with what helps."""

    @property
    def id(self) -> str:
        """The mail's number, for a command; "" where it has none."""
        return str(self.row.id) if self.row is not None else ""

    @property
    def subject(self) -> str:
        """What it is called in a title."""
        if self.row is not None:
            return self.row.subject
        return f"uid {self.item.remote_id}" if self.item else self.finding.words if self.finding else ""


def found_in(answer: WhyAnswer) -> list[Found]:
    """An answer as rows: mails, items of servers, and what is known of mail that never came."""
    said = {each.mail: each for each in answer.findings if each.mail}
    details = {each.row.id: each for each in answer.mails}
    rows = answer.candidates or tuple(each.row for each in answer.mails)
    of_items = answer.findings[len(answer.mails) :][: len(answer.items)]
    others = [each for each in answer.findings[len(answer.mails) + len(answer.items) :] if each.mail not in details]
    items = zip_longest(answer.items, of_items)
    return [
        *(Found(key=row.id, row=row, detail=details.get(row.id), finding=said.get(row.id)) for row in rows),
        *(Found(key=(item.touchpoint, item.folder, item.epoch, item.remote_id), item=item, finding=finding)
          for item, finding in items if item is not None),
        *(Found(key=("finding", number), finding=each) for number, each in enumerate(others)),
    ]  # fmt: skip


def _open_found(view: View, rows: Rows) -> None:
    view.open(rows[0])


def _no_mail(row: Found) -> str:
    return "" if row.id or (row.finding and row.finding.mail) else "there is no mail of it here"


class WhyPage(View):
    """What became of the mails that a question is about."""

    NAME = "why"
    TITLE = "Why"
    WATCHES = ("mail_changes",)
    PAUSE = 5.0
    PREVIEW = 11
    EMPTY = "no such mail was ever seen here: not fetched by any touchpoint, not handed in to the relay"
    COLUMNS = (Column(title="", cell=lambda row: row.id, width=1),)
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="why.open", key="enter", words="Its page", run=_open_found, single=True, calls=(Why,),
            command="postroom why {id}", why_not=_no_mail),
    )  # fmt: skip

    def __init__(self, ui: TerminalUI, question: Why) -> None:
        super().__init__(ui)
        self._question = question
        self._found: list[Found] = []
        self._beyond = self._asked = False
        assert self.list is not None
        self.list.columns = _why_columns(ui.wall)

    def key_of(self, row: Any) -> Hashable:
        key: Hashable = row.key
        return key

    async def load(self) -> None:
        """Servers are asked once, when the page is opened; what they said stays until a mail is found."""
        asked = replace(self._question, servers="never") if self._asked else self._question
        answer = await self.ui.call(asked)
        if self._asked and not (answer.mails or answer.items):
            return
        self._asked = True
        self._found = found_in(answer)
        self._beyond = answer.more

    def show(self) -> None:
        assert self.list is not None
        text = self.needle.casefold()
        before = self.current
        self.list.set_rows([row for row in self._found if text in row.subject.casefold()])
        if self.current != before:
            self.draw_details(keep=True)

    def title_line(self) -> Line:
        asked = self._question
        said = (asked.what, str(asked.id or ""), asked.message_id, asked.author, asked.subject)
        words = " ".join(filter(None, said))
        mails = sum(row.row is not None for row in self._found)
        more = " and more: ask more narrowly" if self._beyond else ""
        made: list[Piece] = [(" WHY", "title"), (f"  {counted(mails, 'mail')}{more}", "warn" if more else "")]
        if items := sum(row.item is not None for row in self._found):
            made.append((f" · {items} on the server only", "warn"))
        return (*made, (f"  {words}", "strong"))

    def details(self, row: Any, width: int) -> Sequence[Line]:
        now = self.ui.wall()
        title = f"mail {row.id}" if row.id else "no mail here"
        made = [rule(title, "Enter page" if not _no_mail(row) else "", width), *self._said(row, width)]
        if row.item is not None:
            return [*made, *item_lines(row.item, now, width)]
        if row.detail is None:
            return made
        detail: MailDetail = row.detail
        made += help_for(detail.row, width)
        for walk in detail.walks[:3]:
            made += walk_lines(walk, width)
        if detail.attempts:
            made += [line(("tried", "head")), *attempt_lines(detail.attempts, now, width)]
        return made

    def _said(self, row: Found, width: int) -> list[Line]:
        """What became of it, and what helps."""
        if row.finding is not None:
            style = STATES.get(row.finding.kind, ("", "warn"))[1]
            return [*prose(row.finding.words, width, style or "strong"), *prose(row.finding.command, width, "dim")]
        if row.detail is not None:
            touchpoint = self.ui.picture.touchpoints.get(row.detail.row.touchpoint_id)
            told, style = because(row.detail, self.ui.wall(), touchpoint)
            return prose(told, width, style or "strong")
        if row.item is not None:
            return prose(_item_words(row.item), width, "warn")
        return prose("Enter shows what became of it.", width, "dim")

    def command(self) -> str:
        from shlex import quote

        asked = self._question
        what = asked.what or str(asked.id or "") or asked.message_id or asked.author or asked.subject or "SENDER"
        more = f" --subject {quote(asked.subject)}" if asked.subject and what != asked.subject else ""
        for option, at in (("since", asked.since), ("until", asked.until)):
            more += f" --{option} {quote(time.strftime('%Y-%m-%dT%H:%M', time.localtime(at)))}" if at else ""
        return f"postroom why {quote(what)}{more}"

    def value(self) -> str:
        row = self.current
        if row is None:
            return ""
        found: str = row.row.message_id if row.row else row.item.message_id if row.item else row.finding.command
        return found

    def open(self, row: Any) -> None:
        if not _no_mail(row):
            self.ui.work(self.ui.open(MailPage(self.ui, int(row.id or row.finding.mail))))


def _why_columns(wall: Wall) -> tuple[Column, ...]:
    def since(row: Found) -> str:
        at = born(row.row) if row.row else row.item.seen_at if row.item else row.finding.since if row.finding else 0.0
        return age(wall() - at) if at else "-"

    def stands(row: Found) -> Piece:
        if row.row is not None:
            return state_of(row.row)
        return (row.item.state if row.item else row.finding.kind if row.finding else "", "warn")

    def whom(row: Found) -> str:
        if row.row is not None:
            return who(row.row)
        return row.item.touchpoint if row.item else row.finding.touchpoint if row.finding else ""

    def about(row: Found) -> str:
        if row.row is not None:
            return subject_of(row.row)
        return f"{row.item.folder} uid {row.item.remote_id}" if row.item else row.subject

    return (
        Column(title="mail", cell=lambda row: row.id or "-", width=6, right=True),
        Column(title="age", cell=since, width=8, right=True, keep=7),
        Column(title="state", cell=stands, width=11),
        Column(title="from/to", cell=whom, width=20, grow=2),
        Column(title="subject", cell=about, width=16, grow=3),
    )


def _item_words(item: LedgerRow) -> str:
    """Why an item of a server has no mail here."""
    return {
        "pending": "It is on the server and could not be fetched yet; it is asked for again.",
        "gone": "Somebody removed it from the server before it was fetched.",
        "moved": "It came to this folder from another one, and has its mail there.",
    }.get(item.state, f"It is on the server only: {item.state}.")

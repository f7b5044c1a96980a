"""Screen 8: the log that is followed, its filter with context, and the audit; on a canned daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.control import AuditRow, GetStatus, ListAudit, ListLog, LogRow, Page, Role
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, served, short, status, touchpoint, until
from tests.tui.screen import Clock, Terminal, terminal
from tui.frame import clock
from tui.views import logs
from tui.views.audit import Audit, changed
from tui.views.logs import Logs

LEVELS = ("debug", "info", "warning", "error", "critical")


class Book:
    """A daemon's log that answers as the real one does."""

    def __init__(self, count: int = 0) -> None:
        self.rows: list[LogRow] = []
        for _ in range(count):
            self.write()

    def write(self, text: str = "", level: str = "info") -> None:
        """One more line."""
        number = len(self.rows) + 1
        text = text or f"line {number}."
        self.rows.append(LogRow(id=number, at=NOW, level=level, logger="postroom.events", text=text))

    def page(self, asked: ListLog) -> Page[LogRow]:
        """A window, the newest first."""
        least = LEVELS.index(asked.level) if asked.level else 0
        found = [
            row for row in reversed(self.rows)
            if row.id > asked.since and (not asked.after or row.id < asked.after)
            and LEVELS.index(row.level) >= least and asked.text.casefold() in row.text.casefold()
        ]  # fmt: skip
        more = len(found) > asked.limit
        return Page(rows=tuple(found[: asked.limit]), next=found[asked.limit - 1].id if more else 0)


class Screen:
    """The screen on a daemon, with the clock that it looks at."""

    def __init__(self, term: Terminal, canned: Canned, clock: Clock) -> None:
        self.term, self.canned, self._clock = term, canned, clock

    async def after(self, seconds: float) -> None:
        """Let time pass, and whatever is asked because of that be answered."""
        self._clock.time += seconds
        view = self.term.ui.view
        assert view is not None
        self.term.ui.tick()
        await until(view.loaded, "it is loaded")
        await self.term.pilot.pause()

    @property
    def view(self) -> Logs:
        """The view."""
        assert isinstance(self.term.ui.view, Logs)
        return self.term.ui.view


@asynccontextmanager
async def log_of(book: Book, tmp_path: Path, *, audit: Any = Page(rows=()), **more: Any) -> AsyncIterator[Screen]:  # noqa: B008
    """The screen, loaded, on a clock that stands still."""
    roles = more.pop("roles", frozenset({Role.ADMIN}))
    points = (touchpoint(1), touchpoint(2, "press@acme.example"))
    canned = Canned({GetStatus: status(points), ListLog: book.page, ListAudit: audit}, roles=roles)
    clock = Clock()
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="logs", now=clock, **more) as term:
        await term.quiet()
        screen = Screen(term, canned, clock)
        await screen.after(1.0)
        yield screen


# -- Following -----------------------------------------------------------------------------------------------------


async def test_it_follows_what_is_written(tmp_path: Path) -> None:
    book = Book(30)
    async with log_of(book, tmp_path) as screen:
        await screen.term.shows("line 30.")
        assert "following" in screen.term.text() and screen.view.current.id == 30  # type: ignore[union-attr]
        book.write("something new")
        await screen.after(1.0)
        assert ">23 14:02:11  info      events      something new" in screen.term.text()
        assert screen.canned.asked(ListLog)[-1] == ListLog(since=30, limit=500)


async def test_it_is_asked_once_a_second_and_not_at_all_while_it_stands_still(tmp_path: Path) -> None:
    async with log_of(Book(30), tmp_path) as screen:
        count = len(screen.canned.asked(ListLog))
        await screen.after(0.4)
        assert len(screen.canned.asked(ListLog)) == count
        await screen.after(0.6)
        assert len(screen.canned.asked(ListLog)) == count + 1
        await screen.term.press("F")
        for _ in range(3):
            await screen.after(1.0)
        assert len(screen.canned.asked(ListLog)) == count + 1


async def test_a_cursor_that_leaves_the_end_stands_still_until_it_is_back(tmp_path: Path) -> None:
    book = Book(60)
    async with log_of(book, tmp_path) as screen:
        await screen.term.press("k", "k")
        await screen.term.shows("standing still")
        before = screen.term.text()
        for _ in range(5):
            book.write()
        await screen.after(1.0)
        assert screen.term.text() == before
        await screen.term.press("G")
        await screen.term.shows("line 65.")
        assert "following" in screen.term.text()


async def test_a_flood_between_two_looks_is_read_in_windows(tmp_path: Path) -> None:
    book = Book(10)
    async with log_of(book, tmp_path) as screen:
        for _ in range(1_200):
            book.write()
        await screen.after(1.0)
        assert [row.id for row in screen.view._rows] == list(range(1, 1_211))


async def test_a_flood_beyond_what_is_kept_leaves_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST", 500)
    book = Book(10)
    async with log_of(book, tmp_path) as screen:
        for _ in range(1_200):
            book.write()
        await screen.after(1.0)
        assert [row.id for row in screen.view._rows] == list(range(711, 1_211))
        assert "500 are kept here" in screen.term.text()


async def test_older_lines_come_when_the_cursor_nears_the_first(tmp_path: Path) -> None:
    async with log_of(Book(450), tmp_path) as screen:
        assert "200 lines and older ones" in screen.term.text()
        await screen.term.press("g")
        await screen.term.shows("400 lines and older ones")
        assert ">23 14:02:11  info      events      line 251." in screen.term.text()
        await screen.term.press("g")
        await screen.term.shows("LOG 450 lines   level")


async def test_a_restarted_daemon_numbers_anew_and_is_read_anew(tmp_path: Path) -> None:
    book = Book(30)
    async with log_of(book, tmp_path) as screen:
        await screen.term.shows("line 30.")
        book.rows.clear()
        book.write("started again")
        screen.term.ui.picture.started_at = NOW
        await screen.after(1.0)
        await screen.term.shows("started again")
        assert "line 30." not in screen.term.text()


async def test_an_empty_log_says_so_and_is_followed(tmp_path: Path) -> None:
    book = Book()
    async with log_of(book, tmp_path) as screen:
        await screen.term.shows("the daemon remembers no such line")
        book.write("the first line")
        await screen.after(1.0)
        assert "the first line" in screen.term.text()


# -- Filtering -----------------------------------------------------------------------------------------------------


async def test_l_goes_through_the_levels_and_escape_shows_all(tmp_path: Path) -> None:
    book = Book(5)
    book.write("that was close", "warning")
    book.write("that was it", "error")
    async with log_of(book, tmp_path) as screen:
        for level, gone in (("info", ""), ("warning", "line 5."), ("error", "that was close")):
            await screen.term.press("l")
            await screen.term.shows(f"level: {level}")
            if gone:
                await screen.term.hides(gone)
        await screen.term.shows("ERROR     events      that was it")
        await screen.term.press("escape")
        await screen.term.shows("level: all")
        await screen.term.shows("line 5.")


async def test_the_daemon_filters_as_one_types(tmp_path: Path) -> None:
    book = Book(300)
    async with log_of(book, tmp_path) as screen:
        await screen.term.press("/")
        await screen.term.type("e 7.")
        await screen.term.hides("line 300.")
        await screen.term.press("enter")
        await screen.term.shows("LOG 1 lines   level: all   filter: e 7.")
        assert screen.canned.asked(ListLog)[-1].text == "e 7."
        assert screen.view.command() == "postroom log list --text 'e 7.' --follow"


async def test_an_answer_to_the_filter_before_is_not_taken(tmp_path: Path) -> None:
    async with log_of(Book(30), tmp_path) as screen:
        view = screen.view
        view.filter("line 1")
        view.filter("line 30")
        await until(view.loaded, "it is loaded")
        assert [row.id for row in view._rows] == [30]


async def test_c_shows_the_lines_around_a_hit(tmp_path: Path) -> None:
    book = Book(30)
    async with log_of(book, tmp_path) as screen:
        await screen.term.press("/")
        await screen.term.type("12.")
        await screen.term.press("enter")
        await screen.term.shows("LOG 1 lines")
        await screen.term.press("C")
        await screen.term.shows("the lines around 2026-11-23 14:02:11")
        text = screen.term.text()
        assert screen.canned.asked(ListLog)[-1] == ListLog(after=18, limit=11)
        assert "> 14:02:11 info line 12." in text and "line 7." in text and "line 17." in text
        assert "line 6." not in text and "line 18." not in text


async def test_a_line_that_is_forgotten_has_no_context(tmp_path: Path) -> None:
    book = Book(30)
    async with log_of(book, tmp_path) as screen:
        book.rows.clear()
        await screen.term.press("C")
        await screen.term.shows("the daemon remembers this line no longer")


# -- One line ------------------------------------------------------------------------------------------------------


async def test_a_long_line_is_whole_below_the_list(tmp_path: Path) -> None:
    book = Book()
    book.write("one two three " * 12 + "the end\nTraceback of it")
    async with log_of(book, tmp_path) as screen:
        await screen.term.shows("three the end")
        await screen.term.press("enter")
        await screen.term.shows("Traceback of it")


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("mail.held mail=17 touchpoint=1 'x'", "MailPage"),
        ("mail 17: its notice could not be written", "MailPage"),
        ("touchpoint.backoff touchpoint=2 'x'", "TouchpointPage"),
    ],
)
async def test_enter_opens_what_a_line_names(text: str, page: str, tmp_path: Path) -> None:
    book = Book()
    book.write(text)
    async with log_of(book, tmp_path) as screen:
        await screen.term.press("enter")
        await until(lambda: type(screen.term.ui.view).__name__ == page, page)


@pytest.mark.parametrize(("named", "page"), [("17", "MailPage"), ("<a@b>", "WhyPage")])
async def test_a_mails_whole_walk_is_asked_for_by_number_or_message_id(named: str, page: str, tmp_path: Path) -> None:
    async with log_of(Book(3), tmp_path) as screen:
        await screen.term.press("m")
        await screen.term.shows("one mail's whole walk")
        await screen.term.type(named)
        await screen.term.press("enter")
        await until(lambda: type(screen.term.ui.view).__name__ == page, page)


# -- When it cannot be -----------------------------------------------------------------------------------------------


async def test_agents_are_told_that_the_log_is_not_for_them(tmp_path: Path) -> None:
    async with log_of(Book(3), tmp_path, roles=frozenset({Role.AGENT})) as screen:
        await screen.term.shows("not shown to your role (agent): the log")
        assert not screen.canned.asked(ListLog)
        await screen.term.press("e")
        await screen.term.shows("not with your roles (agent)")


async def test_what_the_daemon_refuses_is_said(tmp_path: Path) -> None:
    async with log_of(Book(3), tmp_path) as screen:
        screen.canned.answers[ListLog] = Refused("not today")
        await screen.after(1.0)
        await screen.term.shows("not today")
        assert "line 3." in screen.term.text()
        screen.canned.answers[ListLog] = Book(4).page
        await screen.after(1.0)
        await screen.term.hides("not today")


# -- The audit -----------------------------------------------------------------------------------------------------


def change(number: int, **more: Any) -> AuditRow:
    """A change that somebody made."""
    values: dict[str, Any] = {
        "id": number, "at": NOW - 60, "actor": "ops", "uid": 1000, "role": "ops", "verb": "touchpoint.edit",
        "subject": "support@acme.example", "detail": '{"name": "Help", "was": {"name": "Support"}}',
    }  # fmt: skip
    return AuditRow(**(values | more))


def audit_of(rows: list[AuditRow]) -> Any:
    """Answers as the daemon does."""

    def answer(call: ListAudit) -> Page[AuditRow]:
        found = [
            row for row in sorted(rows, key=lambda row: -row.id)
            if (not call.after or row.id < call.after) and call.text in f"{row.verb} {row.subject} {row.detail}"
        ]  # fmt: skip
        more = len(found) > call.limit
        return Page(rows=tuple(found[: call.limit]), next=found[call.limit - 1].id if more else 0)

    return answer


@asynccontextmanager
async def the_audit(rows: list[AuditRow], tmp_path: Path, **more: Any) -> AsyncIterator[Screen]:
    """The audit, opened from the log."""
    async with log_of(Book(3), tmp_path, audit=audit_of(rows), **more) as screen:
        await screen.term.press("e")
        await until(lambda: isinstance(screen.term.ui.view, Audit), "the audit is shown")
        await screen.after(0.0)
        await screen.term.quiet()
        yield screen


async def test_the_audit_says_who_changed_what_from_what_and_whence(tmp_path: Path) -> None:
    row = change(1, detail='{"name": "Help", "was": {"name": "Support"}, "via": "ssh 192.0.2.7"}')
    async with the_audit([row], tmp_path) as screen:
        await screen.term.shows(">11-23 14:01  ops (1000)")
        text = screen.term.text()
        assert "touchpoint.edit        support@acme.example" in text
        assert "ops (uid 1000, ops), via ssh 192.0.2.7" in text
        assert "name: Support -> Help" in text
        await screen.term.press("e")
        await until(lambda: isinstance(screen.term.ui.view, Logs), "the log again")


async def test_new_changes_come_in_above_and_older_ones_below(tmp_path: Path) -> None:
    rows = [change(number, subject=f"t{number}@acme.example") for number in range(1, 151)]
    async with the_audit(rows, tmp_path) as screen:
        await screen.term.shows("AUDIT 100 changes and older ones")
        rows.append(change(151, subject="t151@acme.example"))
        await screen.after(5.0)
        await screen.term.shows("AUDIT 101 changes")
        under = next(line for line in screen.term.text().splitlines() if line.startswith(">"))
        assert "t150@acme.example" in under
        await screen.term.press("G")
        await screen.term.shows("AUDIT 151 changes   filter")


async def test_the_audit_is_filtered_by_the_daemon(tmp_path: Path) -> None:
    async with the_audit([change(1), change(2, verb="mail.move", subject="mail 17")], tmp_path) as screen:
        await screen.term.press("/")
        await screen.term.type("move")
        await screen.term.hides("touchpoint.edit")
        assert screen.canned.asked(ListAudit)[-1].text == "move"
        await screen.term.press("enter", "Y")
        assert screen.term.ui.last_copied == "postroom audit list --text move"


@pytest.mark.parametrize(
    ("row", "page"),
    [
        (change(1, verb="mail.move", subject="mail 17"), "MailPage"),
        (change(1), "TouchpointPage"),
        (change(1, verb="relay_user.edit", subject="billing"), "RelayUsers"),
        (change(1, verb="ring_group.create", subject="Front office"), "Audit"),
    ],
)
async def test_enter_on_a_change_opens_what_it_was_about(row: AuditRow, page: str, tmp_path: Path) -> None:
    async with the_audit([row], tmp_path) as screen:
        await screen.term.press("enter")
        if page == "Audit":
            await screen.term.shows("Front office has no page")
        await until(lambda: type(screen.term.ui.view).__name__ == page, page)


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("{}", ()),
        ("", ()),
        ('{"password": "changed"}', (("password", "changed"),)),
        ('{"name": "B", "was": {"name": "A"}}', (("name", "A -> B"),)),
        ('{"was": {"active": 1}}', (("active", "1 -> (nothing)"),)),
        ('{"notify": "", "was": {"notify": "a@b.example"}}', (("notify", "a@b.example -> (nothing)"),)),
        ('{"from": ["Front"], "to": ["Back", "VIP"]}', (("", "Front -> Back, VIP"),)),
        ('{"was": "x"}', (("was", "x"),)),
        ("[1, 2]", (("", "[1, 2]"),)),
        ("not JSON \x1b[2J", (("", "not JSON \\x1b[2J"),)),
        ('{"name": "\\u001b]52;c;x\\u0007 \\u202e"}', (("name", "\\x1b]52;c;x\\x07 \\u202e"),)),
        ('{"n\\u001b": {"a": "\u009b"}}', (("n\\x1b", '{"a": "\\x9b"}'),)),
    ],
)
def test_the_detail_of_a_change_in_words_that_are_safe(detail: str, told: tuple[tuple[str, str], ...]) -> None:
    assert changed(change(1, detail=detail)).detail == told


def test_who_and_where_are_safe_to_show() -> None:
    made = changed(replace(change(1, actor="o\x1bps", subject="x\x07"), detail='{"via": "ssh \\u001b[31m"}'))
    assert (made.row.actor, made.subject, made.via, made.detail) == ("o\\x1bps", "x\\x07", "ssh \\x1b[31m", ())


async def test_the_menu_of_a_line_says_which_line_it_is(tmp_path: Path) -> None:
    async with log_of(Book(7), tmp_path) as screen:
        await screen.term.press("a")
        await screen.term.shows("Y copies the command")
        title = next(each for each in screen.term.text().splitlines() if "┌" in each)
        assert f"{clock(NOW)} line 7." in title

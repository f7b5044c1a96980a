"""Screen 1: stations, what needs a person, what happens, and the account; on a canned daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.control import Event, GetStages, GetStatus, MailRow, NeedRow, Role
from tests.tui.canned import ACCOUNT, NOW, Canned, mail, need, served, short, stage, stages, status, touchpoint, until
from tests.tui.screen import Clock, Terminal, terminal
from tui.glyphs import Glyphs
from tui.lines import text_of
from tui.link import DaemonLink, Listener
from tui.views import overview
from tui.views.feed import became
from tui.views.overview import Overview
from tui.views.stations import account_lines, seconds, station_lines

PRESS = touchpoint(
    2, "press@acme.example", name="Press", state="lost", cause="credential", reason="wrong password", parked=31
)
LOST = need(
    "lost", touchpoint=PRESS.address, count=31, since=NOW - 17_500, words="connection lost (credential)",
    command="postroom touchpoint connect press@acme.example",
)  # fmt: skip
HELD = need()
FAILED = need("failed", count=2, words="2 mail failed", since=NOW - 400, command="postroom spool list --state failed")
UNASSIGNED = need("unassigned", words="3 mail queued for no ring group", command="postroom queue list --unassigned")
STATIONS = stages(
    stage("fetch", waiting=3, p95=0.2), stage("ingest"), stage("blocklist"), stage("auto_reply"), stage("ring_group"),
    stage("relay"), stage("signature"), stage("send", p50=0.34, p95=1.1, waiting=41, errors_hour=9),
)  # fmt: skip


def house(*needs: NeedRow, **more: Any) -> Canned:
    """Two touchpoints, all stations, and these needs."""
    roles = more.pop("roles", frozenset({Role.ADMIN}))
    told = status((touchpoint(1), PRESS), needs_you=needs, **more)
    return Canned({GetStatus: told, GetStages: STATIONS}, roles=roles)


@asynccontextmanager
async def overview_of(canned: Canned, tmp_path: Path, **more: Any) -> AsyncIterator[Terminal]:
    """The screen, loaded, on a clock that stands still."""
    async with served(canned, short(tmp_path)) as path, terminal(path, now=Clock(), **more) as term:
        await until(lambda: term.ui.picture.told_at, "the daemon told its status")
        if canned.roles != {Role.AGENT}:
            await until(lambda: term.ui.stages, "the stages are told")
        term.ui.tick()
        await term.pilot.pause()
        yield term


def happened(number: int, what: str = "mail.assigned", words: str = "", **more: Any) -> Event:
    """Something happened to a mail."""
    return Event(what=what, words=words, mail=mail(number, f"Question {number}", **more))


async def test_what_is_about_no_touchpoint_offers_no_command_for_one(tmp_path: Path) -> None:
    async with overview_of(house(HELD), tmp_path) as term:
        await term.press("a")
        await term.shows("this is about no touchpoint")
        assert "postroom touchpoint show" not in term.text()
        await term.press("Y")
        assert term.ui.last_copied == ""


# -- What stands on it ---------------------------------------------------------------------------------------------


async def test_one_screen_holds_the_stations_the_needs_the_feed_and_the_account(tmp_path: Path) -> None:
    canned = house(LOST, HELD, FAILED)
    async with overview_of(canned, tmp_path) as term:
        canned.tell(happened(1), happened(2, "mail.failed", "550 5.1.1 no such user", direction="out"))
        await term.shows("Question 2")
        lines = term.text().splitlines()
    assert lines[2].startswith(" PIPELINE") and lines[2].endswith("errors/h")
    assert [line.split()[0] for line in lines[3:11]] == [
        "fetch", "ingest", "blocklist", "auto_reply", "ring_group", "relay", "signature", "send",
    ]  # fmt: skip
    assert lines[10].split()[1:4] == ["7.6", "1.10", "s"] and lines[10].endswith(" 9")
    assert lines[11].startswith(" NEEDS YOU (3)")
    assert " ".join(lines[12].split()) == ">x press@acme.example connection lost (credential), 31 kept 4 h 51 m"
    assert "2 mail failed" in lines[14] and lines[14].startswith(" !")
    assert lines[15].startswith(" LIVE  following")
    assert lines[16].startswith(" 14:02:11  out   support     Question 2")
    assert lines[16].rstrip("…").endswith("FAILED 550 5.1.1 no such")
    assert lines[17].startswith(" 14:02:11  in    support     Question 1") and "-> Front office" in lines[17]
    assert lines[21].startswith(" in  taken 41,882 = queued 41,806 + stopped 70 + held 6   ")
    assert lines[21].endswith("   difference 0")
    assert lines[22] == " out accepted 22,266 = delivered 22,190 + waiting 43 + parked 31 + failed 2"
    assert canned.asked(GetStages) and len(lines) == 24


async def test_a_wide_screen_shows_more_numbers_and_the_details_of_what_is_selected(tmp_path: Path) -> None:
    async with overview_of(house(LOST), tmp_path, size=(160, 48)) as term:
        await term.shows("what helps")
        text = term.text()
        for words in ("p50", "p99", "since start", "41,882", "wrong password", LOST.command, "since 2026-11-23 09:10"):
            assert words in text, words


async def test_without_needs_it_says_so_and_shows_the_house_beside(tmp_path: Path) -> None:
    async with overview_of(house(), tmp_path, size=(160, 48)) as term:
        await term.shows("NEEDS YOU  nothing")
        assert "postroom 0.1.0, up 24 h" in term.text() and "1 lost" in term.text()


async def test_a_difference_in_the_account_is_an_alarm(tmp_path: Path) -> None:
    async with overview_of(house(account=ACCOUNT | {"queued": 41_804}), tmp_path) as term:
        await term.shows("difference 2")
        styles = [style for line in term.ui.view.account._lines for _, style in line]  # type: ignore[union-attr]
        assert "alarm" in styles


async def test_agents_see_no_stations_and_no_account_and_are_told_why(tmp_path: Path) -> None:
    canned = house(account={}, roles=frozenset({Role.AGENT}))
    async with overview_of(canned, tmp_path) as term:
        await term.shows("Your role (agent) sees no stations, no account")
        canned.tell(happened(1))
        await term.shows("Question 1")
        assert "the account is for audit, ops and admin" in term.text()
    assert not canned.asked(GetStages)


class Slow(DaemonLink):
    """A connection that has not come about yet."""

    async def run(self, listener: Listener, chance: Any = None) -> None:
        await asyncio.Event().wait()


async def test_before_the_first_answer_it_says_that_it_asks(tmp_path: Path) -> None:
    async with terminal(short(tmp_path), link=Slow(short(tmp_path))) as term:
        await term.shows("asking the daemon ...")
        assert "asking for the account" in term.text()


async def test_where_there_is_no_daemon_it_says_what_to_do(tmp_path: Path) -> None:
    async with terminal(short(tmp_path)) as term:
        await term.shows("start one: postroom run")
        assert "asking the daemon ..." not in term.text()


async def test_without_a_connection_the_last_numbers_stay(tmp_path: Path) -> None:
    canned = house(HELD)
    async with overview_of(canned, tmp_path) as term:
        await term.shows("6 mail held")
        await canned.server.close(remove=short(tmp_path))
        await term.shows("NO CONNECTION")
        assert "6 mail held" in term.text() and "difference 0" in term.text() and "send " in term.text()


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (160, 48)])
async def test_every_size_keeps_a_need_the_feed_and_the_difference(size: tuple[int, int], tmp_path: Path) -> None:
    canned = house(*(replace(HELD, touchpoint=f"t{n}@acme.example") for n in range(30)))
    async with overview_of(canned, tmp_path, size=size) as term:
        canned.tell(happened(1))
        await term.shows("14:02:11  in")
        text = term.text()
        assert "6 mail held" in text and "NEEDS YOU (30)" in text and "difference 0" in text


# -- The cursor ----------------------------------------------------------------------------------------------------


async def test_the_feed_follows_while_the_cursor_is_elsewhere_and_stands_still_under_it(tmp_path: Path) -> None:
    canned = house(HELD)
    async with overview_of(canned, tmp_path) as term:
        canned.tell(*map(happened, range(1, 31)))
        await term.shows("Question 30")
        await term.press("down", "down")
        await term.shows(">14:02:11  in    support     Question 29")
        before = [line for line in term.text().splitlines() if "Question" in line]
        canned.tell(happened(99))
        await term.shows("2 newer above")
        assert [line for line in term.text().splitlines() if "Question" in line] == before
        await term.press("up", "up", "up")
        await term.shows("LIVE  following")
        assert "Question 99" in term.text() and ">o  held" in term.text()
        canned.tell(happened(100))
        await term.shows("Question 100")


async def test_escape_takes_the_cursor_out_of_the_feed(tmp_path: Path) -> None:
    canned = house()
    async with overview_of(canned, tmp_path) as term:
        canned.tell(happened(1), happened(2))
        await term.shows("Question 2")
        await term.press("G")
        await term.shows(">14:02:11  in    support     Question 1")
        await term.press("escape")
        await term.shows("LIVE  following")
        assert term.ui.view is not None and term.ui.view.current is None


async def test_the_cursor_goes_through_both_lists(tmp_path: Path) -> None:
    canned = house(LOST, HELD)
    async with overview_of(canned, tmp_path) as term:
        canned.tell(happened(1), happened(2))
        await term.shows("Question 2")
        seen = []
        for key in ("down", "j", "end", "home", "pagedown", "k"):
            await term.press(key)
            row = term.ui.view.current  # type: ignore[union-attr]
            seen.append(row.kind if isinstance(row, NeedRow) else row.event.mail.id)  # type: ignore[union-attr]
        assert seen == ["held", 2, 1, "lost", "held", "lost"]


async def test_a_need_that_is_met_goes_and_the_cursor_with_it(tmp_path: Path) -> None:
    canned = house(LOST)
    async with overview_of(canned, tmp_path) as term:
        await term.shows("NEEDS YOU (1)")
        canned.answers[GetStatus] = replace(canned.status_now(), needs_you=())
        canned.tell(happened(1))
        await term.shows("NEEDS YOU  nothing")
        await term.press("enter")
        await term.shows("there is no row under the cursor")
        canned.answers[GetStatus] = replace(canned.status_now(), needs_you=(HELD,))
        canned.tell(happened(2))
        await term.shows(">o  held")


# -- What can be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "screen", "page"),
    [
        (LOST, "overview", "TouchpointPage"),
        (replace(LOST, kind="backoff"), "overview", "TouchpointPage"),
        (replace(LOST, touchpoint="", words="7 more touchpoints lost their connection"), "touchpoints", ""),
        (HELD, "held", ""),
        (FAILED, "held", ""),
        (replace(HELD, kind="unknown"), "held", ""),
        (UNASSIGNED, "queues", ""),
    ],
    ids=lambda value: value.kind if isinstance(value, NeedRow) else str(value),
)
async def test_enter_on_a_need_opens_what_helps(row: NeedRow, screen: str, page: str, tmp_path: Path) -> None:
    async with overview_of(house(row), tmp_path) as term:
        await term.shows(row.words[:20])
        await term.press("enter")
        await until(lambda: not isinstance(term.ui.view, Overview), "another view is shown")
        assert term.ui.screen_name == screen
        assert not page or type(term.ui.view).__name__ == page


async def test_enter_on_a_line_of_the_feed_opens_the_mail_or_the_touchpoint(tmp_path: Path) -> None:
    canned = house()
    async with overview_of(canned, tmp_path) as term:
        canned.tell(happened(17))
        canned.tell(Event(what="touchpoint.connection_lost", words="credential", touchpoint=PRESS))
        await term.shows("x LOST credential")
        await term.press("end", "enter")
        await until(lambda: type(term.ui.view).__name__ == "MailPage", "the mail's page")
        await term.press("escape", "home", "enter")
        await until(lambda: type(term.ui.view).__name__ == "TouchpointPage", "the touchpoint's page")


async def test_the_act_is_about_the_row_of_the_moment_when_its_key_was_pressed(tmp_path: Path) -> None:
    canned = house(LOST, HELD)
    async with overview_of(canned, tmp_path) as term:
        await term.shows(">x  press@")
        await term.press("a")
        await term.shows("Its touchpoint")
        assert "postroom touchpoint show press@acme.example" in term.text()
        canned.answers[GetStatus] = replace(canned.status_now(), needs_you=(HELD,))
        canned.tell(happened(1))
        await until(lambda: len(term.ui.picture.needs) == 1, "the need is met")
        await term.press("t")
        await until(lambda: type(term.ui.view).__name__ == "TouchpointPage", "the touchpoint's page")


async def test_what_is_about_no_touchpoint_says_so(tmp_path: Path) -> None:
    async with overview_of(house(HELD), tmp_path) as term:
        await term.shows(">o  held")
        await term.press("t")
        await term.shows("this is about no touchpoint")


async def test_y_copies_the_command_of_a_need_and_the_message_id_of_a_mail(tmp_path: Path) -> None:
    canned = house(LOST)
    async with overview_of(canned, tmp_path) as term:
        canned.tell(happened(17))
        await term.shows("Question 17")
        copied = []
        for keys in (("y",), ("Y",), ("down", "y"), ("Y",)):
            await term.press(*keys)
            copied.append(term.ui.last_copied)
        assert copied == [LOST.command, LOST.command, "<m17@shop.example>", "postroom why 17"]


async def test_the_filter_leaves_what_holds_it(tmp_path: Path) -> None:
    canned = house(HELD)
    async with overview_of(canned, tmp_path) as term:
        canned.tell(happened(1), happened(2, "mail.held", "by pattern", cause="blocked", state="held"))
        await term.shows("Question 2")
        await term.press("/")
        await term.type("blocked")
        await term.hides("Question 1")
        assert "HELD blocked" in term.text() and "filter: blocked" in term.text()
        await term.press("enter")
        assert "6 mail held" in term.text()  # what needs a person is never filtered away


# -- It is cheap ---------------------------------------------------------------------------------------------------


async def test_nothing_is_drawn_again_where_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canned = house(LOST, HELD)
    async with overview_of(canned, tmp_path, size=(160, 48)) as term:
        canned.tell(*map(happened, range(1, 30)))
        await term.shows("Question 29")
        await asyncio.sleep(0.2)
        view = term.ui.view
        assert isinstance(view, Overview)
        drawn: list[str] = []
        for part in (view.stations, view.needs, view.feed, view.account, view.pager, view.need_title, view.feed_title):
            name = type(part).__name__
            monkeypatch.setattr(part, "refresh", lambda *regions, name=name, **more: drawn.append(name))
        for _ in range(5):
            term.ui.tick()
        assert drawn == []
        term.ui.stages = replace(STATIONS, rows=(replace(STATIONS.rows[0], rate=8.0), *STATIONS.rows[1:]))
        term.ui.tick()
        assert drawn == ["Pager"]


def test_the_line_of_a_station_does_not_change_with_the_minute_that_is_not_over() -> None:
    rows = [stage("fetch", minutes=(*range(59), last)) for last in (0, 7, 10_000)]
    for glyphs in Glyphs:
        assert len({tuple(station_lines([row], 80, glyphs)) for row in rows}) == 1, glyphs


# -- Words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 79, 80, 99, 100, 106, 160])
def test_the_lines_of_stations_fit_and_stand_below_their_heads(width: int) -> None:
    lines = [text_of(each) for each in station_lines([stage("a" * 30, total=10**9)], width, Glyphs.BLOCK)]
    assert all(len(each) <= width for each in lines)
    assert len(lines[0]) == len(lines[1])


@pytest.mark.parametrize("width", [60, 80, 160])
def test_an_account_with_everything_in_it_is_folded_and_not_cut(width: int) -> None:
    full = dict.fromkeys(ACCOUNT, 123_456)
    lines = [text_of(each) for each in account_lines(full, 7, width)]
    text = " ".join(" ".join(lines).split())
    for words in ("taken 123,456 =", "dropped 123,456", "unknown 123,456", "accepted 123,456 =", "difference 7"):
        assert words in text, words
    assert all(len(each) <= width for each in lines)
    assert sum("difference" in each for each in lines) == 1


@pytest.mark.parametrize(
    ("length", "words"),
    [(0.0, "-"), (0.00012, "0.12 ms"), (0.0099, "9.90 ms"), (0.2, "200 ms"), (1.1, "1.10 s"), (61.0, "61 s")],
)
def test_how_long_a_mail_takes_in_words(length: float, words: str) -> None:
    assert seconds(length) == words


@pytest.mark.parametrize(
    ("what", "row", "words", "said"),
    [
        ("mail.assigned", mail(), "", "-> Front office"),
        ("mail.assigned", mail(queues=()), "", "-> no queue"),
        ("mail.answered", mail(), "", "-> Front office, auto-reply"),
        ("mail.stopped", mail(reason="bounce of ours"), "", "stopped: bounce of ours"),
        ("mail.held", mail(cause="blocked"), "by @spam.example", "HELD blocked: by @spam.example"),
        ("mail.undecided", mail(), "", "decided later"),
        ("mail.accepted", mail(), "", "-> outbox"),
        ("mail.delivered", mail(), "250 OK", "delivered 250 OK"),
        ("mail.deferred", mail(), "451\nlater", "later: 451 later"),
        ("mail.failed", mail(), "550 no", "FAILED 550 no"),
        ("mail.unknown", mail(), "no answer", "outcome unknown: no answer"),
        ("mail.changed", mail(), "retry by ops", "retry by ops"),
        ("mail.of.a.later.version", mail(), "", "queued"),
    ],
)
def test_what_became_of_a_mail_in_words(what: str, row: MailRow, words: str, said: str) -> None:
    assert became(Event(what=what, words=words, mail=row), row)[0] == said


async def test_more_events_than_are_kept_keep_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FEED", 5)
    canned = house()
    async with overview_of(canned, tmp_path) as term:
        canned.tell(*map(happened, range(1, 9)))
        await term.shows("Question 8")
        view = term.ui.view
        assert isinstance(view, Overview)
        assert [row.event.mail.id for row in view.feed.rows if row.event.mail] == [8, 7, 6, 5, 4]

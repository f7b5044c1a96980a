"""Outbox: the grid of ages, the mail behind it with the servers' words, and what can be done to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.control import (
    DropMail,
    GetStatus,
    HoldMail,
    ListMail,
    MailRow,
    ReleaseMail,
    RetryMail,
    Shape,
    ShapeOutbox,
    ShapeRow,
    ShowMail,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, status, touchpoint, until
from tests.tui.mail_desk import AGENT, MailDesk, at, attempt, detail, outgoing
from tui.views.outbox import OutboxPage, merged, short, span

BOUNDS = (5, 10, 20, 40, 80, 160, 320, 640, 1280)


def shape(*rows: ShapeRow, more: int = 0) -> Shape:
    return Shape(bounds=BOUNDS, rows=rows, more=more)


def row(name: str, *ages: int, parked: int = 0) -> ShapeRow:
    return ShapeRow(name=name, total=sum(ages), parked=parked, ages=(*ages, *[0] * (10 - len(ages))))


GRID = shape(
    row("gmail.example", 2, 4, 3, 0, 0, 0, 0, 0, 9, parked=3), row("acme.example", 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
)
BY_TOUCHPOINT = shape(row("support@acme.example", 1), row("press@acme.example", 0, 0, 31, parked=31))
HOUSE = status(
    (
        touchpoint(1),
        touchpoint(2, "press@acme.example", state="lost", cause="credential", reason="the password was changed"),
    )
)


def answer(call: ShapeOutbox) -> Shape:
    return GRID if call.by == "destination" else BY_TOUCHPOINT


def answers(**more: Any) -> dict[Any, Any]:
    return {ShapeOutbox: answer, GetStatus: HOUSE, **more}


def desk_of(*mails: MailRow) -> MailDesk:
    return MailDesk(mails)


def page(shown: Any) -> OutboxPage:
    view = shown.ui.view
    assert isinstance(view, OutboxPage)
    return view


# -- The grid --------------------------------------------------------------------------------------------------------


def test_columns_of_age_add_up_whatever_bounds_the_daemon_has() -> None:
    for bounds in (BOUNDS, BOUNDS[:1], BOUNDS[:4], tuple(range(1, 14)), ()):
        columns = merged(bounds)
        assert [at for _, ages in columns for at in ages] == list(range(len(bounds) + 1))
        assert len(columns) <= 6
    assert [title for title, _ in merged(BOUNDS)] == ["<5m", "<20m", "<80m", "<5h", "<21h", ">21h"]


@pytest.mark.parametrize(("minutes", "words"), [(5, "5m"), (80, "80m"), (160, "3h"), (1280, "21h"), (2880, "2d")])
def test_a_bound_of_age_in_words(minutes: int, words: str) -> None:
    assert span(minutes) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (999, "999"), (9_999, "9k"), (10_000, "10k"), (999_999, "999k"), (1_500_000, "1M")]
)
def test_a_number_never_takes_more_than_four_cells(number: int, words: str) -> None:
    assert short(number) == words


def test_where_there_is_room_its_thousands_are_set_apart() -> None:
    assert [short(number, 6) for number in (1_029, 99_999, 100_000)] == ["1,029", "99,999", "100k"]


async def test_the_grid_shows_age_by_destination_and_s_turns_it_to_touchpoints(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "outbox", answers()) as (shown, canned):
        lines = shown.text().splitlines()
        assert lines[3].split() == ["destination", "total", "parked", "<5m", "<20m", "<80m", "<5h", "<21h", ">21h"]
        assert lines[4].split() == [">gmail.example", "18", "3", "2", "7", "-", "-", "9", "-"]
        assert lines[5].split() == ["acme.example", "1", "-", "-", "-", "-", "-", "-", "1"]
        assert "43 waiting · 31 parked" in lines[2]
        await shown.press("s")
        await shown.shows("press@acme.example")
        assert [call.by for call in canned.asked(ShapeOutbox)] == ["destination", "touchpoint"]
        await shown.press("j")
        await shown.shows("press@acme.example is LOST (credential): the password was changed")


@pytest.mark.parametrize("width", [80, 120, 160])
async def test_the_oldest_column_is_there_at_every_width(tmp_path: Path, width: int) -> None:
    async with at(desk_of(), tmp_path, "outbox", answers(), size=(width, 24)) as (shown, _):
        assert ">21h" in shown.text().splitlines()[3]


async def test_what_the_grid_leaves_out_is_said(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "outbox", answers() | {ShapeOutbox: shape(row("a.example", 1), more=20)}) as (
        shown,
        _,
    ):
        await shown.shows("20 more not shown")


async def test_agents_are_told_that_the_outbox_is_not_for_them(tmp_path: Path) -> None:
    refused = {ShapeOutbox: Refused("this needs one of the roles admin, audit, ops")}
    async with at(desk_of(), tmp_path, "outbox", refused, roles=AGENT) as (shown, _):
        await shown.shows("this needs one of the roles")


# -- The mail behind it ----------------------------------------------------------------------------------------------


async def test_a_touchpoint_opens_its_mail_by_id(tmp_path: Path) -> None:
    desk = desk_of(outgoing(7), outgoing(8, touchpoint="press@acme.example", touchpoint_id=2, state="parked"))
    async with at(desk, tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("s")
        await shown.shows("by touchpoint")
        await shown.shows("press@acme.example")
        await shown.press("j", "enter")
        await shown.shows("OUTBOX press@acme.example")
        await shown.shows("Quote 8")
        asked = canned.asked(ListMail)[0]
        assert (asked.direction, asked.state, asked.touchpoint) == ("out", "unsettled", "2")
        assert "Quote 7" not in shown.text()


async def test_mail_to_nobody_opens_no_list_of_all_mail_in_its_place(tmp_path: Path) -> None:
    nobody = shape(row("", 3))
    async with at(desk_of(outgoing(7)), tmp_path, "outbox", answers() | {ShapeOutbox: nobody}) as (shown, canned):
        await shown.shows("(nobody)")
        await shown.press("enter")
        await shown.shows("these go to nobody: o lists them")
        assert not canned.asked(ListMail)


async def test_a_destination_shows_only_its_mail_and_looks_on_for_more_by_itself(tmp_path: Path) -> None:
    others = [outgoing(number, "a@other.example") for number in range(10, 700)]
    far = outgoing(2, "far@gmail.example")
    near = outgoing(800, "near@gmail.example")
    lookalike = outgoing(801, "x@gmail.example.evil.test")
    async with at(desk_of(*others, far, near, lookalike), tmp_path, "outbox", answers()) as (shown, _):
        await shown.press("enter")
        await shown.shows("near@gmail.example")
        await shown.shows("far@gmail.example")
        await shown.shows("OUTBOX to gmail.example  unsettled · 2 of 693 loaded")
        assert "evil" not in shown.text()


async def test_attempts_show_the_words_of_the_server(tmp_path: Path) -> None:
    tries = (attempt(600), attempt(4_000, code=451, text="4.3.0 mailbox busy"))
    shows = {ShowMail: lambda call: detail(outgoing(call.id), attempts=tries)}
    async with at(desk_of(outgoing(7)), tmp_path, "outbox", answers() | shows) as (shown, _):
        await shown.press("o")
        await shown.shows("It is tried again in 5 m; the server said: 421 4.7.0 try again later.")
        await shown.shows("451 4.3.0 mailbox busy")
        assert "smtp.acme.example:465" in shown.text()


async def test_whom_it_goes_to_is_filtered_here_and_the_subject_by_the_daemon(tmp_path: Path) -> None:
    desk = desk_of(outgoing(1, "a@one.example"), outgoing(2, "a@two.example"), outgoing(3, "b@two.example"))
    async with at(desk, tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("o")
        await shown.shows("Quote 3")
        await shown.press("/")
        shown.ui.desk.prompt.value = "@two quote"
        await shown.press("enter")
        await shown.hides("a@one.example")
        assert {each.id for each in page(shown).list.rows} == {2, 3}
        await until(lambda: canned.asked(ListMail)[-1].subject == "quote", "the daemon filters the subject")
        assert canned.asked(ListMail)[-1].author == ""


async def test_a_retry_of_several_is_counted_and_leaves_out_what_cannot_be_retried(tmp_path: Path) -> None:
    desk = desk_of(
        outgoing(1, "a@one.example", state="failed"),
        outgoing(2, "a@two.example"),
        outgoing(3, "b@two.example", state="parked"),
        outgoing(4, state="active"),
        outgoing(5, state="held", cause="by-person"),
    )
    async with at(desk, tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("o")
        await shown.shows("5 loaded")
        await shown.press("*", "r")
        await shown.shows("Retries 3 mails to 2 domains now. 1 of them is parked")
        await shown.shows("2 of the marked are")
        await shown.press("y")
        await shown.shows("3 mails: to be tried now")
        assert {call.id for call in canned.asked(RetryMail)} == {1, 2, 3}


async def test_an_act_that_none_of_the_rows_allows_says_why(tmp_path: Path) -> None:
    async with at(desk_of(outgoing(1, state="active")), tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("o")
        await shown.shows("1 loaded")
        for key, words in (
            ("r", "it is active"),
            ("h", "it is active"),
            ("u", "it is active, not held"),
            ("x", "it is active"),
        ):
            await shown.press(key)
            await shown.shows(words)
        assert not [call for call in canned.made if type(call) in (RetryMail, HoldMail, ReleaseMail, DropMail)]


async def test_dropping_several_takes_their_number_in_words(tmp_path: Path) -> None:
    desk = desk_of(outgoing(1), outgoing(2))
    async with at(desk, tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("o")
        await shown.shows("2 loaded")
        await shown.press("*", "x")
        await shown.shows("type drop 2 mails to do it")
        await shown.type("y")
        await shown.press("enter")
        assert not canned.asked(DropMail)
        await shown.type("drop 2 mails")
        await shown.press("enter")
        await shown.shows("2 mails: given up")
        assert {call.id for call in canned.asked(DropMail)} == {1, 2}
        await shown.shows("no such mail waits to go out")


async def test_a_release_of_what_may_have_arrived_warns_of_the_second_copy(tmp_path: Path) -> None:
    desk = desk_of(outgoing(1, state="held", cause="unknown-outcome"))
    async with at(desk, tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("o")
        await shown.shows("1 loaded")
        await shown.press("u")
        await shown.shows("It may have arrived already")
        await shown.press("y")
        await shown.shows("mail 1: released")
        assert [call.id for call in canned.asked(ReleaseMail)] == [1]


async def test_a_connection_that_breaks_in_the_middle_says_how_far_it_came(tmp_path: Path) -> None:
    desk = desk_of(*(outgoing(number) for number in range(1, 41)))
    async with at(desk, tmp_path, "outbox", answers()) as (shown, canned):
        await shown.press("o")
        await shown.shows("40 loaded")
        tried: list[Any] = []
        shown.ui.link.call = _breaking(shown.ui.link.call, 20, tried)
        await shown.press("*", "r")
        await shown.shows("Retries 40 mails")
        await shown.press("y")
        await shown.shows("20 of 40 mails: to be tried now. Then the daemon went away")
        assert len(canned.asked(RetryMail)) == 20
        assert len(tried) == 32, "what was in flight is lost, and nothing more is tried"


def _breaking(call: Any, after: int, made: list[Any]) -> Any:
    """The same, until so many retries went through."""
    from gateway.client import Unreachable

    async def broken(asked: Any) -> Any:
        if isinstance(asked, RetryMail):
            made.append(asked)
            if len(made) > after:
                raise Unreachable("the daemon went away")
        return await call(asked)

    return broken


async def test_states_are_a_key_away(tmp_path: Path) -> None:
    desk = desk_of(outgoing(1), outgoing(2, state="parked"), outgoing(3, state="failed"))
    async with at(desk, tmp_path, "outbox", answers()) as (shown, _):
        await shown.press("o")
        await shown.shows("3 loaded")
        await shown.press("t")
        await shown.shows("OUTBOX all  waiting · 1 loaded")
        await shown.press("t")
        await shown.shows("OUTBOX all  parked · 1 loaded")
        assert "Quote 2" in shown.text()


def test_next_try_is_told_in_words() -> None:
    from tui.views.mails import next_try

    assert next_try(outgoing(1, due_at=NOW + 7_800), NOW)[0] == "2 h 10 m"
    assert next_try(outgoing(1, due_at=NOW - 1), NOW)[0] == "now"
    assert next_try(outgoing(1, state="parked"), NOW)[0] == "parked"
    assert next_try(outgoing(1, state="failed"), NOW)[0] == "-"

"""The frame: who may do what, what stands still and when, undo, sizes, and the ways out."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console
from textual.events import Key, Paste

from gateway.client import CallFailed
from gateway.control import (
    DeactivateTouchpoint,
    Event,
    GetStages,
    GetStatus,
    HoldMail,
    Me,
    Role,
    ShowMail,
    ShowTouchpoint,
    Status,
    TouchpointRow,
    WhoAmI,
)
from pipeline.errors import Refused
from tests.tui.canned import ACCOUNT, Canned, served, short, status, touchpoint, until
from tests.tui.house import EVENTS, a_house
from tests.tui.screen import Clock, Terminal, terminal
from tui.acts import Act, Kind, Rows, Undo
from tui.app import UNDOS, TerminalUI
from tui.dialogs import YesNo
from tui.drafts import Drafts, title_of
from tui.frame import SCREENS, age
from tui.glyphs import Glyphs
from tui.keys import Taste
from tui.lines import Line, line
from tui.view import View
from tui.vlist import Column

ROWS = (touchpoint(1, "a@acme.example"), touchpoint(2, "b@acme.example"), touchpoint(3, "c@acme.example"))


async def _note(view: Probe, rows: Rows) -> None:
    view.done.append(tuple(row.id for row in rows))


async def _change(view: Probe, rows: Rows) -> None:
    for row in rows:
        call = DeactivateTouchpoint(touchpoint=str(row.id))
        await view.ui.change(call, f"{row.address} is off", Undo(words=f"off {row.id}", back=[call], again=[call]))


class Probe(View):
    """A screen with one act of each kind, to see what the frame makes of them."""

    NAME = "touchpoints"
    TITLE = "Probe"
    WATCHES = ("touchpoint_changes",)
    PREVIEW = 2
    COLUMNS = (Column(title="address", cell=lambda row: row.address, width=20, grow=1),)
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="probe.look", key="l", words="Look", run=_note, bar=50),
        Act(id="probe.one", key="o", words="Only this", run=_note, single=True),
        Act(id="probe.ask", key="k2 h", words="Hold ...", run=_note, kind=Kind.ASK, calls=(DeactivateTouchpoint,),
            question=lambda view, rows: f"holds {len(rows)} of them",
            why_not=lambda row: "it is locked" if row.name == "locked" else ""),
        Act(id="probe.name", key="x", words="Delete ...", run=_note, kind=Kind.NAME, single=True,
            calls=(DeactivateTouchpoint,), name=lambda rows: f"row {rows[0].id}",
            question=lambda view, rows: f"deletes {rows[0].address}"),
        Act(id="probe.change", key="t", words="Off", run=_change, kind=Kind.UNDO, calls=(DeactivateTouchpoint,),
            command="postroom touchpoint deactivate {address}"),
        Act(id="probe.read", key="r", words="Read", run=_note, calls=(ShowTouchpoint,)),
    )  # fmt: skip

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        self.done: list[tuple[int, ...]] = []

    def show(self) -> None:
        assert self.list is not None
        rows = sorted(self.ui.picture.touchpoints.values(), key=lambda row: row.address)
        self.list.set_rows([row for row in rows if self.needle in row.address])

    def details(self, row: Any, width: int) -> list[Line]:
        return [line(f"details of {row.address} {row.reason}")]


@asynccontextmanager
async def probed(
    tmp_path: Path, canned: Canned | None = None, **more: Any
) -> AsyncIterator[tuple[Canned, Terminal, Probe]]:
    """The probe in place of a screen."""
    canned = canned or Canned({GetStatus: status(ROWS), DeactivateTouchpoint: ROWS[0]})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="overview", **more) as screen:
        await until(lambda: screen.ui.stack, "the first screen is shown")
        probe = Probe(screen.ui)
        screen.ui._screens["touchpoints"] = probe
        await screen.ui.desk.content.mount(probe)
        await screen.ui.go("touchpoints")
        await screen.quiet()
        yield canned, screen, probe


def first(screen: Terminal) -> str:
    """The line that says how the house is."""
    return screen.text().splitlines()[0]


def last(screen: Terminal) -> str:
    """The line of the keys, or of what was said."""
    return screen.text().splitlines()[-1]


# -- Who may do what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "shown", "keys"),
    [
        ({Role.ADMIN}, "RW", ""),
        ({Role.OPS}, "RW", ""),
        ({Role.AUDIT}, "RO", "htx"),
        ({Role.AGENT}, "RW", "htxr"),
        (set(), "RO", "htxr"),
    ],
)
async def test_roles_decide_and_what_one_may_not_says_why(
    tmp_path: Path, roles: set[Role], shown: str, keys: str
) -> None:
    canned = Canned({GetStatus: status(ROWS)}, roles=frozenset(roles))
    async with probed(tmp_path, canned) as (_, screen, probe):
        assert f" {shown} " in first(screen)
        for key in keys:
            await screen.press(key)
            await screen.shows(f"not with your roles ({', '.join(sorted(roles)) or 'none'}); ask an admin")
            screen.ui.said = None
        assert len(screen.ui.screen_stack) == 1
        await screen.press("l")
        assert probe.done == [(1,)], "looking is for all"
        await screen.press("h" if not keys else "l")
        await until(lambda: len(screen.ui.screen_stack) == 2 or keys, "and the rest for who has the role")
        assert not canned.asked(DeactivateTouchpoint)


async def test_read_only_on_request_adds_to_it(tmp_path: Path) -> None:
    async with probed(tmp_path, read_only=True) as (canned, screen, probe):
        assert " RO " in first(screen)
        for key in "htx":
            await screen.press(key)
            await screen.shows("started with --read-only")
            screen.ui.said = None
        await screen.press("r")
        assert probe.done == [(1,)], "what only reads is done"
        with pytest.raises(CallFailed, match="started with --read-only"):
            await screen.ui.call(HoldMail(id=1))
        assert not canned.asked(HoldMail), "and nothing slips past the acts either"


async def test_an_act_that_cannot_be_done_says_its_reason_for_the_row(tmp_path: Path) -> None:
    rows = (replace(ROWS[0], name="locked"), ROWS[1])
    async with probed(tmp_path, Canned({GetStatus: status(rows)})) as (_, screen, probe):
        await screen.press("h")
        await screen.shows("Hold: it is locked")
        assert len(screen.ui.screen_stack) == 1
        await screen.press("*", "h")
        await screen.shows("holds 1 of them")
        assert "1 of the marked are left out: it is locked." in screen.text()
        await screen.press("y")
        await until(lambda: probe.done, "it is done")
        assert probe.done == [(2,)]


async def test_without_rows_there_is_nothing_to_act_on(tmp_path: Path) -> None:
    async with probed(tmp_path, Canned()) as (_, screen, probe):
        for key in ("l", "o", "t", "h", "x", "enter", "a"):
            await screen.press(key)
            await screen.shows("there is no row under the cursor")
            screen.ui.said = None
        assert probe.done == []


# -- Rows of the key press -------------------------------------------------------------------------------------------


def upset(canned: Canned) -> None:
    """The rows change places, and one comes in above."""
    canned.change(replace(ROWS[1], address="zz@acme.example"))
    new = touchpoint(9, "0@acme.example")
    canned.answers[GetStatus] = replace(canned.status_now(), touchpoints=(*canned.status_now().touchpoints, new))
    canned.change(new, "touchpoint.created")


@pytest.mark.parametrize(
    ("key", "answer", "question"),
    [
        ("h", ["y"], "holds 1 of them"),
        ("x", [*"row 2", "enter"], "deletes b@acme.example"),
        ("a", ["l"], "Look"),
    ],
)
async def test_what_happens_while_a_question_is_open_moves_nothing_and_changes_no_answer(
    tmp_path: Path, key: str, answer: list[str], question: str
) -> None:
    async with probed(tmp_path) as (canned, screen, probe):
        await screen.press("j", key)
        await screen.shows(question)
        upset(canned)
        await until(lambda: 9 in screen.ui.picture.touchpoints, "the events are here")
        screen.ui.tick()
        assert probe.list is not None
        assert [row.id for row in probe.list.rows] == [1, 2, 3], "nothing moves behind the question"
        await screen.press(*answer)
        await until(lambda: probe.done, "it is done")
        assert probe.done == [(2,)], "to the row of the key press"
        await screen.shows("zz@acme.example")
        assert [row.id for row in probe.list.rows] == [9, 1, 3, 2]
        assert probe.list.current is not None
        assert probe.list.current.id == 2, "the cursor holds its row"


async def test_no_is_an_answer(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        for key, answer in (("h", "n"), ("h", "enter"), ("h", "escape"), ("x", "escape")):
            await screen.press(key)
            await until(lambda: len(screen.ui.screen_stack) == 2, "it is asked")
            await screen.press(answer)
            await screen.shows("nothing was done")
            screen.ui.said = None
        assert probe.done == []


async def test_marked_rows_and_the_one_under_the_cursor(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        await screen.press("space", "space", "l", "o")
        assert probe.done == [(1, 2), (3,)], "marked ones, but for acts that are about one"
        await screen.press("a")
        await screen.shows("2 rows")
        await screen.press("o")
        await until(lambda: len(probe.done) == 3, "it is done")
        assert probe.done[-1] == (3,), "from the menu too"
        await screen.press("escape", "l")
        assert probe.done[-1] == (3,), "Esc takes the marks away"


async def test_pause_holds_everything_still_until_it_is_pressed_again(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, probe):
        await screen.press("p")
        await screen.shows("PAUSED")
        upset(canned)
        await until(lambda: 9 in screen.ui.picture.touchpoints, "the events are here")
        screen.ui.tick()
        assert "zz@acme.example" not in screen.text()
        await screen.press("j")
        assert probe.list is not None
        assert probe.list.cursor == 1, "one can still move about"
        await screen.press("p")
        await screen.shows("zz@acme.example")
        await screen.hides("PAUSED")


async def test_details_follow_their_row(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, _):
        await screen.shows("details of a@acme.example")
        await screen.press("j")
        await screen.shows("details of b@acme.example")
        canned.change(replace(ROWS[1], reason="and now ill"))
        await screen.shows("details of b@acme.example and now ill")


async def test_details_are_asked_for_again_when_their_row_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []

    async def load(self: View, row: TouchpointRow) -> None:
        asked.append((row.id, row.reason))

    monkeypatch.setattr(Probe, "load_details", load)
    async with probed(tmp_path) as (canned, screen, _):
        await until(lambda: asked, "they are asked for")
        screen.ui.tick()
        await screen.pilot.pause()
        assert asked == [(1, "")], "once"
        canned.change(replace(ROWS[1], reason="another row"))
        canned.change(replace(ROWS[0], reason="ill"))
        await until(lambda: screen.ui.tick() or (1, "ill") in asked, "they are asked for again")
        assert set(asked) == {(1, ""), (1, "ill")}


# -- Undo ------------------------------------------------------------------------------------------------------------


async def test_undo_and_redo_go_back_and_forth(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, _):
        await screen.press("z")
        await screen.shows("there is nothing to take back")
        await screen.press("t", "j", "t")
        await screen.shows("b@acme.example is off  (z takes it back)")
        back = [("z", "taken back: off 2"), ("z", "taken back: off 1"), ("z", "nothing to take back")]
        again = [("Z", "done again: off 1"), ("Z", "done again: off 2"), ("Z", "nothing to do again")]
        for key, said in [*back, *again]:
            await screen.press(key)
            await screen.shows(said)
        assert [call.touchpoint for call in canned.asked(DeactivateTouchpoint)] == ["1", "2", "2", "1", "1", "2"]
        await screen.press("z", "t")
        await screen.shows("is off  (z")
        await screen.press("Z")
        await screen.shows("nothing to do again")


async def test_an_undo_that_is_refused_does_not_stand_in_the_way_of_the_one_before(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, _):
        await screen.press("t", "j", "t")
        await screen.shows("b@acme.example is off  (z")
        canned.answers[DeactivateTouchpoint] = Refused("it is gone")
        await screen.press("z")
        await screen.shows("it is gone")
        canned.answers[DeactivateTouchpoint] = ROWS[0]
        await screen.press("z")
        await screen.shows("taken back: off 1")


async def test_an_undo_that_found_no_daemon_can_be_tried_again(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, _):
        await screen.press("t")
        await screen.shows("is off  (z")
        await canned.server.close(remove=short(tmp_path))
        await screen.shows("NO CONNECTION")
        await screen.press("z")
        await screen.shows("there is no connection to the daemon now")
        async with served(Canned(canned.answers), short(tmp_path)):
            await screen.press("ctrl+l")
            await screen.shows("RW")
            await screen.press("z")
            await screen.shows("taken back: off 1")
            await screen.press("Z")
            await screen.shows("done again: off 1")


async def test_what_can_be_taken_back_has_an_end(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, _):
        for number in range(UNDOS + 20):
            screen.ui.did("x", Undo(words=str(number), back=[], again=[]))
        assert len(screen.ui._done) == UNDOS
        assert screen.ui._done[-1].words == str(UNDOS + 19)


async def test_a_refusal_is_said_and_nothing_breaks(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, _):
        canned.answers[DeactivateTouchpoint] = Refused("no: \x1b[2J[/foo]")
        await screen.press("t")
        await screen.shows("no: \\x1b[2J[/foo]")
        await screen.press("z")
        await screen.shows("there is nothing to take back")


# -- Going about -----------------------------------------------------------------------------------------------------


async def test_esc_and_q_never_leave(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        await screen.press("/")
        await screen.type("b@")
        await screen.press("enter", "space", "f")
        assert probe.full
        for key, left in (("escape", "full"), ("q", "needle"), ("escape", "marks"), ("escape", ""), ("q", "")):
            await screen.press(key)
            now = [name for name, there in (("full", probe.full), ("needle", probe.needle)) if there]
            assert left not in now
        await screen.shows("this is the first page; Q leaves")
        assert screen.ui.is_running


async def test_the_filter_has_all_keys_while_it_is_typed(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        await screen.press("/")
        await screen.type("1qQx")
        assert probe.needle == "1qQx"
        assert screen.ui.screen_name == "touchpoints"
        await screen.press("escape")
        assert probe.needle == ""
        await screen.press("f3")
        await screen.type("c@")
        await screen.press("enter")
        assert [row.id for row in probe.list.rows] == [3]  # type: ignore[union-attr]
        await screen.press("n")
        assert screen.ui.is_running


async def test_screens_by_digit_and_the_one_before(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        for digit, name, _ in SCREENS:
            await screen.press(digit)
            await until(lambda name=name: screen.ui.screen_name == name, name)
        await screen.press("2", "-")
        await until(lambda: screen.ui.screen_name == "settings", "the one before")
        await screen.press("-")
        await until(lambda: screen.ui.screen_name == "touchpoints", "and back")
        assert screen.ui.view is probe, "a screen that was left is there as it was"


# -- Sizes, colours and glyphs ---------------------------------------------------------------------------------------


async def test_too_small_says_so_and_does_nothing_unseen(tmp_path: Path) -> None:
    clock = Clock()
    async with probed(tmp_path, now=clock) as (canned, screen, probe):
        await screen.pilot.resize_terminal(50, 12)
        await screen.shows("50x12 is too small; 60x16 is the least")
        assert "a@acme.example" not in screen.text()
        await screen.press("t", "l", "x", "h", "a", "?")
        assert probe.done == []
        assert not canned.asked(DeactivateTouchpoint)
        assert len(screen.ui.screen_stack) == 1
        screen.ui.say("something else")
        clock.time += 60
        await screen.shows("50x12 is too small")
        await screen.pilot.resize_terminal(80, 24)
        await screen.shows("a@acme.example")
        await screen.hides("too small")
        await screen.press("l")
        assert probe.done == [(1,)]


async def test_wide_puts_details_beside_and_back(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, _):
        for size, beside in (((160, 48), True), ((80, 24), False), ((119, 30), False), ((120, 30), True)):
            await screen.pilot.resize_terminal(*size)
            await until(lambda size=size: screen.ui.size == size, "the size is known")
            await screen.shows("details of a@acme.example")
            lines = screen.text().splitlines()
            assert len(lines) == size[1]
            at = next(number for number, each in enumerate(lines) if "details of" in each)
            assert (at < 6 and lines[at].index("details of") > 60) is beside, size


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_with_ascii_alone_and_no_colour_we_draw_nothing_else(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    canned = a_house()
    given = {char for answer in _everything(canned) for char in answer if not char.isascii()} - set("·…─│")
    taste = Taste(glyphs=Glyphs.ASCII)
    async with served(canned, short(tmp_path)) as path, terminal(path, size=size, taste=taste) as screen:
        await screen.quiet()
        canned.tell(*EVENTS)
        dialogs = {"1": ":", "2": "a", "6": "A", "7": "n", "8": "?"} if size[0] == 80 else {}
        for digit, name, _ in SCREENS:
            for key in (digit, dialogs.get(digit)):
                if key is not None:
                    await screen.press(key)
                    ours = {char for char in screen.text() if not char.isascii()} - given
                    assert not ours, (name, key, ours)
            if digit in dialogs:
                await screen.press("escape")
        assert screen.ui.is_running


def _everything(canned: Canned) -> Iterator[str]:
    """All that the house tells, roughly: what it holds and what its modules say."""
    from tests.tui import house

    yield repr(canned.answers)
    yield Path(house.__file__).read_text("utf-8")


async def test_no_color_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def colours() -> set[tuple[int, int, int] | None]:
        found: set[tuple[int, int, int] | None] = set()
        rows = (replace(ROWS[0], state="lost", cause="credential"), *ROWS[1:])
        canned = Canned({GetStatus: status(rows, account={**ACCOUNT, "taken": 1})})
        async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints") as screen:
            await screen.shows("DIFFERENCE")
            assert "LOST" in screen.text(), "the word says the same as its colour"
            update: Any = screen.ui.screen._compositor.render_update(full=True)
            segments = (segment for parts in update.strips for strip in parts for segment in strip)
            styles = (segment.style for segment in segments if segment.style is not None)
            found |= {style.color.get_truecolor() for style in styles if style.color and not style.color.is_default}
        return found

    assert any(_colourful(color) for color in await colours()), "the test can see colours"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(_colourful(color) for color in await colours())


def _colourful(color: tuple[int, int, int] | None) -> bool:
    return color is not None and max(color) - min(color) > 8


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (-5, "0 s"), (99, "99 s"), (100, "1 m"), (5_999, "99 m"), (6_000, "1 h 40 m"), (35_999, "9 h 59 m"),
     (36_000, "10 h"), (172_799, "47 h"), (172_800, "2 d"), (1e12, "11574074 d")],
)  # fmt: skip
def test_ages_for_people(seconds: float, words: str) -> None:
    assert age(seconds) == words


async def test_the_state_line_counts_in_words(tmp_path: Path) -> None:
    rows = (ROWS[0], replace(ROWS[1], state="lost"), replace(ROWS[2], active=False), touchpoint(4, state="backoff"))
    async with probed(tmp_path, Canned({GetStatus: status(rows)})) as (canned, screen, _):
        assert first(screen).split("  ")[1].strip() == "1 ok · 1 backoff · 1 LOST · 1 off"
        now = canned.status_now()
        canned.answers[GetStatus] = replace(now, account={**ACCOUNT, "queued": ACCOUNT["queued"] - 3})
        canned.tell()
        await screen.shows("DIFFERENCE 3")


async def test_hostile_names_of_the_house_stay_text(tmp_path: Path) -> None:
    made: Status = replace(status(ROWS), hostname="\x1b]0;x\x07gw[/red]")
    async with probed(tmp_path, Canned({GetStatus: made})) as (_, screen, _):
        assert "\x1b" not in screen.text()
        assert "]0;x" in first(screen)


# -- The ways out, and in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("Q",), ("ctrl+q",), ("ctrl+c", "ctrl+c")])
async def test_ways_out(tmp_path: Path, keys: tuple[str, ...]) -> None:
    clock = Clock()
    async with probed(tmp_path, now=clock) as (_, screen, _):
        await screen.press(*keys)
        await until(lambda: not screen.ui.is_running or screen.ui._exit, "it ends")
        assert (screen.ui.return_code or 0) == 0


async def test_one_ctrl_c_or_two_slow_ones_do_not_leave(tmp_path: Path) -> None:
    clock = Clock()
    async with probed(tmp_path, now=clock) as (_, screen, _):
        await screen.press("ctrl+c")
        assert last(screen) == " ^c again leaves; Q does too"
        clock.time += 1.5
        await screen.press("ctrl+c")
        assert screen.ui.is_running
        assert not screen.ui._exit


async def test_what_was_kept_is_named_at_the_start(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path / "drafts")
    drafts.write("signature of a@acme.example", {"text": "x"})
    async with terminal(tmp_path / "none.sock") as screen:
        await screen.shows("kept from before: signature of a@acme.example; it is there again")
    drafts.write("reply to 7", {"text": "x"})
    async with terminal(tmp_path / "none.sock") as screen:
        await screen.shows("and 1 more; it is there again where it was typed")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("touchpoint.new", "a new touchpoint"), ("touchpoint.duplicate.3", "a copy of a touchpoint"),
        ("touchpoint.edit.3", "changes to a touchpoint"), ("touchpoint.servers.3", "the servers of a touchpoint"),
        ("relay_user.add", "a new relay user"), ("relay_user.edit shop", "changes to the relay user shop"),
        ("blocklist entry", "a new entry of the blocklist"),
        ("signature of a@acme.example", "signature of a@acme.example"),
    ],
)  # fmt: skip
def test_drafts_are_named_in_words(name: str, words: str) -> None:
    assert title_of(name) == words


async def test_who_may_not_open_the_socket_is_told_so_and_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed(*args: object, **more: object) -> None:
        raise PermissionError

    monkeypatch.setattr("asyncio.open_unix_connection", closed)
    path = short(tmp_path)
    path.touch()
    async with terminal(path) as screen:
        await screen.shows(" NO PERMISSION  you may not open")
        await screen.shows("it belongs to the")
        assert "NO CONNECTION" not in screen.text() and "next try" not in screen.text()


async def test_who_has_no_role_at_all_is_told_who_gives_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.roles_of", lambda *_: frozenset())
    async with served(Canned(), short(tmp_path)) as path, terminal(path) as screen:
        await screen.shows(" NO PERMISSION  ")
        await screen.shows("has no role here; ask an admin of this host for: sudo usermod -aG ")
        text = " ".join(screen.text().split())
        assert "NO CONNECTION" not in text and "next try" not in text


async def test_commands_name_the_daemon_that_is_not_the_default_one(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status(ROWS)})
    made = terminal(short(tmp_path), screen="touchpoints", twin="--socket /tmp/other.sock")
    async with served(canned, short(tmp_path)), made as screen:
        await screen.quiet()
        await screen.press("Y")
        assert screen.ui.last_copied.endswith(" --socket /tmp/other.sock")
        screen.ui.last_copied = ""
        await screen.press("a")
        await screen.shows("--socket /tmp/other.sock")
        await screen.press("Y")
        assert screen.ui.last_copied.endswith(" --socket /tmp/other.sock")


@pytest.mark.parametrize("theme", ["dracula", "solarized-light", "textual-light"])
async def test_a_theme_colours_all_of_the_screen(tmp_path: Path, theme: str) -> None:
    async with probed(tmp_path, taste=Taste(theme=theme)) as (_, screen, probe):
        assert probe.list is not None
        colours = screen.ui.current_theme.to_color_system().generate()
        wanted = [colours[name].lower() for name in ("foreground", "background")]
        for widget in (screen.ui.desk.state, screen.ui.desk.bar, probe.list, probe.pager):
            plain = [
                piece for row in widget.render_lines(widget.size.region) for piece in row if not piece.text.strip()
            ]
            assert plain, widget
            for piece in plain:
                assert piece.style is not None and piece.style.color and piece.style.bgcolor, widget
                assert [piece.style.color.name, piece.style.bgcolor.name] == wanted, widget


async def test_trouble_stands_apart_from_the_title_and_from_what_it_says(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        probe.trouble = "the disk is full"
        probe.title_line = lambda: line((" PROBE", "title"), "  3 rows")  # type: ignore[method-assign]
        probe.draw()
        await screen.shows(" PROBE: the disk is full  |  3 rows")


async def test_who_one_is_taken_for(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, _):
        await screen.press("I")
        await screen.shows("who the daemon takes you for")
        assert "ops (uid 1000)" in screen.text()
        assert len(canned.asked(WhoAmI)) == 2


# -- An editor of one's own ------------------------------------------------------------------------------------------


@contextmanager
def lent(ui: TerminalUI, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A terminal that can be lent, and what became of it."""
    went: list[str] = []

    @contextmanager
    def suspend() -> Iterator[None]:
        went.append("lent")
        yield
        went.append("taken back")  # as Textual does it: not after an exception

    monkeypatch.setattr(ui, "suspend", suspend)
    yield went


def editor(tmp_path: Path, body: str) -> str:
    """A program that edits a file."""
    program = tmp_path / "my editor.py"
    program.write_text(f"import sys\npath = sys.argv[1]\ntext = open(path, encoding='utf-8').read()\n{body}\n")
    return f"{sys.executable} '{program}'"


@pytest.mark.parametrize(
    ("body", "text", "said"),
    [
        ("open(path, 'w', encoding='utf-8').write(text + ' and more')", "Grüße and more", ""),
        ("", "Grüße", ""),
        ("sys.exit(3)", None, "ended with 3; nothing was taken over"),
        ("import os; os.unlink(path)", None, "cannot be run"),
        ("open(path, 'wb').write(b'\\xff\\xfe')", "\ufffd\ufffd", ""),
    ],
)
async def test_a_text_goes_through_an_editor_and_the_terminal_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, text: str | None, said: str
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, body))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    async with probed(tmp_path) as (_, screen, _):
        with lent(screen.ui, monkeypatch) as went:
            assert screen.ui.edit_outside("Grüße") == text
        assert went == ["lent", "taken back"]
        assert said in (screen.ui.said[0] if screen.ui.said else "")
        assert not list(tmp_path.glob("postroom-*")), "no copy is left behind"


@pytest.mark.parametrize("name", ["/no/such/editor", "'unbalanced", os.devnull])
async def test_an_editor_that_cannot_be_run_costs_neither_text_nor_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("VISUAL", name)
    async with probed(tmp_path) as (_, screen, _):
        with lent(screen.ui, monkeypatch) as went:
            assert screen.ui.edit_outside("x") is None
        assert went in ([], ["lent", "taken back"])
        assert "set EDITOR" in (screen.ui.said or ("",))[0]


async def test_a_terminal_that_cannot_be_lent_is_said_to_be_one(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, _):
        assert screen.ui.edit_outside("x") is None
        await screen.shows("this terminal cannot be lent to an editor")
        assert screen.ui.is_running


# -- What must not get lost, stuck or mixed up -------------------------------------------------------------------------


async def test_a_role_of_a_newer_daemon_gives_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status(ROWS)})
    canned.answers[WhoAmI] = Me(name="ops", uid=1000, roles=("audit", "watcher"), hostname="gw01", version="0.2.0")
    async with probed(tmp_path, canned) as (_, screen, probe):
        assert " RO " in first(screen)
        await screen.press("h")
        await screen.shows("not with your roles (audit, watcher)")
        await screen.press("r")
        assert probe.done == [(1,)]


async def test_a_screen_that_fails_says_so_and_does_not_look_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(self: View) -> None:
        raise KeyError("no such column")

    monkeypatch.setattr(Probe, "load", load)
    monkeypatch.setattr(Probe, "load_details", lambda self, row: load(self))
    async with probed(tmp_path) as (_, screen, _):
        await screen.shows("failed by a fault of ours (KeyError: 'no such column')")
        await screen.shows("these details failed by a fault of ours")


async def test_what_is_asked_for_while_a_load_goes_on_is_loaded_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun = asyncio.Event(), []
    gate.set()

    async def load(self: View) -> None:
        begun.append(1)
        await gate.wait()

    monkeypatch.setattr(Probe, "load", load)
    async with probed(tmp_path) as (_, screen, probe):
        gate.clear()
        begun.clear()
        probe.reload()
        await until(lambda: begun, "a load goes on")
        screen.ui.did("changed meanwhile")
        screen.ui.did("and again")
        gate.set()
        await until(lambda: len(begun) == 2 and probe.loaded(), "once more, and no more than that")


async def test_while_paused_what_the_person_asks_for_is_there_all_the_same(tmp_path: Path) -> None:
    canned = a_house()
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="held") as screen:
        await screen.shows("Offer you")
        await screen.press("p")
        await screen.shows("PAUSED")
        await screen.press("enter")
        await screen.shows("message-id")
        asked = len(canned.asked(ShowMail))
        screen.ui.picture.gaps += 1
        screen.ui.tick()
        assert len(canned.asked(ShowMail)) == asked, "and nothing else"
        await screen.press("escape", "t")
        await screen.shows("no such user")


async def test_details_are_asked_for_again_over_a_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, asked = asyncio.Event(), []

    async def load(self: Probe, row: TouchpointRow) -> None:
        asked.append(row.id)
        if not gate.is_set():
            await self.ui.call(ShowTouchpoint(touchpoint=str(row.id)))

    monkeypatch.setattr(Probe, "load_details", load)
    canned = Canned({GetStatus: status(ROWS), ShowTouchpoint: lambda call: gate.wait()})
    async with probed(tmp_path, canned) as (_, screen, _):
        await until(lambda: canned.asked(ShowTouchpoint), "they are asked for")
        await canned.server.close(remove=short(tmp_path))
        await screen.shows("NO CONNECTION")
        await screen.shows("the daemon closed the connection")
        gate.set()
        async with served(Canned(canned.answers), short(tmp_path)):
            await screen.press("ctrl+l")
            await screen.shows("details of a@acme.example")
            assert asked == [1, 1]


def late(screen: Terminal, answers: list[Any]) -> asyncio.Event:
    """An act asks something, but only after the daemon has taken its time."""
    gate = asyncio.Event()

    async def act() -> None:
        await gate.wait()
        answers.append(await screen.ui.ask(YesNo(screen.ui, "late", "shall it be lost?")))

    screen.ui.work(act())
    return gate


async def test_a_question_that_comes_late_does_not_take_the_key_that_was_meant_for_the_screen(tmp_path: Path) -> None:
    answers: list[Any] = []
    async with probed(tmp_path) as (_, screen, _):
        gate = late(screen, answers)
        await until(lambda: screen.ui._heard_of, "the act goes on")
        screen.ui._heard_of = dict.fromkeys(screen.ui._heard_of, 0.0)  # since long
        gate.set()
        await until(lambda: screen.ui.asking, "it asks")
        await screen.press("y")
        assert not answers, "nobody can have read it yet"
        dialog: Any = screen.ui.screen
        dialog.deaf_until = 0.0
        await screen.press("y")
        await until(lambda: answers == [True], "now it is an answer")


async def test_a_question_waits_until_another_one_is_answered(tmp_path: Path) -> None:
    answers: list[Any] = []
    async with probed(tmp_path) as (_, screen, probe):
        gate = late(screen, answers)
        await screen.press("x")
        await screen.shows("deletes a@acme.example")
        gate.set()
        await asyncio.sleep(0.1)
        assert len(screen.ui.screen_stack) == 2, "it does not come over what is being typed"
        await screen.press(*"row 1", "enter")
        await until(lambda: probe.done == [(1,)], "it is done")
        await screen.shows("shall it be lost?")
        await screen.press("escape")


async def test_an_act_that_hangs_does_not_slow_the_keys_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.app.TYPED_AHEAD", 60.0)  # a key that waited for it would wait longer than the test
    async with probed(tmp_path) as (_, screen, probe):
        screen.ui.work(asyncio.sleep(3600))
        await until(lambda: screen.ui._working("acts"), "an act hangs")
        await screen.send("space", "l")
        await until(lambda: probe.done, "the keys are handled meanwhile")


async def test_what_is_pasted_comes_after_the_keys_before_it_and_without_what_cannot_be_seen(tmp_path: Path) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        for event in (Key("slash", "/"), Paste("b@acme\x1b[2J"), Key("full_stop", "."), Paste("example")):
            screen.ui.post_message(event)
        await until(lambda: probe.needle == "b@acme[2J.example", "in this order")
        assert "\x1b" not in screen.text()


async def test_when_the_marked_rows_are_gone_no_other_row_is_taken_for_them(tmp_path: Path) -> None:
    async with probed(tmp_path) as (canned, screen, probe):
        await screen.press("space")
        await screen.shows("*a@acme.example")
        canned.answers[GetStatus] = status(ROWS[1:])
        canned.tell(Event(what="touchpoint.deleted", gone=1))
        await screen.hides("a@acme.example")
        await screen.press("t")
        await screen.shows("the marked rows are gone; again does it to the one under the cursor")
        assert not canned.asked(DeactivateTouchpoint)
        await screen.press("l")
        assert probe.done == [(2,)]


@pytest.mark.parametrize("way", ["?", ":"])
async def test_an_act_that_is_chosen_from_a_list_of_acts_is_about_the_row_that_was_seen(
    tmp_path: Path, way: str
) -> None:
    async with probed(tmp_path) as (_, screen, probe):
        await screen.press("j", way)
        await screen.shows("type to search" if way == "?" else "go to")
        assert probe.list is not None
        await screen.type("look")
        probe.list.set_rows(ROWS[2:])  # as soon as the list of acts is closed
        await screen.press("enter")
        await until(lambda: probe.done, "it is done")
        assert probe.done == [(2,)]


async def test_the_report_of_a_fault_holds_no_values(tmp_path: Path) -> None:
    async with terminal(tmp_path / "none.sock") as screen:

        def fail(password: str) -> None:
            raise RuntimeError("a fault")

        try:
            fail("open sesame")
        except RuntimeError:
            screen.ui._fatal_error()
        console = Console(file=io.StringIO(), width=200)
        console.print(*screen.ui._exit_renderables)
        told = console.file.getvalue()  # type: ignore[attr-defined]
        assert "RuntimeError: a fault" in told
        assert "open sesame" not in told.replace('fail("open sesame")', "")
        screen.ui._exit_renderables.clear()


@pytest.mark.parametrize(
    ("address", "name", "command"),
    [
        ("o'neil@acme.example", "x", "postroom do 'o'\"'\"'neil@acme.example' x"),
        ("{name}@acme.example", "$(id)", "postroom do '{name}@acme.example' '$(id)'"),
    ],
)
def test_no_value_reaches_into_another_one_of_a_command(address: str, name: str, command: str) -> None:
    act = Act(id="x", key="x", words="x", run=_note, command="postroom do {address} {name}")
    assert act.command_for([touchpoint(1, address, name=name)]) == command


@pytest.mark.parametrize("roles", [{Role.ADMIN}, {Role.AGENT}])
async def test_a_daemon_that_hangs_is_not_taken_for_one_that_is_well(tmp_path: Path, roles: set[Role]) -> None:
    clock, gate = Clock(), asyncio.Event()
    canned = Canned({GetStatus: status(ROWS)}, roles=frozenset(roles))
    async with probed(tmp_path, canned, now=clock) as (_, screen, _):
        kind: Any = GetStages if Role.ADMIN in roles else WhoAmI
        answer = canned.answers[kind]

        async def hang(call: Any) -> Any:
            await gate.wait()
            return answer

        canned.answers[kind] = hang
        clock.time += 3.0
        await until(lambda: screen.ui.tick() or screen.ui._working("stages"), "it is asked")
        assert "NO ANSWER" not in first(screen)
        clock.time += 12.0
        await screen.shows("NO ANSWER for 12 s")
        gate.set()
        await screen.hides("NO ANSWER")


async def test_a_recording_that_ends_before_its_time_is_told(tmp_path: Path) -> None:
    async with served(a_house(), short(tmp_path)) as path, terminal(path, record=tmp_path / "r.jsonl") as screen:
        await screen.quiet()
        assert screen.ui._recorder is not None
        screen.ui._recorder._file = open("/dev/full", "w")  # noqa: SIM115
        await screen.press("ctrl+l", "3")
        await screen.shows("nothing is recorded any more: No space left on device")
        assert screen.ui.is_running

"""The list: the cursor holds its row, columns go by priority, and of any number of rows only what is seen is drawn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Region

from tui.glyphs import Glyphs
from tui.vlist import Column, VList


@dataclass(frozen=True)
class Row:
    """A row with a name; the number is its key."""

    id: int
    name: str = "row"


class Bench(App[None], inherit_bindings=False):
    """Nothing but the list."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, made: VList) -> None:
        super().__init__()
        self.made = made
        self.moved: list[Any] = []
        self.near_end = 0

    def compose(self) -> ComposeResult:
        yield self.made

    def on_vlist_moved(self, event: VList.Moved) -> None:
        self.moved.append(event.list.current)

    def on_vlist_near_end(self) -> None:
        self.near_end += 1


COLUMNS = (
    Column(title="id", cell=lambda row: str(row.id), width=6, right=True),
    Column(title="name", cell=lambda row: row.name, width=10, grow=1),
)


class Shown:
    """A list on a terminal of a given size."""

    def __init__(self, bench: Bench, pilot: Any) -> None:
        self.bench, self.pilot, self.list = bench, pilot, bench.made

    def lines(self) -> list[str]:
        """What is drawn, line by line."""
        return [self.list.render_line(y).text.rstrip() for y in range(self.list.size.height)]

    def under(self) -> tuple[int, int]:
        """Where the cursor is drawn: the line, and the number of the row there."""
        found = [(y, each) for y, each in enumerate(self.lines()) if each.startswith(">")]
        assert len(found) == 1, self.lines()
        return found[0][0], int(found[0][1].strip(">* ").split()[0])


@asynccontextmanager
async def shown(
    rows: Sequence[Any], *, size: tuple[int, int] = (40, 11), columns: Sequence[Column] = COLUMNS, **more: Any
) -> AsyncIterator[Shown]:
    made = VList(columns, lambda row: row.id, **more)
    bench = Bench(made)
    async with bench.run_test(size=size) as pilot:
        made.set_rows(rows)
        await pilot.pause()
        bench.moved.clear()
        yield Shown(bench, pilot)


def rows(*numbers: int) -> list[Row]:
    return [Row(number) for number in numbers]


# -- The cursor ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "line"),
    [
        pytest.param(range(100, 200), 5, id="nothing changed"),
        pytest.param(range(50, 200), 5, id="fifty above"),
        pytest.param(range(105, 200), 5, id="rows above are gone"),
        pytest.param(range(105, 120), 6, id="too few are left below"),
        pytest.param([*range(121, 130), *range(100, 121)], 5, id="sorted anew"),
        pytest.param([115, *range(300, 350)], 1, id="nothing is left above"),
        pytest.param([115], 1, id="nothing but it is left"),
    ],
)
async def test_the_row_under_the_cursor_stays_where_it_is_on_the_screen(after: Sequence[int], line: int) -> None:
    async with shown(rows(*range(100, 200))) as screen:
        for _ in range(20):
            screen.list.nav("down")
        for _ in range(5):
            screen.list.nav("up")
        assert screen.under() == (5, 115), "the test begins in the middle"
        screen.list.set_rows(rows(*after))
        assert screen.under() == (line, 115)
        assert screen.list.current == Row(115)
        await screen.pilot.pause()
        assert screen.bench.moved[-1:] == [Row(115)], "it was not told of another row"


async def test_where_its_row_is_gone_the_cursor_takes_the_next_and_says_so() -> None:
    async with shown(rows(1, 2, 3)) as screen:
        screen.list.nav("down")
        await screen.pilot.pause()
        screen.list.set_rows(rows(1, 3))
        await screen.pilot.pause()
        assert screen.list.current == Row(3)
        screen.list.set_rows(rows(1))
        screen.list.set_rows([])
        await screen.pilot.pause()
        assert [row.id if row else None for row in screen.bench.moved] == [2, 3, None, None]
        assert screen.list.current is None
        assert screen.lines()[1] == "  nothing here"
        screen.list.set_rows(rows(7))
        await screen.pilot.pause()
        assert screen.bench.moved[-1] == Row(7)


@given(
    st.lists(
        st.one_of(
            st.lists(st.integers(0, 40), unique=True, max_size=40).map(lambda ids: [Row(each) for each in ids]),
            st.sampled_from(["up", "down", "pageup", "pagedown", "g", "G", "home", "end", "j", "k", "mark", "all"]),
        ),
        max_size=30,
    )
)
def test_whatever_happens_the_cursor_is_on_a_row_that_is_seen(steps: list[Any]) -> None:
    made = VList(COLUMNS, lambda row: row.id)
    made.post_message = lambda message: True  # type: ignore[method-assign]
    for step in steps:
        held = made.current
        if isinstance(step, list):
            made.set_rows(step)
            if held in step:
                assert made.current == held
            assert made.marks <= {row.id for row in step}
        elif step == "mark":
            made.mark()
        elif step == "all":
            made.mark_all()
        else:
            assert made.nav(step)
        assert 0 <= made.cursor < max(len(made.rows), 1)
        assert made.top <= made.cursor < made.top + made.page
        assert all(row in made.rows for row in made.chosen())
    assert not made.nav("x")


async def test_moving() -> None:
    async with shown(rows(*range(100))) as screen:
        keys = ["G", "pageup", "k", "up", "j", "pagedown", "g", "up", "pageup", "end", "down", "home", "pagedown"]
        places = (99, 89, 88, 87, 88, 98, 0, 0, 0, 99, 99, 0, 10)
        for key, place in zip(keys, places, strict=True):
            assert screen.list.nav(key)
            assert screen.under()[1] == place, key
        assert screen.list.find(55)
        assert screen.under()[1] == 55
        assert not screen.list.find(555)
        assert screen.under()[1] == 55


async def test_a_list_that_is_fed_in_windows_asks_before_its_end() -> None:
    async with shown(()) as screen:
        screen.list.set_rows(rows(*range(50)), more=True)
        screen.list.nav("down")
        await screen.pilot.pause()
        assert screen.bench.near_end == 0
        screen.list.nav("G")
        await screen.pilot.pause()
        assert screen.bench.near_end == 1
        screen.list.set_rows(rows(*range(80)), more=False)
        screen.list.nav("G")
        await screen.pilot.pause()
        assert screen.bench.near_end == 1, "there is no more"


async def test_the_mouse() -> None:
    async with shown(rows(*range(100))) as screen:
        await screen.pilot.click(VList, offset=(3, 5))
        assert screen.under() == (5, 4)


# -- Marks -----------------------------------------------------------------------------------------------------------


async def test_marks_hold_on_to_keys() -> None:
    async with shown(rows(1, 2, 3, 4)) as screen:
        screen.list.mark()
        screen.list.nav("down")
        screen.list.mark()
        assert [row.id for row in screen.list.chosen()] == [1, 3]
        screen.list.set_rows(rows(9, 3, 1, 4))
        assert [row.id for row in screen.list.chosen()] == [3, 1], "in the order of the screen"
        screen.list.set_rows(rows(9, 4, 1))
        assert [row.id for row in screen.list.chosen()] == [1], "what is gone is marked no longer"
        assert [each[:1] for each in screen.lines()[1:4]] == [" ", ">", "*"]
        screen.list.mark_all()
        assert len(screen.list.chosen()) == 3
        assert screen.lines()[2] == ">    *4  row", "the marked row under the cursor shows both"
        screen.list.mark_all()
        assert [row.id for row in screen.list.chosen()] == [4], "the one under the cursor"


async def test_nothing_to_mark() -> None:
    async with shown(()) as screen:
        screen.list.mark()
        screen.list.mark_all()
        assert screen.list.chosen() == []


# -- Columns ---------------------------------------------------------------------------------------------------------

WITH_PRIORITIES = (
    Column(title="address", cell=lambda row: "a" * 30, width=20, grow=1),
    Column(title="name", cell=lambda row: "n", width=10, keep=2),
    Column(title="state", cell=lambda row: ("s", "bad"), width=8),
    Column(title="held", cell=lambda row: "7", width=6, right=True, keep=5),
    Column(title="more", cell=lambda row: "m", width=10, wide=True, keep=8),
)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (80, ["address", "name", "state", "held", "more"]),
        (62, ["address", "name", "state", "held"]),
        (50, ["address", "state", "held"]),
        (38, ["address", "state"]),
        (31, ["address", "state"]),
        (30, ["address"]),
        (10, ["address"]),
    ],
)
async def test_columns_go_by_their_priority_where_there_is_no_room(width: int, titles: list[str]) -> None:
    async with shown(rows(1), size=(width, 5), columns=WITH_PRIORITIES) as screen:
        assert screen.lines()[0].split() == titles
        assert all(screen.list.render_line(y).cell_length == width for y in range(5))


async def test_wide_columns_on_request() -> None:
    async with shown(rows(1), size=(62, 5), columns=WITH_PRIORITIES) as screen:
        screen.list.all_columns = True
        screen.list.redraw(all_of_it=True)
        assert screen.lines()[0].split() == ["address", "state", "held", "more"], "and others go for them"


async def test_asked_for_all_what_is_left_out_goes_first_and_what_grows_is_narrower() -> None:
    columns = (
        Column(title="id", cell=lambda row: str(row.id), width=4, keep=3),
        Column(title="from", cell=lambda row: "f", width=20, grow=1),
        Column(title="subject", cell=lambda row: "s", width=30, grow=2),
        Column(title="marks", cell=lambda row: "m", width=8, keep=2),
        Column(title="touchpoint", cell=lambda row: "t", width=18, grow=1, keep=1, wide=True),
    )
    async with shown(rows(1), size=(60, 5), columns=columns) as screen:
        assert screen.lines()[0].split() == ["id", "from", "subject"]
        assert [column.title for column in screen.list.left_out] == ["marks", "touchpoint"]
        screen.list.all_columns = True
        screen.list.redraw(all_of_it=True)
        assert screen.lines()[0].split() == ["id", "from", "subject", "marks", "touchpoint"]
    async with shown(rows(1), size=(80, 5), columns=columns[:-1]) as screen:
        assert not screen.list.left_out


async def test_what_grows_shares_what_is_left_and_numbers_stand_right() -> None:
    async with shown(rows(1, 1000), size=(60, 5)) as screen:
        assert screen.lines() == [
            "     id  name", ">     1  row", "   1000  row", "", "",
        ]  # fmt: skip
        assert screen.list._widths[1][1] == 60 - 1 - 6 - 2


async def test_a_header_can_be_left_out() -> None:
    async with shown(rows(1, 2), header=False, size=(30, 4)) as screen:
        assert screen.under() == (0, 1)
        assert screen.list.page == 4


# -- Drawing ---------------------------------------------------------------------------------------------------------


async def test_of_a_hundred_thousand_rows_only_those_in_sight_are_ever_drawn() -> None:
    drawn: list[int] = []
    keyed: list[int] = []

    def cell(row: Row) -> str:
        drawn.append(row.id)
        return row.name

    many = [Row(number) for number in range(100_000)]
    columns = (Column(title="name", cell=cell, width=10, grow=1),)
    async with shown((), columns=columns) as screen:
        screen.list.key = lambda row: keyed.append(row.id) or row.id  # type: ignore[func-returns-value]
        screen.list.set_rows(many)
        assert sorted(set(drawn)) == list(range(10))
        drawn.clear()
        screen.list.nav("G")
        assert set(drawn) == set(range(99_990, 100_000))
        drawn.clear()
        keyed.clear()
        screen.list.set_rows(list(many))
        assert set(drawn) == set(range(99_990, 100_000))
        assert len(keyed) < 50, "rows that stay where they are are not looked through"
        drawn.clear()
        for _ in range(20):
            screen.list.redraw()
        assert len(drawn) == 200


def spy(made: VList) -> list[tuple[Region, ...]]:
    """What is asked to be painted again; () is all of it."""
    asked: list[tuple[Region, ...]] = []
    refresh = made.refresh

    def note(*regions: Region, **more: Any) -> Any:
        asked.append(regions)
        return refresh(*regions, **more)

    made.refresh = note  # type: ignore[method-assign, assignment]
    return asked


async def test_only_what_changed_is_painted_again() -> None:
    async with shown([Row(n, f"row {n}") for n in range(8)]) as screen:
        asked = spy(screen.list)
        screen.list.set_rows([Row(n, f"row {n}") for n in range(8)])
        assert asked == [], "nothing changed, and nothing is painted"
        screen.list.set_rows([Row(n, "row x" if n == 3 else f"row {n}") for n in range(8)])
        (regions,) = asked
        assert [(region.y, region.height) for region in regions] == [(4, 1)], "one line"
        assert regions[0].x >= 9, "and of that one the changed cell"
        asked.clear()
        screen.list.nav("down")
        (regions,) = asked
        assert [region.y for region in regions] == [1, 2], "the line that was left, and the one that was entered"
        asked.clear()
        screen.list.redraw(all_of_it=True)
        assert asked == [()]


async def test_a_line_is_painted_as_far_as_it_changed_and_never_less() -> None:
    """After any change the painted screen is what a full painting would be."""
    async with shown([Row(n, "パス" * n) for n in range(8)], size=(30, 9)) as screen:
        painted = [list(_cells(screen, y)) for y in range(9)]
        asked = spy(screen.list)
        for names in (["パスa", "b", "", "ccc"] * 2, ["パスb", "b" * 40, "x", "ccc"] * 2, ["é", "パス", "y", "cc"] * 2):
            asked.clear()
            screen.list.set_rows([Row(n, name) for n, name in enumerate(names)])
            for region in (region for regions in asked for region in regions):
                fresh = list(_cells(screen, region.y))
                painted[region.y][region.x : region.right] = fresh[region.x : region.right]
            assert painted == [list(_cells(screen, y)) for y in range(9)]


def _cells(screen: Shown, y: int) -> str:
    """A line with a placeholder for the second half of a wide letter."""
    from rich.cells import cell_len

    return "".join(char + "\0" * (cell_len(char) - 1) for char in screen.list.render_line(y).text)


async def test_it_is_drawn_anew_for_another_size() -> None:
    async with shown(rows(*range(100))) as screen:
        screen.list.nav("G")
        await screen.pilot.resize_terminal(60, 21)
        await screen.pilot.pause()
        assert screen.list.page == 20
        assert screen.under()[1] == 99
        assert len([each for each in screen.lines() if each]) == 21, "no room is left empty"
        await screen.pilot.resize_terminal(40, 6)
        await screen.pilot.pause()
        assert screen.under() == (5, 99)


async def test_markup_and_controls_stay_text() -> None:
    async with shown([Row(1, "[/foo] [@click=app.quit]x\ny\tz")], glyphs=Glyphs.ASCII) as screen:
        assert screen.lines()[1].endswith("[/foo] [@click=app.quit]x y z")


async def test_an_act_that_was_meant_for_marked_rows_is_told_once_that_they_are_gone() -> None:
    async with shown(rows(1, 2, 3)) as screen:
        screen.list.mark()
        screen.list.set_rows(rows(2, 3))
        assert [row.id for row in screen.list.chosen()] == [2], "another row than the person marked"
        assert "the marked rows are gone" in screen.list.unmarked()
        assert screen.list.unmarked() == ""
        screen.list.mark()
        assert screen.list.unmarked() == "", "this is what it is about"
        screen.list.set_rows(rows(3))
        assert screen.list.unmarked() == "", "they went because of it"

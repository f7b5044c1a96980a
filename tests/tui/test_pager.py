"""Lines to read: scrolling, searching, following the end, and painting no more than what changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region

from tui.lines import folded, line
from tui.pager import Pager


class Bench(App[None], inherit_bindings=False):
    """Nothing but the page."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, made: Pager) -> None:
        super().__init__()
        self.made = made

    def compose(self) -> ComposeResult:
        yield self.made


class Shown:
    """A page on a terminal of a given size."""

    def __init__(self, made: Pager, pilot: Any) -> None:
        self.page, self.pilot = made, pilot

    def lines(self) -> list[str]:
        """What is drawn."""
        return [self.page.render_line(y).text.rstrip() for y in range(self.page.size.height)]

    def put(self, *texts: str, **more: Any) -> None:
        """Show these lines."""
        self.page.set(lambda width: [line(each) for each in texts], **more)

    def lit(self) -> list[str]:
        """The lines that are shown as hits."""
        strips = [self.page.render_line(y) for y in range(self.page.size.height)]
        lit = [each for each in strips if any(segment.style and segment.style.reverse for segment in each)]
        return [each.text.rstrip() for each in lit]


@asynccontextmanager
async def shown(*texts: str, size: tuple[int, int] = (30, 5)) -> AsyncIterator[Shown]:
    made = Pager()
    async with Bench(made).run_test(size=size) as pilot:
        screen = Shown(made, pilot)
        await pilot.pause()
        if texts:
            screen.put(*texts)
        yield screen


TEN = [f"line {n}" for n in range(10)]


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        (["j"], 1), (["down", "down", "k"], 1), (["pagedown"], 4), (["space"], 4), (["pagedown"] * 5, 5), (["G"], 5),
        (["end", "pageup"], 1), (["G", "g"], 0), (["up", "home", "pageup"], 0), (["G", "j"], 5),
    ],
)  # fmt: skip
async def test_scrolling_ends_where_the_text_does(keys: list[str], first: int) -> None:
    async with shown(*TEN) as screen:
        assert all(screen.page.nav(key) for key in keys)
        assert screen.lines() == TEN[first : first + 5]


async def test_other_keys_are_not_its_own() -> None:
    async with shown(*TEN) as screen:
        assert not any(screen.page.nav(key) for key in ("x", "enter", "escape", "/", "n", "1"))


async def test_searching_goes_round_and_lights_its_hits() -> None:
    texts = ["one", "Two apples", "three", "four", "five", "six", "seven APPLES", "eight", "nine", "Äpfel", "ten"]
    async with shown(*texts) as screen:
        assert screen.page.search("apples")
        assert screen.lines()[0] == "Two apples"
        assert screen.lit() == ["Two apples"]
        assert screen.page.search("apples")
        assert screen.lines()[0] == "seven APPLES"
        assert screen.page.search("apples"), "round to the first one"
        assert screen.lines()[0] == "Two apples"
        assert screen.page.search("apples", -1)
        assert screen.lines()[0] == "seven APPLES"
        assert screen.page.search("äPFEL"), "of every alphabet"
        assert "Äpfel" in screen.lines(), "the last page is not scrolled past its end"


async def test_what_is_not_there_is_not_found_and_nothing_moves() -> None:
    async with shown(*TEN) as screen:
        screen.page.nav("j")
        assert not screen.page.search("zebra")
        assert screen.lines() == TEN[1:6]
        assert not screen.page.search("")
        assert screen.lit() == []
        screen.put()
        assert not screen.page.search("line")


async def test_a_search_at_the_end_of_a_page_goes_on_to_the_hits_above() -> None:
    """The last page cannot be scrolled on, and its hits must not hold the search for good."""
    texts = ["hit 0", *(f"line {n}" for n in range(1, 17)), "hit 17", "line 18", "hit 19"]
    async with shown(*texts) as screen:
        seen = []
        for _ in range(4):
            assert screen.page.search("hit")
            seen.append(screen.page.top)
        assert seen == [0, 15, 15, 0]
        assert screen.page.search("hit", -1)
        assert screen.page.top == 15


async def test_the_place_is_kept_when_lines_are_added_and_lost_when_asked() -> None:
    async with shown(*TEN) as screen:
        screen.page.nav("pagedown")
        screen.put(*TEN, "line 10")
        assert screen.lines()[0] == "line 4"
        screen.put(*TEN, keep=False)
        assert screen.lines()[0] == "line 0"
        screen.page.nav("G")
        screen.put("only one")
        assert screen.lines() == ["only one", "", "", "", ""]


async def test_the_end_is_followed_until_one_scrolls_away() -> None:
    async with shown(*TEN) as screen:
        screen.page.nav("G")
        screen.put(*TEN, "line 10", "line 11")
        assert screen.lines()[-1] == "line 11"
        screen.page.nav("k")
        screen.put(*TEN, "line 10", "line 11", "line 12")
        assert screen.lines()[-1] == "line 10"


async def test_it_folds_again_for_another_width() -> None:
    text = "these are the words of a mail that is wider than the page"
    async with shown() as screen:
        screen.page.set(lambda width: [line(each) for each in folded(text, width)])
        assert len(screen.page.text.split("\n")) == 2
        await screen.pilot.resize_terminal(80, 5)
        await screen.pilot.pause()
        assert screen.lines()[0] == text
        assert screen.page.text == text


async def test_only_lines_that_changed_are_painted() -> None:
    async with shown(*TEN) as screen:
        asked: list[tuple[Region, ...]] = []
        refresh = screen.page.refresh

        def note(*regions: Region, **more: Any) -> Any:
            asked.append(regions)
            return refresh(*regions, **more)

        screen.page.refresh = note  # type: ignore[method-assign, assignment]
        screen.put(*TEN)
        assert asked == []
        screen.put(*TEN[:2], "another", *TEN[3:])
        assert [[region.y for region in regions] for regions in asked] == [[2]]
        asked.clear()
        screen.put(*TEN[:2], "another", *TEN[3:9], "out of sight")
        assert asked == []


async def test_a_long_page_is_drawn_by_its_window() -> None:
    async with shown() as screen:
        many = [line(f"line {n}") for n in range(100_000)]
        screen.page.set(lambda width: many)
        screen.page.nav("G")
        assert screen.lines() == [f"line {n}" for n in range(99_995, 100_000)]
        assert len(screen.page._shown) == 5

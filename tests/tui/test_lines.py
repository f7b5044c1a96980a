"""Lines are exactly as wide as asked, whatever they hold, and nothing in them is ever markup."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from gateway.text import safe_text
from tests.tui.hostile import texts
from tui.glyphs import Glyphs
from tui.lines import STYLES, Line, cut, difference, fit, folded, joined, line, strip, text_of

ANY = st.one_of(st.text(), st.text("ab パß👩\u0301\u200d\n\t\x1b", max_size=60), st.sampled_from(texts()))
PIECES = st.lists(st.tuples(ANY, st.sampled_from(sorted(STYLES))), max_size=6).map(tuple)
WIDTH = st.integers(-2, 70)


def seen(text: str) -> str:
    """A text as a cell of the screen has it: what is no letter is a space."""
    return "".join(char if char.isprintable() else " " for char in text)


@given(ANY, WIDTH)
def test_cut_never_makes_it_wider_and_says_where_something_is_missing(text: str, width: int) -> None:
    made, text = cut(text, width), seen(text)
    assert cell_len(made) <= max(width, 0)
    if width <= 0:
        assert made == ""
    elif cell_len(text) <= width:
        assert made == text
    else:
        assert made.endswith("…")
        assert text.startswith(made[:-1])


@given(ANY, st.integers(0, 70), st.booleans())
def test_fit_is_exact(text: str, width: int, right: bool) -> None:
    made, text = fit(text, width, right=right), seen(text)
    assert cell_len(made) == width
    if 0 < width >= cell_len(text):
        assert made.startswith(" " * (width - cell_len(text))) if right else made.startswith(text)


@pytest.mark.parametrize(
    ("text", "width", "made"),
    [("abcdef", 4, "abc…"), ("パスワード", 4, "パ…"), ("パスワード", 5, "パス…"), ("パ", 1, "…"), ("abc", 3, "abc"),
     ("e\u0301e\u0301", 2, "e\u0301e\u0301"), ("abc", 0, ""), ("", 5, "")],
)  # fmt: skip
def test_cut_by_example(text: str, width: int, made: str) -> None:
    assert cut(text, width) == made


@given(ANY, st.integers(0, 70), st.sampled_from(["", "  "]))
def test_folded_lines_fit_and_hold_every_letter(text: str, width: int, indent: str) -> None:
    made = folded(text, width, indent)
    wide = any(cell_len(char) > 1 for char in text)
    assert all(cell_len(each) <= max(width, 8) + wide for each in made), "a wide letter may stand over by one cell"
    letters = "".join(made).replace(" ", "")
    assert letters == text.replace("\t", "    ").replace("\n", "").replace(" ", "")


def test_folding_by_example() -> None:
    assert folded("one two three four", 9) == ["one two", "three", "four"]
    assert folded("one two three four", 9, "  ") == ["one two", "  three", "  four"]
    assert folded("a\n\nb", 20) == ["a", "", "b"]
    assert folded("x" * 20, 8) == ["x" * 8, "x" * 8, "x" * 4]
    assert folded("パスワード再設定", 8) == ["パスワー", "ド再設定"]
    assert len(folded("x" * 200_000, 80)) == 2500


@given(PIECES, st.integers(0, 90), st.sampled_from(list(Glyphs)), st.booleans())
def test_a_strip_is_as_wide_as_asked_and_draws_text_only(made: Line, width: int, glyphs: Glyphs, under: bool) -> None:
    drawn = strip(made, width, glyphs, under=under)
    assert drawn.cell_length == width
    assert sum(segment.cell_length for segment in drawn) == width
    assert all(segment.control is None for segment in drawn)
    assert not any(char in segment.text for segment in drawn for char in "\x1b\n\r\t\x07\x9b")


@given(PIECES, st.lists(st.tuples(st.integers(0, 5), ANY), max_size=3), st.integers(1, 60))
def test_outside_of_the_difference_nothing_differs(old: Line, changes: list[tuple[int, str]], width: int) -> None:
    """What is drawn again is enough: cells left and right of it are what they were."""
    old = tuple((seen(text), style) for text, style in old)
    new = list(old)
    for at, text in changes:
        if at < len(new):
            new[at] = (fit(safe_text(text), cell_len(new[at][0])) if len(text) % 2 else seen(text), new[at][1])
    start, count = difference(tuple(new), old)
    before, after = strip(old, width, Glyphs.BLOCK), strip(tuple(new), width, Glyphs.BLOCK)
    start = min(start, width)
    assert before.crop(0, start) == after.crop(0, start)
    end = min(start + count, width)
    assert before.crop(end, width) == after.crop(end, width)


def test_no_difference_draws_nothing() -> None:
    made = line("a", ("b", "bad"))
    assert difference(made, made) == (0, 0)
    assert difference(line("aa", "b", "cc"), line("aa", "x", "cc")) == (2, 1)


def test_markup_stays_text() -> None:
    drawn = strip(line(("[@click=app.quit][red]x[/foo]", "bad")), 40, Glyphs.BLOCK)
    assert drawn.text.rstrip() == "[@click=app.quit][red]x[/foo]"


def test_joined_and_text_of() -> None:
    assert text_of(joined([line("a"), line("b", "c")], " · ")) == "a · bc"
    assert text_of(joined([])) == ""
    assert text_of(line("a", ("b", "bad"))) == "ab"


def test_colour_is_never_the_only_signal_of_the_cursor() -> None:
    for name, style in STYLES.items():
        drawn = strip(((name or "x", name),), 20, Glyphs.ASCII, under=True)
        assert all(segment.style is not None and segment.style.reverse for segment in drawn if segment.text.strip())
        assert style is STYLES[name]

"""safe_text: nothing that acts on a terminal gets through."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from gateway.text import cells, pad, safe_text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ASCII [/z] [@click=x]", "plain ASCII [/z] [@click=x]"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\x9bb", "a\\x9bb"),
        ("a\x7fb\x00", "a\\x7fb\\x00"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("invoice\u202egpj.exe", "invoice\\u202egpj.exe"),
        ("a\u2066b\u200fc\u200bd", "a\\u2066b\\u200fc\\u200bd"),
        ("line\u2028para\u2029", "line\\u2028para\\u2029"),
        ("half \ud800", "half \\ud800"),
        ("unassigned \u0378", "unassigned \\u0378"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("blank \u3164", "blank \\u3164"),
        ("soft\u00adhyphen", "soft\\xadhyphen"),
        ("e\u0301", "é"),
        ("日本語 ünïcödé 🎉", "日本語 ünïcödé 🎉"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(raw: str, shown: str) -> None:
    assert safe_text(raw) == shown


def test_line_feeds_and_tabs_where_they_are_allowed() -> None:
    assert safe_text("a\nb\tc\rd\x1b", multiline=True) == "a\nb\tc\\x0dd\\x1b"


def test_towers_of_marks_are_cut() -> None:
    shown = safe_text("z" + "\u0301\u0316" * 1000)
    assert sum(unicodedata.category(char) == "Mn" for char in unicodedata.normalize("NFD", shown)) <= 8


@pytest.mark.parametrize(
    ("raw", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 4, "abc…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("\x1b" * 9, 6, "\\x1b\\…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("日", 0, ""),
    ],
)
def test_cut_to_a_width(raw: str, width: int, shown: str) -> None:
    assert safe_text(raw, width) == shown


ANY = st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF, categories=None), max_size=60)


@given(ANY, st.booleans())
def test_no_character_that_acts_is_left(raw: str, multiline: bool) -> None:
    shown = safe_text(raw, multiline=multiline)
    allowed = "\n\t" if multiline else ""
    assert all(unicodedata.category(char)[0] != "C" or char in allowed for char in shown)
    assert not {"\u2028", "\u2029"} & set(shown)
    shown.encode()  # no half of a surrogate pair is left


@given(ANY, st.integers(0, 30))
def test_never_wider_than_asked(raw: str, width: int) -> None:
    shown = safe_text(raw, width)
    assert cells(shown) <= width
    assert cells(pad(shown, width)) == width

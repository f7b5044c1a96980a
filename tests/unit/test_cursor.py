"""Cursors are read back as they were written, and never guessed at."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pipeline.cursor import FolderCursor
from pipeline.errors import CursorLost


def test_the_form_that_is_stored() -> None:
    assert FolderCursor(1795465094, 12).text() == "1:1795465094:12"


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_what_was_written_is_read(epoch: int, low: int) -> None:
    cursor = FolderCursor(epoch, low)
    assert FolderCursor.parse(cursor.text()) == cursor


@pytest.mark.parametrize(
    "text",
    ["", "1", "1:2", "2:1:1", "1:1:1:1", "1:-1:1", "1:01:1", "1:1:x", " 1:1:1", "1:1:1\n", "1:١:1", "1:1:" + "9" * 21],
)
def test_anything_else_is_lost(text: str) -> None:
    with pytest.raises(CursorLost):
        FolderCursor.parse(text)


@given(st.text(max_size=40))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        cursor = FolderCursor.parse(text)
    except CursorLost:
        return
    assert cursor.text() == text

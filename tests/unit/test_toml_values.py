"""Values as TOML writes them: what is written is read again as the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway.toml_values import as_toml
from pipeline.touchpoint import Security

VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_every_value_is_read_as_it_was_written(value: Any) -> None:
    written = as_toml(value)
    assert "\n" not in written
    assert tomllib.loads(f"key = {written}") == {"key": value}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (("inbox", "junk"), '["inbox", "junk"]'),
        ((), "[]"),
        ({}, "{}"),
        ({"a b": 1, "c": (True,)}, '{ "a b" = 1, c = [true] }'),
        (300.0, "300.0"),
        (Security.TLS, '"tls"'),
        (Path("/run/x"), '"/run/x"'),
        ("\x7f", '"\\u007f"'),
        (None, ""),
    ],
    ids=str,
)
def test_how_it_looks(value: Any, written: str) -> None:
    assert as_toml(value) == written

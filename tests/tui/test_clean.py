"""The gate: no text of any reply or event passes it with anything in it but text."""

from __future__ import annotations

import types
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings, strategies as st

from gateway import rows
from gateway.control import RULES, Batch, Me, Page, Snapshot, TouchpointRow, reply_type
from tests.tui.canned import mail, status, touchpoint
from tests.tui.hostile import texts
from tui.clean import clean, visible

TEXT = st.one_of(
    st.text(max_size=12), st.sampled_from(texts()), st.text("a\x1b\x9b\u202e\u200b\u2066\n\t\x00é", max_size=8)
)
"""What a stranger may write."""
_SHARE = settings.default.max_examples // 4 if settings.default else 15
"""There are many types."""


def values(hint: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a type of the wire, in which every text may be hostile."""
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        return st.one_of(*(values(each, depth) for each in get_args(hint)))
    if origin is tuple:
        return st.lists(values(get_args(hint)[0], depth + 1), max_size=1 if depth > 1 else 2).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, values(get_args(hint)[1], depth + 1), max_size=2)
    if origin is Page:
        return st.builds(Page, rows=values(tuple[get_args(hint)[0], ...], depth), next=st.integers())  # type: ignore[misc]
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{each.name: values(hints[each.name], depth + 1) for each in fields(hint)})  # type: ignore[arg-type]
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT, int: st.integers(), float: st.floats(allow_nan=False), bool: st.booleans(),
        bytes: st.binary(max_size=8), type(None): st.none(),
    }  # fmt: skip
    return plain.get(hint, TEXT)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from texts_in(key)
            yield from texts_in(each)
    elif is_dataclass(value):
        for field in fields(value):
            yield from texts_in(getattr(value, field.name))


def harmless(text: str) -> bool:
    """Whether it holds no control, format, bidi, surrogate or private character, but line feeds and tabs."""
    return all(char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn") for char in text)


KINDS = {str(kind): kind for kind in (*(reply_type(rule.call) for rule in RULES), Snapshot, Batch)}


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_nothing_passes_but_text(kind: Any) -> None:
    @settings(max_examples=_SHARE)
    @given(values(kind))
    def passes(value: Any) -> None:
        made = clean(value)
        assert type(made) is type(value)
        assert [text for text in texts_in(made) if not harmless(text)] == []
        assert clean(made) is made, "what is clean is passed on as it is"

    passes()


def test_every_row_of_the_wire_is_one_of_them() -> None:
    """A row that nobody answers with yet is cleaned all the same."""
    for name, kind in vars(rows).items():
        if isinstance(kind, type) and is_dataclass(kind) and not name.startswith("_"):

            @settings(max_examples=_SHARE)
            @given(values(kind))
            def passes(value: Any) -> None:
                assert all(harmless(text) for text in texts_in(clean(value)))

            passes()


def test_what_is_clean_is_the_same_object() -> None:
    for value in (
        touchpoint(),
        mail(),
        status((touchpoint(),)),
        (touchpoint(), mail()),
        "Grüße\n\tパスワード",
        b"\x1b",
        7,
    ):
        assert clean(value) is value


def test_what_is_not_is_said_and_the_rest_is_the_same_object() -> None:
    row = touchpoint(1, name="\x1b[2Jdesk", reason="fine")
    made = clean(row)
    assert made.name == "\\x1b[2Jdesk"
    assert replace(made, name="") == replace(row, name="")
    both = clean((touchpoint(2), row))
    assert both[1].name == "\\x1b[2Jdesk"


def test_lines_stay_lines_and_bytes_stay_bytes() -> None:
    @dataclass(frozen=True)
    class Piece:
        text: str
        data: bytes
        counts: dict[str, int]

    made = clean(Piece(text="a\r\nb\tc", data=b"\x1b\x00", counts={"\x07x": 1}))
    assert (made.text, made.data, made.counts) == ("a\\x0d\nb\tc", b"\x1b\x00", {"\\x07x": 1})


def test_the_house_itself_is_a_stranger() -> None:
    me = clean(Me(name="\u202eops", uid=1, roles=("admin", "\x1b"), hostname="gw\x0701", version="0.1"))
    assert (me.name, me.roles, me.hostname) == ("\\u202eops", ("admin", "\\x1b"), "gw\\x0701")
    assert all(harmless(text) for text in texts_in(clean(TouchpointRow(**{
        each.name: "\x9b31m" if each.type in ("str", str) else 0 for each in fields(TouchpointRow)
    }))))  # fmt: skip


@pytest.mark.parametrize(
    ("pasted", "kept"),
    [
        ("Grüße,\r\n\tein Kunde 漢字 👍", "Grüße,\r\n\tein Kunde 漢字 👍"),
        ("e\u0301 \u212b", "é Å"),
        ("a\x1b]52;c;ZXZpbA==\x07b\x9b31m\u202e\u200bc", "a]52;c;ZXZpbA==b31mc"),
    ],
)
def test_what_is_pasted_holds_nothing_that_cannot_be_seen(pasted: str, kept: str) -> None:
    assert visible(pasted) == kept

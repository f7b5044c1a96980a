"""Splices: what no splice names stays equal, however the content is cut into chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, strategies as st

from pipeline.splice import applied, apply, ordered, pack, size_after, unpack
from pipeline.verdict import Splice

CONTENT = bytes(range(256))


@st.composite
def splices(draw: st.DrawFn) -> tuple[Splice, ...]:
    """Splices of CONTENT that do not overlap: neighbours, insertions at one place and at both ends among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(CONTENT)), max_size=12)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return tuple(Splice(low, high - low, draw(st.binary(max_size=5))) for low, high in pairs)


async def in_chunks(content: bytes, sizes: Sequence[int]) -> AsyncIterator[bytes]:
    at = 0
    for size in sizes:
        yield content[at : at + size]
        at += size
    yield content[at:]


def slowly(content: bytes, which: Sequence[Splice]) -> bytes:
    """The same by the definition: from the end, one after the other."""
    for each in reversed(which):
        content = content[: each.offset] + each.data + content[each.offset + each.length :]
    return content


@given(splices(), st.lists(st.integers(0, 40), max_size=12))
async def test_chunks_make_no_difference(which: tuple[Splice, ...], sizes: list[int]) -> None:
    expected = slowly(CONTENT, which)
    assert apply(CONTENT, which) == expected
    assert b"".join([part async for part in applied(in_chunks(CONTENT, sizes), which)]) == expected
    assert size_after(len(CONTENT), which) == len(expected)


@given(splices())
def test_stored_and_read_again(which: tuple[Splice, ...]) -> None:
    assert unpack(pack(which)) == which


@given(splices().flatmap(st.permutations))
def test_order_does_not_matter_to_what_is_apart(which: list[Splice]) -> None:
    offsets = [each.offset for each in which]
    if len(set(offsets)) == len(offsets):
        assert ordered(which) == tuple(sorted(which, key=lambda each: each.offset))


def test_insertions_at_one_place_keep_their_order() -> None:
    which = (Splice(3, 0, b"first"), Splice(3, 0, b"second"), Splice(0, 1, b""))
    assert apply(b"abcdef", ordered(which)) == b"bcfirstseconddef"


@pytest.mark.parametrize("which", [(Splice(0, 4, b""), Splice(3, 1, b"")), (Splice(2, 5, b""), Splice(2, 1, b""))])
def test_overlaps_are_refused(which: tuple[Splice, ...]) -> None:
    with pytest.raises(ValueError, match="overlap"):
        ordered(which)


async def test_an_empty_content_can_be_given_bytes() -> None:
    assert b"".join([part async for part in applied(in_chunks(b"", []), (Splice(0, 0, b"new"),))]) == b"new"

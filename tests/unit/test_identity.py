"""Which item is which under new numbers: multisets, what servers say wrongly, and doubts that only bodies end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings, strategies as st

from pipeline.identity import New, Old, match


@dataclass(frozen=True)
class Letter:
    """A mail at a server: what its head says, its bytes, and what the server says of it."""

    head: bytes = b"h"
    body: bytes = b"b"
    size: int = 10
    at: float = 1.0
    named: bool = True

    def old(self, number: int) -> Old:
        return Old(number, self.head, self.size, self.at, self.head + self.body, self.named)

    def blind(self, number: int) -> Old:
        """As one whose bytes were never fetched."""
        return Old(number, b"", self.size, self.at, b"", False)

    def new(self, uid: int) -> New:
        return New(uid, self.head, self.size, self.at)


def settle(old: Sequence[Old], there: dict[int, Letter], lost: frozenset[int] = frozenset()) -> dict[int, int]:
    """Match, read the bodies that are asked for, and match again, until there is no doubt."""
    bodies: dict[int, bytes] = {}
    while True:
        found = match(old, [letter.new(uid) for uid, letter in there.items()], bodies)
        if not found.doubtful:
            return found.pairs
        assert bodies.keys().isdisjoint(found.doubtful), "what was read is not asked for again"
        bodies |= {
            uid: b"" if uid in lost else there[uid].head + there[uid].body for uid in found.doubtful
        }  # fmt: skip


A = Letter()
CASES: dict[str, tuple[list[Old], list[Letter], dict[int, int]]] = {
    "one is one": ([A.old(1)], [A], {1: 1}),
    "nothing is known": ([], [A], {}),
    "two byte-equal ones stay two": ([A.old(1), A.old(2)], [A, A], {1: 1, 2: 2}),
    "two absorb two, the third is new": ([A.old(1), A.old(2)], [A, A, A], {1: 1, 2: 2}),
    "of two one is gone": ([A.old(1), A.old(2)], [A], {1: 1}),
    "the time tells which is which": (
        [replace(A, at=1.0).old(1), replace(A, at=2.0).old(2)], [replace(A, at=2.0), replace(A, at=1.0)], {1: 2, 2: 1}),
    "all times are new": (
        [replace(A, at=1.0).old(1), replace(A, at=2.0).old(2)], [replace(A, at=8.0), replace(A, at=9.0)], {1: 1, 2: 2}),
    "a size that lies": ([A.old(1)], [replace(A, size=12)], {1: 1}),
    "only the head is equal": ([A.old(1)], [replace(A, size=12, at=2.0, body=b"c")], {}),
    "another head": ([A.old(1)], [replace(A, head=b"i", body=b"c")], {}),
    "a head that the server reads otherwise": ([replace(A, head=b"", body=b"hb").old(1)], [A], {1: 1}),
    "a new one with the head, size and time of two": (
        [A.old(1)], [replace(A, body=b"c"), A], {2: 1}),
    "a nameless one with another time is another one": (
        [replace(A, named=False).old(1)], [replace(A, at=2.0, named=False, body=b"c")], {}),
    "a nameless one whose time was lost": (
        [replace(A, named=False).old(1)], [replace(A, at=2.0, named=False)], {1: 1}),
    "one that was never fetched": ([A.blind(1)], [A], {1: 1}),
    "one that was never fetched, beside its neighbour of the same second": (
        [A.blind(1), A.old(2)], [replace(A, head=b"x", body=b"y"), A], {1: 1, 2: 2}),
    "never fetched, and nothing is said of it": ([replace(A, size=0).blind(1)], [replace(A, size=0)], {}),
}  # fmt: skip


@pytest.mark.parametrize(("old", "there", "pairs"), CASES.values(), ids=CASES)
def test_which_item_is_which(old: list[Old], there: list[Letter], pairs: dict[int, int]) -> None:
    assert settle(old, dict(enumerate(there, 1))) == pairs


def test_bodies_are_read_for_doubts_only() -> None:
    sure = [replace(A, head=bytes([n]), at=float(n)) for n in range(50)]
    old = [letter.old(n) for n, letter in enumerate(sure)]
    there = dict(enumerate([*sure, replace(A, head=b"\x07", at=7.0, body=b"c")], 1))
    first = match(old, [letter.new(uid) for uid, letter in there.items()], {})
    assert sorted(first.doubtful) == [8, 51]
    assert len(first.pairs) == 49


def test_a_body_that_does_not_come_makes_nothing_known() -> None:
    old = [A.old(1)]
    there = {1: A, 2: replace(A, body=b"c")}
    assert settle(old, there, lost=frozenset({1, 2})) == {}


LETTERS = st.builds(
    Letter,
    head=st.sampled_from([b"h", b"i"]), body=st.sampled_from([b"a", b"b"]), size=st.sampled_from([10, 11]),
    at=st.sampled_from([1.0, 2.0]), named=st.booleans(),
)  # fmt: skip
FOLDERS = st.lists(LETTERS, max_size=8)


@given(FOLDERS, FOLDERS, st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_as_many_are_known_as_there_were_and_not_one_more(
    kept: list[Letter], fresh: list[Letter], mixed: object
) -> None:
    """k known items absorb k that are byte-equal; what differs in bytes from all that we know is never absorbed."""
    old = [letter.old(number) for number, letter in enumerate(kept, 1)]
    listed = [*kept, *fresh]
    mixed.shuffle(listed)  # type: ignore[attr-defined]
    there = dict(enumerate(listed, 1))
    pairs = settle(old, there)
    assert len(set(pairs.values())) == len(pairs)
    prints = {one.id: one.sha256 for one in old}
    strangers = [uid for uid, letter in there.items() if (letter.head + letter.body) not in prints.values()]
    vouched = {(one.head_hash, one.size) for one in old if one.named} | {
        (one.head_hash, one.internaldate) for one in old if one.named
    }
    alike = {(one.head_hash, one.size, one.internaldate) for one in old}
    for uid in strangers:
        letter = there[uid]
        trusted = (letter.head, letter.size, letter.at) in alike
        trusted |= not {(letter.head, letter.size), (letter.head, letter.at)}.isdisjoint(vouched)
        assert uid not in pairs or trusted
    if not fresh:
        assert len(pairs) == len(old)


@given(FOLDERS, FOLDERS, st.data())
@settings(max_examples=300, deadline=None)
def test_cut_off_anywhere_and_done_again_it_comes_to_the_same(
    kept: list[Letter], fresh: list[Letter], data: st.DataObject
) -> None:
    old = [letter.old(number) for number, letter in enumerate(kept, 1)]
    there = dict(enumerate([*fresh, *kept], 1))
    whole = settle(old, there)
    done = dict(sorted(whole.items())[: data.draw(st.integers(0, len(whole)))])
    rest = settle(
        [one for one in old if one.id not in done.values()], {uid: one for uid, one in there.items() if uid not in done}
    )
    again = done | rest

    def unseen(pairs: dict[int, int]) -> Counter[bytes]:
        return Counter(one.head + one.body for uid, one in there.items() if uid not in pairs)

    assert unseen(again) == unseen(whole)

"""Conversations: who joins which, and ids that nobody else can make."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pipeline.conversation import KEY_LENGTH, Known, MessageIds, conversation_key, find

IDS = MessageIds(b"secret" * 5, "post.example")
A = Known("a", frozenset({"customer@example.org"}))
B = Known("b", frozenset({"customer@example.org", "colleague@example.org"}))


def test_a_key_is_fixed_by_touchpoint_and_seed() -> None:
    keys = {conversation_key(t, s) for t in (1, 11) for s in ("1/INBOX/1/1", "1/INBOX/1/2")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {KEY_LENGTH}
    assert conversation_key(1, "x") == conversation_key(1, "x")


@given(st.text("0123456789abcdef", min_size=1, max_size=24), st.text("0123456789abcdef", min_size=1, max_size=24))
def test_our_own_ids_name_their_conversation(key: str, unique: str) -> None:
    made = IDS.make(key, unique)
    assert made.startswith("<") and made.endswith("@post.example>")
    assert IDS.conversation_of(made) == key
    assert IDS.conversation_of(made.strip("<>")) == key
    assert MessageIds(b"another", "post.example").conversation_of(made) is None
    assert MessageIds(IDS.secret, "other.example").conversation_of(made) is None


@given(st.integers(1, 60), st.characters(codec="utf-8"))
def test_an_altered_id_is_nobodys(at: int, character: str) -> None:
    made = IDS.make("0123456789abcdef01234567", "89ab")
    at %= made.index("@")
    altered = made[:at] + character + made[at + 1 :]
    left = altered.strip("<> ").partition("@")[0]
    if left != made.strip("<> ").partition("@")[0]:
        assert IDS.conversation_of(altered) is None


@pytest.mark.parametrize(
    "text", ["", "<>", "<@>", "<pr.a.b@post.example>", "<pr.a.b.\udcff@x>", "<pr.ä.b.c@x>", "<....>"]
)
def test_other_ids_are_nobodys(text: str) -> None:
    assert IDS.conversation_of(text) is None


def test_the_latest_reference_decides() -> None:
    pairs = [("<1@x>", A), ("<2@x>", B)]
    assert find(["<1@x>", "<2@x>"], "customer@example.org", pairs) is B
    assert find(["<2@x>", "<1@x>"], "customer@example.org", pairs) is A
    assert find(["<1@x>", "<9@x>"], "customer@example.org", pairs) is A


def test_who_takes_no_part_joins_nothing() -> None:
    assert find(["<1@x>", "<2@x>"], "stranger@example.org", [("<1@x>", A), ("<2@x>", B)]) is None
    assert find(["<2@x>", "<1@x>"], "colleague@example.org", [("<1@x>", A), ("<2@x>", B)]) is B


def test_one_id_may_be_in_several_conversations() -> None:
    assert find(["<1@x>"], "colleague@example.org", [("<1@x>", A), ("<1@x>", B)]) is B

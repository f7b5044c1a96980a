"""What there is to do is complete and true: every call has its act, every act its key, its command and its line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gateway.cli import _parser
from gateway.cli.base import Stop
from gateway.control import RULES, Call, changes, method_of
from tui.acts import Act, Kind
from tui.catalogue import all_acts, all_views, page
from tui.everywhere import ALWAYS, EVERYWHERE
from tui.frame import SCREENS

DOCS = Path(__file__).parents[2] / "docs" / "keys.md"
ACTS = list(all_acts())
VALUES = {
    "{id}": "17", "ID": "17", "{address}": "support@acme.example", "{pattern}": "@spam.example",
    "{touchpoint}": "support@acme.example", "{direction}": "both", "LEVEL": "warning", "KIND": "touchpoint",
}  # fmt: skip
"""What stands for the words in braces and capitals where the parser looks closely."""


def test_every_call_of_the_wire_belongs_to_an_act() -> None:
    known = {call for _, act in ACTS for call in (*act.calls, *act.reads)} | set(ALWAYS)
    assert [rule.method for rule in RULES if rule.call not in known] == []


def test_every_call_that_changes_something_has_a_command() -> None:
    with_command = {call for _, act in ACTS if act.command for call in act.calls}
    assert [method_of(rule.call) for rule in RULES if rule.changes and rule.call not in with_command] == []


@pytest.mark.parametrize("act", [act for _, act in ACTS if act.command], ids=lambda act: act.id)
def test_its_command_is_one(act: Act) -> None:
    words = act.command.split()
    assert words[0] == "postroom"
    made = [VALUES.get(word, word) for word in words[1:]]
    try:
        _parser(made).parse_args(made)
    except Stop as stop:
        pytest.fail(f"{act.id}: {act.command}: {stop}")


def test_ids_are_unique_but_for_shared_acts() -> None:
    by_id: dict[str, set[int]] = {}
    for _, act in ACTS:
        by_id.setdefault(act.id, set()).add(id(act))
    assert {name for name, ones in by_id.items() if len(ones) > 1} == set()


@pytest.mark.parametrize("view", list(all_views()), ids=lambda view: view.NAME)
def test_no_key_stands_for_two_things_on_one_screen(view: type) -> None:
    counts = Counter(key for act in view.ACTS for key in act.keys)
    assert {key for key, count in counts.items() if count > 1} == set()
    moving = {"j", "k", "g", "G", "up", "down", "pageup", "pagedown", "home", "end"}
    assert moving & counts.keys() == set()
    forbidden = {"ctrl+a", "ctrl+b", "ctrl+d", "ctrl+k", "[", "]", "{", "}", "\\", "|", "~", "@"}
    assert forbidden & counts.keys() == set()
    # What goes about must go about everywhere; a screen may take the rest for itself.
    about = {
        key for act in EVERYWHERE if act.id in ("ui.back", "ui.help", "ui.go", "ui.quit", "ui.menu") for key in act.keys
    }
    assert (about | {digit for digit, _, _ in SCREENS}) & counts.keys() == set()


def test_what_destroys_is_never_one_key_and_never_a_chord() -> None:
    destroying = {"touchpoint.delete", "mail.drop", "ring_group.delete", "relay_user.remove"}
    for _, act in ACTS:
        if {method_of(call) for call in act.calls} & destroying and act.kind is not Kind.NAME:
            pytest.fail(f"{act.id} destroys and does not ask for the name")
        if act.kind in (Kind.NAME, Kind.ASK):
            assert not any(key.startswith("ctrl+") for key in act.keys), act.id


def test_what_asks_changes_something_and_has_a_question() -> None:
    for _, act in ACTS:
        if act.kind is not Kind.LOOK:
            assert any(changes(call) for call in act.calls), act.id
        assert (act.name is not None) == (act.kind is Kind.NAME), act.id


def test_the_page_of_keys_is_what_the_table_says(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("accept"):
        DOCS.write_text(page(), "utf-8")
    assert DOCS.read_text("utf-8") == page(), "the keys changed; write the page anew with --accept"


def test_the_page_names_every_call() -> None:
    text = DOCS.read_text("utf-8")
    missing: list[type[Call[object]]] = [rule.call for rule in RULES if f"`{rule.method}`" not in text]
    assert missing == []

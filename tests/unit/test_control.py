"""The wire: every call and row survives it, nothing unknown gets in, and who may do what is one table."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, strategies as st

from gateway import control
from gateway.codec import BadValue, decode, encode
from gateway.control import RULES, Code, ListMail, Role, Rule, ShowMail, WireFault
from gateway.rows import Batch, Page


def example(kind: Any, bound: Mapping[Any, Any] | None = None) -> Any:
    """A value of a type that crosses the wire."""
    kind = (bound or {}).get(kind, kind)
    origin = get_origin(kind)
    if origin in (types.UnionType, Union):
        return example(get_args(kind)[0], bound)
    if origin is tuple:
        return (example(get_args(kind)[0], bound),) * 2
    if origin is not None and issubclass(origin, Mapping):
        return {"key": example(get_args(kind)[1], bound)}
    plain = origin or kind
    if is_dataclass(plain):
        known = dict(zip(getattr(plain, "__parameters__", ()), get_args(kind), strict=False))
        hints = get_type_hints(plain)
        return plain(**{each.name: example(hints[each.name], known) for each in fields(plain)})
    if issubclass(kind, StrEnum):
        return next(iter(kind))
    return {str: "tÄxt", int: 7, float: 1.5, bool: True, bytes: b"\x00\xff"}[kind]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.method)
def test_every_call_and_its_answer_survive_the_wire(rule: Rule) -> None:
    call = example(rule.call)
    line = control.request_line(3, call)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert control.read_request(line) == (3, call)
    kind = control.reply_type(rule.call)
    answer = example(kind)
    assert decode(kind, control.read_answer(control.reply_line(3, answer)).value) == answer


def test_a_batch_survives_the_wire() -> None:
    batch = example(Batch)
    read = control.read_answer(control.batch_line(batch))
    assert (read.id, decode(Batch, read.value)) == (0, batch)


def test_methods_and_calls_are_named_once() -> None:
    assert len({rule.method for rule in RULES}) == len({rule.call for rule in RULES}) == len(RULES)
    calls = {each for each in vars(control).values() if isinstance(each, type) and issubclass(each, control.Call)}
    assert calls - {control.Call} == {rule.call for rule in RULES}


# The matrix, written a second time and by hand: read it when it changes.
READS = {
    "stages", "log.list", "settings.list", "relay.show", "preset.list", "audit.list", "touchpoint.show",
    "blocklist.list", "template.show", "relay_user.list", "mail.why", "mail.replay", "mail.shape", "proof.make",
    "proof.progress",
}  # fmt: skip
ALL = {
    "whoami", "status", "watch", "touchpoint.list", "ring_group.list", "mail.list", "mail.show", "mail.content",
    "mail.text",
}  # fmt: skip
QUEUE = {"mail.close", "mail.reopen", "mail.move"}
OPS = {
    "touchpoint.plan", "touchpoint.connect", "touchpoint.test", "touchpoint.activate", "touchpoint.deactivate",
    "touchpoint.resume",
    "mail.retry", "mail.confirm", "mail.hold", "mail.release", "mail.drop",
}  # fmt: skip
MAY = {
    Role.AUDIT: ALL | READS,
    Role.AGENT: ALL | QUEUE,
    Role.OPS: ALL | READS | QUEUE | OPS,
    Role.ADMIN: {rule.method for rule in RULES},
}


@pytest.mark.parametrize("role", Role)
def test_roles_times_calls(role: Role) -> None:
    may = {rule.method for rule in RULES if control.allowed(example(rule.call), frozenset({role}))}
    assert may == MAY[role]


def test_nobody_may_do_nothing() -> None:
    assert not any(control.allowed(example(rule.call), frozenset()) for rule in RULES)


@pytest.mark.parametrize("name", ["PlanConnect", "ConnectTouchpoint", "TryTouchpoint", "AddRelayUser", "EditRelayUser"])
def test_passwords_do_not_show(name: str) -> None:
    call = replace(example(getattr(control, name)), password="open sesame")
    assert "open sesame" not in repr(call)
    assert "open sesame" in str(encode(call))


def test_no_answer_has_a_field_for_a_secret() -> None:
    for rule in RULES:
        if rule.call is control.ListPresets:
            continue  # a preset's password says what sort of password a provider takes
        text = json.dumps(encode(example(control.reply_type(rule.call))))
        for word in ("password", "secret", "hash", "token"):
            assert f'"{word}"' not in text, rule.method


def request(params: Any, method: str = "mail.show", id: Any = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b"", Code.NOT_JSON, "not JSON"),
        (b"\xff\xfe", Code.NOT_JSON, "not JSON"),
        (b"[" * 100_000, Code.NOT_JSON, "not JSON"),
        (b"[]", Code.NOT_A_CALL, "object"),
        (b"{}", Code.NOT_A_CALL, "id"),
        (request({"id": 1}, id=True), Code.NOT_A_CALL, "id"),
        (request({"id": 1}, id="1"), Code.NOT_A_CALL, "id"),
        (request({"id": 1}, id=2**60), Code.NOT_A_CALL, "id"),
        (b'{"id": 1, "method": "whoami"}', Code.NOT_A_CALL, "2.0"),
        (request({}, method="eval"), Code.NO_METHOD, "eval"),
        (request({}), Code.BAD_PARAMS, "id is missing"),
        (request([]), Code.BAD_PARAMS, "must be dict"),
        (request({"id": "1"}), Code.BAD_PARAMS, "id: must be int, not str"),
        (request({"id": True}), Code.BAD_PARAMS, "id: must be int"),
        (request({"id": 2**70}), Code.BAD_PARAMS, "out of range"),
        (request({"id": 1, "idd": 2}), Code.BAD_PARAMS, "unknown key 'idd'"),
        (request({"touchpoint": "a", "direction": "x"}, "touchpoint.direction"), Code.BAD_PARAMS, "inbound"),
        (request({"touchpoint": "\ud800"}, "touchpoint.show"), Code.BAD_PARAMS, "surrogate"),
        (request({"touchpoint": "a", "since": float("nan")}, "touchpoint.plan"), Code.BAD_PARAMS, "number"),
        (request({"address": "a", "name": "b", "aliases": "abc"}, "touchpoint.create"), Code.BAD_PARAMS, "list"),
        (request({"address": "a", "name": "b", "aliases": [1]}, "touchpoint.create"), Code.BAD_PARAMS, "aliases[0]"),
    ],
)
def test_bad_lines_are_refused_by_name(line: bytes, code: Code, words: str) -> None:
    with pytest.raises(WireFault) as caught:
        control.read_request(line)
    assert caught.value.code == code
    assert words in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([each.name for each in fields(ListMail)])


@given(JSON | st.dictionaries(NAMES, JSON, max_size=4), st.sampled_from(RULES))
def test_any_json_is_a_call_or_a_fault(params: Any, rule: Rule) -> None:
    try:
        _, call = control.read_request(request(params, rule.method))
    except WireFault as fault:
        assert fault.code in (Code.BAD_PARAMS, Code.NOT_JSON)
    else:
        assert control.read_request(control.request_line(1, call)) == (1, call)


def test_defaults_stand_for_what_is_left_out() -> None:
    assert control.read_request(request({"state": "held"}, "mail.list"))[1] == ListMail(state="held")


def test_an_answer_that_is_too_long_is_refused_not_sent() -> None:
    with pytest.raises(WireFault, match="narrowly"):
        control.reply_line(1, "x" * control.LONGEST_LINE)


def test_errors_come_back_as_faults() -> None:
    with pytest.raises(WireFault, match="no mail 9") as caught:
        control.read_answer(control.error_line(4, Code.REFUSED, "there is no mail 9"))
    assert (caught.value.code, caught.value.id) == (Code.REFUSED, 4)


def test_generic_pages_decode_to_their_rows() -> None:
    @dataclass(frozen=True)
    class Thing:
        name: str

    page = decode(Page[Thing], {"rows": [{"name": "a"}], "next": 3})
    assert page == Page(rows=(Thing(name="a"),), next=3)
    with pytest.raises(BadValue, match=r"rows\[0\]: unknown key"):
        decode(Page[Thing], {"rows": [{"name": "a", "x": 1}]})


def test_what_has_no_form_on_the_wire_is_our_fault() -> None:
    with pytest.raises(TypeError):
        encode({1, 2})
    assert encode(ShowMail(id=1)) == {"id": 1}

"""The blocklist stage: who is blocked, and that it only ever holds."""

from __future__ import annotations

import pytest

from pipeline.mail import Envelope
from pipeline.verdict import Action, HoldCause
from stages.blocklist import BlocklistStage
from tests.unit.deciding import a_context, content, decide_mail

CASES: list[tuple[str, dict[str, str | None], bool]] = [
    ("buyer@example.org", {}, True),
    ("buyer@example.org", {"From": "BUYER@Example.ORG"}, True),
    ("buyer@example.org", {"From": "buyer+news@example.org", "Return-Path": "<x@y.example>"}, True),
    ("buyer@example.org", {"From": "ops@example.org"}, True),  # the envelope's sender
    ("buyer@example.org", {"From": "buyer@example.com", "Return-Path": "<buyer@example.com>"}, False),
    ("buyer@example.org", {"From": "mbuyer@example.org", "Return-Path": "<>"}, False),
    ("@example.org", {}, True),
    ("@example.org", {"From": "a@mail.example.org", "Return-Path": "<>"}, False),
    ("@example.org", {"From": "a@badexample.org", "Return-Path": "<>"}, False),
    ("@.example.org", {}, True),
    ("@.example.org", {"From": "a@mail.example.org", "Return-Path": "<>"}, True),
    ("@.example.org", {"From": "a@badexample.org", "Return-Path": "<>"}, False),
    ("@xn--bcher-kva.example", {"From": "a@Bücher.example"}, True),
    ("bad@example.net", {"From": "a@b.example, bad@example.net", "Return-Path": "<>"}, True),
    ("bad@example.net", {"From": "x) <bad@example.net>", "Return-Path": "<>"}, True),
    ("bad@example.net", {"From": '"bad@example.net" <buyer@example.org>', "Return-Path": "<>"}, False),
    ("bad@example.net", {"From": None, "Return-Path": None}, False),
]


@pytest.mark.parametrize("entry, changes, blocked", CASES)
async def test_who_is_blocked(entry: str, changes: dict[str, str | None], blocked: bool) -> None:
    context = a_context(blocklist=frozenset({entry, "other@example.test"}))
    got = await BlocklistStage()(decide_mail(content(changes)), context)
    assert got.action is (Action.HOLD if blocked else Action.PASS)
    assert got.cause is (HoldCause.BLOCKED if blocked else None)
    assert (entry in got.reason) == blocked and not got.effects


async def test_two_from_fields_are_no_way_around() -> None:
    data = content(lines=["From: bad@example.net"])
    got = await BlocklistStage()(decide_mail(data), a_context(blocklist=frozenset({"bad@example.net"})))
    assert got.action is Action.HOLD


async def test_an_unknown_envelope_and_an_empty_list() -> None:
    mail = decide_mail(envelope=Envelope(sender=None))
    assert (await BlocklistStage()(mail, a_context())).reason == "the blocklist is empty"
    assert (await BlocklistStage()(mail, a_context(blocklist=frozenset({"@x.example"})))).action is Action.PASS

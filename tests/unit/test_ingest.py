"""The ingest stage: what a mail is, which conversation it joins, and which mail ends here."""

from __future__ import annotations

import pytest

from pipeline.conversation import Known, conversation_key
from pipeline.mail import Facts, Kind, Mail
from pipeline.memory import Memory
from pipeline.stage import Context
from pipeline.touchpoint import DirectionType
from pipeline.verdict import Action, HoldCause, Verdict
from stages.ingest import IngestStage
from tests.unit.deciding import HOME, IDS, OTHER, OURS, a_context, content, decide_mail, outbound
from tests.unit.test_bounce import ORIGINAL, report

KEY = "0123456789abcdef01234567"
OUR_ID = IDS.make(KEY, "aa11")
TALK = Known(KEY, frozenset({"buyer@example.org", OURS}))
NEW = conversation_key(1, "1/INBOX/1/17")
SEED = "1/INBOX/1/17"


async def verdict(data: bytes | None = None, context: Context | None = None, **changes: object) -> Verdict:
    return await IngestStage()(decide_mail(data, **changes), context or a_context())


def facts(got: Verdict) -> Facts:
    assert got.facts is not None and got.reason
    return got.facts


def remembering(**memory: object) -> Context:
    return a_context(memory=Memory(**memory))  # type: ignore[arg-type]


async def test_a_new_mail_of_a_person_opens_a_conversation() -> None:
    got = await verdict()
    assert got.action is Action.PASS and "from a person" in got.reason and "starts" in got.reason
    assert facts(got) == Facts(conversation=NEW)


KINDS: dict[str, tuple[dict[str, str | None], Kind]] = {
    "Auto-Submitted": ({"Auto-Submitted": "auto-generated"}, Kind.AUTO),
    "Auto-Submitted: no": ({"Auto-Submitted": "no (a person)"}, Kind.PERSON),
    "Precedence": ({"Precedence": "bulk"}, Kind.AUTO),
    "Precedence of a person": ({"Precedence": "first-class"}, Kind.PERSON),
    "X-Auto-Response-Suppress": ({"X-Auto-Response-Suppress": "DR, OOF"}, Kind.AUTO),
    "X-Autoreply": ({"X-Autoreply": "yes"}, Kind.AUTO),
    "list": ({"List-Id": "<l.example.org>", "Precedence": "list"}, Kind.LIST),
    "a field like a list's": ({"List-Foo": "x"}, Kind.PERSON),
    "receipt": ({"Content-Type": "multipart/report; report-type=disposition-notification; boundary=b"}, Kind.AUTO),
    "complaint": ({"Content-Type": "multipart/report; report-type=feedback-report; boundary=b"}, Kind.AUTO),
    "another touchpoint": ({"From": f"Sales <{OTHER}>"}, Kind.OWN),
    "a tag of another touchpoint": ({"From": "Sales <Sales+x@Shop.example>"}, Kind.OWN),
    "ourselves by hand": ({"From": OURS}, Kind.OWN),
    "a mark of another installation": ({"X-Postroom-Loop": "0000"}, Kind.PERSON),
    "two authors": ({"From": "a@b.example, c@d.example"}, Kind.PERSON),
}


@pytest.mark.parametrize("changes, kind", KINDS.values(), ids=KINDS)
async def test_kinds(changes: dict[str, str | None], kind: Kind) -> None:
    got = await verdict(content(changes))
    assert got.action is Action.PASS and facts(got).kind is kind
    assert bool(facts(got).why) == (kind is not Kind.PERSON)


STOPPED: dict[str, dict[str, str | None]] = {
    "our mark": {"X-Postroom-Loop": HOME},
    "our mark in upper case": {"X-POSTROOM-LOOP": HOME.upper()},
    "our signed copy": {"From": OURS, "Message-ID": OUR_ID},
    "our sent copy": {"From": "help+x@shop.example", "Message-ID": "<sent-1@shop.example>"},
}


@pytest.mark.parametrize("changes", STOPPED.values(), ids=STOPPED)
async def test_loops_and_own_copies_end_here(changes: dict[str, str | None]) -> None:
    got = await verdict(content(changes), remembering(sent={"<sent-1@shop.example>": [7]}))
    assert got.action is Action.STOP and facts(got).kind is Kind.OWN


@pytest.mark.parametrize("count, action", [(50, Action.PASS), (51, Action.STOP)])
async def test_hops(count: int, action: Action) -> None:
    assert (await verdict(content(lines=["Received: from a by b"] * count))).action is action


GOES_ON: dict[str, dict[str, str | None]] = {
    "a person who answers us": {"In-Reply-To": OUR_ID, "References": f"{OUR_ID} <sent-1@shop.example>"},
    "a person whose program repeats our id": {"Message-ID": "<sent-1@shop.example>"},
    "another touchpoint under an id that was sent": {"From": OTHER, "Message-ID": "<sent-1@shop.example>"},
    "ourselves, but not sent from here": {"From": OURS, "Message-ID": "<other@shop.example>"},
    "our id, altered": {"From": OURS, "Message-ID": OUR_ID.replace("aa11", "aa12")},
}


@pytest.mark.parametrize("changes", GOES_ON.values(), ids=GOES_ON)
async def test_nothing_else_is_stopped(changes: dict[str, str | None]) -> None:
    got = await verdict(content(changes), remembering(sent={"<sent-1@shop.example>": [7]}))
    assert got.action is Action.PASS


async def test_two_deliveries_are_no_reason_to_stop() -> None:
    assert (await verdict(content(lines=[f"Delivered-To: {OURS}"] * 2))).action is Action.PASS


JOINS: dict[str, tuple[dict[str, str | None], str]] = {
    "by reference": ({"References": "<old@example.org>"}, KEY),
    "by In-Reply-To": ({"In-Reply-To": "<old@example.org>"}, KEY),
    "by our signed id": ({"References": OUR_ID}, KEY),
    "author in another case": ({"References": OUR_ID, "From": "BUYER@EXAMPLE.ORG"}, KEY),
    "a stranger with our id": ({"References": OUR_ID, "From": "bad@example.org"}, NEW),
    "a stranger with a reference": ({"References": "<old@example.org>", "From": "bad@example.org"}, NEW),
    "an author in doubt": ({"References": OUR_ID, "From": "buyer@example.org, bad@example.org"}, NEW),
    "an altered id": ({"References": OUR_ID.replace("aa11", "aa12")}, NEW),
    "the subject alone": ({"Subject": "Re: A question"}, NEW),
    "an unknown reference": ({"References": "<never@example.org>"}, NEW),
}


@pytest.mark.parametrize("changes, key", JOINS.values(), ids=JOINS)
async def test_conversations(changes: dict[str, str | None], key: str) -> None:
    context = remembering(by_reference={"<old@example.org>": [TALK]}, by_key={KEY: TALK})
    got = facts(await verdict(content(changes), context))
    assert (got.conversation, got.continues) == (key, key == KEY)


async def test_the_latest_reference_counts() -> None:
    other = Known("f" * 24, frozenset({"buyer@example.org"}))
    context = remembering(by_reference={"<1@x>": [other], "<2@x>": [TALK], "<3@x>": [Known("e" * 24, frozenset())]})
    assert facts(await verdict(content({"References": "<1@x> <2@x> <3@x>"}), context)).conversation == KEY


async def test_a_bounce_of_our_mail_joins_what_was_sent() -> None:
    context = remembering(by_reference={"<sent-1@shop.example>": [TALK]}, sent={"<sent-1@shop.example>": [7, 9]})
    got = facts(await verdict(report(), context))
    assert got.kind is Kind.BOUNCE and got.bounce is not None and got.bounce.status == "5.1.1"
    assert (got.answers, got.conversation, got.continues) == ((7, 9), KEY, True)


async def test_a_bounce_under_our_hand_joins_even_if_nothing_is_left() -> None:
    data = report(returned=ORIGINAL.replace("<sent-1@shop.example>", OUR_ID))
    got = facts(await verdict(data, remembering(by_key={KEY: TALK})))
    assert (got.conversation, got.answers) == (KEY, ())


async def test_a_bounce_of_nothing_of_ours_is_marked() -> None:
    got = await verdict(report(), remembering(by_reference={"<sent-1@shop.example>": [TALK]}))
    assert got.action is Action.PASS and "matches nothing" in got.reason
    assert (facts(got).conversation, facts(got).answers) == (NEW, ())


DIRECTIONS: dict[str, tuple[bytes, Action]] = {
    "a new mail": (content(), Action.HOLD),
    "an answer": (content({"References": OUR_ID}), Action.PASS),
    "a stranger's answer": (content({"References": OUR_ID, "From": "bad@example.org"}), Action.HOLD),
    "a bounce of ours": (report(), Action.PASS),
    "a bounce of another's": (report(returned="Message-ID: <x@y>\n"), Action.HOLD),
    "a loop": (content({"X-Postroom-Loop": HOME}), Action.STOP),
}


@pytest.mark.parametrize("data, action", DIRECTIONS.values(), ids=DIRECTIONS)
async def test_an_outbound_touchpoint_takes_answers_only(data: bytes, action: Action) -> None:
    memory = Memory(by_key={KEY: TALK}, sent={"<sent-1@shop.example>": [7]})
    got = await verdict(data, a_context(memory=memory, direction=DirectionType.OUTBOUND))
    assert got.action is action and (got.cause is HoldCause.DIRECTION) == (action is Action.HOLD)
    assert got.facts is not None


@pytest.mark.parametrize("direction", [DirectionType.INBOUND, DirectionType.BOTH])
async def test_other_touchpoints_take_new_mail(direction: DirectionType) -> None:
    assert (await verdict(context=a_context(direction=direction))).action is Action.PASS


async def submitted(mail: Mail, direction: DirectionType = DirectionType.BOTH) -> Verdict:
    memory = Memory(by_reference={"<old@example.org>": [TALK]}, by_key={KEY: TALK})
    return await IngestStage()(mail, a_context(memory=memory, direction=direction))


ANSWER: dict[str, str | None] = {"From": OURS, "References": "<old@example.org>"}


async def test_our_answer_joins_the_conversation() -> None:
    got = facts(await submitted(outbound(content(ANSWER), "new@example.org", "Buyer@Example.org")))
    assert (got.conversation, got.continues) == (KEY, True)


async def test_our_answer_to_a_stranger_opens_another() -> None:
    got = facts(await submitted(outbound(content(ANSWER), "bad@example.org")))
    assert (got.conversation, got.continues) == (NEW, False)


@pytest.mark.parametrize(
    "changes, recipient, code",
    [
        ({"From": OURS}, "buyer@example.org", "5.7.1"),
        (ANSWER, "bad@example.org", "5.7.1"),
        (ANSWER, "buyer@example.org", ""),
        (ANSWER | {"X-Postroom-Loop": HOME}, "buyer@example.org", "5.4.6"),
        (ANSWER | {"X-Postroom-Loop": "0000"}, "buyer@example.org", ""),
    ],
)
async def test_what_an_inbound_touchpoint_may_send(changes: dict[str, str | None], recipient: str, code: str) -> None:
    got = await submitted(outbound(content(changes), recipient), DirectionType.INBOUND)
    assert got.code == code and got.reason
    assert got.action is (Action.REJECT if code else Action.PASS)


@pytest.mark.parametrize("direction", [DirectionType.OUTBOUND, DirectionType.BOTH])
async def test_other_touchpoints_may_start(direction: DirectionType) -> None:
    assert (await submitted(outbound(content({"From": OURS})), direction)).action is Action.PASS


@pytest.mark.parametrize("count, code", [(50, ""), (51, "5.4.6")])
async def test_hops_on_the_way_out(count: int, code: str) -> None:
    data = content({"From": OURS}, lines=["Received: from a by b"] * count)
    assert (await submitted(outbound(data))).code == code


async def test_a_program_of_ours_is_told_from_a_person() -> None:
    got = facts(await submitted(outbound(content({"From": OURS, "Auto-Submitted": "auto-generated"}))))
    assert got.kind is Kind.AUTO


NO_HEADER = [b"\x00\xff" * 300, b"\r\nNo header, only a body.\r\n", b"no colon here\r\n\r\nx\r\n", b" "]


@pytest.mark.parametrize("data", NO_HEADER)
async def test_what_has_no_header_field_at_all_is_held_as_undecodable(data: bytes) -> None:
    got = await verdict(data)
    assert (got.action, got.cause) == (Action.HOLD, HoldCause.UNDECODABLE)


async def test_an_odd_header_section_with_one_field_passes() -> None:
    got = await verdict(b"Subject: x\r\n\x00\x00\r\n\r\nHello.\r\n")
    assert got.action is Action.PASS

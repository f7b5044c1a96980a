"""The walk down a line: the order, the end, the merging, and stages that do not behave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.conversation import Known, MessageIds
from pipeline.line import Line, Outcome, Release, participants, set_aside, tell, undecided
from pipeline.mail import Direction, Facts, Kind, Mail
from pipeline.memory import Memory
from pipeline.stage import Context, Installation
from pipeline.verdict import (
    Action,
    Assign,
    HoldCause,
    Rewrite,
    Splice,
    Verdict,
    deferred,
    held,
    passed,
    rejected,
    stopped,
)
from tests.unit.making import NOW, OURS, a_mail, a_reply, a_touchpoint, an_outcome

MAIL = a_mail()


def a_context(**changes: Any) -> Context:
    installation = Installation(
        id="test", hostname="post.example", addresses=frozenset({OURS}), message_ids=MessageIds(b"s", "post.example")
    )
    values = {"touchpoint": a_touchpoint(version=7), "installation": installation, "memory": Memory(), "now": NOW}
    return Context(**{**values, **changes})


@dataclass
class Says:
    """A stage that always says the same, and notes what it was told."""

    verdict: Any
    heard: list[Facts] = field(default_factory=list)

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        self.heard.append(context.facts)
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        answer: Verdict = self.verdict
        return answer


async def walk(*verdicts: Any, mail: Mail = MAIL, release: Release | None = None) -> tuple[Outcome, list[Says]]:
    stages = [Says(verdict) for verdict in verdicts]
    line = Line(tuple((f"stage{n}", stage) for n, stage in enumerate(stages)))
    return await line.walk(mail, a_context(), release), stages


async def test_through_to_the_end() -> None:
    reply = a_reply(MAIL)
    outcome, _ = await walk(passed("one", Assign(ring_groups=(1,))), passed("two", reply, Assign(ring_groups=(2,))))
    assert outcome == Outcome(
        mail=MAIL,
        action=Action.PASS,
        trail=(("stage0", "pass", "one"), ("stage1", "pass", "two")),
        version=7,
        at=NOW,
        ring_groups=(1, 2),
        sends=(reply,),
    )


async def test_an_empty_line_passes() -> None:
    outcome, _ = await walk()
    assert (outcome.action, outcome.trail) == (Action.PASS, ())


ENDS = [
    (held(HoldCause.BLOCKED, "why"), Action.HOLD, HoldCause.BLOCKED, ""),
    (stopped("why"), Action.STOP, None, ""),
    (deferred("why"), Action.DEFER, None, ""),
    (rejected("5.7.1", "why"), Action.REJECT, None, "5.7.1"),
]


@pytest.mark.parametrize(("verdict", "action", "cause", "code"), ENDS)
async def test_the_first_that_does_not_pass_ends_the_walk(
    verdict: Verdict, action: Action, cause: HoldCause | None, code: str
) -> None:
    outcome, stages = await walk(passed("fine", a_reply(MAIL), Assign(ring_groups=(1,))), verdict, passed("never"))
    assert (outcome.action, outcome.stage, outcome.reason) == (action, "stage1", "why")
    assert (outcome.cause, outcome.code) == (cause, code)
    assert (outcome.sends, outcome.ring_groups, outcome.splices) == ((), (), ())  # such a walk has no effects
    assert outcome.trail[-1] == ("stage1", action.value, "why")
    assert not stages[2].heard


async def test_facts_reach_the_stages_behind_and_the_outcome() -> None:
    learnt = Facts(kind=Kind.LIST, why="List-Id")
    outcome, stages = await walk(passed("one", facts=learnt), passed("two"), stopped("three"))
    assert [stage.heard for stage in stages] == [[Facts()], [learnt], [learnt]]
    assert outcome.facts is learnt


async def test_what_a_holding_stage_learnt_is_kept() -> None:
    learnt = Facts(kind=Kind.BOUNCE)
    outcome, _ = await walk(held(HoldCause.DIRECTION, "why", facts=learnt))
    assert outcome.facts is learnt


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("no luck"),
        RecursionError("no luck"),
        MemoryError("no luck"),
        TimeoutError("no luck"),
        StopAsyncIteration("no luck"),
        None,
        "pass",
        Verdict(action=Action.PASS, reason=None),  # type: ignore[arg-type]
        Verdict(action=Action.PASS, reason="fine", effects=("send",)),  # type: ignore[arg-type]
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_bug_may_delay_a_mail_never_lose_it(fault: object) -> None:
    outcome, stages = await walk(passed("fine"), fault, passed("never"))
    assert (outcome.action, outcome.cause, outcome.stage) == (Action.HOLD, HoldCause.STAGE_FAILED, "stage1")
    assert "Traceback" in outcome.trail[1][2]
    if isinstance(fault, BaseException):
        assert "no luck" in outcome.reason
    assert not stages[2].heard


async def test_a_huge_traceback_is_cut() -> None:
    outcome, _ = await walk(ValueError("x" * 1_000_000))
    assert len(outcome.reason) < 5000


async def test_a_deadline_is_its_callers() -> None:
    class Slow:
        async def __call__(self, mail: Mail, context: Context) -> Verdict:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await Line((("slow", Slow()),)).walk(MAIL, a_context())


async def test_an_observer_is_told_of_each_stage_as_it_answered_or_was_stopped() -> None:
    class Slow:
        async def __call__(self, mail: Mail, context: Context) -> Verdict:
            await asyncio.Event().wait()
            raise AssertionError

    told: list[tuple[str, Any]] = []
    line = Line(
        tuple({"one": Says(passed("fine")), "two": Says(held(HoldCause.BLOCKED, "why")), "slow": Slow()}.items())
    )
    released = Release(stages=("two",), by="desk")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await line.walk(MAIL, a_context(), released, lambda name, verdict: told.append((name, verdict)))
    assert told == [("one", passed("fine")), ("two", held(HoldCause.BLOCKED, "why")), ("slow", None)]
    told.clear()
    line = Line((("bad", Says(ValueError("no luck"))), ("never", Says(passed("never")))))
    await line.walk(MAIL, a_context(), None, lambda name, verdict: told.append((name, verdict and verdict.cause)))
    assert told == [("bad", HoldCause.STAGE_FAILED)]


# -- release -----------------------------------------------------------------------------------------------------------


async def test_a_release_silences_the_stage_that_held() -> None:
    learnt = Facts(kind=Kind.AUTO)
    release = Release(stages=("stage1",), by="desk")
    reply = a_reply(MAIL)
    outcome, _ = await walk(passed("one"), held(HoldCause.BLOCKED, "why", facts=learnt), passed("three", reply),
                            release=release)  # fmt: skip
    assert outcome.action is Action.PASS
    assert outcome.trail[1] == ("stage1", "pass", "released by desk")
    assert (outcome.facts, outcome.sends) == (learnt, (reply,))


async def test_a_release_counts_for_that_stage_and_that_word_only() -> None:
    release = Release(stages=("stage0",), by="desk")
    other, _ = await walk(passed("one"), held(HoldCause.BLOCKED, "why"), release=release)
    assert (other.action, other.stage) == (Action.HOLD, "stage1")
    stops, _ = await walk(stopped("why"), release=release)
    assert stops.action is Action.STOP


async def test_a_stage_that_failed_can_be_released() -> None:
    outcome, _ = await walk(ValueError(), passed("two"), release=Release(stages=("stage0",), by="desk"))
    assert outcome.action is Action.PASS


# -- splices -----------------------------------------------------------------------------------------------------------

OUT = a_mail(direction=Direction.OUT)


def rewriting(*splices: Splice) -> Verdict:
    return passed("signed", Rewrite(splices=splices))


async def test_splices_of_several_stages_are_put_in_order() -> None:
    outcome, _ = await walk(rewriting(Splice(20, 1, b"x"), Splice(0, 0, b"y")), rewriting(Splice(10, 2, b"")), mail=OUT)
    assert [each.offset for each in outcome.splices] == [0, 10, 20]


@pytest.mark.parametrize(
    ("mail", "verdicts", "words"),
    [
        (OUT, (rewriting(Splice(0, 5, b"")), rewriting(Splice(4, 1, b""))), "overlap"),
        (OUT, (rewriting(Splice(OUT.size, 1, b"")),), "outside"),
        (OUT, (rewriting(Splice(-1, 0, b"")),), "outside"),
        (MAIL, (rewriting(Splice(0, 0, b"x")),), "never rewritten"),
    ],
)
async def test_stages_that_spoil_the_content_hold_it(mail: Mail, verdicts: tuple[Verdict, ...], words: str) -> None:
    outcome, _ = await walk(*verdicts, mail=mail)
    assert (outcome.action, outcome.cause, outcome.splices) == (Action.HOLD, HoldCause.STAGE_FAILED, ())
    assert words in outcome.reason
    assert outcome.trail[-1][:2] == ("line", "hold")


async def test_bytes_can_be_put_at_the_very_end() -> None:
    outcome, _ = await walk(rewriting(Splice(OUT.size, 0, b"-- \r\n")), mail=OUT)
    assert outcome.splices == (Splice(OUT.size, 0, b"-- \r\n"),)


# -- without a walk ----------------------------------------------------------------------------------------------------


def test_undecided_walks_again() -> None:
    outcome = undecided(MAIL, a_context(), "no time")
    assert (outcome.action, outcome.stage, outcome.reason) == (Action.DEFER, "", "no time")
    assert (outcome.version, outcome.at) == (7, NOW)


def test_set_aside_is_held_with_its_cause() -> None:
    outcome = set_aside(MAIL, a_context(), HoldCause.POISON, "three deaths")
    assert (outcome.action, outcome.cause, outcome.stage) == (Action.HOLD, HoldCause.POISON, "line")
    assert outcome.trail == (("line", "hold", "three deaths"),)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_participants_are_all_but_ourselves() -> None:
    mail = a_mail(direction=Direction.OUT, recipients=("Boss@Example.ORG", OURS))
    assert participants(mail, OURS) == {"customer1@example.org", "boss@example.org"}


def test_decisions_within_a_page_see_each_other() -> None:
    memory = Memory(by_key={"key": Known("key", frozenset({"earlier@example.org"}))})
    reply = a_reply(MAIL)
    tell(memory, an_outcome(MAIL, conversation="key", sends=(reply,)), OURS)
    assert memory.by_key["key"].participants == {"earlier@example.org", "customer1@example.org"}
    assert memory.by_reference["<1@example.org>"] == [memory.by_key["key"]]
    assert memory.by_reference[reply.message_id] == [memory.by_key["key"]]
    assert memory.auto_replies == {reply.message_id}
    assert memory.answered == {"customer1@example.org": NOW}
    assert (memory.replies_this_hour, memory.replies_to_domain) == (1, {"example.org": 1})


@pytest.mark.parametrize("action", [each for each in Action if each is not Action.PASS])
def test_what_did_not_pass_is_not_remembered(action: Action) -> None:
    memory = Memory()
    tell(memory, an_outcome(MAIL, action), OURS)
    assert memory == Memory()

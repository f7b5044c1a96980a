"""Replay: walked again by the settings of now, a kept mail is decided as it was, or the table says what is not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway import deciding, replay
from gateway.accepting import RelayCounter
from gateway.control import ReplayMail, Role
from gateway.desk import Desk, Parts, replaying
from gateway.journal import Journal
from gateway.rows import Replayed, ReplayRow
from gateway.submission import Submission
from pipeline import people, strikes, touchpoints
from pipeline.errors import Refused
from pipeline.lifecycle import ConnectionState
from pipeline.line import Line
from pipeline.mail import Envelope, Mail, RelayUser
from pipeline.people import Actor
from pipeline.stage import Context
from pipeline.store import Tx
from pipeline.strikes import InHand
from pipeline.touchpoint import DirectionType
from pipeline.touchpoints import TemplateKind
from pipeline.verdict import HoldCause, Verdict, held, passed
from tests.unit.desking import QuietHouse, caller
from tests.unit.housing import HOST, House, a_house, hurry, until
from tests.unit.making import NOW, OURS, a_content

OPS = caller(Role.OPS)
SOMEBODY = Actor(name="somebody", uid=1, role="ops")


@dataclass
class At:
    """A desk in a house that takes mail."""

    house: House
    quiet: QuietHouse
    desk: Desk
    number: int = 0

    async def take(self, *mails: bytes) -> list[int]:
        """Take mails in by the whole way; their entries' ids."""
        for data in mails:
            self.number += 1
            self.house.mailbox.put(self.number, data=data)
        post = self.house.at_work()

        async def here() -> bool:
            in_hand = "SELECT count(*) FROM entry WHERE direction = 'out' AND state IN ('waiting', 'active')"
            taken = await self.house.values("SELECT count(*) FROM ledger") == [self.number]
            return bool(taken and await self.house.values(in_hand) == [0])

        await until(here)
        await post.stop()
        ids = await self.house.values("SELECT entry_id FROM ledger ORDER BY remote_id")
        return [int(each) for each in ids[-len(mails) :]]

    async def replay(self, number: int) -> ReplayRow:
        answer = await self.ask(id=number)
        assert len(answer.rows) == 1
        return answer.rows[0]

    async def ask(self, **question: Any) -> Replayed:
        answer = await self.desk.answer(ReplayMail(**question), OPS)
        assert isinstance(answer, Replayed)
        return answer

    async def change(self, work: Callable[[Tx], Any]) -> None:
        await self.house.change(work)
        await self.quiet.directory_changed(None)

    async def everything(self) -> list[Any]:
        """All rows of all tables that a walk could write to, and what was stated."""
        names = ("entry", "walk", "recipient", "assignment", "answered", "counter", "conversation", "participant",
                 "strike", "ledger", "audit", "attempt", "content")  # fmt: skip
        rows = [await self.house.rows(f"SELECT * FROM {name}") for name in names]
        return [*rows, len(self.house.facts())]


@pytest.fixture
async def at(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[At]:
    hurry(monkeypatch)
    async with a_house() as house:
        services = house.services
        quiet = QuietHouse(house.room, services.directory, {1: ConnectionState.CONNECTED})
        parts = Parts(
            store=services.store,
            spool=services.spool,
            house=quiet,
            events=services.events,
            metrics=services.metrics,
            clock=services.clock,
            settings=services.settings,
            journal=Journal(),
            services=services,
        )
        made = At(house, quiet, Desk(parts, hostname=HOST, started_at=NOW))
        await made.change(lambda tx: touchpoints.link(tx, 1, 1))
        yield made


async def answering(at: At) -> None:
    """Switch the auto-reply on."""
    await at.change(lambda tx: touchpoints.set_template(
        tx, 1, TemplateKind.AUTO_REPLY, NOW, active=True, subject="", text="We have it.", html=None))  # fmt: skip


def relink(tx: Tx) -> None:
    """Another ring group than before."""
    touchpoints.unlink(tx, 1, 1)
    touchpoints.link(tx, 1, 2)


def a_mail_of(number: int, sender: str, **more: Any) -> bytes:
    text = a_content(number, **more).decode()
    return (
        text.replace(f"customer{number}@example.org", sender)
        .replace("From:", f"Return-Path: <{sender}>\r\nFrom:")
        .encode()
    )


async def test_what_nothing_changed_for_is_decided_as_it_was(at: At) -> None:
    await answering(at)
    reference = ("In-Reply-To: <1@example.org>", "References: <1@example.org>")
    numbers = await at.take(
        a_mail_of(1, "buyer@shop.example"),
        a_mail_of(2, "buyer@shop.example", headers=reference),  # continues, in the same page
        a_mail_of(3, "buyer@shop.example"),  # answered lately, by the first of this page
        a_mail_of(4, "list@shop.example", headers=("List-Id: <x.shop.example>",)),
        a_mail_of(5, OURS),
    )
    assert await at.house.values("SELECT count(*) FROM entry WHERE origin = 'auto-reply'") == [1]
    later = await at.take(a_mail_of(6, "buyer@shop.example"), a_mail_of(7, "other@shop.example"))
    before = await at.everything()
    for number in (*numbers, *later):
        row = await at.replay(number)
        assert (row.changes, row.skipped) == ((), ""), row
    answer = await at.ask(since=NOW - 10)
    assert (answer.rows, answer.walked, answer.differ, answer.skipped, answer.next) == ((), 7, 0, 0, 0)
    assert await at.everything() == before, "a replay writes nothing and states nothing"


async def test_a_replay_is_told_the_time_of_the_walk(at: At) -> None:
    await answering(at)
    (number,) = await at.take(a_mail_of(1, "buyer@shop.example"))
    at.house.clock.now += 400 * 86400.0
    row = await at.replay(number)
    assert (row.changes, row.walked_at) == ((), NOW)


async def test_other_ring_groups_are_told_by_name(at: At) -> None:
    (number,) = await at.take(a_content(1))
    await at.change(relink)
    row = await at.replay(number)
    assert [(each.what, each.then, each.now) for each in row.changes] == [("queues", "first", "second")]
    assert row.version_now > row.version_then
    assert not row.depends_on_memory


async def test_what_a_person_moved_is_compared_with_what_was_decided(at: At) -> None:
    (number,) = await at.take(a_content(1))
    for groups in (["second"], []):

        def also(tx: Tx, before: tuple[str, ...], after: tuple[str, ...]) -> None:
            people.audit(tx, SOMEBODY, "mail.move", f"mail {number}", NOW, {"from": before, "to": after})

        await at.house.services.spool.move(number, groups, also)
    assert (await at.replay(number)).changes == ()


async def test_a_sender_that_is_blocked_by_now(at: At) -> None:
    (number,) = await at.take(a_content(1))
    await at.change(lambda tx: touchpoints.block(tx, 1, "@example.org", note="", by="", now=NOW))
    (change,) = (await at.replay(number)).changes
    assert (change.what, change.then) == ("decision", "pass")
    assert change.now == "hold (blocklist): sender customer1@example.org is on the blocklist: @example.org"


async def test_another_direction_and_no_answer_any_more(at: At) -> None:
    await answering(at)
    (number,) = await at.take(a_mail_of(1, "buyer@shop.example"))
    await at.change(lambda tx: touchpoints.set_template(
        tx, 1, TemplateKind.AUTO_REPLY, NOW, active=False, subject=None, text=None, html=None))  # fmt: skip
    (change,) = (await at.replay(number)).changes
    assert (change.what, change.then, change.now) == (
        "auto-reply", "auto-reply to buyer@shop.example", "auto-reply is off",
    )  # fmt: skip
    await at.change(lambda tx: touchpoints.set_direction(tx, 1, DirectionType.OUTBOUND))
    (change,) = (await at.replay(number)).changes
    assert change.now.startswith("hold (ingest): this touchpoint takes in answers only")


async def test_a_released_mail_walks_with_its_release(at: At) -> None:
    await at.change(lambda tx: touchpoints.block(tx, 1, "@example.org", note="", by="", now=NOW))
    (number,) = await at.take(a_content(1))
    assert (await at.replay(number)).changes == ()
    await at.house.services.spool.release(number, "somebody")
    post = at.house.at_work()
    await until(lambda: _is(at, number, "queued"))
    await post.stop()
    assert (await at.replay(number)).changes == ()
    await at.house.services.spool.hold(number, "somebody")
    assert (await at.replay(number)).changes == (), "what a person set aside was decided all the same"


async def test_a_mail_that_was_queued_held_and_released_is_compared_with_the_walk_whose_effects_stand(at: At) -> None:
    (number,) = await at.take(a_content(1))
    before = (await at.replay(number)).version_then
    await at.change(relink)
    await at.house.services.spool.hold(number, "somebody")
    await at.house.services.spool.release(number, "somebody")
    post = at.house.at_work()
    await until(lambda: _is(at, number, "queued"))
    await post.stop()
    row = await at.replay(number)
    assert [(each.what, each.then, each.now) for each in row.changes] == [("queues", "first", "second")]
    assert row.version_then == before < row.version_now


async def _is(at: At, number: int, disposition: str) -> bool:
    return bool((await at.house.room.row(number))["disposition"] == disposition)


async def test_a_decision_that_rests_on_memory_says_so(at: At) -> None:
    await answering(at)
    await at.take(a_mail_of(1, "buyer@shop.example"))
    reference = ("In-Reply-To: <1@example.org>", "References: <1@example.org>")
    (number,) = await at.take(a_mail_of(2, "buyer@shop.example", headers=reference))
    await at.change(lambda tx: touchpoints.set_direction(tx, 1, DirectionType.OUTBOUND))
    assert (await at.replay(number)).changes == (), "it continues a conversation"
    await at.change(relink)
    row = await at.replay(number)
    assert ([each.what for each in row.changes], row.depends_on_memory) == (["queues"], True), "else it would be held"


async def test_what_was_remembered_then_and_is_known_no_longer_says_so(at: At) -> None:
    await answering(at)
    (first,) = await at.take(a_mail_of(1, "buyer@shop.example"))
    reference = ("In-Reply-To: <1@example.org>", "References: <1@example.org>")
    (number,) = await at.take(a_mail_of(2, "buyer@shop.example", headers=reference))
    await at.change(lambda tx: tx.run("UPDATE entry SET message_id = '' WHERE id = :id", {"id": first}))
    row = await at.replay(number)
    assert ([each.what for each in row.changes], row.depends_on_memory) == (["conversation"], True)


async def test_a_stage_that_is_another_one_by_now(at: At) -> None:
    (number,) = await at.take(a_content(1))
    at.house.stage.verdict = held(HoldCause.STAGE_FAILED, "no more")
    row = await at.replay(number)
    assert [(each.what, each.now) for each in row.changes] == [("decision", "hold (says): no more")]
    assert row.version_now == row.version_then


async def test_a_stage_that_hangs_is_stopped_by_the_deadline(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    (number,) = await at.take(a_content(1))
    monkeypatch.setattr(replay, "ALONE_SECONDS", 0.01)

    async def hangs(mail: Mail, context: Context) -> Verdict:
        await asyncio.Event().wait()
        return passed("never")

    at.house.stage.verdict = hangs
    (change,) = (await at.replay(number)).changes
    assert change.now.startswith("hold (line): its stages took over")


async def test_no_walk_of_a_replay_is_noted_or_measured(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    (number,) = await at.take(a_content(1))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a replay is no walk of the daemon's")

    monkeypatch.setattr(type(at.house.services.flight), "holding", never)
    monkeypatch.setattr(type(at.house.services.metrics), "stopwatch", never)
    monkeypatch.setattr(deciding, "decide_alone", never)
    assert (await at.replay(number)).changes == ()


@pytest.mark.parametrize("how", ["cause", "strike"])
async def test_what_killed_the_process_is_not_walked(at: At, how: str) -> None:
    numbers = await at.take(a_content(1), a_content(2))
    hand = InHand(touchpoint_id=1, folder="", epoch=0, low=numbers[0], high=numbers[0], phase="walk")
    if how == "strike":
        await at.change(lambda tx: strikes.strike(tx, [hand], NOW))
    else:
        await at.change(lambda tx: tx.run("UPDATE entry SET state = 'held', cause = 'poison' WHERE id = 1"))
    at.house.stage.seen.clear()
    answer = await at.ask(since=NOW - 10)
    assert [(row.id, row.changes) for row in answer.rows] == [(numbers[0], ())]
    assert "killed Postroom" in answer.rows[0].skipped
    assert (answer.walked, answer.skipped) == (1, 1)
    assert len(at.house.stage.seen) == 1


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE entry SET content_id = 0", "never fetched"),
        ("UPDATE walk SET trail = '[]'", "never walked"),
        ('UPDATE walk SET trail = \'[["line", "defer", "later"]]\'', "not decided yet"),
        ("UPDATE touchpoint SET deleted_at = 1", "touchpoint is deleted"),
    ],
)
async def test_what_cannot_be_walked_says_why(at: At, sql: str, words: str) -> None:
    (number,) = await at.take(a_content(1))
    await at.change(lambda tx: tx.run(sql))
    row = await at.replay(number)
    assert words in row.skipped
    assert row.changes == ()


async def test_mail_that_we_wrote_walks_no_line(at: At) -> None:
    await answering(at)
    await at.take(a_mail_of(1, "buyer@shop.example"))
    with pytest.raises(Refused, match="written by Postroom itself"):
        await at.ask(id=2)
    with pytest.raises(Refused, match="there is no mail 99"):
        await at.ask(id=99)
    with pytest.raises(Refused, match="say which mail"):
        await at.ask()


# -- Ranges ----------------------------------------------------------------------------------------------------------


async def test_a_range_goes_on_window_by_window(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = await at.take(*(a_content(number) for number in range(1, 8)))
    monkeypatch.setattr(replaying, "LOOKED_AT", 3)
    await at.change(relink)
    found: list[int] = []
    after = windows = 0
    while True:
        answer = await at.ask(touchpoint=OURS, limit=2, after=after)
        found += [row.id for row in answer.rows]
        windows += 1
        if not (after := answer.next):
            break
    assert found == numbers
    assert windows > 3


async def test_a_window_ends_when_its_time_is_over(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = await at.take(a_content(1), a_content(2))
    monkeypatch.setattr(replaying, "SECONDS", -1.0)
    answer = await at.ask(since=NOW - 10)
    assert (answer.walked, answer.next) == (1, numbers[0])
    answer = await at.ask(since=NOW - 10, after=answer.next)
    assert (answer.walked, answer.next) == (1, 0)


@pytest.mark.parametrize(
    ("question", "walked"),
    [({"since": NOW + 1}, 0), ({"until": NOW}, 0), ({"since": NOW, "until": NOW + 1}, 2), ({"touchpoint": OURS}, 2)],
)
async def test_only_mail_of_the_time_and_touchpoint_is_walked(at: At, question: dict[str, Any], walked: int) -> None:
    await at.take(a_content(1), a_content(2))
    assert (await at.ask(**question)).walked == walked


async def test_the_loop_serves_others_between_two_mails(at: At) -> None:
    await at.take(*(a_content(number) for number in range(1, 21)))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    await at.ask(since=NOW - 10)
    other.cancel()
    assert turns > 20


# -- Outgoing --------------------------------------------------------------------------------------------------------


async def relayed(at: At) -> int:
    counter = RelayCounter(at.house.services, lambda _: ConnectionState.CONNECTED, lambda _: None)
    user = RelayUser(id=1, name="shop", grants=frozenset({1}), signature=True)
    data = f"From: {OURS}\r\nTo: a@far.example\r\nSubject: Offer\r\n\r\nHello.\r\n".encode()
    reply = await counter.submit(
        Submission(
            user=user,
            envelope=Envelope(sender=OURS, recipients=("a@far.example",)),
            peer="192.0.2.7",
            helo="client.example",
            with_protocol="ESMTP",
            size=len(data),
            opening=data,
            data=data,
            written=None,
            sha256=hashlib.sha256(data).digest(),
        )
    )
    assert reply.code == 250, reply
    return int(reply.text.rpartition(" ")[2])


@pytest.fixture
async def sending(at: At) -> At:
    await at.change(lambda tx: tx.run(
        "INSERT INTO relay_user (id, name, password_hash, signature) VALUES (1, 'shop', '', 1)"))  # fmt: skip
    await at.change(lambda tx: tx.run("INSERT INTO relay_grant (relay_user_id, touchpoint_id) VALUES (1, 1)"))
    await at.change(lambda tx: touchpoints.set_template(
        tx, 1, TemplateKind.SIGNATURE, NOW, active=True, subject="", text="The desk", html=None))  # fmt: skip
    return at


async def test_a_relayed_mail_is_signed_as_it_was(sending: At) -> None:
    number = await relayed(sending)
    assert b"The desk" in await sending.house.room.content(number)
    before = await sending.everything()
    assert (await sending.replay(number)).changes == ()
    assert await sending.everything() == before


async def test_another_signature_is_another_content(sending: At) -> None:
    number = await relayed(sending)
    await sending.change(lambda tx: touchpoints.set_template(
        tx, 1, TemplateKind.SIGNATURE, NOW, active=False, subject=None, text=None, html=None))  # fmt: skip
    (change,) = (await sending.replay(number)).changes
    assert (change.what, change.now) == ("content", "as it came")
    assert change.then.endswith("bytes put in at 1 places")


async def test_a_relayed_mail_that_was_held_and_released_is_decided_as_it_was(sending: At) -> None:
    sending.house.stage.verdict = held(HoldCause.STAGE_FAILED, "not today")
    number = await relayed(sending)
    assert (await sending.replay(number)).changes == ()
    await sending.house.services.spool.release(number, "somebody")
    post = sending.house.at_work()
    await until(lambda: _is(sending, number, "delivered"))
    await post.stop()
    assert (await sending.replay(number)).changes == ()


async def test_a_direction_that_would_refuse_it_now(sending: At) -> None:
    number = await relayed(sending)
    await sending.change(lambda tx: touchpoints.set_direction(tx, 1, DirectionType.INBOUND))
    (change,) = (await sending.replay(number)).changes
    assert change.now.startswith("reject (ingest): this touchpoint only answers")


def test_the_trail_of_a_commit_is_told_from_verdicts() -> None:
    trail = [["auto_reply", "pass", "auto-reply to a@example.org"], ["auto_reply", "drop", "answered meanwhile"]]
    assert replay._steps({"trail": json.dumps(trail)}) == (("auto_reply", "pass", "auto-reply to a@example.org"),)
    assert isinstance(Line(()), Line)

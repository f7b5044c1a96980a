"""Why: each answer that there is, of mail that is here and of mail that never came, with the command that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway import searching
from gateway.connectors import FolderRole
from gateway.control import Role, Why
from gateway.desk import Desk, Parts
from gateway.journal import Journal
from gateway.rows import Finding, WhyAnswer
from gateway.submission import ListenerSettings, Mode
from pipeline import ledger, outbox, people, touchpoints
from pipeline.cursor import FolderCursor
from pipeline.errors import NetworkFault, Refused
from pipeline.ledger import Item, ItemState, Prints, RangeKind
from pipeline.lifecycle import ConnectionState
from pipeline.outbox import Answer, RecipientState, Said
from pipeline.people import Actor
from pipeline.store import Tx
from pipeline.verdict import Action, HoldCause
from tests.unit.desking import QuietHouse, caller
from tests.unit.housing import HOST, House, Session, Shelf, a_house
from tests.unit.making import NOW, OURS, a_content, a_mail, an_outcome

S = ConnectionState
OPS = caller(Role.OPS)
SOMEBODY = Actor(name="somebody", uid=1, role="ops")
THE_DAY = 86400.0


@dataclass
class At:
    """A desk in a house with a provider."""

    house: House
    quiet: QuietHouse
    desk: Desk

    async def why(self, what: str = "", who: Any = OPS, **more: Any) -> WhyAnswer:
        answer = await self.desk.answer(Why(what=what, **more), who)
        assert isinstance(answer, WhyAnswer)
        return answer

    async def finding(self, what: str = "", **more: Any) -> Finding:
        """The only finding."""
        findings = (await self.why(what, **more)).findings
        assert len(findings) == 1, findings
        return findings[0]

    async def change(self, work: Callable[[Tx], Any]) -> None:
        await self.house.change(work)
        await self.quiet.directory_changed(None)


@pytest.fixture
async def at() -> AsyncIterator[At]:
    async with a_house() as house:
        services = house.services
        quiet = QuietHouse(house.room, services.directory, {1: S.CONNECTED})
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
        yield At(house, quiet, Desk(parts, hostname=HOST, started_at=NOW))


# -- Which mail is meant ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        {"what": "1"},
        {"what": "<7@example.org>"},
        {"what": "7@example.org"},
        {"what": "customer7@example.org"},
        {"what": " Customer7@EXAMPLE.org "},
        {"what": "customer7@example.org", "subject": "question"},
        {"what": "question 7"},
        {"what": "@example.org", "subject": "7"},
        {"what": "customer7@example.org", "since": NOW - 10, "until": NOW + 10},
        {"what": "7", "touchpoint": OURS, "id": 1},
        {"id": 1},
        {"message_id": "7@example.org"},
        {"author": "customer7@example.org"},
    ],
    ids=str,
)
async def test_one_story_is_told_where_one_mail_matches(at: At, question: dict[str, Any]) -> None:
    await at.house.room.take(7)
    answer = await at.why(**question)
    assert [each.row.id for each in answer.mails] == [1]
    assert (answer.candidates, answer.more) == ((), False)
    assert [(each.kind, each.mail) for each in answer.findings] == [("queued", 1)]


async def test_candidates_are_listed_where_several_match(at: At) -> None:
    for number in range(1, 9):
        await at.house.room.take(number)
    answer = await at.why("question")
    assert [row.id for row in answer.candidates] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [each.row.id for each in answer.mails] == [8, 7, 6, 5, 4]


async def test_another_day_or_touchpoint_is_another_mail(at: At) -> None:
    await at.house.room.take(7)
    never = {"servers": "never"}
    assert not (await at.why("customer7@example.org", since=NOW + 100, until=NOW + 200, **never)).mails
    assert not (await at.why("customer7@example.org", until=NOW - 100, **never)).mails
    with pytest.raises(Refused, match="no touchpoint"):
        await at.why("customer7@example.org", touchpoint="other@post.example")


@pytest.mark.parametrize("call", [{}, {"what": "  "}])
async def test_a_question_about_nothing_is_refused(at: At, call: dict[str, str]) -> None:
    with pytest.raises(Refused, match="say which mail"):
        await at.why(**call)
    with pytest.raises(Refused, match="never, always"):
        await at.why("x", servers="sometimes")


# -- Mail that is here -----------------------------------------------------------------------------------------------


async def held(at: At, cause: HoldCause, reason: str) -> int:
    outcome = an_outcome(a_mail(7), Action.HOLD, cause=cause, reason=reason, stage="blocklist")
    return await at.house.room.take(7, outcome)


async def test_blocked_by_an_entry_that_is_named_with_the_way_to_take_it_off(at: At) -> None:
    def block(tx: Tx) -> object:
        return touchpoints.block(tx, 1, "@example.org", note="lottery", by="somebody", now=NOW)

    number = await held(at, HoldCause.BLOCKED, "sender customer7@example.org is on the blocklist: @example.org")
    await at.change(block)
    found = await at.finding(str(number))
    assert found.words.startswith("It is held: blocked by entry 1, @example.org, added ")
    assert "by somebody: lottery" in found.words
    assert f"postroom blocklist remove {OURS} @example.org" in found.words
    assert found.command == f"postroom spool release {number}"
    await at.change(lambda tx: touchpoints.unblock(tx, 1, "@example.org"))
    assert "no longer on the list" in (await at.finding(str(number))).words


@pytest.mark.parametrize("cause", HoldCause)
async def test_each_cause_of_a_hold_has_its_words_and_a_way_on(at: At, cause: HoldCause) -> None:
    number = await held(at, cause, "because of that")
    found = await at.finding(str(number))
    assert (found.kind, found.command) == ("held", f"postroom spool release {number}")
    assert "because of that" in found.words
    assert found.words.startswith("It is")
    assert "{" not in found.words


async def test_what_expires_says_when(at: At) -> None:
    number = await held(at, HoldCause.DIRECTION, "only answers")
    await at.change(
        lambda tx: tx.run("INSERT INTO expiry (entry_id, mark, expires_at) VALUES (1, '', :at)", {"at": NOW + 3600})
    )
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(NOW + 3600))
    assert (await at.finding(str(number))).words.endswith(f"Unless somebody releases it, it is given up about {day}.")


async def test_who_gave_a_mail_up_is_named(at: At) -> None:
    number = await held(at, HoldCause.DIRECTION, "only answers")

    def also(tx: Tx) -> None:
        people.audit(tx, SOMEBODY, "mail.drop", f"mail {number}", NOW, {})

    await at.house.services.spool.drop(number, "somebody", also)
    found = await at.finding(str(number))
    assert found.words.startswith("somebody gave it up")
    assert found.command == f"postroom spool export {number} --to FILE"
    await at.change(lambda tx: tx.run("UPDATE audit SET actor = 'expiry'"))
    assert "expired" in (await at.finding(str(number))).words


async def test_oversize_is_released_by_being_fetched_and_says_so_meanwhile(at: At) -> None:
    at.house.services.settings = replace(
        at.house.services.settings,
        intake=at.house.services.settings.intake.model_copy(update={"largest_mail": 1024}),
    )
    at.house.mailbox.put(7, data=a_content(7, body=b"x" * 4096))
    at.house.at_work()
    await asyncio.wait_for(_rows(at, 1), 5)
    await at.house.posts[0].stop()
    found = await at.finding("1")
    assert "more than intake.largest_mail; it is still on the server. Release fetches it" in found.words
    await at.house.services.spool.release(1, "somebody")
    found = await at.finding("1")
    assert found.words.startswith("somebody released it, and its content is being fetched: released by somebody")
    assert found.command == f"postroom touchpoint test {OURS}"
    # Our books do not know its Message-ID: the server does, and then it is found in them.
    found = await at.finding("<7@example.org>")
    assert (found.kind, found.mail) == ("held", 1)


async def _rows(at: At, number: int) -> None:
    while await at.house.values("SELECT count(*) FROM entry") != [number]:
        await asyncio.sleep(0.002)


async def relayed(at: At) -> int:
    return await at.house.room.relay(2, ("a@far.example",))


async def answered(at: At, state: RecipientState, code: int, text: str) -> int:
    """One attempt, and what the server said."""
    number = await relayed(at)
    spool = at.house.services.spool
    (claimed,) = await spool.claim(1)
    attempt = await spool.begin_attempt(number, "smtp.example.org")
    outcome = {"delivered": "accepted", "refused": "refused", "waiting": "retry"}[state.value]
    said = Said(outcome=outcome, code=code, text=text, server="smtp.example.org")
    answers = [Answer(address=claimed.recipients[0], state=state, code=code, text=text)]
    await spool.settle(number, attempt, answers, said, 0.5, lambda row, settled: None)
    return number


@pytest.mark.parametrize(
    ("state", "code", "text", "kind", "words", "command"),
    [
        (RecipientState.DELIVERED, 250, "queued as 4711", "delivered", "said: 250 queued as 4711", "spool show"),
        (RecipientState.REFUSED, 550, "no such user", "failed", "It was not delivered: a@far.example: 550 no such user",
         "spool retry"),
        (RecipientState.WAITING, 451, "greylisted", "waiting", "said: 451 greylisted", "spool retry"),
    ],
)  # fmt: skip
async def test_outgoing_mail_quotes_the_servers_last_words(
    at: At, state: RecipientState, code: int, text: str, kind: str, words: str, command: str
) -> None:
    number = await answered(at, state, code, text)
    found = await at.finding(str(number))
    assert (found.kind, found.command) == (kind, f"postroom {command} {number}")
    assert words in found.words


async def test_mail_that_was_accepted_and_not_tried_yet(at: At) -> None:
    found = await at.finding(str(await relayed(at)))
    assert (found.kind, found.words) == ("waiting", "It was accepted and is about to be sent.")


@pytest.mark.parametrize(
    ("state", "words", "command"),
    [
        (S.LOST, "is LOST since", "postroom touchpoint connect"),
        (S.BACKOFF, "has no connection since", "postroom touchpoint test"),
        (S.NEW, "was never connected", "postroom touchpoint connect"),
    ],
)
async def test_parked_mail_says_what_its_touchpoint_lacks(at: At, state: S, words: str, command: str) -> None:
    number = await relayed(at)
    at.quiet.states[1] = state
    await at.change(
        lambda tx: touchpoints.record_state(tx, 1, state=state.value, cause="credential", reason="no", now=NOW)
    )
    found = await at.finding(str(number))
    assert (found.kind, found.command) == ("parked", f"{command} {OURS}")
    assert words in found.words
    assert state is S.NEW or "(credential: no)" in found.words


async def test_mail_of_an_inactive_touchpoint_is_parked_and_by_whom(at: At) -> None:
    number = await relayed(at)

    def off(tx: Tx) -> None:
        touchpoints.deactivate(tx, 1)
        people.audit(tx, SOMEBODY, "touchpoint.deactivate", OURS, NOW, {})

    await at.change(off)
    found = await at.finding(str(number))
    assert "is inactive since" in found.words
    assert "by somebody" in found.words
    assert found.command == f"postroom touchpoint activate {OURS}"


async def test_an_outcome_that_nobody_knows(at: At) -> None:
    number = await relayed(at)
    await at.change(lambda tx: (outbox.claim(tx, 1, NOW, 1), tx.run("UPDATE entry SET state = 'unknown'")))
    found = await at.finding(str(number))
    assert found.kind == "unknown"
    assert "the answer never came" in found.words


# -- Mail that never came: our books know the item ---------------------------------------------------------------------


def item(number: int = 9, folder: str = "INBOX", epoch: int = 1) -> Item:
    return Item(1, folder, epoch, number, NOW, 100)


async def test_pending_quotes_the_server_and_says_when_it_is_asked_again(at: At) -> None:
    at.house.mailbox.put(9)
    await at.change(
        lambda tx: ledger.record(tx, item(), ItemState.PENDING, NOW, attempts=3, due_at=NOW + 60, error="try later")
    )
    found = await at.finding("<9@example.org>")
    assert (found.kind, found.touchpoint) == ("pending", OURS)
    assert "could not be fetched yet: try later; tried 3 times" in found.words
    assert found.command == f"postroom touchpoint test {OURS}"


async def test_gone_before_it_was_fetched(at: At) -> None:
    prints = Prints(message_id="<9@example.org>")
    await at.change(lambda tx: ledger.record(tx, item(), ItemState.GONE, NOW, prints=prints))
    found = await at.finding("<9@example.org>")
    assert found.kind == "gone"
    assert "removed it there before it was fetched" in found.words


async def test_moved_leads_to_the_mail_that_it_has(at: At) -> None:
    number = await at.house.room.take(9)
    (sha256,) = await at.house.values("SELECT sha256 FROM ledger")
    await at.change(
        lambda tx: ledger.record(
            tx,
            item(1, "Junk"),
            ItemState.MOVED,
            NOW,
            prints=Prints(message_id="<other@example.org>", sha256=sha256),
        )
    )
    found = await at.finding("<other@example.org>")
    assert (found.kind, found.command) == ("moved", f"postroom why {number}")


# -- Mail that never came: the server is asked -------------------------------------------------------------------------


async def cursor(at: At, low: int, epoch: int = 1, folder: str = "INBOX") -> None:
    text = FolderCursor(epoch, low).text()
    await at.change(lambda tx: ledger.set_cursor(tx, 1, folder, text, NOW))


async def test_above_the_cursor_it_is_not_taken_yet(at: At) -> None:
    at.house.mailbox.put(9)
    await cursor(at, 8)
    found = await at.finding("customer9@example.org")
    assert (found.kind, found.touchpoint) == ("not-yet", OURS)
    assert "above the cursor: it is not taken yet" in found.words
    assert "is connected" in found.words


async def test_in_a_folder_that_is_not_watched(at: At) -> None:
    at.house.mailbox.shelves["Archive/2026"] = Shelf(role=FolderRole.OTHER)
    at.house.mailbox.put(9, folder="Archive/2026")
    found = await at.finding("9@example.org")
    assert found.kind == "not-watched"
    assert f"It is in Archive/2026 of {OURS} (uid 9, " in found.words


@pytest.mark.parametrize(
    ("kind", "words"),
    [(RangeKind.OLDER, "before the first connect"), (RangeKind.SKIPPED, "skipped on activation")],
)
async def test_left_alone_as_a_whole(at: At, kind: RangeKind, words: str) -> None:
    at.house.mailbox.put(9)
    await cursor(at, 20)
    await at.change(lambda tx: ledger.record_range(tx, 1, "INBOX", 1, 1, 10, kind, NOW))
    found = await at.finding("Question 9", since=NOW - THE_DAY, until=NOW + THE_DAY)
    assert found.kind == kind.value
    assert words in found.words
    assert time.strftime("%Y-%m-%d", time.localtime(NOW)) in found.words


async def test_a_renumbered_folder_is_said_to_be_one(at: At) -> None:
    at.house.mailbox.put(9)
    await cursor(at, 20, epoch=77)
    assert "renumbered this folder" in (await at.finding("9@example.org")).words


async def test_what_is_below_the_cursor_and_nowhere_else_is_called_missing(at: At) -> None:
    at.house.mailbox.put(9)
    await cursor(at, 20)
    found = await at.finding("9@example.org")
    assert (found.kind, found.command) == ("missing", f"postroom prove {OURS}")


async def test_on_no_server(at: At) -> None:
    at.house.mailbox.put(8)
    found = await at.finding("<9@example.org>")
    assert (found.kind, found.touchpoint) == ("not-there", OURS)
    assert f"It is in no folder of {OURS}" in found.words


@pytest.mark.parametrize(
    ("state", "kind", "command"),
    [(S.LOST, "unreachable", "connect"), (S.BACKOFF, "unreachable", "test"), (S.NEW, "never-connected", "connect")],
)
async def test_a_touchpoint_without_connection_is_not_asked_and_is_named(
    at: At, state: S, kind: str, command: str
) -> None:
    at.quiet.states[1] = state
    await at.change(
        lambda tx: ledger.record(tx, item(), ItemState.PENDING, NOW, attempts=3, due_at=NOW + 60, error="later")
    )
    found = await at.finding("<9@example.org>")
    assert (found.kind, found.command) == (kind, f"postroom touchpoint {command} {OURS}")
    assert "what came there since is not taken" in found.words
    assert "1 items that could not be fetched wait there" in found.words
    assert at.house.mailbox.opened == 0


async def test_an_inactive_touchpoint_is_asked_and_said_to_be_inactive(at: At) -> None:
    at.house.mailbox.put(9)
    await cursor(at, 8)
    await at.change(lambda tx: touchpoints.deactivate(tx, 1))
    answer = await at.why("9@example.org")
    assert [each.kind for each in answer.findings] == ["not-yet", "inactive"]
    assert all("is inactive" in each.words for each in answer.findings)
    assert answer.findings[0].command == f"postroom touchpoint activate {OURS}"


async def test_a_server_that_fails_is_quoted(at: At) -> None:
    at.house.mailbox.refuses = [NetworkFault("the host is not there")]
    found = await at.finding("<9@example.org>")
    assert (found.kind, found.command) == ("unreachable", f"postroom touchpoint test {OURS}")
    assert "the host is not there" in found.words
    assert not at.house.mailbox.open


async def test_a_server_that_does_not_answer_costs_a_bounded_time(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "EACH_SECONDS", 0.01)

    async def never(self: Session, *_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Session, "find", never)
    found = await at.finding("<9@example.org>")
    assert found.kind == "not-asked"
    assert f"no time to ask the server of {OURS}" in found.words
    assert not at.house.mailbox.open


@pytest.mark.parametrize(("who", "opened"), [(Role.OPS, 1), (Role.ADMIN, 1), (Role.AUDIT, 0)])
async def test_only_who_works_touchpoints_has_servers_asked(at: At, who: Role, opened: int) -> None:
    answer = await at.why("<9@example.org>", caller(who))
    assert at.house.mailbox.opened == opened
    assert [each.kind for each in answer.findings] == ["not-there" if opened else "not-asked"]


@pytest.mark.parametrize(("servers", "opened"), [("", 0), ("never", 0), ("always", 1)])
async def test_servers_are_asked_where_our_books_know_nothing(at: At, servers: str, opened: int) -> None:
    await at.house.room.take(7)
    at.house.mailbox.put(7)
    answer = await at.why("<7@example.org>", servers=servers)
    assert at.house.mailbox.opened == opened
    assert {each.mail for each in answer.findings} == {1}


async def test_asking_takes_nothing_and_marks_nothing(at: At) -> None:
    at.house.mailbox.put(9)
    await at.finding("9@example.org")
    assert (at.house.mailbox.asked, at.house.mailbox.marks) == ([], [])
    assert await at.house.values("SELECT count(*) FROM ledger") == [0]
    assert not at.house.mailbox.open


async def test_what_the_relay_refused_lately_is_told_of_mail_that_nobody_knows(at: At) -> None:
    watch = at.quiet.relay_watch
    listener = ListenerSettings(name="loopback", host="127.0.0.1", port=0, mode=Mode.SUBMISSION)
    visit = watch.enter(listener, "192.0.2.7")
    visit.user = "shop"
    watch.refused(visit, b"550 5.7.1 From: is no touchpoint that you may send as\r\n")
    found = await at.finding("<x@shop.example>", servers="never")
    assert (found.kind, found.command) == ("refused", "postroom relay show")
    assert "192.0.2.7 (shop): 550 5.7.1 From: is no touchpoint" in found.words
    assert (await at.finding("buyer@far.example", servers="never")).kind == "nothing", "that one wrote from outside"


async def test_nothing_at_all(at: At) -> None:
    found = await at.finding("<9@example.org>", servers="never")
    assert (found.kind, found.command) == ("nothing", "postroom status")


@pytest.mark.parametrize("what", ["\x1b]52;c;x\x07", "[/x]", "%_\\", "\u202e@x", "<>", "@", "9" * 400])
async def test_odd_questions_are_answered_or_refused(at: At, what: str) -> None:
    try:
        await at.why(what)
    except Refused as error:
        assert str(error)


async def test_an_old_generation_of_the_same_numbering_is_another_folder(at: At) -> None:
    """The server went back to an UIDVALIDITY that it had before: what had this number then is another mail."""
    at.house.mailbox.put(9)
    generation = 2**32 + 1
    await cursor(at, 5, epoch=generation)
    await at.change(lambda tx: ledger.record(tx, item(9), ItemState.GONE, NOW))
    assert (await at.finding("9@example.org")).kind == "not-yet"
    await at.change(lambda tx: ledger.record(tx, item(9, epoch=generation), ItemState.GONE, NOW))
    assert (await at.finding("9@example.org")).kind == "gone"


async def test_what_is_found_in_one_place_is_not_said_to_be_in_no_other(at: At) -> None:
    def second(tx: Tx) -> None:
        names = "name, active, connection, state"
        tx.run(
            f"INSERT INTO touchpoint (id, address, address_key, {names})"
            f" SELECT 2, 'other@post.example', 'other@post.example', {names} FROM touchpoint"
        )

    await at.change(second)
    at.quiet.states[2] = S.LOST
    at.house.mailbox.put(9)
    await cursor(at, 5)
    answer = await at.why("9@example.org")
    assert [(each.kind, each.touchpoint) for each in answer.findings] == [
        ("not-yet", OURS), ("unreachable", "other@post.example"),
    ]  # fmt: skip
    assert (await at.finding("9@example.org", touchpoint=OURS)).kind == "not-yet"

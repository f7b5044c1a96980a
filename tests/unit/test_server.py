"""The daemon's end of the socket, with a real desk behind it: who may do what, limits, the feed, the answers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import control, server
from gateway.client import CallFailed, Client, Unreachable, connected
from gateway.control import (
    ActivateTouchpoint,
    AddRelayUser,
    Batch,
    Block,
    CloseMail,
    Code,
    ConfirmMail,
    ConnectTouchpoint,
    CreateRingGroup,
    CreateTouchpoint,
    DeleteTouchpoint,
    DropMail,
    DuplicateTouchpoint,
    EditRelayUser,
    GetStatus,
    HoldMail,
    LinkRingGroup,
    ListAudit,
    ListBlocklist,
    ListMail,
    ListRelayUsers,
    ListRingGroups,
    ListTouchpoints,
    PlanConnect,
    ReadContent,
    ReleaseMail,
    RetryMail,
    Role,
    SetConnection,
    SetTemplate,
    ShowMail,
    ShowTemplate,
    ShowTouchpoint,
    Snapshot,
    TryTouchpoint,
    WhoAmI,
    Why,
)
from gateway.events import Events, Heard, HouseFact, HouseWhat, MailFact, MailWhat
from gateway.server import listen, peer_of, roles_of
from pipeline import people, touchpoints
from pipeline.errors import Refused
from pipeline.lifecycle import ConnectionState
from pipeline.mail import Direction
from pipeline.outbox import Answer, RecipientState, Said
from pipeline.store import content
from pipeline.verdict import Action, HoldCause, Splice
from tests.unit.desking import PASSWORD, Office, an_office, caller
from tests.unit.making import NOW, OURS, a_content, a_mail, a_page, a_touchpoint, an_outcome, taken

BOSS = "boss@far.example"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


@pytest.fixture
async def client(office: Office) -> AsyncIterator[Client]:
    async with connected(office.socket) as made:
        yield made


# -- Who is there --------------------------------------------------------------------------------------------------


def test_the_kernel_says_who_is_there() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        uid, groups = peer_of(ours)
    assert uid == os.geteuid()
    assert groups == {os.getegid(), *os.getgroups()}


def test_the_primary_group_counts_though_the_kernel_leaves_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Peer:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            return struct.pack("3i", 1, 1000, 77) if option == socket.SO_PEERCRED else struct.pack("2I", 5, 6)

    assert peer_of(Peer()) == (1000, {77, 5, 6})  # type: ignore[arg-type]


def test_roles_come_from_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_group", {"admins": 10, "agents": 11}.get)
    names = {Role.ADMIN: "admins", Role.AGENT: "agents", Role.OPS: "no-such-group", Role.AUDIT: ""}
    other = os.geteuid() + 1
    assert roles_of(other, {10, 11, 99}, names) == {Role.ADMIN, Role.AGENT}
    assert roles_of(other, {99}, names) == frozenset()
    assert roles_of(0, set(), names) == roles_of(os.geteuid(), set(), names) == {Role.ADMIN}


async def test_the_socket_is_for_owner_and_group_only(office: Office) -> None:
    assert stat.S_IMODE(office.socket.stat().st_mode) == 0o660


async def test_a_second_daemon_is_refused_and_a_dead_ones_socket_is_taken_over(office: Office, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="another daemon answers"):
        listen(office.socket, "")
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(dead))
    listen(dead, "").close()
    plain = tmp_path / "plain"
    plain.write_text("precious")
    with pytest.raises(Refused, match="no socket"):
        listen(plain, "")
    assert plain.read_text() == "precious"


async def test_who_am_i(client: Client) -> None:
    me = await client.call(WhoAmI())
    assert (me.uid, me.roles) == (os.geteuid(), ("admin",))


async def test_without_a_role_nothing_is_answered(
    office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server, "roles_of", lambda *_: frozenset())
    async with connected(office.socket) as stranger:
        with pytest.raises(CallFailed, match="has no role here; ask an admin of this host for: sudo") as caught:
            await stranger.call(WhoAmI())
    assert caught.value.code == Code.NOT_PERMITTED


async def test_no_daemon_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="postroom run"):
        async with connected(tmp_path / "no.sock"):
            pass


# -- Lines and sessions --------------------------------------------------------------------------------------------


async def raw(office: Office, *lines: bytes) -> list[dict[str, Any]]:
    """Send lines, hang up our half, and read every answer."""
    reader, writer = await asyncio.open_unix_connection(str(office.socket), limit=2**21)
    writer.writelines(lines)
    writer.write_eof()
    answers = (await reader.read()).splitlines()
    writer.close()
    return [json.loads(answer) for answer in answers]


async def test_bad_lines_are_answered_and_the_session_goes_on(office: Office) -> None:
    good = control.request_line(7, WhoAmI())
    reader, writer = await asyncio.open_unix_connection(str(office.socket))
    seen: list[dict[str, Any]] = []
    for line in (b"not json\n", b'{"jsonrpc":"2.0","id":5,"method":"no.such"}\n', b"[]\n", good):
        writer.write(line)
        seen.append(json.loads(await reader.readline()))
    writer.close()
    assert [each.get("error", {}).get("code") for each in seen] == [-32700, -32601, -32600, None]
    assert [each["id"] for each in seen] == [None, 5, None, 7]


async def test_a_line_beyond_the_limit_ends_its_session_and_no_other(office: Office, client: Client) -> None:
    answers = await raw(office, b"x" * (control.LONGEST_LINE + 10))
    assert "longer than 1 MiB" in answers[0]["error"]["message"]
    assert (await client.call(WhoAmI())).uid == os.geteuid()


async def test_half_a_line_is_no_call(office: Office) -> None:
    assert await raw(office, control.request_line(1, CreateRingGroup(name="third"))[:-1]) == []
    assert len(office.house.directory.ring_groups) == 2


async def test_a_fault_of_ours_is_told_and_logged_and_the_session_goes_on(
    office: Office, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(office.house, "state_of", broken)
    with pytest.raises(CallFailed, match="a fault of ours") as caught:
        await client.call(ListTouchpoints())
    assert "secret detail" not in str(caught.value)
    assert "secret detail" in caplog.text
    assert (await client.call(WhoAmI())).uid == os.geteuid()


async def test_an_answer_that_cannot_be_written_down_is_an_answer_all_the_same(
    office: Office, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office.desk, "_hostname", "gw\udcff01")
    with pytest.raises(CallFailed, match="status failed by a fault of ours"):
        async with asyncio.timeout(10):
            await client.call(GetStatus())
    assert (await client.call(ListTouchpoints())).rows


async def test_sessions_of_one_person_are_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_SESSIONS_OF_ONE", 2)
    async with connected(office.socket) as one, connected(office.socket) as two:
        await asyncio.gather(one.call(WhoAmI()), two.call(WhoAmI()))
        assert "too many sessions" in (await raw(office))[0]["error"]["message"]


async def test_many_calls_at_once_get_their_own_answers(office: Office, client: Client) -> None:
    ids = [await office.room.take(number) for number in range(1, 41)]
    found = await asyncio.gather(*(client.call(ShowMail(id=number)) for number in ids))
    assert [each.row.id for each in found] == ids


# -- The feed ------------------------------------------------------------------------------------------------------


async def test_watch_is_a_snapshot_and_then_full_rows(office: Office, client: Client) -> None:
    feed = client.watch()
    first = await anext(feed)
    assert isinstance(first, Snapshot)
    assert first.status.account["taken"] == 0
    number = await office.room.take()
    office.events.publish(MailFact(MailWhat.ASSIGNED, number, 1, "because"))
    office.events.publish(HouseFact(HouseWhat.DISK_FULL, "no room"))
    batch = await anext(feed)
    assert isinstance(batch, Batch)
    mails = [event for event in batch.events if event.mail]
    assert [(event.what, event.mail.id, event.mail.state, event.words) for event in mails if event.mail] == [
        ("mail.assigned", number, "queued", "because")
    ]
    assert [event.what for event in batch.events if not event.mail] == ["house.disk_full"]
    assert batch.account is not None
    assert (batch.account["taken"], batch.account["lost"]) == (1, 0)
    assert batch.number == office.events.number


async def test_after_the_last_fact_the_account_is_told_once_more(
    office: Office, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "QUIET_SECONDS", 0.5)
    feed = client.watch()
    await anext(feed)
    office.events.publish(HouseFact(HouseWhat.DISK_FREE))
    before = await anext(feed)
    assert isinstance(before, Batch)
    await office.room.take()  # counted after that batch went out, as mail that comes within the second of a count is
    office.room.clock.now += 2.0
    async with asyncio.timeout(10):
        after = await anext(feed)
    assert isinstance(after, Batch)
    assert (before.account or {})["taken"] == 0
    assert (after.account or {})["taken"] == 1
    assert after.events == ()


async def test_a_feed_that_fails_is_a_gap_and_goes_on(
    office: Office, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batch = office.desk.batch

    async def broken(heard: Heard, caller: Any) -> Batch:
        monkeypatch.setattr(office.desk, "batch", batch)
        raise RuntimeError("a fault")

    feed = client.watch()
    await anext(feed)
    monkeypatch.setattr(office.desk, "batch", broken)
    async with asyncio.timeout(10):
        office.events.publish(HouseFact(HouseWhat.DISK_FULL))
        assert isinstance(await anext(feed), Snapshot), "nothing is known of what happened"
        office.events.publish(HouseFact(HouseWhat.DISK_FREE))
        after = await anext(feed)
    assert isinstance(after, Batch)
    assert "a batch of events failed" in caplog.text


async def test_a_listener_that_falls_behind_is_told_of_the_gap() -> None:
    events = Events("boot")
    listener = events.listen(most=3)
    for number in range(5):
        events.publish(MailFact(MailWhat.HELD, number, 1))
    heard = await listener.next()
    assert heard.gap
    assert [fact.id for fact in heard.facts if isinstance(fact, MailFact)] == [3, 4]
    assert heard.number == 5
    listener.close()
    events.publish(MailFact(MailWhat.HELD, 9, 1))
    assert not listener._facts


def test_the_ring_knows_what_it_still_knows() -> None:
    events = Events("boot", kept=3)
    for number in range(5):
        events.publish(MailFact(MailWhat.HELD, number, 1))
    found = events.since("boot", 3)
    assert found is not None
    assert [fact.id for fact in found if isinstance(fact, MailFact)] == [3, 4]
    assert events.since("boot", 5) == []
    assert events.since("boot", 1) is None
    assert events.since("boot", 6) is None
    assert events.since("another", 4) is None


async def test_a_batch_has_the_last_word_on_each_mail_and_a_limit(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.desk.MOST_EVENTS", 2)
    ids = [await office.room.take(number) for number in (1, 2, 3)]
    facts = (*(MailFact(MailWhat.ASSIGNED, each, 1) for each in ids), MailFact(MailWhat.HELD, ids[0], 1, "later"))
    batch = await office.desk.batch(Heard(facts, 4, False), caller(Role.OPS))
    assert {event.mail.id: event.what for event in batch.events if event.mail} == {
        ids[2]: "mail.assigned",
        ids[0]: "mail.held",
    }
    assert batch.left_out == 1


# -- What agents see -----------------------------------------------------------------------------------------------


async def test_agents_see_the_queues_and_nothing_else(office: Office) -> None:
    queued = await office.room.take(1)
    held = await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    sent = await office.room.relay(3)
    agent, desk = caller(Role.AGENT), office.desk
    assert [row.id for row in (await desk.answer(ListMail(state="all"), agent)).rows] == [queued]
    assert (await desk.answer(ShowMail(id=queued), agent)).row.state == "queued"
    for hidden in (held, sent):
        for call in (ShowMail(id=hidden), ReadContent(id=hidden), CloseMail(id=hidden)):
            with pytest.raises(Refused, match="no mail"):
                await desk.answer(call, agent)
    status = await desk.answer(GetStatus(), agent)
    assert (status.account, status.needs_you, len(status.touchpoints)) == ({}, (), 1)
    facts = tuple(MailFact(MailWhat.CHANGED, number, 1) for number in (queued, held, sent))
    batch = await desk.batch(Heard((*facts, HouseFact(HouseWhat.STARTED)), 4, False), agent)
    assert [event.mail.id for event in batch.events if event.mail] == [queued]
    assert len(batch.events) == 1
    assert batch.account is None


# -- Mail ----------------------------------------------------------------------------------------------------------


async def test_lists_are_windows(office: Office, client: Client) -> None:
    ids = [await office.room.take(number) for number in range(1, 8)]
    seen: list[int] = []
    after = 0
    while True:
        page = await client.call(ListMail(after=after, limit=3))
        seen += [row.id for row in page.rows]
        if not (after := page.next):
            break
    assert seen == ids[::-1]
    assert (await client.call(ListMail(limit=7))).next == 0


async def test_filters(office: Office, client: Client) -> None:
    first = await office.room.take(1, an_outcome(a_mail(1), ring_groups=(1,)))
    blocked = await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    sent = await office.room.relay(3)

    async def ids(**filters: Any) -> list[int]:
        return [row.id for row in (await client.call(ListMail(**filters))).rows]

    assert await ids(state="open") == [first]
    assert await ids(state="held", cause="blocked") == [blocked]
    assert await ids(state="unsettled") == [sent, blocked]
    assert await ids(direction="out") == await ids(state="parked") == [sent]
    assert await ids(ring_group="first") == [first]
    assert await ids(unassigned=True, state="open") == []
    assert await ids(author="Customer2@Example.org") == [blocked]
    assert await ids(author="@example.org", direction="in") == [blocked, first]
    assert await ids(subject="question 1") == [first]
    assert await ids(subject="%") == []
    assert await ids(touchpoint=OURS, state="all") == [sent, blocked, first]
    for wrong in ({"state": "x"}, {"touchpoint": "no@example.org"}, {"ring_group": "no"}):
        with pytest.raises(CallFailed, match="there"):
            await ids(**wrong)


async def test_parked_is_computed(office: Office, client: Client) -> None:
    number = await office.room.relay()
    assert (await client.call(ShowMail(id=number))).row.state == "parked"
    status = await client.call(GetStatus())
    assert (status.account["parked"], status.touchpoints[0].parked, status.touchpoints[0].waiting_out) == (1, 1, 0)
    office.house.states[1] = ConnectionState.CONNECTED
    assert (await client.call(ShowMail(id=number))).row.state == "waiting"
    status = await client.call(GetStatus())
    assert (status.account["waiting_out"], status.touchpoints[0].parked, status.touchpoints[0].waiting_out) == (1, 0, 1)
    assert await client.call(ListMail(state="parked")) == control.Page(rows=())


async def test_people_act_on_mail_and_it_is_written_down(office: Office, client: Client) -> None:
    number = await office.room.take()
    assert (await client.call(CloseMail(id=number))).state == "closed"
    with pytest.raises(CallFailed, match="nothing to do") as caught:
        await client.call(CloseMail(id=number))
    assert caught.value.code == Code.REFUSED
    held = await client.call(HoldMail(id=number, reason="look at this"))
    assert (held.state, held.cause, held.reason) == ("held", "by-person", "look at this")
    assert (await client.call(ReleaseMail(id=number))).state == "waiting"
    assert (await client.call(DropMail(id=number))).state == "dropped"
    audit = (await client.call(ListAudit())).rows
    assert [row.verb for row in audit] == ["mail.drop", "mail.release", "mail.hold", "mail.close"]
    assert {row.uid for row in audit} == {os.geteuid()}
    assert {row.subject for row in audit} == {f"mail {number}"}
    assert office.house.woken == [1] * 4


async def test_people_settle_what_nobody_knows(office: Office, client: Client) -> None:
    """Confirmed, sent again or given up; who was refused before the silence is told of, and all is written down."""
    spool, ids = office.room.spool, []
    await office.room.store.write(lambda tx: people.add_relay_user(tx, "crm", password_hash="x", now=NOW, notify=BOSS))
    for number in (1, 2, 3):
        ids.append(await office.room.relay(number, ("a@example.org", "b@example.org")))
        await spool.claim(1)
        attempt = await spool.begin_attempt(ids[-1], "mx", ("b@example.org",))
        refused = Answer(address="b@example.org", state=RecipientState.REFUSED, code=550, text="no such user")
        await spool.unknown(ids[-1], attempt, Said(outcome="unknown", text="reset"), [refused])
    await office.room.store.write(lambda tx: tx.run("UPDATE entry SET relay_user_id = 1"))
    status = await client.call(GetStatus())
    assert (status.account["unknown"], status.touchpoints[0].unknown, status.account["lost"]) == (3, 3, 0)
    assert ("unknown", 3) in [(need.kind, need.count) for need in status.needs_you]
    assert [row.id for row in (await client.call(ListMail(state="unknown"))).rows] == ids[::-1]

    assert (await client.call(ConfirmMail(id=ids[0]))).state == "delivered"
    assert (await client.call(RetryMail(id=ids[1]))).mark == "possibly twice"
    assert (await client.call(DropMail(id=ids[2]))).state == "dropped"
    with pytest.raises(CallFailed, match="confirm is for mail that is unknown or held"):
        await client.call(ConfirmMail(id=ids[0]))
    audit = (await client.call(ListAudit())).rows
    assert [row.verb for row in audit] == ["mail.drop", "mail.retry", "mail.confirm"]
    [notice] = (await client.call(ListMail(state="parked"))).rows[:1]
    assert (notice.origin, notice.recipients) == ("notice", (BOSS,))
    assert (await client.call(GetStatus())).account["lost"] == 0


async def test_a_touchpoint_with_mail_of_unknown_outcome_can_be_given_up(office: Office, client: Client) -> None:
    number = await office.room.relay()
    await office.room.spool.claim(1)
    attempt = await office.room.spool.begin_attempt(number, "mx")
    await office.room.spool.unknown(number, attempt, Said(outcome="unknown", text="reset"))
    with pytest.raises(CallFailed, match="still has mail: 1 on the way or held"):
        await client.call(DeleteTouchpoint(touchpoint=OURS))
    await client.call(DeleteTouchpoint(touchpoint=OURS, drop_pending=True))
    assert (await client.call(ShowMail(id=number))).row.state == "dropped"


async def test_the_policy_for_unknown_outcomes_is_the_touchpoints_and_no_presets(client: Client) -> None:
    made = await client.call(SetConnection(touchpoint=OURS, preset="yahoo"))
    assert made.unknown_outcome == "verify_then_resend"
    made = await client.call(SetConnection(touchpoint=OURS, unknown_outcome="hold_for_person"))
    assert made.unknown_outcome == "hold_for_person"
    made = await client.call(SetConnection(touchpoint=OURS, preset="icloud"))
    assert (made.preset, made.unknown_outcome) == ("icloud", "hold_for_person")
    with pytest.raises(CallFailed, match="there are: verify_then_resend, hold_for_person"):
        await client.call(SetConnection(touchpoint=OURS, unknown_outcome="forget"))


async def test_content_in_pieces_with_its_splices(office: Office, client: Client) -> None:
    body = bytes(range(256)) * 2500
    data = a_content(1, body=body)
    splices = (Splice(10, 5, b"<new>"), Splice(content.CHUNK, 0, b"in between"), Splice(len(data) - 3, 3, b""))
    mail = a_mail(1, direction=Direction.OUT, data=data, recipients=("a@example.org",))
    number = await office.room.spool.submit(a_touchpoint(), an_outcome(mail, splices=splices), data, ("a@example.org",))
    whole = b"".join([chunk async for chunk in office.room.spool.chunks(number)])
    read = b""
    for length in (1, 9, 10, 100_000, *[262_144] * 9):
        chunk = await client.call(ReadContent(id=number, offset=len(read), length=length))
        assert chunk.size == len(whole)
        read += chunk.data
    assert read == whole != data
    assert (await client.call(ReadContent(id=number, offset=10**9))).data == b""
    for wrong in ({"offset": -1}, {"length": 0}, {"length": 262_145}):
        with pytest.raises(CallFailed, match="length must be"):
            await client.call(ReadContent(id=number, **wrong))


async def test_why_tells_the_whole_story(office: Office, client: Client) -> None:
    number = await office.room.take(5)
    for question in (Why(id=number), Why(message_id="5@example.org"), Why(message_id=" <5@example.org> ")):
        answer = await client.call(question)
        assert [each.row.id for each in answer.mails] == [number]
    detail = answer.mails[0]
    assert [(step.stage, step.action, step.reason) for step in detail.walks[0].steps] == [("test", "pass", "because")]
    assert (detail.ledger[0].remote_id, detail.ledger[0].folder, detail.ledger[0].state) == (5, "INBOX", "taken")
    by_sender = await client.call(Why(author="customer5@example.org", subject="question"))
    assert by_sender.mails == answer.mails
    never = await client.call(Why(message_id="<never@example.org>"))
    assert (never.mails, never.items, never.more) == ((), (), False)
    with pytest.raises(CallFailed, match="say which mail"):
        await client.call(Why())


async def test_why_knows_of_items_that_could_not_be_fetched(office: Office, client: Client) -> None:
    sql = (
        "INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, message_id, error, attempts)"
        " VALUES (1, 'INBOX', 1, 9, 'pending', '<lost@example.org>', 'NO server error', 3)"
    )
    await office.room.store.write(lambda tx: tx.run(sql))
    answer = await client.call(Why(message_id="lost@example.org"))
    assert answer.mails == ()
    assert [(item.state, item.error, item.attempts) for item in answer.items] == [("pending", "NO server error", 3)]


async def test_hostile_headers_stay_below_the_line_limit(office: Office, client: Client) -> None:
    for number in range(1, 4):
        data = a_content(number, headers=[f"Subject: {'😀' * 20_000}"])
        outcome = an_outcome(a_mail(number, data=data), reason="x" * 100_000)
        await office.room.spool.accept(a_page([taken(number, outcome, data)]))
    page = await client.call(ListMail(limit=500))
    assert len(page.rows) == 3
    assert all(len(row.subject) <= 300 for row in page.rows)


# -- Touchpoints ---------------------------------------------------------------------------------------------------


async def test_a_touchpoint_from_create_to_delete(office: Office, client: Client) -> None:
    row = await client.call(CreateTouchpoint(address="sales@example.org", name="Sales"))
    assert (row.state, row.active) == ("new", False)
    with pytest.raises(CallFailed, match="--provider"):
        await client.call(PlanConnect(touchpoint="sales@example.org"))
    detail = await client.call(SetConnection(touchpoint="sales@example.org", preset="yahoo"))
    assert detail.imap is not None
    assert (detail.imap.host, detail.user, detail.has_password) == ("imap.mail.yahoo.com", "sales@example.org", False)
    with pytest.raises(CallFailed, match="refused the login") as caught:
        await client.call(ConnectTouchpoint(touchpoint="sales@example.org", password="wrong password"))
    assert caught.value.code == Code.NEEDS_PERSON
    plan = await client.call(PlanConnect(touchpoint="sales@example.org", password=PASSWORD, since=NOW))
    assert [(each.folder, each.there, each.taken) for each in plan.folders] == [("INBOX", 5, 2)]
    row = await client.call(ConnectTouchpoint(touchpoint="sales@example.org", password=PASSWORD))
    assert row.state == "connected"
    row = await client.call(ActivateTouchpoint(touchpoint="SALES@example.org", start_now=True))
    assert row.active
    row = await client.call(LinkRingGroup(touchpoint=str(row.id), ring_group="first"))
    assert row.ring_groups == ("first",)
    tried = await client.call(TryTouchpoint(touchpoint="sales@example.org"))
    assert (tried.receiving, tried.sending) == ("", "no answer")
    copy = await client.call(DuplicateTouchpoint(touchpoint="sales@example.org", address="b@example.org", name="B"))
    assert (copy.state, copy.ring_groups, copy.active) == ("new", ("first",), False)
    assert [each.address for each in (await client.call(ListTouchpoints(text="example"))).rows] == [
        OURS.replace("post.example", "post.example"), "sales@example.org", "b@example.org",
    ]  # fmt: skip
    await client.call(DeleteTouchpoint(touchpoint="sales@example.org"))
    with pytest.raises(CallFailed, match="no touchpoint"):
        await client.call(ShowTouchpoint(touchpoint="sales@example.org"))
    audit = (await client.call(ListAudit())).rows
    assert PASSWORD not in str(audit)
    assert [each.verb for each in audit][-1] == "touchpoint.create"


async def test_a_kept_password_is_never_taken_to_another_server(office: Office, client: Client) -> None:
    async def kept() -> bool:
        return (await client.call(ShowTouchpoint(touchpoint=OURS))).has_password

    async def set_up(**changes: Any) -> None:
        await client.call(SetConnection(touchpoint=OURS, imap="imap.example.org:993", smtp="", **changes))
        await office.room.store.write(lambda tx: touchpoints.put_secret(tx, 1, "password", b"sealed", NOW))

    for change in ({"imap": "evil.example:993"}, {"user": "other"}, {"ca_file": "/tmp/ca.pem"}):
        await set_up(user="support", ca_file="")
        assert await kept()
        await client.call(SetConnection(touchpoint=OURS, **change))
        assert not await kept(), change
    await set_up()
    await client.call(SetConnection(touchpoint=OURS, mark="seen", sent_copy="append"))
    assert await kept()


@pytest.mark.parametrize(
    ("server_text", "words"),
    [
        ("imap.example.org:143:none", "only servers on this host"),
        ("imap.example.org", "HOST:PORT"),
        ("imap.example.org:0", "HOST:PORT"),
        ("imap.example.org:99999:tls", "HOST:PORT"),
        ("imap.example.org:993:ssl", "there are: tls, starttls, none"),
        ("im ap.example.org:993:tls", "not a domain"),
        ("evil\r\n.example:993:tls", "not a domain"),
    ],
)
async def test_servers_that_are_refused(client: Client, server_text: str, words: str) -> None:
    with pytest.raises(CallFailed, match=words):
        await client.call(SetConnection(touchpoint=OURS, imap=server_text))


@pytest.mark.parametrize(
    ("server_text", "host", "port", "security"),
    [
        ("127.0.0.1:1143:none", "127.0.0.1", 1143, "none"),
        ("localhost:1143:none", "localhost", 1143, "none"),
        ("[::1]:1143:none", "::1", 1143, "none"),
        ("Mail.Example.org:993", "mail.example.org", 993, "tls"),
        ("bücher.example:143:starttls", "xn--bcher-kva.example", 143, "starttls"),
    ],
)
async def test_servers_that_are_taken(client: Client, server_text: str, host: str, port: int, security: str) -> None:
    detail = await client.call(SetConnection(touchpoint=OURS, imap=server_text))
    assert detail.imap == control.ServerRow(host=host, port=port, security=security)


async def test_delete_with_pending_mail_given_up(office: Office, client: Client) -> None:
    queued = await office.room.take(1)
    held = await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    sent = await office.room.relay(3)
    with pytest.raises(CallFailed, match="still has mail: 2 on the way or held, 1 in queues"):
        await client.call(DeleteTouchpoint(touchpoint=OURS))
    listener = office.events.listen()
    await client.call(DeleteTouchpoint(touchpoint=OURS, drop_pending=True))
    facts = (await listener.next()).facts
    assert {fact.id for fact in facts if isinstance(fact, MailFact)} == {queued, held, sent}, "everybody is told"
    assert not office.house.directory.touchpoints
    assert [(await office.room.row(each))["disposition"] for each in (queued, held, sent)] == [
        "queued", "dropped", "dropped",
    ]  # fmt: skip
    assert (await client.call(GetStatus())).account["lost"] == 0


async def test_texts_and_blocklist(client: Client) -> None:
    empty = await client.call(ShowTemplate(touchpoint=OURS, kind="auto_reply"))
    assert (empty.active, empty.text) == (False, "")
    made = await client.call(SetTemplate(touchpoint=OURS, kind="auto_reply", text="Thanks", active=True))
    assert (made.active, made.text) == (True, "Thanks")
    with pytest.raises(CallFailed, match="auto_reply, signature"):
        await client.call(ShowTemplate(touchpoint=OURS, kind="poem"))
    await client.call(Block(touchpoint=OURS, pattern="Pest.example", note="asked twice"))
    page = await client.call(ListBlocklist(touchpoint=OURS))
    assert [(row.pattern, row.note) for row in page.rows] == [("@pest.example", "asked twice")]


async def test_relay_users_and_ring_groups(office: Office, client: Client) -> None:
    row = await client.call(AddRelayUser(name="billing", password=PASSWORD, grants=(OURS,)))
    assert row.grants == (OURS,)
    assert office.house.directory.password_hashes["billing"].startswith("$argon2id$")
    row = await client.call(EditRelayUser(name="billing", password=PASSWORD + "2", signature=True, revoke=(OURS,)))
    assert (row.grants, row.signature) == ((), True)
    with pytest.raises(CallFailed, match="shorter"):
        await client.call(AddRelayUser(name="x", password="short"))
    assert [each.name for each in (await client.call(ListRelayUsers())).rows] == ["billing"]
    await office.room.take(1, an_outcome(a_mail(1), ring_groups=(2,)))
    groups = (await client.call(ListRingGroups())).rows
    assert [(each.name, each.open) for each in groups] == [("first", 0), ("second", 1)]
    assert PASSWORD not in str((await client.call(ListAudit())).rows)


async def test_what_needs_a_person(office: Office, client: Client) -> None:
    office.house.states[1] = ConnectionState.LOST
    await office.room.store.write(
        lambda tx: touchpoints.record_state(tx, 1, state="lost", cause="credential", reason="NO [AUTH]", now=NOW)
    )
    await office.room.take(1)
    await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    status = await client.call(GetStatus())
    row = status.touchpoints[0]
    assert (row.state, row.cause, row.reason) == ("lost", "credential", "NO [AUTH]")
    assert [(need.touchpoint, need.words, need.command) for need in status.needs_you] == [
        (OURS, "connection lost (credential)", f"postroom touchpoint connect {OURS}"),
        ("", "1 mail held", "postroom spool list --state held"),
        ("", "1 mail queued for no ring group", "postroom queue list --unassigned"),
    ]
    office.house.states[1] = ConnectionState.BACKOFF
    office.room.clock.now += 7200
    assert "no connection for 2 h" in (await client.call(GetStatus())).needs_you[0].words

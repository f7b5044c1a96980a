"""The relay's answers: who may send, what the line says, what is stored, and what is added on top."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.accepting import RelayCounter, unreadable
from gateway.auth.passwords import hash_password
from gateway.submission import Submission
from pipeline import people, touchpoints
from pipeline.errors import StaleVersion
from pipeline.headers import Headers
from pipeline.lifecycle import ConnectionState
from pipeline.mail import OPENING, Envelope, Mail, RelayUser
from pipeline.stage import Context
from pipeline.store import Tx
from pipeline.store.content import Written
from pipeline.touchpoint import DirectionType
from pipeline.verdict import HoldCause, Verdict, deferred, held, passed, rejected, stopped
from tests.unit.housing import BOTH, House, a_house, hurry
from tests.unit.making import NOW, OURS

S = ConnectionState
OTHER = "sales@post.example"
ALIAS = "help@post.example"
PASSWORD = "correct horse"
HASH = hash_password(PASSWORD)


class Counter:
    """A house with a relay counter, relay user ``crm`` that may write as touchpoint 1, and touchpoint 2 beside it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.states: dict[int, ConnectionState] = {}
        self.woken: list[int] = []
        self.relay = RelayCounter(
            house.services, lambda number: self.states.get(number, S.CONNECTED), self.woken.append
        )

    async def furnish(self) -> None:
        def work(tx: Tx) -> None:
            touchpoints.create(tx, address=OTHER, name="Sales", now=NOW)
            touchpoints.set_connection(tx, 2, BOTH)
            tx.run("UPDATE touchpoint SET active = 1, state = 'connected', signed_in_at = 1.0")
            touchpoints.edit(tx, 1, aliases=[ALIAS])
            people.add_relay_user(tx, "crm", HASH, NOW)
            people.grant(tx, "crm", [1])
            people.add_relay_user(tx, "printer", HASH, NOW)

        await self.house.change(work)

    async def says(
        self, mail: bytes, *, sender: str = OURS, user: str | RelayUser = "crm", **changes: Any
    ) -> tuple[int, str]:
        """Hand a mail in; the answer."""
        submission = Submission(
            user=user if isinstance(user, RelayUser) else self.house.services.directory.relay_users[user],
            envelope=Envelope(sender=sender, recipients=("one@example.org", "ops@example.org")),
            data=mail,
            written=None,
            opening=mail[:OPENING],
            size=len(mail),
            sha256=hashlib.sha256(mail).digest(),
            peer="192.0.2.7",
            helo="crm.internal.example",
            with_protocol="ESMTPSA",
        )
        reply = await self.relay.submit(replace(submission, **changes))
        return reply.code, f"{reply.status} {reply.text}"

    async def stored(self) -> list[str]:
        """How each entry in the spool stands."""
        rows = await self.house.rows("SELECT state, cause FROM entry ORDER BY id")
        return [f"{row['state']} {row['cause']}".strip() for row in rows]


def a_letter(*headers: str, author: str = OURS, body: str = "Hello.\r\n") -> bytes:
    """A mail with a Message-ID and a Date, unless ``headers`` say otherwise."""
    lines = [f"From: {author}", "To: one@example.org", "Subject: An answer", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


FULL = ("Message-ID: <9@crm.example>", "Date: Mon, 04 Jan 2027 10:00:00 +0000")


@pytest.fixture
async def counter(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter]:
    hurry(monkeypatch)
    async with a_house() as house:
        made = Counter(house)
        await made.furnish()
        yield made


# -- who may send ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "data", "sender", "user", "code"),
    [
        ("its own address", a_letter(*FULL), OURS, "crm", 250),
        ("another case", a_letter(*FULL, author="Support <SUPPORT@Post.Example>"), OURS, "crm", 250),
        ("an alias", a_letter(*FULL, author=ALIAS), OURS, "crm", 250),
        ("the null sender", a_letter(*FULL), "", "crm", 250),
        ("an alias as MAIL FROM", a_letter(*FULL), ALIAS, "crm", 250),
        ("a Sender that is the same touchpoint", a_letter(*FULL, f"Sender: {ALIAS}"), OURS, "crm", 250),
        ("an unknown From", a_letter(*FULL, author="who@example.org"), OURS, "crm", 550),
        ("an unknown From of our domain", a_letter(*FULL, author="who@post.example"), OURS, "crm", 550),
        ("no grant at all", a_letter(*FULL), OURS, "printer", 550),
        ("a grant for another touchpoint", a_letter(*FULL, author=OTHER), OTHER, "crm", 550),
        ("another touchpoint as MAIL FROM", a_letter(*FULL), OTHER, "crm", 550),
        ("somebody else as MAIL FROM", a_letter(*FULL), "who@example.org", "crm", 550),
        ("another touchpoint as Sender", a_letter(*FULL, f"Sender: {OTHER}"), OURS, "crm", 550),
        ("somebody else as Sender", a_letter(*FULL, "Sender: who@example.org"), OURS, "crm", 550),
        ("somebody else as Resent-From", a_letter(*FULL, "Resent-From: who@example.org"), OURS, "crm", 550),
        ("two From", a_letter(*FULL, f"From: {OTHER}"), OURS, "crm", 550),
        ("two equal From", a_letter(*FULL, f"From: {OURS}"), OURS, "crm", 550),
        ("two authors in one From", a_letter(*FULL, author=f"{OURS}, {OTHER}"), OURS, "crm", 550),
        ("no From", b"To: one@example.org\r\n\r\nHello.\r\n", OURS, "crm", 550),
        ("an empty From", a_letter(*FULL, author=""), OURS, "crm", 550),
        ("two Sender", a_letter(*FULL, f"Sender: {OURS}", f"Sender: {OURS}"), OURS, "crm", 550),
        ("two Message-ID", a_letter(*FULL, "Message-ID: <x@crm.example>"), OURS, "crm", 550),
        ("two Date", a_letter(*FULL, "Date: Mon, 04 Jan 2027 10:00:00 +0000"), OURS, "crm", 550),
        ("a line that is no field", a_letter(*FULL, "this is no field"), OURS, "crm", 550),
        ("a header that never ends", a_letter(*FULL, *("X-Much: " + "x" * 900 for _ in range(400))), OURS, "crm", 550),
        ("nothing at all", b"", OURS, "crm", 550),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) and " " in value else None,
)
async def test_who_may_send_as_whom(counter: Counter, why: str, data: bytes, sender: str, user: str, code: int) -> None:
    assert (await counter.says(data, sender=sender, user=user))[0] == code
    assert await counter.stored() == (["waiting"] if code == 250 else [])
    assert counter.woken == ([1] if code == 250 else [])


async def test_grants_are_those_of_now_and_not_of_the_sign_in(counter: Counter) -> None:
    user = counter.house.services.directory.relay_users["crm"]
    await counter.house.change(lambda tx: people.revoke(tx, "crm", [1]))
    assert user.grants == {1}
    assert (await counter.says(a_letter(*FULL), user=user))[0] == 550
    await counter.house.change(lambda tx: people.remove_relay_user(tx, "crm"))
    assert (await counter.says(a_letter(*FULL), user=user))[0] == 550
    assert await counter.stored() == []


# -- the touchpoint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "active", "code"),
    [
        (S.CONNECTED, True, 250),
        (S.CONNECTING, True, 250),
        (S.BACKOFF, True, 250),  # parked: it waits for the touchpoint and costs the client nothing
        (S.LOST, True, 250),
        (S.NEW, True, 451),
        (S.CONNECTED, False, 451),
        (S.LOST, False, 451),
        (S.NEW, False, 451),
    ],
)
async def test_what_the_touchpoints_state_means_for_a_client(
    counter: Counter, state: ConnectionState, active: bool, code: int
) -> None:
    counter.states[1] = state
    if not active:
        await counter.house.activate(False)
    assert (await counter.says(a_letter(*FULL)))[0] == code
    assert await counter.stored() == (["waiting"] if code == 250 else [])


async def test_a_touchpoint_without_a_server_to_send_by_takes_nothing(counter: Counter) -> None:
    await counter.house.change(lambda tx: touchpoints.set_connection(tx, 1, replace(BOTH, smtp=None)))
    assert (await counter.says(a_letter(*FULL)))[0] == 451
    assert await counter.stored() == []


async def test_new_mail_on_a_touchpoint_that_only_answers_is_refused(counter: Counter) -> None:
    await counter.house.change(lambda tx: touchpoints.set_direction(tx, 1, DirectionType.INBOUND))
    code, text = await counter.says(a_letter(*FULL))
    assert (code, await counter.stored()) == (550, [])
    assert "only answers" in text


# -- what the line says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "code", "words", "stored", "facts"),
    [
        (passed("fine"), 250, "Accepted as mail 1", ["waiting"], ["mail.accepted"]),
        (rejected("5.7.26", "not by you"), 550, "5.7.26 not by you", [], []),
        (rejected("", "no\r\n250 OK really"), 550, "5.7.1 no 250 OK really", [], []),
        (held(HoldCause.BLOCKED, "look at this"), 250, "Accepted", ["held blocked"], ["mail.held"]),
        (deferred("not now"), 451, "4.7.1 not now", [], []),
        (stopped("nobody needs it"), 250, "Accepted", ["held stage-failed"], ["mail.held"]),
    ],
)
async def test_what_the_lines_verdict_means_for_a_client(
    counter: Counter, verdict: Verdict, code: int, words: str, stored: list[str], facts: list[str]
) -> None:
    counter.house.stage.verdict = verdict
    answered, text = await counter.says(a_letter(*FULL))
    assert answered == code
    assert words in text
    assert "\r" not in text and "\n" not in text
    assert await counter.stored() == stored
    assert [what for what, _ in counter.house.mail_facts()] == facts
    assert counter.woken == ([1] if stored == ["waiting"] else [])


async def test_a_stage_that_fails_holds_the_mail_and_the_client_is_told_that_it_was_taken(counter: Counter) -> None:
    async def broken(mail: Mail, context: Context) -> Verdict:
        raise ZeroDivisionError("a bug")

    counter.house.stage.verdict = broken
    assert (await counter.says(a_letter(*FULL)))[0] == 250
    assert await counter.stored() == ["held stage-failed"]


async def test_the_stages_know_who_sends_to_whom(counter: Counter) -> None:
    await counter.says(a_letter(*FULL), sender="")
    mail, context = counter.house.stage.seen[0]
    assert mail.relay_user is not None and mail.relay_user.name == "crm"
    assert (mail.envelope.sender, mail.envelope.recipients) == ("", ("one@example.org", "ops@example.org"))
    assert context.touchpoint.id == 1
    assert await counter.house.values("SELECT address FROM recipient ORDER BY number") == [
        "one@example.org",
        "ops@example.org",
    ]


# -- the store -------------------------------------------------------------------------------------------------------


async def test_a_full_disk_asks_the_client_to_come_back_and_keeps_nothing(counter: Counter) -> None:
    counter.house.store.full = 1
    assert (await counter.says(a_letter(*FULL)))[0] == 452
    assert await counter.stored() == []
    assert counter.house.mail_facts() == []
    assert (await counter.says(a_letter(*FULL)))[0] == 250


async def test_a_touchpoint_that_changes_meanwhile_is_asked_again(counter: Counter) -> None:
    async def deactivated(mail: Mail, context: Context) -> Verdict:
        if len(counter.house.stage.seen) == 1:
            await counter.house.activate(False)
        return passed("fine")

    counter.house.stage.verdict = deactivated
    assert (await counter.says(a_letter(*FULL)))[0] == 451
    assert await counter.stored() == []


async def test_a_snapshot_that_stays_behind_is_a_451(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stale(*of: object) -> int:
        raise StaleVersion("touchpoint 1 changed")

    monkeypatch.setattr(counter.house.services.spool, "submit", stale)
    assert (await counter.says(a_letter(*FULL)))[0] == 451


async def written(counter: Counter, data: bytes) -> Written:
    writer = counter.relay.content_writer()
    await writer.write(data)
    return await writer.finish()


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [(passed("fine"), 1), (held(HoldCause.BLOCKED, "x"), 1), (rejected("5.7.1", "no"), 0), (deferred("later"), 0)],
)
async def test_big_content_is_kept_with_a_250_and_forgotten_with_anything_else(
    counter: Counter, verdict: Verdict, kept: int
) -> None:
    counter.house.stage.verdict = verdict
    data = a_letter(*FULL, body="x" * 700_000)
    it = await written(counter, data)
    await counter.says(data, data=None, written=it, opening=it.opening)
    assert await counter.house.values("SELECT count(*) FROM content WHERE owned = 1") == [kept]
    assert await counter.house.values("SELECT count(*) FROM content") == [kept]
    assert await counter.house.values("SELECT count(*) > 0 FROM chunk") == [kept]
    if kept:
        sent = await counter.house.room.content(1)
        assert sent.endswith(data)


async def test_content_that_cannot_be_forgotten_now_does_not_change_the_answer(counter: Counter) -> None:
    counter.house.stage.verdict = rejected("5.7.1", "no")
    data = a_letter(*FULL, body="x" * 300_000)
    it = await written(counter, data)
    counter.house.store.full = 1
    assert (await counter.says(data, data=None, written=it, opening=it.opening))[0] == 550


# -- what goes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "added"),
    [
        (FULL, []),
        (FULL[:1], ["date"]),
        (FULL[1:], ["message-id"]),
        ((), ["date", "message-id"]),
        (("message-id: <9@crm.example>", "DATE: Mon, 04 Jan 2027 10:00:00 +0000"), []),
        (("Message-ID: 9@crm.example", FULL[1]), []),  # it is odd, yet it is there: a second one would be worse
        ((FULL[0], "Date: yesterday"), []),
        ((FULL[0], "Date:"), []),
    ],
)
async def test_only_what_is_missing_is_added_below_our_trace_field(
    counter: Counter, headers: tuple[str, ...], added: list[str]
) -> None:
    data = a_letter(*headers, "X-Odd:   kept  as\tit is ", "Bcc: carl@example.org", body="A lone dot:\r\n.\r\n\x80\xff")
    assert (await counter.says(data))[0] == 250
    sent = await counter.house.room.content(1)
    assert sent.endswith(data)
    top = Headers.scan(sent[: -len(data)] + b"\r\n")
    assert sorted(top.names - {"received"}) == added
    assert top.fields[0].name == "received"
    whole = Headers.scan(sent)
    assert (whole.count("message-id"), whole.count("date"), whole.degraded) == (1, 1, "")


async def test_the_trace_field_says_from_whom_by_whom_and_when(counter: Counter) -> None:
    await counter.says(a_letter(*FULL))
    sent = await counter.house.room.content(1)
    assert Headers.scan(sent).first("received") == (
        "from crm.internal.example ([192.0.2.7]) by post.example with ESMTPSA; Fri, 15 Jan 2027 08:00:00 +0000"
    )


async def test_a_given_message_id_is_signed_and_is_the_one_that_is_remembered(counter: Counter) -> None:
    await counter.says(a_letter())
    sent = Headers.scan(await counter.house.room.content(1)).message_id
    assert await counter.house.values("SELECT message_id FROM entry") == [sent]
    ids = counter.house.services.directory.installation.message_ids
    assert await counter.house.values("SELECT key FROM conversation") == [ids.conversation_of(sent)]


@pytest.mark.parametrize("helo", ["x\r\nBcc: who@example.org", "x\nX-Evil: 1\n\nbody", "\0\x1b[31m", "y" * 5000, ""])
async def test_a_hostile_greeting_adds_no_field(counter: Counter, helo: str) -> None:
    data = a_letter(*FULL)
    code, _ = await counter.says(data, helo=helo)
    assert code == 250
    sent = await counter.house.room.content(1)
    assert sent.endswith(data)
    assert list(Headers.scan(sent[: -len(data)] + b"\r\n").names) == ["received"]


@pytest.mark.parametrize(
    "section", [f"From: {OURS}\r\nFrom: {OURS}\r\n", f"From: {OURS}, {OTHER}\r\n", "To: one@example.org\r\n"]
)
def test_a_mail_must_have_one_author(section: str) -> None:
    reply = unreadable(Headers.scan(section.encode() + b"\r\n"))
    assert reply is not None
    assert (reply.code, reply.status) == (550, "5.6.0")


def test_what_is_unreadable_says_why_on_one_line() -> None:
    reply = unreadable(Headers.scan(b"From: a@example.org\r\n\x1b[2J nonsense\r\n\r\n"))
    assert reply is not None
    assert reply.code == 550


# -- signing in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "password", "good"),
    [
        ("crm", PASSWORD, True),
        ("crm", "wrong", False),
        ("nobody", PASSWORD, False),
    ],
)
async def test_who_signs_in(counter: Counter, name: str, password: str, good: bool) -> None:
    user = await counter.relay.sign_in(name, password)
    assert (user.name if user else None) == (name if good else None)


async def test_a_client_of_a_listed_network_counts_as_the_user_that_the_settings_name(monkeypatch: Any) -> None:
    async with a_house() as house:
        relay = house.services.settings.relay.model_copy(
            update={"networks": (_network("192.0.2.0/24", "printer"), _network("2001:db8::/32", "crm"))}
        )
        house.services.settings = replace(house.services.settings, relay=relay)
        counter = Counter(house)
        assert counter.relay.user_of_network("192.0.2.9") is None  # nobody made such a user yet
        await counter.furnish()
        found = {ip: counter.relay.user_of_network(ip) for ip in ("192.0.2.9", "2001:db8::1", "198.51.100.1", "::1")}
        assert {ip: user.name if user else None for ip, user in found.items()} == {
            "192.0.2.9": "printer",
            "2001:db8::1": "crm",
            "198.51.100.1": None,
            "::1": None,
        }


def _network(cidr: str, user: str) -> Any:
    from gateway.settings import Network

    return Network(cidr=cidr, user=user)


async def test_many_clients_at_once_get_an_entry_each(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.says(a_letter(f"Message-ID: <{n}@crm.example>")) for n in range(30)))
    assert [code for code, _ in answers] == [250] * 30
    assert await counter.house.values("SELECT count(DISTINCT message_id) FROM entry") == [30]

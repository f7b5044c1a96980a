"""The memory of the line: what the store knows about a page, read once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipeline import memory
from pipeline.conversation import Known, MessageIds
from pipeline.mail import Direction, Mail
from pipeline.memory import HOUR, Memory
from tests.unit.making import NOW, OURS, Room, a_content, a_mail, a_reply, a_room, a_touchpoint, an_outcome

IDS = MessageIds(b"secret", "post.example")


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with a_room() as made:
        yield made


async def load(room: Room, *mails: Mail, touchpoint_id: int = 1, now: float = NOW) -> Memory:
    touchpoint = a_touchpoint(touchpoint_id)
    return await room.store.read(lambda tx: memory.load(tx, touchpoint, IDS, mails, now))


def answering(*ids: str, number: int = 50) -> Mail:
    return a_mail(number, data=a_content(number, headers=[f"References: {' '.join(ids)}"]))


BOUNCE = """From: MAILER-DAEMON@example.net
To: support@post.example
Return-Path: <>
Message-ID: <b1@example.net>
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; example.net

Final-Recipient: rfc822; a@example.org
Action: failed
Status: 5.1.1

--b
Content-Type: message/rfc822

Message-ID: {returned}
From: support@post.example

--b--
"""


def a_bounce(returned: str) -> Mail:
    return a_mail(60, data=BOUNCE.format(returned=returned).replace("\n", "\r\n").encode())


async def test_an_empty_store_remembers_nothing(room: Room) -> None:
    found = await load(room, answering("<1@example.org>"))
    assert found == Memory(by_reference={"<1@example.org>": []})


async def test_a_reference_leads_to_its_conversation(room: Room) -> None:
    await room.take(1, an_outcome(a_mail(1), conversation="key"))
    found = await load(room, answering("<0@example.org>", "<1@example.org>"))
    (known,) = found.by_reference["<1@example.org>"]
    assert known == Known("key", frozenset({"customer1@example.org"}))
    assert found.by_reference["<0@example.org>"] == []
    assert found.by_key == {"key": known}


async def test_another_touchpoint_knows_nothing_of_it(room: Room) -> None:
    await room.take(1, an_outcome(a_mail(1), conversation="key"))
    found = await load(room, answering("<1@example.org>"), touchpoint_id=2)
    assert found.by_reference == {"<1@example.org>": []}


async def test_our_own_id_names_its_conversation_though_no_reference_is_left(room: Room) -> None:
    await room.take(1, an_outcome(a_mail(1), conversation="00aa"))
    found = await load(room, answering(IDS.make("00aa", "1"), IDS.make("00bb", "1")))
    assert set(found.by_key) == {"00aa"}


async def test_what_was_sent_is_known_by_its_message_id(room: Room) -> None:
    first, second = await room.relay(7), await room.relay(7)  # clients use a Message-ID twice
    found = await load(room, answering("<7@example.org>"))
    assert found.sent == {"<7@example.org>": [first, second]}
    assert found.auto_replies == set()
    copy_coming_back = await load(room, a_mail(7))
    assert copy_coming_back.sent == {"<7@example.org>": [first, second]}


async def test_a_bounce_leads_to_what_was_sent_and_its_conversation(room: Room) -> None:
    sent = await room.relay(7, conversation="key")
    found = await load(room, a_bounce("<7@example.org>"))
    assert found.sent == {"<7@example.org>": [sent]}
    assert [known.key for known in found.by_reference["<7@example.org>"]] == ["key"]


async def test_auto_replies_are_remembered_by_mailbox_sender_and_hour(room: Room) -> None:
    mail = a_mail(1)
    reply = a_reply(mail)
    await room.take(1, an_outcome(mail, sends=(reply,), conversation="key"))
    found = await load(room, a_mail(1), answering(reply.message_id))
    assert found.answered == {"customer1@example.org": NOW}
    assert found.auto_replies == {reply.message_id}
    assert (found.replies_this_hour, found.replies_to_domain) == (1, {"example.org": 1})
    later = await load(room, a_mail(2), now=NOW + HOUR + 1)
    assert (later.answered, later.replies_this_hour, later.replies_to_domain) == ({}, 0, {})


async def test_a_tag_is_no_other_sender(room: Room) -> None:
    mail = a_mail(1)
    await room.take(1, an_outcome(mail, sends=(a_reply(mail),)))
    tagged = a_mail(2, data=b"From: Customer1+news@EXAMPLE.org\r\n\r\nHello.\r\n")
    assert (await load(room, tagged)).answered == {"customer1@example.org": NOW}


async def test_a_mailbox_is_one_by_whatever_touchpoint(room: Room) -> None:
    assert memory.mailbox_of(a_touchpoint(1)) == OURS
    alias, same = (a_touchpoint(n, mailbox_identity="server/login") for n in (1, 2))
    assert memory.mailbox_of(alias) == memory.mailbox_of(same) == "server/login"


def test_joining_without_a_message_id_is_remembered_by_key() -> None:
    found = Memory()
    found.joins("", Known("key", frozenset()))
    assert (found.by_reference, set(found.by_key)) == ({}, {"key"})


async def test_replies_go_out_to_the_null_sender(room: Room) -> None:
    mail = a_mail(1)
    await room.take(1, an_outcome(mail, sends=(a_reply(mail),)))
    (claimed,) = await room.spool.claim(1)
    assert claimed.row["envelope_sender"] == ""
    assert claimed.row["direction"] == Direction.OUT

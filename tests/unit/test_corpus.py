"""The demo's mail: that it is what it says, and the same each time."""

from __future__ import annotations

import email
import email.policy
import hashlib
from collections import Counter

import pytest

from gateway.demo import corpus
from gateway.demo.press import SUPPORT, TOUCHPOINTS, Expected, Item
from gateway.demo.senders import BLOCKED
from gateway.demo.texts import LANGUAGES
from pipeline.conversation import MessageIds
from pipeline.headers import Headers
from pipeline.line import Line, Outcome, tell
from pipeline.mail import OPENING, Direction, Envelope, Mail
from pipeline.memory import Memory
from pipeline.stage import Context, Installation
from pipeline.touchpoint import AutoReply, Touchpoint, without_tag
from pipeline.verdict import Action
from stages.auto_reply import AutoReplyStage
from stages.blocklist import BlocklistStage
from stages.ingest import IngestStage
from stages.ring_group import RingGroupStage

NOW = 1_800_000_000.0
ITEMS = corpus.mails(NOW)
BY_NAME = {item.name: item for item in ITEMS}


def headers(item: Item) -> Headers:
    return Headers.scan(item.content[: 256 * 1024])


def test_sixty_mails_of_all_fates() -> None:
    assert len(ITEMS) + corpus.ECHOES == corpus.MAILS == 60
    states = Counter(item.state for item in ITEMS)
    assert states == {Expected.QUEUED: 54, Expected.STOPPED: 1, Expected.HELD: 2}
    assert {item.to for item in ITEMS} == set(TOUCHPOINTS)
    assert all(item.to == SUPPORT and item.state is Expected.QUEUED for item in ITEMS if item.answered)
    assert 12 <= sum(item.answered for item in ITEMS) <= 20, "below every cap on auto-replies"


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert corpus.mails(NOW) == ITEMS
    assert corpus.submissions(NOW) == corpus.submissions(NOW)
    assert corpus.mails(NOW + 86_400) != ITEMS


def test_each_mail_begins_as_a_delivering_server_writes_it() -> None:
    for item in ITEMS:
        assert item.content.startswith(f"Return-Path: <{item.sender}>\r\nReceived: from ".encode()), item.name
        assert headers(item).return_path == item.sender, item.name


def test_only_the_twins_are_equal() -> None:
    repeated = [count for count in Counter(item.content for item in ITEMS).values() if count > 1]
    assert repeated == [2]
    ids = Counter(headers(item).message_id for item in ITEMS)
    assert {name: count for name, count in ids.items() if count > 1} == {
        "<same@inn.test>": 2,
        headers(BY_NAME["one of two equal mails"]).message_id: 2,
    }
    assert headers(BY_NAME["no Message-ID"]).message_id == ""


@pytest.mark.parametrize(
    "item", [each for each in ITEMS if each.name.startswith("everyday")], ids=lambda item: item.name
)
def test_everyday_mail_can_be_read_back(item: Item) -> None:
    parsed = email.message_from_bytes(item.content, policy=email.policy.default)
    body = parsed.get_body(("plain",))
    assert body is not None and not parsed.defects and not body.defects
    language = next(each for each in LANGUAGES if item.name.endswith(each.name))
    letter = language.support if item.to == SUPPORT else language.letter
    assert body.get_content().replace("\r\n", "\n").rstrip() == letter.text.rstrip()
    assert headers(item).subject == letter.subject
    [author] = headers(item).addresses("from")
    assert language.author in author.display and author.address == item.sender


def test_the_odd_ones_are_as_odd_as_they_say() -> None:
    assert len(BY_NAME["an attachment of 600 kB"].content) > 800_000, "base64 adds a third"
    assert headers(BY_NAME["a subject with an encoded line end"]).subject == "hi\r\nBcc: victim@far.test"
    assert "\x1b" in headers(BY_NAME["a subject that paints terminals"]).subject
    assert "‮" in headers(BY_NAME["a subject that paints terminals"]).subject
    assert (
        len(headers(BY_NAME["a huge header"]).first("subject"))
        < 100
        < BY_NAME["a huge header"].content.find(b"\r\n\r\n")
    )
    assert BY_NAME["an empty body"].content.endswith(b"\r\n\r\n")
    assert b"\x00" in BY_NAME["bare line feeds and a NUL"].content
    assert BY_NAME["a hundred nested parts"].content.count(b"multipart/mixed") == 100
    assert headers(BY_NAME["neither From nor Date"]).author == ""
    with pytest.raises(UnicodeDecodeError):
        BY_NAME["a charset that lies"].content.decode("utf-8")
    assert headers(BY_NAME["goes on with a conversation"]).references == ("<lift-1@houses.test>",)


def test_bounces_are_proper_reports() -> None:
    bounce = email.message_from_bytes(BY_NAME["a bounce (RFC 3464)"].content, policy=email.policy.default)
    assert bounce.get_content_type() == "multipart/report"
    assert [part.get_content_type() for part in bounce.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def test_an_echo_keeps_our_bytes() -> None:
    ours = b"From: support@demo.example\r\n\r\nhello\r\n"
    echo = corpus.echo(1, SUPPORT, ours)
    assert echo.content.endswith(ours) and headers(echo).return_path == ""
    assert echo.state is Expected.STOPPED


def test_ten_submissions() -> None:
    submissions = corpus.submissions(NOW)
    assert len(submissions) == corpus.RELAYED == 10
    assert {each.signed for each in submissions} == {True, False}
    for each in submissions:
        scanned = Headers.scan(each.content)
        assert scanned.author == each.sender and scanned.message_id == each.message_id
        assert scanned.recipients == each.recipients
        assert not email.message_from_bytes(each.content).defects
    assert len({each.message_id for each in submissions}) == 10


LINE = Line(
    (
        ("ingest", IngestStage()),
        ("blocklist", BlocklistStage()),
        ("auto_reply", AutoReplyStage()),
        ("ring_group", RingGroupStage()),
    )
)
ACTIONS = {Expected.QUEUED: Action.PASS, Expected.STOPPED: Action.STOP, Expected.HELD: Action.HOLD}


class House:
    """Three touchpoints with their memories, as the demo sets them up."""

    def __init__(self) -> None:
        ours = frozenset(without_tag(address) for address in TOUCHPOINTS)
        ids = MessageIds(b"k" * 32, "mail.demo.example")
        self._installation = Installation(id="i1", hostname="mail.demo.example", addresses=ours, message_ids=ids)
        self.memories = {address: Memory() for address in TOUCHPOINTS}

    def _touchpoint(self, address: str) -> Touchpoint:
        return Touchpoint(
            id=1 + TOUCHPOINTS.index(address),
            address=address,
            name="Desk",
            active=True,
            activated_at=NOW - 3600,
            auto_reply=AutoReply(active=address == SUPPORT, text="We have your mail."),
            blocklist=frozenset({BLOCKED[address]} if address in BLOCKED else ()),
            ring_groups=(1,),
            mailbox_identity=address,
        )

    async def walk(self, item: Item, seed: str) -> Outcome:
        opening = item.content[:OPENING]
        mail = Mail(
            direction=Direction.IN,
            envelope=Envelope(sender=item.sender),
            opening=opening,
            headers=Headers.scan(opening),
            size=len(item.content),
            received_at=NOW,
            seed=seed,
            sha256=hashlib.sha256(item.content).digest(),
            junk=item.folder == "Junk",
        )
        context = Context(
            touchpoint=self._touchpoint(item.to),
            installation=self._installation,
            memory=self.memories[item.to],
            now=NOW,
        )
        outcome = await LINE.walk(mail, context)
        tell(context.memory, outcome, item.to)
        return outcome


async def test_the_line_does_with_each_mail_what_the_corpus_expects() -> None:
    house = House()
    replies: list[tuple[Item, bytes]] = []
    for number, item in enumerate(ITEMS):
        outcome = await house.walk(item, f"seed-{number}")
        assert (outcome.action, len(outcome.sends)) == (ACTIONS[item.state], item.answered), (item.name, outcome.trail)
        replies += [(item, send.content) for send in outcome.sends]
    for item, reply in replies:
        scanned = Headers.scan(reply)
        assert scanned.recipients == (item.sender,), "one recipient, and no other that a header smuggled in"
        assert "bcc" not in scanned
    echo = await house.walk(corpus.echo(1, SUPPORT, replies[0][1]), "echo-1")
    assert echo.action is Action.STOP
    sent = corpus.submissions(NOW)[1]
    house.memories[sent.sender].sent[sent.message_id] = [1]
    echo = await house.walk(corpus.echo(2, sent.sender, sent.content), "echo-2")
    assert echo.action is Action.STOP

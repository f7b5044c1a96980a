"""The notice of a final failure: to whom it goes, what it says, and what a hostile mail cannot make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway import notices
from pipeline import people, touchpoints
from pipeline.entry import Origin, State
from pipeline.headers import Headers
from pipeline.outbox import Answer, RecipientState, Settled
from pipeline.spool import Notice
from tests.unit.housing import BOTH, House, a_house
from tests.unit.making import NOW, OURS

ADMINS = ("admin@example.org", "deputy@example.org")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with a_house(admins=ADMINS) as made:
        yield made


def refused(*texts: str) -> Settled:
    """A failure with one refused recipient for each text."""
    answers = tuple(
        Answer(address=f"r{number}@example.org", state=RecipientState.REFUSED, code=550, text=text)
        for number, text in enumerate(texts, 1)
    )
    return Settled(entry_id=7, state=State.FAILED, refused=answers, reason="refused")


def tell(house: House, settled: Settled | None = None, **row: Any) -> Notice | None:
    """The notice of entry 7."""
    values = {"id": 7, "subject": "An answer", "message_id": "<9@crm.example>", "notify": "", **row}
    return notices.of_failure(house.services, house.touchpoint, values, settled or refused("no such user"))


def told(house: House, settled: Settled | None = None, **row: Any) -> tuple[Headers, str]:
    """Its header and its text."""
    notice = tell(house, settled, **row)
    assert notice is not None
    return Headers.scan(notice.content), notice.content.partition(b"\r\n\r\n")[2].decode()


async def test_it_says_what_happened_to_whom_and_what_helps(house: House) -> None:
    headers, text = told(house, refused("no such user", "mailbox is full"))
    assert headers.subject == "Mail not delivered: An answer"
    for words in (
        f"A mail from {OURS} could not be delivered",
        "Subject: An answer",
        "Message-ID: <9@crm.example>",
        "r1@example.org: 550 no such user\r\nr2@example.org: 550 mailbox is full",
        "postroom why 7",
        "postroom spool retry 7",
    ):
        assert words in text
    assert "{" not in text


async def test_nothing_ever_answers_a_notice_and_nothing_bounces_back_on_it(house: House) -> None:
    notice = tell(house)
    assert notice is not None
    headers = Headers.scan(notice.content)
    assert notice.born.envelope_sender == ""
    assert headers.first("auto-submitted") == "auto-generated"
    assert headers.first("x-auto-response-suppress") == "All"
    assert headers.first("x-postroom-loop") == house.services.directory.installation.id
    assert headers.author == OURS
    assert (notice.born.origin, notice.born.state, notice.born.notice_for) == (Origin.NOTICE, State.WAITING, 7)
    ids = house.services.directory.installation.message_ids
    assert ids.conversation_of(headers.message_id) is not None
    assert notice.born.message_id == headers.message_id
    assert notice.born.subject == headers.subject


async def test_where_the_provider_takes_no_null_sender_the_touchpoint_sends_it(house: House) -> None:
    await house.change(lambda tx: touchpoints.set_connection(tx, 1, replace(BOTH, null_sender=False)))
    notice = tell(house)
    assert notice is not None
    assert notice.born.envelope_sender == OURS


@pytest.mark.parametrize(
    ("notify", "admins", "expected"),
    [
        ("", ADMINS, ADMINS),
        ("crm@example.org", ADMINS, ("crm@example.org",)),
        ("", (), None),
        (OURS, ADMINS, None),  # the relay user named an address of ours: nobody outside is there to be told
        ("", (OURS, "admin@example.org"), ("admin@example.org",)),
        ("", ("SUPPORT@Post.Example",), None),
        ("", ("support+tag@post.example",), None),
        ("", ("sales@post.example", "help@post.example"), None),
        ("", ("other@post.example",), ("other@post.example",)),  # our domain, and no touchpoint
    ],
)
async def test_it_goes_to_people_outside_and_never_to_an_address_of_ours(
    notify: str, admins: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    async with a_house(admins=admins) as house:

        def more(tx: Any) -> None:
            touchpoints.create(tx, address="sales@post.example", name="Sales", aliases=["help@post.example"], now=NOW)

        await house.change(more)
        notice = tell(house, notify=notify)
        assert (None if notice is None else notice.recipients) == expected


HOSTILE = [
    "Hello\r\nBcc: who@example.org",
    "Hello\nBcc: who@example.org\n\nAnd a body",
    "Hello\rBcc: who@example.org",
    "=?utf-8?b?DQpCY2M6IHdob0BleGFtcGxlLm9yZw==?=",
    "\x1b[2J\x07\0 red",
    "{text} {entry} {recipients} {message_id",
    "x" * 5000,
    "\u202egnp.exe \u2028Bcc: who@example.org",
    "\ud800 half a character",
    "",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_mail_cannot_add_a_field_to_its_notice(house: House, hostile: str) -> None:
    plain, _ = told(house)
    for settled, row in (
        (None, {"subject": hostile}),
        (None, {"message_id": hostile}),
        (refused(hostile), {}),
        (refused(*[hostile] * 100), {"subject": hostile, "message_id": hostile}),
    ):
        headers, text = told(house, settled, **row)
        assert [field.name for field in headers.fields] == [field.name for field in plain.fields]
        assert not headers.degraded
        assert "\x1b" not in text and "\0" not in text
        assert len(headers.subject) < 300


async def test_a_value_with_braces_stays_as_it_is(house: House) -> None:
    headers, text = told(house, subject="{entry}")
    assert headers.subject == "Mail not delivered: {entry}"
    assert "Subject: {entry}" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail {entry}", "Mail 7"),
        ("{entry}{entry}", "77"),
        ("{subject}", "{entry}"),
        ("{other} {entry}", "{other} 7"),
        ("{entry", "{entry"),
        ("}{", "}{"),
        ("{{entry}}", "{7}"),
        ("", ""),
    ],
)
def test_names_are_filled_in_once(text: str, expected: str) -> None:
    assert notices.fill(text, {"entry": "7", "subject": "{entry}"}) == expected


def test_every_text_has_a_subject_and_can_be_read() -> None:
    assert "final_failure" in notices.texts()
    for each in notices.texts().values():
        assert each["subject"].strip() and each["text"].strip()


async def test_the_relay_users_own_address_is_asked_in_the_commit_of_the_failure(house: House) -> None:
    """Through the spool, as the lane does it: the address is that of the entry's relay user."""
    from pipeline.outbox import Said
    from tests.unit.making import a_mail, an_outcome

    await house.change(lambda tx: people.add_relay_user(tx, "crm", "hash", NOW, notify="crm@example.org"))
    mail = replace(
        a_mail(1, direction="out", recipients=("a@example.org",)),  # type: ignore[arg-type]
        relay_user=house.services.directory.relay_users["crm"],
    )
    spool = house.services.spool
    entry_id = await spool.submit(house.touchpoint, an_outcome(mail), mail.opening, ("a@example.org",))
    await spool.claim(1)
    attempt = await spool.begin_attempt(entry_id, "smtp.example.org:465")
    answers = [Answer(address="a@example.org", state=RecipientState.REFUSED, code=550, text="no")]
    write = lambda row, settled: notices.of_failure(house.services, house.touchpoint, row, settled)  # noqa: E731
    await spool.settle(entry_id, attempt, answers, Said(outcome="refused"), 0.5, write)
    rows = await house.rows(
        "SELECT r.address, e.envelope_sender FROM recipient AS r JOIN entry AS e ON e.id = r.entry_id"
        " WHERE e.origin = 'notice'"
    )
    assert rows == [{"address": "crm@example.org", "envelope_sender": ""}]


@pytest.mark.parametrize("admin", ["admin@bücher.example", "ädmin@example.org"])
async def test_an_admin_with_an_international_address_does_not_keep_the_others_from_being_told(admin: str) -> None:
    async with a_house(admins=("admin@example.org", admin)) as house:
        notice = tell(house)
        assert notice is not None
        assert "admin@example.org" in notice.recipients
        assert notice.content.isascii()

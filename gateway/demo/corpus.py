"""The demo's mail: what comes in, what the house sends out, and what must become of each.

Each mail carries its own expectation, so that the demo and the tests can lay the daemon's account beside it. The
incoming mails are printed by ``press.py`` for the authors of ``texts.py`` and ``senders.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.demo import senders
from gateway.demo.press import DOMAIN, SALES, SUPPORT, Body, Expected, Item, Press, typed
from gateway.demo.texts import LANGUAGES, Language, Letter
from gateway.demo.writing import Header, date, encoded, file_part, mail, multipart, noise, text_part

ECHOES = 3
"""How many of our own mails a redirect somewhere sends back to us."""
MAILS = 60
RELAYED = 10


def mails(now: float) -> tuple[Item, ...]:
    """The mails that arrive, in this order; ``ECHOES`` more follow from what we send (see ``echo``).

    ``now`` (seconds since the epoch) dates them. The order matters: who wrote before gets no second auto-reply.
    """
    press = Press(now)
    everyday = [item for language in LANGUAGES for item in _everyday(press, language)]
    special = [*senders.people(press), *senders.robots(press), *senders.attachments(press), *senders.broken(press)]
    items = tuple(_mixed(everyday, special))
    assert len(items) + ECHOES == MAILS
    return items


def _mixed(first: list[Item], second: list[Item]) -> Iterator[Item]:
    """One of each in turn, both in their order."""
    for place in range(max(len(first), len(second))):
        yield from first[place : place + 1]
        yield from second[place : place + 1]


def _everyday(press: Press, language: Language) -> tuple[Item, Item]:
    """One mail to support and one to another touchpoint, written as this language's mail programs do."""
    to_desk = _letter(press, language, f"{language.desk}@{DOMAIN}", language.letter, 1)
    return to_desk, _letter(press, language, SUPPORT, language.support, 2)


def _letter(press: Press, language: Language, to: str, letter: Letter, number: int) -> Item:
    sender = f"customer.{number}@{language.domain}"
    plain = text_part(letter.text, charset=language.charset, coding=language.coding)
    page = f"<html><body><p>{letter.text.strip().replace(chr(10), '<br>')}</p></body></html>"
    return press.item(
        f"everyday, {language.name}",
        to,
        sender,
        multipart("alternative", plain, text_part(page, subtype="html", coding="base64")) if language.html else plain,
        subject=encoded(letter.subject, language.charset),
        author=f"{encoded(f'{language.author} {number}')} <{sender}>",
        answered=to == SUPPORT,
    )


def echo(number: int, to: str, ours: bytes) -> Item:
    """A mail of ours as a redirect at the far end sends it back: a loop, to be stopped."""
    trace = f"Return-Path: <>\r\nReceived: from loop{number}.far.test by mx.{DOMAIN} with ESMTP id E{number}\r\n"
    return Item(
        name="our own mail coming back", to=to, content=trace.encode("ascii") + ours, sender="", state=Expected.STOPPED
    )


HELPDESK, SHOP = "helpdesk", "shop"
"""Relay users: mail of the first one is signed, mail of the second one must stay as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One mail that an internal sender hands to the relay."""

    name: str
    user: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    message_id: str
    signed: bool
    """Whether the touchpoint's signature must be in it, once in each text part."""


def submissions(now: float) -> tuple[Submission, ...]:
    """What the internal senders hand to the relay, in this order."""
    plain = "Hello,\n\nyour case is solved.\n"
    page = "<html><body><p>Hello,<br>your case is solved.</p></body></html>"
    quote = plain + "\nOn Monday, Customer 1 wrote:\n> Is it solved?\n> Thanks\n"
    both = multipart("alternative", text_part(plain), text_part(page, subtype="html"))
    german = text_part("Guten Tag,\n\nIhr Gerät ist unterwegs.\n", charset="iso-8859-1", coding="quoted-printable")
    invoice = file_part("invoice.pdf", "application/pdf", b"%PDF-1.7\n" + noise("invoice", 20_000))
    letters: list[tuple[str, str, str, Body, int]] = [
        ("plain text", HELPDESK, SUPPORT, plain, 1),
        ("plain text, unsigned", SHOP, SALES, plain, 1),
        ("text and HTML", HELPDESK, SUPPORT, both, 1),
        ("an invoice", SHOP, SALES, multipart("mixed", text_part("Your invoice.\n"), invoice), 1),
        ("a reply with its quote", HELPDESK, SALES, quote, 1),
        ("three recipients", SHOP, SALES, plain, 3),
        ("quoted-printable", HELPDESK, SUPPORT, multipart("mixed", german), 1),
        ("HTML alone", HELPDESK, SALES, (("Content-Type", "text/html; charset=utf-8"), page.encode("ascii")), 1),
        ("lines that begin with dots", SHOP, SALES, ".\n..\n.dot\n", 1),
        ("signed, with an attachment", HELPDESK, SUPPORT, multipart("mixed", text_part(plain), invoice), 2),
    ]
    assert len(letters) == RELAYED
    return tuple(_submission(number, now, *letter) for number, letter in enumerate(letters, 1))


def _submission(
    number: int,
    now: float,
    name: str,
    user: str,
    sender: str,
    body: Body,
    recipients: int,
) -> Submission:
    to = tuple(f"reader.{number}{letter}@far.test" for letter in "abc"[:recipients])
    message_id = f"<out-{number}.{int(now)}@{user}.{DOMAIN}>"
    kind, raw = typed(body)
    head: list[Header] = [
        ("Date", date(now + number)),
        ("From", f"Desk {number} <{sender}>"),
        ("To", ", ".join(to)),
        ("Subject", f"Your case {number}: {name}"),
        ("Message-ID", message_id),
        ("MIME-Version", "1.0"),
    ]
    return Submission(
        name=name,
        user=user,
        sender=sender,
        recipients=to,
        content=mail([*head, *kind], raw),
        message_id=message_id,
        signed=user == HELPDESK,
    )

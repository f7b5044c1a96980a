"""What strangers can send, as data: mail that breaks readers, and lies that an IMAP server can tell.

``MAILS`` are contents by name, made when they are asked for: each row of the table of the standard library's faults
(reliability plan, section 5), and what is known to be slow in readers of HTML, MIME, headers and bounces. ``LIES`` are
the ways in which a server can misbehave, each with the command that it answers so, and with what must come of it.
Used by the fault bench, which measures what they cost others, and by the scenarios.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass

from tests.servers.scripted_imap import Dialogue, Lie

DESK, BUYER = "desk@shop.example", "buyer@example.org"
KIB = 1024


def mail(*fields: str | bytes, body: str | bytes = b"Hello.\r\n", to: str = DESK, sender: str = BUYER) -> bytes:
    """A person's mail to us, with these fields; one that is given takes the place of the ordinary one."""
    given = [each.encode() if isinstance(each, str) else each for each in fields]
    names = {each.partition(b":")[0].strip().lower() for each in given}
    usual = {
        "Return-Path": f"<{sender}>",
        "From": f"Buyer <{sender}>",
        "To": to,
        "Subject": "A question",
        "Message-ID": "<hostile@example.org>",
        "Date": "Mon, 23 Nov 2026 10:00:00 +0000",
    }
    lines = [f"{name}: {value}".encode() for name, value in usual.items() if name.lower().encode() not in names]
    return b"\r\n".join([*lines, *given]) + b"\r\n\r\n" + (body.encode() if isinstance(body, str) else body)


def nested(depth: int) -> bytes:
    """Multiparts in multiparts."""
    begin = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1) for n in range(depth))
    return mail("Content-Type: multipart/mixed; boundary=0", body=begin + b"--%d--\r\n" % depth)


def attached(depth: int) -> bytes:
    """Mails in mails."""
    return mail("Content-Type: message/rfc822", body=b"Content-Type: message/rfc822\r\n\r\n" * depth + b"\r\nend\r\n")


def many_parts(count: int, part: bytes = b"\r\nx\r\n") -> bytes:
    """Parts beside each other."""
    return mail("Content-Type: multipart/mixed; boundary=b", body=(b"--b\r\n" + part) * count + b"--b--\r\n")


def html(markup: str | bytes, *fields: str) -> bytes:
    """A mail that is one page."""
    return mail("Content-Type: text/html; charset=utf-8", *fields, body=markup)


def charset(name: str, body: bytes = b"caf\xe9 \\u0041\r\n") -> bytes:
    """A text in a charset of this name."""
    return mail(b"Content-Type: text/plain; charset=" + name.encode("latin-1", "replace"), body=body)


def report(recipients: int) -> bytes:
    """A bounce that tells of very many."""
    status = b"".join(b"\r\nFinal-Recipient: rfc822; u%d@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n" % n
                      for n in range(recipients))  # fmt: skip
    body = b"--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" + status + b"\r\n--b--\r\n"
    return mail("Content-Type: multipart/report; report-type=delivery-status; boundary=b", "Return-Path: <>", body=body)


MAILS: dict[str, Callable[[], bytes]] = {
    # Parts
    "500 multiparts deep": lambda: nested(500),
    "1,000 multiparts deep": lambda: nested(1_000),
    "10,000 multiparts deep": lambda: nested(10_000),
    "1,000 mails deep": lambda: attached(1_000),
    "100,000 parts": lambda: many_parts(100_000),
    "100,000 parts with types": lambda: many_parts(100_000, b"Content-Type: text/html\r\n\r\n<p>\r\n"),
    "a million boundaries": lambda: mail("Content-Type: multipart/mixed; boundary=b", body=b"--b\n" * 1_000_000),
    "a boundary of 60 KB": lambda: mail("Content-Type: multipart/mixed; boundary=" + "b" * 60 * KIB, body=b"--b\r\n"),
    "an empty boundary": lambda: mail('Content-Type: multipart/mixed; boundary=""', body=b"--\r\n" * 10_000),
    "one boundary for all": lambda: mail(
        "Content-Type: multipart/mixed; boundary=b",
        body=b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5_000,
    ),
    # Header sections
    "100,000 fields": lambda: mail(*(f"X-{n}: x" for n in range(100_000))),
    "10,000 Received": lambda: mail(*("Received: from a by b" for _ in range(10_000))),
    "a field of 250 KB": lambda: mail("X-Big: " + "x" * 250 * KIB),
    "100,000 folds": lambda: mail("Subject: x" + "\r\n x" * 80_000),
    "a subject of encoded words": lambda: mail("Subject: " + "=?utf-8?q?=41?= " * 15_000),
    "a subject of base64": lambda: mail(f"Subject: =?utf-8?b?{'QUFB' * 15_000}?="),
    "a subject of surrogates": lambda: mail("Subject: =?utf-8?q?=ed=a0=80=ed=b0=80?="),
    "half an encoded word": lambda: mail("Subject: " + "=?utf-8?q?" * 20_000),
    "20,000 quotes in To": lambda: mail("To: " + '"' * 20_000),
    "20,000 words in To": lambda: mail("To: " + "a " * 20_000),
    "20,000 commas in To": lambda: mail("To: " + "," * 20_000),
    "10,000 addresses in To": lambda: mail("To: " + ", ".join(f"u{n}@example.org" for n in range(10_000))),
    "200 KB of To": lambda: mail("To: " + ",\r\n ".join(f'"a\\"b" <u{n}@example.org>' for n in range(7_000))),
    "1,000 brackets in To": lambda: mail("To: " + "(" * 1_000),
    "60,000 brackets in From": lambda: mail("From: " + "(" * 60_000),
    "angles in To": lambda: mail("To: " + "<" * 30_000),
    "groups in To": lambda: mail("To: " + "a:;" * 20_000),
    "at signs in From": lambda: mail("From: " + "a@" * 30_000),
    "20,000 parameters": lambda: mail("Content-Type: text/plain" + "; a=b" * 10_000),
    "quoted parameters": lambda: mail("Content-Type: text/plain" + '; a="' * 12_000),
    "4,000 segments of a name": lambda: mail(
        "Content-Type: application/x; " + "; ".join(f"name*{n}*=utf-8''%41" for n in range(3_000))
    ),
    "100,000 references": lambda: mail("References: " + " ".join(f"<{n}@example.org>" for n in range(3_300))),
    "references in one word": lambda: mail("References: " + "<" * 60_000),
    "From a@": lambda: mail("From: a@"),
    "To <": lambda: mail("To: <"),
    'To "': lambda: mail('To: "'),
    "Message-ID <>": lambda: mail("Message-ID: <>"),
    "Message-ID <@>": lambda: mail("Message-ID: <@>"),
    "Message-ID of 60 KB": lambda: mail("Message-ID: <" + "x" * 60_000 + "@example.org>"),
    "an encoded line end in From": lambda: mail("From: =?utf-8?q?a=0d=0aBcc:_x@evil.example?= <buyer@example.org>"),
    "two addresses in one From": lambda: mail("From: alice@example.org)bob@evil.example"),
    "separators that are line ends to some": lambda: mail("Subject: a\x1cb\x85c\u2028d\x0be\x0cf"),
    "a domain for IDNA": lambda: mail("From: a@" + "é" * 5_000 + ".example"),
    "a domain of labels": lambda: mail("From: a@" + "é." * 20_000 + "example"),
    "a return path of rubbish": lambda: mail("Return-Path: <" + "(" * 30_000 + ">"),
    "verdicts without end": lambda: mail("Authentication-Results: mx.example.net" + "; dkim=pass (" * 4_000),
    "Authentication-Results by the thousand": lambda: mail(*["Authentication-Results: a; spf=pass"] * 1_900),
    "dates of rubbish": lambda: mail("Date: " + "1 " * 30_000),
    "no header section": lambda: b"\xff" * 600 * KIB,
    "nothing but NUL": lambda: b"\0" * 300 * KIB,
    "nothing": lambda: b"",
    "one line of 2 MB": lambda: mail(body=b"x" * 2_000 * KIB),
    # Charsets and encodings
    "charset idna": lambda: charset("idna"),
    "charset undefined": lambda: charset("undefined"),
    "charset with NUL": lambda: charset("utf\0-8"),
    "charset unknown": lambda: charset("x-who-knows"),
    "charset of 5,000 characters": lambda: charset("x" * 5_000),
    "charset unicode_escape": lambda: charset("unicode_escape"),
    "charset punycode": lambda: charset("punycode", b"a-" + b"z" * 200_000),
    "charset zlib_codec": lambda: charset("zlib_codec", b"x\x9c" * 1_000),
    "charset utf-7": lambda: charset("utf-7", b"+AAA" * 50_000),
    "charset iso-2022-jp without end": lambda: charset("iso-2022-jp", b"\x1b$B" * 100_000),
    "charset hz": lambda: charset("hz", b"~{" * 100_000),
    "base64 of rubbish": lambda: mail("Content-Transfer-Encoding: base64", body=bytes(range(256)) * 2_000),
    "base64 of padding": lambda: mail("Content-Transfer-Encoding: base64", body=b"=" * 512 * KIB),
    "quoted-printable of rubbish": lambda: mail("Content-Transfer-Encoding: quoted-printable", body=b"=" * 512 * KIB),
    "uuencode": lambda: mail("Content-Transfer-Encoding: x-uuencode", body=b"begin 644 x\n" * 20_000),
    # HTML
    "100,000 divs deep": lambda: html("<div>" * 100_000),
    "500 KB of blockquotes": lambda: html("<blockquote>" * 41_000),
    "comments that never end": lambda: html("<!--" * 125_000),
    "values that never end": lambda: html("<a href='" * 55_000),
    "brackets": lambda: html("<" * 500 * KIB),
    "a tag of 500 KB": lambda: html("<a " + "x=y " * 125_000 + ">"),
    "entities": lambda: html("&lt;" * 125_000),
    "half entities": lambda: html("&" * 500 * KIB),
    "digits of one entity": lambda: html("&#" + "1" * 500 * KIB),
    "tables in tables": lambda: html("<table><tr><td>" * 33_000),
    "scripts": lambda: html("<script>" * 62_000),
    "styles": lambda: html("<style>" * 71_000),
    "links without end": lambda: html("<a href=http://x.example>y" * 19_000),
    "html in base64": lambda: html(base64.encodebytes(b"<div>" * 70_000), "Content-Transfer-Encoding: base64"),
    "text that looks quoted": lambda: mail(body="> " * 200_000 + "\r\n" + "On a, b wrote:\r\n> x\r\n" * 20_000),
    "openers of quotes": lambda: mail(body="On " * 150_000 + ":\r\n" + "From: x\r\n" * 40_000),
    # Bounces
    "a bounce of 20,000": lambda: report(20_000),
    "a bounce without words": lambda: mail(
        "Content-Type: multipart/report; boundary=b", "Return-Path: <>", body=b"--b"
    ),
    # What terminals obey
    "what terminals obey": lambda: mail(
        "Subject: \x1b]52;c;ZXZpbA==\x07 \x1b[2J =?utf-8?q?=1b[31m=e2=80=ae?= [/x] [@click=app.quit]x[/]",
        "From: \x1b]0;x\x07 <buyer@example.org>",
        'Content-Type: text/plain; name="\x1b[2J.txt"',
    ),
}
"""Name -> what makes the content. All but ``nothing`` come from BUYER to DESK, as far as they say."""


@dataclass(frozen=True)
class Misdeed:
    """One way in which a server misbehaves, once it has three new mails: 1, 2 and 3."""

    word: bytes
    """The command that it answers so; GREETING, IDLE (what is said while we idle), or BODY (of mail 2)."""
    lie: Lie
    states: tuple[str, ...] = ("backoff",)
    """How the touchpoint may stand while it goes on; connected where it costs at most one mail."""
    kick: bool = False
    """Needs a new connection to be seen."""


async def silence(dialogue: Dialogue) -> None:
    """Say no more, and listen to nothing."""
    await asyncio.Event().wait()


async def drip(dialogue: Dialogue) -> None:
    """An answer that comes byte by byte and never ends."""
    await dialogue.send(b"* OK ")
    while True:
        await dialogue.send(b"x")
        await asyncio.sleep(0.05)


def flood(line: bytes, count: int, end: bytes = b"TAG OK done\r\n") -> Lie:
    """The same line very often, at the client's pace."""

    async def pour(dialogue: Dialogue) -> None:
        block = line * 2_000
        for _ in range(count // 2_000):
            await dialogue.send(block)
        await dialogue.send(end)

    return pour


async def endless(dialogue: Dialogue) -> None:
    """A line without end, up to 5 GB."""
    await dialogue.send(b"* SEARCH")
    for _ in range(80_000):
        await dialogue.send(b" 1" * 32_768)


async def endless_literals(dialogue: Dialogue) -> None:
    """Rows that nobody asked for, each with a body, up to 4 GB."""
    row = b"* 9 FETCH (UID 4000000000 BODY[] {1048576}\r\n%b)\r\n" % (b"x" * 1_048_576)
    for _ in range(4_000):
        await dialogue.send(row)


MILLION = 1_000_000
CONNECTED, BACKOFF, LOST = ("connected",), ("backoff",), ("lost",)
EITHER = ("connected", "backoff")
OPENED = b"* 3 EXISTS\r\n* OK [UIDVALIDITY %b] v\r\n* OK [UIDNEXT 4] n\r\nTAG OK done\r\n"

LIES: dict[str, Misdeed] = {
    # Literals and lines
    "literal of 100 GB": Misdeed(b"BODY", b"* 2 FETCH (UID 2 BODY[] {99999999999}\r\n", EITHER),
    "literal too short": Misdeed(b"BODY", b"* 2 FETCH (UID 2 BODY[] {90000}\r\nhi)\r\n", BACKOFF),
    "literal too long": Misdeed(b"BODY", b"* 2 FETCH (UID 2 BODY[] {2}\r\nhi and more)\r\n", EITHER),
    "literal8": Misdeed(b"BODY", b"* 2 FETCH (UID 2 BODY[] ~{4}\r\nA: b)\r\n", CONNECTED),
    "literal at the end of an alert": Misdeed(b"UID SEARCH", b"* OK [ALERT] x {5}\r\nTAG OK done\r\n", CONNECTED),
    "line without end": Misdeed(b"UID SEARCH", endless, BACKOFF),
    "bodies without end": Misdeed(b"UID SEARCH", endless_literals, BACKOFF),
    "NUL and 8-bit": Misdeed(b"UID SEARCH", bytes(range(256)) + b"\r\n" + b"TAG OK done\r\n", BACKOFF),
    # Floods
    "1,100 lines": Misdeed(b"UID SEARCH", b"* 3 EXISTS\r\n" * 1_100 + b"TAG OK done\r\n", CONNECTED),
    "a million answers": Misdeed(b"UID SEARCH", flood(b"* 3 EXISTS\r\n", MILLION), BACKOFF),
    "a million EXISTS in IDLE": Misdeed(b"IDLE", b"* 3 EXISTS\r\n" * MILLION, EITHER),
    "a million EXPUNGE in IDLE": Misdeed(b"IDLE", b"* 1 EXPUNGE\r\n" * MILLION, EITHER),
    "a million FETCH in IDLE": Misdeed(b"IDLE", b"* 1 FETCH (FLAGS (\\Seen))\r\n" * MILLION, EITHER),
    "empty lines": Misdeed(b"UID SEARCH", flood(b"\r\n", MILLION), BACKOFF),
    "parentheses": Misdeed(b"UID FETCH", b"* 1 FETCH " + b"(" * 60_000 + b"\r\nTAG OK done\r\n", EITHER),
    "bodies that nobody asked for": Misdeed(
        b"UID SEARCH", b"* 9 FETCH (UID 9 BODY[] {4}\r\nevil)\r\n* SEARCH 1 2 3\r\nTAG OK done\r\n", CONNECTED
    ),
    # Tags and continuations
    "wrong tag": Misdeed(b"UID SEARCH", b"X9 OK done\r\n", BACKOFF),
    "two tagged answers": Misdeed(b"EXAMINE", OPENED % b"7" + b"TAG OK done\r\n", BACKOFF),
    "continuation that nobody wanted": Misdeed(b"UID SEARCH", b"+ go on\r\n", BACKOFF),
    "tagged answer in IDLE": Misdeed(b"IDLE", b"X9 OK done\r\n", BACKOFF),
    # Goodbyes, at each state
    "goodbye as greeting": Misdeed(b"GREETING", b"* BYE BROKEN\r\n", BACKOFF, kick=True),
    "goodbye to CAPABILITY": Misdeed(b"CAPABILITY", b"* BYE no\r\n", BACKOFF, kick=True),
    "goodbye to LOGIN": Misdeed(b"LOGIN", b"* BYE no\r\n", BACKOFF, kick=True),
    "goodbye to EXAMINE": Misdeed(b"EXAMINE", b"* BYE no\r\n", BACKOFF),
    "goodbye to SEARCH": Misdeed(b"UID SEARCH", b"* BYE no\r\n", BACKOFF),
    "goodbye in a body": Misdeed(b"BODY", b"* BYE no\r\n", EITHER),
    "goodbye in IDLE": Misdeed(b"IDLE", b"* BYE no\r\n", EITHER),
    "PREAUTH": Misdeed(b"GREETING", b"* PREAUTH in\r\n", BACKOFF, kick=True),
    "a refused sign-in": Misdeed(b"LOGIN", b"TAG NO [AUTHENTICATIONFAILED] no\r\n", LOST, kick=True),
    "a referral": Misdeed(b"EXAMINE", b"TAG NO [REFERRAL imap://evil.example/] there\r\n", EITHER),
    # Numbers
    "UIDVALIDITY 0": Misdeed(b"EXAMINE", OPENED % b"0", BACKOFF),
    "UIDVALIDITY missing": Misdeed(b"EXAMINE", b"* 3 EXISTS\r\nTAG OK done\r\n", BACKOFF),
    "UIDVALIDITY of 30 digits": Misdeed(b"EXAMINE", OPENED % (b"9" * 30), BACKOFF),
    "UIDVALIDITY that changes in the session": Misdeed(
        b"UID SEARCH", b"* OK [UIDVALIDITY 8] v\r\n* SEARCH 1 2 3\r\nTAG OK done\r\n", BACKOFF
    ),
    "UIDs out of order": Misdeed(b"UID SEARCH", b"* SEARCH 3 1 2 3 3 1\r\nTAG OK done\r\n", CONNECTED),
    "UIDs that are none": Misdeed(b"UID SEARCH", b"* SEARCH 0 -1 99999999999 x\r\nTAG OK done\r\n", CONNECTED),
    "EXISTS without mail": Misdeed(b"UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n", CONNECTED),
    "EXISTS of 20 digits": Misdeed(b"UID SEARCH", b"* 99999999999999999999 EXISTS\r\nTAG OK done\r\n", CONNECTED),
    "sizes that lie": Misdeed(
        b"UID FETCH",
        b"* 1 FETCH (UID 1 RFC822.SIZE 1)\r\n* 2 FETCH (UID 2 RFC822.SIZE 99999999)\r\nTAG OK done\r\n",
        CONNECTED,
    ),
    # Bodies
    "NIL for a body": Misdeed(b"BODY", b"* 2 FETCH (UID 2 BODY[] NIL)\r\n", CONNECTED),
    "a body without its UID": Misdeed(b"BODY", b"* 2 FETCH (BODY[] {2}\r\nhi)\r\n", CONNECTED),
    "nothing for a body": Misdeed(b"BODY", b"", CONNECTED),
    "BAD to FETCH": Misdeed(b"UID FETCH", b"TAG BAD no\r\n", EITHER),
    "BAD to IDLE": Misdeed(b"IDLE", b"TAG BAD no\r\n", EITHER),
    # Capabilities and folders
    "capabilities that vanish": Misdeed(b"LOGIN", b"* CAPABILITY\r\nTAG OK done\r\n", EITHER, kick=True),
    "LOGINDISABLED after all": Misdeed(
        b"CAPABILITY", b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n", LOST, kick=True
    ),
    "folders with line ends": Misdeed(
        b"LIST", b'* LIST () "/" {10}\r\nA\r\nB "C" &x\r\n* LIST () "/" &AAA-\r\nTAG OK done\r\n', EITHER, kick=True
    ),
    "a thousand folders": Misdeed(
        b"LIST",
        b"".join(b'* LIST () "/" "F%d"\r\n' % n for n in range(9_000)) + b"TAG OK done\r\n",
        EITHER,
        kick=True,
    ),
    # Time
    "silence": Misdeed(b"UID SEARCH", silence, BACKOFF),
    "silence in a body": Misdeed(b"BODY", silence, BACKOFF),
    "an answer byte by byte": Misdeed(b"UID SEARCH", drip, BACKOFF),
}
"""Name -> what the server does."""

"""The grammar of envelopes: what is taken, what is refused, and that nothing else comes out."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, strategies as st

from gateway.smtp_grammar import (
    BAD_RECIPIENT,
    BAD_SENDER,
    HELO_SYNTAX,
    MAIL_SYNTAX,
    NOT_ASCII,
    PARAMETER,
    PARAMETER_SYNTAX,
    RCPT_SYNTAX,
    MailCommand,
    Reply,
    read_helo,
    read_mail,
    read_rcpt,
)

L64, L65 = "l" * 64, "l" * 65
D189 = ".".join(["d" * 63] * 3)[:189]

GOOD = [
    "a@b",
    "desk@far.example",
    "Desk.B+tag@Far.Example",
    "!#$%&'*+-/=?^_`{|}~@b.example",
    '"desk b"@far.example',
    '"a\\"b"@far.example',
    '"a@b"@far.example',
    '""@far.example',
    "u%o.example@d.example",
    "o.example!u@d.example",
    "u@[127.0.0.1]",
    "u@[IPv6:::1]",
    "u@[ipv6:2001:db8::1]",
    "u@1.2.example",
    f"{L64}@b.example",
    f"{L64}@{D189}",
]

BAD = [
    "u",
    "@b.example",
    "u@",
    "u@@b",
    "u@b.",
    "u@.b",
    "u@b..c",
    "u@-b",
    "u@b-",
    "u@b_c.example",
    ".u@b",
    "u.@b",
    "u..v@b",
    "u v@b",
    '"u@b',
    '"u"v@b',
    "u@[127.0.0.256]",
    "u@[::1]",
    "u@[IPv6:127.0.0.1]",
    "u@[x:y]",
    "u@[]",
    "u@b c",
    "<u@b>",
    "@r.example:u@o.example",
    "@r.example,@s.example:u@o.example",
    "u,v@b",
    "u;v@b",
    "u@b>,<v@c",
    f"{L65}@b.example",
    f"u@{'d' * 64}.example",
    f"{L64}@{D189}x",
    "u\x00@b",
    "u@b\x00",
    "a\rb@x",
    "a\nb@x",
    "u\x7f@b",
    "\t@b",
    '"\x01"@b',
]


@pytest.mark.parametrize("address", GOOD)
def test_addresses_that_are_taken(address: str) -> None:
    assert read_mail(f"FROM:<{address}>".encode()) == MailCommand(address)
    assert read_rcpt(f"TO:<{address}>".encode()) == address


@pytest.mark.parametrize("address", BAD)
def test_addresses_that_are_refused(address: str) -> None:
    assert isinstance(read_mail(f"FROM:<{address}>".encode()), Reply)
    assert isinstance(read_rcpt(f"TO:<{address}>".encode()), Reply)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"FROM:<>", MailCommand("")),
        (b"from:<a@b>", MailCommand("a@b")),
        (b"FROM: <a@b>", MailCommand("a@b")),
        (b"FROM:<a@b> ", MailCommand("a@b")),
        (b"FROM:<a@b> SIZE=1234", MailCommand("a@b", 1234)),
        (b"FROM:<a@b> size=1 body=8bitmime", MailCommand("a@b", 1)),
        (b"FROM:<a@b> BODY=7BIT", MailCommand("a@b")),
        (b"FROM:<> AUTH=<>", MailCommand("")),
        (b"FROM:<a@b> AUTH=a+3Db@c", MailCommand("a@b")),
        (b"FROM:a@b", MAIL_SYNTAX),
        (b"FROM:", MAIL_SYNTAX),
        (b"", MAIL_SYNTAX),
        (b"TO:<a@b>", MAIL_SYNTAX),
        (b"FROM:  <a@b>", MAIL_SYNTAX),
        (b"FROM:<a>", BAD_SENDER),
        (b"FROM:<a@b>SIZE=1", BAD_SENDER),
        (b"FROM:<a@b> SMTPUTF8", PARAMETER),
        (b"FROM:<a@b> RET=HDRS", PARAMETER),
        (b"FROM:<a@b> ENVID=1", PARAMETER),
        (b"FROM:<a@b> SIZE", PARAMETER_SYNTAX),
        (b"FROM:<a@b> SIZE=x", PARAMETER_SYNTAX),
        (b"FROM:<a@b> SIZE=-1", PARAMETER_SYNTAX),
        (b"FROM:<a@b> SIZE=1 SIZE=2", PARAMETER_SYNTAX),
        (b"FROM:<a@b> SIZE=" + b"9" * 21, PARAMETER_SYNTAX),
        (b"FROM:<a@b> BODY=BINARYMIME", PARAMETER_SYNTAX),
        (b"FROM:<a@b> =1", PARAMETER_SYNTAX),
        ("FROM:<ä@b>".encode(), NOT_ASCII),
        ("FROM:<a@bücher.example>".encode(), NOT_ASCII),
        ("FROM:<a@b> SIZE=1\u0661".encode(), NOT_ASCII),
    ],
)
def test_mail(argument: bytes, expected: MailCommand | Reply) -> None:
    assert read_mail(argument) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"to:<a@b>", "a@b"),
        (b"TO: <a@b>", "a@b"),
        (b"TO:<>", BAD_RECIPIENT),
        (b"TO:<postmaster>", BAD_RECIPIENT),
        (b"TO:<a@b> NOTIFY=NEVER", PARAMETER),
        (b"TO:<a@b> ORCPT=rfc822;a@b", PARAMETER),
        (b"TO:a@b", RCPT_SYNTAX),
        (b"FROM:<a@b>", RCPT_SYNTAX),
        ("TO:<а@b>".encode(), NOT_ASCII),
        (b"TO:<\xff@b>", NOT_ASCII),
    ],
)
def test_rcpt(argument: bytes, expected: str | Reply) -> None:
    assert read_rcpt(argument) == expected


@pytest.mark.parametrize("name", ["client.example", "[127.0.0.1]", "[IPv6:::1]", "PC_4711", "x" * 255])
def test_names_that_are_greeted(name: str) -> None:
    assert read_helo(name.encode()) == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "a(b)", "a;b", "ä", "a\0", "x" * 256, "<a>"])
def test_names_that_are_not(name: str) -> None:
    assert read_helo(name.encode()) == HELO_SYNTAX


_near = st.text(st.sampled_from('FROMTO:<>@"\\. ab1-[]IPv6=SIZEBODY,!%\r\n\t\0\x7fäß'), max_size=60).map(str.encode)
_SAFE = re.compile(r"[ -~]*")


@given(st.binary(max_size=1100) | _near | _near.map(lambda b: b"FROM:<" + b) | _near.map(lambda b: b"TO:<" + b))
@example(b"FROM:<" + b"a." * 500)
@example(b"TO:<" + b'"' * 1000)
@example(b"FROM:<a@" + b"a-" * 500 + b">")
def test_nothing_raises_and_no_control_byte_comes_through(argument: bytes) -> None:
    mail, rcpt, name = read_mail(argument), read_rcpt(argument), read_helo(argument)
    for text in (mail.sender if isinstance(mail, MailCommand) else "", rcpt, name):
        if isinstance(text, str):
            assert _SAFE.fullmatch(text)
            assert "<" not in text.partition('"')[0]
    for address in (mail.sender if isinstance(mail, MailCommand) else "", rcpt if isinstance(rcpt, str) else ""):
        if address:
            local, at, domain = address.rpartition("@")
            assert at
            assert len(local) <= 64
            assert len(domain) <= 255
            assert len(address) <= 254


@given(st.text(max_size=600))
def test_a_reply_is_one_line_whatever_it_says(text: str) -> None:
    line = Reply(550, "5.7.1", text).line()
    assert line.startswith(b"550 5.7.1 ")
    assert line.endswith(b"\r\n")
    assert len(line) <= 420
    assert re.fullmatch(rb"[ -~]*", line[:-2])

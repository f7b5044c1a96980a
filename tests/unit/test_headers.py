"""Headers: scanned from any bytes, written so that nothing can be injected."""

from __future__ import annotations

import codecs
import email
import email.policy
import email.utils

import pytest
from hypothesis import given, strategies as st

from pipeline.addresses import MAX_ADDRESSES, MAX_PIECES, Address, scan_addresses
from pipeline.header_writer import MAX_IDS, Encoded, compose, recheck, write_address, write_field, write_ids
from pipeline.headers import (
    CHARSETS,
    MAX_FIELD,
    MAX_FIELDS,
    MAX_REFERENCES,
    MAX_SECTION,
    Headers,
    date_header,
    decode_words,
    head_hash,
    parse_date,
)

SHAPES = {
    "crlf": (b"A: b\r\nC: d\r\n\r\nbody", ["a", "c"], b"body"),
    "lf": (b"A: b\nC: d\n\nbody", ["a", "c"], b"body"),
    "mixed": (b"A: b\nC: d\n\r\nbody", ["a", "c"], b"body"),
    "nothing": (b"", [], b""),
    "no header": (b"\r\nbody", [], b"body"),
    "no body": (b"A: b\r\nC: d\r\n", ["a", "c"], b""),
    "cut in a field": (b"A: b\r\nC: d", ["a", "c"], b""),
    "mbox line first": (b"From x Mon Sep 12 12:00:00 2026\nA: b\n\nbody", ["a"], b"body"),
    "padding first": (b"\0\0\0A: b\n\nbody", ["a"], b"body"),
    "byte order mark": (b"\xef\xbb\xbfA: b\n\nbody", ["a"], b"body"),
    "blank fold": (b"A: b\n \n\t\nC: d\n\nbody", ["a", "c"], b"body"),
    "space before the colon": (b"A : b\r\n\r\nbody", ["a"], b"body"),
    "blank lines in the body": (b"A: b\r\n\r\n\r\n\r\n", ["a"], b"\r\n\r\n"),
    "empty value": (b"A:\n\nbody", ["a"], b"body"),
}


@pytest.mark.parametrize("data, names, body", SHAPES.values(), ids=SHAPES)
def test_scan_finds_fields_and_body(data: bytes, names: list[str], body: bytes) -> None:
    headers = Headers.scan(data)
    assert [field.name for field in headers.fields] == names == list(headers.names)
    assert data[headers.end :] == body
    assert headers.degraded == ""
    for field in headers.fields:
        assert data[field.start : field.end].lower().startswith(field.name.encode())
        assert field.value in data[field.start : field.end]


DEGRADED = {
    "a line that is no field": (b"A: b\r\njunk\r\nAuto-Submitted: yes\r\n\r\n", "line 2"),
    "a section without end": (b"A: " + b"x" * (MAX_SECTION + 10), "longer than"),
    "a huge field": (b"A: " + b"x" * (MAX_FIELD + 1) + b"\r\n\r\n", "field is longer"),
    "many fields": (b"a:\n" * (MAX_FIELDS + 5) + b"\nbody", "more than"),
}


@pytest.mark.parametrize("data, reason", DEGRADED.values(), ids=DEGRADED)
def test_scan_says_why_it_cannot_be_relied_on(data: bytes, reason: str) -> None:
    assert reason in Headers.scan(data).degraded


def test_exactly_the_limits_are_fine() -> None:
    assert Headers.scan(b"a:\n" * (MAX_FIELDS - 1) + b"\nbody").degraded == ""
    assert Headers.scan(b"A:" + b"x" * MAX_FIELD + b"\n\nbody").degraded == ""


@given(st.binary(max_size=400))
def test_scan_never_raises(data: bytes) -> None:
    ask_everything(Headers.scan(data))


@given(st.lists(st.sampled_from(
    [b"From: ", b"To:", b"a@b", b"\r\n", b"\n", b" ", b"<", b">", b'"', b"(", b")", b",", b":", b";", b"\\",
     b"=?utf-8?q?", b"=?x?b?", b"?=", b"\xff", b"\xc3\xa4", b"\0", b"\r", b"Message-ID: <x@y>",
     b"Date: 1 Jan 2026 00:00", b"Return-Path:", b"References: <", b"Subject: "]), max_size=40))  # fmt: skip
def test_scan_never_raises_on_likely_pieces(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    headers = Headers.scan(data)
    ask_everything(headers)
    assert 0 <= headers.end <= len(data)


def ask_everything(headers: Headers) -> None:
    answers = [headers.subject, headers.message_id, headers.author, headers.return_path or "", *headers.references]
    answers += [value for name in headers.names for value in headers.all(name)]
    answers += [text for name in headers.names for address in headers.addresses(name) for text in address]
    for text in (*answers, *headers.recipients):
        text.encode("utf-8")
    for value in (value for name in headers.names for value in headers.all(name)):
        assert "\r" not in value and "\n" not in value
    assert headers.date is not None and len(head_hash(headers)) == 16 and headers.fields is not None


def test_values_are_unfolded_and_decoded() -> None:
    headers = Headers.scan("A: one\r\n\ttwo \r\nA: ü\r\nB: x\ry\r\n".encode() + b"C: \xfc\r\n\r\n")
    assert headers.all("a") == ["one\ttwo", "ü"]
    assert headers.first("b") == "x y"
    assert headers.first("c") == "ü"
    assert headers.first("d") == "" and headers.all("d") == [] and "d" not in headers
    assert headers.count("a") == 2


def test_what_a_mail_says_of_itself() -> None:
    data = (
        "Return-Path: <Buyer@Example.ORG>\r\nReturn-Path: <>\r\nFrom: =?utf-8?q?Al=C3=AFce?= <Buyer@Example.ORG>\r\n"
        'To: "Shop, Support" <support@shop.example>, a@x.example\r\nCc: team: A@x.example, b@x.example;\r\n'
        "Subject: =?utf-8?B?R3LDvMOf?=\r\n =?utf-8?Q?e?= 12\r\nMessage-ID: <1@example.org> (x)\r\n"
        "References: <a@x>\r\n <b@x>\r\nIn-Reply-To: Your mail <c@x> <a@x>\r\n"
        "Date: Fri, 15 Jan 2027 09:00:00 +0100\r\n\r\n"
    )
    headers = Headers.scan(data.encode())
    assert headers.author == "buyer@example.org"
    assert headers.addresses("from") == (Address("Alïce", "Buyer@Example.ORG"),)
    assert headers.recipients == ("support@shop.example", "a@x.example", "b@x.example")
    assert headers.addresses("to")[0].display == "Shop, Support"
    assert headers.subject == "Grüße 12"
    assert headers.message_id == "<1@example.org>"
    assert headers.references == ("<a@x>", "<b@x>", "<c@x>")
    assert headers.return_path == "Buyer@Example.ORG"
    assert headers.date == 1_800_000_000.0


@pytest.mark.parametrize(
    "field, path",
    [("X: y", None), ("Return-Path: <>", ""), ("Return-Path: a@b.example", "a@b.example"), ("Return-Path: <a", "")],
)
def test_return_path(field: str, path: str | None) -> None:
    assert Headers.scan(f"{field}\r\n\r\n".encode()).return_path == path


@pytest.mark.parametrize(
    "section",
    ["", "From: a@x.example\r\nFrom: b@x.example", "From: a@x.example, b@x.example", "From: a@x.example (",
     "From: root", "From: us: a@x.example;", "From: a@x.example)b@y.example", "From: a@x.example <b@y.example>"],
)  # fmt: skip
def test_no_author_where_there_is_any_doubt(section: str) -> None:
    assert Headers.scan(f"{section}\r\n\r\n".encode()).author == ""


def test_many_references_keep_the_latest() -> None:
    ids = [f"<{number}@x>" for number in range(300)]
    found = Headers.scan(f"References: {' '.join(ids)}\r\n\r\n".encode()).references
    assert found == tuple(ids[-MAX_REFERENCES:])


ADDRESSES = {
    "a@b.example": ["a@b.example"],
    "a@b.example, C <c@d.example>": ["a@b.example", "c@d.example"],
    "x: a@b.example, c@d.example;, e@f.example": ["a@b.example", "c@d.example", "e@f.example"],
    "undisclosed-recipients:;": [],
    '"a, b" (c) <x@y.example>': ["x@y.example"],
    "x@y.example (Al (x) i)": ["x@y.example"],
    "x@y.example <X@y.example>": ["X@y.example"],
    '"quoted local"@x.example': ['"quoted local"@x.example'],
    "=?utf-8?q?a=40b.c?= <x@y.example>": ["x@y.example"],
    "ü@bücher.example": ["ü@bücher.example"],
    "x@[192.0.2.1]": ["x@[192.0.2.1]"],
    ",, a@b.example ,,": ["a@b.example"],
}
DOUBTFUL = [
    "buyer@example.org)ops@evil.example", "buyer@example.org <ops@evil.example>", "<a@b><c@d>", "<a@b>c@d", "a@b c@d",
    "a@b@c", "<@r:u@d>", "a(x)@b", "a@(x)b", "a@b(x)c", "x <a@b", "a@", "@b", "<", '"', "((((", "root", "a b@c", "<a@b",
    "a@b\\", "a@b>", "a@.b", "a@b..c", "a\x00b@c", "a@" + "b" * 400, '"' * 5000, "(" * 5000, "<" * 5000, "a@b:c@d",
]  # fmt: skip


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses(text: str) -> None:
    found = scan_addresses(text)
    assert [one.address for one in found.found] == ADDRESSES[text] and found.doubt == ""


@pytest.mark.parametrize("text", DOUBTFUL, ids=lambda text: text[:20])
def test_no_address_where_two_readers_could_differ(text: str) -> None:
    found = scan_addresses(text)
    assert found.found == () and found.doubt


def test_a_doubtful_entry_spoils_only_itself() -> None:
    found = scan_addresses("a@b.example, c@d)e, f@g.example")
    assert [one.address for one in found.found] == ["a@b.example", "f@g.example"] and found.doubt


def test_addresses_are_bounded() -> None:
    assert len(scan_addresses("a@b," * 5000).found) == MAX_ADDRESSES
    for text in (":;" * 30_000, "<" * 30_000, "," * 30_000, "a@" * 30_000):
        assert scan_addresses(text).doubt
    names = ",".join(f'"n" <u{n}@b.example>' for n in range(MAX_ADDRESSES))
    assert (len(scan_addresses(names).found), scan_addresses(names).doubt) == (MAX_ADDRESSES, "")
    behind = "a@b.example" + ", " * MAX_PIECES + "c@d.example"
    assert scan_addresses(behind).doubt == "too many brackets and commas"


WORDS = {
    "plain": "plain",
    "=?utf-8?B?w6Q=?= =?utf-8?b?w6Q=?=": "ää",
    "=?utf-8?q?=C3?=\t=?utf-8?q?=A4?=": "ä",
    "a =?x-unknown?q?=E4?= b": "a ä b",
    "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=": "日本",
    "=?idna?q?x?= =?unicode_escape?q?=5Cx41?=": "x\\x41",
    "x=?utf-8?q?a_b?=y": "xa by",
    "=?utf-8?b?w?=": "w",
    "=?utf-8*en?q?a?=": "a",
    "=?utf-8?q?hi=0aBcc=3a_evil=40x=2ey?=": "hi\nBcc: evil@x.y",
    "=?utf-8?x?no?=": "=?utf-8?x?no?=",
}


@pytest.mark.parametrize("text", WORDS)
def test_encoded_words(text: str) -> None:
    assert decode_words(text) == WORDS[text]


def test_every_charset_is_one_that_python_has() -> None:
    for codec in CHARSETS.values():
        assert codecs.lookup(codec)._is_text_encoding


@given(st.integers(min_value=-2_000_000_000, max_value=2**34))
def test_dates_there_and_back(epoch: int) -> None:
    written = date_header(epoch)
    assert parse_date(written) == epoch
    assert written == email.utils.formatdate(epoch).replace("-0000", "+0000")


@pytest.mark.parametrize(
    "text, epoch",
    [("15 Jan 27 08:00 GMT", 1_800_000_000.0), ("Fri, 15 Jan 2027 03:00:00 EST", 1_800_000_000.0), ("", 0.0),
     ("Fri, 15 Jan 2027 08:00:00 +0000 (UTC)", 1_800_000_000.0), ("99 Jan 2027 08:00:00", 0.0), ("yesterday", 0.0),
     ("15 Foo 2027 08:00:00", 0.0), ("15-Jan-2027 08:00:00 -0000", 1_800_000_000.0)],
)  # fmt: skip
def test_dates_as_people_write_them(text: str, epoch: float) -> None:
    assert parse_date(text) == epoch


def test_head_hash_looks_at_four_fields_and_not_at_folds() -> None:
    one = Headers.scan(b"X: 1\r\nMessage-ID: <a@b>\r\nSubject: a b\r\nFrom: a@b\r\n\r\n")
    two = Headers.scan(b"From: a@b\nSubject: a\n b\nMessage-ID: <a@b>\nX: 2\n\n")
    three = Headers.scan(b"From: a@b\nSubject: a b c\nMessage-ID: <a@b>\n\n")
    assert head_hash(one) == head_hash(two) != head_hash(three)


ANY_TEXT = st.text(st.characters(codec=None), max_size=300) | st.sampled_from(
    ["hi\nBcc: evil@x.example", "a\r\n\r\nbody", "=?utf-8?q?hi=0aBcc=3a_evil?=", "x\x85Bcc: y", "x\u2028Bcc: y",
     "\udcff", "", " " * 200, "x" * 2000, "\0", "a \r b", "\x1cBcc: y", "ä" * 500, "a " * 500]
)  # fmt: skip


@given(ANY_TEXT, ANY_TEXT)
def test_no_value_adds_a_field(value: str, other: str) -> None:
    fields = [("Subject", value), ("X-Other", other), ("From", write_address(value, "a@b.example"))]
    data = compose(fields, other)
    names = ["subject", "x-other", "from", "mime-version", "content-type", "content-transfer-encoding"]
    assert [field.name for field in Headers.scan(data).fields] == names
    assert [name.lower() for name in email.message_from_bytes(data)] == names
    section = data[: Headers.scan(data).end]
    assert section.isascii() and all(len(line) <= 998 for line in section.split(b"\r\n"))
    assert section.count(b"\n") == section.count(b"\r") == section.count(b"\r\n")
    assert Headers.scan(data).author == "a@b.example"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), max_size=300))
def test_text_comes_back(value: str) -> None:
    assert Headers.scan(write_field("Subject", value) + b"\r\n").subject == value
    assert scan_addresses(str(write_address(value[:50], "a@b.example")), decode_words).found == (
        Address(value[:50], "a@b.example"),
    )


def test_lines_are_folded() -> None:
    lines = write_field("Subject", "word " * 60).split(b"\r\n")
    assert len(lines) > 4 and all(len(line) <= 78 for line in lines)
    assert all(len(line) <= 78 for line in write_field("Subject", "wörd " * 60).split(b"\r\n"))


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", "a\r\nb", "x" * 100])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        write_field(name, "x")


@pytest.mark.parametrize("value", ["a\r\nB: c", "ä", "x" * 2000, "a\x00"])
def test_a_bad_ready_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        write_field("X", Encoded(value))


@pytest.mark.parametrize("address", ["", "a", "a@b\r\nBcc: c@d", "a@b, c@d", "ä@b.example", "a b@c"])
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        write_address("x", address)


def test_an_international_domain_is_written_in_ascii() -> None:
    assert write_address("", "a@bücher.example") == "a@xn--bcher-kva.example"


def test_references_stay_whole_and_few() -> None:
    long = f"<{'x' * 80}@mail.example>"
    ids = [long, *(f"<{number}@x>" for number in range(50)), "<no id>", "nothing", "<a@b>\r\nBcc: c"]
    written = write_field("References", write_ids(ids))
    assert Headers.scan(written + b"\r\n").references == (long, *(f"<{number}@x>" for number in range(31, 50)))
    assert len(Headers.scan(written + b"\r\n").references) == MAX_IDS


BODIES = {
    "ascii": ("Hello\n\n.\nFrom me\n", "7bit"),
    "umlauts": ("Grüße, hier ist ein Text.\n", "quoted-printable"),
    "kanji": ("日本語のメールです\n" * 5, "base64"),
    "long lines": ("word " * 400, "quoted-printable"),
    "no end": ("Hello", "7bit"),
    "mixed line ends": ("a\rb\r\nc\nd", "7bit"),
    "control": ("a\x00b\x1b[2J", "quoted-printable"),
    "trailing space": ("äöü \n\t\n", "quoted-printable"),
}


@pytest.mark.parametrize("text, encoding", BODIES.values(), ids=BODIES)
def test_a_composed_body_comes_back(text: str, encoding: str) -> None:
    data = compose([("Subject", "x")], text)
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert message["content-transfer-encoding"] == encoding
    assert all(len(line) <= 998 for line in data.split(b"\r\n")) and data.count(b"\n") == data.count(b"\r\n")
    got = message.get_payload(decode=True)
    assert isinstance(got, bytes)
    wanted = text.replace("\r\n", "\n").replace("\r", "\n")
    assert got.decode().replace("\r\n", "\n").rstrip("\n") == wanted.rstrip("\n")


def test_recheck_wants_exactly_what_was_meant() -> None:
    recheck(b"From: a@b\r\nTo: c@d\r\n\r\nbody", ["From", "To", "Cc"])
    for data in (
        b"From: a@b\r\nBcc: c@d\r\n\r\n",
        b"From: a@b\r\nFrom: c@d\r\n\r\n",
        b"From: a@b\n\r\n",
        b"From: a\rBcc: b\r\n\r\n",
        b"From: a\0\r\n\r\n",
        b"From: a\r\njunk\r\n\r\n",
    ):
        with pytest.raises(ValueError):
            recheck(data, ["From", "To"])

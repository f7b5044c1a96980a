"""A mail as people read it: the right text, every charset, what else is in it; hostile bytes do nothing."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from gateway import control
from gateway.control import LONGEST_LINE, ReadText, Role
from pipeline import reading
from pipeline.errors import Refused
from pipeline.reading import LOOKED_AT, MOST_FIELDS, MOST_PARTS, MOST_TEXT, MOST_VALUE, Reading, Source, read
from pipeline.simplify import simplified, unescaped
from pipeline.verdict import Action, HoldCause
from tests.unit.desking import Office, an_office, caller
from tests.unit.making import a_content, a_mail, a_page, an_outcome, taken


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


def text_of(markup: str) -> str:
    return simplified(markup, MOST_TEXT)


def mail(headers: str, body: bytes | str = b"") -> Reading:
    raw = body.encode() if isinstance(body, str) else body
    return read(headers.encode() + b"\n\n" + raw, whole=True)


def multipart(kind: str, boundary: str, *parts: str) -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{inner}--{boundary}--"


def part(kind: str, body: str, *headers: str) -> str:
    return "\n".join((f"Content-Type: {kind}", *headers, "", body))


# -- Headers -------------------------------------------------------------------------------------------------------


def test_headers_are_decoded_in_their_order() -> None:
    found = mail(
        "Received: one\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n =?utf-8?q?_aus?= Wien\nX-ODD: \xfc\nReceived: two"
    )
    assert found.fields == (
        ("Received", "one"),
        ("Subject", "Grüße aus Wien"),
        ("X-ODD", "ü"),
        ("Received", "two"),
    )


def test_headers_are_bounded() -> None:
    found = mail("\n".join(f"A{n}: {'x' * n * 11}" for n in range(210)))
    assert len(found.fields) == MOST_FIELDS
    assert max(len(value) for _, value in found.fields) == MOST_VALUE
    assert found.fields[MOST_FIELDS - 1][1].endswith("x…")
    assert len(mail("B" * 5000 + ": x").fields[0][0]) == reading.MOST_NAME


# -- The text ------------------------------------------------------------------------------------------------------

PLAIN, HTML = part("text/plain", "words"), part("text/html", "<p>markup")
FILE = part("text/plain", "a log", "Content-Disposition: attachment; filename=a.log")


@pytest.mark.parametrize(
    ("content", "text", "source"),
    [
        (PLAIN, "words", Source.PLAIN),
        (HTML, "markup", Source.HTML),
        ("Subject: x\n\nno type", "no type", Source.PLAIN),
        (multipart("alternative", "b", PLAIN, HTML), "words", Source.PLAIN),
        (multipart("alternative", "b", HTML, PLAIN), "words", Source.PLAIN),
        (multipart("alternative", "b", multipart("related", "c", HTML), PLAIN), "words", Source.PLAIN),
        (multipart("alternative", "b", part("text/plain", " \n"), HTML), "markup", Source.HTML),
        (multipart("mixed", "b", HTML, part("text/plain", "footer of a list")), "markup", Source.HTML),
        (multipart("mixed", "b", FILE, multipart("alternative", "c", PLAIN, HTML)), "words", Source.PLAIN),
        (multipart("mixed", "b", part("image/png", "x"), PLAIN, HTML), "words", Source.PLAIN),
        (multipart("mixed", "b", part("message/rfc822", PLAIN)), "", Source.NONE),
        (FILE, "", Source.NONE),
        (part("image/png", "x"), "", Source.NONE),
        (part("text/plain", ""), "", Source.PLAIN),
        ("Content-Type: multipart/mixed\n\n--b\n\nx", "", Source.NONE),
    ],
)
def test_which_part_is_the_text(content: str, text: str, source: Source) -> None:
    found = read(content.encode(), whole=True)
    assert (found.text.strip(), found.source, found.cut) == (text, source, False)


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("utf-8", "Grüße".encode(), "Grüße"),
        ("iso-8859-1", b"Gr\xfc\xdfe", "Grüße"),
        ("windows-1252", b"\x80 5", "€ 5"),
        ("iso-2022-jp", "日本".encode("iso-2022-jp"), "日本"),
        ("gb2312", "中文".encode("gb2312"), "中文"),
        ("utf-8", b"a\xffb", "a\N{REPLACEMENT CHARACTER}b"),
        ("no-such-charset", b"Gr\xfc\xdfe", "Grüße"),
        ("rot13", b"abc", "abc"),
        ("us-ascii", "Grüße".encode(), "Grüße"),
        ("us-ascii", b"Gr\xfc\xdfe", "Grüße"),
        ("us-ascii", "Grü".encode()[:-1], "Gr"),
    ],
)
def test_charsets(charset: str, body: bytes, text: str) -> None:
    assert mail(f"Content-Type: text/plain; charset={charset}", body).text == text


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("quoted-printable", b"a=\r\nb =C3=BC=\r\n", "ab ü"),
        ("base64", base64.encodebytes("Hellö\n".encode()) + b"-- \nfooter", "Hellö\n"),
        ("8bit", b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        ("x-unknown", b"as it is", "as it is"),
    ],
)
def test_transfer_encodings(encoding: str, body: bytes, text: str) -> None:
    assert mail(f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {encoding}", body).text == text


def test_a_long_text_is_cut() -> None:
    found = mail("Content-Type: text/plain", "é" * (MOST_TEXT + 1))
    assert (len(found.text), found.cut) == (MOST_TEXT, True)
    found = mail("Content-Type: text/plain", "é" * MOST_TEXT)
    assert (len(found.text), found.cut) == (MOST_TEXT, False)
    found = mail("Content-Type: text/html", "<b>é" * (MOST_TEXT + 1))
    assert (len(found.text), found.cut) == (MOST_TEXT, True)


def test_a_text_behind_what_is_looked_at_is_said_to_be_cut() -> None:
    head = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\n"
    content = head.encode() + b"x" * LOOKED_AT + b"\n--b\n\nthe text\n--b--\n"
    for found in (read(content, whole=True), read(content[:LOOKED_AT], whole=False)):
        assert (found.text, found.source, found.cut) == ("", Source.NONE, True)
        assert [each.size for each in found.parts] == [LOOKED_AT - len(head)]
    short = read(b"Content-Type: text/html\n\n<p>begun", whole=False)
    assert (short.text, short.cut) == ("begun", True)


# -- What else is in it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ("Content-Disposition: attachment; filename=a.pdf", "a.pdf"),
        ('Content-Disposition: inline; filename="a \\"b\\".pdf"', 'a "b".pdf'),
        ("Content-Disposition: attachment; filename*=utf-8'de'%e2%82%ac%20rates.pdf", "€ rates.pdf"),
        ("Content-Disposition: attachment; filename*=iso-8859-1''%A3.pdf", "£.pdf"),
        ("Content-Disposition: attachment; filename*=no'%zz", "no'%zz"),
        ("Content-Disposition: attachment; filename*0=long; filename*1=name; filename*2*=%2Epdf", "longname.pdf"),
        ("Content-Disposition: attachment; filename*1=lost", ""),
        ('Content-Disposition: attachment; filename="=?utf-8?q?=E2=82=AC?="', "€"),
        ("Content-Disposition: attachment; filename=" + "x" * 400, "x" * 254 + "…"),
        ("Content-Disposition: attachment", "type.bin"),
    ],
)
def test_names_of_files(headers: str, name: str) -> None:
    given_name = "; name=type.bin" if name == "type.bin" else ""
    found = mail(f"Content-Type: application/pdf{given_name}\n{headers}", "12345")
    assert [(each.name, each.type, each.size) for each in found.parts] == [(name, "application/pdf", 5)]


def test_other_parts_are_listed_and_bounded() -> None:
    content = multipart("mixed", "b", multipart("alternative", "c", PLAIN, HTML), part("image/png", "12345"))
    found = read(content.encode(), whole=True)
    assert [(each.type, each.size) for each in found.parts] == [("text/html", 9), ("image/png", 5)]
    many = multipart("mixed", "b", PLAIN, *[part("image/png", "x")] * 150)
    assert len(read(many.encode(), whole=True).parts) == MOST_PARTS


# -- HTML ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<div>one</div><div>two<br>three</div>", "one\ntwo\nthree"),
        ("<div>one</div><div><br></div><div>two</div>", "one\n\ntwo"),
        ("one<br><br><br>two", "one\n\ntwo"),
        ("<ul><li>one</li><li>two</li></ul>three", "- one\n- two\n\nthree"),
        ("<table><tr><td>a<td>b</tr><tr><td>c</table>", "a b\nc"),
        ("a<b>b</b> <i>c</i>\n\t d", "ab c d"),
        ("<pre>a\r\n  b</pre>", "a\n  b"),
        ("&lt;b&gt; &amp;amp; &nbsp; &euro;&#8364;&#x20AC; &copy &nosuch;", "<b> &amp; €€€ © &nosuch;"),
        ("<head><meta x><title>t</title>stray</head><body>seen", "seen"),
        ("<head><title>t</title><body>seen", "seen"),
        ("<head>never closed", "never closed"),
        ("<style>p {}</style><script>if (a<b) '</p>'</script>seen<!-- <p>not --> too", "seen too"),
        ("seen<!-- never closed", "seen"),
        ("seen<script>never closed", "seen"),
        ("<!DOCTYPE html><?xml?><![if x]>seen<![endif]>", "seen"),
        ('<img alt="a > b" src=x>seen', "seen"),
        ("<p title=it's>one</p>two", "one\n\ntwo"),
        ("1 < 2 <3 and a<", "1 < 2 <3 and a<"),
        ("soft\u00adhyphen\u200b &zwnj;&nbsp;&zwnj;&nbsp;x", "softhyphen x"),
        ("</p></pre></a></nosuch>x", "x"),
        ("", ""),
    ],
)
def test_html_becomes_text(markup: str, text: str) -> None:
    assert text_of(markup) == text


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ('<a href="https://shop.example/a?b=c#d">here</a>.', "here [shop.example]."),
        ("<a class=x href=http://shop.example:8080/ >here</a>", "here [shop.example]"),
        ("<a href='https://evil.example/'>https://bank.example/login</a>", "https://bank.example/login [evil.example]"),
        ("<a href='https://bank.example@evil.example/'>here</a>", "here [evil.example]"),
        ("<a href='https:\\\\evil.example\\bank.example'>here</a>", "here [evil.example]"),
        ("<a href=' ht\ntps://ev\til.example'>here</a>", "here [evil.example]"),
        ("<a href='https&#58;//evil.example'>here</a>", "here [evil.example]"),
        ("<a title=' href=https://bank.example' href='https://evil.example'>x</a>", "x [evil.example]"),
        ("<a href='https://evil.example' href='https://bank.example'>x</a>", "x [evil.example]"),
        ("<a href='https://bank.example/login'>https://bank.example/</a>", "https://bank.example/"),
        ("<a href='https://bank.example/login'>Bank.example</a>", "Bank.example"),
        ("<a href='https://e.example'>bank.example or e.example</a>", "bank.example or e.example [e.example]"),
        ("<a href='mailto:desk@shop.example?subject=x'>us</a>", "us [desk@shop.example]"),
        ("<a href='mailto:desk@shop.example'>desk@shop.example</a>", "desk@shop.example"),
        ("<a href='https://shop.example'><img></a>", "[shop.example]"),
        ("<a href='https://a.example'>one<a href='https://b.example'>two", "one [a.example]two [b.example]"),
        ("<a href='javascript:alert(1)'>x</a> <a href='#top'>y</a> <a name=z>z</a>", "x y z"),
    ],
)
def test_links_say_where_they_lead(link: str, text: str) -> None:
    assert text_of(link) == text


def test_entities_are_decoded_whatever_their_number() -> None:
    assert unescaped("&#" + "1" * 5000 + ";")  # the library's own function raises
    assert "\ud800" not in unescaped("&#xD800;&#55296;")


# -- Hostile bytes -------------------------------------------------------------------------------------------------

N = 400_000
HOSTILE_MARKUP = {
    "comments": "<!--" * (N // 4),
    "quoted values": "<a href='" * (N // 9),
    "both quotes": """<a"'""" * (N // 4),
    "quotes in turn": """<a '<b "x' y" """ * (N // 14),
    "opening brackets": "<" * N,
    "names": "<a" * (N // 2),
    "spaces in a tag": "<a" + " " * N,
    "unclosed value": '<a x="' + "<b>" * (N // 3),
    "heads": "<head>" * (N // 6),
    "scripts": "<script>" * (N // 8),
    "closed scripts": "<script></script>" * (N // 17),
    "one attribute": "<a " + "x" * N + ">",
    "attributes": ("<a " + "x=y " * 1000 + ">") * (N // 4000),
    "links": "<a href=http://x.example>y" * (N // 26),
    "a link around all": "<a href=http://x.example>" + "y<b>" * (N // 4),
    "users in a link": '<a href="http://' + "a@" * (N // 2) + '">x',
    "ampersands": "&" * N,
    "digits": "&#" + "1" * N,
    "divs": "<div>" * (N // 5),
    "pres": "<pre>" * (N // 5),
    "spaces": " " * N,
}


@contextmanager
def bounded() -> Iterator[None]:
    """Give up after processor time that only work which grows faster than its input can take."""

    def give_up(*_: object) -> None:
        raise AssertionError("the work grows faster than the input")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("markup", HOSTILE_MARKUP.values(), ids=HOSTILE_MARKUP)
def test_hostile_markup_is_simplified_within_its_bounds(markup: str) -> None:
    with bounded():
        assert len(text_of(markup)) <= N


MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"
NEST = b"".join(b"--%d\nContent-Type: multipart/mixed; boundary=%d\n\n" % (n, n + 1) for n in range(1, 10_000))
HOSTILE_MAIL = {
    "a million boundaries": MIXED + b"--b\n" * 1_000_000,
    "boundaries of nobody": MIXED + b"--c\n" * 130_000,
    "nesting": b"Content-Type: multipart/mixed; boundary=1\n\n" + NEST,
    "base64 garbage": b"Content-Transfer-Encoding: base64\n\n" + bytes(range(256)) * 2048,
    "base64 padding": b"Content-Transfer-Encoding: base64\n\n" + b"=" * LOOKED_AT,
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=" * LOOKED_AT,
    "many texts": MIXED + b"--b\nContent-Type: text/html\n\n<p>\n" * 15_000,
    "fields": b"A: =?utf-8?b?AAAA?=\n" * 30_000,
    "folds": b"A:" + b"\n x" * 150_000,
    "parameters": b"Content-Type: text/plain" + b'; a="' * 12_000 + b"\n\nx",
    "no header": b"\xff" * LOOKED_AT,
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE_MAIL.values(), ids=HOSTILE_MAIL)
@pytest.mark.parametrize("whole", [True, False])
def test_hostile_mail_is_read_within_its_bounds(content: bytes, whole: bool) -> None:
    with bounded():
        check(read(content, whole=whole))


def check(found: Reading) -> None:
    assert len(found.text) <= MOST_TEXT
    assert len(found.fields) <= MOST_FIELDS
    assert len(found.parts) <= MOST_PARTS
    assert all(len(name) <= reading.MOST_NAME and len(value) <= MOST_VALUE for name, value in found.fields)
    assert all(each.size >= 0 and len(each.name) <= reading.MOST_FILE_NAME for each in found.parts)
    json.dumps([found.text, found.fields, [each.name for each in found.parts]], ensure_ascii=False).encode()


def test_no_more_is_decoded_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts do not overlap, so that each byte is decoded once however many parts there are."""
    real: Callable[..., bytes] = reading.decoded
    seen: list[int] = []

    def decoded(opening: bytes, part: reading.Part, limit: int) -> bytes:
        seen.append((len(opening) if part.end is None else part.end) - part.body)
        return real(opening, part, limit)

    monkeypatch.setattr(reading, "decoded", decoded)
    content = HOSTILE_MAIL["many texts"]
    read(content, whole=True)
    assert len(seen) > 500
    assert sum(seen) <= len(content)


PIECES = [
    b"--b\n", b"--b--\n", b"--c\n", b"\n", b"\r\n", b"\xff", b"\x00", b"x", MIXED, b"=", b"&#", b"&lt;", b"<", b">",
    b"Content-Type: text/html; charset=utf-8\n", b"Content-Type: multipart/alternative; boundary=c\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n", b"Subject: =?utf-8?q?",
    b"Content-Disposition: attachment; filename*0*=utf-8''%ff; filename*1=\"\n", b"<a href='https://x.example'>",
    b"<!--", b"-->", b"<script>", b"</script>", b"<head>", b"<pre>", b"<li>", b"</a>", b"\x1b$B", b"?=", b"'",
    b"; name*=x'y'%",
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=40), st.booleans())
def test_reading_never_raises(pieces: list[bytes], whole: bool) -> None:
    check(read(b"".join(pieces), whole=whole))


@given(st.lists(st.one_of(st.sampled_from([each.decode("latin-1") for each in PIECES]), st.text(max_size=6))))
def test_simplifying_never_raises_and_shows_no_more_than_there_is(pieces: list[str]) -> None:
    markup = "".join(pieces)
    text = text_of(markup)
    assert len(text) <= len(markup)
    text.encode()


# -- The desk ------------------------------------------------------------------------------------------------------


async def take(office: Office, content: bytes) -> int:
    outcome = an_outcome(a_mail(1, data=content))
    return (await office.room.spool.accept(a_page([taken(1, outcome, content)])))[0].entry_id


async def test_a_mail_is_read_through_the_desk(office: Office) -> None:
    body = multipart("mixed", "b", part("text/plain", "Dear desk,"), part("image/png", "123")).partition("\n\n")
    content = a_content(1, headers=[body[0]], body=body[2].encode())
    found = await office.desk.answer(ReadText(id=await take(office, content)), caller(Role.AGENT))
    assert (found.text, found.source, found.cut) == ("Dear desk,", "plain", False)
    assert {header.name: header.value for header in found.headers}["Subject"] == "Question 1"
    assert [(each.type, each.size) for each in found.parts] == [("image/png", 3)]


async def test_agents_read_queued_mail_only(office: Office) -> None:
    held = await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    for number in (held, await office.room.relay(3)):
        assert (await office.desk.answer(ReadText(id=number), caller(Role.AUDIT))).text == "Hello.\n"
        with pytest.raises(Refused, match="no mail"):
            await office.desk.answer(ReadText(id=number), caller(Role.AGENT))


async def test_the_end_of_a_long_mail_is_not_looked_at(office: Office) -> None:
    content = a_content(1, headers=["Content-Type: text/html"], body=b"<p>" * LOOKED_AT + b"the end")
    found = await office.desk.answer(ReadText(id=await take(office, content)), caller(Role.OPS))
    assert (found.text, found.source, found.cut) == ("", "html", True)


async def test_the_worst_mail_fits_on_a_line(office: Office) -> None:
    """Control characters take six bytes each on the wire; here they are everywhere."""
    control_characters = "\x01" * 250
    fields = [f"{'X' * 90}-{n}: {control_characters * 4}" for n in range(230)]
    name = "".join("%01" for _ in range(300))
    parts = [
        part(f"a{'b' * 79}/{'c' * 80}", "x", f"Content-Disposition: attachment; filename*={name}") for _ in range(120)
    ]
    kind, _, body = multipart("mixed", "b", part("text/plain", "\x01" * MOST_TEXT), *parts).partition("\n\n")
    content = a_content(1, headers=[kind, *fields], body=body.encode())
    found = await office.desk.answer(ReadText(id=await take(office, content)), caller(Role.OPS))
    line = control.reply_line(1, found)
    assert (len(found.headers), len(found.parts), len(found.text)) == (MOST_FIELDS, MOST_PARTS, MOST_TEXT)
    assert 800_000 < len(line) <= LONGEST_LINE
    assert found.headers[-1].value == "…"
    assert found.headers[0].value.startswith("Customer")

"""The signature stage: in the right place, once, in any encoding; everything else equal byte for byte."""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
import quopri

import pytest
from hypothesis import given, strategies as st

from pipeline.mail import OPENING, Direction, RelayUser
from pipeline.quote import own_html_end, own_text_end, visible_text
from pipeline.splice import apply, ordered
from pipeline.touchpoint import Signature
from pipeline.verdict import Rewrite, Verdict
from stages.signature import SignatureStage
from tests.unit.deciding import OURS, a_context, decide_mail, outbound

TEXT = "Your shop\nphone 12345"
UMLAUT = "Dein Bücherladen\nTelefon 12345"
SIGNER = RelayUser(id=1, name="crm", signature=True)
HEAD = f"From: {OURS}\r\nTo: buyer@example.org\r\nSubject: Re: A question\r\nMIME-Version: 1.0\r\n"


async def sign(data: bytes, text: str = TEXT, html: str = "", **signature: object) -> tuple[Verdict, bytes]:
    """The verdict, and the mail as it goes out."""
    context = a_context(signature=Signature(active=True, text=text, html=html))
    verdict = await SignatureStage()(outbound(data, relay_user=SIGNER), context)
    (effect,) = verdict.effects or (Rewrite(splices=()),)
    assert isinstance(effect, Rewrite)
    for splice in effect.splices:
        assert splice.offset + splice.length <= len(data)
    return verdict, apply(data, ordered(effect.splices))


def one(body: str | bytes, kind: str = "text/plain", encoding: str = "7bit", **more: str) -> bytes:
    """A mail of one part, body lines ending in LF."""
    head = HEAD + f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    octets = body if isinstance(body, bytes) else body.replace("\n", "\r\n").encode()
    return (head + "".join(f"{name}: {value}\r\n" for name, value in more.items()) + "\r\n").encode() + octets


def text_of(data: bytes, kind: str = "text/plain") -> str:
    """The text of the first part of this type, as the standard library reads it, lines ending in LF."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    part = next(part for part in message.walk() if part.get_content_type() == kind)
    assert not part.defects
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode(part.get_content_charset("ascii")).replace("\r\n", "\n")


PLACES: dict[str, tuple[str, str]] = {
    "alone": ("Hello\n", f"Hello\n\n{TEXT}\n"),
    "without a line end": ("Hello", f"Hello\n\n{TEXT}"),
    "blank lines behind": ("Hello\n\n\n", f"Hello\n\n{TEXT}\n\n\n"),
    "empty": ("", TEXT),
    "above >": ("Hello\n\n> old\n> words\n", f"Hello\n\n{TEXT}\n\n> old\n> words\n"),
    "above an attribution": (
        "Hello\n\nOn 1 Jan 2027, Buyer wrote:\n> old\n",
        f"Hello\n\n{TEXT}\n\nOn 1 Jan 2027, Buyer wrote:\n> old\n",
    ),
    "above one on two lines": (
        "Hello\n\nOn Fri, 1 Jan 2027 at 10:00, Buyer Example <buyer@example.org>\nwrote:\n\n> old\n",
        f"Hello\n\n{TEXT}\n\nOn Fri, 1 Jan 2027 at 10:00, Buyer Example <buyer@example.org>\nwrote:\n\n> old\n",
    ),
    "above a German one": (
        "Hallo\n\nAm 01.01.2027 um 10:00 schrieb Buyer:\n> alt\n",
        f"Hallo\n\n{TEXT}\n\nAm 01.01.2027 um 10:00 schrieb Buyer:\n> alt\n",
    ),
    "above the original message": (
        "Hello\n\n-----Original Message-----\nFrom: Buyer\nold\n",
        f"Hello\n\n{TEXT}\n\n-----Original Message-----\nFrom: Buyer\nold\n",
    ),
    "above a header block": (
        "Hello\n\nFrom: Buyer <buyer@example.org>\nSent: Friday\nTo: Support\nSubject: x\n\nold\n",
        f"Hello\n\n{TEXT}\n\nFrom: Buyer <buyer@example.org>\nSent: Friday\nTo: Support\nSubject: x\n\nold\n",
    ),
    "above a ruled block": (
        "Hallo\n\n________________________________\nVon: Buyer\nGesendet: Freitag\n\nalt\n",
        f"Hallo\n\n{TEXT}\n\n________________________________\nVon: Buyer\nGesendet: Freitag\n\nalt\n",
    ),
    "forwarded without a word": (
        "---------- Forwarded message ---------\nFrom: Buyer\n\nold\n",
        f"{TEXT}\n\n---------- Forwarded message ---------\nFrom: Buyer\n\nold\n",
    ),
    "answered below": ("> old\n\nHello\n", f"> old\n\nHello\n\n{TEXT}\n"),
    "answered below an attribution": (
        "On 1 Jan 2027, Buyer wrote:\n> old\n\nHello\n",
        f"On 1 Jan 2027, Buyer wrote:\n> old\n\nHello\n\n{TEXT}\n",
    ),
    "a colon is no attribution": ("Two things:\n\nFrom here: on\n", f"Two things:\n\nFrom here: on\n\n{TEXT}\n"),
    "signed below the quote only": (f"Hello\n\n> old\n> {TEXT}\n", f"Hello\n\n{TEXT}\n\n> old\n> {TEXT}\n"),
}
QUOTED_IN = [
    "Le 1 janvier 2027 à 10:00, Buyer a écrit :", "El 1 ene 2027, Buyer escribió:", "Op 1 jan. 2027 schreef Buyer:",
    "Il giorno 1 gen, Buyer ha scritto:", "Den 1 jan 2027 skrev Buyer:", "W dniu 1.01.2027 Buyer napisała:",
    "1 янв. 2027 г. Buyer написал:", "2027年1月1日 Buyer のメール:", "Em 1 de jan. de 2027, Buyer escreveu:",
    "Von: Buyer\nDatum: Freitag", "De : Buyer\nEnvoyé : vendredi", "发件人: Buyer\n发送时间: 2027",
    "-------- Weitergeleitete Nachricht --------", "----- Mensaje original -----",
]  # fmt: skip


@pytest.mark.parametrize("before, after", PLACES.values(), ids=PLACES)
async def test_place_in_text(before: str, after: str) -> None:
    verdict, data = await sign(one(before))
    assert text_of(data) == after and "signature put into" in verdict.reason
    again, unchanged = await sign(data)
    assert unchanged == data and again.reason == "the signature is there already"


@pytest.mark.parametrize("quote", QUOTED_IN, ids=lambda text: text[:12])
def test_quotes_in_many_languages(quote: str) -> None:
    text = f"Hello\n\n{quote}\nold words\n"
    assert text[: own_text_end(text)] == "Hello\n"


@pytest.mark.parametrize(
    "line",
    ["Our address: Main Street", "On Monday we are closed:", "Date: tomorrow", "From: here", "--", "a > b", "___"],
)
def test_own_words_that_look_like_a_quote(line: str) -> None:
    text = f"Hello\n{line}\nown words\n"
    assert own_text_end(text) == len(text)


def as_base64(text: str, charset: str = "utf-8") -> bytes:
    return base64.encodebytes(text.replace("\n", "\r\n").encode(charset)).replace(b"\n", b"\r\n")


def as_quoted(text: str, charset: str = "utf-8") -> bytes:
    return quopri.encodestring(text.encode(charset)).replace(b"\n", b"\r\n")


BODY = "Grüße aus dem Laden, " * 8 + "\n\n> alt, äöü\n"
SIGNED = "Grüße aus dem Laden, " * 8 + "\n\n{}\n\n> alt, äöü\n"
LATIN = "text/plain; charset=iso-8859-1"
IN_LATIN = BODY.replace("\n", "\r\n").encode("latin-1")
CODED: dict[str, tuple[bytes, str, bool]] = {
    # the mail, a signature, whether the part keeps its encoding
    "8bit utf-8": (one(BODY, "text/plain; charset=utf-8", "8bit"), UMLAUT, True),
    "8bit latin-1": (one(IN_LATIN, LATIN, "8bit"), UMLAUT, True),
    "quoted-printable": (one(as_quoted(BODY), "text/plain; charset=UTF-8", "Quoted-Printable"), UMLAUT, True),
    "quoted latin-1": (one(as_quoted(BODY, "latin-1"), LATIN, "quoted-printable"), UMLAUT, True),
    "base64": (one(as_base64(BODY), 'text/plain; charset="utf-8"', "base64"), UMLAUT, True),
    "base64 windows-1252": (one(as_base64(BODY, "cp1252"), "text/plain; charset=windows-1252", "base64"), UMLAUT, True),
    "latin-1 without euro": (one(as_quoted(BODY, "latin-1"), LATIN, "quoted-printable"), "5 €", False),
    "latin-1 without kanji": (one(IN_LATIN, LATIN, "8bit"), "日本語", False),
}


@pytest.mark.parametrize("data, signature, kept", CODED.values(), ids=CODED)
async def test_encodings(data: bytes, signature: str, kept: bool) -> None:
    _, signed = await sign(data, signature)
    assert text_of(signed) == SIGNED.format(signature)
    head, head_signed = data.split(b"\r\n\r\n")[0], signed.split(b"\r\n\r\n")[0]
    assert (head == head_signed) == kept
    assert all(len(line) <= 998 for line in signed.split(b"\r\n"))
    assert signed.count(b"\n") == signed.count(b"\r\n")
    _, again = await sign(signed, signature)
    assert again == signed


UPGRADED: dict[str, bytes] = {
    "us-ascii": one("Hello\n\n> old\n", "text/plain; charset=us-ascii; format=flowed; x=\"a b\""),
    "utf-8 in 7bit": one("Hello\n\n> old\n", "text/plain; charset=utf-8; format=flowed; x=\"a b\""),
    "no type at all": f"From: {OURS}\r\nSubject: x\r\n\r\nHello\r\n\r\n> old\r\n".encode(),
    "no type, bare line ends": f"From: {OURS}\nSubject: x\n\nHello\n\n> old\n".encode(),
}  # fmt: skip


@pytest.mark.parametrize("data", UPGRADED.values(), ids=UPGRADED)
async def test_text_that_7bit_cannot_carry(data: bytes) -> None:
    _, signed = await sign(data, UMLAUT)
    message = email.message_from_bytes(signed, policy=email.policy.default)
    assert message["content-transfer-encoding"] == "quoted-printable" and message["mime-version"] == "1.0"
    assert message.get_content_charset() == "utf-8" and message["from"] == OURS
    if b"flowed" in data:
        assert dict(message["content-type"].params) == {"charset": "utf-8", "format": "flowed", "x": "a b"}
    assert text_of(signed) == f"Hello\n\n{UMLAUT}\n\n> old\n"
    assert (b"\r\n" in signed) == (b"\r\n" in data)


async def test_flowed_text_stays_valid() -> None:
    data = one("Hello, this line \nflows.\n", "text/plain; charset=utf-8; format=flowed")
    _, signed = await sign(data, "-- \n> shop  \nFrom here\n plain ")
    assert text_of(signed) == "Hello, this line \nflows.\n\n-- \n > shop\n From here\n  plain\n"


HTML = '<div class="postroom-signature">\nYour shop<br>\nphone 12345\n</div>\n'
HTML_PLACES: dict[str, tuple[str, str]] = {
    "body": ("<html><body><p>Hi</p>", "</body></html>\n"),
    "no body": ("<p>Hi</p>\n", ""),
    "gmail": ("<div>Hi</div><br>", '<div class="gmail_quote gmail_quote_container"><blockquote>old</blockquote></div>'),
    "blockquote": ("<p>Hi</p>", '<blockquote type="cite">old</blockquote></body>'),
    "upper case": ("<P>Hi</P>", "<BLOCKQUOTE>old</BLOCKQUOTE></BODY>"),
    "outlook on the web": ("<div>Hi</div>", '<div id="appendonsend"></div><hr tabindex="-1"><div id="divRplyFwdMsg">'),
    "outlook rule": ("<div>Hi</div>", '<hr style="width:98%" tabindex="-1"><div id="divRplyFwdMsg" dir="ltr"></div>'),
    "outlook": (
        "<p>Hi</p><div>",
        "<div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3pt'>From:</div></div>",
    ),
    "thunderbird": ("<p>Hi</p>", '<div class="moz-cite-prefix">On 1 Jan:</div><blockquote>old</blockquote></body>'),
    "answered below": ("<blockquote>old</blockquote><p>Hi</p>", "</body></html>"),
    "forwarded": ("<body>", '<div class="gmail_quote">old</div></body>'),
    "a comment": ("<p>Hi</p><!-- <blockquote> </body> -->", "</body>"),
    "a style": ("<head><style>x { } </style><title></body></title></head><p>Hi</p>", "</body>"),
    "conditional": ("<!--[if mso]><blockquote><![endif]--><p>Hi</p>", '<div class="yahoo_quoted">x</div>'),
    "a look-alike": ("<p class=gmail_default>Hi <a tabindex=-1>x</a> a<blockquotes></p>", "</body>"),
}


@pytest.mark.parametrize("above, below", HTML_PLACES.values(), ids=HTML_PLACES)
@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
async def test_place_in_html(above: str, below: str, encoding: str) -> None:
    body = above + below
    coded: str | bytes = body
    if encoding != "7bit":
        coded = as_base64(body) if encoding == "base64" else as_quoted(body)
    _, signed = await sign(one(coded, "text/html; charset=utf-8", encoding))
    newline = "" if above.endswith("\n") else "\n"
    assert text_of(signed, "text/html").rstrip("\n") == (above + newline + HTML + below).rstrip("\n")
    assert (await sign(signed))[1] == signed


async def test_html_carries_any_character_in_any_charset() -> None:
    data = one("<p>Hi</p>", "text/html; charset=us-ascii")
    _, signed = await sign(data, "Bücher & <Laden>")
    assert signed.isascii() and "B&#252;cher &amp; &lt;Laden&gt;" in text_of(signed, "text/html")


async def test_html_of_our_own() -> None:
    _, signed = await sign(one("<p>Hi</p>", "text/html"), html="<b>Shop</b>")
    assert '<div class="postroom-signature">\n<b>Shop</b>\n</div>' in text_of(signed, "text/html")
    _, signed = await sign(one("Hi\n"), text="", html="<b>Shop</b> &amp; Co")
    assert text_of(signed) == "Hi\n\nShop & Co\n"


def parts(*bodies: tuple[str, str], kind: str = "mixed") -> bytes:
    """A multipart of (header section, body)."""
    middle = "".join(f"--b\r\n{head}\r\n\r\n{body}\r\n" for head, body in bodies)
    return f'{HEAD}Content-Type: multipart/{kind}; boundary="b"\r\n\r\npreamble\r\n{middle}--b--\r\n'.encode()


PLAIN, RICH = ("Content-Type: text/plain", "Hello"), ("Content-Type: text/html", "<p>Hello</p>")
PICTURE = ("Content-Type: image/png\r\nContent-Transfer-Encoding: base64", "AAAA")


async def test_both_alternatives_are_signed() -> None:
    data = parts(PLAIN, RICH, ("Content-Type: text/calendar", "BEGIN:VCALENDAR"), kind="alternative")
    verdict, signed = await sign(data)
    assert text_of(signed) == f"Hello\n\n{TEXT}"
    assert text_of(signed, "text/html") == f"<p>Hello</p>\n{HTML}"
    assert text_of(signed, "text/calendar") == "BEGIN:VCALENDAR"
    assert verdict.reason == "signature put into text/plain and text/html"


async def test_the_text_before_attachments_is_signed_and_they_are_not() -> None:
    attached = ("Content-Type: text/plain\r\nContent-Disposition: attachment", "Hello")
    data = parts(PLAIN, PICTURE, attached)
    _, signed = await sign(data)
    at = data.index(b"\r\n--b\r\nContent-Type: image")
    assert signed.endswith(data[at:]) and signed.startswith(data[:at])
    assert signed == data[:at] + b"\r\n\r\n" + TEXT.replace("\n", "\r\n").encode() + data[at:]


async def test_alternatives_within_related_within_mixed() -> None:
    inner = 'Content-Type: multipart/alternative; boundary="c"'
    body = (
        "--c\r\nContent-Type: text/plain\r\n\r\nHello\r\n--c\r\nContent-Type: multipart/related; boundary=d\r\n\r\n"
        "--d\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--d\r\nContent-Type: image/png\r\n\r\nx\r\n--d--\r\n"
        "--c--"
    )
    _, signed = await sign(parts((inner, body), PICTURE))
    assert text_of(signed).endswith(TEXT) and HTML in text_of(signed, "text/html")


async def test_the_upgrade_of_a_part_leaves_the_others_alone() -> None:
    data = parts(("", "Hello"), PICTURE)  # no fields at all, and a body that starts with an empty line
    _, signed = await sign(data, UMLAUT)
    assert text_of(signed) == f"\nHello\n\n{UMLAUT}"
    at = data.index(b"\r\n--b\r\nContent-Type: image")
    assert signed.endswith(data[at:]) and signed.startswith(data[: data.index(b"--b\r\n") + 5])


CERTAIN = "multipart/signed; protocol=x; micalg=y; boundary=b"
UNTOUCHED: dict[str, bytes] = {
    "multipart/signed": parts(PLAIN, ("Content-Type: application/pgp-signature", "x"), kind="signed"),
    "multipart/encrypted": parts(("Content-Type: application/pgp-encrypted", "x"), PLAIN, kind="encrypted"),
    "signed within": parts((f"Content-Type: {CERTAIN}".replace("=b", "=c"), "--c\r\n\r\nHi\r\n--c--"), PICTURE),
    "s/mime": one("MIAG", "application/pkcs7-mime; smime-type=signed-data", "base64"),
    "dkim": one("Hello\n", **{"DKIM-Signature": "v=1"}),
    "domainkeys": one("Hello\n", **{"DomainKey-Signature": "a=x"}),
    "pgp in the text": one("-----BEGIN PGP SIGNED MESSAGE-----\nHi\n"),
    "degraded headers": b"junk\r\n" + one("Hello\n"),
    "degraded parts": parts(PLAIN).replace(b"--b--\r\n", b""),
    "two types": one("Hello\n", **{"Content-type": "text/html"}),
    "no text": parts(PICTURE),
    "a picture first": parts(PICTURE, PLAIN),
    "attached": one("Hello\n", **{"Content-Disposition": "attachment"}),
    "unknown charset": one("Hello\n", "text/plain; charset=x-unknown"),
    "not its charset": one(b"H\xe4llo\r\n", "text/plain; charset=utf-8", "8bit"),
    "8bit in us-ascii": one("Hällo\n", "text/plain"),
    "unknown encoding": one("Hello\n", encoding="x-uuencode"),
    "broken base64": one("!!!!\n", encoding="base64"),
    "no body": HEAD.encode(),
    "beyond the opening": one("Hello\n") + b"y\r\n" * OPENING,
    "empty parts": parts(),
}


@pytest.mark.parametrize("data", UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.parametrize("signature", [TEXT, UMLAUT])
async def test_left_alone(data: bytes, signature: str) -> None:
    verdict, unchanged = await sign(data, signature)
    assert unchanged == data and verdict.effects == () and verdict.reason.startswith("no signature: ")


async def test_a_big_mail_with_a_short_text_is_signed() -> None:
    data = parts(PLAIN, ("Content-Type: image/png", "A" * 2 * OPENING))
    verdict, signed = await sign(data)
    assert verdict.effects and text_of(signed) == f"Hello\n\n{TEXT}"


async def test_only_where_it_is_switched_on() -> None:
    data = one("Hello\n")
    on = Signature(active=True, text=TEXT)
    quiet = RelayUser(id=2, name="erp")
    cases = [
        (SIGNER, on, False, True), (quiet, on, False, False), (quiet, on, True, True), (None, on, False, False),
        (SIGNER, Signature(text=TEXT), True, False), (SIGNER, Signature(active=True, text=" \n"), True, False),
    ]  # fmt: skip
    for user, signature, relayed, wanted in cases:
        context = a_context(signature=signature, signs_relayed=relayed)
        verdict = await SignatureStage()(outbound(data, relay_user=user), context)
        assert bool(verdict.effects) == wanted and verdict.reason
    inbound = decide_mail(data, direction=Direction.IN, relay_user=SIGNER)
    assert not (await SignatureStage()(inbound, a_context(signature=on, signs_relayed=True))).effects


async def test_a_long_line_does_not_break_the_rules() -> None:
    _, signed = await sign(one("Hello\n"), "x" * 1500)
    assert text_of(signed) == f"Hello\n\n{'x' * 1500}\n" and all(len(line) <= 998 for line in signed.split(b"\r\n"))
    assert not (await sign(one("<p>Hello", "text/html"), html="x" * 1500))[0].effects


def test_visible_text() -> None:
    assert visible_text("<head><title>x</title></head><p>a&amp;b<!-- c --> <style>d</style>e<br>f") == "a&b e f"


PIECES = [
    "Hello\n", "\n", "> old\n", "On 1 Jan, Buyer wrote:\n", "From: a\n", "Sent: b\n", "ä", "€", " ", "=", "=3D", "\t\n",
    "--b\n", "<blockquote>", "<!--", "-->", "</body>", "<div class=gmail_quote>", "x" * 90,
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=15), st.sampled_from(["quoted-printable", "base64", "8bit"]),
       st.sampled_from(["plain", "html"]), st.sampled_from(["utf-8", "cp1252", "iso-2022-jp", "us-ascii"]),
       st.sampled_from([TEXT, UMLAUT]))  # fmt: skip
async def test_the_text_around_stays_as_it_was(
    pieces: list[str], encoding: str, kind: str, charset: str, signature: str
) -> None:
    text = "".join(pieces)
    try:
        octets = text.encode(charset)
    except UnicodeEncodeError:
        return
    body = octets.replace(b"\n", b"\r\n")
    if encoding != "8bit":
        body = as_base64(text, charset) if encoding == "base64" else as_quoted(text, charset)
    label = "windows-1252" if charset == "cp1252" else charset
    data = one(body, f"text/{kind}; charset={label}", encoding)
    _, signed = await sign(data, signature)
    got, was = text_of(signed, f"text/{kind}"), text_of(data, f"text/{kind}")
    at = own_text_end(was) if kind == "plain" else own_html_end(was)
    if signed != data:
        assert len(got) > len(was) and got.startswith(was[:at])
        assert got.rstrip("\n").endswith(was[at:].rstrip("\n"))
        added = got[at : len(got) - len(was) + at]
        assert signature.split("\n")[1] in added
    else:
        assert signature.split("\n")[1] in was


def test_an_entity_of_five_thousand_digits_is_left_as_it_is() -> None:
    text = f"<p>a &#{'9' * 5_000}; b &amp; c</p>"
    assert visible_text(text).endswith("b & c")

"""Writes header fields, and small text mails around them. Nothing else writes headers.

No value, whatever it holds, can add a field: line ends and control characters become spaces, what is not ASCII
becomes encoded words (RFC 2047), and every mail composed here is scanned again and must hold exactly the fields that
were meant (``recheck``). The standard library's generators are not used: some versions write an injected field
(CVE-2024-6923, CVE-2026-1299), and they encode long Message-IDs, which breaks threads.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.addresses import is_address
from pipeline.headers import Headers
from pipeline.touchpoint import normalise

SOFT_LINE = 78
"""Where lines are folded if they can be (RFC 5322 section 2.1.1)."""
HARD_LINE = 998
MAX_IDS = 20
"""Message-IDs in a References field that we write: the first and the latest."""
_MAX_WORD = 900
_WORD_BYTES = 39
"""52 characters of base64, so that a line with the field's name stays within 76 (RFC 2047 section 2)."""

_NAME = re.compile(r"[!-9;-~]{1,76}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_PHRASE_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')
_MIME_NAMES = ("MIME-Version", "Content-Type", "Content-Transfer-Encoding")


class Encoded(str):
    """A field value that is ASCII and in the form of the wire already; made by the functions below."""

    __slots__ = ()


def write_field(name: str, value: str) -> bytes:
    """One field with its line end, folded; raises ValueError for a name that is none.

    A plain ``value`` is text: what ASCII cannot carry becomes encoded words. An ``Encoded`` one is folded only.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"no header field name: {name!r}")
    words = str(value).split(" ") if isinstance(value, Encoded) else _text_words(value)
    lines, line = [], f"{name}:"
    for word in filter(None, words):
        if len(line) + 1 + len(word) > SOFT_LINE and len(line) > len(name) + 1:
            lines.append(line)
            line = ""
        line += f" {word}"
    lines.append(line)
    if any(len(one) > HARD_LINE or _UNPRINTABLE.search(one) for one in lines):
        raise ValueError(f"{name} cannot be written")
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def write_address(display: str, address: str) -> Encoded:
    """A mailbox for From, To and the like; raises ValueError for an address that ASCII cannot carry."""
    wire = address if address.isascii() else normalise(address)
    if not is_address(wire) or _UNPRINTABLE.search(wire):
        raise ValueError(f"no address that can be written: {address!r}")
    name = clean(display)[:200]
    if not name:
        return Encoded(wire)
    if not _plain(name):
        name = " ".join(_encoded_words(name))
    elif _PHRASE_SPECIALS.search(name):
        name = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return Encoded(f"{name} <{wire}>")


def write_ids(message_ids: Sequence[str]) -> Encoded:
    """The value of a References or In-Reply-To field: what is no Message-ID is left out, and the middle of many."""
    usable = [one for one in message_ids if _MESSAGE_ID.fullmatch(one)]
    if len(usable) > MAX_IDS:
        usable = [usable[0], *usable[1 - MAX_IDS :]]
    return Encoded(" ".join(usable))


def clean(text: str) -> str:
    """Text on one line without control characters, runs of space made one."""
    return " ".join(_CONTROL.sub(" ", text).split())


def compose(fields: Iterable[tuple[str, str]], text: str) -> bytes:
    """A whole text/plain mail in UTF-8 with these fields and, behind them, those of MIME."""
    written = list(fields)
    body, encoding = encode_body(text)
    mime = ("1.0", Encoded("text/plain; charset=utf-8"), encoding)
    written += zip(_MIME_NAMES, mime, strict=True)
    content = b"".join(write_field(name, value) for name, value in written) + b"\r\n" + body
    recheck(content, [name for name, _ in written])
    return content


def recheck(content: bytes, expected_names: Iterable[str]) -> None:
    """Scan an outgoing mail again; raises ValueError if it has a field that was not meant, or a line end in one."""
    headers = Headers.scan(content)
    if headers.degraded:
        raise ValueError(f"the mail cannot be read back: {headers.degraded}")
    section = content[: headers.end]
    if b"\0" in section or section.replace(b"\r\n", b"").translate(None, b"\r\n") != section.replace(b"\r\n", b""):
        raise ValueError("the header section holds a bare line end or a NUL")
    found = Counter({name: headers.count(name) for name in headers.names})
    if extra := found - Counter(name.lower() for name in expected_names):
        raise ValueError(f"fields that were not meant: {', '.join(sorted(extra))}")


def encode_body(text: str) -> tuple[bytes, str]:
    """Text as the body of a mail, CRLF line ends included, and its Content-Transfer-Encoding."""
    lines = [line.encode("utf-8", "replace") for line in re.split(r"\r\n|\r|\n", text)]
    if all(line.isascii() and len(line) <= SOFT_LINE and not _has_control(line) for line in lines):
        return _ended(b"\r\n".join(lines)), "7bit"
    return encode_octets(_ended(b"\r\n".join(lines)))


def encode_octets(octets: bytes) -> tuple[bytes, str]:
    """Text octets with CRLF line ends in quoted-printable, or in base64 where that is much shorter."""
    quoted = b"\r\n".join(quote_line(line) for line in octets.split(b"\r\n"))
    if len(quoted) <= len(octets) * 1.6 + 40:
        return quoted, "quoted-printable"
    return base64.encodebytes(octets).replace(b"\n", b"\r\n"), "base64"


def quote_line(line: bytes) -> bytes:
    """One line without its end in quoted-printable (RFC 2045 section 6.7), soft line ends in CRLF."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", binascii.b2a_qp(line, quotetabs=False, istext=False))


def _ended(body: bytes) -> bytes:
    return body if body.endswith(b"\r\n") else body + b"\r\n"


def _has_control(line: bytes) -> bool:
    return re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line) is not None


def _plain(text: str) -> bool:
    # A literal "=?" would be decoded by the reader, so it has to travel encoded.
    return text.isascii() and "=?" not in text and all(len(word) <= _MAX_WORD for word in text.split(" "))


def _text_words(value: str) -> list[str]:
    text = clean(value)
    return text.split(" ") if _plain(text) else _encoded_words(text)


def _encoded_words(text: str) -> list[str]:
    words, chunk = [], b""
    for char in text:
        octets = char.encode("utf-8")
        if len(chunk) + len(octets) > _WORD_BYTES:
            words.append(chunk)
            chunk = b""
        chunk += octets
    return [f"=?utf-8?b?{base64.b64encode(one).decode('ascii')}?=" for one in (*words, chunk)]

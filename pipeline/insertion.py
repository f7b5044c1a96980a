"""Puts text into a text part of a mail by splices on the original bytes; every other byte stays as it is.

The part keeps its charset and transfer encoding where they can carry the text. Plain text that cannot (umlauts into
7bit, say) is written anew in UTF-8, and the part's two header fields say so. What cannot be read back exactly is left
alone: ``CannotInsert`` says why.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from dataclasses import dataclass

from pipeline.header_writer import HARD_LINE, Encoded, encode_octets, quote_line, write_field
from pipeline.headers import CHARSETS
from pipeline.mime import Part
from pipeline.verdict import Splice

_EXACT = {"us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1", "latin1": "latin-1"}
"""Charsets that are read more generously elsewhere, but must come back byte for byte here."""
_IDENTITY = ("7bit", "8bit", "binary")
_QUOTED = re.compile(rb"=(?:([0-9A-Fa-f]{2})|([ \t]*+\r?\n))|([^=]++)|(=)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")


class CannotInsert(Exception):
    """Why a part is left alone, in words."""


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a text part, decoded."""

    part: Part
    raw: bytes
    octets: bytes
    text: str
    codec: str
    newline: bytes
    """How lines of the mail end."""


def read_body(opening: bytes, part: Part) -> Body:
    """The text of a part that lies whole in ``opening``; raises CannotInsert."""
    if part.end is None:
        raise CannotInsert("a text part is longer than what is looked at")
    if not opening[: part.body].endswith((b"\n\r\n", b"\n\n")):
        raise CannotInsert("a text part has no body")
    raw = opening[part.body : part.end]
    octets = _octets(raw, part.encoding)
    codec = _EXACT.get(part.charset) or CHARSETS.get(part.charset)
    if codec is None:
        raise CannotInsert(f"the charset {part.charset[:40]!r} is not known")
    try:
        text = octets.decode(codec)
    except UnicodeDecodeError:
        raise CannotInsert(f"a text part is not in its charset, {part.charset}") from None
    return Body(part, raw, octets, text, codec, b"\r\n" if b"\r\n" in opening[: part.body] else b"\n")


def insert(body: Body, at: int, addition: str) -> tuple[Splice, ...]:
    """Splices that put ``addition`` (lines ending in LF) before character ``at``; raises CannotInsert."""
    newline = "\r\n" if "\r\n" in body.text or (body.newline == b"\r\n" and "\n" not in body.text) else "\n"
    addition = addition.replace("\n", newline)
    try:
        octets = addition.encode(body.codec)
    except UnicodeEncodeError:
        return _anew(body, at, addition)
    if body.part.encoding == "7bit" and not octets.isascii():
        return _anew(body, at, addition)
    if body.part.encoding in _IDENTITY and any(len(line) > HARD_LINE for line in octets.split(b"\n")):
        return _anew(body, at, addition)
    place = _octet_offset(body, at)
    if body.part.encoding == "base64":
        data = _base64(body.octets[:place] + octets + body.octets[place:], body.newline)
        return (Splice(body.part.body, len(body.raw.rstrip(b"\r\n")), data),)
    if body.part.encoding == "quoted-printable":
        offset = _raw_offset(body.raw, place)
        return (Splice(body.part.body + offset, 0, _quoted(octets, body, offset)),)
    return (Splice(body.part.body + place, 0, octets),)


def _octets(raw: bytes, encoding: str) -> bytes:
    if encoding in _IDENTITY:
        return raw
    if encoding == "quoted-printable":
        return b"".join(_meaning(match) for match in _QUOTED.finditer(raw))
    if encoding == "base64":
        try:
            return base64.b64decode(b"".join(raw.split()), validate=True)
        except binascii.Error:
            raise CannotInsert("a text part is broken base64") from None
    raise CannotInsert(f"the transfer encoding {encoding[:40]!r} is not known")


def _meaning(match: re.Match[bytes]) -> bytes:
    """What a piece of quoted-printable stands for (RFC 2045 section 6.7)."""
    if match[1]:
        return bytes.fromhex(match[1].decode("ascii"))
    return b"" if match[2] else match[0]


def _octet_offset(body: Body, at: int) -> int:
    prefix = body.text[:at].encode(body.codec)
    if not body.octets.startswith(prefix):
        raise CannotInsert(f"a text part in {body.part.charset} does not come back byte for byte")
    return len(prefix)


def _raw_offset(raw: bytes, place: int) -> int:
    """Where the octet at ``place`` starts in quoted-printable."""
    meant, starts, lengths, count = [], [], [], 0
    for match in _QUOTED.finditer(raw):
        length = len(_meaning(match))
        if length:
            meant.append(count)
            starts.append(match.start())
            lengths.append(length)
            count += length
    if place >= count:
        return len(raw)
    index = bisect_right(meant, place) - 1
    inside = place - meant[index] if lengths[index] > 1 else 0
    return starts[index] + inside


def _quoted(octets: bytes, body: Body, offset: int) -> bytes:
    """Octets in quoted-printable, between soft line ends where they stand within a line, so that none grows long."""
    soft = b"=" + body.newline
    quoted = body.newline.join(quote_line(line) for line in octets.replace(b"\r\n", b"\n").split(b"\n"))
    quoted = quoted.replace(b"=\r\n", soft)
    before = b"" if body.raw[:offset].endswith(b"\n") or not offset else soft
    return before + quoted + (b"" if octets.endswith(b"\n") or offset == len(body.raw) else soft)


def _base64(octets: bytes, newline: bytes) -> bytes:
    return base64.encodebytes(octets).rstrip(b"\n").replace(b"\n", newline)


def _anew(body: Body, at: int, addition: str) -> tuple[Splice, ...]:
    """The whole part in UTF-8, with the fields that say so."""
    if body.part.type != "text/plain":
        raise CannotInsert("a line of the signature is too long for the part")
    text = (body.text[:at] + addition + body.text[at:]).replace("\r\n", "\n")
    data, encoding = encode_octets(text.replace("\n", "\r\n").encode("utf-8"))
    fields = [
        ("content-type", write_field("Content-Type", _utf8_type(body.part))),
        ("content-transfer-encoding", write_field("Content-Transfer-Encoding", encoding)),
    ]
    if body.part.depth == 0 and "mime-version" not in body.part.headers:
        fields.append(("mime-version", write_field("MIME-Version", "1.0")))
    here = {field.name: field for field in body.part.headers.fields}
    behind = max((field.end for field in here.values()), default=body.part.start)
    splices, added = [], b""
    for name, line in fields:
        line = line.replace(b"\r\n", body.newline)
        if name in here:
            splices.append(Splice(here[name].start, here[name].end - here[name].start, line))
        else:
            added += line
    if added:
        splices.append(Splice(behind, 0, added))
    if encoding == "base64":
        data = data.rstrip(b"\r\n") + (b"\r\n" if body.raw.endswith(b"\n") else b"")
    whole = Splice(body.part.body, len(body.raw), data.replace(b"\r\n", body.newline))
    return (*sorted(splices, key=lambda one: one.offset), whole)


def _utf8_type(part: Part) -> Encoded:
    pieces = [part.type, "charset=utf-8"]
    for name, value in part.params.items():
        if name == "charset":
            continue
        if not (value.isascii() and value.isprintable() and _TOKEN.fullmatch(name)):
            raise CannotInsert("a Content-Type cannot be written again")
        quoted = value if _TOKEN.fullmatch(value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        pieces.append(f"{name}={quoted}")
    return Encoded("; ".join(pieces))

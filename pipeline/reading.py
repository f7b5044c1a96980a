"""Reads a mail as people do: its header fields decoded, its text, and what else is in it. For showing only.

It sees the opening of the content and no more than that. The text is the first one that the mail shows, and of
alternatives to each other (RFC 2046 section 5.1.4) the plain one; HTML is simplified. Attachments are named, never
opened. Bounded in time and size whatever the bytes are; never raises. Nothing here is made safe for a screen.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from pipeline.headers import Headers, decode_bytes, decode_words
from pipeline.mime import Part, decoded, parameters, scan_parts
from pipeline.simplify import simplified

LOOKED_AT = 512 * 1024
"""Bytes of a content that are looked at."""
MOST_TEXT = 64 * 1024
"""Characters."""
MOST_FIELDS = 200
MOST_NAME = 100
MOST_VALUE = 2000
MOST_PARTS = 100
MOST_FILE_NAME = 255

_PLAIN, _HTML = "text/plain", "text/html"
_UNSAID = frozenset({"us-ascii", "ascii"})
"""Charsets that say nothing where the text has other bytes than theirs."""
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


class Source(StrEnum):
    """Where a text comes from."""

    PLAIN = "plain"
    HTML = "html"
    """Simplified."""
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherPart:
    """A part that is not the text."""

    name: str
    """Of its file; "" where it has none."""
    type: str
    size: int
    """Bytes as transported, as far as they were seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A mail as people read it."""

    fields: tuple[tuple[str, str], ...]
    """Name and decoded value, in the order of the mail."""
    text: str
    """Lines end in LF."""
    source: Source
    cut: bool
    """The text goes on, or lies behind what was looked at."""
    parts: tuple[OtherPart, ...]


def read(content: bytes, *, whole: bool) -> Reading:
    """Read a mail from its opening; ``whole`` says that ``content`` is all of it."""
    opening = content[:LOOKED_AT]
    whole = whole and len(content) <= LOOKED_AT
    headers = Headers.scan(opening)
    parts = scan_parts(opening, headers, whole=whole).parts
    chosen, text = _text(opening, parts)
    unseen = not whole if chosen < 0 else parts[chosen].end is None
    return Reading(
        fields=_fields(opening, headers),
        text=text[:MOST_TEXT],
        source=Source.NONE if chosen < 0 else Source.HTML if parts[chosen].type == _HTML else Source.PLAIN,
        cut=unseen or len(text) > MOST_TEXT,
        parts=_others(opening, parts, chosen),
    )


def _fields(opening: bytes, headers: Headers) -> tuple[tuple[str, str], ...]:
    values = {name: iter(headers.all(name)) for name in headers.names}
    return tuple(
        (
            opening[field.start : field.start + min(len(field.name), MOST_NAME)].decode("ascii", "replace"),
            _shortened(decode_words(next(values[field.name], "")[: 8 * MOST_VALUE]), MOST_VALUE),
        )
        for field in islice(headers.fields, MOST_FIELDS)
    )


def _text(opening: bytes, parts: tuple[Part, ...]) -> tuple[int, str]:
    """Which part is the text (-1 for none), and what it says: the first that says anything."""
    shown = [number for number, part in enumerate(parts) if part.type in (_PLAIN, _HTML) and not part.attached]
    shown.sort(key=lambda number: (_place(parts, number), parts[number].type != _PLAIN))
    for number in shown:
        if (text := _said(opening, parts[number])).strip():
            return number, text
    return (shown[0] if shown else -1), ""


def _place(parts: tuple[Part, ...], number: int) -> int:
    """Where a part stands; all parts of one multipart/alternative, as deep as they are, stand at one place."""
    place = number
    while (number := parts[number].parent) >= 0:
        if parts[number].type == "multipart/alternative":
            place = number
    return place


def _said(opening: bytes, part: Part) -> str:
    octets = decoded(opening, part, len(opening))
    if part.type == _HTML:
        return simplified(_characters(octets, part.charset), MOST_TEXT)
    return _characters(octets, part.charset).replace("\r\n", "\n").replace("\r", "\n")


def _characters(octets: bytes, charset: str) -> str:
    if charset in _UNSAID:
        try:  # not final: the last character may be cut
            return codecs.getincrementaldecoder("utf-8")().decode(octets)
        except UnicodeDecodeError:
            pass
    return decode_bytes(octets, charset)


def _others(opening: bytes, parts: tuple[Part, ...], chosen: int) -> tuple[OtherPart, ...]:
    holders = {part.parent for part in parts}
    found = (part for number, part in enumerate(parts) if number != chosen and number not in holders)
    return tuple(
        OtherPart(name=_file_name(part), type=part.type, size=_end(opening, part) - part.body)
        for part in islice(found, MOST_PARTS)
    )


def _end(opening: bytes, part: Part) -> int:
    return len(opening) if part.end is None else part.end


def _file_name(part: Part) -> str:
    disposition = part.headers.first("content-disposition")
    given = _parameter(parameters(disposition), "filename") or _parameter(part.params, "name")
    return _shortened(given, MOST_FILE_NAME)


def _parameter(params: Mapping[str, str], name: str) -> str:
    """A parameter whatever way it is written: plain, with encoded words, or as RFC 2231 has it."""
    if plain := params.get(name):
        return decode_words(plain)
    if (encoded := params.get(f"{name}*")) is not None:
        return _decoded([(encoded, True)])
    return _decoded(_continued(params, name))


def _continued(params: Mapping[str, str], name: str) -> Iterable[tuple[str, bool]]:
    """The sections of a value (RFC 2231 section 3), and whether each is percent-encoded."""
    number = 0
    while True:
        if (section := params.get(f"{name}*{number}*")) is not None:
            yield section, True
        elif (section := params.get(f"{name}*{number}")) is not None:
            yield section, False
        else:
            return
        number += 1


def _decoded(sections: Iterable[tuple[str, bool]]) -> str:
    charset, octets = "", b""
    for number, (text, encoded) in enumerate(sections):
        if encoded and number == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        raw = text.encode("utf-8", "replace")
        octets += _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), raw) if encoded else raw
    return _characters(octets, charset.lower() or "us-ascii")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

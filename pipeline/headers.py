"""Reads the header section of a mail from its raw bytes. Nothing else parses headers, nothing but
``header_writer.py`` writes them.

Every byte may be hostile, so the scan is bounded (sizes below), linear, and never raises; what goes beyond a limit
sets ``degraded`` with the reason, and who decides must then assume the worst. The standard library's parser is not
used: it recurses, is quadratic on some fields and raises on others. Decoding happens when a value is asked for.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import KeysView
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from pipeline.addresses import MAX_ADDRESSES, Address, Scanned, scan_addresses
from pipeline.touchpoint import normalise

MAX_SECTION = 256 * 1024
"""Bytes of a header section."""
MAX_FIELD = 64 * 1024
"""Bytes of one field that are ever decoded."""
MAX_FIELDS = 2000
MAX_SUBJECT = 1000
"""Characters of a decoded subject."""
MAX_REFERENCES = 100

# Padding and the "From " line of an mbox are no part of the header section.
_LEAD = re.compile(rb"(?:\xef\xbb\xbf)?\x00*+(?:>?From [^\n]*+\n)?")
# RFC 5322 section 2.2, with the obsolete space before the colon; the rest finds the end of the section.
_FIELD = re.compile(r"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)|(?:(\r?\n)|())")
_MESSAGE_ID = re.compile(r"<([^<>\x00-\x1f\x7f]{1,996}+)>")
_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,40}+)(?:\*[A-Za-z0-9-]*+)?\?([bBqQ])\?([^?\s]*+)\?=")
# Not the library's own look-up: it also knows codecs that unpack, decompress or take forever.
_SAME = "utf-8 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-10 iso-8859-13 \
iso-8859-14 iso-8859-15 iso-8859-16 koi8-r koi8-u big5 big5-hkscs euc-jp iso-2022-jp iso-2022-kr gb18030 hz cp437 \
cp850 cp852 cp866 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258"
CHARSETS = {name: name for name in _SAME.split()} | {
    "utf8": "utf-8", "unicode-1-1-utf-8": "utf-8", "us-ascii": "cp1252", "ascii": "cp1252", "ansi_x3.4-1968": "cp1252",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "iso_8859-1": "cp1252", "iso8859-1": "cp1252", "iso-8859-9": "cp1254",
    "iso8859-15": "iso-8859-15", "iso-8859-8-i": "iso-8859-8", "iso-8859-11": "cp874", "tis-620": "cp874",
    "windows-874": "cp874", "gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "x-gbk": "gb18030",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "shift_jis": "cp932", "shift-jis": "cp932", "x-sjis": "cp932",
    "windows-31j": "cp932", "cp932": "cp932", "macintosh": "mac_roman",
} | {f"windows-{n}": f"cp{n}" for n in range(1250, 1259)}  # fmt: skip
"""Charset names that are obeyed -> codec; Latin-1 is read as its superset windows-1252, as browsers do."""


class Field(NamedTuple):
    """One header field; ``content[start:end]`` is all of it, its line end included."""

    name: str
    """In lower case."""
    value: bytes
    """Raw, folds included, from behind the colon."""
    start: int
    end: int


class Headers:
    """The header section of a mail; ask by field name in lower case."""

    def __init__(self, text: str, start: int, end: int, raw: dict[str, list[str]], degraded: str) -> None:
        self._text = text
        self._start = start
        self._raw = raw
        self.end = end
        """Offset of the first byte of the body."""
        self.degraded = degraded
        """Why the section could not be read whole; "" when it could."""

    @classmethod
    def scan(cls, opening: bytes, at: int = 0, size: int = MAX_SECTION) -> Headers:
        """The header section that starts at offset ``at`` and has at most ``size`` bytes; never raises."""
        lead = None if at else _LEAD.match(opening, 0, size)
        start = lead.end() if lead else at
        limit = start + size
        stop = opening.find(b"\n\r\n", start, limit)
        bare = opening.find(b"\n\n", start, limit if stop < 0 else stop + 1)
        blank = 1 if bare >= 0 else 2
        stop = bare if bare >= 0 else stop
        text = opening[start : stop + 1 if stop >= 0 else limit].decode("latin-1")
        raw: dict[str, list[str]] = {}
        past = count = 0
        degraded = ""
        end = -1
        for match in islice(_FIELD.finditer(text), MAX_FIELDS):
            if match.lastindex != 2:
                end = start + match.end()
                if match.lastindex != 3 and past < len(text):
                    degraded = f"line {text.count(chr(10), 0, past) + 1} of the header section is no field"
                break
            name = match[1].lower()
            if name in raw:
                raw[name].append(match[2])
            else:
                raw[name] = [match[2]]
            past = match.end()
            count += 1
        if count == MAX_FIELDS:
            degraded = f"more than {MAX_FIELDS} header fields"
        if end < 0 or (past == len(text) and stop >= 0):
            end = stop + 1 + blank if stop >= 0 else start + len(text)
        if not degraded and len(text) > MAX_FIELD:
            degraded = _too_big(raw, stop < 0 and len(text) == MAX_SECTION)
        return cls(text, start, end, raw, degraded)

    @property
    def names(self) -> KeysView[str]:
        """The names of all fields, in lower case, each once."""
        return self._raw.keys()

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields in their order, with their places in the content."""
        start, found = self._start, islice(_FIELD.finditer(self._text), MAX_FIELDS)
        fields = []
        for match in found:
            if match.lastindex != 2:
                break
            value = match[2].encode("latin-1")
            fields.append(Field(match[1].lower(), value, start + match.start(), start + match.end()))
        return tuple(fields)

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def __repr__(self) -> str:
        return f"Headers({len(self._raw)} names, end={self.end}, degraded={self.degraded!r})"

    def count(self, name: str) -> int:
        """How many fields have this name."""
        return len(self._raw.get(name, ()))

    def all(self, name: str) -> list[str]:
        """The values of all fields of this name, unfolded, encoded words left as they are."""
        return [_unfolded(value) for value in self._raw.get(name, ())]

    def first(self, name: str) -> str:
        """The value of the topmost field of this name, or ""."""
        values = self._raw.get(name)
        return _unfolded(values[0]) if values else ""

    def addresses(self, name: str) -> tuple[Address, ...]:
        """The addresses in all fields of this name, without those that are in doubt."""
        raw = self._raw.get(name)
        if not raw:
            return ()
        found = (address for value in raw for address in _scanned(_unfolded(value)).found)
        return tuple(islice(found, MAX_ADDRESSES))

    @cached_property
    def subject(self) -> str:
        """Decoded (RFC 2047), at most MAX_SUBJECT characters; not made safe for a screen."""
        return decode_words(self.first("subject")[: 8 * MAX_SUBJECT])[:MAX_SUBJECT]

    @cached_property
    def message_id(self) -> str:
        """With its angle brackets; "" where there is none that can be used."""
        match = _MESSAGE_ID.search(self.first("message-id"))
        return match[0] if match else ""

    @cached_property
    def references(self) -> tuple[str, ...]:
        """Message-IDs of earlier mails, oldest first: References, then In-Reply-To."""
        if "references" not in self._raw and "in-reply-to" not in self._raw:
            return ()
        ids = [f"<{found}>" for name in ("references", "in-reply-to") for value in self.all(name)
               for found in _MESSAGE_ID.findall(value)]  # fmt: skip
        return tuple(dict.fromkeys(ids))[-MAX_REFERENCES:]

    @cached_property
    def author(self) -> str:
        """The one author, normalised; "" when there is none, more than one, or any doubt."""
        values = self._raw.get("from", ())
        if len(values) != 1:
            return ""
        found, doubt, groups = _scanned(_unfolded(values[0]))
        return normalise(found[0].address) if len(found) == 1 and not doubt and not groups else ""

    @cached_property
    def recipients(self) -> tuple[str, ...]:
        """The addresses of To and Cc, normalised, each once."""
        found = (*self.addresses("to"), *self.addresses("cc"))
        return tuple(dict.fromkeys(normalise(one.address) for one in found))[:MAX_ADDRESSES]

    @cached_property
    def date(self) -> float:
        """The Date field in seconds since the epoch; 0.0 where there is none that can be read."""
        return parse_date(self.first("date"))

    @cached_property
    def return_path(self) -> str | None:
        """The topmost Return-Path: None if absent, "" for the null path and for one that cannot be read."""
        if "return-path" not in self._raw:
            return None
        found, doubt, _ = _scanned(self.first("return-path"))
        return found[0].address if len(found) == 1 and not doubt else ""


def head_hash(headers: Headers) -> bytes:
    """What tells one mail from another before its body is fetched: Message-ID, Date, From and Subject."""
    values = (" ".join(" ".join(headers.all(name)).split()) for name in ("message-id", "date", "from", "subject"))
    return hashlib.blake2b("\0".join(values).encode(), digest_size=16).digest()


def decode_words(text: str) -> str:
    """Text with its encoded words (RFC 2047) decoded; an unknown charset is read as Latin-1. Never raises."""
    if "=?" not in text:
        return text
    parts: list[str] = []
    pending, charset, at = b"", "", 0
    for match in _WORD.finditer(text):
        between, at = text[at : match.start()], match.end()
        name = match[1].lower()
        # Space between encoded words is no text; neighbours of one charset may share a character.
        if between.strip() or name != charset:
            parts.append(decode_bytes(pending, charset))
            pending = b""
        if between.strip() or not charset:
            parts.append(between)
        pending, charset = pending + _word_bytes(match[2], match[3]), name
    return "".join((*parts, decode_bytes(pending, charset), text[at:]))


def decode_bytes(data: bytes, charset: str) -> str:
    """Bytes as text; a charset that is not in ``CHARSETS`` is read as Latin-1. Never raises, no surrogates."""
    return data.decode(CHARSETS.get(charset.lower(), "latin-1"), "replace")


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    try:
        return binascii.a2b_base64(raw + b"===")
    except binascii.Error:
        return raw


def _scanned(value: str) -> Scanned:
    return scan_addresses(value, decode_words)


def _unfolded(raw: str) -> str:
    # RFC 5322 section 2.2.3; a bare CR is a line end to some readers, so it may not survive either.
    value = raw[:MAX_FIELD]
    if "\n" in value or "\r" in value:
        value = value.replace("\r\n", "").replace("\n", "").replace("\r", " ")
    if not value.isascii():
        octets = value.encode("latin-1")
        try:
            value = octets.decode("utf-8")
        except UnicodeDecodeError:
            value = octets.decode("latin-1")
    return value.strip(" \t")


def _too_big(raw: dict[str, list[str]], cut: bool) -> str:
    if cut:
        return f"the header section is longer than {MAX_SECTION} bytes"
    if any(len(value) > MAX_FIELD for values in raw.values() for value in values):
        return f"a header field is longer than {MAX_FIELD} bytes"
    return ""


_DATE = re.compile(r"(?:[A-Za-z]{2,9},?)?[ \t]*+(\d{1,2})[ \t-]++([A-Za-z]{3})[a-z]*+[ \t-]++(\d{2,4})[ \t]++"
                   r"(\d{1,2}):(\d\d)(?::(\d\d))?(?:\.\d+)?[ \t]*+(?:([+-])(\d\d)(\d\d)|([A-Za-z]+))?")  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")
# RFC 5322 section 4.3; any other name means an unknown zone, read as UTC.
_ZONES = {"edt": -4, "est": -5, "cdt": -5, "cst": -6, "mdt": -6, "mst": -7, "pdt": -7, "pst": -8}


def parse_date(text: str) -> float:
    """A date-time (RFC 5322 section 3.3, obsolete forms too) in seconds since the epoch; 0.0 for anything else."""
    match = _DATE.match(text[:200].strip())
    if match is None or match[2].lower() not in _MONTHS:
        return 0.0
    day, year, hour, minute, second = int(match[1]), int(match[3]), int(match[4]), int(match[5]), int(match[6] or 0)
    if len(match[3]) < 4:
        year += 2000 if year < 50 else 1900
    if not (1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60 and year >= 1900):
        return 0.0
    offset = _ZONES.get((match[10] or "").lower(), 0) * 3600
    if match[7]:
        offset = (int(match[8]) * 3600 + int(match[9]) * 60) * (1 if match[7] == "+" else -1)
    days = _days(year, _MONTHS.index(match[2].lower()) + 1, day)
    return float(days * 86400 + hour * 3600 + minute * 60 + second - offset)


def date_header(epoch: float) -> str:
    """A date-time in UTC for a Date field."""
    days, second = divmod(int(epoch), 86400)
    year, month, day = _civil(days)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{_DAYS[days % 7]}, {day:02} {_MONTHS[month - 1].title()} {year:04} {clock} +0000"


def _days(year: int, month: int, day: int) -> int:
    # Days since 1970-01-01 in the Gregorian calendar, years counted from March so that leap days come last.
    year -= month <= 2
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469


def _civil(days: int) -> tuple[int, int, int]:
    era, rest = divmod(days + 719468, 146097)
    year = (rest - rest // 1460 + rest // 36524 - rest // 146096) // 365
    rest -= 365 * year + year // 4 - year // 100
    month = (5 * rest + 2) // 153
    year += era * 400 + (month >= 10)
    return year, (month + 2) % 12 + 1, rest - (153 * month + 2) // 5 + 1

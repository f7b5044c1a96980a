"""What FETCH and SEARCH say about one mail (RFC 3501 sections 6.4.4 and 6.4.5), for the demo's server.

Pure: a message and the client's tokens in, bytes or a truth out. Body parts other than the whole, its header and its
text are not offered; asking for them raises ``Bad``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.demo.imap_syntax import Bad, Token, date_time, number_set, parse_date_time, word, words
from gateway.demo.mailbox import Message
from pipeline.headers import decode_words

_BODY = re.compile(rb"BODY(\.PEEK)?\[([^\]]*)\](?:<(\d{1,10})(?:\.(\d{1,10}))?>)?$", re.IGNORECASE)
_FIELDS = re.compile(rb"HEADER\.FIELDS(\.NOT)?\s+\(([^)]*)\)$", re.IGNORECASE)
_OLD_NAMES = {b"RFC822": b"BODY[]", b"RFC822.HEADER": b"BODY.PEEK[HEADER]", b"RFC822.TEXT": b"BODY[TEXT]"}
_FAST = (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:.*(?:\n[ \t].*)*\n?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One ``BODY[...]`` item."""

    name: bytes
    peek: bool
    label: bytes
    """How the answer names it."""
    offset: int = 0
    length: int | None = None

    def of(self, content: bytes) -> bytes:
        """The bytes that this section names."""
        whole = _section(self.name, content)
        return whole[self.offset :][: self.length]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a FETCH asks for."""

    plain: tuple[bytes, ...]
    sections: tuple[Section, ...]

    @property
    def sees(self) -> bool:
        """Whether this FETCH sets ``\\Seen``."""
        return any(not section.peek for section in self.sections)


def wanted(token: Token, *, by_uid: bool) -> Wanted:
    """Read the items of a FETCH; one by UID always answers the UID."""
    plain = [b"UID"] if by_uid else []
    sections: list[Section] = []
    for item in words(token):
        name = item.upper()
        name = _OLD_NAMES.get(name, name)
        if name == b"FAST":
            plain.extend(_FAST)
        elif name in (b"UID", *_FAST):
            plain.append(name)
        elif (found := _BODY.match(name)) is not None:
            sections.append(_read_section(found, item))
        else:
            raise Bad("Unknown FETCH item")
    return Wanted(plain=tuple(dict.fromkeys(plain)), sections=tuple(sections))


def _read_section(found: re.Match[bytes], item: bytes) -> Section:
    label = re.sub(rb"(?i)^BODY\.PEEK", b"BODY", item)  # RFC822 and its kin keep their name
    offset, length = found[3], found[4]
    if offset is not None:
        label = label[: label.rindex(b"<")] + b"<%d>" % int(offset)
    _section(found[2], b"")
    return Section(
        name=found[2],
        peek=found[1] is not None,
        label=label,
        offset=int(offset or 0),
        length=int(length) if length else None,
    )


def plain_items(message: Message, want: Wanted) -> list[bytes]:
    """The short items of a FETCH answer."""
    value = {
        b"UID": lambda: b"%d" % message.uid,
        b"FLAGS": lambda: flag_list(message.flags),
        b"INTERNALDATE": lambda: b'"%s"' % date_time(message.internaldate).encode("ascii"),
        b"RFC822.SIZE": lambda: b"%d" % len(message.content),
    }
    return [b"%s %s" % (name, value[name]()) for name in want.plain]


def flag_list(flags: set[str]) -> bytes:
    """Flags in parentheses."""
    return b"(%s)" % " ".join(sorted(flags)).encode("ascii", "replace")


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Header section with its empty line, and the text behind it."""
    if content.startswith((b"\r\n", b"\n")):
        cut = content.index(b"\n") + 1
        return content[:cut], content[cut:]
    ends = [end + len(mark) for mark in (b"\r\n\r\n", b"\n\n") if (end := content.find(mark)) >= 0]
    cut = min(ends, default=len(content))
    return content[:cut], content[cut:]


def _section(name: bytes, content: bytes) -> bytes:
    if name == b"":
        return content
    header, text = _split(content)
    if name == b"HEADER":
        return header
    if name == b"TEXT":
        return text
    if (found := _FIELDS.match(name)) is not None:
        asked = {each.strip(b'"').lower() for each in found[2].split()}
        return b"".join(line for field, line in _fields(header) if (field.lower() in asked) is (found[1] is None)) + (
            b"\r\n"
        )
    raise Bad("Body parts are not offered")


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    for found in _FIELD.finditer(header):
        yield found[1], found[0]


_FIELD_KEYS = (b"FROM", b"TO", b"CC", b"SUBJECT")
_FLAG_KEYS = {b"SEEN": "\\Seen", b"DELETED": "\\Deleted", b"ANSWERED": "\\Answered", b"FLAGGED": "\\Flagged"}


def search(keys: Sequence[Token], messages: Sequence[Message]) -> list[Message]:
    """The mails that match all keys; sequence numbers are places in ``messages``."""
    rest = list(keys)
    chosen = list(messages)
    if rest and word(rest[0]).upper() == b"CHARSET":
        rest = rest[2:]
    if not rest:
        raise Bad("Missing search key")
    while rest:
        chosen = _narrow(rest, chosen, messages)
    return chosen


def _narrow(rest: list[Token], chosen: list[Message], messages: Sequence[Message]) -> list[Message]:
    """Apply the first key of ``rest``, and take it off."""
    key = word(rest.pop(0)).upper()
    if key == b"ALL":
        return chosen
    if key == b"UID":
        uids = set(number_set(_argument(rest), [message.uid for message in messages]))
        return [message for message in chosen if message.uid in uids]
    if key == b"HEADER":
        field, value = _argument(rest).lower(), _argument(rest).lower()
        return [message for message in chosen if _has(message.content, field, value)]
    if key in _FIELD_KEYS:
        value = _argument(rest).lower()
        return [message for message in chosen if _has(message.content, key.lower(), value)]
    if key in (b"SINCE", b"BEFORE"):  # by whole days of the server's zone, which is UTC
        day = parse_date_time(_argument(rest) + b" 00:00:00 +0000")
        return [message for message in chosen if (message.internaldate >= day) is (key == b"SINCE")]
    if key.removeprefix(b"UN") in _FLAG_KEYS:
        flag = _FLAG_KEYS[key.removeprefix(b"UN")]
        return [message for message in chosen if (flag in message.flags) is not key.startswith(b"UN")]
    if key[:1].isdigit() or key[:1] == b"*":
        numbers = set(number_set(key, range(1, len(messages) + 1)))
        return [message for number, message in enumerate(messages, 1) if number in numbers and message in chosen]
    raise Bad("Unknown search key")


def _argument(rest: list[Token]) -> bytes:
    if not rest:
        raise Bad("Missing argument")
    return word(rest.pop(0))


def _has(content: bytes, field: bytes, value: bytes) -> bool:
    """Whether a field holds a text, as it is written or with its encoded words decoded (RFC 3501 section 6.4.4)."""
    header, _ = _split(content)
    lines = [line.partition(b":")[2] for name, line in _fields(header) if name.lower() == field]
    return any(value in each.lower() for line in lines for each in (line, _decoded(line)))


def _decoded(line: bytes) -> bytes:
    return decode_words(line.decode("utf-8", "replace")).encode("utf-8", "replace") if b"=?" in line else b""

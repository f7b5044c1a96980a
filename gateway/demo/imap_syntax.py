"""The grammar of IMAP as far as the demo's server speaks it (RFC 3501 section 9): commands in, strings out.

Pure functions on bytes. A command is tokens: bytes for atoms and strings of all kinds, lists for parentheses; an atom
keeps its bracketed section (``BODY.PEEK[HEADER]<0.100>``) in one piece. What breaks the grammar raises ``Bad``.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

_DEPTH = 16
_RANGES = 2000
_TOKEN = re.compile(
    rb' +|(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\\r\n]|\\.)*)"|(?P<atom>(?:[^\s()"\[\]]|\[[^\]]*\])+)'
)
LITERAL = re.compile(rb"\{(\d{1,10})(\+?)\}$")
"""The announcement of a literal at the end of a line; with ``+`` the client does not wait for us (RFC 7888)."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Token: TypeAlias = "bytes | list[Token]"


class Bad(Exception):
    """The client broke the grammar, or asked for what there is not: BAD."""


class No(Exception):
    """The command is understood and refused: NO."""


def tokens(parts: Sequence[tuple[bytes, bytes | None]]) -> list[Token]:
    """The tokens of a command that was read as pieces of line, each but the last followed by a literal."""
    stack: list[list[Token]] = [[]]
    for text, literal in parts:
        _scan(text if literal is None else LITERAL.sub(b"", text), stack)
        if literal is not None:
            stack[-1].append(literal)
    if len(stack) != 1:
        raise Bad("Unbalanced parentheses")
    return stack[0]


def _scan(text: bytes, stack: list[list[Token]]) -> None:
    at = 0
    while at < len(text):
        if (found := _TOKEN.match(text, at)) is None:
            raise Bad("Syntax error")
        at = found.end()
        if found["open"]:
            if len(stack) >= _DEPTH:
                raise Bad("Too deep")
            inner: list[Token] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif found["close"]:
            stack.pop()
            if not stack:
                raise Bad("Unbalanced parentheses")
        elif found["quoted"] is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", found["quoted"]))
        elif found["atom"]:
            stack[-1].append(found["atom"])


def word(token: Token) -> bytes:
    """A token that must be an atom or a string."""
    if not isinstance(token, bytes):
        raise Bad("Parentheses not expected")
    return token


def words(token: Token) -> list[bytes]:
    """A token that must be a list of atoms or strings, or a single one."""
    return [word(each) for each in token] if isinstance(token, list) else [token]


def number_set(text: bytes, existing: Sequence[int]) -> list[int]:
    """The members of ``existing`` (ascending) that a sequence set names; ``*`` is the last one (RFC 3501 section 9)."""
    ranges = text.split(b",")
    if len(ranges) > _RANGES:
        raise Bad("Too many ranges")
    chosen: set[int] = set()
    last = existing[-1] if existing else 0
    for each in ranges:
        low, colon, high = each.partition(b":")
        first = _number(low, last)
        second = _number(high, last) if colon else first
        # n:* names the last mail even when n is beyond it.
        start, end = sorted((first, second))
        chosen.update(existing[bisect_left(existing, start) : bisect_right(existing, end)])
    return sorted(chosen)


def _number(text: bytes, last: int) -> int:
    if text == b"*":
        return last
    if not re.fullmatch(rb"[1-9]\d{0,9}", text):
        raise Bad("Invalid number")
    return int(text)


def quoted(text: str) -> bytes:
    """A string as the server writes it: quoted, folder names in modified UTF-7 before."""
    return b'"' + text.encode("ascii", "replace").replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def date_time(seconds: float) -> str:
    """INTERNALDATE as it is written, in UTC."""
    at = time.gmtime(seconds)
    return f"{at.tm_mday:2d}-{_MONTHS[at.tm_mon - 1]}-{at.tm_year:04d} {time.strftime('%H:%M:%S', at)} +0000"


def parse_date_time(text: bytes) -> float:
    """Seconds since the epoch of an INTERNALDATE."""
    try:
        day, month, rest = text.decode("ascii").strip().split("-", 2)
        stamp = f"{int(day):02d} {_MONTHS.index(month.title()) + 1} {rest}"
        return datetime.strptime(stamp, "%d %m %Y %H:%M:%S %z").timestamp()
    except ValueError as error:
        raise Bad("Invalid date-time") from error


def encode_name(name: str) -> str:
    """A folder name as it travels: modified UTF-7 (RFC 3501 section 5.1.3)."""
    parts = re.split(r"([^\x20-\x7e]+)", name)
    return "".join(_shift(part) if i % 2 else part.replace("&", "&-") for i, part in enumerate(parts))


def _shift(text: str) -> str:
    coded = base64.b64encode(text.encode("utf-16-be", "replace")).decode("ascii")
    return "&" + coded.rstrip("=").replace("/", ",") + "-"


def decode_name(raw: bytes) -> str:
    """A folder name as people read it; raises Bad on what is no modified UTF-7."""
    try:
        text = raw.decode("ascii")
        return re.sub(r"&([^-&]*)-", lambda found: _unshift(found[1]), text)
    except (UnicodeError, binascii.Error) as error:
        raise Bad("Invalid mailbox name") from error


def _unshift(coded: str) -> str:
    if not coded:
        return "&"
    raw = base64.b64decode(coded.replace(",", "/") + "=" * (-len(coded) % 4))
    return raw.decode("utf-16-be")

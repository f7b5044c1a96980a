"""Finds the addresses in a header field such as From or To (RFC 5322 section 3.4), in linear time.

Tolerant towards what real mailers write, strict where two readers could see two different authors: an entry with a
stray bracket, a second "@", an open quote or a source route yields no address at all (CVE-2023-27043). It works on
the raw text; encoded words are decoded afterwards, and only for display. Never raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from pipeline.touchpoint import normalise

MAX_ADDRESSES = 1000
"""More than this many in one field, and the rest is not looked at."""
MAX_PIECES = 12_000
"""Brackets, quotes, commas and the words between them in one field; a thousand addresses with names have 10,000."""
MAX_COMMENT_DEPTH = 100
MAX_LENGTH = 320
"""Longest address that is taken for one (RFC 5321 section 4.5.3.1: 64 + 1 + 255)."""

_LOCAL = r'(?:[^\s\x00-\x20\x7f-\x9f()<>\[\]:;@\\,"]++|"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[\x20-\x7e])++")'
_DOMAIN = r"(?:\w[\w-]*+(?:\.[\w-]++)*+|\[[\w.:]++\])"
_ADDRESS = re.compile(rf"{_LOCAL}@{_DOMAIN}")
# What most fields hold, in one go: "Name" <address>, Name <address>, or the address alone.
_PLAIN_WORDS = r'[^\x00-\x08\x0a-\x1f\x7f()<>\[\]:;@\\,"]*+'
_ONE = re.compile(rf'[ \t]*+(?:(?:"([^"\\\x00-\x08\x0a-\x1f\x7f]*+)"[ \t]*+|({_PLAIN_WORDS}))<({_ADDRESS.pattern})>'
                  rf"|({_ADDRESS.pattern}))[ \t]*+")  # fmt: skip
_PIECES = re.compile(r'\\.|[\\"(),:;<>@]|[^\\"(),:;<>@]+', re.DOTALL)


class Address(NamedTuple):
    """One mailbox as a header names it."""

    display: str
    """The name beside it, decoded; may be ""."""
    address: str
    """As written; compare with ``normalise``."""


class Scanned(NamedTuple):
    """What a field holds."""

    found: tuple[Address, ...]
    doubt: str
    """Why something in the field was left out; "" when it was read whole."""
    groups: bool = False
    """Whether the field uses group syntax."""


def is_address(text: str) -> bool:
    """Whether ``text`` is one plain address, nothing around it."""
    return len(text) <= MAX_LENGTH and _ADDRESS.fullmatch(text) is not None


def scan_addresses(text: str, decode: Callable[[str], str] = str) -> Scanned:
    """All addresses of an unfolded field; ``decode`` turns the raw display name into text for people."""
    if (one := _ONE.fullmatch(text)) is not None:
        quoted, words, in_angle, bare = one.groups()
        address = in_angle or bare
        if len(address) > MAX_LENGTH:
            return Scanned((), "an address is too long")
        return Scanned((Address(decode((quoted or words or "").strip()), address),), "")
    return _Scanner(decode).run(text)


class _Scanner:
    """Walks the pieces of a field once; one entry (between commas) at a time."""

    def __init__(self, decode: Callable[[str], str]) -> None:
        self.decode = decode
        self.found: list[Address] = []
        self.doubt = ""
        self.groups = False
        self._next_entry()

    def _next_entry(self) -> None:
        self.words: list[str] = []
        self.quoted = False
        self.bare_at = False
        self.angle: list[str] | None = None
        self.closed = False
        self.comment = ""
        self.fault = ""

    def run(self, text: str) -> Scanned:
        """The whole field."""
        quote: list[str] | None = None
        depth = 0
        comment: list[str] = []
        for match in islice(_PIECES.finditer(text), MAX_PIECES):
            piece = match[0]
            if quote is not None:
                quote.append(piece)
                if piece == '"':
                    self._quoted("".join(quote))
                    quote = None
            elif depth:
                depth += (piece == "(") - (piece == ")")
                comment.append(piece)
                if depth > MAX_COMMENT_DEPTH:
                    break
                if not depth:
                    self._commented("".join(comment[:-1]))
                    comment.clear()
            elif piece == '"':
                quote = [piece]
            elif piece == "(":
                depth = 1
            else:
                self._take(piece)
                if len(self.found) >= MAX_ADDRESSES:
                    self.doubt = f"more than {MAX_ADDRESSES} addresses"
                    break
        else:
            if _has_more(text):
                return Scanned(tuple(self.found), self.doubt or "too many brackets and commas", self.groups)
            if quote is not None or depth or (self.angle is not None and not self.closed):
                self.fault = "a quote, comment or bracket is not closed"
            self._end_entry()
            return Scanned(tuple(self.found), self.doubt, self.groups)
        return Scanned(tuple(self.found), self.doubt or "comments are nested too deep", self.groups)

    def _take(self, piece: str) -> None:
        inside = self.angle is not None and not self.closed
        match piece:
            case "," | ";" if not inside:
                self._end_entry()
            case ":" if not inside and not self.closed and not self.bare_at and self.words and not self.groups:
                self.groups = True
                self._next_entry()
            case "<" if self.angle is None:
                self.angle = []
            case ">" if inside:
                self.closed = True
            case "," | ";" | ":" | "<" | ">" | ")":
                self.fault = f"a stray {piece!r}"
            case _ if piece[0] == "\\":
                self.fault = "a stray backslash"
            case _ if inside and self.angle is not None:
                self.angle.append(piece)
            case _ if self.closed:
                self.fault = "text behind an address" if piece.strip() else self.fault
            case _:
                self.words.append(piece)
                self.bare_at = self.bare_at or piece == "@"

    def _quoted(self, text: str) -> None:
        if self.closed:
            self.fault = "text behind an address"
        elif self.angle is not None:
            self.angle.append(text)
        else:
            self.words.append(text)
            self.quoted = True

    def _commented(self, text: str) -> None:
        if (self.angle is not None and not self.closed) or (self.words and self.words[-1] == "@"):
            self.fault = "a comment inside an address"
        else:
            self.comment = self.comment or text
            if self.angle is None and self.words:
                self.words.append(" ")

    def _end_entry(self) -> None:
        before = "".join(self.words).strip()
        if self.fault:
            self.doubt = self.doubt or self.fault
        elif self.angle is not None:
            self._keep(before, "".join(self.angle).strip())
        elif before:
            self._keep(self.comment, before, bare=True)
        self._next_entry()

    def _keep(self, display: str, address: str, *, bare: bool = False) -> None:
        if not is_address(address):
            self.doubt = self.doubt or ("an empty address" if not address else "something that is no address")
        elif not bare and self.bare_at and normalise(display) != normalise(address):
            self.doubt = self.doubt or "two addresses in one entry"
        else:
            self.found.append(Address(self.decode(_unquoted(display)), address))


def _has_more(text: str) -> bool:
    """Whether a field has more pieces than are looked at."""
    return len(text) > MAX_PIECES and next(islice(_PIECES.finditer(text), MAX_PIECES, None), None) is not None


def _unquoted(display: str) -> str:
    if '"' not in display and "\\" not in display:
        return display
    return re.sub(r'\\(.)|"', lambda match: match[1] or "", display, flags=re.DOTALL)

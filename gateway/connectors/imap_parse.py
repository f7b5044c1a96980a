"""The grammar of IMAP (RFC 3501, RFC 9051) as far as we speak it: bytes in, values out. No sockets, no waiting.

``Framer`` cuts the stream into responses by the literal suffix ``{n}`` alone, never by counting parentheses, and
without recursion, so neither a flood of lines nor a smiley in a subject confuses it. A response is a list of parts:
line, literal, line, ..., line. What a server may make us hold is bounded: each response has at most ``line`` bytes
of lines and ``literal`` bytes of literals. Everything else here is a function of one response.
"""

from __future__ import annotations

import binascii
import calendar
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Response = list[bytes]
Value = bytes | int | list["Value"] | None
Row = dict[str, Value]

UID_MAX = 2**32 - 1
_STATUS = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_CODE = re.compile(r"\[([A-Za-z0-9._-]+)(?: ([^\]]*))?\] ?", re.ASCII)
_TOKEN = re.compile(
    rb' *(?:(?P<open>\()|(?P<close>\))|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"|~?\{(?P<literal>\d+)\}\Z'
    rb'|(?P<atom>(?:BODY|BINARY)(?:\.\w+)?\[[^\]]*\](?:<\d+>)?|[^\s()"{}]+))',
    re.DOTALL | re.IGNORECASE,
)
_DATE = re.compile(rb"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = {name: number for number, name in enumerate(b"JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), 1)}
_DEPTH = 64


class Malformed(ValueError):
    """These bytes are not IMAP."""


class TooBig(Malformed):
    """A response exceeds a limit; ``uid`` says of which item, as far as the response told (0: not known)."""

    def __init__(self, text: str, uid: int = 0) -> None:
        super().__init__(text)
        self.uid = uid


class Framer:
    """Cuts a byte stream into responses; fed with whatever pieces the network makes of it."""

    __slots__ = ("_line_bytes", "_literal", "_missing", "_partial", "_parts", "_room", "line", "literal")

    def __init__(self, *, line: int, literal: int) -> None:
        self.line = line
        self.literal = literal
        self._parts: Response = []
        self._partial = bytearray()
        self._literal = bytearray()
        self._missing = 0
        self._line_bytes = 0
        self._room = literal

    @property
    def midway(self) -> bool:
        """Whether the stream stands within a response."""
        return bool(self._parts or self._partial)

    def feed(self, data: bytes) -> Iterator[Response]:
        """The responses that these bytes complete; raises TooBig."""
        at, size = 0, len(data)
        while at < size:
            if self._missing:
                at = self._take_literal(data, at)
                continue
            end, after = self._line_end(data, at)
            if end < 0:
                self._partial += data[at : at + self.line + 1]
                self._check_line(len(self._partial))
                return
            if self._partial:
                self._partial += data[at:end]
                line = bytes(self._partial[: len(self._partial) - (after - end == 1)])
                self._partial.clear()
            else:
                line = data[at:end]
            at = after
            if self._takes_line(line):
                parts, self._parts, self._line_bytes, self._room = self._parts, [], 0, self.literal
                yield parts

    def _line_end(self, data: bytes, at: int) -> tuple[int, int]:
        """Where the line ends and where the next one begins; the CR may already be in the partial line."""
        if self._partial and self._partial[-1] == 13 and data[at] == 10:
            return at, at + 1
        end = data.find(b"\r\n", at)
        return end, end + 2

    def _takes_line(self, line: bytes) -> bool:
        """Add a line; whether the response is complete with it."""
        if line.startswith(b"\0") and not self._parts:  # some server pads with NUL
            line = line.lstrip(b"\0")
        self._check_line(len(line))
        self._line_bytes += len(line)
        self._parts.append(line)
        if not line.endswith(b"}") or (size := self._announced(line)) is None:
            return True
        if size > self._room:
            raise TooBig(f"literals of {size} bytes and more, above the limit of {self.literal}", uid_hint(self._parts))
        self._room -= size
        self._missing = size
        if not size:
            self._parts.append(b"")
        return False

    def _announced(self, line: bytes) -> int | None:
        # Status text may end in {5} and means nothing by it (RFC 3501 section 9, resp-text); data may not.
        if not self._parts[0].startswith(b"* ") or _STATUS.match(self._parts[0]):
            return None
        digits = line[line.rfind(b"{") + 1 : -1]
        if not digits.isdigit():
            return None
        return int(digits) if len(digits) < 20 else 10**20

    def _take_literal(self, data: bytes, at: int) -> int:
        end = min(at + self._missing, len(data))
        self._missing -= end - at
        if not self._missing and not self._literal:
            self._parts.append(data[at:end])
            return end
        self._literal += memoryview(data)[at:end]
        if not self._missing:
            self._parts.append(bytes(self._literal))
            self._literal = bytearray()
        return end

    def _check_line(self, more: int) -> None:
        if self._line_bytes + more > self.line:
            raise TooBig(f"a line above the limit of {self.line} bytes", uid_hint(self._parts))


def number_of(text: str) -> int:
    """The number of a response code, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def uid_hint(parts: Sequence[bytes]) -> int:
    """The UID that an unfinished FETCH response names, or 0."""
    for line in parts[::2]:
        if match := re.search(rb"[( ]UID (\d{1,10})\b", line, re.IGNORECASE):
            return int(match[1])
    return 0


@dataclass(frozen=True, slots=True)
class Status:
    """A status response: OK, NO, BAD, BYE or PREAUTH with its code (RFC 5530) and the server's words, unfiltered."""

    word: str
    code: str
    argument: str
    """What follows the code within the brackets."""
    text: str


def status(line: bytes) -> Status:
    """Read what follows the tag or the ``* `` of a status response."""
    word, _, rest = line.partition(b" ")
    text = rest.decode("utf-8", "replace")
    match = _CODE.match(text)
    if match is None:
        return Status(word.decode("ascii", "replace").upper(), "", "", text)
    return Status(word.decode("ascii", "replace").upper(), match[1].upper(), match[2] or "", text[match.end() :])


def kind(line: bytes) -> tuple[str, int]:
    """What an untagged response is about, and its number: ``* 5 EXISTS`` is ("EXISTS", 5)."""
    fields = line.split(b" ", 3)
    if len(fields) > 2 and fields[1].isdigit():
        return fields[2].decode("ascii", "replace").upper(), int(fields[1][:20])
    return fields[1].decode("ascii", "replace").upper() if len(fields) > 1 else "", 0


def values(parts: Sequence[bytes], start: int) -> list[Value]:
    """The values of a data response behind byte ``start`` of its first line; raises Malformed."""
    top: list[Value] = []
    stack = [top]
    for number in range(0, len(parts), 2):
        line, at = parts[number], start if number == 0 else 0
        while at < len(line):
            token = _TOKEN.match(line, at)
            if token is None:
                if line[at:].strip(b" "):
                    raise Malformed("not a value of IMAP")
                break
            at = token.end()
            match token.lastgroup:
                case "open":
                    inner: list[Value] = []
                    stack[-1].append(inner)
                    stack.append(inner)
                    if len(stack) > _DEPTH:
                        raise Malformed("lists nested too deep")
                case "close":
                    stack.pop()
                    if not stack:
                        raise Malformed("a list ends that never began")
                case "quoted":
                    text = token["quoted"]
                    stack[-1].append(re.sub(rb"\\(.)", rb"\1", text) if b"\\" in text else text)
                case "literal":
                    if number + 1 >= len(parts):
                        raise Malformed("a literal without its bytes")
                    stack[-1].append(parts[number + 1])
                case _:
                    atom = token["atom"]
                    stack[-1].append(None if atom.upper() == b"NIL" else atom)
    if len(stack) != 1:
        raise Malformed("a list without its end")
    return top


def fetch_row(parts: Sequence[bytes]) -> Row:
    """A FETCH response as attribute -> value, names in upper case; UID and RFC822.SIZE are ints. Raises Malformed."""
    items = values(parts, parts[0].find(b"("))
    if len(items) != 1 or not isinstance(items[0], list) or len(items[0]) % 2:
        raise Malformed("not a list of pairs")
    row: Row = {}
    pairs = iter(items[0])
    for name in pairs:
        value = next(pairs)
        if not isinstance(name, bytes):
            raise Malformed("an attribute without a name")
        key = name.decode("ascii", "replace").upper()
        row[key] = _number(value) if key in ("UID", "RFC822.SIZE") else value
    return row


def _number(value: Value) -> int:
    if not isinstance(value, bytes) or not value.isdigit() or len(value) > 19:
        raise Malformed("not a number")
    return int(value)


@dataclass(frozen=True, slots=True)
class Listed:
    """One mailbox of a LIST answer."""

    name: str
    attributes: frozenset[str]
    """Lower case, with their backslash."""
    separator: str

    @property
    def leaf(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(self.separator)[2] if self.separator else self.name


def listed(parts: Sequence[bytes]) -> Listed:
    """Read a LIST or XLIST response; Malformed too for names that we could not ask for again."""
    attributes, separator, wire, *_ = [*values(parts, parts[0].find(b"(")), None, None, None]
    if not isinstance(attributes, list) or not isinstance(wire, bytes):
        raise Malformed("not a mailbox")
    words = frozenset(a.decode("ascii", "replace").lower() for a in attributes if isinstance(a, bytes))
    name = decode_mailbox(wire)
    if encode_mailbox(name) != wire:
        raise Malformed("a mailbox name that is not in modified UTF-7")
    if name.upper() == "INBOX":  # RFC 3501 section 5.1: the one name without case
        name = "INBOX"
    return Listed(name, words, separator.decode("ascii", "replace") if isinstance(separator, bytes) else "")


def encode_mailbox(name: str) -> bytes:
    """A mailbox name in modified UTF-7 (RFC 3501 section 5.1.3); Malformed with NUL, CR, LF or half a character."""
    if forbidden(name):
        raise Malformed("a mailbox name with NUL, CR or LF")
    out = bytearray()
    for run in re.findall(r"[ -~]+|[^ -~]+", name):
        if " " <= run[0] <= "~":
            out += run.replace("&", "&-").encode("ascii")
            continue
        try:
            coded = binascii.b2a_base64(run.encode("utf-16-be"), newline=False)
        except UnicodeEncodeError:
            raise Malformed("a mailbox name with half a character") from None
        out += b"&" + coded.rstrip(b"=").replace(b"/", b",") + b"-"
    return bytes(out)


def decode_mailbox(wire: bytes) -> str:
    """A mailbox name out of modified UTF-7; Malformed if it is not. Not every answer encodes back: compare."""
    try:
        text = wire.decode("ascii")
        return re.sub(r"&([^-]*)(-?)", _decoded_run, text)
    except (UnicodeDecodeError, binascii.Error):
        raise Malformed("a mailbox name that is not in modified UTF-7") from None


def _decoded_run(match: re.Match[str]) -> str:
    coded = match[1]
    if not match[2]:
        raise Malformed("a shift without its end")
    if not coded:
        return "&"
    padded = coded.replace(",", "/") + "=" * (-len(coded) % 4)
    return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")


def forbidden(text: str) -> bool:
    """Whether a text holds what no argument may: NUL, CR, LF end or split a command (RFC 3501 section 9)."""
    return any(character in text for character in "\0\r\n")


def quoted(text: str) -> bytes | None:
    """A quoted string, or None where it takes a literal: beyond printable ASCII, or long."""
    if not text.isascii() or not text.isprintable() or len(text) > 1000:
        return None
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'


def uid_sets(uids: Iterable[int], most: int = 7000) -> Iterator[str]:
    """UID sets that name these uids, each of at most ``most`` characters (RFC 7162 section 4: lines of 8,192)."""
    runs: list[list[int]] = []
    for uid in sorted(set(uids)):
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    words: list[str] = []
    length = 0
    for first, last in runs:
        word = str(first) if first == last else f"{first}:{last}"
        if words and length + len(word) + 1 > most:
            yield ",".join(words)
            words, length = [], 0
        words.append(word)
        length += len(word) + 1
    if words:
        yield ",".join(words)


def internaldate(value: Value) -> float:
    """Seconds since the epoch of an INTERNALDATE; 0.0 for what is none."""
    match = _DATE.fullmatch(value) if isinstance(value, bytes) else None
    month = _MONTHS.get(match[2].upper()) if match else None
    if match is None or month is None:
        return 0.0
    day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
    offset = (int(match[8]) * 60 + int(match[9])) * 60
    try:
        seconds = calendar.timegm((year, month, day, hour, minute, second))
    except ValueError:
        return 0.0
    return float(seconds - offset if match[7] == b"+" else seconds + offset)

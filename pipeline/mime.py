"""Finds the parts of a mail (RFC 2046) in its opening bytes, without decoding or copying them.

One pass over the lines that begin with two hyphens, with limits on depth, parts and sizes; time grows with the
length only. What goes beyond a limit, or could be read in two ways, sets ``degraded`` with the reason. It does not
look into attached mails: such a part is a leaf. Never raises.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pipeline.headers import Headers

MAX_DEPTH = 100
MAX_PARTS = 1000
MAX_BOUNDARY = 200
MAX_PART_SECTION = 16 * 1024
"""Bytes of the header section of a part."""

_DELIMITER = re.compile(rb"\n--([^\r\n]{1,210}+)\r?(?=\n|\Z)")
_TYPE = re.compile(r"([!#-'*+.0-9A-Z^-~-]{1,80}+/[!#-'*+.0-9A-Z^-~-]{1,80}+)(?=[ \t;(]|\Z)", re.IGNORECASE)
_PARAMETER = re.compile(r';[ \t]*+([^\s=;"]{1,60}+)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.){0,1000}+)"|([^\s;"]{0,1000}+))')
_MAX_PARAMETERS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part; offsets count from the start of the mail's content."""

    type: str
    """Such as ``text/plain``, in lower case."""
    params: dict[str, str]
    """Parameters of the type, names in lower case."""
    headers: Headers
    """The part's own fields; for the first part those of the mail."""
    depth: int
    """0 for the mail itself."""
    parent: int
    """Index of the multipart that holds it; -1 for the mail itself."""
    start: int
    """Where its header section starts."""
    body: int
    end: int | None
    """Behind the last byte of the body; None where that lies beyond the opening."""

    @property
    def encoding(self) -> str:
        """The Content-Transfer-Encoding, in lower case; 7bit where none is given."""
        return self.headers.first("content-transfer-encoding").partition(";")[0].strip().lower() or "7bit"

    @property
    def charset(self) -> str:
        """In lower case; us-ascii where none is given."""
        return self.params.get("charset", "us-ascii").strip("'").lower() or "us-ascii"

    @property
    def attached(self) -> bool:
        """Whether it asks to be shown as an attachment."""
        return self.headers.first("content-disposition").lower().startswith("attachment")


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """The parts in the order in which they start; the first is the mail itself."""

    parts: tuple[Part, ...]
    degraded: str = ""
    """Why the structure is not to be relied on; "" when it is."""


def content_type(headers: Headers) -> tuple[str, dict[str, str]]:
    """The type in lower case, "" if none is given or it cannot be read, and its parameters (the first of each name)."""
    value = headers.first("content-type")
    match = _TYPE.match(value)
    if match is None:
        return "", {}
    return match[1].lower(), parameters(value, match.end())


def parameters(value: str, at: int = 0) -> dict[str, str]:
    """The parameters in the value of a field (RFC 2045 section 5.1), the first of each name, names in lower case."""
    params: dict[str, str] = {}
    for found in _PARAMETER.finditer(value, at):
        text = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        params.setdefault(found[1].lower(), text)
        if len(params) >= _MAX_PARAMETERS:
            break
    return params


def scan_parts(opening: bytes, headers: Headers, *, whole: bool, depth: int = MAX_DEPTH) -> Structure:
    """The parts down to ``depth``; ``whole`` says that ``opening`` is all of the content."""
    walk = _Walk(opening, headers, whole, depth)
    if walk.open:
        walk.run()
    return Structure(parts=tuple(walk.parts), degraded=walk.degraded or headers.degraded)


def decoded(opening: bytes, part: Part, limit: int = 64 * 1024) -> bytes:
    """The first ``limit`` bytes of a part's body, its transfer encoding undone as far as that goes. Never raises."""
    body = opening[part.body : min(part.body + limit, len(opening) if part.end is None else part.end)]
    if part.encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if part.encoding == "base64":
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body.partition(b"=")[0])  # RFC 2045 section 6.8: "=" is the end
        return base64.b64decode(letters[: len(letters) - (len(letters) % 4 == 1)] + b"==")
    return body


class _Walk:
    """The state of one scan: the parts so far and the multiparts that are open, outermost first."""

    def __init__(self, opening: bytes, headers: Headers, whole: bool, depth: int) -> None:
        self.opening = opening
        self.depth = depth
        self.degraded = ""
        self.parts: list[Part] = []
        self.open: list[tuple[int, bytes]] = []
        """Index of a multipart, and its boundary."""
        self.ends: dict[bytes, int] = {}
        """Boundary -> place in ``open``."""
        self.last: int | None = len(opening) if whole else None
        self._begin(headers, 0, -1)

    def run(self) -> None:
        """Look at each line that may be a delimiter."""
        at = max(0, self.parts[0].body - 1)
        for match in _DELIMITER.finditer(self.opening, at):
            line = match[1].rstrip(b" \t")
            place = self.ends.get(line)
            closing = place is None and line.endswith(b"--")
            if closing:
                place = self.ends.get(line[:-2])
            if place is None:
                continue
            before = match.start() - (self.opening[match.start() - 1 : match.start()] == b"\r")
            self._end(place if closing else place + 1, before)
            if not self.open:
                return
            if not closing:
                if len(self.parts) >= MAX_PARTS:
                    self.degraded = f"more than {MAX_PARTS} parts"
                    return
                start = min(match.end() + 1, len(self.opening))
                stop = self.opening.find(b"\n--", start - 1, start + MAX_PART_SECTION)
                size = MAX_PART_SECTION if stop < 0 else max(0, stop + 1 - start)
                self._begin(Headers.scan(self.opening, start, size), start, self.open[place][0])
        if self.last is not None:
            self.degraded = self.degraded or "a multipart is not closed"

    def _begin(self, headers: Headers, start: int, parent: int) -> None:
        kind, params = content_type(headers)
        if not kind:
            digest = parent >= 0 and self.parts[parent].type == "multipart/digest"
            kind = "message/rfc822" if digest else "text/plain"
        depth = self.parts[parent].depth + 1 if parent >= 0 else 0
        if headers.count("content-type") > 1 or headers.count("content-transfer-encoding") > 1:
            self.degraded = self.degraded or "a part has two types"
        body = max(headers.end, start)
        self.parts.append(Part(type=kind, params=params, headers=headers, depth=depth, parent=parent, start=start,
                               body=body, end=self.last))  # fmt: skip
        if kind.startswith("multipart/"):
            self._open(params.get("boundary", ""), depth)

    def _open(self, boundary: str, depth: int) -> None:
        octets = boundary.rstrip().encode("utf-8", "replace")
        if not octets or len(octets) > MAX_BOUNDARY:
            self.degraded = self.degraded or "a multipart has no usable boundary"
        elif octets in self.ends:
            self.degraded = self.degraded or "two multiparts share a boundary"
        elif depth >= MAX_DEPTH:
            self.degraded = self.degraded or f"parts are nested deeper than {MAX_DEPTH}"
        elif depth < self.depth:
            self.ends[octets] = len(self.open)
            self.open.append((len(self.parts) - 1, octets))

    def _end(self, place: int, at: int) -> None:
        """Close what is open from this place inwards, and the part before: their bodies end at ``at``."""
        keep = self.open[place - 1][0] if place else -1
        closing = [len(self.parts) - 1]
        for index, boundary in self.open[place:]:
            del self.ends[boundary]
            closing.append(index)
        for index in closing:
            if index > keep and self.parts[index].end == self.last:
                self.parts[index] = _ended(self.parts[index], at)
        del self.open[place:]


def _ended(part: Part, at: int) -> Part:
    end = max(at, part.start)
    return Part(type=part.type, params=part.params, headers=part.headers, depth=part.depth, parent=part.parent,
                start=part.start, body=min(part.body, end), end=end)  # fmt: skip

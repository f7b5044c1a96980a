"""The content of an SMTP DATA command, in and out (RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2).

Owns the line ends and the dots. ``DataReader`` finds the one true end of data, CR LF . CR LF, wherever the network cut
it, takes the dots away, and names what makes a content unfit: a CR or LF on its own, a NUL, an endless line. Content
with a bare line end is never normalised, neither taken in nor sent on: the next server might see a second message in
it (SMTP smuggling). ``DataWriter`` is the way back. No I/O; holds at most four bytes of what it was given.
"""

from __future__ import annotations

from pipeline.errors import Poison

MAX_LINE = 64 * 1024
"""Octets of a line. RFC 5321 asks for 1,000; real senders write far longer ones."""

_END = b"\r\n.\r\n"


def unfit(content: bytes) -> str:
    """What is wrong with the line ends of ``content``, in words; "" when nothing is. It must not end within CR LF."""
    ends = content.count(b"\r\n")
    if content.count(b"\n") != ends:
        return "a line feed without its carriage return"
    if content.count(b"\r") != ends:
        return "a carriage return without its line feed"
    return "a NUL byte" if b"\0" in content else ""


class DataReader:
    """Reads one content, chunk by chunk; after a ``fault`` it only looks for the end."""

    __slots__ = ("_held", "_open", "_started", "fault", "over", "received")

    def __init__(self) -> None:
        # A dot in the first line is stuffed too, so reading begins as if behind a line end.
        self._held = b"\r\n"
        self._started = False
        self._open = 0
        self.fault = ""
        self.over = False
        self.received = 0
        """Octets that came over the wire for this content."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in ``data``, clean, and, once ``over``, what lies behind its end."""
        self.received += len(data)
        data = self._held + data
        end = data.find(_END)
        if end >= 0:
            self.over = True
            return self._clean(data[: end + 2]), data[end + 5 :]
        kept = _begun_end(data)
        self._held = data[len(data) - kept :]
        return self._clean(data[: len(data) - kept]), b""

    def _clean(self, body: bytes) -> bytes:
        if self.fault or not body:
            return b""
        self.fault = unfit(body) or self._too_long(body)
        if self.fault:
            return b""
        # Each line that begins with a dot has one too many; there is no other way to write it (section 4.5.2).
        body = body.replace(b"\r\n.", b"\r\n")
        if not self._started:
            self._started = True
            return body[2:]
        return body

    def _too_long(self, body: bytes) -> str:
        first, last = body.find(b"\r\n"), body.rfind(b"\r\n")
        if first < 0:
            self._open += len(body)
            longest = self._open
        else:
            longest = self._open + first
            self._open = len(body) - last - 2
            longest = max(longest, self._open)
            if last - first > MAX_LINE:
                longest = max(longest, max(map(len, body[first:last].split(b"\r\n"))))
        return "a line longer than 64 KiB" if longest > MAX_LINE else ""


class DataWriter:
    """Writes one content for the wire, chunk by chunk: clean bytes pass unchanged but for the dots."""

    __slots__ = ("_at_start", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._at_start = True

    def feed(self, chunk: bytes) -> bytes:
        """``chunk`` with its dots doubled; raises Poison for a content that must not be sent."""
        data = self._held + chunk
        self._held = b"\r" if data.endswith(b"\r") else b""
        body = data[: len(data) - len(self._held)]
        if not body:
            return b""
        if fault := unfit(body):
            raise Poison(f"not sent: the content has {fault}")
        stuffed = body.replace(b"\r\n.", b"\r\n..")
        if self._at_start and body.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_start = body.endswith(b"\r\n")
        return stuffed

    def finish(self) -> bytes:
        """What ends the data: the last line end if the content lacks one, and the dot."""
        if self._held:
            raise Poison("not sent: the content has a carriage return without its line feed")
        return b".\r\n" if self._at_start else _END


def _begun_end(data: bytes) -> int:
    """How many of the last bytes may be the begin of the end of data."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0

"""Builds mails the way the world's mail programs do, the bad ones included: the demo's paper and envelopes.

Everything is deterministic: the caller gives dates, boundaries follow from content. It writes what it is told, wrong
or hostile as it may be; real outgoing mail is written elsewhere and never by this.
"""

from __future__ import annotations

import base64
import hashlib
import quopri
import time
from collections.abc import Sequence

Header = tuple[str, str | bytes]


def encoded(text: str, charset: str = "utf-8") -> str:
    """A header text in encoded words (RFC 2047), folded where one word is not enough; plain ASCII stays."""
    if text.isascii():
        return text
    # 12 characters in any charset stay below the 75 that one word may have.
    pieces = [text[at : at + 12] for at in range(0, len(text), 12)]
    words = [base64.b64encode(piece.encode(charset)).decode("ascii") for piece in pieces]
    return "\r\n ".join(f"=?{charset}?B?{word}?=" for word in words)


def date(seconds: float, zone: str = "+0000") -> str:
    """A Date value (RFC 5322 section 3.3)."""
    return time.strftime("%a, %d %b %Y %H:%M:%S ", time.gmtime(seconds)) + zone


def mail(headers: Sequence[Header], body: bytes) -> bytes:
    """Headers, an empty line, a body; line ends as given in the body."""
    lines = []
    for name, value in headers:
        raw = value.encode("utf-8") if isinstance(value, str) else value
        lines.append(name.encode("ascii") + b": " + raw + b"\r\n")
    return b"".join(lines) + b"\r\n" + body


def crlf(text: str) -> str:
    """Text with the line ends of mail."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def text_part(text: str, *, subtype: str = "plain", charset: str = "utf-8", coding: str = "8bit") -> bytes:
    """A text part: its headers, an empty line, its encoded body."""
    raw = crlf(text).encode(charset)
    head = f"Content-Type: text/{subtype}; charset={charset}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    return head.encode("ascii") + coded(raw, coding)


def coded(raw: bytes, coding: str) -> bytes:
    """Bytes in a content transfer encoding (RFC 2045 section 6)."""
    if coding == "base64":
        return base64.encodebytes(raw).replace(b"\n", b"\r\n")
    if coding == "quoted-printable":
        # quopri would encode the CR of a CRLF.
        return quopri.encodestring(raw.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return raw


def file_part(name: str, kind: str, raw: bytes, *, inline: str = "") -> bytes:
    """An attachment; with ``inline`` an image that HTML names by this Content-ID."""
    place = "inline" if inline else "attachment"
    head = f'Content-Type: {kind}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
    head += f'Content-Disposition: {place}; filename="{name}"\r\n'
    if inline:
        head += f"Content-ID: <{inline}>\r\n"
    return head.encode("utf-8") + b"\r\n" + coded(raw, "base64")


def multipart(kind: str, *parts: bytes, extra: str = "") -> tuple[Header, bytes]:
    """Parts under one boundary: the Content-Type field and the body."""
    boundary = "=_" + hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    mark = f"--{boundary}".encode("ascii")
    body = b"".join(mark + b"\r\n" + part.removesuffix(b"\r\n") + b"\r\n" for part in parts) + mark + b"--\r\n"
    return ("Content-Type", f'multipart/{kind}; boundary="{boundary}"{extra}'), body


def nested(kind: str, *parts: bytes) -> bytes:
    """A multipart as a part of another one."""
    (name, value), body = multipart(kind, *parts)
    return f"{name}: {value!s}\r\n\r\n".encode("ascii") + body


def noise(seed: str, size: int) -> bytes:
    """Bytes that look like a compressed file and are the same each time."""
    return hashlib.shake_256(seed.encode("utf-8")).digest(size)

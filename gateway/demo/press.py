"""Prints the demo's incoming mail: one mail after another, with running numbers, dates and expectations.

Every mail begins with the Return-Path and the Received that a delivering server writes (RFC 5321 section 4.4). All
bytes follow from the arguments: two runs differ in nothing but the dates they are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.demo.writing import Header, crlf, date, mail

DOMAIN = "demo.example"
JOBS, SUPPORT, SALES = f"jobs@{DOMAIN}", f"support@{DOMAIN}", f"sales@{DOMAIN}"
TOUCHPOINTS = (JOBS, SUPPORT, SALES)


class Expected(StrEnum):
    """What must become of a mail."""

    QUEUED = "queued"
    STOPPED = "stopped"
    HELD = "held"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One mail that arrives at a touchpoint."""

    name: str
    """What is special about it, in a few words."""
    to: str
    """The touchpoint's address."""
    content: bytes
    sender: str
    """The envelope sender; "" is the null sender."""
    state: Expected = Expected.QUEUED
    answered: bool = False
    """Whether it gets an auto-reply."""
    folder: str = "INBOX"


Body = bytes | tuple[Header, bytes] | str
"""A part with its own headers; a Content-Type field and what it describes; or plain text."""


class Press:
    """Prints one mail after another, with running numbers and dates."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._count = 0

    def item(
        self,
        name: str,
        to: str,
        sender: str,
        body: Body = "Hello,\n\nplease call me back.\n",
        *more: Header,
        subject: str | bytes = "A question",
        author: str | bytes | None = None,
        envelope: str | None = None,
        addressed: str | None = None,
        message_id: str | None = None,
        without: tuple[str, ...] = (),
        state: Expected = Expected.QUEUED,
        answered: bool = False,
        folder: str = "INBOX",
    ) -> Item:
        """A mail from ``sender`` to ``to``, each usual header replaced or left out as told."""
        self._count += 1
        number = self._count
        envelope = sender if envelope is None else envelope
        at = self._now - 60 + number
        domain = sender.rpartition("@")[2] or "example.org"
        head: list[Header] = [
            ("Return-Path", f"<{envelope}>"),
            ("Received", f"from mx.{domain} by mx.{DOMAIN} with ESMTPS id D{number:03d};\r\n {date(at)}"),
            ("Date", date(at - 5)),
            ("From", author if author is not None else f"Customer {number} <{sender}>"),
            ("To", addressed if addressed is not None else to),
            ("Subject", subject),
            ("Message-ID", message_id or f"<{number:03d}.{int(self._now)}@{domain}>"),
            ("MIME-Version", "1.0"),
        ]
        kind, raw = typed(body)
        content = mail([each for each in (*head, *more, *kind) if each[0] not in without], raw)
        return Item(name=name, to=to, content=content, sender=envelope, state=state, answered=answered, folder=folder)


def typed(body: Body) -> tuple[list[Header], bytes]:
    """Content headers and raw body."""
    if isinstance(body, str):
        kind: list[Header] = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "8bit")]
        return kind, crlf(body).encode("utf-8")
    if isinstance(body, bytes):
        head, _, raw = body.partition(b"\r\n\r\n")
        return [
            (name.decode("ascii"), value) for name, _, value in (h.partition(b": ") for h in head.splitlines())
        ], raw
    return [body[0]], body[1]

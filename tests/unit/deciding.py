"""Builders for tests of stages: a mail from its fields, and a context to decide it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.conversation import MessageIds
from pipeline.headers import Headers
from pipeline.mail import OPENING, Direction, Envelope, Facts, Mail, RelayUser
from pipeline.memory import Memory
from pipeline.stage import Context, Installation
from pipeline.touchpoint import AutoReply, Touchpoint, without_tag

NOW = 1_800_000_000.0
OURS = "support@shop.example"
OTHER = "sales@shop.example"
HOME = "5f3a9c017b2e4d68"
"""The id of the installation."""
IDS = MessageIds(secret=b"a secret for tests", hostname="mail.shop.example")

PLAIN = {
    "Return-Path": "<buyer@example.org>",
    "From": "Buyer <buyer@example.org>",
    "To": f"Support <{OURS}>",
    "Subject": "A question",
    "Message-ID": "<1@example.org>",
    "Date": "Fri, 15 Jan 2027 08:00:00 +0000",
}
"""A mail that a person wrote to us."""


def content(changes: dict[str, str | None] | None = None, lines: Sequence[str] = (), body: str = "Hello.\r\n") -> bytes:
    """PLAIN with some fields changed or (None) left out, and more lines behind them."""
    fields = PLAIN | (changes or {})
    section = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return ("\r\n".join([*section, *lines]) + "\r\n\r\n" + body).encode()


def decide_mail(data: bytes | None = None, **changes: Any) -> Mail:
    """A mail as a stage gets it; the envelope's sender is the return path."""
    data = content() if data is None else data
    headers = Headers.scan(data[:OPENING])
    values: dict[str, Any] = {
        "direction": Direction.IN,
        "envelope": Envelope(sender=headers.return_path, recipients=(OURS,)),
        "opening": data[:OPENING],
        "headers": headers,
        "size": len(data),
        "received_at": NOW - 60,
        "seed": "1/INBOX/1/17",
        **changes,
    }
    return Mail(**values)


def outbound(data: bytes, *recipients: str, relay_user: RelayUser | None = None) -> Mail:
    """A mail that an internal sender submitted."""
    envelope = Envelope(sender=OURS, recipients=recipients or ("buyer@example.org",))
    return decide_mail(data, direction=Direction.OUT, envelope=envelope, relay_user=relay_user)


def a_context(*, memory: Memory | None = None, facts: Facts | None = None, now: float = NOW, **changes: Any) -> Context:
    """A context whose touchpoint is active and answers automatically."""
    values: dict[str, Any] = {
        "id": 1,
        "address": OURS,
        "name": "Support",
        "active": True,
        "activated_at": NOW - 86400,
        "aliases": frozenset({"help@shop.example"}),
        "auto_reply": AutoReply(active=True, text="Thank you, we will answer soon."),
        **changes,
    }
    addresses = frozenset(map(without_tag, (OURS, OTHER, "help@shop.example")))
    return Context(
        touchpoint=Touchpoint(**values),
        installation=Installation(id=HOME, hostname="mail.shop.example", addresses=addresses, message_ids=IDS),
        memory=memory or Memory(),
        now=now,
        facts=facts or Facts(conversation="c" * 24),
    )

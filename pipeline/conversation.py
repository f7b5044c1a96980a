"""Which mails belong together, and the signed Message-IDs that prove it.

A conversation has a key, fixed by the mail that opened it. A later mail joins when its References or In-Reply-To
(RFC 5322 section 3.6.4) name a Message-ID of the conversation *and* its author already takes part in it: a header
alone is not enough, or a stranger who knows an id could read along.

What we write carries a Message-ID that names its conversation under a keyed hash (BLAKE2), so a reply finds its way
even where every stored reference is gone, and nobody else can make one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KEY_LENGTH = 24
"""Hex digits of a conversation's key (96 bits)."""
_MAC_LENGTH = 20


def conversation_key(touchpoint_id: int, seed: str) -> str:
    """The key of the conversation that a mail with this seed opens."""
    return hashlib.blake2b(f"{touchpoint_id}\0{seed}".encode(), digest_size=KEY_LENGTH // 2).hexdigest()


@dataclass(frozen=True, slots=True)
class MessageIds:
    """Makes and checks the Message-IDs of what this installation writes: ``<pr.KEY.UNIQUE.MAC@host>``."""

    secret: bytes
    hostname: str

    def make(self, conversation: str, unique: str) -> str:
        """A Message-ID, angle brackets included, for a mail of ``conversation``; ``unique`` is hex."""
        return f"<pr.{conversation}.{unique}.{self._mac(conversation, unique)}@{self.hostname}>"

    def conversation_of(self, message_id: str) -> str | None:
        """The conversation that one of our own ids names; None for anybody else's, or an altered one."""
        left, _, _ = message_id.strip("<> ").partition("@")
        parts = left.split(".")
        if len(parts) != 4 or parts[0] != "pr" or not left.isascii():
            return None
        _, conversation, unique, mac = parts
        return conversation if hmac.compare_digest(mac, self._mac(conversation, unique)) else None

    def _mac(self, conversation: str, unique: str) -> str:
        text = f"{conversation}\0{unique}\0{self.hostname}".encode()
        return hashlib.blake2b(text, key=self.secret[:64], digest_size=_MAC_LENGTH // 2).hexdigest()


@dataclass(frozen=True, slots=True)
class Known:
    """A conversation that the line knows of."""

    key: str
    participants: frozenset[str]
    """Normalised addresses that wrote or were written to."""


def find(references: Sequence[str], author: str, known: Iterable[tuple[str, Known]]) -> Known | None:
    """The conversation to join: the one that the latest reference names and in which ``author`` takes part.

    ``references`` are Message-IDs, oldest first; ``known`` pairs a Message-ID with a conversation that holds it.
    """
    by_id: dict[str, list[Known]] = {}
    for message_id, conversation in known:
        by_id.setdefault(message_id, []).append(conversation)
    for message_id in reversed(references):
        for conversation in by_id.get(message_id, ()):
            if author in conversation.participants:
                return conversation
    return None

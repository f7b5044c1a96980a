"""Everything that the checker compares: the servers' and the clients' ledgers, and a copy of the database."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.demo.mailbox import ItemKey
from gateway.demo.smtp_server import Submitted
from pipeline.headers import Headers
from pipeline.mail import OPENING
from pipeline.touchpoint import without_tag
from tests.faults.desks import Desk
from tests.faults.workload import Try

_SHIFT = 1 << 20


@dataclass(frozen=True)
class Accept:
    """One mail that a provider's submission server answered, or would have answered, with 250."""

    message_id: str
    sha256: str
    recipients: tuple[str, ...]
    user: str
    at: float
    automatic: bool
    """It says ``Auto-Submitted: auto-replied``."""

    @classmethod
    def of(cls, mail: Submitted) -> Accept:
        """From the provider's own record."""
        headers = Headers.scan(mail.content[:OPENING])
        return cls(
            message_id=bare(mail.message_id),
            sha256=hashlib.sha256(mail.content).hexdigest(),
            recipients=mail.recipients,
            user=without_tag(mail.user),
            at=mail.at,
            automatic=headers.first("auto-submitted") == "auto-replied",
        )


def bare(message_id: str) -> str:
    """A Message-ID without its brackets."""
    return message_id.strip().removeprefix("<").removesuffix(">")


@dataclass
class Evidence:
    """Everything there is to compare; times in seconds since the epoch, hashes in hex."""

    store: sqlite3.Connection
    """On a copy of the database."""
    desks: Sequence[Desk]
    held: Mapping[ItemKey, str]
    """Every item that was ever put into a watched folder -> SHA-256 of what is served."""
    flags: Mapping[ItemKey, frozenset[str]]
    """The items that are in the watched folders now -> their flags."""
    accepts: Sequence[Accept]
    tries: Sequence[Try]
    again: frozenset[ItemKey] = frozenset()
    """Items that were there before under another number: their folder was renumbered."""
    expunged: frozenset[ItemKey] = frozenset()
    """Items that somebody else took away; they may be gone before they were fetched."""
    due_before: Mapping[int, float] = field(default_factory=dict)
    """Waiting outbound entry -> when it was due at the last look."""
    deaths: int = 0
    ring_groups: frozenset[str] = frozenset()
    """What every touchpoint is linked to."""
    secrets: Sequence[str] = ()
    files: Sequence[Path] = ()
    """Where no secret may be: logs, the database, its WAL."""
    notified: str = ""
    """Who gets the notice of a final failure; "" where nobody does."""
    first_retry: float = 1.0
    """``retry.first`` of the settings, seconds."""

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query."""
        cursor = self.store.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    @cached_property
    def touchpoints(self) -> dict[int, str]:
        """Id -> address."""
        return {row["id"]: row["address"] for row in self.rows("SELECT id, address FROM touchpoint")}

    @cached_property
    def entries(self) -> dict[int, dict[str, Any]]:
        """All of the spool by id."""
        return {row["id"]: row for row in self.rows("SELECT * FROM entry ORDER BY id")}

    @cached_property
    def outbound(self) -> dict[str, list[dict[str, Any]]]:
        """Outbound entries by Message-ID."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.entries.values():
            if row["direction"] == "out":
                found[bare(row["message_id"])].append(row)
        return found

    @cached_property
    def ledger(self) -> dict[ItemKey, dict[str, Any]]:
        """The ledger by item, as the server names it."""
        rows = self.rows("SELECT * FROM ledger ORDER BY id")
        return {self._key(row): row for row in rows}

    @cached_property
    def ranges(self) -> dict[tuple[str, str, int], list[tuple[int, int]]]:
        """(address, folder, epoch) -> the ranges that were left alone."""
        found: dict[tuple[str, str, int], list[tuple[int, int]]] = defaultdict(list)
        for row in self.rows("SELECT * FROM ledger_range"):
            place = (self.touchpoints.get(row["touchpoint_id"], "?"), row["folder"], row["epoch"])
            found[place].append((row["low"], row["high"]))
        return found

    @cached_property
    def attempts(self) -> dict[int, list[dict[str, Any]]]:
        """Entry -> its attempts in order."""
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows("SELECT * FROM attempt ORDER BY id"):
            found[row["entry_id"]].append(row)
        return found

    @cached_property
    def accepted(self) -> dict[str, list[Accept]]:
        """Message-ID -> what the provider accepted of it."""
        found: dict[str, list[Accept]] = defaultdict(list)
        for each in self.accepts:
            found[each.message_id].append(each)
        return found

    def stored(self, content_id: int) -> bytes:
        """A content, from its chunks."""
        rows = self.store.execute(
            "SELECT data FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id",
            (content_id * _SHIFT, (content_id + 1) * _SHIFT - 1),
        )
        return b"".join(row[0] for row in rows)

    def in_range(self, key: ItemKey) -> bool:
        """Whether an item was left alone as part of a range."""
        return any(low <= key.uid <= high for low, high in self.ranges.get((key.address, key.folder, key.epoch), ()))

    def due(self) -> dict[int, float]:
        """Waiting outbound entries and when they are due, for the next look."""
        return {i: r["due_at"] for i, r in self.entries.items() if r["direction"] == "out" and r["state"] == "waiting"}

    def _key(self, row: Mapping[str, Any]) -> ItemKey:
        address = self.touchpoints.get(row["touchpoint_id"], "?")
        return ItemKey(address, row["folder"], row["epoch"], row["remote_id"])

"""Writes the rows of one spool entry: what every door into the spool has in common. SQL only, inside a caller's tx."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, assert_never

from pipeline.line import Outcome, Trail, participants
from pipeline.mail import Direction
from pipeline.splice import pack
from pipeline.store import Row, Tx
from pipeline.touchpoint import Touchpoint, normalise
from pipeline.verdict import Action, HoldCause


class State(StrEnum):
    """Where a spool entry stands; the transitions are in ``spool.py``."""

    WAITING = "waiting"
    """To be walked (in) or handed over (out) when due."""
    ACTIVE = "active"
    """In hand of a sending lane."""
    HELD = "held"
    """Set aside for a person, with a cause."""
    UNKNOWN = "unknown"
    """Handed over, and the answer never came."""
    FAILED = "failed"
    """Refused for good, or given up."""
    DONE = "done"


class Disposition(StrEnum):
    """What DONE means."""

    QUEUED = "queued"
    STOPPED = "stopped"
    DELIVERED = "delivered"
    DROPPED = "dropped"


class Origin(StrEnum):
    """Which door an entry came in by."""

    FETCHED = "fetched"
    RELAY = "relay"
    AUTO_REPLY = "auto-reply"
    NOTICE = "notice"


@dataclass(frozen=True, kw_only=True, slots=True)
class Born:
    """How an entry starts its life."""

    touchpoint_id: int
    direction: Direction
    origin: Origin
    state: State
    at: float
    disposition: str = ""
    cause: str = ""
    reason: str = ""
    held_by: str = ""
    kind: str = ""
    mark: str = ""
    content_id: int = 0
    size: int = 0
    splices: bytes = b""
    seed: str = ""
    envelope_sender: str | None = None
    author: str = ""
    subject: str = ""
    message_id: str = ""
    conversation_id: int = 0
    config_version: int = 0
    relay_user_id: int = 0
    received_at: float = 0.0
    due_at: float = 0.0
    deferred_since: float = 0.0
    notice_for: int = 0


_COLUMNS = tuple(field.name for field in fields(Born) if field.name != "at")
_INSERT = f"INSERT INTO entry ({', '.join(_COLUMNS)}, accepted_at) VALUES ({', '.join(':' + c for c in _COLUMNS)}, :at)"


def insert(tx: Tx, born: Born) -> int:
    """A new entry; its id."""
    values = {name: getattr(born, name) for name in _COLUMNS}
    return tx.insert(_INSERT, {**values, "at": born.at})


def from_outcome(outcome: Outcome, touchpoint_id: int, origin: Origin, **fate: Any) -> Born:
    """The part of an entry that the mail and its walk say; ``fate`` is the rest: state, content, conversation."""
    mail = outcome.mail
    fate.setdefault("reason", outcome.reason[:2000])
    return Born(
        touchpoint_id=touchpoint_id,
        direction=mail.direction,
        origin=origin,
        at=outcome.at,
        cause=_cause(outcome),
        kind=outcome.facts.kind.value,
        mark=_mark(outcome),
        size=mail.size,
        splices=pack(outcome.splices),
        seed=mail.seed,
        envelope_sender=mail.envelope.sender,
        author=mail.headers.author,
        subject=mail.headers.subject,
        message_id=mail.message_id,
        config_version=outcome.version,
        relay_user_id=mail.relay_user.id if mail.relay_user else 0,
        received_at=mail.received_at,
        **fate,
    )


def _cause(outcome: Outcome) -> str:
    """What is set aside always has a cause, also where its stage forgot to name one."""
    if outcome.cause is not None:
        return outcome.cause.value
    match outcome.action:
        case Action.REJECT:
            return HoldCause.REJECTED.value
        case Action.HOLD:
            return HoldCause.STAGE_FAILED.value
        case Action.STOP | Action.DEFER:  # outbound these set aside, too: only PASS is ever sent
            return HoldCause.STAGE_FAILED.value if outcome.mail.direction is Direction.OUT else ""
        case Action.PASS:
            return ""
        case _:
            assert_never(outcome.action)


def _mark(outcome: Outcome) -> str:
    if outcome.facts.bounce is not None:
        return "" if outcome.facts.answers else "unmatched bounce"
    return "junk" if outcome.mail.junk else "resumed" if outcome.mail.resumed else ""


def add_recipients(tx: Tx, entry_id: int, addresses: Iterable[str]) -> None:
    """One row for each RCPT, in the order given."""
    tx.many(
        "INSERT INTO recipient (entry_id, number, address) VALUES (:entry, :number, :address)",
        [{"entry": entry_id, "number": n, "address": address} for n, address in enumerate(addresses)],
    )


def add_walk(tx: Tx, entry_id: int, trail: Trail, version: int, at: float, number: int = 1) -> None:
    """Keep the trail of a walk; the first one has number 1."""
    tx.run(
        "INSERT INTO walk (entry_id, number, at, config_version, trail)"
        " VALUES (:entry, :number, :at, :version, :trail)",
        {
            "entry": entry_id,
            "number": number,
            "at": at,
            "version": version,
            "trail": json.dumps(trail, ensure_ascii=False),
        },
    )


def walks(tx: Tx, entry_id: int) -> int:
    """How many walks an entry has behind it."""
    row = tx.one("SELECT count(*) AS n FROM walk WHERE entry_id = :id", {"id": entry_id})
    return 0 if row is None else int(row["n"])


def assign(tx: Tx, entry_id: int, ring_groups: Sequence[int]) -> None:
    """Put the mail into queues; ring groups that are gone meanwhile are left out."""
    tx.many(
        "INSERT OR IGNORE INTO assignment (ring_group_id, entry_id)"
        " SELECT id, :entry FROM ring_group WHERE id = :group",
        [{"entry": entry_id, "group": group} for group in ring_groups],
    )


def queues(tx: Tx, entry_id: int) -> list[Row]:
    """The ring groups (``id``, ``name``) in whose queues a mail is, by name."""
    return tx.all(
        "SELECT g.id, g.name FROM assignment AS a JOIN ring_group AS g ON g.id = a.ring_group_id"
        " WHERE a.entry_id = :id ORDER BY g.name",
        {"id": entry_id},
    )


def join_conversation(tx: Tx, outcome: Outcome, touchpoint: Touchpoint) -> int:
    """Put a mail that came through its line into its conversation, made if need be; the conversation's id, or 0."""
    if outcome.action is not Action.PASS or not outcome.facts.conversation:  # a line without ingest names none
        return 0
    row = tx.one(
        "INSERT INTO conversation (key, touchpoint_id, subject, opened_at, last_at)"
        " VALUES (:key, :touchpoint, :subject, :at, :at)"
        " ON CONFLICT (key) DO UPDATE SET last_at = excluded.last_at RETURNING id",
        {
            "key": outcome.facts.conversation,
            "touchpoint": touchpoint.id,
            "subject": outcome.mail.headers.subject,
            "at": outcome.at,
        },
    )
    conversation_id = 0 if row is None else int(row["id"])
    tx.many(
        "INSERT OR IGNORE INTO participant (conversation_id, address) VALUES (:id, :address)",
        [
            {"id": conversation_id, "address": each}
            for each in participants(outcome.mail, normalise(touchpoint.address))
        ],
    )
    return conversation_id


def count(tx: Tx, name: str, number: int = 1) -> None:
    """Add to one of the counters that the account is checked against."""
    if number:
        tx.run(
            "INSERT INTO counter (name, value) VALUES (:name, :number)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            {"name": name, "number": number},
        )

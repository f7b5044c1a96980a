"""What can be missing, and how it shows in the rows that a proof reads: pure comparison of one row with itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.proof_rows import CHUNK, Group
from pipeline.store import Row

_EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""SHA-256 of no bytes at all."""


class Loss(StrEnum):
    """In which way something is missing."""

    UNKNOWN_ITEM = "unknown-item"
    """The server has it below the cursor, and the ledger knows nothing of it."""
    NO_ROW = "no-row"
    """A fetched mail whose ledger row is gone."""
    NO_ENTRY = "no-entry"
    """A ledger row that names a mail which is not there, or another one."""
    NO_CONTENT = "no-content"
    """A mail without all of its bytes."""
    NO_STATE = "no-state"
    """A mail in a state that the account does not know."""
    REMOVED = "removed"
    """An id that was given, and no such mail."""
    UNSETTLED = "unsettled"
    """A mail that counts as sent or failed without the words or results that make it so."""
    COUNTER = "counter"
    """A counter of the account that says otherwise than the mails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """One thing that is not where it must be; what is not known is 0 or ""."""

    way: str
    """in, out."""
    loss: Loss
    words: str
    touchpoint_id: int = 0
    folder: str = ""
    remote_id: int = 0
    entry_id: int = 0
    message_id: str = ""
    subject: str = ""


def entry_loss(group: Group, row: Row) -> tuple[Loss, str] | None:
    """What is missing of the mail that a row of the ledger names."""
    entry_id = row["entry_id"]
    if row["entry_state"] is None:
        return Loss.NO_ENTRY, f"it was taken as mail {entry_id}, which is not there any more"
    if row["direction"] != "in" or row["owner"] != group.touchpoint_id:
        return Loss.NO_ENTRY, f"it was taken as mail {entry_id}, which is another one"
    place = row["disposition"] if row["entry_state"] == "done" else row["entry_state"]
    if place not in ("queued", "stopped", "dropped", "held", "waiting"):
        return Loss.NO_STATE, f"mail {entry_id} is in no state of the account: {row['entry_state']} {place}"
    if not row["content_id"] and row["sha256"] in (b"", _EMPTY):  # held without its bytes, or empty from the start
        return None
    return content_loss(entry_id, row)


def content_loss(entry_id: int, row: Row) -> tuple[Loss, str] | None:
    """What is missing of the bytes of a mail."""
    if row["content_size"] is None:
        return Loss.NO_CONTENT, f"the content of mail {entry_id} is not there any more"
    chunks = max(1, -(-row["content_size"] // CHUNK))
    if (row["chunks"], row["stored"] or 0) != (chunks, row["content_size"]) or row["content_size"] != row["size"]:
        words = f"{row['stored'] or 0} of {row['size']} bytes, {row['chunks']} of {chunks} chunks"
        return Loss.NO_CONTENT, f"the content of mail {entry_id} is not whole: {words}"
    if not row["owned"]:
        return Loss.NO_CONTENT, f"the content of mail {entry_id} belongs to nobody: the next start would sweep it away"
    return None


def out_loss(row: Row) -> tuple[Loss, str] | None:
    """What is missing of a submission."""
    entry_id, place = row["id"], row["disposition"] if row["state"] == "done" else row["state"]
    if place not in ("delivered", "dropped", "waiting", "active", "held", "unknown", "failed"):
        return Loss.NO_STATE, f"mail {entry_id} is in no state of the account: {row['state']} {place}"
    if not row["recipients"]:
        return Loss.UNSETTLED, f"mail {entry_id} has no recipients any more"
    if place in ("delivered", "failed") and row["unsettled"]:
        return Loss.UNSETTLED, f"mail {entry_id} is {place}, and {row['unsettled']} of its recipients have no result"
    if place == "delivered" and not (row["delivered"] and row["words"]):
        return Loss.UNSETTLED, f"mail {entry_id} is delivered, and no server's word says so"
    return content_loss(entry_id, row)


def kind_of(walked: bool, addressed: bool) -> str:
    """What a removed mail was, by what is left of it: in, relay, auto-reply (or a notice), or "" for no trace."""
    if addressed:
        return "relay" if walked else "auto-reply"
    return "in" if walked else ""

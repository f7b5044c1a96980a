"""A mail that was held without its bytes, and that a person let go on: it is asked for again at its server.

      HELD, ledger taken  --release-->  HELD "being fetched", ledger pending, due now
        the bytes came    -> WAITING, walked as released; ledger taken
        the server has it no more -> HELD, and says so; ledger gone
        it did not come   -> as before, due later        it killed the process again -> HELD poison, ledger taken
        dropped meanwhile -> nothing is fetched; ledger taken

The limit of size is lifted for this one item and its strikes are forgotten: that is what the person decided. SQL only,
inside a caller's transaction; ``gateway/refetching.py`` talks to the server.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import ledger
from pipeline.entry import State
from pipeline.errors import Refused
from pipeline.headers import head_hash
from pipeline.ledger import ItemState
from pipeline.mail import Mail
from pipeline.store import Row, Tx, Value, content
from pipeline.verdict import HoldCause

_WAITS = "being fetched: "
"""How the reason of such a mail begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Came:
    """The bytes of a mail, and the mail as a line sees it."""

    mail: Mail
    data: bytes = b""
    content_id: int = 0
    """For content that lies in the store already."""


def lacks_bytes(row: Row) -> bool:
    """Whether an entry is one whose content was never fetched."""
    return row["direction"] == "in" and not row["content_id"] and row["size"] > 0


def is_asked_for(row: Row) -> bool:
    """Whether such an entry is being fetched now."""
    return row["state"] == State.HELD and bool(row["released_by"]) and lacks_bytes(row)


def ask_again(tx: Tx, row: Row, actor: str, now: float) -> None:
    """A person released a held mail without bytes; raises Refused where no server can have it any more."""
    item = _item(tx, row["id"])
    if item is None:
        raise Refused(f"mail {row['id']} has no content, and no server is known that has it; drop it")
    if item["state"] == ItemState.GONE:
        raise Refused(f"mail {row['id']} is gone from the server, and its content was never fetched; drop it")
    _forgive(tx, item)
    tx.run(
        "UPDATE ledger SET state = 'pending', attempts = 0, due_at = :now, error = :error WHERE id = :id",
        {"id": item["id"], "now": now, "error": f"asked for again by {actor}"[:500]},
    )
    tx.run(
        "UPDATE entry SET released_by = :actor, reason = :reason WHERE id = :id",
        {"id": row["id"], "actor": actor, "reason": f"{_WAITS}released by {actor}"},
    )


def begin(tx: Tx, item: Row, due_at: float) -> Row | None:
    """Count a try before it is made, so that a connection it breaks does not ask again at once; the entry.

    None where there is nothing to fetch: somebody dropped the mail, or the folder was renumbered meanwhile.
    """
    entry = tx.one("SELECT * FROM entry WHERE id = :id", {"id": item["entry_id"]})
    if entry is None or not is_asked_for(entry):
        _settle(tx, item, ItemState.TAKEN)
        return None
    newest = _item(tx, item["entry_id"])
    if newest is not None and newest["epoch"] != item["epoch"]:
        _settle(tx, item, ItemState.TAKEN)
        tx.run("UPDATE ledger SET state = 'pending', due_at = 0 WHERE id = :id", {"id": newest["id"]})
        return None
    ledger.still_pending(tx, item["id"], due_at, item["error"])
    return entry


def came(tx: Tx, item: Row, entry: Row, found: Came, mark: str, now: float) -> bool:
    """The bytes are here: the mail waits to be walked as released; False where somebody dropped it meanwhile."""
    fresh = tx.one("SELECT * FROM entry WHERE id = :id", {"id": entry["id"]})
    if fresh is None or not is_asked_for(fresh):
        if found.content_id:
            content.delete(tx, found.content_id)
        _settle(tx, item, ItemState.TAKEN)
        return False
    mail = found.mail
    content_id = found.content_id or content.put(tx, found.data, mail.sha256)
    if found.content_id:
        content.adopt(tx, content_id)
    values: dict[str, Value] = {
        "id": entry["id"],
        "content": content_id,
        "size": mail.size,
        "sender": mail.envelope.sender,
        "author": mail.headers.author,
        "subject": mail.headers.subject,
        "message": mail.message_id,
        "now": now,
    }
    tx.run(
        "UPDATE entry SET state = 'waiting', cause = '', reason = '', due_at = :now, content_id = :content,"
        " size = :size, envelope_sender = :sender, author = :author, subject = :subject, message_id = :message"
        " WHERE id = :id",
        values,
    )
    _settle(tx, item, ItemState.TAKEN)
    tx.run(
        "UPDATE ledger SET message_id = :message, head_hash = :head, sha256 = :sha256, mark_due = :mark WHERE id = :id",
        {
            "id": item["id"],
            "message": mail.headers.message_id,
            "head": head_hash(mail.headers),
            "sha256": mail.sha256,
            "mark": mark,
        },
    )
    return True


def did_not_come(tx: Tx, item: Row, error: str) -> None:
    """The server did not give it out this time; ``begin`` has said when it is asked again."""
    tx.run("UPDATE ledger SET error = :error WHERE id = :id AND state = 'pending'",
           {"id": item["id"], "error": error[:500]})  # fmt: skip
    _say(tx, item, f"{_WAITS}the server said: {error}")


def gone(tx: Tx, item: Row) -> None:
    """The server has it no more: there is nothing to release."""
    _settle(tx, item, ItemState.GONE)
    _give_back(tx, item, "it is gone from the server, so its content cannot be fetched any more")


def killed_again(tx: Tx, item: Row, count: int) -> None:
    """Fetching it ended the process again, too often: held as before."""
    _settle(tx, item, ItemState.TAKEN)
    reason = f"Postroom died {count} times while fetching it again; it is still on the server"
    _give_back(tx, item, reason, HoldCause.POISON)


def _item(tx: Tx, entry_id: int) -> Row | None:
    """The newest item of a server that an entry stands for."""
    return tx.one(
        "SELECT l.* FROM ledger AS l JOIN entry AS e ON e.id = l.entry_id"
        " WHERE e.id = :id AND l.touchpoint_id = e.touchpoint_id ORDER BY l.id DESC LIMIT 1",
        {"id": entry_id},
    )


def _forgive(tx: Tx, item: Row) -> None:
    tx.run(
        "DELETE FROM strike WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :epoch"
        " AND :uid BETWEEN low AND high",
        {
            "touchpoint": item["touchpoint_id"],
            "folder": item["folder"],
            "epoch": item["epoch"],
            "uid": item["remote_id"],
        },
    )


def _settle(tx: Tx, item: Row, state: ItemState) -> None:
    tx.run(
        "UPDATE ledger SET state = :state, error = '' WHERE id = :id AND state = 'pending'",
        {"id": item["id"], "state": state.value},
    )


def _say(tx: Tx, item: Row, reason: str) -> None:
    tx.run(
        "UPDATE entry SET reason = :reason WHERE id = :id AND state = 'held'",
        {"id": item["entry_id"], "reason": reason[:2000]},
    )


def _give_back(tx: Tx, item: Row, reason: str, cause: HoldCause | None = None) -> None:
    """It is held as before, and nobody's release stands any more."""
    tx.run(
        "UPDATE entry SET released_by = '', reason = :reason, cause = coalesce(:cause, cause)"
        " WHERE id = :id AND state = 'held'",
        {"id": item["entry_id"], "reason": reason[:2000], "cause": cause.value if cause else None},
    )

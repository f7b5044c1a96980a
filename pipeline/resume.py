"""What is durable of a resume: a folder has new numbers, and what we had of it goes on under them.

All functions take ``tx``. Rows under the new numbers are written in slices, each harmless alone and written once
however often it is tried; what makes the new numbers count (the cursor, pending items, marks) is one last commit. Until
then the old cursor stands, so that a resume which is cut off begins anew and comes to the same end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline import ledger, refetch
from pipeline.errors import Refused, StaleVersion
from pipeline.identity import Old
from pipeline.ledger import RangeKind
from pipeline.store import Row, Tx
from pipeline.touchpoint import ResumeChoice


@dataclass(frozen=True, slots=True)
class Renumbered:
    """A folder and its new epoch."""

    touchpoint_id: int
    folder: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Place:
    """An item under its new number."""

    remote_id: int
    internaldate: float
    size: int
    known_as: int
    """The row of the item that it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """How many items of a folder are what."""

    known: int = 0
    left: int = 0
    """Left alone, as they were before or as a person says now."""
    unseen: int = 0
    """To be taken."""
    old: int = 0
    """Of the unseen: dated before the last arrival."""
    high: int = 0
    """The last remote id that was there."""


def known_items(tx: Tx, at: Renumbered, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], Old]]:
    """Items of earlier epochs that nothing stands for in the new one yet, behind (epoch, remote id), in order."""
    rows = tx.all(
        "SELECT id, epoch, remote_id, state, head_hash, size, internaldate, sha256, message_id FROM ledger"
        " WHERE touchpoint_id = :touchpoint AND folder = :folder AND (epoch, remote_id) > (:epoch, :remote)"
        " AND epoch < :new AND state IN ('taken', 'moved', 'pending') ORDER BY epoch, remote_id LIMIT :limit",
        {**_folder(at), "epoch": after[0], "remote": after[1], "new": at.epoch, "limit": limit},
    )
    return [((row["epoch"], row["remote_id"]), _old(row)) for row in rows]


def _old(row: Row) -> Old:
    sha256 = row["sha256"]
    return Old(
        row["id"],
        row["head_hash"] if sha256 else b"",
        row["size"],
        row["internaldate"],
        sha256,
        bool(row["message_id"]),
    )


def used(tx: Tx, at: Renumbered) -> set[int]:
    """The rows for which something stands in the new epoch already."""
    rows = tx.all(
        "SELECT known_id FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :new"
        " AND state = 'known'",
        {**_folder(at), "new": at.epoch},
    )
    return {row["known_id"] for row in rows}


def placed(tx: Tx, at: Renumbered, low: int, high: int) -> dict[int, str]:
    """Remote id -> state of the items of the new epoch that have a row."""
    rows = tx.all(
        "SELECT remote_id, state FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :new"
        " AND remote_id BETWEEN :low AND :high",
        {**_folder(at), "new": at.epoch, "low": low, "high": high},
    )
    return {row["remote_id"]: row["state"] for row in rows}


def pending(tx: Tx, at: Renumbered) -> set[int]:
    """The rows of earlier epochs that are pending."""
    rows = tx.all(
        "SELECT id FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch < :new"
        " AND state = 'pending'",
        {**_folder(at), "new": at.epoch},
    )
    return {row["id"] for row in rows}


def left_before(tx: Tx, at: Renumbered) -> dict[RangeKind, float]:
    """Until when items were left alone as a whole, by kind; of earlier epochs."""
    rows = tx.all(
        "SELECT kind, max(at) AS until FROM ledger_range WHERE touchpoint_id = :touchpoint AND folder = :folder"
        " AND epoch < :new GROUP BY kind",
        {**_folder(at), "new": at.epoch},
    )
    return {RangeKind(row["kind"]): row["until"] for row in rows}


def last_arrival(tx: Tx, at: Renumbered) -> float:
    """When the last item came that we know; where there is none, when the folder was looked at last."""
    row = tx.one(
        "SELECT max(internaldate) AS last FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder"
        " AND epoch < :new",
        {**_folder(at), "new": at.epoch},
    )
    if row is not None and row["last"]:
        return float(row["last"])
    row = tx.one(
        "SELECT max(at) AS last FROM (SELECT at FROM ledger_range WHERE touchpoint_id = :touchpoint"
        " AND folder = :folder AND epoch < :new UNION ALL"
        " SELECT updated_at FROM cursor WHERE touchpoint_id = :touchpoint AND folder = :folder)",
        {**_folder(at), "new": at.epoch},
    )
    return float(row["last"] or 0.0) if row is not None else 0.0


# -- Writing -------------------------------------------------------------------------------------------------------


def keep(tx: Tx, at: Renumbered, places: Sequence[Place], now: float) -> None:
    """Items that we had are known under their new numbers; written once, however often it is tried."""
    tx.many(
        "INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, entry_id, internaldate, size, message_id,"
        " head_hash, sha256, seen_at, known_id)"
        " SELECT touchpoint_id, folder, :new, :remote, 'known', entry_id, :internaldate, :size, message_id, head_hash,"
        " sha256, :now, id FROM ledger WHERE id = :id AND state IN ('taken', 'moved')"
        " ON CONFLICT (touchpoint_id, folder, epoch, remote_id) DO NOTHING",
        [
            {
                "new": at.epoch,
                "remote": each.remote_id,
                "internaldate": each.internaldate,
                "size": each.size,
                "now": now,
                "id": each.known_as,
            }
            for each in places
        ],
    )


def finish(
    tx: Tx, at: Renumbered, cursors: tuple[str | None, str], pending: Iterable[Place], found: Found, now: float
) -> None:
    """Make the new numbers count; ``cursors`` are the one that died and the new one.

    Raises StaleVersion where the folder's cursor was moved meanwhile.
    """
    if ledger.cursor(tx, at.touchpoint_id, at.folder) != cursors[0]:
        raise StaleVersion(f"the cursor of {at.folder} was moved meanwhile")
    _move_pending(tx, at, pending, now)
    _move_marks(tx, at)
    _note(tx, at, found, resumed_at=now)
    ledger.set_cursor(tx, at.touchpoint_id, at.folder, cursors[1], now)


def _move_pending(tx: Tx, at: Renumbered, pending: Iterable[Place], now: float) -> None:
    for each in pending:
        tx.run(
            "INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, entry_id, internaldate, size,"
            " attempts, due_at, error, seen_at) SELECT touchpoint_id, folder, :new, :remote, state, entry_id,"
            " :internaldate, :size, attempts, due_at, error, :now FROM ledger WHERE id = :id AND state = 'pending'"
            " ON CONFLICT (touchpoint_id, folder, epoch, remote_id) DO NOTHING",
            {
                "new": at.epoch,
                "remote": each.remote_id,
                "internaldate": each.internaldate,
                "size": each.size,
                "now": now,
                "id": each.known_as,
            },
        )
        tx.run(
            "UPDATE ledger SET state = 'gone', error = :error WHERE id = :id AND state = 'pending'",
            {"error": f"the folder was renumbered: it is uid {each.remote_id} now", "id": each.known_as},
        )
    released = tx.all(
        "SELECT * FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch < :new"
        " AND state = 'pending' AND entry_id <> 0",
        {**_folder(at), "new": at.epoch},
    )
    for row in released:  # held without its bytes, and asked for again
        refetch.gone(tx, row)
    tx.run(
        "UPDATE ledger SET state = 'gone', error = 'it was never fetched, and when the folder was renumbered it was"
        " not there any more' WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch < :new"
        " AND state = 'pending'",
        {**_folder(at), "new": at.epoch},
    )


def _move_marks(tx: Tx, at: Renumbered) -> None:
    """What is still to be marked on the server is so under its new number; what is gone needs no mark."""
    due = tx.all(
        "SELECT id, mark_due FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch < :new"
        " AND mark_due <> ''",
        {**_folder(at), "new": at.epoch},
    )
    marks = {row["id"]: row["mark_due"] for row in due}
    standing = tx.all(
        "SELECT id, known_id FROM ledger WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :new"
        " AND state = 'known'",
        {**_folder(at), "new": at.epoch},
    ) if marks else []  # fmt: skip
    tx.many(
        "UPDATE ledger SET mark_due = :mark WHERE id = :id",
        [{"id": row["id"], "mark": marks[row["known_id"]]} for row in standing if row["known_id"] in marks]
        + [{"id": number, "mark": ""} for number in marks],
    )


def _note(tx: Tx, at: Renumbered, found: Found, *, asked_at: float = 0.0, resumed_at: float = 0.0) -> None:
    """A folder has one row, the last one; a question that stays the same keeps its time and its answer."""
    tx.run(
        "INSERT INTO resume (touchpoint_id, folder, epoch, known, left_alone, unseen, old, high, asked_at, resumed_at)"
        " VALUES (:touchpoint, :folder, :new, :known, :left, :unseen, :old, :high, :asked, :resumed)"
        " ON CONFLICT (touchpoint_id, folder) DO UPDATE SET known = excluded.known, left_alone = excluded.left_alone,"
        "  unseen = excluded.unseen, old = excluded.old, high = excluded.high, resumed_at = excluded.resumed_at,"
        "  asked_at = CASE WHEN epoch = excluded.epoch AND asked_at > 0 THEN asked_at ELSE excluded.asked_at END,"
        "  choice = CASE WHEN epoch = excluded.epoch THEN choice ELSE '' END,"
        "  chosen_by = CASE WHEN epoch = excluded.epoch THEN chosen_by ELSE '' END,"
        "  epoch = excluded.epoch",
        {
            **_folder(at),
            "new": at.epoch,
            "known": found.known,
            "left": found.left,
            "unseen": found.unseen,
            "old": found.old,
            "high": found.high,
            "asked": asked_at,
            "resumed": resumed_at,
        },
    )


# -- Asking a person -----------------------------------------------------------------------------------------------


def ask(tx: Tx, at: Renumbered, found: Found, now: float) -> None:
    """A person is to decide; nothing is taken from the folder until then."""
    _note(tx, at, found, asked_at=now)


def forget_question(tx: Tx, touchpoint_id: int, folder: str) -> None:
    """The folder has its old numbers back: nothing is asked any more."""
    tx.run(
        "DELETE FROM resume WHERE touchpoint_id = :touchpoint AND folder = :folder AND resumed_at = 0",
        {"touchpoint": touchpoint_id, "folder": folder},
    )


def chosen(tx: Tx, at: Renumbered) -> ResumeChoice | None:
    """What a person decided about this renumbering; None where nobody did."""
    row = standing(tx, at.touchpoint_id, at.folder)
    return ResumeChoice(row["choice"]) if row is not None and row["epoch"] == at.epoch and row["choice"] else None


def standing(tx: Tx, touchpoint_id: int, folder: str) -> Row | None:
    """The row of a folder's last resume."""
    return tx.one(
        "SELECT * FROM resume WHERE touchpoint_id = :touchpoint AND folder = :folder",
        {"touchpoint": touchpoint_id, "folder": folder},
    )


def of_touchpoint(tx: Tx, touchpoint_id: int) -> list[Row]:
    """The last resume of each folder, by name."""
    return tx.all("SELECT * FROM resume WHERE touchpoint_id = :id ORDER BY folder", {"id": touchpoint_id})


def high(tx: Tx, touchpoint_id: int, folder: str, epoch: int) -> int:
    """What was there when this epoch began is from a resume, up to this remote id; 0 where it was not resumed."""
    row = standing(tx, touchpoint_id, folder)
    return int(row["high"]) if row is not None and row["epoch"] == epoch else 0


def choose(tx: Tx, touchpoint_id: int, folder: str, choice: ResumeChoice, by: str) -> list[str]:
    """A person decides about one folder, or about all ("") that are asked about; their names. Raises Refused."""
    rows = [row for row in of_touchpoint(tx, touchpoint_id) if is_open(row) and folder in ("", row["folder"])]
    if not rows:
        raise Refused(
            f"nothing is asked about the folder {folder}" if folder else "nothing is asked about this touchpoint"
        )
    tx.many(
        "UPDATE resume SET choice = :choice, chosen_by = :by WHERE touchpoint_id = :touchpoint AND folder = :folder",
        [
            {"choice": choice.value, "by": by, "touchpoint": touchpoint_id, "folder": row["folder"]}
            for row in rows
        ],
    )  # fmt: skip
    return [row["folder"] for row in rows]


def is_open(row: Row) -> bool:
    """Whether somebody still has to answer."""
    return bool(row["asked_at"] and not row["resumed_at"] and not row["choice"])


OPEN = "asked_at > 0 AND resumed_at = 0 AND choice = ''"
"""The same in SQL."""


def _folder(at: Renumbered) -> dict[str, int | str]:
    return {"touchpoint": at.touchpoint_id, "folder": at.folder}

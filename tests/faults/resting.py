"""When a house has come to rest: all that was put is taken, all that was accepted has its end, nothing is due."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.demo.mailbox import ItemKey

_UNFINISHED = {
    "mails wait or are in hand": "SELECT count(*), min(direction || ' ' || id || ' ' || state || ' ' || reason)"
    " FROM entry WHERE state IN ('waiting', 'active', 'unknown')",
    "marks are due": "SELECT count(*), min(folder || ' ' || remote_id) FROM ledger WHERE mark_due <> ''",
    "Sent copies are due": "SELECT count(*), min(id) FROM entry WHERE sent_copy_due = 1",
}


def unfinished(store: sqlite3.Connection, there: Sequence[ItemKey]) -> list[str]:
    """What is left to do for a house whose watched folders hold these items; nothing at rest."""
    ids = dict(store.execute("SELECT id, address FROM touchpoint WHERE deleted_at = 0"))
    known = {
        (ids.get(row[0], ""), *row[1:])
        for row in store.execute("SELECT touchpoint_id, folder, epoch, remote_id FROM ledger")
    }
    pending = [tuple(row) for row in store.execute("SELECT error FROM ledger WHERE state = 'pending'")]
    ranges = [
        (ids.get(row[0], ""), *row[1:])
        for row in store.execute("SELECT touchpoint_id, folder, epoch, low, high FROM ledger_range")
    ]
    missing = [
        key for key in there
        if tuple(key) not in known
        and not any(key[:3] == each[:3] and each[3] <= key.uid <= each[4] for each in ranges)
    ]  # fmt: skip
    left = [f"{len(missing)} mails are not taken, such as {missing[0]}"] if missing else []
    left += [f"{len(pending)} items are pending: {pending[0][0]}"] if pending else []
    for what, sql in _UNFINISHED.items():
        count, example = store.execute(sql).fetchone()
        left += [f"{count} {what}, such as {example}"] if count else []
    return left

"""Strikes: which mail was in hand when the process died, and how often.

At start every mail that the flight note names gets one strike, committed before anything else happens. A mail with
strikes is fetched and walked alone; at the third it is held as ``poison`` and nothing touches it any more. A fetched
page is noted as a range, so its innocent mails carry a strike too until they are taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.store import Tx

OUT = 3
"""The strike at which a mail is held."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InHand:
    """Mail that was being fetched (``low``..``high``) or walked; folder "" names the spool, by entry id."""

    touchpoint_id: int
    folder: str
    epoch: int
    low: int
    high: int
    phase: str
    """"fetch" or "walk"."""


def strike(tx: Tx, hands: Iterable[InHand], at: float) -> None:
    """One strike for everything that was in hand."""
    for hand in hands:
        tx.run(
            "INSERT INTO strike (touchpoint_id, folder, epoch, low, high, phase, count, at)"
            " VALUES (:touchpoint, :folder, :epoch, :low, :high, :phase, 1, :at)"
            " ON CONFLICT (touchpoint_id, folder, epoch, low, high)"
            " DO UPDATE SET count = count + 1, phase = excluded.phase, at = excluded.at",
            {
                "touchpoint": hand.touchpoint_id,
                "folder": hand.folder,
                "epoch": hand.epoch,
                "low": hand.low,
                "high": hand.high,
                "phase": hand.phase,
                "at": at,
            },
        )


@dataclass(frozen=True, slots=True)
class Strikes:
    """The strikes of one folder, for asking about single mails."""

    rows: tuple[tuple[int, int, int, str], ...]
    """(low, high, count, phase)"""

    def of(self, number: int) -> int:
        """How many strikes a mail has."""
        return sum(count for low, high, count, _ in self.rows if low <= number <= high)

    def killed_by_walk(self, number: int) -> bool:
        """Whether it was walked, and not fetched, when it last killed the process alone."""
        return any(low == number == high and phase == "walk" for low, high, _, phase in self.rows)


def load(tx: Tx, touchpoint_id: int, folder: str, epoch: int) -> Strikes:
    """The strikes of a folder."""
    rows = tx.all(
        "SELECT low, high, count, phase FROM strike"
        " WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :epoch",
        {"touchpoint": touchpoint_id, "folder": folder, "epoch": epoch},
    )
    return Strikes(tuple((row["low"], row["high"], row["count"], row["phase"]) for row in rows))


def clear(tx: Tx, touchpoint_id: int, folder: str, epoch: int, low: int, high: int) -> None:
    """Forget strikes that lie within what is settled now; an item that is still pending keeps its own."""
    tx.run(
        "DELETE FROM strike WHERE touchpoint_id = :touchpoint AND folder = :folder AND epoch = :epoch"
        " AND low >= :low AND high <= :high AND NOT EXISTS (SELECT 1 FROM ledger AS l"
        " WHERE l.touchpoint_id = :touchpoint AND l.folder = :folder AND l.epoch = :epoch"
        " AND l.remote_id BETWEEN strike.low AND strike.high AND l.state = 'pending')",
        {"touchpoint": touchpoint_id, "folder": folder, "epoch": epoch, "low": low, "high": high},
    )

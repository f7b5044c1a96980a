"""Takes a decided page into the spool: content, trail, assignment, effects, ledger rows and cursor in one transaction.

This is the whole argument for losslessness on the way in. Until the commit the server still has the mail, so a crash
costs a second fetch; and the unique ledger key makes the second fetch harmless: an item that has a row already is
dropped whole, the rest of the page stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from pipeline import entry, ledger, strikes
from pipeline.entry import Born, Disposition, Origin, State
from pipeline.errors import StaleVersion
from pipeline.headers import Headers, head_hash
from pipeline.ledger import Item, ItemState, Prints
from pipeline.line import Outcome
from pipeline.mail import Direction
from pipeline.memory import mailbox_of
from pipeline.store import Tx, content
from pipeline.touchpoint import Touchpoint
from pipeline.verdict import Action, Send

DEFER_SECONDS = 300.0
"""How long a mail waits that a stage deferred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One item of a page and what was decided about it."""

    item: Item
    state: ItemState = ItemState.TAKEN
    outcome: Outcome | None = None
    """For TAKEN."""
    data: bytes = b""
    """The content, when it is small enough to be in memory."""
    content_id: int = 0
    """The content, when it was written to the store already; 0 with empty ``data`` means that there is none."""
    prints: Prints = Prints()
    """For MOVED: what was seen of it."""
    mark: str = ""
    attempts: int = 0
    due_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecidedPage:
    """A page as it goes into its commit."""

    touchpoint: Touchpoint
    """As it was when the page was decided."""
    folder: str
    epoch: int
    items: Sequence[Taken]
    at: float
    cursor: str | None = None
    """None leaves the cursor where it is (pending items that came late)."""
    settled: int = 0
    """Everything up to this remote id is accounted for; strikes below it are forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """One item that this commit took."""

    entry_id: int
    outcome: Outcome
    replied: bool


def accept(tx: Tx, page: DecidedPage) -> list[Accepted]:
    """Commit a page; raises StaleVersion where the touchpoint changed since it was decided."""
    check_version(tx, page.touchpoint)
    known = ledger.known(tx, page.touchpoint.id, page.folder, page.epoch, [each.item.remote_id for each in page.items])
    # A server may show one item twice: the first one counts.
    fresh = {each.item.remote_id: each for each in reversed(page.items) if each.item.remote_id not in known}
    accepted = [taken for each in reversed(fresh.values()) if (taken := _take(tx, page, each)) is not None]
    if page.cursor is not None:
        ledger.set_cursor(tx, page.touchpoint.id, page.folder, page.cursor, page.at)
    if page.settled:
        strikes.clear(tx, page.touchpoint.id, page.folder, page.epoch, 0, page.settled)
    entry.count(tx, "taken", len(accepted))
    return accepted


def check_version(tx: Tx, touchpoint: Touchpoint) -> None:
    """Raise StaleVersion where the touchpoint is not what the decision was made with."""
    row = tx.one("SELECT version FROM touchpoint WHERE id = :id AND deleted_at = 0", {"id": touchpoint.id})
    if row is None or row["version"] != touchpoint.version:
        raise StaleVersion(f"touchpoint {touchpoint.id} changed")


def _take(tx: Tx, page: DecidedPage, taken: Taken) -> Accepted | None:
    accepted = None if taken.outcome is None else _enter(tx, page.touchpoint, taken, taken.outcome)
    ledger.record(
        tx,
        taken.item,
        taken.state,
        page.at,
        entry_id=accepted.entry_id if accepted else 0,
        prints=_prints(taken),
        mark=taken.mark if taken.data or taken.content_id else "",
        attempts=taken.attempts,
        due_at=taken.due_at,
        error=taken.error,
    )
    return accepted


def _enter(tx: Tx, touchpoint: Touchpoint, taken: Taken, outcome: Outcome) -> Accepted:
    conversation_id = entry.join_conversation(tx, outcome, touchpoint)
    born = born_inbound(outcome, touchpoint.id, content_id=_keep(tx, taken, outcome), conversation_id=conversation_id)
    entry_id = entry.insert(tx, born)
    replied = apply_effects(tx, entry_id, outcome, touchpoint, conversation_id)
    return Accepted(entry_id=entry_id, outcome=outcome, replied=replied)


def _keep(tx: Tx, taken: Taken, outcome: Outcome) -> int:
    if taken.content_id:
        content.adopt(tx, taken.content_id)
        return taken.content_id
    return content.put(tx, taken.data, outcome.mail.sha256) if taken.data else 0


def _prints(taken: Taken) -> Prints:
    if taken.outcome is None:
        return taken.prints
    headers: Headers = taken.outcome.mail.headers
    return Prints(message_id=headers.message_id, head_hash=head_hash(headers), sha256=taken.outcome.mail.sha256)


def born_inbound(outcome: Outcome, touchpoint_id: int, **fate: Any) -> Born:
    """How an inbound entry starts: queued, stopped, held, or waiting to be walked again."""
    match outcome.action:
        case Action.PASS:
            fate |= {"state": State.DONE, "disposition": Disposition.QUEUED.value}
        case Action.STOP:
            fate |= {"state": State.DONE, "disposition": Disposition.STOPPED.value}
        case Action.DEFER:
            fate |= {"state": State.WAITING, "deferred_since": outcome.at, "due_at": due_again(outcome)}
        case Action.HOLD | Action.REJECT:  # fetched mail is never bounced: a REJECT is set aside
            fate |= {"state": State.HELD, "held_by": outcome.stage}
        case _:
            assert_never(outcome.action)
    return entry.from_outcome(outcome, touchpoint_id, Origin.FETCHED, **fate)


def due_again(outcome: Outcome) -> float:
    """When a mail that was not decided is walked again: at once if only time ran out, else in five minutes."""
    return outcome.at + (DEFER_SECONDS if outcome.stage else 0.0)


def apply_effects(
    tx: Tx, entry_id: int, outcome: Outcome, touchpoint: Touchpoint, conversation_id: int, walk: int = 1
) -> bool:
    """Make an outcome's trail, assignment and replies true; whether an auto-reply was born."""
    trail = outcome.trail
    replied = False
    if outcome.action is Action.PASS:
        entry.assign(tx, entry_id, outcome.ring_groups)
        mark_bounced(tx, outcome)
        for send in outcome.sends:
            if _reply(tx, send, outcome, touchpoint, conversation_id):
                replied = True
            else:
                trail = (*trail, ("auto_reply", "drop", "answered meanwhile, the effect is dropped"))
    entry.add_walk(tx, entry_id, trail, outcome.version, outcome.at, walk)
    return replied


def mark_bounced(tx: Tx, outcome: Outcome) -> None:
    """A bounce marks the entry that it speaks about."""
    if outcome.facts.bounce is not None and outcome.facts.bounce.action in ("", "failed"):
        tx.many(
            "UPDATE entry SET mark = 'bounced' WHERE id = :id AND direction = 'out'",
            [{"id": each} for each in outcome.facts.answers],
        )


def _reply(tx: Tx, send: Send, outcome: Outcome, touchpoint: Touchpoint, conversation_id: int) -> bool:
    """An auto-reply enters the spool, unless its memory is taken."""
    free = tx.run(
        "INSERT INTO answered (mailbox, address, at) VALUES (:mailbox, :address, :now)"
        " ON CONFLICT (mailbox, address) DO UPDATE SET at = excluded.at WHERE answered.at < :now - :window",
        {
            "mailbox": mailbox_of(touchpoint),
            "address": send.remember,
            "now": outcome.at,
            "window": send.window,
        },
    )
    if not free:
        return False
    headers = Headers.scan(send.content)
    reply_id = entry.insert(
        tx,
        Born(
            touchpoint_id=touchpoint.id,
            direction=Direction.OUT,
            origin=Origin.AUTO_REPLY,
            state=State.WAITING,
            at=outcome.at,
            content_id=content.put(tx, send.content, b""),
            size=len(send.content),
            seed=f"reply/{outcome.mail.seed}",
            envelope_sender=send.envelope_sender,
            author=headers.author,
            subject=headers.subject,
            message_id=send.message_id,
            conversation_id=conversation_id,
            config_version=outcome.version,
            received_at=outcome.at,
        ),
    )
    entry.add_recipients(tx, reply_id, [send.recipient])
    entry.count(tx, "auto-replied")
    return True

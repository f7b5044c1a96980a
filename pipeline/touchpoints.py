"""What an admin may do to a touchpoint, each as one function on an open transaction.

Every change of anything on a touchpoint's page counts its ``version`` up, in the same transaction, so that a decision
made under the page as it was is noticed at its commit. Each function raises ``Refused`` with one sentence that says
why and what to do. A deleted touchpoint stays as a tombstone: its mail, ledger and audit rows still name it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.directory import connection_from_json, connection_to_json
from pipeline.errors import Refused
from pipeline.names import check_address, check_name, check_pattern
from pipeline.store import Row, Tx, Value
from pipeline.touchpoint import Connection, DirectionType, normalise

LONGEST_TEMPLATE = 64 * 1024
"""Characters of an auto-reply's or a signature's text."""


class TemplateKind(StrEnum):
    """The two texts of a touchpoint; one of each, by the key of the table."""

    AUTO_REPLY = "auto_reply"
    SIGNATURE = "signature"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """Mail of a touchpoint that is not at its end yet."""

    entries: int
    """Waiting, on its way, unknown or held, in either direction."""
    queued: int
    """In a ring group's queue and open."""
    remote: int
    """Items on the server that are to be fetched again."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.entries + self.queued + self.remote


def create(
    tx: Tx,
    *,
    address: str,
    name: str,
    now: float,
    direction: DirectionType = DirectionType.BOTH,
    aliases: Iterable[str] = (),
) -> int:
    """A new touchpoint, neither connected nor active; its id."""
    address = check_address(address)
    others = _check_aliases(aliases)
    _check_free(tx, [address, *others], but=0)
    return tx.insert(
        "INSERT INTO touchpoint (address, address_key, name, direction, aliases, state_since, created_at)"
        " VALUES (:address, :key, :name, :direction, :aliases, :now, :now)",
        {
            "address": address,
            "key": normalise(address),
            "name": check_name(name, "the friendly name"),
            "direction": direction,
            "aliases": json.dumps(others, ensure_ascii=False),
            "now": now,
        },
    )


def edit(
    tx: Tx,
    touchpoint_id: int,
    *,
    address: str | None = None,
    name: str | None = None,
    aliases: Iterable[str] | None = None,
    signs_relayed: bool | None = None,
) -> None:
    """Change what is written on a touchpoint's page; None leaves a thing as it is.

    The address may change only before the first connect: afterwards it would be another mailbox.
    """
    row = live(tx, touchpoint_id)
    if address is not None and normalise(address) != row["address_key"] and row["mailbox_identity"]:
        raise Refused(
            f"{row['address']} is connected to its mailbox; for another address use: postroom touchpoint duplicate"
        )
    address = row["address"] if address is None else check_address(address)
    others = json.loads(row["aliases"]) if aliases is None else _check_aliases(aliases)
    _check_free(tx, [address, *others], but=touchpoint_id)
    tx.run(
        "UPDATE touchpoint SET address = :address, address_key = :key, name = :name, aliases = :aliases,"
        " signs_relayed = :signs, version = version + 1 WHERE id = :id",
        {
            "id": touchpoint_id,
            "address": address,
            "key": normalise(address),
            "name": row["name"] if name is None else check_name(name, "the friendly name"),
            "aliases": json.dumps(others, ensure_ascii=False),
            "signs": row["signs_relayed"] if signs_relayed is None else int(signs_relayed),
        },
    )


def duplicate(tx: Tx, touchpoint_id: int, *, address: str, name: str, now: float) -> int:
    """A copy of the settings, templates, ring groups and blocklist under a new address; its id.

    Login, password, cursors and status stay behind, or one mailbox would be taken in twice.
    """
    row = live(tx, touchpoint_id)
    copy = create(tx, address=address, name=name, now=now, direction=DirectionType(row["direction"]))
    connection = replace(connection_from_json(row["connection"]), user="")
    at: Mapping[str, Value] = {
        "copy": copy,
        "id": touchpoint_id,
        "connection": connection_to_json(connection),
        "signs": row["signs_relayed"],
    }
    tx.run("UPDATE touchpoint SET connection = :connection, signs_relayed = :signs WHERE id = :copy", at)
    tx.run(
        "INSERT INTO linked_queue (touchpoint_id, ring_group_id)"
        " SELECT :copy, ring_group_id FROM linked_queue WHERE touchpoint_id = :id",
        at,
    )
    tx.run(
        "INSERT INTO template (touchpoint_id, kind, active, subject, text, html, updated_at)"
        " SELECT :copy, kind, active, subject, text, html, updated_at FROM template WHERE touchpoint_id = :id",
        at,
    )
    tx.run(
        "INSERT INTO blocked_sender (touchpoint_id, pattern, note, added_by, added_at)"
        " SELECT :copy, pattern, note, added_by, added_at FROM blocked_sender WHERE touchpoint_id = :id",
        at,
    )
    return copy


def pending(tx: Tx, touchpoint_id: int) -> Pending:
    """The mail that a deletion would leave without an end."""
    row = tx.one(
        "SELECT"
        " (SELECT count(*) FROM entry WHERE touchpoint_id = :id"
        "   AND state IN ('waiting', 'active', 'unknown', 'held')) AS entries,"
        " (SELECT count(*) FROM entry WHERE touchpoint_id = :id AND disposition = 'queued' AND closed = 0) AS queued,"
        " (SELECT count(*) FROM ledger WHERE touchpoint_id = :id AND state = 'pending') AS remote",
        {"id": touchpoint_id},
    )
    assert row is not None
    return Pending(entries=row["entries"], queued=row["queued"], remote=row["remote"])


def delete(tx: Tx, touchpoint_id: int, now: float, *, leave_remote: bool = False) -> None:
    """Make a touchpoint without pending mail a tombstone, and destroy its secrets.

    Whoever wants it gone in spite of pending mail drops that first, entry by entry, through the spool;
    ``leave_remote`` leaves items that could not be fetched where they are, at the provider.
    """
    row = live(tx, touchpoint_id)
    left = pending(tx, touchpoint_id)
    if left.entries or left.queued or (left.remote and not leave_remote):
        raise Refused(
            f"{row['address']} still has mail: {left.entries} on the way or held, {left.queued} in queues,"
            f" {left.remote} to be fetched again; say what to do with it: --pending export --to FOLDER, --pending drop"
        )
    at: Mapping[str, Value] = {"id": touchpoint_id, "now": now}
    for table in ("secret", "relay_grant", "linked_queue"):
        tx.run(f"DELETE FROM {table} WHERE touchpoint_id = :id", at)
    tx.run(
        "UPDATE touchpoint SET deleted_at = :now, active = 0, state = 'new', cause = '', reason = '',"
        " version = version + 1 WHERE id = :id",
        at,
    )


def set_direction(tx: Tx, touchpoint_id: int, direction: DirectionType) -> None:
    """Who may start a conversation, from the next mail on."""
    _change(tx, touchpoint_id, "direction = :value", direction)


def set_connection(tx: Tx, touchpoint_id: int, connection: Connection) -> None:
    """How the mailbox is reached."""
    _change(tx, touchpoint_id, "connection = :value", connection_to_json(connection))


def set_mailbox_identity(tx: Tx, touchpoint_id: int, identity: str) -> None:
    """What the server says this mailbox is."""
    _change(tx, touchpoint_id, "mailbox_identity = :value", identity)


def activate(tx: Tx, touchpoint_id: int, now: float) -> None:
    """Let mail move as soon as the touchpoint is connected; refused before its first connect."""
    row = live(tx, touchpoint_id)
    if row["active"]:
        raise Refused(f"{row['address']} is active already")
    if row["state"] == "new":
        address = row["address"]
        raise Refused(f"{address} was never connected; connect it first: postroom touchpoint connect {address}")
    _change(tx, touchpoint_id, "active = 1, activated_at = :value", now)


def deactivate(tx: Tx, touchpoint_id: int) -> None:
    """No mail moves any more; connection and cursor are kept."""
    row = live(tx, touchpoint_id)
    if not row["active"]:
        raise Refused(f"{row['address']} is not active")
    _change(tx, touchpoint_id, "active = :value", 0)


def link(tx: Tx, touchpoint_id: int, ring_group_id: int) -> None:
    """New mail of this touchpoint joins the queue of this ring group too."""
    _bump(tx, touchpoint_id)
    tx.run(
        "INSERT INTO linked_queue (touchpoint_id, ring_group_id) VALUES (:id, :group) ON CONFLICT DO NOTHING",
        {"id": touchpoint_id, "group": ring_group_id},
    )


def unlink(tx: Tx, touchpoint_id: int, ring_group_id: int) -> None:
    """New mail joins that queue no longer; assigned mail stays where it is."""
    row = live(tx, touchpoint_id)
    at = {"id": touchpoint_id, "group": ring_group_id}
    if not tx.run("DELETE FROM linked_queue WHERE touchpoint_id = :id AND ring_group_id = :group", at):
        raise Refused(
            f"that ring group is not linked to {row['address']}; see: postroom touchpoint show {row['address']}"
        )
    _bump(tx, touchpoint_id)


def block(tx: Tx, touchpoint_id: int, pattern: str, *, note: str = "", by: str = "", now: float) -> str:
    """Hold the mail of an address or of a domain from now on; the entry as it is compared."""
    pattern = check_pattern(pattern)
    _bump(tx, touchpoint_id)
    tx.run(
        "INSERT INTO blocked_sender (touchpoint_id, pattern, note, added_by, added_at)"
        " VALUES (:id, :pattern, :note, :by, :now) ON CONFLICT DO UPDATE SET note = :note",
        {"id": touchpoint_id, "pattern": pattern, "note": note[:500], "by": by, "now": now},
    )
    return pattern


def unblock(tx: Tx, touchpoint_id: int, pattern: str) -> str:
    """Take an entry off the blocklist; what is held stays held."""
    pattern = check_pattern(pattern)
    row = live(tx, touchpoint_id)
    at: Mapping[str, Value] = {"id": touchpoint_id, "pattern": pattern}
    if not tx.run("DELETE FROM blocked_sender WHERE touchpoint_id = :id AND pattern = :pattern", at):
        raise Refused(
            f"{pattern} is not on the blocklist of {row['address']}; see: postroom blocklist list {row['address']}"
        )
    _bump(tx, touchpoint_id)
    return pattern


def set_template(
    tx: Tx,
    touchpoint_id: int,
    kind: TemplateKind,
    now: float,
    *,
    active: bool | None = None,
    subject: str | None = None,
    text: str | None = None,
    html: str | None = None,
) -> None:
    """Change the auto-reply or the signature; None leaves a thing as it is. It cannot be active without a text."""
    _bump(tx, touchpoint_id)
    at: dict[str, Value] = {"id": touchpoint_id, "kind": kind}
    old = tx.one("SELECT * FROM template WHERE touchpoint_id = :id AND kind = :kind", at)
    new = _template(old, active, subject, text, html)
    if new["active"] and not str(new["text"]).strip():
        raise Refused("there is no text yet, so it cannot be active; write one with: --text-file FILE")
    tx.run(
        "INSERT INTO template (touchpoint_id, kind, active, subject, text, html, updated_at)"
        " VALUES (:id, :kind, :active, :subject, :text, :html, :now) ON CONFLICT (touchpoint_id, kind) DO UPDATE"
        " SET active = :active, subject = :subject, text = :text, html = :html, updated_at = :now",
        {**at, **new, "now": now},
    )


def put_secret(tx: Tx, touchpoint_id: int, name: str, sealed: bytes, now: float) -> None:
    """Keep a sealed secret, in the place of the one before."""
    tx.run(
        "INSERT INTO secret (touchpoint_id, name, sealed, updated_at) VALUES (:id, :name, :sealed, :now)"
        " ON CONFLICT (touchpoint_id, name) DO UPDATE SET sealed = :sealed, updated_at = :now",
        {"id": touchpoint_id, "name": name, "sealed": sealed, "now": now},
    )


def forget_secrets(tx: Tx, touchpoint_id: int) -> None:
    """Destroy what is kept for signing in."""
    tx.run("DELETE FROM secret WHERE touchpoint_id = :id", {"id": touchpoint_id})


def get_secret(tx: Tx, touchpoint_id: int, name: str) -> bytes | None:
    """A sealed secret, or None."""
    sql = "SELECT sealed FROM secret WHERE touchpoint_id = :id AND name = :name"
    row = tx.one(sql, {"id": touchpoint_id, "name": name})
    return None if row is None else bytes(row["sealed"])


def record_state(
    tx: Tx, touchpoint_id: int, *, state: str, cause: str = "", reason: str = "", now: float, signed_in: bool = False
) -> None:
    """What the connection is like now, for people to see; no change of the page, so the version stays."""
    values: dict[str, Value] = {"id": touchpoint_id, "state": state, "cause": cause, "reason": reason[:500], "now": now}
    tx.run(
        "UPDATE touchpoint SET state_since = CASE WHEN state = :state THEN state_since ELSE :now END,"
        " state = :state, cause = :cause, reason = :reason WHERE id = :id",
        values,
    )
    if signed_in:
        tx.run("UPDATE touchpoint SET signed_in_at = :now WHERE id = :id", {"id": touchpoint_id, "now": now})


def record_poll(tx: Tx, touchpoint_id: int, now: float) -> None:
    """When all its folders were last read to their end."""
    tx.run("UPDATE touchpoint SET polled_at = :now WHERE id = :id", {"id": touchpoint_id, "now": now})


def live(tx: Tx, touchpoint_id: int) -> Row:
    """The row of a touchpoint that is not deleted; raises Refused."""
    row = tx.one("SELECT * FROM touchpoint WHERE id = :id AND deleted_at = 0", {"id": touchpoint_id})
    if row is None:
        raise Refused(f"there is no touchpoint {touchpoint_id}; see: postroom touchpoint list")
    return row


def _change(tx: Tx, touchpoint_id: int, assignment: str, value: Value) -> None:
    live(tx, touchpoint_id)
    sql = f"UPDATE touchpoint SET {assignment}, version = version + 1 WHERE id = :id"
    tx.run(sql, {"id": touchpoint_id, "value": value})


def _bump(tx: Tx, touchpoint_id: int) -> None:
    live(tx, touchpoint_id)
    tx.run("UPDATE touchpoint SET version = version + 1 WHERE id = :id", {"id": touchpoint_id})


def _check_aliases(aliases: Iterable[str]) -> list[str]:
    return sorted({normalise(check_address(alias)) for alias in aliases})


def _check_free(tx: Tx, addresses: Iterable[str], *, but: int) -> None:
    taken: dict[str, str] = {}
    sql = "SELECT address, address_key, aliases FROM touchpoint WHERE deleted_at = 0 AND id <> :but"
    for row in tx.all(sql, {"but": but}):
        taken.update(dict.fromkeys((row["address_key"], *json.loads(row["aliases"])), row["address"]))
    for address in addresses:
        if (owner := taken.get(normalise(address))) is not None:
            raise Refused(f"{address} belongs to the touchpoint {owner} already; see: postroom touchpoint show {owner}")


def _template(
    old: Row | None, active: bool | None, subject: str | None, text: str | None, html: str | None
) -> dict[str, Value]:
    before: Row = old or {"active": 0, "subject": "", "text": "", "html": ""}
    if subject is not None and subject:
        subject = check_name(subject, "the subject", 250)
    for part in (text or "", html or ""):
        if len(part) > LONGEST_TEMPLATE or "\0" in part:
            raise Refused(f"the text is longer than {LONGEST_TEMPLATE // 1024} KiB or holds a NUL")
    return {
        "active": before["active"] if active is None else int(active),
        "subject": before["subject"] if subject is None else subject,
        "text": before["text"] if text is None else text,
        "html": before["html"] if html is None else html,
    }

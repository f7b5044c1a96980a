"""People and machines of the house: who did what (audit), ring groups, and the internal senders of the relay.

Each function writes inside the transaction it is given and raises ``Refused`` with one sentence when it cannot be
done. Ids are never used again. Passwords come here as argon2 hashes only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import Refused
from pipeline.names import check_address, check_name
from pipeline.store import Tx, Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Who asks: a person on this host, known by the kernel's word."""

    name: str
    """Login name, or the uid where there is none."""
    uid: int
    role: str
    """The roles that the person holds, joined by commas."""
    via: str = ""
    """Whence the person says to come; a claim, kept with the detail of each change."""


Detail = Mapping[str, Value | Mapping[str, Value] | Sequence[str]]
"""What a change was about: plain values, and ``was`` for those that they took the place of. Never a secret."""


def audit(tx: Tx, actor: Actor, verb: str, subject: str, now: float, detail: Detail) -> int:
    """Write down a change, in the transaction that makes it; ``detail`` holds no secrets."""
    said = {**detail, "via": actor.via} if actor.via else dict(detail)
    return tx.insert(
        "INSERT INTO audit (at, actor, uid, role, verb, subject, detail)"
        " VALUES (:at, :actor, :uid, :role, :verb, :subject, :detail)",
        {
            "at": now,
            "actor": actor.name,
            "uid": actor.uid,
            "role": actor.role,
            "verb": verb,
            "subject": subject,
            "detail": json.dumps(said, ensure_ascii=False),
        },
    )


def create_ring_group(tx: Tx, name: str, now: float) -> int:
    """A new ring group; its id."""
    name = check_name(name, "the name of a ring group", 100)
    if tx.one("SELECT 1 FROM ring_group WHERE name = :name", {"name": name}):
        raise Refused(f"there is already a ring group named {name!r}")
    return tx.insert("INSERT INTO ring_group (name, created_at) VALUES (:name, :now)", {"name": name, "now": now})


def delete_ring_group(tx: Tx, ring_group_id: int) -> None:
    """Remove a ring group that no touchpoint is linked to and no mail was ever assigned to."""
    at = {"id": ring_group_id}
    row = tx.one("SELECT name FROM ring_group WHERE id = :id", at)
    if row is None:
        raise Refused(f"there is no ring group {ring_group_id}")
    if tx.one("SELECT 1 FROM linked_queue WHERE ring_group_id = :id LIMIT 1", at):
        raise Refused(
            f"ring group {row['name']!r} is linked to a touchpoint; unlink it first: postroom touchpoint unlink"
        )
    if tx.one("SELECT 1 FROM assignment WHERE ring_group_id = :id LIMIT 1", at):
        raise Refused(f"ring group {row['name']!r} stays, since mail was assigned to it; unlinked, it gets no more")
    tx.run("DELETE FROM ring_group WHERE id = :id", at)


def ring_group_id(tx: Tx, name: str) -> int:
    """The id behind a name; raises Refused."""
    row = tx.one("SELECT id FROM ring_group WHERE name = :name", {"name": name.strip()})
    if row is None:
        raise Refused(f"there is no ring group named {name!r}; see: postroom ring-group list")
    return int(row["id"])


def add_relay_user(
    tx: Tx, name: str, password_hash: str, now: float, *, notify: str = "", signature: bool = False
) -> int:
    """A new internal sender, with no grants yet; its id."""
    name = check_name(name, "the name of a relay user", 64)
    if any(char.isspace() for char in name):
        raise Refused("the name of a relay user must not hold a space")
    if tx.one("SELECT 1 FROM relay_user WHERE name = :name", {"name": name}):
        raise Refused(f"there is already a relay user named {name!r}")
    return tx.insert(
        "INSERT INTO relay_user (name, password_hash, signature, notify, created_at)"
        " VALUES (:name, :hash, :signature, :notify, :now)",
        {
            "name": name,
            "hash": password_hash,
            "signature": int(signature),
            "notify": check_address(notify) if notify else "",
            "now": now,
        },
    )


def remove_relay_user(tx: Tx, name: str) -> None:
    """Take away an internal sender; what it sent stays in the spool and goes out."""
    at = {"id": relay_user_id(tx, name)}
    tx.run("DELETE FROM relay_grant WHERE relay_user_id = :id", at)
    tx.run("DELETE FROM relay_user WHERE id = :id", at)


def relay_user_id(tx: Tx, name: str) -> int:
    """The id behind a name; raises Refused."""
    row = tx.one("SELECT id FROM relay_user WHERE name = :name", {"name": name.strip()})
    if row is None:
        raise Refused(f"there is no relay user named {name!r}; see: postroom relay-user list")
    return int(row["id"])


def set_password_hash(tx: Tx, name: str, password_hash: str) -> None:
    """Give a relay user another password."""
    at: Mapping[str, Value] = {"id": relay_user_id(tx, name), "hash": password_hash}
    tx.run("UPDATE relay_user SET password_hash = :hash WHERE id = :id", at)


def set_relay_user(tx: Tx, name: str, *, notify: str | None = None, signature: bool | None = None) -> None:
    """Change where a relay user's notices go, or whether its mail is signed; None leaves a thing as it is."""
    at: dict[str, Value] = {"id": relay_user_id(tx, name)}
    if notify is not None:
        address = check_address(notify) if notify else ""
        tx.run("UPDATE relay_user SET notify = :notify WHERE id = :id", {**at, "notify": address})
    if signature is not None:
        tx.run("UPDATE relay_user SET signature = :on WHERE id = :id", {**at, "on": int(signature)})


def grant(tx: Tx, name: str, touchpoint_ids: Iterable[int]) -> None:
    """Let a relay user write as these touchpoints."""
    user = relay_user_id(tx, name)
    tx.many(
        "INSERT INTO relay_grant (relay_user_id, touchpoint_id) VALUES (:user, :touchpoint) ON CONFLICT DO NOTHING",
        [{"user": user, "touchpoint": number} for number in touchpoint_ids],
    )


def revoke(tx: Tx, name: str, touchpoint_ids: Iterable[int]) -> None:
    """No longer let a relay user write as these touchpoints."""
    user = relay_user_id(tx, name)
    tx.many(
        "DELETE FROM relay_grant WHERE relay_user_id = :user AND touchpoint_id = :touchpoint",
        [{"user": user, "touchpoint": number} for number in touchpoint_ids],
    )

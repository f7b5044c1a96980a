"""The directory: every touchpoint, ring group and relay user, as one frozen snapshot.

It owns reading them from the store, and the two facts that are fixed at the first start: who this installation is and
the key under which its Message-IDs are signed. It promises a consistent picture: one read, one snapshot, never
changed afterwards. It never writes what people decide; that is ``touchpoints.py`` and ``people.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from pipeline.conversation import MessageIds
from pipeline.errors import Refused
from pipeline.mail import RelayUser
from pipeline.stage import Installation
from pipeline.store import Row, Tx
from pipeline.touchpoint import (
    AutoReply,
    Connection,
    DirectionType,
    RingGroup,
    Security,
    SentCopy,
    Server,
    Signature,
    Touchpoint,
    UnknownPolicy,
    normalise,
    without_tag,
)

RANDOM_NEEDED = 48
"""How many random bytes ``first_start`` takes: 16 for the installation's id, 32 for the signing key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """Everything that people decided, at one moment."""

    installation: Installation
    touchpoints: Mapping[int, Touchpoint]
    """Live ones, by id."""
    by_address: Mapping[str, int]
    """Normalised address or alias -> id."""
    ring_groups: Mapping[int, RingGroup]
    relay_users: Mapping[str, RelayUser]
    """By name."""
    password_hashes: Mapping[str, str] = field(repr=False)
    """Name of a relay user -> argon2 hash."""

    def find(self, address: str) -> Touchpoint | None:
        """The live touchpoint that has this address or alias, however it is written."""
        touchpoint_id = self.by_address.get(normalise(address))
        return None if touchpoint_id is None else self.touchpoints[touchpoint_id]

    def queues_of(self, touchpoint: Touchpoint) -> tuple[str, ...]:
        """Names of the ring groups that are linked to it."""
        return tuple(self.ring_groups[number].name for number in touchpoint.ring_groups)


def first_start(tx: Tx, random: bytes) -> None:
    """Fix who this installation is, unless an earlier start did; ``random`` is ``RANDOM_NEEDED`` bytes."""
    if len(random) != RANDOM_NEEDED:
        raise ValueError(f"needs {RANDOM_NEEDED} random bytes")
    facts = {"id": random[:16].hex(), "message_id_key": random[16:].hex()}
    sql = "INSERT INTO installation (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"
    tx.many(sql, [{"name": name, "value": value} for name, value in facts.items()])


def load(tx: Tx, hostname: str) -> Directory:
    """The directory as it is now; ``hostname`` is the right side of the Message-IDs that we make."""
    touchpoints = _touchpoints(tx)
    relay_users, hashes = _relay_users(tx)
    by_address = {normalise(tp.address): tp.id for tp in touchpoints.values()}
    for touchpoint in touchpoints.values():
        by_address.update((normalise(alias), touchpoint.id) for alias in touchpoint.aliases)
    ours = {*by_address, *(user.notify for user in relay_users.values() if user.notify)}
    return Directory(
        installation=_installation(tx, hostname, frozenset(without_tag(address) for address in ours)),
        touchpoints=MappingProxyType(touchpoints),
        by_address=MappingProxyType(by_address),
        ring_groups=MappingProxyType(_ring_groups(tx)),
        relay_users=MappingProxyType(relay_users),
        password_hashes=MappingProxyType(hashes),
    )


def connection_to_json(connection: Connection) -> str:
    """A connection as it is stored."""
    return json.dumps(asdict(connection), ensure_ascii=False)


def connection_from_json(text: str) -> Connection:
    """A connection as it was stored; keys of a later version are left out."""
    raw: dict[str, Any] = json.loads(text or "{}")
    known: dict[str, Any] = {name: raw[name] for name in Connection.__dataclass_fields__ if name in raw}
    for half in ("imap", "smtp"):
        known[half] = _server(known.get(half))
    if "sent_copy" in known:
        known["sent_copy"] = SentCopy(known["sent_copy"])
    if "unknown_outcome" in known:
        known["unknown_outcome"] = UnknownPolicy(known["unknown_outcome"])
    return Connection(**known)


def _server(raw: Mapping[str, Any] | None) -> Server | None:
    if not raw:
        return None
    return Server(host=raw["host"], port=raw["port"], security=Security(raw["security"]))


def _installation(tx: Tx, hostname: str, addresses: frozenset[str]) -> Installation:
    facts = {row["name"]: row["value"] for row in tx.all("SELECT name, value FROM installation")}
    if "id" not in facts or "message_id_key" not in facts:
        raise Refused("this store was never started; start it with: postroom run")
    key = bytes.fromhex(facts["message_id_key"])
    return Installation(
        id=facts["id"],
        hostname=hostname,
        addresses=addresses,
        message_ids=MessageIds(secret=key, hostname=hostname),
    )


def _touchpoints(tx: Tx) -> dict[int, Touchpoint]:
    queues = _gather(tx, "SELECT touchpoint_id AS id, ring_group_id AS value FROM linked_queue ORDER BY ring_group_id")
    blocked = _gather(tx, "SELECT touchpoint_id AS id, pattern AS value FROM blocked_sender")
    templates = {(row["touchpoint_id"], row["kind"]): row for row in tx.all("SELECT * FROM template")}
    rows = tx.all("SELECT * FROM touchpoint WHERE deleted_at = 0 ORDER BY id")
    return {row["id"]: _touchpoint(row, templates, blocked, queues) for row in rows}


def _gather(tx: Tx, sql: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in tx.all(sql):
        found.setdefault(row["id"], []).append(row["value"])
    return found


def _touchpoint(
    row: Row,
    templates: Mapping[tuple[int, str], Row],
    blocked: Mapping[int, list[str]],
    queues: Mapping[int, list[int]],
) -> Touchpoint:
    number = row["id"]
    return Touchpoint(
        id=number,
        address=row["address"],
        name=row["name"],
        version=row["version"],
        direction=DirectionType(row["direction"]),
        active=bool(row["active"]),
        activated_at=row["activated_at"],
        aliases=frozenset(json.loads(row["aliases"])),
        connection=connection_from_json(row["connection"]),
        auto_reply=_auto_reply(templates.get((number, "auto_reply"))),
        signature=_signature(templates.get((number, "signature"))),
        signs_relayed=bool(row["signs_relayed"]),
        blocklist=frozenset(blocked.get(number, ())),
        ring_groups=tuple(queues.get(number, ())),
        mailbox_identity=row["mailbox_identity"],
    )


def _auto_reply(row: Row | None) -> AutoReply:
    if row is None:
        return AutoReply()
    return AutoReply(active=bool(row["active"]), subject=row["subject"], text=row["text"])


def _signature(row: Row | None) -> Signature:
    if row is None:
        return Signature()
    return Signature(active=bool(row["active"]), text=row["text"], html=row["html"])


def _ring_groups(tx: Tx) -> dict[int, RingGroup]:
    rows = tx.all("SELECT id, name FROM ring_group ORDER BY name")
    return {row["id"]: RingGroup(id=row["id"], name=row["name"]) for row in rows}


def _relay_users(tx: Tx) -> tuple[dict[str, RelayUser], dict[str, str]]:
    grants = _gather(tx, "SELECT relay_user_id AS id, touchpoint_id AS value FROM relay_grant")
    rows = tx.all("SELECT * FROM relay_user ORDER BY name")
    users = {row["name"]: _relay_user(row, grants.get(row["id"], [])) for row in rows}
    return users, {row["name"]: row["password_hash"] for row in rows}


def _relay_user(row: Row, grants: list[int]) -> RelayUser:
    return RelayUser(
        id=row["id"],
        name=row["name"],
        grants=frozenset(grants),
        signature=bool(row["signature"]),
        notify=row["notify"],
    )

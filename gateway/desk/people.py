"""Calls about ring groups, relay users and the audit."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway import views
from gateway.auth.passwords import hash_password
from gateway.control import (
    AddRelayUser,
    CreateRingGroup,
    DeleteRingGroup,
    EditRelayUser,
    ListAudit,
    ListRelayUsers,
    ListRingGroups,
    RemoveRelayUser,
)
from gateway.desk.parts import Parts
from gateway.rows import AuditRow, Done, Page, RelayUserRow, RingGroupRow
from gateway.server import Caller
from pipeline import people
from pipeline.store import Tx


class People:
    """Answers to calls about people and machines."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def _ids(self, named: tuple[str, ...]) -> list[int]:
        return [views.find(self._parts.house.directory, each).id for each in named]

    async def ring_groups(self, call: ListRingGroups, caller: Caller) -> Page[RingGroupRow]:
        """With the size of their queues."""
        directory = self._parts.house.directory
        return await self._parts.store.read(lambda tx: views.ring_groups(tx, directory, call.after, call.limit))

    async def create_ring_group(self, call: CreateRingGroup, caller: Caller) -> RingGroupRow:
        """Linked to nothing."""
        now = self._parts.clock()
        number = await self._parts.change(
            caller, "ring_group.create", call.name, lambda tx: people.create_ring_group(tx, call.name, now)
        )
        await self._parts.house.directory_changed(None)
        group = self._parts.house.directory.ring_groups[number]
        return RingGroupRow(id=group.id, name=group.name, touchpoints=(), open=0, oldest_at=0.0)

    async def delete_ring_group(self, call: DeleteRingGroup, caller: Caller) -> Done:
        """Never used ones only."""

        def work(tx: Tx) -> None:
            people.delete_ring_group(tx, people.ring_group_id(tx, call.name))

        await self._parts.change(caller, "ring_group.delete", call.name, work)
        await self._parts.house.directory_changed(None)
        return Done(words=f"ring group {call.name} is deleted")

    async def relay_users(self, call: ListRelayUsers, caller: Caller) -> Page[RelayUserRow]:
        """By id."""
        return views.relay_users(self._parts.house.directory, call.after, call.limit)

    async def add_relay_user(self, call: AddRelayUser, caller: Caller) -> RelayUserRow:
        """With its grants."""
        grants, now = self._ids(call.grants), self._parts.clock()
        hashed = await asyncio.to_thread(hash_password, call.password)

        def work(tx: Tx) -> None:
            people.add_relay_user(tx, call.name, hashed, now, notify=call.notify, signature=call.signature)
            people.grant(tx, call.name, grants)

        await self._parts.change(caller, "relay_user.add", call.name, work, {"grants": " ".join(call.grants)})
        return await self._changed(call.name)

    async def edit_relay_user(self, call: EditRelayUser, caller: Caller) -> RelayUserRow:
        """None leaves a thing as it is."""
        given, taken = self._ids(call.grant), self._ids(call.revoke)
        hashed = None if call.password is None else await asyncio.to_thread(hash_password, call.password)

        def work(tx: Tx) -> None:
            if hashed is not None:
                people.set_password_hash(tx, call.name, hashed)
            people.set_relay_user(tx, call.name, notify=call.notify, signature=call.signature)
            people.grant(tx, call.name, given)
            people.revoke(tx, call.name, taken)

        before = views.relay_user(self._parts.house.directory, call.name)
        said: dict[str, Any] = {}
        for name in ("notify", "signature"):
            if (new := getattr(call, name)) is not None:
                said[name] = str(new)
        for name, ids in (("grant", given), ("revoke", taken)):
            if ids:
                said[name] = [self._parts.house.directory.touchpoints[number].address for number in ids]
        if hashed is not None:
            said["password"] = "changed"
        said["was"] = {name: str(getattr(before, name)) for name in ("notify", "signature") if name in said}
        await self._parts.change(caller, "relay_user.edit", call.name, work, said)
        return await self._changed(call.name)

    async def remove_relay_user(self, call: RemoveRelayUser, caller: Caller) -> Done:
        """What it sent goes out."""
        await self._parts.change(
            caller, "relay_user.remove", call.name, lambda tx: people.remove_relay_user(tx, call.name)
        )
        await self._parts.house.directory_changed(None)
        return Done(words=f"relay user {call.name} is removed")

    async def _changed(self, name: str) -> RelayUserRow:
        await self._parts.house.directory_changed(None)
        return views.relay_user(self._parts.house.directory, name)

    async def audit(self, call: ListAudit, caller: Caller) -> Page[AuditRow]:
        """The newest first."""
        return await self._parts.store.read(lambda tx: views.audit(tx, call))

"""Scenario 37: ring groups change while a backlog is taken in; each mail has those of its own moment, and no others.

300 mails here; the size of a release is 10,000:

    POSTROOM_RING_GROUP_MAILS=10000 ./dev test tests/scenarios/test_r37_ring_group_change.py
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from typing import Any

from gateway.control import (
    ActivateTouchpoint,
    CreateRingGroup,
    DeactivateTouchpoint,
    LinkRingGroup,
    ListTouchpoints,
    UnlinkRingGroup,
)
from tests.scenarios.inside import Inside, inside, letter

MAILS = int(os.environ.get("POSTROOM_RING_GROUP_MAILS", "300"))
DESK = "desk@shop.example"
GROUPS = ("Front office", "Press", "Sales")


async def test_r37_each_mail_has_the_ring_groups_of_its_intake() -> None:
    async with inside("[intake]\npage_mails = 10\n") as house:
        await house.furnish(DESK)
        for name in GROUPS:
            await house.call(CreateRingGroup(name=name))
        await house.call(DeactivateTouchpoint(touchpoint=DESK))
        for number in range(MAILS):
            house.provider.deliver(DESK, letter("buyer@example.org", DESK, f"mail {number}"))
        valid = await _valid(house)
        await house.call(ActivateTouchpoint(touchpoint=DESK))
        valid |= await _valid(house)

        async with asyncio.timeout(60 + MAILS / 50):
            for name in itertools.cycle(GROUPS):
                linked = valid[max(valid)]
                call = UnlinkRingGroup if name in linked else LinkRingGroup
                row = await house.call(call(touchpoint=DESK, ring_group=name))
                valid[row.version] = frozenset(row.ring_groups)
                if (await house.account())["taken"] == MAILS:
                    break
                await asyncio.sleep(0)
        await house.until_still()

        rows = await _decided(house)
        assert len(rows) == MAILS
        assert len({version for version, _, _ in rows}) > 2, "the groups did change in between"
        for version, groups, walks in rows:
            assert groups == valid[version], f"decided by version {version}"
            assert walks == 1
        account = await house.account()
        assert (account["taken"], account["queued"], account["lost"]) == (MAILS, MAILS, 0)


async def _valid(house: Inside) -> dict[int, frozenset[str]]:
    """Version -> the ring groups that are linked by it."""
    (row,) = (await house.call(ListTouchpoints())).rows
    return {row.version: frozenset(row.ring_groups)}


async def _decided(house: Inside) -> list[tuple[int, frozenset[str], int]]:
    """(version, ring groups, walks) of each mail."""
    sql = (
        "SELECT e.config_version AS version, (SELECT json_group_array(g.name) FROM assignment AS a"
        "  JOIN ring_group AS g ON g.id = a.ring_group_id WHERE a.entry_id = e.id) AS groups,"
        " (SELECT count(*) FROM walk AS w WHERE w.entry_id = e.id) AS walks,"
        " (SELECT max(config_version) FROM walk AS w WHERE w.entry_id = e.id) AS walked FROM entry AS e"
    )

    def work(tx: Any) -> list[tuple[int, frozenset[str], int]]:
        found = tx.all(sql)
        assert all(row["version"] == row["walked"] for row in found)
        return [(row["version"], frozenset(json.loads(row["groups"])), row["walks"]) for row in found]

    return await house.daemon.store.read(work)

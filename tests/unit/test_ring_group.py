"""The ring group stage: it assigns what is linked, and says so."""

from __future__ import annotations

import pytest

from pipeline.verdict import Action, Assign
from stages.ring_group import RingGroupStage
from tests.unit.deciding import a_context, decide_mail


@pytest.mark.parametrize(
    "groups, reason",
    [
        ((), "no ring group is linked: visible to ops only"),
        ((4,), "assigned to 1 ring group"),
        ((4, 2), "assigned to 2 ring groups"),
    ],
)
async def test_assigns_the_linked_groups(groups: tuple[int, ...], reason: str) -> None:
    got = await RingGroupStage()(decide_mail(), a_context(ring_groups=groups))
    assert (got.action, got.reason, got.effects) == (Action.PASS, reason, (Assign(ring_groups=groups),))

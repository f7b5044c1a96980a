"""Scenario 4: the power is cut after the 250 to a relay client. The short run of the bench has more (``f3``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, missing
from tests.faults.f3_power_cut import after_250, cuts, wrong
from tests.faults.house import DESKS, House
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan
from tests.faults.workload import Answer

FAR = ("reader@far.example",)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Asks for little, with a seed of its own."""
    if (why := missing()) is not None:
        pytest.skip(why)
    return Plan(seed=4, release=False, folder=tmp_path, seconds=20)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


def test_what_got_its_250_is_there_after_a_power_cut(plan: Plan, nursery: Nursery) -> None:
    result = after_250(plan, nursery, 2)
    assert (result.notes, result.passed) == ([], True)
    assert result.counts["forgotten"] > 0


def test_a_power_cut_in_the_middle_of_it_all_loses_nothing(plan: Plan, nursery: Nursery) -> None:
    result = cuts(plan, nursery, 3)
    assert (result.notes, result.passed) == ([], True)
    assert (result.counts["cuts"], result.counts["partly"]) == (3, 1)


def test_a_store_that_does_not_sync_is_found_out(plan: Plan) -> None:
    """The proof of the two above: the same daemon with ``synchronous=OFF`` is caught."""
    with (
        Disk(plan.folder / "disk") as disk,
        House(plan.folder / "h", state=disk.place / "state", desks=DESKS[:1], seed=4) as house,
    ):
        assert house.start(program=[sys.executable, "-m", "tests.faults.careless"])
        client = house.client()
        content, message_id = house.writer.outbound(DESKS[0].address, FAR)
        assert client.submit(content, message_id, DESKS[0].address, FAR).answer is Answer.OK
        client.close()
        house.kill()
        assert disk.cut()["unsynced"] > 0
        assert any("cannot be read" in each or each.startswith("I9") for each in wrong(house))

"""Scenario 15: an fsync fails. Nothing is promised after it; the process ends, and what it promised before is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import missing
from tests.faults.f4_eio import errors
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Asks for little, with a seed of its own."""
    if (why := missing()) is not None:
        pytest.skip(why)
    return Plan(seed=15, release=False, folder=tmp_path, seconds=20)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


def test_a_sync_that_fails_ends_the_daemon_and_nothing_is_lost(plan: Plan, nursery: Nursery) -> None:
    """From the first sync of a new store on: those of the folder, of the first commits, and some under load."""
    faults = [("sync", n, "") for n in (1, 2, 3, 5, 8, 30)]
    result = errors(plan, nursery, Result("R15", passed=True), faults)
    assert (result.notes, result.passed) == ([], True)
    assert result.counts["errors"] + result.counts["ignored"] == len(faults)
    assert result.counts["at_start"] < result.counts["errors"]  # and not all of them before there was any mail


def test_a_write_that_fails_ends_the_daemon_and_nothing_is_lost(plan: Plan, nursery: Nursery) -> None:
    faults = [("write", 60, "-wal"), ("write", 5, "postroom.db")]
    result = errors(plan, nursery, Result("R15", passed=True), faults)
    assert (result.notes, result.passed) == ([], True)
    assert result.counts["errors"] == len(faults)

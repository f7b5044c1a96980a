"""Trying again within the process: until the snapshot is fresh, until the disk has room."""

from __future__ import annotations

import pytest
import tenacity

from gateway.patience import until_fresh, until_stored
from pipeline.errors import NetworkFault, PostroomError, StaleVersion, StoreFull


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting; what would have been waited is written down."""
    waits: list[float] = []

    def fixed(seconds: float) -> tenacity.wait_fixed:
        waits.append(seconds)
        return tenacity.wait_fixed(0)

    monkeypatch.setattr("gateway.patience.wait_fixed", fixed)
    return waits


class Work:
    """Fails as often as it is told, then answers what it was given."""

    def __init__(self, times: int, error: PostroomError) -> None:
        self.times = times
        self.error = error
        self.calls = 0

    async def __call__(self, *given: object) -> tuple[object, ...]:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return given


async def test_a_decision_is_made_again_until_it_is_fresh() -> None:
    work = Work(99, StaleVersion("changed"))
    assert await until_fresh()(work, 1, "a") == (1, "a")
    assert work.calls == 100


async def test_a_snapshot_that_never_gets_fresh_is_an_error_in_the_end() -> None:
    work = Work(10**6, StaleVersion("changed"))
    with pytest.raises(StaleVersion):
        await until_fresh()(work)
    assert work.calls == 100


async def test_an_answer_is_stored_however_long_the_disk_is_full() -> None:
    work = Work(1000, StoreFull("no room"))
    assert await until_stored()(work, "said") == ("said",)
    assert work.calls == 1001


@pytest.mark.parametrize("patience", [until_fresh, until_stored])
async def test_any_other_error_is_not_tried_again(patience: object) -> None:
    work = Work(1, NetworkFault("reset"))
    with pytest.raises(NetworkFault):
        await patience()(work)  # type: ignore[operator]
    assert work.calls == 1


async def test_each_is_not_the_others_business() -> None:
    with pytest.raises(StoreFull):
        await until_fresh()(Work(1, StoreFull("no room")))
    with pytest.raises(StaleVersion):
        await until_stored()(Work(1, StaleVersion("changed")))


def test_the_waits_are_seconds_at_most(hurry: list[float]) -> None:
    until_fresh()
    until_stored()
    assert hurry == [0.05, 1.0]

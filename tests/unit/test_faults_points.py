"""The crash points of the fault bench: enough of them, at every seam, and each where the code still is."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

from pipeline.store import sqlite
from tests.faults.points import BY_NAME, POINTS, Fuse, Point, Seam, arm, resolve

CALLS = sorted({point.target for point in POINTS if point.kind == "call"})
STATEMENTS = sorted({point.target for point in POINTS if point.kind == "sql"})
_HOOKED = {
    "imap": ["gateway.connectors.imap_wire:Protocol.write", "gateway.connectors.imap_wire:Protocol._tagged"],
    "smtp": [f"gateway.connectors.smtp:_Wire.{name}" for name in ("command", "put", "put_last", "answer")],
    "relay": ["gateway.relay:RelaySession.say"],
}
"""What the points on a wire replace, by their kind."""


def test_there_are_sixty_distinct_points_and_some_at_every_seam() -> None:
    assert len(POINTS) == len(BY_NAME) >= 60
    seams = Counter(point.seam for point in POINTS)
    assert all(seams[seam] >= 3 for seam in Seam)
    moments = {point.moment for point in POINTS}
    assert moments == {"before", "inside", "half", "sent", "answered", "after"}


@pytest.mark.parametrize("target", [*CALLS, *(name for names in _HOOKED.values() for name in names)])
def test_each_name_that_is_replaced_exists(target: str) -> None:
    _, _, real = resolve(target)
    assert callable(real)
    assert not inspect.isasyncgenfunction(real), "a wrapper for these is not written"


@pytest.mark.parametrize("pattern", STATEMENTS)
def test_each_statement_that_is_waited_for_is_still_executed(pattern: str) -> None:
    from pipeline import entry
    from pipeline.store import content

    sources = "".join(map(inspect.getsource, (sqlite, entry, content)))
    assert re.search(rf'"{pattern}', sources), f"no statement begins with {pattern}"


def test_every_kind_of_point_can_be_armed() -> None:
    assert {point.kind for point in POINTS} == {"call", "sql", *_HOOKED}
    arm([])


def test_an_unknown_point_is_an_error() -> None:
    with pytest.raises(KeyError):
        arm(["commit.nowhere:1"])


def test_a_fuse_ends_the_process_at_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    dead: list[str] = []
    monkeypatch.setattr("tests.faults.points.die", dead.append)
    fuse = Fuse("commit.page.before", 3)
    for _ in range(2):
        fuse.burn()
    assert dead == []
    fuse.burn()
    assert dead == ["commit.page.before"]


def test_a_point_knows_its_seam() -> None:
    assert Point("mark.store.sent", "imap", "UID STORE", "sent").seam is Seam.MARK

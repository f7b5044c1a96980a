"""The fault bench itself, in small: one death at one named point, end to end, and how results are told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import __main__ as bench
from tests.faults.desks import DESKS
from tests.faults.house import House, scratch
from tests.faults.nursery import Nursery
from tests.faults.plan import Plan, Result, repeat, skip


@pytest.fixture
def folder() -> Iterator[Path]:
    made = scratch()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_a_daemon_that_dies_before_the_commit_of_a_page_takes_it_once(folder: Path) -> None:
    with Nursery() as nursery, House(folder / "h", desks=DESKS[:1], nursery=nursery) as house:
        desk = house.desks[0]
        assert house.start()
        house.kill()
        house.deliver([(desk.address, house.writer.inbound(desk.address), "INBOX") for _ in range(3)])
        house.launch(points=["commit.page.before:1"])
        assert house.wait_ended(20) == -9
        assert house.reached() == ["commit.page.before"]
        assert house.crash_check() == []
        assert house.start()
        assert house.quiesce(20) == []
        assert house.check() == []
        assert house.account()["taken"] == 3


def _plan(folder: Path, *, release: bool = False) -> Plan:
    return Plan(seed=7, release=release, folder=folder, seconds=1.0)


def test_chance_is_the_same_for_a_seed(folder: Path) -> None:
    first, second = (_plan(folder).dice("f2").random() for _ in range(2))
    assert first == second
    assert _plan(folder).dice("f1").random() != first


def test_a_run_can_be_repeated_by_the_command_that_is_named(folder: Path) -> None:
    assert repeat("f2", _plan(folder)) == "./dev faults --only f2 --seed 7"
    assert repeat("f2", _plan(folder, release=True)).endswith(" --release")


def test_what_is_missing_is_skipped_by_name_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROOM_REQUIRE_SERVERS", raising=False)
    assert skip("F3", "no /dev/fuse").word == "SKIP"
    monkeypatch.setenv("POSTROOM_REQUIRE_SERVERS", "1")
    assert skip("F3", "no /dev/fuse").word == "FAIL"


def test_a_failure_is_told_keeps_its_evidence_and_fails_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Family:
        @staticmethod
        def run(plan: Plan) -> Iterator[Result]:
            (plan.folder / "daemon.log").write_text("last words")
            yield Result("R1 kills", passed=True, counts={"kills": 3})
            yield Result("R4 power", passed=False, notes=["I9: lost"])

    monkeypatch.setattr(bench, "importlib", type("Fake", (), {"import_module": staticmethod(lambda _: Family)}))
    monkeypatch.setattr("sys.argv", ["faults", "--only", "f1", "--seed", "5", "--directory", str(folder)])
    assert bench.main() == 1
    told = capsys.readouterr().out
    assert "R1 PASS kills kills=3\nR4 FAIL power\n    I9: lost\n" in told
    assert "2 scenarios, 1 failed, 0 skipped, seed 5" in told
    [kept] = folder.glob("*/f1/daemon.log")
    assert kept.read_text() == "last words"
    assert "./dev faults --only f1 --seed 5" in kept.with_name("result.txt").read_text()

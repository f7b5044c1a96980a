"""The flight note: what it says of a process that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.flight import Flight
from pipeline.strikes import InHand

DIES = """
import os, signal, sys
from pathlib import Path
from gateway.flight import Flight
from pipeline.strikes import InHand
flight = Flight(Path(sys.argv[1]))
with flight.holding(InHand(touchpoint_id=7, folder="INBOX", epoch=4_000_000_000, low=5, high=9, phase="fetch")):
    with flight.holding(InHand(touchpoint_id=8, folder="Entwürfe", epoch=2, low=2**40, high=2**40, phase="walk")):
        with flight.holding(InHand(touchpoint_id=9, folder="", epoch=0, low=3, high=3, phase="walk")):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
"""
ROOT = Path(__file__).parents[2]


def hand(number: int, *, folder: str = "INBOX", phase: str = "walk") -> InHand:
    return InHand(touchpoint_id=1, folder=folder, epoch=1, low=number, high=number, phase=phase)


def by_number(hands: list[InHand]) -> list[int]:
    return sorted(each.low for each in hands)


def test_what_was_in_hand_is_known_after_the_process_was_killed(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "flight")], cwd=ROOT, check=False)
    assert dead.returncode == -signal.SIGKILL

    found = Flight(tmp_path / "flight").in_hand()

    assert sorted(found, key=lambda each: each.touchpoint_id) == [
        InHand(touchpoint_id=7, folder="INBOX", epoch=4_000_000_000, low=5, high=9, phase="fetch"),
        InHand(touchpoint_id=8, folder="Entwürfe", epoch=2, low=2**40, high=2**40, phase="walk"),
    ]


def test_the_note_is_kept_until_it_is_wiped(tmp_path: Path) -> None:
    first = Flight(tmp_path / "flight")
    holding = first.holding(hand(1))
    holding.__enter__()
    assert by_number(Flight(tmp_path / "flight").in_hand()) == [1]

    second = Flight(tmp_path / "flight")
    assert by_number(second.in_hand()) == [1]  # opening it again forgets nothing
    second.wipe()
    assert second.in_hand() == []
    assert Flight(tmp_path / "flight").in_hand() == []


def test_a_mail_is_noted_only_while_it_is_in_hand_and_an_exception_is_no_death(tmp_path: Path) -> None:
    flight = Flight(tmp_path / "flight")
    with pytest.raises(ZeroDivisionError), flight.holding(hand(1)):
        assert by_number(flight.in_hand()) == [1]
        raise ZeroDivisionError
    assert flight.in_hand() == []


def test_slots_are_used_again_and_leave_nothing_of_the_one_before(tmp_path: Path) -> None:
    flight = Flight(tmp_path / "flight")
    for number in range(100):
        with flight.holding(hand(number, folder="A long name of a folder", phase="fetch")):
            pass
        with flight.holding(hand(number, folder="Junk")):
            assert flight.in_hand() == [hand(number, folder="Junk")]
    assert flight.in_hand() == []


def test_more_than_thirty_two_are_not_noted_and_do_no_harm(tmp_path: Path) -> None:
    flight = Flight(tmp_path / "flight")
    held = [flight.holding(hand(number)) for number in range(40)]
    for each in held:
        each.__enter__()
    assert by_number(flight.in_hand()) == list(range(32))

    for each in held[:5]:
        each.__exit__(None, None, None)
    with flight.holding(hand(99)):
        assert by_number(flight.in_hand()) == [*range(5, 32), 99]
    for each in held[5:]:
        each.__exit__(None, None, None)
    assert flight.in_hand() == []


@pytest.mark.parametrize(
    ("folder", "noted"),
    [("x" * 98, True), ("x" * 99, False), ("ü" * 49, True), ("ü" * 50, False), ("x" * 5000, False)],
)
def test_a_folder_whose_name_is_too_long_is_not_noted(tmp_path: Path, folder: str, noted: bool) -> None:
    flight = Flight(tmp_path / "flight")
    with flight.holding(hand(1, folder=folder)), flight.holding(hand(2)):
        assert {each.folder for each in flight.in_hand()} == ({folder, "INBOX"} if noted else {"INBOX"})


def test_a_note_that_holds_garbage_is_read_without_harm(tmp_path: Path) -> None:
    (tmp_path / "flight").write_bytes(os.urandom(2000) + b"\x01" + b"\xff" * 127 + b"\x02" * 7000)
    for each in Flight(tmp_path / "flight").in_hand():
        assert each.phase in ("fetch", "walk")
    assert (tmp_path / "flight").stat().st_size == 4096


def test_only_its_owner_may_read_the_note(tmp_path: Path) -> None:
    Flight(tmp_path / "flight")
    assert (tmp_path / "flight").stat().st_mode & 0o777 == 0o600

"""The benches count what they say: sizes, percentiles, memory of processes that live, and no figure for dead ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp_data import unfit
from tests.bench import Scene, processes
from tests.bench.__main__ import NAMES
from tests.bench.idle import each
from tests.bench.large import big_mail, figure
from tests.bench.latency import percentile
from tests.bench.latency_peer import take

MIB = 2**20
ROOT = Path(__file__).parents[2]


def test_every_bench_that_is_named_is_there_and_in_the_help() -> None:
    [line] = [line for line in (ROOT / "dev").read_text().splitlines() if line.startswith("#   ./dev bench")]
    words = line.replace(",", " ").split()
    for name in NAMES:
        assert find_spec(f"tests.bench.{name}") is not None
        assert name in words


def test_a_smaller_scale_uses_less_but_never_next_to_nothing() -> None:
    scene = Scene(directory=Path(), rounds=1, scale=0.1)
    assert (scene.amount(1000), scene.amount(30)) == (100, 20)


def test_memory_is_counted_in_bytes_and_the_peak_is_no_less_than_what_is_held() -> None:
    pid = os.getpid()
    block = bytearray(os.urandom(32 * MIB))
    held = processes.resident(pid)
    assert held > len(block)
    assert processes.peak(pid) >= held


def test_the_peak_counts_from_the_moment_at_which_it_was_forgotten() -> None:
    pid = os.getpid()
    block = bytearray(b"x" * 64 * MIB)
    before = processes.peak(pid)
    del block
    processes.forget_peak(pid)
    assert processes.peak(pid) < before


@pytest.mark.parametrize("look", [processes.resident, processes.peak, processes.children])
def test_a_dead_process_is_an_error_and_costs_not_nothing(look: Callable[[int], object]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if look is not processes.children:
            with pytest.raises(RuntimeError, match="dead"):  # not waited for yet
                look(process.pid)
    with pytest.raises(RuntimeError, match="gone"):
        look(process.pid)


def test_what_is_new_counts_with_all_that_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "peak", {1: 150, 2: 40}.__getitem__)
    assert processes.above({1: 100}, [1, 2]) == 90


def test_a_peer_that_ends_or_says_something_else_is_an_error() -> None:
    command = [sys.executable, "-c", "print('ready')"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        processes.expect(process, "ready")
        with pytest.raises(RuntimeError, match="said ''"):
            processes.expect(process, "sent")


def test_the_cost_of_one_is_the_difference_shared_among_those_that_came() -> None:
    assert each(10 * MIB, 10 * MIB + 990 * 2048, 10, 1000) == 2.0


def test_a_percentile_is_not_exceeded_by_so_many() -> None:
    values = [float(number) for number in range(1, 102)]
    assert (percentile(values, 50), percentile(values, 99)) == (51.0, 100.0)


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_the_big_mail_has_exactly_its_size_and_clean_line_ends(size: int) -> None:
    mail = big_mail(size)
    assert len(mail) == size
    assert mail.endswith(b"\r\n")
    assert b"\r\n\r\n" in mail
    assert unfit(mail) == ""


def test_of_less_than_a_mebibyte_no_ratio_is_made() -> None:
    ours, peer = [(36.0 * MIB, 3.0), (40.0 * MIB, 5.0), (38.0 * MIB, 4.0)], [(4096.0, 2.0)]
    memory = figure(ours, peer, 0, "MiB above idle", MIB)
    assert (memory.ours, memory.peer, memory.ratio) == (38.0, 0.0, 38.0)
    assert figure(ours, peer, 1, "s", 1).ratio == 2.0


class Canned:
    """An aioimaplib client that answers one fetch."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)

    async def uid(self, *_command: str) -> tuple[str, list[bytes]]:
        return "OK", self.lines


async def test_the_latency_peer_keeps_each_new_mail_and_says_its_name(tmp_path: Path, capsys: Any) -> None:
    mails = {uid: b"Message-ID: <%d@example.org>\r\n\r\nhello\r\n" % uid for uid in (4, 5, 6)}
    rows = [(b"1 FETCH (UID %d BODY[] {%d}" % (uid, len(mail)), mail, b")") for uid, mail in mails.items()]
    lines = [part for row in rows for part in row]
    assert await take(Canned(*lines, b"Fetch completed."), 4, "desk@example.org", tmp_path) == 6
    assert capsys.readouterr().out == "<5@example.org>\n<6@example.org>\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["desk@example.org.5", "desk@example.org.6"]

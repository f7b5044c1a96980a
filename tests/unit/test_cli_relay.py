"""``postroom relay show`` and ``postroom status --stages``, against a real desk on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.base import Exit
from gateway.cli.status import seconds
from gateway.submission import ListenerSettings, Mode
from tests.unit.test_cli import Running, Shell

FRONT = ListenerSettings(name="front", mode=Mode.PLAIN)
UTC = "2027-01-15T08:00:00Z"
"""``NOW``."""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


@pytest.fixture
def run(office: Running, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(office, capsys)


def busy(run: Shell) -> None:
    """A client whose user handed in one mail, and was refused another one."""
    watch = run.house.relay_watch
    watch.listens(FRONT, "127.0.0.1", 2525)
    watch.listens(ListenerSettings(name="six", mode=Mode.LOOPBACK), "::1", 587)
    watch.listens(ListenerSettings(name="local", mode=Mode.PLAIN), "/run/relay.sock", 0)
    visit = watch.enter(FRONT, "192.0.2.7")
    visit.user = "crm"
    watch.answered(visit, 250, watch.begin())
    watch.refused(visit, b"550 5.7.1 From: is no touchpoint that you may send as\r\n")


def test_a_relay_at_rest_says_so(run: Shell) -> None:
    assert run("relay", "show") == ""
    for words in ("listens nowhere", "no client is connected", "nothing was handed in", "nothing was refused"):
        assert words in run.err


def test_a_busy_relay_is_four_tables(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    busy(run)
    listeners, clients, rates, refusals = [part.splitlines() for part in run("relay", "show").split("\n\n")]
    assert run.err == ""
    assert [line.split() for line in listeners] == [
        ["LISTENER", "ADDRESS", "MODE", "OPEN", "ACCEPTED", "REFUSED"],
        ["front", "127.0.0.1:2525", "plain", "1", "1", "1"],
        ["six", "[::1]:587", "loopback", "0", "0", "0"],
        ["local", "/run/relay.sock", "plain", "0", "0", "0"],
    ]
    assert clients[1].split()[:3] == ["192.0.2.7", "front", "crm"]
    assert rates[1].split()[:3] == ["crm", "1", "1"]
    assert "550 5.7.1 From: is no" in refusals[1]
    assert all(len(line) <= 80 for line in run.out.splitlines())


def test_what_clients_control_cannot_reach_the_terminal(run: Shell) -> None:
    watch = run.house.relay_watch
    visit = watch.enter(FRONT, "192.0.2.7")
    visit.user = "crm\x1b]52;c;ZXZpbA==\x07"
    watch.refused(visit, b"550 5.6.0 \x1b[2J\r\n")
    assert "\x1b" not in run("relay", "show")
    assert "550 5.6.0" in run.out


def test_json_is_the_whole_state_with_its_times(run: Shell) -> None:
    busy(run)
    (state,) = run.json("relay", "show")
    assert [each["name"] for each in state["listeners"]] == ["front", "six", "local"]
    assert state["clients"][0]["since"] == state["rates"][0]["last_at"] == state["refusals"][0]["at"] == UTC
    assert state["refusals"][0]["code"] == 550


def test_stages_are_a_table_that_fits(run: Shell, office: Running) -> None:
    run.do(run.room.relay(1))
    metrics = office.office.metrics
    metrics.fetch.note(metrics.clock(), 0.02, 120)
    metrics.fetch.failed()
    metrics.fetch.failed()
    metrics.taken(90)
    out = run("status", "--stages").splitlines()
    assert out[0] == "in 1.5 mails/s, out 0.0 mails/s, over the last minute"
    rows = [line.split() for line in out[2:]]
    assert rows[0] == ["STATION", "MAILS/S", "P50", "P95", "P99", "WAITING", "ERRORS/H", "TOTAL"]
    assert [row[0] for row in rows[1:]] == ["fetch", "ingest", "ring_group", "relay", "signature", "send"]
    assert (rows[1][1], rows[1][-3:]) == ("2.0", ["0", "2", "120"])
    assert rows[1][3] == "ms"
    assert rows[-1] == ["send", "0.0", "-", "-", "-", "1", "0", "0"]
    assert all(len(line) <= 80 for line in out)


def test_stages_as_json(run: Shell) -> None:
    (stages,) = run.json("status", "--stages")
    assert stages["now"] == UTC
    assert len(stages["rows"][0]["minutes"]) == 60


def test_stages_are_not_watched(run: Shell) -> None:
    run("status", "--stages", "--watch", code=Exit.USAGE)
    assert "not allowed with" in run.err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0, "-"), (1e-6, "0.001 ms"), (0.000042, "0.042 ms"), (0.00994, "9.940 ms"), (0.01, "10 ms"),
        (0.999, "999 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s"), (4000.0, "4000.0 s"),
    ],
)  # fmt: skip
def test_seconds_for_people(number: float, words: str) -> None:
    assert seconds(number) == words

"""The commands in which the daemon tells about itself, and what the connect dialog asks, against a real office."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import log
from gateway.cli.audit import words
from gateway.cli.base import Exit, Stop
from gateway.cli.touchpoint import CAUSES
from gateway.control import AuditRow, ListLog, LogRow, Page
from gateway.presets import presets
from pipeline import touchpoints
from pipeline.errors import Cause
from tests.unit.making import NOW, OURS
from tests.unit.test_cli import Running, Shell


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shell(running: Running, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(running, capsys)


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    """A file with a password that the server refuses."""
    path = tmp_path / "wrong"
    path.write_text("guess\n")
    return str(path)


def tell(running: Running, *lines: tuple[int, str]) -> None:
    """Let the daemon write these into its log."""
    for level, text in lines:
        record = logging.LogRecord("postroom.post", level, "", 0, text, (), None)
        record.created = NOW
        running.office.journal.handle(record)


# -- Who am I, and who did what ------------------------------------------------------------------------------------


def test_whoami(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    lines = [line.split("  ", 1)[0] for line in shell("whoami").splitlines()]
    assert lines == ["name", "roles", "daemon"]
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22")
    assert "via     ssh 192.0.2.7\n" in shell("whoami")
    assert shell.json("whoami")[0]["roles"] == ["admin"]


def test_audit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shell("touchpoint", "edit", OURS, "--name", "Support\u00a0desk", code=Exit.DATA)
    shell("touchpoint", "edit", OURS, "--name", "Help")
    shell("touchpoint", "direction", OURS, "inbound")
    shell("ring-group", "create", "third")
    assert "name: Help (was Support)" in shell("audit", "list", "--text", "HELP")
    assert [row["verb"] for row in shell.json("audit", "list", "--subject", OURS)] == [
        "touchpoint.direction", "touchpoint.edit",
    ]  # fmt: skip
    assert len(shell.json("audit", "list", "--limit", "1")) == 1
    assert "--limit 10" in shell.err
    shell("audit", "list", "--subject", "mail 17")
    assert "no such change" in shell.err


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("{}", ""),
        ('{"name": "New", "was": {"name": "Old"}}', "name: New (was Old)"),
        ('{"preset": "yahoo", "was": {"preset": "custom", "imap": "x"}}', "preset: yahoo (was custom), imap was: x"),
        ('{"via": "ssh 192.0.2.7"}', "via: ssh 192.0.2.7"),
        ('{"was": 3}', ""),
        ("[1]", "[1]"),
        ("not JSON", "not JSON"),
    ],
)
def test_the_detail_of_a_change_in_words(detail: str, told: str) -> None:
    row = AuditRow(id=1, at=NOW, actor="ops", uid=1, role="ops", verb="x", subject="y", detail=detail)
    assert words(row) == told


# -- The log -------------------------------------------------------------------------------------------------------


def test_log(shell: Shell, running: Running) -> None:
    tell(running, (logging.INFO, "one"), (logging.ERROR, "two\nValueError: \x1b[2J\u202e"), (logging.WARNING, "three"))
    lines = shell("log", "list").splitlines()
    assert [line[20:] for line in lines if line[0] == "2"] == [
        "warning  postroom.post: three", "error    postroom.post: two", "info     postroom.post: one",
    ]  # fmt: skip
    assert lines[2] == "    ValueError: \\x1b[2J\\u202e"
    assert [row["id"] for row in shell.json("log", "list", "--level", "warning")] == [3, 2]
    assert shell.json("log", "list")[0]["at"] == "2027-01-15T08:00:00Z"
    assert "one" in shell("log", "list", "--text", "ONE", "--limit", "1")
    assert shell.err == ""
    assert len(shell.json("log", "list", "--limit", "2")) == 2
    assert "--limit 20" in shell.err
    shell("log", "list", "--text", "four")
    assert "no such line" in shell.err
    shell("log", "list", "--level", "loud", code=Exit.USAGE)


def test_a_list_of_the_log_goes_on_over_windows(shell: Shell, running: Running) -> None:
    tell(running, *((logging.INFO, f"{number} {'x' * 3000}") for number in range(100)))
    assert [row["id"] for row in shell.json("log", "list")] == list(range(100, 0, -1))


class Telling:
    """A daemon whose log grows before each look: ``pages`` is what each one gets, ids only."""

    def __init__(self, *pages: tuple[list[int], int]) -> None:
        self._pages = iter(pages)
        self.asked: list[tuple[int, int]] = []

    async def call(self, asked: ListLog) -> Page[LogRow]:
        self.asked.append((asked.since, asked.after))
        found = next(self._pages, None)
        if found is None:
            raise Stop(Exit.OK, "that is all")
        rows = [LogRow(id=number, at=NOW, level="info", logger="x", text=f"<{number}>") for number in found[0]]
        return Page(rows=tuple(rows), next=found[1])


@pytest.mark.parametrize(
    ("limit", "pages", "told", "asked"),
    [
        (2, [([3, 2, 1], 0), ([], 0), ([5, 4], 0)], [2, 3, 4, 5], [(0, 0), (3, 0), (3, 0), (5, 0)]),
        (9, [([], 0), ([1], 0)], [1], [(0, 0), (0, 0), (1, 0)]),
        # More came within one pause than a window holds: none of it is left out.
        (1, [([2, 1], 0), ([6, 5], 5), ([4, 3], 0)], [2, 3, 4, 5, 6], [(0, 0), (2, 0), (2, 5), (6, 0)]),
        # A first window that goes on is not read further than is shown.
        (1, [([9, 8], 8)], [9], [(0, 0), (9, 0)]),
    ],
    ids=["news", "an empty log", "a burst", "a long log"],
)
def test_follow_tells_each_line_once_and_in_order(
    limit: int,
    pages: list[tuple[list[int], int]],
    told: list[int],
    asked: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(log, "PAUSE", 0)
    client = Telling(*pages)
    options = argparse.Namespace(level="", text="", limit=limit, follow=True, json=False)
    with pytest.raises(Stop):
        asyncio.run(log._list(client, options))  # type: ignore[arg-type]
    assert [line.rpartition("<")[2] for line in capsys.readouterr().out.splitlines()] == [f"{n}>" for n in told]
    assert client.asked == asked


# -- Settings ------------------------------------------------------------------------------------------------------


def test_settings(shell: Shell) -> None:
    lines = shell("settings", "show").splitlines()
    assert lines[0].startswith('daemon.hostname = "')
    assert all(line.endswith("  default") for line in lines)
    assert shell("settings", "show", "--text", "LARGEST").splitlines() == [
        f"{'relay.largest_mail = 52428800':<50}  default",
        f"{'intake.largest_mail = 104857600':<50}  default",
    ]
    assert shell.json("settings", "show", "--text", "relay.listener.0.port") == [
        {"key": "relay.listener.0.port", "value": "2525", "file": "", "line": 0}
    ]
    shell("settings", "show", "--text", "no such", code=Exit.NOT_FOUND)


# -- Providers, tries and plans ------------------------------------------------------------------------------------


def test_providers(shell: Shell) -> None:
    out = shell("touchpoint", "providers")
    assert "provider  custom: any IMAP and SMTP server\nimap      say it with --imap" in out
    assert "imap      imap.mail.yahoo.com:993 tls" in out
    assert "app password" in out
    assert [row["name"] for row in shell.json("touchpoint", "providers")] == list(presets())


def test_every_cause_has_words() -> None:
    assert set(CAUSES) == set(Cause)


def test_a_test_says_causes_in_words(shell: Shell, wrong: str) -> None:
    shell("touchpoint", "edit", OURS, "--provider", "yahoo")
    assert shell("touchpoint", "test", OURS, code=Exit.NOT_FOUND).splitlines() == [
        "receiving  works", "sending    the server cannot be reached: no answer",
    ]  # fmt: skip
    assert shell("touchpoint", "test", OURS, "--half", "receiving") == "receiving  works\n"
    shell("touchpoint", "test", OURS, "--half", "receiving", "--password-file", wrong, code=Exit.NOT_FOUND)
    assert shell.out == "receiving  the sign-in failed: the server refused the login\n"
    shell("touchpoint", "edit", OURS, "--imap", "")
    assert shell("touchpoint", "test", OURS, "--half", "receiving") == "receiving  none\n"
    shell("touchpoint", "test", OURS, "--half", "both", code=Exit.USAGE)


def test_a_plan_says_whose_mailbox_it_is_and_a_connect_stops_there(shell: Shell, running: Running) -> None:
    store = shell.room.store
    shell.do(store.write(lambda tx: touchpoints.set_mailbox_identity(tx, 1, "imap.example.org support")))
    shell("touchpoint", "create", "sales@example.org", "--name", "Sales", "--imap", "imap.example.org:993")
    shell.do(store.write(lambda tx: touchpoints.put_secret(tx, 2, "password", b"sealed", NOW)))
    shell("touchpoint", "connect", "sales@example.org", "--plan", code=Exit.NOT_FOUND)
    assert f"it cannot be connected: sales@example.org is the same mailbox as the touchpoint {OURS}" in shell.err
    shell("touchpoint", "connect", "sales@example.org", code=Exit.DATA)
    assert "is the same mailbox as" in shell.err
    assert shell.house.passwords == {}


def test_a_plan_connects_nothing_where_there_is_nothing_to_receive_from(shell: Shell) -> None:
    calls: list[Any] = []

    async def plan(*asked: Any) -> None:
        from pipeline.errors import Refused

        calls.append(asked)
        raise Refused("there is no server to receive from")

    shell.house.plan = plan  # type: ignore[assignment, method-assign]
    shell("touchpoint", "edit", OURS, "--smtp", "smtp.example.org:465")
    shell.do(shell.room.store.write(lambda tx: touchpoints.put_secret(tx, 1, "password", b"sealed", NOW)))
    shell("touchpoint", "connect", OURS, "--plan", code=Exit.DATA)
    assert len(calls) == 1
    assert shell.house.passwords == {}

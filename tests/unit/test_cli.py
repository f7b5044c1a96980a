"""The command line, against a real desk on a real socket: what it prints, and how it ends."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import NOUNS, main, tui
from gateway.cli.base import Exit, moment, size
from gateway.paths import socket_of
from pipeline.verdict import Action, HoldCause
from tests.unit.desking import PASSWORD, Office, an_office
from tests.unit.making import OURS, a_content, a_mail, a_page, an_outcome, taken


class Running:
    """An office in a loop of its own, so that commands may run theirs."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self._office = an_office(folder)
        self.office: Office = self.do(self._office.__aenter__())

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.do(self._office.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


class Shell:
    """Runs commands and keeps what they said."""

    def __init__(self, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
        self.room = running.office.room
        self.do = running.do
        self.house = running.office.house
        self._socket = str(running.office.socket)
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *args: str, code: int = 0) -> str:
        found = main([*args, "--socket", self._socket])
        self.out, self.err = self._capsys.readouterr()
        assert found == code, self.err
        return self.out

    def json(self, *args: str) -> list[Any]:
        return [json.loads(line) for line in self(*args, "--json").splitlines()]


@pytest.fixture
def shell(running: Running, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(running, capsys)


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return str(path)


# -- Without a daemon ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", [noun for noun in NOUNS if noun != "demo"])
def test_every_command_explains_itself_with_examples(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([noun, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: postroom {noun}")
    verbs = [line.split()[0] for line in out.splitlines() if line.startswith("    ") and line[4] != " "]
    for verb in [verb for verb in verbs if verb != "COMMAND"] if "COMMAND" in out else []:
        with pytest.raises(SystemExit):
            main([noun, verb, "--help"])
        help_page = capsys.readouterr().out
        assert f"postroom {noun} {verb}" in help_page.partition("examples:")[2], verb
        assert "--json" in help_page


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["no-such-noun"], Exit.USAGE, "invalid choice"),
        (["touchpoint", "no-such-verb"], Exit.USAGE, "invalid choice"),
        (["touchpoint", "show"], Exit.USAGE, "postroom touchpoint show --help"),
        (["queue", "list", "--limit", "0"], Exit.USAGE, "not a number"),
        (["touchpoint", "connect", "a", "--since", "soon"], Exit.USAGE, "not a date"),
        (["status", "--socket", "/nonexistent/socket"], Exit.UNAVAILABLE, "start one: postroom run"),
        (["check-config", "--config", "/nonexistent/file"], Exit.CONFIG, "1 fault"),
        (["run", "--config", "/nonexistent/file"], Exit.CONFIG, "check them with: postroom check-config"),
    ],
)
def test_errors_are_one_sentence_and_a_code(
    args: list[str], code: Exit, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_noun_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spool"]) == Exit.USAGE
    assert "export" in capsys.readouterr().err
    assert main([]) == Exit.USAGE
    assert "first steps" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("postroom ")


def test_check_config_prints_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "postroom.toml"
    path.write_text("[relay]\nrecipients = 0\nx = 1\n")
    assert main(["check-config", "--config", str(path)]) == Exit.CONFIG
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["check-config", "--config", str(path), "--json"]) == Exit.CONFIG
    faults = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(fault["line"], fault["key"]) for fault in faults] == [(2, "relay.recipients"), (3, "relay.x")]
    path.write_text("")
    assert main(["check-config", "--config", str(path)]) == 0


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys; from gateway.cli import main\n"
        "try: main(['touchpoint', 'connect', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'pydantic', 'uvloop', 'cryptography', 'aiosmtpd', 'textual', 'gateway.control'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr


def test_a_client_command_loads_neither_settings_nor_textual(running: Running) -> None:
    program = (
        "import sys; from gateway.cli import main\n"
        f"code = main(['status', '--socket', {str(running.office.socket)!r}])\n"
        "heavy = {'pydantic', 'uvloop', 'cryptography', 'aiosmtpd', 'textual', 'sqlite3'} & set(sys.modules)\n"
        "sys.exit(str(sorted(heavy)) if heavy else code)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert "taken 0 = queued 0" in found.stdout


def test_the_socket_is_found_in_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "postroom.toml"
    path.write_text('[daemon]\nsocket = "/run/a.sock"\n')
    assert socket_of(path) == Path("/run/a.sock")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "1.toml").write_text('[daemon]\nsocket = "/run/b.sock"\n')
    (tmp_path / "conf.d" / "2.toml").write_text("not toml")
    assert socket_of(path) == Path("/run/b.sock")


def test_sizes_and_times() -> None:
    assert [size(each) for each in (0, 999, 1000, 5120, 999_499, 999_500, 10**7, 10**10)] == [
        "0 B", "999 B", "1.0 kB", "5.1 kB", "999 kB", "1.0 MB", "10 MB", "10 GB",
    ]  # fmt: skip
    assert moment(1_800_000_000.0, utc=True) == "2027-01-15T08:00:00Z"
    assert (moment(0.0), moment(1e300)) == ("", "?")


# -- With one ------------------------------------------------------------------------------------------------------


def test_a_touchpoints_life(shell: Shell, password: str) -> None:
    shell("touchpoint", "create", "sales@example.org", "--name", "Sales", "--provider", "icloud")
    assert "postroom touchpoint connect sales@example.org" in shell.err
    assert "imap.mail.me.com:993 tls" in shell("touchpoint", "show", "sales@example.org")
    shell("touchpoint", "activate", "sales@example.org", code=Exit.DATA)
    assert "never connected" in shell.err
    shell("touchpoint", "connect", "sales@example.org", "--plan", "--password-file", password, "--since", "2026-11-01")
    assert "INBOX: 5 mails are there, 2 of them would be taken" in shell.err
    shell("touchpoint", "connect", "sales@example.org", "--password-file", password, "--yes")
    assert shell.house.passwords == {2: PASSWORD}
    shell("touchpoint", "activate", "sales@example.org")
    shell("touchpoint", "deactivate", "sales@example.org")
    shell("touchpoint", "activate", "sales@example.org", code=Exit.USAGE)
    assert "--catch-up" in shell.err
    shell("touchpoint", "activate", "sales@example.org", "--start-now")
    shell("touchpoint", "direction", "sales@example.org", "inbound")
    shell("touchpoint", "link", "sales@example.org", "first")
    shell("touchpoint", "edit", "sales@example.org", "--name", "Sales desk", "--mark", "seen")
    shell("touchpoint", "test", "sales@example.org", code=Exit.NOT_FOUND)
    assert shell.out.splitlines() == ["receiving  works", "sending    the server cannot be reached: no answer"]
    shell("touchpoint", "duplicate", "sales@example.org", "b@example.org", "--name", "B")
    shell("touchpoint", "delete", "b@example.org", code=Exit.USAGE)
    assert "say --yes" in shell.err
    shell("touchpoint", "delete", "b@example.org", "--yes")
    row = shell.json("touchpoint", "list", "sales")[0]
    assert (row["name"], row["direction"], row["ring_groups"], row["active"]) == (
        "Sales desk", "inbound", ["first"], True,
    )  # fmt: skip
    assert row["signed_in_at"].endswith("Z")


def test_no_password_on_the_command_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("relay-user", "add", "billing", "--password", "x", code=Exit.USAGE)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    shell("relay-user", "add", "billing", code=Exit.USAGE)
    assert "--password-stdin or --password-file" in shell.err


def test_relay_users(shell: Shell, password: str) -> None:
    shell("relay-user", "add", "billing", "--password-file", password, "--grant", OURS, "--signature", "on")
    assert OURS in shell("relay-user", "list")
    shell("relay-user", "revoke", "billing", OURS)
    shell("relay-user", "edit", "billing", "--signature", "off", "--notify", "ops@example.org")
    shell("relay-user", "password", "billing", "--password-file", password)
    row = shell.json("relay-user", "list")[0]
    assert (row["grants"], row["signature"], row["notify"]) == ([], False, "ops@example.org")
    assert "password" not in row
    shell("relay-user", "remove", "billing", "--yes")
    shell("relay-user", "list")
    assert shell.out == ""
    assert "there is no relay user yet" in shell.err


def test_texts_and_blocklist(shell: Shell, tmp_path: Path) -> None:
    shell("auto-reply", "on", OURS, code=Exit.DATA)
    assert "no text yet" in shell.err
    text = tmp_path / "reply.txt"
    text.write_text("Thank you.\nWe will answer. \x1b[2J\n")
    shell("auto-reply", "set", OURS, "--text-file", str(text), "--subject", "Got it")
    shell("auto-reply", "on", OURS)
    shell("auto-reply", "show", OURS)
    assert "auto-reply  on" in shell.out
    assert "Thank you.\nWe will answer. \\x1b[2J" in shell.out
    shell("signature", "set", OURS, "--text", "Bye", "--on")
    shell("signature", "off", OURS)
    assert shell.json("signature", "show", OURS)[0]["active"] is False
    shell("signature", "set", OURS, code=Exit.USAGE)
    shell("blocklist", "add", OURS, "@pest.example", "--note", "asked twice")
    assert "@pest.example" in shell("blocklist", "list", OURS)
    shell("blocklist", "remove", OURS, "pest.example")
    shell("blocklist", "remove", OURS, "pest.example", code=Exit.DATA)


def test_ring_groups(shell: Shell) -> None:
    shell("ring-group", "create", "Front office")
    assert [row["name"] for row in shell.json("ring-group", "list")] == ["first", "second", "Front office"]
    shell("ring-group", "delete", "Front office")


def test_queue_and_spool(shell: Shell, tmp_path: Path) -> None:
    evil = a_mail(1, data=a_content(1, headers=["Subject: \x1b]52;c;ZXZpbA==\x07 [/z] \u202egpj.exe"]))
    first = shell.do(shell.room.take(1, an_outcome(evil, ring_groups=(1,))))
    held = shell.do(shell.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED)))
    sent = shell.do(shell.room.relay(3, ("a@example.org", "b@example.org")))
    out = shell("queue", "list")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert str(first) in out
    shell("queue", "show", str(first))
    assert "test: pass, because" in shell.out
    assert "\x1b" not in shell.out
    shell("queue", "close", str(first))
    shell("queue", "list")
    assert "no such mail is in a queue" in shell.err
    shell("queue", "close", str(first), str(held), code=Exit.DATA)
    shell("queue", "reopen", str(first))
    assert [row["id"] for row in shell.json("spool", "list")] == [sent, held]
    assert "2  in   blocked" in shell("spool", "list", "--state", "held", "--in")
    assert "a@example.org +1" in shell("spool", "list", "--out")
    shell("spool", "list", "--state", "nowhere", code=Exit.DATA)
    shell("spool", "release", str(held))
    shell("spool", "hold", str(held), "--reason", "look at this")
    assert "look at this" in shell("spool", "show", str(held))
    shell("spool", "drop", str(held), "--yes")
    shell("spool", "retry", str(held), code=Exit.DATA)
    assert "retry is for mail that is" in shell.err
    shell("spool", "show", "99", code=Exit.DATA)
    target = tmp_path / "out.eml"
    shell("spool", "export", str(sent), "--to", str(target))
    assert target.read_bytes() == a_content(3)
    assert target.stat().st_mode & 0o777 == 0o600
    shell("spool", "export", str(sent), "--to", str(target), code=Exit.CANT_CREATE)


def test_export_to_stdout_is_byte_for_byte(running: Running, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    room, data = running.office.room, a_content(1, body=bytes(range(256)) * 3000)
    whole = an_outcome(a_mail(1, data=data))
    number = running.do(room.spool.accept(a_page([taken(1, whole, data)])))[0].entry_id
    assert main(["spool", "export", str(number), "--socket", str(running.office.socket)]) == 0
    assert capfdbinary.readouterr().out == data


def test_lists_say_when_there_is_more(shell: Shell) -> None:
    for number in range(1, 6):
        shell.do(shell.room.take(number))
    assert len(shell.json("queue", "list", "--limit", "3")) == 3
    assert "--limit 30" in shell.err
    assert len(shell.json("queue", "list", "--limit", "5")) == 5
    assert shell.err == ""


def test_why(shell: Shell) -> None:
    number = shell.do(shell.room.take(5))
    for what in (str(number), "<5@example.org>", "5@example.org", "customer5@example.org"):
        out = shell("why", what)
        assert f"mail        {number}, in (fetched)" in out, what
        assert "test: pass, because" in out
        assert f"on the server: {OURS} INBOX uid 5 (epoch 1): taken" in out
    shell("why", "customer5@example.org", "--subject", "nothing like it", code=Exit.NOT_FOUND)
    shell("why", "<never@example.org>", code=Exit.NOT_FOUND)
    assert "was ever seen here" in shell("why", "<never@example.org>", code=Exit.NOT_FOUND)
    answer = shell.json("why", str(number))[0]
    assert answer["mails"][0]["walks"][0]["steps"][0]["stage"] == "test"
    assert answer["findings"][0]["words"].startswith("It is queued for nobody")


def test_status(shell: Shell) -> None:
    shell.do(shell.room.take(1))
    shell.do(shell.room.relay(2))
    out = shell("status")
    assert "taken 1 = queued 1 + stopped 0 + held 0 + waiting 0 + dropped 0" in out
    assert "accepted 1 = delivered 0 + waiting 0 + parked 1 + unknown 0 + held 0 + failed 0 + dropped 0" in out
    assert "lost 0" in out
    assert "postroom queue list --unassigned" in out
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("accepted"))
    assert shell.json("status")[0]["account"]["lost"] == 0


@pytest.mark.parametrize("pending", ["export", "drop"])
def test_delete_with_pending_mail(shell: Shell, tmp_path: Path, pending: str) -> None:
    shell.do(shell.room.take(1))
    sent = shell.do(shell.room.relay(2))
    shell("touchpoint", "delete", OURS, "--yes", code=Exit.DATA)
    assert "--pending export" in shell.err
    folder = tmp_path / "mail"
    more = ["--to", str(folder)] if pending == "export" else []
    shell("touchpoint", "delete", OURS, "--yes", "--pending", pending, *more)
    assert shell.house.directory.touchpoints == {}
    if pending == "export":
        assert sorted(each.name for each in folder.iterdir()) == ["in-1.eml", "out-2.eml"]
        assert (folder / "out-2.eml").read_bytes() == shell.do(shell.room.content(sent))
    assert shell.do(shell.room.row(sent))["disposition"] == "dropped"


def test_what_may_not_be_done_ends_with_its_code(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.roles_of", lambda *_: frozenset())
    shell("status", code=Exit.NO_PERMISSION)
    assert "ask an admin" in shell.err


def test_commands_that_the_terminal_ui_copies_find_its_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[daemon]\nsocket = "/run/other.sock"\n')
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    tui.add(parser)
    for given, said in (
        ([], ""), (["--socket", str(socket_of(None))], ""),
        (["--socket", "my own.sock"], f"--socket '{tmp_path}/my own.sock'"),
        (["--config", "own.toml"], f"--config {own}"), (["--config", str(tmp_path / "none.toml")], ""),
        (["--socket", "/a", "--config", "own.toml"], "--socket /a"), (["--replay", "x", "--socket", "/a"], ""),
    ):  # fmt: skip
        assert tui.twin_of(parser.parse_args(given)) == said, given

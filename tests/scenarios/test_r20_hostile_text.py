"""Scenario 20: subjects, authors and names of files that command a terminal are text on it, and break no view.

All screens with hostile rows of every kind are in ``tests/tui/test_hostile.py``; here such mail comes in by the real
intake and is looked at through the terminal UI in a pseudo-terminal, and by the command line.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from gateway.control import Block
from tests.scenarios.inside import Inside, inside
from tests.tui.hostile import texts
from tests.tui.terminal import ROOT, PtyTerminal, stray

DESK = "desk@shop.example"
FIRST = "\x1b]52;c;ZXZpbA==\x07[/x]\u202eend"


def hostile(number: int, text: str) -> bytes:
    """One mail whose subject, author, file and body hold this."""
    words = " ".join(text.split("\n")).encode("utf-8", "replace").replace(b"\r", b" ").replace(b"\0", b"")
    name = b"".join(b"%%%02x" % octet for octet in words[:100])
    fields = (
        b'From: "%b" <buyer%d@example.org>' % (words[:200].replace(b'"', b"'").replace(b"\\", b"/"), number),
        b"Return-Path: <buyer%d@example.org>" % number,
        b"To: " + DESK.encode(),
        b"Subject: " + words[:500],
        b"Message-ID: <%d@example.org>" % number,
        b"MIME-Version: 1.0",
        b"Content-Type: multipart/mixed; boundary=b",
    )
    text_part = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + words
    file_part = b"Content-Type: image/png\r\nContent-Disposition: attachment; filename*=utf-8''%b\r\n\r\nx" % name
    return b"\r\n".join((*fields, b"", b"--b", text_part, b"--b", file_part, b"--b--", b""))


async def test_r20_nothing_that_a_stranger_wrote_is_obeyed(tmp_path: Path) -> None:
    async with inside() as house:
        await house.furnish(DESK)
        await house.call(Block(touchpoint=DESK, pattern="@example.org"))  # so that it is on the screen of held mail
        samples = [*texts()[:90:3], FIRST]
        for number, text in enumerate(samples):
            house.provider.deliver(DESK, hostile(number, text))
        await house.until_taken(len(samples))
        await asyncio.to_thread(_look, house, tmp_path)
        newest = max(row.id for row in await house.mails("in"))
        for command in (["spool", "list"], ["why", str(newest)], ["spool", "list", "--json"]):
            said = await asyncio.to_thread(_cli, house, *command)
            assert stray(said.encode()) == [], command
            assert "\\x1b]52" in said or "\\u001b]52" in said, command
            assert "\\u202e" in said, command


def _look(house: Inside, folder: Path) -> None:
    """The list of held mail, the newest one opened, its text, its end, and out."""
    socket = str(house.daemon.settings.socket)
    own = {"XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "TMUX": ""}
    with PtyTerminal(["-m", "gateway.cli", "tui", "--socket", socket], size=(120, 40), environment=own) as terminal:
        terminal.shows("RW")
        terminal.press("5")
        terminal.shows("\\x1b]52")
        terminal.press("\r")
        terminal.quiet(0.3)
        terminal.press("G")
        terminal.quiet(0.2)
        assert stray(bytes(terminal.written)) == []
        assert b"\\u202e" in terminal.written
        terminal.press("\x1bQ")
        assert terminal.wait() == 0, terminal.written[-2000:]
    assert b"Traceback" not in terminal.written


def _cli(house: Inside, *arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments, "--socket", str(house.daemon.settings.socket)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert stray(done.stderr.encode()) == []
    return done.stdout

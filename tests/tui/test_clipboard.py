"""Copying: the bytes that go to the terminal, the cap, tmux beside it, and what is said about it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway.control import GetStatus
from tests.tui.canned import Canned, served, short, status, touchpoint, until
from tests.tui.screen import terminal
from tui.clipboard import CAP, copy


def fake_tmux(
    folder: Path, monkeypatch: pytest.MonkeyPatch, body: str = 'cat > "$0.got"; echo "$@" > "$0.asked"'
) -> Path:
    """A tmux that writes down what it was given."""
    program = folder / "tmux"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    return program


@pytest.mark.parametrize(
    "text", ["a", "postroom touchpoint show 'x y'", "Grüße パスワード\n\ttab", "\x1b]52;c;ZXZpbA==\x07", "\udcff"]
)
def test_the_bytes_that_go_to_the_terminal(text: str) -> None:
    written: list[str] = []
    said = copy(text, written.append)
    (made,) = written
    assert made.startswith("\x1b]52;c;")
    assert made.endswith("\x07")
    inside = made.removeprefix("\x1b]52;c;").removesuffix("\x07")
    assert base64.b64decode(inside, validate=True).decode() == text.encode("utf-8", "replace").decode()
    assert not set("\x1b\x07") & set(inside), "what is copied cannot end the sequence"
    assert said == "copied to the clipboard (OSC 52); V shows it for selecting"


def test_terminals_drop_what_is_too_long_so_it_is_not_sent() -> None:
    written: list[str] = []
    fits = "x" * (CAP // 4 * 3)
    assert copy(fits, written.append).startswith("copied")
    assert len(written[0]) <= CAP + 8
    said = copy(fits + "xxx", written.append)
    assert said == "too long to copy (74,996 of 74,994 bytes): V shows it for selecting"
    assert len(written) == 1


def test_inside_tmux_its_buffer_is_set_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake_tmux(tmp_path, monkeypatch)
    written: list[str] = []
    said = copy("Grüße\nzwei", written.append)
    assert said == "copied to the tmux buffer and the clipboard (OSC 52); V shows it for selecting"
    assert (tmp_path / "tmux.got").read_text("utf-8") == "Grüße\nzwei"
    assert (tmp_path / "tmux.asked").read_text().strip() == "load-buffer -w -"
    assert len(written) == 1, "the terminal is told beside it"
    assert program.exists()


@pytest.mark.parametrize("body", ["exit 1", "sleep 5", ""])
def test_a_tmux_that_fails_is_not_said_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = fake_tmux(tmp_path, monkeypatch, body)
    if not body:
        program.unlink()
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tui.clipboard.SECONDS", 0.1)
    assert copy("x", [].append) == "copied to the clipboard (OSC 52); V shows it for selecting"


async def test_y_and_Y_and_V(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status((touchpoint(),))})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints") as screen:
        await screen.quiet()
        written: list[str] = []
        screen.ui._write = written.append  # type: ignore[method-assign]
        await screen.press("y")
        await screen.shows("the value copied to the clipboard (OSC 52); V shows it for selecting")
        await screen.press("Y")
        await screen.shows("the command copied to")
        copied = [base64.b64decode(each[7:-1]).decode() for each in written]
        assert copied == ["support@acme.example", "postroom touchpoint show support@acme.example"]
        await screen.press("V")
        await until(lambda: len(screen.ui.screen_stack) > 1, "the text is shown")
        await screen.pilot.pause()
        assert screen.text().splitlines()[0].strip().startswith("postroom touchpoint show support@acme.example")
        await screen.press("escape")
        await until(lambda: len(screen.ui.screen_stack) == 1, "the text is gone")
        await screen.press("/")
        await screen.type("zzz")
        await screen.press("enter", "y")
        await screen.shows("there is no value to copy here")

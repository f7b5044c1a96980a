"""What strangers write never reaches the terminal as anything but text, on any screen, and breaks none of them.

The terminal UI runs as a process in a real pseudo-terminal, on a daemon in which every text of every row is hostile.
Every byte that it writes is read as a terminal reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from gateway.control import RULES, Event, GetStatus, MailRow, Me, Page, Status, TouchpointRow, WhoAmI, reply_type
from tests.tui.canned import HOST, NOW, Canned, short, threaded
from tests.tui.hostile import Filler, texts
from tests.tui.terminal import PtyTerminal, stray
from tui.frame import SCREENS

ROWS = 40


def hostile_daemon() -> Canned:
    """A house in which nothing is as it should be."""
    filler = Filler()
    canned = Canned()
    for rule in RULES:
        if not rule.changes:
            canned.answers[rule.call] = _answer(filler, reply_type(rule.call))
    touchpoints = tuple(filler.row(TouchpointRow, id=number) for number in range(1, ROWS))
    canned.answers[GetStatus] = filler.row(
        Status, touchpoints=touchpoints, touchpoint_count=len(touchpoints), now=NOW, account={}
    )
    canned.answers[WhoAmI] = filler.row(Me, roles=("admin",), hostname=f"{HOST}\x1b]0;x\x07", version="0.1.0")
    return canned


def _answer(filler: Filler, kind: Any) -> Any:
    if get_origin(kind) is Page:
        row = get_args(kind)[0]
        with_id = "id" in row.__dataclass_fields__
        return Page(rows=tuple(filler.row(row, **({"id": n} if with_id else {})) for n in range(1, ROWS)))
    return filler.row(kind)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Canned, Path]]:
    path = short(tmp_path)
    with threaded(hostile_daemon, path) as canned:
        yield canned, path


def start(path: Path, tmp_path: Path, size: tuple[int, int], *more: str) -> PtyTerminal:
    own = {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TMUX": ""}
    return PtyTerminal(["-m", "gateway.cli", "tui", "--socket", str(path), *more], size=size, environment=own)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_no_screen_lets_anything_through(daemon: tuple[Canned, Path], tmp_path: Path, size: tuple[int, int]) -> None:
    canned, path = daemon
    with start(path, tmp_path, size) as terminal:
        terminal.shows("RW")
        terminal.quiet()
        for digit, name, _ in SCREENS:
            for keys in (digit, "\x1b[6~\x1b[6~", "\r", "Gf", "f\x1b", "a", "\x1b"):
                terminal.press(keys)  # the screen, its rows, a page, its end, the menu of a row
                terminal.quiet(0.5 if keys in (digit, "\r") else 0.15)
            assert stray(bytes(terminal.written)) == [], f"on screen {name}"
        _tell(canned)
        terminal.press("1")
        terminal.quiet()
        assert stray(bytes(terminal.written)) == []
        terminal.press("Q")
        assert terminal.wait() == 0, terminal.written[-2000:]
    assert b"Traceback" not in terminal.written


def _tell(canned: Canned) -> None:
    """Events, from the other thread."""
    filler = Filler()
    events = [Event(what=text, words=text, mail=filler.row(MailRow, id=n)) for n, text in enumerate(texts(), 1)]
    canned.tell(*events)


def test_the_judge_knows_what_is_stray() -> None:
    assert stray("\x1b[2;5H\x1b[1;31mRe: パスワード\x1b[0m\r\n\x1b[?25l".encode()) == []
    for bad in (
        "\x1b]52;c;x\x07",
        "\x1b]8;;http://x\x1b\\",
        "\u202e",
        "\x9b31m",
        "\x07",
        "\x1b_G\x1b\\",
        "\u200b",
        "\x00",
    ):
        assert stray(f"Re: {bad}".encode()), bad

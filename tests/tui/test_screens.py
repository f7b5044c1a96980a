"""Every screen as text, at 80x24 and at 160x48, from a recorded stream and with a clock that stands still.

``./dev test tests/tui/test_screens.py --accept`` records anew and takes what the screens look like now; look at the
difference before you commit it.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.tui.canned import NOW, Canned, served, short, until
from tests.tui.house import EVENTS, a_house
from tests.tui.screen import Terminal, screen_text, terminal
from tui.app import Options, TerminalUI
from tui.frame import SCREENS
from tui.link import DaemonLink
from tui.record import Recorder, ReplayLink

HERE = Path(__file__).parent
RECORDING = HERE / "recording.jsonl"
SIZES = ((80, 24), (160, 48))
PAGES = {
    **{name: (digit,) for digit, name, _ in SCREENS},
    "touchpoint-menu": ("2", "a"),
    "touchpoint-new": ("2", "n"),
    "touchpoint-page": ("2", "enter"),
    "touchpoint-delete": ("2", "x"),
    "queue": ("3", "enter"),
    "mail": ("3", "enter", "enter"),
    "outbox-list": ("4", "enter"),
    "audit": ("8", "e"),
    "help": ("2", "?"),
    "go-to": ("1", ":"),
}
"""Pictures by name, with the keys that lead there from the start."""


async def visit(at: Terminal, keys: tuple[str, ...]) -> None:
    """Press the keys, each on a screen that has come to rest."""
    for key in keys:
        await at.press(key)
        await at.quiet()


class Frozen:
    """The picture without its clock: what is at rest is what stays the same for a moment."""

    def __init__(self, ui: TerminalUI) -> None:
        self._ui = ui

    async def text(self) -> str:
        before = ""
        for _ in range(200):
            self._ui.tick()
            await asyncio.sleep(0.03)
            now = screen_text(self._ui)
            if now == before:
                return now
            before = now
        raise AssertionError(f"the screen never comes to rest:\n{before}")


async def record(tmp_path: Path) -> None:
    """Look at everything once, at both sizes, and keep what was seen."""
    RECORDING.unlink(missing_ok=True)
    recorder = Recorder(RECORDING, clock=lambda: 0.0)
    canned: Canned = a_house()
    path = short(tmp_path)
    async with served(canned, path):
        for number, size in enumerate(SIZES):
            link = DaemonLink(path, recorder)
            async with terminal(path, size=size, link=link) as at:
                await at.quiet()
                if not number:
                    canned.tell(*EVENTS)
                    await until(lambda: at.ui.picture.feed, "the events are told")
                for keys in PAGES.values():
                    await visit(at, keys)
                    await Frozen(at.ui).text()
                    await at.press("escape", "escape", "escape")
    recorder.close()
    text = RECORDING.read_text("utf-8").splitlines()
    first = text[0].split('"at":')[0] + f'"at":{NOW}}}'
    seen: dict[str, None] = dict.fromkeys([first, *text[1:]])  # what was asked twice is kept once
    RECORDING.write_text("\n".join(seen) + "\n", "utf-8")


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded stream."""
    if request.config.getoption("accept"):
        asyncio.run(record(tmp_path_factory.mktemp("record")))
    return RECORDING


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_screen_looks_as_it_did(
    size: tuple[int, int],
    recording: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/ops/.config")  # the settings screen tells where one's own file lies
    link = ReplayLink(recording, speed=0)
    link.where = "/run/postroom/control.sock"
    options = replace(Options(socket=Path(link.where)), mouse=False)
    ui = TerminalUI(options, link=link, drafts=tmp_path, wall=lambda: NOW, now=lambda: 1000.0)
    pictures: dict[str, str] = {}
    async with ui.run_test(size=size) as pilot:
        at = Terminal(ui, pilot)
        await until(lambda: ui.picture.told_at, "the recording begins")
        for name, keys in PAGES.items():
            await visit(at, keys)
            pictures[name] = await Frozen(ui).text()
            await at.press("escape", "escape", "escape")
    different = []
    for name, text in pictures.items():
        golden = HERE / "golden" / f"{name}-{size[0]}x{size[1]}.txt"
        if request.config.getoption("accept"):
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(text, "utf-8")
        before = golden.read_text("utf-8") if golden.exists() else ""
        different += difflib.unified_diff(before.splitlines(), text.splitlines(), f"{name} was", f"{name} is", n=1)
    assert not different, "look at the difference; if it is meant: --accept\n" + "\n".join(different)


def test_nothing_is_cut_at_the_right_edge_or_left_over() -> None:
    names = {f"{name}-{width}x{height}.txt" for name in PAGES for width, height in SIZES}
    assert {path.name for path in (HERE / "golden").glob("*.txt")} == names
    for path in (HERE / "golden").glob("*.txt"):
        width, height = map(int, path.stem.rpartition("-")[2].split("x"))
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) == height, path.name
        assert all(cell_len(line) <= width for line in lines), path.name


def test_no_golden_screen_names_this_machine() -> None:
    for path in [RECORDING, *(HERE / "golden").glob("*.txt")]:
        assert os.uname().nodename not in path.read_text("utf-8"), path.name

"""The terminal UI in a test: a terminal of a given size, a clock that stands still, and the screen as text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.events import Key
from textual.pilot import Pilot

from tests.tui.canned import NOW, until
from tui.app import Options, TerminalUI
from tui.keys import Taste
from tui.link import Link


class Terminal:
    """One run of the terminal UI."""

    def __init__(self, ui: TerminalUI, pilot: Pilot[int]) -> None:
        self.ui = ui
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until what they begin has begun."""
        for key in keys:
            await self.pilot.press(NAMES.get(key, key))
        await self.pilot.pause()

    async def send(self, *keys: str) -> None:
        """Give keys to the app as its driver does, and wait until it has taken them up, not for what they begin."""
        for key in keys:
            character = _CHARACTERS.get(key, key)
            self.ui.post_message(Key(NAMES.get(key, key), character if len(character) == 1 else None))
        taken = asyncio.Event()
        self.ui.call_later(taken.set)
        async with asyncio.timeout(10.0):  # an app that is over takes none up
            await taken.wait()

    async def type(self, text: str) -> None:
        """Type a text, as fast as a terminal gives it."""
        await self.send(*text)
        await self.pilot.pause()

    def text(self) -> str:
        """The screen as text, without spaces at the ends of lines."""
        return screen_text(self.ui)

    async def shows(self, words: str, seconds: float = 10.0) -> None:
        """Wait until the screen holds these words."""
        try:
            await until(lambda: self._holds(words), words, seconds)
        except AssertionError:
            raise AssertionError(f"the screen never said {words!r}; it says:\n{self.text()}") from None

    async def hides(self, words: str) -> None:
        """Wait until the screen holds these words no longer."""
        await until(lambda: not self._holds(words), f"{words!r} goes away; the screen:\n{self.text()}")

    def _holds(self, words: str) -> bool:
        self.ui.tick()
        return words in self.text()

    async def quiet(self) -> None:
        """Wait until the daemon has answered all that this screen asks."""
        await until(lambda: self.ui.picture.told_at, "the daemon told its status")
        await until(lambda: self.ui.view is not None, "a screen is shown")
        view = self.ui.view
        assert view is not None
        await until(lambda: self.ui.tick() or view.loaded(), "the screen is loaded")
        await asyncio.sleep(0.05)  # the details of a row are asked for and answered
        self.ui.tick()
        await self.pilot.pause()


NAMES = {
    "?": "question_mark", "/": "slash", ":": "colon", "*": "asterisk", "-": "minus", " ": "space", "@": "at",
    ".": "full_stop", "_": "underscore", ",": "comma", "<": "less_than_sign", ">": "greater_than_sign", "+": "plus",
    "'": "apostrophe", "=": "equals_sign", "(": "left_parenthesis", ")": "right_parenthesis",
}  # fmt: skip
"""Textual's names of keys, as its pilot wants them."""
_CHARACTERS = {"space": " ", "enter": "\r", "tab": "\t"}


def screen_text(ui: Any) -> str:
    """What the terminal shows, as text; the one place that looks into Textual's compositor."""
    ui.screen.refresh()  # else the desk behind a dialog is not drawn
    update = ui.screen._compositor.render_update(full=True, screen_stack=ui._background_screens)
    strips = update.strips
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@asynccontextmanager
async def terminal(
    socket: Path,
    *,
    size: tuple[int, int] = (80, 24),
    screen: str = "overview",
    drafts: Path | None = None,
    taste: Taste = Taste(),  # noqa: B008
    now: Callable[[], float] | None = None,
    link: Link | None = None,
    **options: Any,
) -> AsyncIterator[Terminal]:
    """The terminal UI on a daemon at this socket."""
    made = replace(Options(socket=socket, taste=taste, screen=screen), **options)
    home = drafts or socket.parent / "drafts"
    ui = TerminalUI(made, drafts=home, wall=lambda: NOW, now=now or time.monotonic, link=link)
    async with ui.run_test(size=size) as pilot:
        yield Terminal(ui, pilot)

"""The start of ``postroom tui``: is this a terminal, what did the person set, and then the app."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tui.app import Options, TerminalUI
from tui.glyphs import Glyphs
from tui.keys import BadKeys, Taste, check_ids, check_keys, home_of_taste, read_taste

if TYPE_CHECKING:
    from tui.acts import Act


class CannotStart(Exception):
    """The terminal UI cannot start; the text says why, and what to do."""


def run(
    socket: Path,
    *,
    twin: str = "",
    read_only: bool = False,
    glyphs: str = "",
    theme: str = "",
    mouse: bool | None = None,
    record: Path | None = None,
    replay: Path | None = None,
    speed: float = 1.0,
    screen: str = "overview",
) -> int:
    """Run the terminal UI until it is left; the exit code. Raises CannotStart.

    ``twin`` is the option that commands need in order to find the same daemon, "" for the default one.
    """
    check_terminal()
    taste = _taste(glyphs, theme, mouse)
    if record is not None:
        _may_record(record)
    # A process that ignores SIGHUP, as under nohup, would go on without a terminal and eat a whole core.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for stale in ("COLUMNS", "LINES"):  # believed more than the terminal, which has another size a moment later
        os.environ.pop(stale, None)
    mouse_on = taste.mouse if taste.mouse is not None else "SSH_TTY" not in os.environ
    options = Options(
        socket=socket,
        twin=twin,
        read_only=read_only,
        taste=taste,
        mouse=mouse_on,
        record=record,
        replay=replay,
        speed=speed,
        screen=screen,
    )
    ui = _made(options)
    code = ui.run(mouse=mouse_on)
    return ui.return_code or code or 0


def _made(options: Options) -> TerminalUI:
    """The app, once what it shall replay can be."""
    if options.replay is None:
        return TerminalUI(options)
    from tui.record import BadRecording

    try:
        return TerminalUI(options)
    except BadRecording as fault:
        raise CannotStart(str(fault)) from None


def check_terminal() -> None:
    """Raise CannotStart where there is no terminal that can do this."""
    instead = "the same things without a screen: postroom status --watch, and postroom --help"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CannotStart(f"the terminal UI needs a terminal (over ssh: ssh -t HOST postroom tui); {instead}")
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        raise CannotStart(
            f"this terminal says that it cannot move its cursor (TERM={os.environ.get('TERM', '')}); {instead}"
        )


def _taste(glyphs: str, theme: str, mouse: bool | None) -> Taste:
    path = home_of_taste()
    try:
        own = read_taste(path)
        if own.keys:
            check_ids(path, own, all_ids())
            check_keys(path, own, *_acts())
    except BadKeys as fault:
        raise CannotStart(str(fault)) from None
    if name := theme or own.theme:
        from textual.theme import BUILTIN_THEMES

        if name not in BUILTIN_THEMES:
            raise CannotStart(f"there is no theme {name!r}; there are: {', '.join(sorted(BUILTIN_THEMES))}")
    return Taste(
        theme=name,
        glyphs=Glyphs(glyphs) if glyphs else own.glyphs,
        mouse=mouse if mouse is not None else own.mouse,
        keys=own.keys,
    )


def all_ids() -> list[str]:
    """The ids of all acts that there are."""
    from tui.catalogue import all_acts

    return [act.id for _, act in all_acts()]


def _acts() -> tuple[list[tuple[str, Sequence[Act]]], Sequence[Act]]:
    """The acts of each screen by its title, and those of everywhere."""
    from tui.catalogue import all_views
    from tui.everywhere import EVERYWHERE

    return [(view.TITLE, view.ACTS) for view in all_views()], EVERYWHERE


def _may_record(path: Path) -> None:
    if os.path.lexists(path):
        raise CannotStart(f"{path} exists already; a recording is never written over: choose another name")
    if not os.access(path.parent, os.W_OK):
        raise CannotStart(f"no file can be made in {path.parent}")

"""postroom tui: starts the terminal UI. Textual is loaded here by name, so that no other command pays for it."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from gateway.cli.base import Exit, Stop, examples_of

SCREENS = (
    "overview", "touchpoints", "queues", "outbox", "held", "replies", "blocklist", "logs", "relay", "settings",
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = "Manage touchpoints, watch the mail move and work the queues, in a terminal."
    parser.epilog = examples_of(
        """postroom tui
           ssh -t post.example.org postroom tui
           postroom tui --read-only --record ./incident.jsonl
           postroom tui --replay ./incident.jsonl --speed 10"""
    )
    parser.add_argument("--screen", choices=SCREENS, default="overview", help="which one comes first", metavar="NAME")
    parser.add_argument("--read-only", action="store_true", help="change nothing, whatever your roles allow")
    parser.add_argument("--glyphs", choices=("braille", "block", "ascii"), default="", help="what the font has")
    parser.add_argument("--theme", default="", metavar="NAME", help="ansi-dark, ansi-light or Textual's own")
    mouse = parser.add_mutually_exclusive_group()
    mouse.add_argument("--mouse", action="store_const", const=True, help="take the mouse (default: not over SSH)")
    mouse.add_argument("--no-mouse", action="store_const", const=False, dest="mouse", help="leave it to the terminal")
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--record", type=Path, metavar="FILE", help="write what is seen to a new file")
    files.add_argument("--replay", type=Path, metavar="FILE", help="show a recording instead of a daemon")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="of a replay; 10 is ten times as fast")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the daemon's control socket")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings that name the socket")
    parser.set_defaults(alone=run)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 1000:
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a number from 0.01 to 1000")
    return speed


def twin_of(options: argparse.Namespace) -> str:
    """What a command of the same person needs in order to find the same daemon; "" where it finds it by itself."""
    from shlex import quote

    from gateway.paths import socket_of

    if options.replay:
        return ""
    given = options.socket or (socket_of(options.config) if options.config else None)
    if given is None or given.absolute() == socket_of(None).absolute():
        return ""
    name, path = ("--socket", options.socket) if options.socket else ("--config", options.config)
    return f"{name} {quote(str(path.absolute()))}"


def run(options: argparse.Namespace) -> int:
    """Start it."""
    main = import_module("tui.main")
    if options.socket or options.replay:
        socket = options.socket or Path()
    else:
        from gateway.paths import socket_of

        socket = socket_of(options.config)
    try:
        return int(
            main.run(
                socket,
                twin=twin_of(options),
                read_only=options.read_only,
                glyphs=options.glyphs,
                theme=options.theme,
                mouse=options.mouse,
                record=options.record,
                replay=options.replay,
                speed=options.speed,
                screen=options.screen,
            )
        )
    except main.CannotStart as fault:
        raise Stop(Exit.USAGE, str(fault)) from None

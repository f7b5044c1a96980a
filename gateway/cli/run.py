"""postroom run."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.base import Exit, Stop, examples_of, say


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = "Run the daemon in the foreground, until SIGTERM or Ctrl-C."
    parser.epilog = examples_of("postroom run\npostroom run --config /etc/postroom/postroom.toml")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (default /etc/postroom/postroom.toml)")
    parser.set_defaults(alone=_run)


def _run(options: argparse.Namespace) -> int:
    from gateway.paths import default_settings
    from gateway.settings import BadSettings, load
    from pipeline.errors import Damaged, Refused

    file = options.config or default_settings()
    try:
        settings = load(file)
    except BadSettings as bad:
        raise Stop(Exit.CONFIG, f"the settings do not hold:\n{bad}\ncheck them with: postroom check-config") from None
    if file is None:
        places = ", ".join(f"{each.host}:{each.port}" for each in settings.relay.listeners)
        say(f"no settings file: built-in defaults, relay on {places}, store in {settings.state_dir}")
    from gateway.daemon import run

    try:
        return run(settings)
    except Refused as refused:
        raise Stop(Exit.CONFIG, str(refused)) from None
    except Damaged as damaged:
        raise Stop(Exit.DATA, str(damaged)) from None

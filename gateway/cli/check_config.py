"""postroom check-config."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.base import Exit, Stop, emit, examples_of, say


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = "Check the settings offline: every fault at once, as file:line: key: message."
    parser.epilog = examples_of("postroom check-config\npostroom check-config --config ./postroom.toml --json")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (default /etc/postroom/postroom.toml)")
    parser.add_argument("--json", action="store_true", help="print each fault as a line of JSON")
    parser.set_defaults(alone=_check)


def _check(options: argparse.Namespace) -> int:
    from gateway.paths import SETTINGS, default_settings
    from gateway.settings import BadSettings, load

    file = options.config or default_settings()
    if file is None:
        raise Stop(Exit.NO_INPUT, f"there is no {SETTINGS}; name a file with --config, or copy conf/postroom.toml")
    try:
        settings = load(file)
    except BadSettings as bad:
        for fault in bad.faults:
            emit(fault) if options.json else print(fault)
        say(f"{len(bad.faults)} fault{'s' if len(bad.faults) != 1 else ''} in {file}")
        return Exit.CONFIG
    say(f"{', '.join(map(str, settings.files))}: no faults")
    return Exit.OK

"""postroom settings."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Exit, emit, say, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import SettingRow


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "The settings that the running daemon works with; people write them in postroom.toml."
    shown = verb(
        verbs(parser),
        "show",
        "every setting in force, and the file and line that set it",
        _show,
        examples="postroom settings show\npostroom settings show --text relay.\npostroom settings show --json",
    )
    shown.add_argument("--text", default="", metavar="TEXT", help="only those whose key, value or file holds it")


async def _show(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListSettings
    from gateway.text import pad, safe_text

    wanted = options.text.casefold()
    rows = [row for row in (await client.call(ListSettings())).rows if wanted in _whole(row).casefold()]
    if not rows:
        say("there is no such setting")
        return Exit.NOT_FOUND
    for row in rows:
        if options.json:
            emit(row)
        else:
            print(f"{pad(safe_text(f'{row.key} = {row.value}'), 50)}  {safe_text(_origin(row))}")
    return Exit.OK


def _origin(row: SettingRow) -> str:
    return f"{row.file}:{row.line}" if row.file else "default"


def _whole(row: SettingRow) -> str:
    return f"{row.key} = {row.value}  {_origin(row)}"

"""postroom log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gateway.cli.base import Exit, add_limit, emit, say, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import LogRow

PAUSE = 1.0
"""Seconds between two looks for what is new."""
_LEVELS = ("debug", "info", "warning", "error", "critical")


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "The daemon's log as far back as it remembers; older lines are where the system keeps them."
    listed = verb(
        verbs(parser),
        "list",
        "lines of the log, the newest first; with --follow the newest last",
        _list,
        examples="""postroom log list --level warning
                    postroom log list --text touchpoint --limit 20
                    postroom log list --follow""",
    )
    listed.add_argument("--level", choices=_LEVELS, default="", help="only lines of this level and worse")
    listed.add_argument("--text", default="", metavar="TEXT", help="only lines that hold it")
    listed.add_argument("--follow", action="store_true", help="go on with what is new, until Ctrl-C")
    add_limit(listed)


async def _list(client: Client, options: argparse.Namespace) -> int:
    if options.follow:
        return await _follow(client, options)
    shown = 0
    async for row in _rows(client, options, 0):
        if shown == options.limit:
            say(f"there is more; see it with: --limit {options.limit * 10}")
            break
        _show(row, options)
        shown += 1
    if not shown and not options.json:
        say("the daemon remembers no such line")
    return Exit.OK


async def _follow(client: Client, options: argparse.Namespace) -> int:
    """The last lines as they came, then what is new; all of it, however much came within one pause."""
    import asyncio

    seen, most = 0, options.limit
    while True:
        news: list[LogRow] = []
        async for row in _rows(client, options, seen):
            if len(news) == most:
                break
            news.append(row)
        for row in reversed(news):
            _show(row, options)
        sys.stdout.flush()
        seen = max([seen, *(row.id for row in news)])
        most = -1
        await asyncio.sleep(PAUSE)


async def _rows(client: Client, options: argparse.Namespace, since: int) -> AsyncIterator[LogRow]:
    """Lines above an id, the newest first, window by window."""
    from gateway.control import MOST_ROWS, ListLog

    after = 0
    while True:
        asked = ListLog(level=options.level, text=options.text, since=since, after=after, limit=MOST_ROWS)
        found = await client.call(asked)
        for row in found.rows:
            yield row
        if not (after := found.next):
            return


def _show(row: LogRow, options: argparse.Namespace) -> None:
    """One line; what a record has more of them is set in, so that no text can pass for another record."""
    from gateway.text import safe_text

    if options.json:
        emit(row)
        return
    first, *others = safe_text(row.text, multiline=True).split("\n")
    print(f"{_second(row.at)} {row.level:<8} {safe_text(row.logger)}: {first}")
    for line in others:
        print(f"    {line}")


def _second(at: float) -> str:
    from datetime import datetime

    try:
        return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"

"""postroom replay."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Column, Exit, Stop, common, day, emit, examples_of, positive, say, table

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import Change, Replayed, ReplayRow


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = (
        "Walk kept mail again through the live line, as it was then but by the settings of now, without any effect, and"
        " show what is decided otherwise. Exit code 0: nothing; 1: something."
    )
    parser.epilog = examples_of(
        """postroom replay 17
           postroom replay --since 2026-11-20
           postroom replay --since 2026-11-20 --until 2026-11-21 --touchpoint support@example.org --json"""
    )
    parser.add_argument("id", nargs="?", type=positive, metavar="ID")
    parser.add_argument("--since", type=day, default=0.0, metavar="TIME", help="mail that was taken from then on")
    parser.add_argument("--until", type=day, default=0.0, metavar="TIME", help="mail that was taken before then")
    parser.add_argument("--touchpoint", default="", metavar="TOUCHPOINT", help="only mail of this touchpoint")
    common(parser)
    parser.set_defaults(work=_replay)


COLUMNS = (
    Column("MAIL", lambda line: line[0].id, right=True),
    Column("WHAT", lambda line: line[1].what),
    Column("THEN", lambda line: line[1].then, wide=True),
    Column("NOW", lambda line: line[1].now, wide=True),
    Column("BECAUSE", lambda line: because(line[0])),
)


def because(row: ReplayRow) -> str:
    """What may be the reason that it is decided otherwise."""
    settings = f"settings {row.version_then} -> {row.version_now}" if row.version_then != row.version_now else ""
    memory = "depends on memory" if row.depends_on_memory else ""
    return ", ".join(filter(None, (settings, memory))) or "same settings"


async def _replay(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ReplayMail

    ranged = options.since or options.until or options.touchpoint
    if bool(options.id) == bool(ranged):
        raise Stop(Exit.USAGE, "say one mail by its id, or which: --since TIME, --until TIME, --touchpoint ADDRESS")
    walked = differ = skipped = after = 0
    while True:
        answer = await client.call(
            ReplayMail(
                id=options.id or 0,
                since=options.since,
                until=options.until,
                touchpoint=options.touchpoint,
                after=after,
            )
        )
        _tell(answer, options)
        walked, differ, skipped = walked + answer.walked, differ + answer.differ, skipped + answer.skipped
        if not (after := answer.next):
            break
    left = f"; {skipped:,} not walked" if skipped else ""
    say(f"{walked:,} mail walked again, {differ:,} decided otherwise{left}")
    return Exit.NOT_FOUND if differ else Exit.OK


def _tell(answer: Replayed, options: argparse.Namespace) -> None:
    if options.json:
        for row in answer.rows:
            emit(row)
        return
    lines: list[tuple[ReplayRow, Change]] = [(row, change) for row in answer.rows for change in row.changes]
    if lines:
        table(lines, COLUMNS, "")
    for row in answer.rows:
        if row.skipped:
            say(f"mail {row.id} was not walked: {row.skipped}")

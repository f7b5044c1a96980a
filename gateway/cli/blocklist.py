"""postroom blocklist."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Column, add_limit, emit, listing, moment, say, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client

TOUCHPOINT = Column("TOUCHPOINT", lambda row: row.touchpoint, wide=True)
COLUMNS = (
    Column("BLOCKED", lambda row: row.pattern, wide=True),
    Column("SINCE", lambda row: moment(row.added_at)),
    Column("BY", lambda row: row.added_by),
    Column("NOTE", lambda row: row.note, wide=True),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "Senders whose mail a touchpoint holds instead of queueing it. Nothing is deleted."
    them = verbs(parser)
    show = verb(
        them,
        "list",
        "whom a touchpoint, or any touchpoint, does not want to hear from",
        _list,
        examples="""postroom blocklist list
                    postroom blocklist list support@example.org
                    postroom blocklist list --text example.net""",
    )
    show.add_argument("touchpoint", nargs="?", default="", metavar="TOUCHPOINT", help="only its blocklist")
    show.add_argument("--text", default="", metavar="TEXT", help="only entries whose pattern or note holds this")
    add_limit(show)
    block = verb(
        them,
        "add",
        "hold the mail of an address or of a whole domain from now on",
        _add,
        examples="""postroom blocklist add support@example.org pest@example.net
                    postroom blocklist add support@example.org @example.net --note 'asked twice'""",
    )
    block.add_argument("touchpoint", metavar="TOUCHPOINT")
    block.add_argument("pattern", metavar="ADDRESS|@DOMAIN")
    block.add_argument("--note", default="", metavar="TEXT", help="why, for those who come later")
    remove = verb(
        them,
        "remove",
        "take an entry off the blocklist; what is held stays held",
        _remove,
        examples="postroom blocklist remove support@example.org @example.net",
    )
    remove.add_argument("touchpoint", metavar="TOUCHPOINT")
    remove.add_argument("pattern", metavar="ADDRESS|@DOMAIN")


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListBlocklist

    return await listing(
        client,
        options,
        lambda after, limit: ListBlocklist(touchpoint=options.touchpoint, text=options.text, after=after, limit=limit),
        COLUMNS if options.touchpoint else (TOUCHPOINT, *COLUMNS),
        f"no such entry is on the blocklist of {options.touchpoint or 'any touchpoint'}",
    )


async def _add(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import Block

    done = await client.call(Block(touchpoint=options.touchpoint, pattern=options.pattern, note=options.note))
    if options.json:
        emit(done)
    say(done.words)


async def _remove(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import Unblock

    done = await client.call(Unblock(touchpoint=options.touchpoint, pattern=options.pattern))
    if options.json:
        emit(done)
    say(done.words)

"""postroom spool."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gateway.cli.base import (
    Column,
    Exit,
    Stop,
    add_limit,
    add_yes,
    confirm,
    emit,
    listing,
    positive,
    say,
    table,
    verb,
    verbs,
)
from gateway.cli.mail import HELD, SPOOL, act, act_verb, add_read, show

if TYPE_CHECKING:
    from gateway.client import Client


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "All mail in both directions, and what can be done to it."
    them = verbs(parser)
    listed = verb(
        them,
        "list",
        "mail that is not at its end, the newest first",
        _list,
        examples="""postroom spool list
                    postroom spool list --state held --cause blocked
                    postroom spool list --out --state all --touchpoint support@example.org""",
    )
    listed.add_argument(
        "--state",
        default="unsettled",
        metavar="STATE",
        help="waiting, parked, active, held, unknown, failed, queued, closed, stopped, delivered, dropped, all"
        " (default: what is not at its end)",
    )
    way = listed.add_mutually_exclusive_group()
    way.add_argument("--in", action="store_const", const="in", dest="direction", help="only mail that came in")
    way.add_argument("--out", action="store_const", const="out", dest="direction", help="only mail that goes out")
    for option, words in (
        ("touchpoint", "only mail of this touchpoint"),
        ("ring-group", "only mail of this ring group's queue"),
        ("cause", "only mail with this cause, such as blocked"),
        ("author", "only mail of this address or @domain"),
        ("subject", "only mail whose subject holds these words"),
    ):
        listed.add_argument(f"--{option}", default="", metavar=option.upper(), help=words)
    listed.set_defaults(direction="")
    add_limit(listed)
    one = verb(them, "show", "one mail: where it is and why", show, examples="postroom spool show 17")
    one.add_argument("id", type=positive, metavar="ID")
    add_read(them, "spool", "text")
    shape = verb(
        them,
        "shape",
        "how many minutes the mail has waited that still has to go out",
        _shape,
        examples="""postroom spool shape
                    postroom spool shape --by touchpoint
                    postroom spool shape --touchpoint support@example.org""",
    )
    shape.add_argument(
        "--by",
        choices=("destination", "touchpoint"),
        default="destination",
        help="one row for each destination domain (default), or for each touchpoint",
    )
    shape.add_argument("--touchpoint", default="", metavar="TOUCHPOINT", help="only mail of this touchpoint")
    act_verb(
        them, "spool", "retry", "try a failed or waiting mail now; one of unknown outcome is sent again",
        "RetryMail", "to be tried again",
    )  # fmt: skip
    act_verb(
        them, "spool", "confirm", "a mail of unknown outcome did arrive, as you found out; it is not sent again",
        "ConfirmMail", "confirmed",
    )  # fmt: skip
    held = act_verb(them, "spool", "hold", "set a waiting or queued mail aside", "HoldMail", "set aside")
    held.add_argument("--reason", default="", metavar="TEXT", help="why, for those who come later")
    act_verb(them, "spool", "release", "let a held mail go on", "ReleaseMail", "released")
    drop = act_verb(them, "spool", "drop", "give a mail up; its content is kept", "DropMail", "dropped")
    drop.set_defaults(work=_drop)
    add_yes(drop)
    export = verb(
        them,
        "export",
        "write a mail as .eml, byte for byte",
        _export,
        examples="postroom spool export 17 > 17.eml\npostroom spool export 17 --to ./17.eml",
    )
    export.add_argument("id", type=positive, metavar="ID")
    export.add_argument("--to", type=Path, metavar="FILE", help="a new file (default: stdout)")


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListMail

    names = ("direction", "state", "touchpoint", "ring_group", "cause", "author", "subject")
    asked = {name: getattr(options, name) for name in names}
    return await listing(
        client,
        options,
        lambda after, limit: ListMail(**asked, after=after, limit=limit),
        HELD if options.state == "held" else SPOOL,
        "there is no such mail; all there is: postroom spool list --state all",
    )


async def _shape(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import ShapeOutbox

    shape = await client.call(ShapeOutbox(touchpoint=options.touchpoint, by=options.by))
    if options.json:
        emit(shape)
        return
    titles = (*map(str, shape.bounds), f"{shape.bounds[-1]}+")
    columns = (
        Column(options.by.upper(), lambda row: row.name, wide=True),
        Column("TOTAL", lambda row: f"{row.total:,}", right=True),
        Column("PARKED", lambda row: f"{row.parked:,}", right=True),
        *(Column(title, lambda row, n=n: f"{row.ages[n]:,}", right=True) for n, title in enumerate(titles)),  # type: ignore[misc]
    )
    table(shape.rows, columns, "nothing waits to go out")
    if shape.more:
        say(f"and {shape.more} more with less mail")


async def _drop(client: Client, options: argparse.Namespace) -> int:
    confirm(options, f"Give up mail {' '.join(map(str, options.ids))}? It will not be sent or queued.")
    return await act(client, options)


async def _export(client: Client, options: argparse.Namespace) -> None:
    if options.to is None:
        if sys.stdout.isatty():
            raise Stop(Exit.USAGE, "a mail is not for a terminal as it is; write it to a file with --to FILE")
        await copy_content(client, options.id, sys.stdout.buffer)
    else:
        await export_to(client, options.id, options.to)
        say(f"mail {options.id} is in {options.to}")


async def export_to(client: Client, entry_id: int, path: Path) -> None:
    """Write a mail to a new file that only its owner may read, and wait until it is on the disk."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Stop(Exit.CANT_CREATE, f"{path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        await copy_content(client, entry_id, file)
        file.flush()
        os.fsync(file.fileno())


async def copy_content(client: Client, entry_id: int, file: IO[bytes]) -> None:
    """Copy a mail's content piece by piece."""
    from gateway.control import ReadContent

    at = 0
    while True:
        chunk = await client.call(ReadContent(id=entry_id, offset=at))
        file.write(chunk.data)
        at += len(chunk.data)
        if not chunk.data or at >= chunk.size:
            return

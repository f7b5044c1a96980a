"""postroom ring-group."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Column, add_limit, emit, listing, moment, say, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client

COLUMNS = (
    Column("RING GROUP", lambda row: row.name, wide=True),
    Column("OPEN", lambda row: f"{row.open:,}", right=True),
    Column("OLDEST", lambda row: moment(row.oldest_at)),
    Column("TOUCHPOINTS", lambda row: " ".join(row.touchpoints), wide=True),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "Groups of people who answer; a queue is the mail that waits for one of them."
    them = verbs(parser)
    add_limit(verb(them, "list", "all ring groups and their queues", _list, examples="postroom ring-group list"))
    create = verb(them, "create", "a new ring group", _create, examples="postroom ring-group create 'Front office'")
    create.add_argument("name", metavar="NAME")
    delete = verb(
        them,
        "delete",
        "remove a ring group that is linked to nothing and never had mail",
        _delete,
        examples="postroom ring-group delete 'Front office'",
    )
    delete.add_argument("name", metavar="NAME")


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListRingGroups

    return await listing(
        client,
        options,
        lambda after, limit: ListRingGroups(after=after, limit=limit),
        COLUMNS,
        "there is no ring group yet; make one with: postroom ring-group create NAME",
    )


async def _create(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import CreateRingGroup

    row = await client.call(CreateRingGroup(name=options.name))
    if options.json:
        emit(row)
    say(f"ring group {row.name} is there; link it with: postroom touchpoint link TOUCHPOINT {row.name!r}")


async def _delete(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import DeleteRingGroup

    done = await client.call(DeleteRingGroup(name=options.name))
    if options.json:
        emit(done)
    say(done.words)

"""postroom queue."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import add_limit, listing, positive, verb, verbs
from gateway.cli.mail import QUEUE, act_verb, show

if TYPE_CHECKING:
    from gateway.client import Client


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "Mail that waits for the people of a ring group."
    them = verbs(parser)
    listed = verb(
        them,
        "list",
        "open mail, the newest first",
        _list,
        examples="""postroom queue list
                    postroom queue list --ring-group 'Front office' --limit 20
                    postroom queue list --unassigned""",
    )
    listed.add_argument("--ring-group", default="", metavar="NAME", help="only mail of this ring group's queue")
    listed.add_argument("--touchpoint", default="", metavar="ADDRESS", help="only mail of this touchpoint")
    listed.add_argument("--unassigned", action="store_true", help="only mail that is in no queue")
    which = listed.add_mutually_exclusive_group()
    which.add_argument("--closed", action="store_const", const="closed", dest="state", help="closed mail instead")
    which.add_argument("--all", action="store_const", const="queued", dest="state", help="open and closed mail")
    listed.set_defaults(state="open")
    add_limit(listed)
    one = verb(them, "show", "one mail: where it is and why", show, examples="postroom queue show 17")
    one.add_argument("id", type=positive, metavar="ID")
    act_verb(them, "queue", "close", "somebody dealt with it", "CloseMail", "closed")
    act_verb(them, "queue", "reopen", "it needs somebody again", "ReopenMail", "open again")


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListMail

    return await listing(
        client,
        options,
        lambda after, limit: ListMail(
            direction="in",
            state=options.state,
            touchpoint=options.touchpoint,
            ring_group=options.ring_group,
            unassigned=options.unassigned,
            after=after,
            limit=limit,
        ),
        QUEUE,
        "no such mail is in a queue",
    )

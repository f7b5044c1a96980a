"""postroom queue."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.base import Exit, Stop, add_limit, emit, listing, positive, say, verb, verbs
from gateway.cli.mail import QUEUE, act, act_verb, add_ids, add_read, show, state

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
    add_read(them, "queue", "read")
    act_verb(them, "queue", "close", "somebody dealt with it", "CloseMail", "closed")
    act_verb(them, "queue", "reopen", "it needs somebody again", "ReopenMail", "open again")
    _add_move(them)


def _add_move(them: Any) -> None:
    moved = verb(
        them,
        "move",
        "put mail into the queues of these ring groups, and into no others",
        _move,
        examples="""postroom queue move 17 --to 'Front office'
                    postroom queue move 17 18 --to 'Front office' --to Sales --dry-run
                    postroom queue move 17 --nowhere""",
    )
    add_ids(moved)
    where = moved.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", action="append", metavar="NAME", help="this ring group's; several where it is repeated")
    where.add_argument("--nowhere", action="store_const", const=[], dest="to", help="take it out of all queues")
    moved.add_argument("--dry-run", action="store_true", help="only say what would change")
    moved.set_defaults(call="MoveMail")


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


async def _move(client: Client, options: argparse.Namespace) -> int:
    names = sorted({name.strip() for name in options.to})
    if options.dry_run:
        return await _would_move(client, options, names)
    options.past = f"in the queue of {' and '.join(names)}" if names else "in no queue"
    return await act(client, options, ring_groups=tuple(names))


async def _would_move(client: Client, options: argparse.Namespace, names: list[str]) -> int:
    """Say of each mail where it is and where it would be; what would be refused is said as such."""
    from gateway.client import CallFailed
    from gateway.control import Code, ShowMail
    from gateway.text import safe_text

    if unknown := sorted(set(names) - await _ring_groups(client)):
        raise Stop(Exit.DATA, f"there is no ring group {unknown[0]!a}; see: postroom ring-group list")
    code = Exit.OK
    for number in options.ids:
        try:
            row = (await client.call(ShowMail(id=number))).row
        except CallFailed as error:
            if error.code != Code.REFUSED:
                raise
            say(str(error))
            code = Exit.DATA
            continue
        before = sorted(row.queues)
        if row.state != "queued":
            say(f"mail {number} is {state(row)}: it would not be moved")
            code = Exit.DATA
        elif options.json:
            emit({"id": number, "from": before, "to": names})
        else:
            words = "nothing would change" if before == names else f"{_listed(before)} -> {_listed(names)}"
            print(safe_text(f"mail {number}: {words}"))
    return code


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no queue"


async def _ring_groups(client: Client) -> set[str]:
    from gateway.control import ListRingGroups

    found: set[str] = set()
    after = 0
    while True:
        page = await client.call(ListRingGroups(after=after, limit=500))
        found.update(row.name for row in page.rows)
        if not (after := page.next):
            return found

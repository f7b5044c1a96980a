"""postroom why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Exit, common, emit, examples_of, say
from gateway.cli.mail import tell, tell_item

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import WhyAnswer


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = "What became of a mail and why: the verdict of each stage, and what servers said."
    parser.epilog = examples_of(
        """postroom why 17
           postroom why '<20261123.1@example.net>'
           postroom why customer@example.net --subject invoice"""
    )
    parser.add_argument("what", metavar="ID|MESSAGE-ID|SENDER")
    parser.add_argument("--subject", default="", metavar="WORDS", help="of a sender: only mail with these words")
    common(parser)
    parser.set_defaults(work=_why)


async def _why(client: Client, options: argparse.Namespace) -> int:
    answer = await _ask(client, options.what, options.subject)
    if options.json:
        for thing in (*answer.mails, *answer.items):
            emit(thing)
    else:
        for number, detail in enumerate(answer.mails):
            print("\n" + "-" * 20 + "\n" if number else "", end="")
            tell(detail)
        for item in answer.items:
            tell_item(item)
    if answer.more:
        say("there is more such mail; the newest are shown, see: postroom spool list --state all --author SENDER")
    if not answer.mails and not answer.items:
        say(
            f"no mail {options.what} was ever seen here: not fetched by any touchpoint, not handed in to the relay;"
            " look at the states with: postroom status"
        )
        return Exit.NOT_FOUND
    return Exit.OK


async def _ask(client: Client, what: str, subject: str) -> WhyAnswer:
    """A number is an id; else a Message-ID is looked for first, then a sender."""
    from gateway.control import Why

    if what.isascii() and what.isdigit():
        return await client.call(Why(id=int(what[:18])))
    if not subject:
        answer = await client.call(Why(message_id=what))
        if answer.mails or answer.items or what.startswith("<"):
            return answer
    return await client.call(Why(author=what, subject=subject))

"""postroom why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Exit, common, day, emit, examples_of, say, table
from gateway.cli.mail import SPOOL, tell, tell_item

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import Finding, WhyAnswer

LOCATED = frozenset({"pending", "gone", "moved", "known", "older", "skipped", "not-watched", "not-yet", "missing"})
"""Findings that say where a mail is that never came here."""
DAY = 86400.0


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = (
        "What became of a mail and why: the verdict of each stage, and what servers said. Where our books know nothing,"
        " the servers of the touchpoints are asked."
    )
    parser.epilog = examples_of(
        """postroom why 17
           postroom why '<20261123.1@example.net>'
           postroom why customer@example.net --subject invoice
           postroom why customer@example.net --day 2026-11-20
           postroom why 'your invoice' --touchpoint support@example.org"""
    )
    parser.add_argument("what", metavar="WHAT", help="an id, a Message-ID, a sender, @domain, or words of the subject")
    parser.add_argument("--subject", default="", metavar="WORDS", help="of a sender: only mail with these words")
    parser.add_argument("--day", type=day, default=0.0, metavar="DAY", help="only mail of this day, such as 2026-11-20")
    parser.add_argument("--since", type=day, default=0.0, metavar="TIME", help="only mail from then on")
    parser.add_argument("--until", type=day, default=0.0, metavar="TIME", help="only mail before then")
    parser.add_argument("--touchpoint", default="", metavar="TOUCHPOINT", help="only this one's mail and server")
    servers = parser.add_mutually_exclusive_group()
    servers.add_argument(
        "--books-only", action="store_const", const="never", dest="servers", help="ask no server, whatever is missing"
    )
    servers.add_argument(
        "--ask-servers", action="store_const", const="always", dest="servers", help="ask the servers in any case"
    )
    common(parser)
    parser.set_defaults(work=_why, servers="")


async def _why(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import Why

    since, until = (options.day, options.day + DAY) if options.day else (options.since, options.until)
    answer = await client.call(
        Why(
            what=options.what,
            subject=options.subject,
            since=since,
            until=until,
            touchpoint=options.touchpoint,
            servers=options.servers,
        )
    )
    if options.json:
        emit(answer)
    else:
        _tell(answer)
    if answer.more:
        say("there may be more such mail; ask more narrowly: --day, --subject, --touchpoint")
    located = any(each.mail or each.kind in LOCATED for each in answer.findings)
    known = answer.mails or answer.items or answer.candidates or located
    return Exit.OK if known else Exit.NOT_FOUND


def _tell(answer: WhyAnswer) -> None:
    """One story where one mail matches, a list where several do, and what else was found out."""
    if answer.candidates:
        table(answer.candidates, SPOOL, "")
        say(f"{len(answer.candidates)} match; the story of one: postroom why {answer.candidates[0].id}")
        ours = {each.row.id for each in answer.mails}
        _tell_findings([each for each in answer.findings if each.mail not in ours])
        return
    _tell_findings(answer.findings)
    for detail in answer.mails:
        print()
        tell(detail)
    for item in answer.items:
        tell_item(item)


def _tell_findings(findings: tuple[Finding, ...] | list[Finding]) -> None:
    from gateway.text import safe_text

    for each in findings:
        lead = f"mail {each.mail}: " if each.mail else ""
        print(safe_text(f"{lead}{each.words}"))
        if each.command:
            print(safe_text(f"  next: {each.command}"))

"""postroom audit."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from gateway.cli.base import Column, add_limit, listing, moment, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import AuditRow

COLUMNS = (
    Column("AT", lambda row: moment(row.at)),
    Column("WHO", lambda row: row.actor, wide=True),
    Column("DID", lambda row: row.verb),
    Column("TO", lambda row: row.subject, wide=True),
    Column("DETAIL", lambda row: words(row), wide=True),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "Who changed what, and when."
    listed = verb(
        verbs(parser),
        "list",
        "changes, the newest first",
        _list,
        examples="""postroom audit list
                    postroom audit list --subject support@example.org
                    postroom audit list --subject 'mail 17' --json
                    postroom audit list --text touchpoint.connect --limit 20""",
    )
    listed.add_argument(
        "--subject", default="", metavar="WHAT", help="only changes of this touchpoint (its address) or mail (mail 17)"
    )
    listed.add_argument(
        "--text", default="", metavar="TEXT", help="only those whose actor, verb, subject or detail holds it"
    )
    add_limit(listed)


def words(row: AuditRow) -> str:
    """The detail of a change in words: ``name: New (was Old)``."""
    try:
        detail = json.loads(row.detail)
    except ValueError:
        return row.detail
    if not isinstance(detail, dict):
        return row.detail
    was: Any = detail.pop("was", None)
    was = was if isinstance(was, dict) else {}
    told = [f"{name}: {value}" + (f" (was {was[name]})" if name in was else "") for name, value in detail.items()]
    return ", ".join([*told, *(f"{name} was: {value}" for name, value in was.items() if name not in detail)])


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListAudit

    return await listing(
        client,
        options,
        lambda after, limit: ListAudit(subject=options.subject, text=options.text, after=after, limit=limit),
        COLUMNS,
        "no such change is written down",
    )

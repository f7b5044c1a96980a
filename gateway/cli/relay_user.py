"""postroom relay-user."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.base import (
    Column,
    add_limit,
    add_password,
    add_yes,
    confirm,
    emit,
    listing,
    password_of,
    say,
    switch,
    verb,
    verbs,
)

if TYPE_CHECKING:
    from gateway.client import Client

COLUMNS = (
    Column("RELAY USER", lambda row: row.name),
    Column("SIGNATURE", lambda row: "on" if row.signature else "off"),
    Column("NOTICES TO", lambda row: row.notify or "the admins", wide=True),
    Column("MAY WRITE AS", lambda row: " ".join(row.grants) or "nobody", wide=True),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "Internal senders: systems that hand in mail to the relay, and the touchpoints they write as."
    them = verbs(parser)
    add_limit(verb(them, "list", "all relay users", _list, examples="postroom relay-user list"))
    new = verb(
        them,
        "add",
        "a new relay user; asks for the password",
        _add,
        examples="""postroom relay-user add billing --grant support@example.org --signature on
                    postroom relay-user add billing --password-file ./billing.password""",
    )
    edit = verb(
        them,
        "edit",
        "change where its notices go, or whether its mail is signed",
        _edit,
        examples="postroom relay-user edit billing --signature off --notify ops@example.org",
    )
    for each in (new, edit):
        each.add_argument("name", metavar="NAME")
        each.add_argument("--notify", metavar="ADDRESS", help="who is told of final failures; '' means the admins")
        each.add_argument("--signature", type=switch, metavar="on|off", help="put the touchpoint's signature in")
    new.add_argument("--grant", action="append", default=[], metavar="TOUCHPOINT", help="may write as this one")
    add_password(new)
    for name, summary in (
        ("grant", "let it write as touchpoints"),
        ("revoke", "no longer let it write as touchpoints"),
    ):
        each = verb(them, name, summary, _grants, examples=f"postroom relay-user {name} billing support@example.org")
        each.add_argument("name", metavar="NAME")
        each.add_argument("touchpoints", nargs="+", metavar="TOUCHPOINT")
        each.set_defaults(verb=name)
    password = verb(
        them, "password", "give it another password", _password, examples="postroom relay-user password billing"
    )
    password.add_argument("name", metavar="NAME")
    add_password(password)
    remove = verb(
        them, "remove", "take it away; what it sent goes out", _remove, examples="postroom relay-user remove billing"
    )
    remove.add_argument("name", metavar="NAME")
    add_yes(remove)


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListRelayUsers

    return await listing(
        client,
        options,
        lambda after, limit: ListRelayUsers(after=after, limit=limit),
        COLUMNS,
        "there is no relay user yet; make one with: postroom relay-user add NAME",
    )


async def _add(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import AddRelayUser

    password = password_of(options, f"password for {options.name}", twice=True)
    row = await client.call(
        AddRelayUser(
            name=options.name,
            password=password,
            notify=options.notify or "",
            signature=bool(options.signature),
            grants=tuple(options.grant),
        )
    )
    if options.json:
        emit(row)
    say(f"relay user {row.name} may write as {' '.join(row.grants) or 'nobody yet; see: postroom relay-user grant'}")


async def _edit(client: Client, options: argparse.Namespace) -> None:
    await _change(client, options, notify=options.notify, signature=options.signature)


async def _grants(client: Client, options: argparse.Namespace) -> None:
    await _change(client, options, **{options.verb: tuple(options.touchpoints)})


async def _password(client: Client, options: argparse.Namespace) -> None:
    await _change(client, options, password=password_of(options, f"new password for {options.name}", twice=True))


async def _change(client: Client, options: argparse.Namespace, **changes: Any) -> None:
    from gateway.control import EditRelayUser

    row = await client.call(EditRelayUser(name=options.name, **changes))
    if options.json:
        emit(row)
    signs = "on" if row.signature else "off"
    say(f"relay user {row.name} may write as {' '.join(row.grants) or 'nobody'}; signature {signs}")


async def _remove(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import RemoveRelayUser

    confirm(options, f"Remove relay user {options.name}?")
    done = await client.call(RemoveRelayUser(name=options.name))
    if options.json:
        emit(done)
    say(done.words)

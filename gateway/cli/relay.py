"""postroom relay."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.base import Column, emit, moment, table, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client

LISTENERS = (
    Column("LISTENER", lambda row: row.name, wide=True),
    Column("ADDRESS", lambda row: _address(row.host, row.port), wide=True),
    Column("MODE", lambda row: row.mode),
    Column("OPEN", lambda row: f"{row.sessions:,}", right=True),
    Column("ACCEPTED", lambda row: f"{row.accepted:,}", right=True),
    Column("REFUSED", lambda row: f"{row.refused:,}", right=True),
)
CLIENTS = (
    Column("CLIENT", lambda row: row.peer or "local", wide=True),
    Column("LISTENER", lambda row: row.listener, wide=True),
    Column("RELAY USER", lambda row: row.user or "-", wide=True),
    Column("SINCE", lambda row: moment(row.since)),
    Column("ACCEPTED", lambda row: f"{row.accepted:,}", right=True),
    Column("REFUSED", lambda row: f"{row.refused:,}", right=True),
)
RATES = (
    Column("RELAY USER, LAST HOUR", lambda row: row.user, wide=True),
    Column("ACCEPTED", lambda row: f"{row.accepted:,}", right=True),
    Column("REFUSED", lambda row: f"{row.refused:,}", right=True),
    Column("LAST", lambda row: moment(row.last_at)),
)
REFUSALS = (
    Column("REFUSED AT", lambda row: moment(row.at)),
    Column("CLIENT", lambda row: row.peer or "local", wide=True),
    Column("LISTENER", lambda row: row.listener, wide=True),
    Column("RELAY USER", lambda row: row.user or "-", wide=True),
    Column("ANSWER", lambda row: f"{row.code} {row.text}", wide=True),
)


def _address(host: str, port: int) -> str:
    if not port:  # a Unix socket
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "The relay, where internal senders hand in their mail: what it is doing now."
    them = verbs(parser)
    verb(
        them,
        "show",
        "its listeners and clients, who handed in how much, and the last refusals",
        _show,
        examples="postroom relay show\npostroom relay show --json",
    )


async def _show(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import ShowRelay

    state = await client.call(ShowRelay())
    if options.json:
        emit(state)
        return
    for number, (rows, columns, empty) in enumerate(
        (
            (state.listeners, LISTENERS, "the relay listens nowhere; name a [[relay.listener]] in the settings"),
            (state.clients, CLIENTS, "no client is connected"),
            (state.rates, RATES, "nothing was handed in during the last hour"),
            (state.refusals, REFUSALS, "nothing was refused since the start"),
        )
    ):
        if number and rows:
            print()
        table(rows, columns, empty)

"""postroom whoami."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gateway.cli.base import common, emit, examples_of, page

if TYPE_CHECKING:
    from gateway.client import Client


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = "Who the daemon takes you for, what that lets you do, and which daemon it is."
    parser.epilog = examples_of("postroom whoami\npostroom whoami --json")
    common(parser)
    parser.set_defaults(work=_whoami)


async def _whoami(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import VERSION

    via = _via(os.environ.get("SSH_CONNECTION", ""))
    me = await client.hello(via)
    if options.json:
        emit(me)
        return
    page(
        [
            ("name", f"{me.name} (uid {me.uid})"),
            ("roles", ", ".join(me.roles)),
            ("via", via),
            ("daemon", f"{me.hostname}, postroom {me.version}"),
            ("this command", f"postroom {VERSION}" if me.version != VERSION else ""),
        ]
    )


def _via(connection: str) -> str:
    """Whence a person comes, by what sshd put into the environment: address and port of both ends."""
    peer = connection.split()
    return f"ssh {peer[0]}" if peer else ""

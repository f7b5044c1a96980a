"""``postroom demo``: the main job on a provider in a box, with the account at the end.

The story is ``story.py``, its daemon ``house.py``, its verdict ``reckoning.py``, its mail ``corpus.py`` (printed by
``press.py`` from ``texts.py`` and ``senders.py``). The provider is ``provider.py``: an IMAP and a submission server
over mailboxes in memory, which also serve the tests. At a terminal it lives on afterwards (``living.py``), and the
terminal UI can be opened on it. Needs no terminal, no root, and no network beyond loopback;
leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run the demo; 0 if everything adds up, 1 if not."""
    parser = argparse.ArgumentParser(prog="postroom demo", description="the main job on a provider in a box")
    parser.add_argument("--json", action="store_true", help="print the account as one JSON object")
    parser.add_argument(
        "--stay", action=argparse.BooleanOptionalAction, help="let it live on, and offer the terminal UI on it"
    )
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return os.EX_USAGE if end.code else 0
    terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    stay = options.stay if options.stay is not None else terminal and not options.json

    import asyncio

    from gateway.demo.story import play

    try:
        return asyncio.run(play(as_json=options.json, stay=stay))
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:  # by SIGTERM
        return 143

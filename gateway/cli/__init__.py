"""``postroom``: the command line. One file per noun; only the noun that is asked for is loaded.

stdout is data, stderr is narration. Every command takes ``--json`` (JSON lines for lists). Exit codes are those of
sysexits.h (``Exit`` in base.py). Whatever the terminal UI can do, a command can.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

NOUNS = {
    "run": "run the daemon in the foreground",
    "tui": "the terminal UI: manage touchpoints, watch the mail move",
    "status": "the whole house at a glance",
    "whoami": "who the daemon takes you for",
    "touchpoint": "mailboxes: create, connect, activate, and the rest of their life",
    "queue": "mail that waits for people: list, show, read, close, reopen, move",
    "spool": "all mail, both directions: list, show, text, shape, retry, hold, release, drop, export",
    "why": "what became of a mail, and why; also of one that never came",
    "replay": "walk kept mail again by the settings of now, without any effect",
    "prove": "that nothing is lost: servers, books and contents compared",
    "ring-group": "groups of people who answer",
    "blocklist": "senders whose mail is held",
    "auto-reply": "the auto-reply of a touchpoint",
    "signature": "the signature of a touchpoint",
    "relay": "what the relay is doing: listeners, clients, rates, the last refusals",
    "relay-user": "internal senders: who may hand in mail, and as whom",
    "audit": "who changed what, and when",
    "log": "the daemon's log, as far back as it remembers",
    "settings": "the settings in force, and where each comes from",
    "check-config": "check the settings, offline; every fault at once",
    "doctor": "look at the store from outside: is it whole, and which mails are affected",
    "demo": "see the main job done on a provider in a box",
}
_ABOUT = "The post room of a contact centre: takes mail in, sorts it into queues, sends the answers."
_EPILOG = """\
first steps:
  postroom demo                                        see it work; needs nothing
  postroom run                                         start it with built-in settings
  postroom touchpoint create support@example.org --name Support --provider yahoo
  postroom touchpoint connect support@example.org
  postroom touchpoint activate support@example.org
  postroom status --watch
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    args = sys.argv[1:] if argv is None else argv
    if args[:1] == ["demo"]:
        from gateway.demo import main as demo

        return demo(args[1:])
    from gateway.cli.base import perform

    return perform(_parser(args), args)


def _parser(args: list[str]) -> argparse.ArgumentParser:
    from gateway.cli.base import Parser

    parser = Parser(
        prog="postroom",
        description="The post room of a contact centre: takes mail in, sorts it into queues, sends the answers.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    nouns = parser.add_subparsers(title="commands", metavar="COMMAND", dest="noun", parser_class=Parser)
    asked = next((arg for arg in args if arg in NOUNS), None)
    for noun, summary in NOUNS.items():
        sub = nouns.add_parser(noun, help=summary)
        if noun == asked and noun != "demo":
            import_module(f"gateway.cli.{noun.replace('-', '_')}").add(sub)
    return parser

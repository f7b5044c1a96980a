"""postroom auto-reply."""

from __future__ import annotations

import argparse

from gateway.cli.template import add_verbs


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "The one auto-reply of a touchpoint: sent to the first mail of a conversation, while it is on."
    change = add_verbs(parser, "auto_reply", "auto-reply")
    change.add_argument("--subject", metavar="TEXT", help="subject; '' means Auto: and the subject that is answered")

"""postroom signature."""

from __future__ import annotations

import argparse

from gateway.cli.template import add_verbs


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "The one signature of a touchpoint: put above the quote of what is sent, while it is on."
    change = add_verbs(parser, "signature", "signature")
    change.add_argument("--html-file", metavar="FILE", help="HTML from a file; without it, made from the text")

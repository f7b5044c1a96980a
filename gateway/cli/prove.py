"""postroom prove."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.cli.base import Exit, common, day, emit, examples_of, say

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import MissingRow, Proof

_AGE = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_PAUSE = 0.5
"""Seconds between two looks at how far it is."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = (
        "Prove that nothing is lost: ask each server what it has (ids, no mail), lay it beside the books,\n"
        "and say where everything is.\n\n"
        "Exit code 0: nothing is missing, and every server could be asked. 1: something is missing.\n"
        "75: nothing is missing in the books, and a server could not be asked; it says which and why."
    )
    parser.epilog = examples_of(
        """postroom prove
           postroom prove support@example.org --since 7d
           postroom prove --since 2026-11-01 --json"""
    )
    parser.add_argument("touchpoint", nargs="?", default="", metavar="TOUCHPOINT", help="this one only (default all)")
    parser.add_argument(
        "--since",
        type=since,
        default=0.0,
        metavar="WHEN",
        help="only what came since then: an age such as 2d, a date such as 2026-11-01, or seconds since the epoch",
    )
    common(parser)
    parser.set_defaults(work=_prove)


def since(text: str) -> float:
    """An age, a date or seconds since the epoch, as seconds since the epoch."""
    if match := _AGE.fullmatch(text):
        return max(1.0, time.time() - int(match[1]) * _SECONDS[match[2]])
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text, re.ASCII):
        return float(text)
    return day(text)


async def _prove(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import Prove

    asking = asyncio.ensure_future(client.call(Prove(touchpoint=options.touchpoint, since=options.since)))
    if sys.stderr.isatty():
        await _tell_progress(client, asking)
    proof = await asking
    emit(proof) if options.json else show(proof)
    if proof.missing:
        return Exit.NOT_FOUND
    return Exit.TEMPFAIL if proof.unproven else Exit.OK


async def _tell_progress(client: Client, asking: asyncio.Future[Proof]) -> None:
    """One line that is written over until the answer comes."""
    from gateway.control import ShowProving
    from gateway.text import safe_text

    try:
        while not (await asyncio.wait({asking}, timeout=_PAUSE))[0]:
            at = await client.call(ShowProving())
            if at.running:
                words = f"{at.step}, {at.done:,} of {at.of:,} touchpoints, {at.seconds:.0f} s"
                print(f"\r\x1b[K{safe_text(words)}", end="", file=sys.stderr, flush=True)
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def lines(proof: Proof) -> list[str]:
    """Both lines of a proof; the places come in the order in which they are told."""
    return [_line("in", proof.inward), _line("out", proof.outward)]


def _line(way: str, places: Mapping[str, int]) -> str:
    names = {"not_taken": "not yet taken"}
    parts = [f"{names.get(place, place)} {number:,}" for place, number in places.items() if place != "missing"]
    return f"{way} {sum(places.values()):,} = {' + '.join(parts)} · missing {places.get('missing', 0):,}"


def show(proof: Proof) -> None:
    """A proof for people."""
    from gateway.text import safe_text

    for each in lines(proof):
        print(each)
    for row in proof.touchpoints:
        print(safe_text(f"{'' if row.proven else 'not proven: '}{row.touchpoint}: {row.words}"))
    if proof.unproven > (told := sum(not row.proven for row in proof.touchpoints)):
        print(f"and {proof.unproven - told:,} more touchpoints that are not proven")
    if proof.untold:
        say(f"of {proof.untold:,} failed mails no notice tells; see: postroom spool list --state failed")
    for missing in proof.found:
        print(safe_text(f"missing: {_whereabouts(missing)}"))
    if (more := proof.missing - len(proof.found)) > 0:
        print(f"and {more:,} more that are missing")


def _whereabouts(row: MissingRow) -> str:
    """One missing thing in a line."""
    place = f"{row.folder} uid {row.remote_id}" if row.remote_id else row.folder
    told = (row.touchpoint, place, row.message_id, f"{row.subject!r}" if row.subject else "")
    return f"{', '.join(filter(None, told)) or 'the books'}: {row.words}"

"""What ``postroom auto-reply`` and ``postroom signature`` share: the one text of a touchpoint."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.base import Exit, Stop, emit, moment, page, read_file, say, verb, verbs

if TYPE_CHECKING:
    from gateway.client import Client


def add_verbs(parser: argparse.ArgumentParser, kind: str, noun: str) -> argparse.ArgumentParser:
    """show, set, on, off; the parser of set."""
    them = verbs(parser)
    example = f"postroom {noun} {{}} support@example.org"
    show = verb(them, "show", f"the {noun} as it is now", _show, examples=example.format("show"))
    change = verb(
        them,
        "set",
        f"write the {noun}; it is used only while it is on",
        _set,
        examples=f"""postroom {noun} set support@example.org --text-file {noun}.txt
                     postroom {noun} set support@example.org --text-file - --on < {noun}.txt""",
    )
    on = verb(them, "on", f"use the {noun} from now on", _on, examples=example.format("on"))
    off = verb(them, "off", f"do not use the {noun}; the text is kept", _off, examples=example.format("off"))
    for each in (show, change, on, off):
        each.add_argument("touchpoint", metavar="TOUCHPOINT")
        each.set_defaults(kind=kind, named=noun)
    change.add_argument("--text", metavar="TEXT", help="the text itself")
    change.add_argument("--text-file", metavar="FILE", help="the text from a file, or - for stdin")
    change.add_argument("--on", action="store_const", const=True, default=None, dest="active", help="and use it")
    return change


async def _show(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import ShowTemplate
    from gateway.text import safe_text

    row = await client.call(ShowTemplate(touchpoint=options.touchpoint, kind=options.kind))
    if options.json:
        emit(row)
        return
    page(
        [
            (options.named, "on" if row.active else "off"),
            ("subject", row.subject),
            ("changed", moment(row.updated_at) or "never written"),
            ("html", f"{len(row.html)} characters of its own" if row.html else ""),
        ]
    )
    if row.text:
        print("\n" + safe_text(row.text, multiline=True).rstrip())


async def _set(client: Client, options: argparse.Namespace) -> None:
    if options.text is not None and options.text_file is not None:
        raise Stop(Exit.USAGE, "give --text or --text-file, not both")
    changes: dict[str, Any] = {"active": options.active, "text": options.text}
    if options.text_file is not None:
        changes["text"] = read_file(options.text_file)
    if getattr(options, "html_file", None) is not None:
        changes["html"] = read_file(options.html_file)
    changes["subject"] = getattr(options, "subject", None)
    if all(value is None for value in changes.values()):
        raise Stop(Exit.USAGE, f"nothing to write; see: postroom {options.named} set --help")
    await _change(client, options, **changes)


async def _on(client: Client, options: argparse.Namespace) -> None:
    await _change(client, options, active=True)


async def _off(client: Client, options: argparse.Namespace) -> None:
    await _change(client, options, active=False)


async def _change(client: Client, options: argparse.Namespace, **changes: Any) -> None:
    from gateway.control import SetTemplate

    row = await client.call(SetTemplate(touchpoint=options.touchpoint, kind=options.kind, **changes))
    if options.json:
        emit(row)
    say(f"the {options.named} of {options.touchpoint} is {'on' if row.active else 'off'}")

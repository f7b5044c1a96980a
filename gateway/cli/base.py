"""What all commands share: options, exit codes, the connection to the daemon, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from gateway.client import Client


class Exit(IntEnum):
    """sysexits.h."""

    OK = 0
    NOT_FOUND = 1
    """The answer is no, or nothing was found."""
    USAGE = 64
    DATA = 65
    """What was asked cannot be done; the sentence on stderr says why."""
    NO_INPUT = 66
    UNAVAILABLE = 69
    """No daemon answers."""
    SOFTWARE = 70
    CANT_CREATE = 73
    TEMPFAIL = 75
    """Would work later."""
    NO_PERMISSION = 77
    CONFIG = 78


class Stop(Exception):
    """End the command with a code and one sentence."""

    def __init__(self, code: Exit, text: str) -> None:
        super().__init__(text)
        self.code = code


class Parser(argparse.ArgumentParser):
    """argparse with our exit code, our spelling of errors and examples as they are written."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """One sentence and the command that helps."""
        raise Stop(Exit.USAGE, f"{message}; see: {self.prog} --help")


Work = Callable[["Client", argparse.Namespace], Awaitable[int | None]]


def verbs(parser: argparse.ArgumentParser) -> Any:
    """The place for the verbs of a noun."""
    parser.set_defaults(lacks_verb=parser)
    return parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)


def verb(parent: Any, name: str, summary: str, work: Work, *, examples: str = "") -> argparse.ArgumentParser:
    """One verb that talks to the daemon."""
    parser: argparse.ArgumentParser = parent.add_parser(
        name, help=summary, description=summary, epilog=examples_of(examples)
    )
    common(parser)
    parser.set_defaults(work=work, lacks_verb=None)
    return parser


def examples_of(text: str) -> str | None:
    """The end of a help page."""
    return "examples:\n" + "\n".join(f"  {line.strip()}" for line in text.strip().splitlines()) if text else None


def common(parser: argparse.ArgumentParser) -> None:
    """The options of every command."""
    group = parser.add_argument_group("for every command")
    group.add_argument("--json", action="store_true", help="print JSON; lists as one object a line")
    group.add_argument("--socket", type=Path, metavar="PATH", help="the daemon's control socket")
    group.add_argument("--config", type=Path, metavar="FILE", help="settings that name the socket")


def perform(parser: argparse.ArgumentParser, args: list[str]) -> int:
    """Parse and run; every error ends as one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parser.parse_args(args)
        if getattr(options, "version", False):
            from gateway import __version__

            print(f"postroom {__version__}")
            return Exit.OK
        if (lacking := getattr(options, "lacks_verb", None)) is not None or options.noun is None:
            (lacking or parser).print_help(sys.stderr)
            return Exit.USAGE
        code = int(options.alone(options) if hasattr(options, "alone") else _ask_daemon(options))
        sys.stdout.flush()
        return code
    except Stop as stop:
        say(str(stop))
        return stop.code
    except BrokenPipeError:
        # The reader of our output went away; nothing more can be written there, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except KeyboardInterrupt:
        return 130


def _ask_daemon(options: argparse.Namespace) -> int:
    import asyncio

    from gateway.client import CallFailed, NotAllowed, Unreachable, connected
    from gateway.control import Code
    from gateway.paths import socket_of

    async def ask() -> int:
        async with connected(options.socket or socket_of(options.config)) as client:
            return int(await options.work(client, options) or 0)

    codes = {
        Code.REFUSED: Exit.DATA,
        Code.NOT_PERMITTED: Exit.NO_PERMISSION,
        Code.NOT_NOW: Exit.TEMPFAIL,
        Code.NEEDS_PERSON: Exit.NO_PERMISSION,
        Code.BAD_PARAMS: Exit.USAGE,
    }
    try:
        return asyncio.run(ask())
    except Unreachable as error:
        code = Exit.NO_PERMISSION if isinstance(error, NotAllowed) else Exit.UNAVAILABLE
        raise Stop(code, str(error)) from None
    except CallFailed as error:
        raise Stop(codes.get(error.code, Exit.SOFTWARE), str(error)) from None  # type: ignore[call-overload]


def say(text: str) -> None:
    """Narrate, on stderr."""
    from gateway.text import safe_text

    print(f"postroom: {safe_text(text, multiline=True)}", file=sys.stderr)


# -- Output --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column of a table; those that are ``wide`` share what the others leave."""

    title: str
    cell: Callable[[Any], object]
    wide: bool = False
    right: bool = False


def table(rows: Sequence[Any], columns: Sequence[Column], empty: str) -> None:
    """Print rows as wide as the terminal is; nothing to show is said on stderr."""
    from gateway.text import cells, pad, safe_text

    if not rows:
        say(empty)
        return
    shown = [[safe_text(str(column.cell(row))) for column in columns] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(cells(line[n]) for line in [titles, *shown]) for n in range(len(columns))]
    for line in [titles, *shown]:
        fitted = _fit(widths, columns)
        parts = [safe_text(cell, width) for cell, width in zip(line, fitted, strict=True)]
        padded = [
            part.rjust(width) if column.right else pad(part, width)
            for part, width, column in zip(parts, fitted, columns, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _fit(widths: Sequence[int], columns: Sequence[Column]) -> list[int]:
    """Take from the widest of the wide columns until the line fits."""
    fitted = list(widths)
    room = shutil.get_terminal_size((80, 24)).columns - 2 * (len(columns) - 1)
    wide = [number for number, column in enumerate(columns) if column.wide]
    while wide and sum(fitted) > room:
        widest = max(wide, key=lambda number: fitted[number])
        if fitted[widest] <= 8:
            break
        fitted[widest] -= 1
    return fitted


def page(fields: Iterable[tuple[str, object]]) -> None:
    """Print one thing as names and values; empty values are left out."""
    from gateway.text import safe_text

    shown = [(name, safe_text(str(value))) for name, value in fields if value not in ("", None, ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def emit(value: Any) -> None:
    """Print one value as a line of JSON, times in RFC 3339."""
    from gateway.codec import encode

    print(json.dumps(_with_times(encode(value)), ensure_ascii=True))


_TIMES = frozenset({"at", "now", "since", "internaldate", "state_since"})


def _with_times(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _with_times(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_times(each) for each in value]
    if isinstance(value, float) and (name.endswith("_at") or name in _TIMES):
        return moment(value, utc=True) or None
    return value


def moment(at: float, *, utc: bool = False) -> str:
    """A time for people, or in UTC as RFC 3339; "" for never."""
    from datetime import UTC, datetime

    if not at:
        return ""
    try:
        when = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return "?"
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if utc else when.astimezone().strftime("%Y-%m-%d %H:%M")


def size(number: int) -> str:
    """Bytes for people."""
    if number < 1000:
        return f"{number} B"
    unit, scale = next(((u, s) for u, s in (("kB", 1e3), ("MB", 1e6)) if number < 999.5 * s), ("GB", 1e9))
    value = number / scale
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


async def listing(
    client: Client,
    options: argparse.Namespace,
    make: Callable[[int, int], Any],
    columns: Sequence[Column],
    empty: str,
) -> int:
    """Print a list, window by window: ``make(after, limit)`` is the call for one."""
    rows: list[Any] = []
    after, left = 0, options.limit
    while left > 0:
        found = await client.call(make(after, min(left, 500)))
        if options.json:
            for row in found.rows:
                emit(row)
        rows += found.rows
        left -= len(found.rows)
        if not (after := found.next):
            break
    if not options.json:
        table(rows, columns, empty)
    if after:
        say(f"there is more; see it with: --limit {options.limit * 10}")
    return Exit.OK


def add_limit(parser: argparse.ArgumentParser) -> None:
    """How many rows a list shows."""
    parser.add_argument("--limit", type=positive, default=100, metavar="N", help="at most N rows (default 100)")


def positive(text: str) -> int:
    """A number that is 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text[:18]) > 0):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a number from 1 on")
    return int(text[:18])


def day(text: str) -> float:
    """A date or time as seconds since the epoch, local time where it does not say."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a date such as 2026-11-23") from None


def switch(text: str) -> bool:
    """on or off."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is neither on nor off")
    return text == "on"


def read_file(path: str, most: int = 256 * 1024) -> str:
    """The text of a file, or of stdin for ``-``."""
    try:
        stream: IO[bytes]
        with sys.stdin.buffer if path == "-" else open(path, "rb") as stream:
            raw = stream.read(most + 1)
    except OSError as error:
        raise Stop(Exit.NO_INPUT, f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > most:
        raise Stop(Exit.DATA, f"{path} is longer than {most // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Stop(Exit.DATA, f"{path} is not UTF-8 text") from None


def add_password(parser: argparse.ArgumentParser) -> None:
    """Where a password comes from: never the command line, where others could read it."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--password-stdin", action="store_true", help="read the password from stdin, one line")
    group.add_argument("--password-file", metavar="FILE", help="read the password from the first line of a file")


def password_of(options: argparse.Namespace, prompt: str, *, twice: bool = False) -> str:
    """The password, from where the options say or from a prompt."""
    if options.password_stdin or options.password_file:
        text = read_file(options.password_file or "-", 4096)
        if not (line := text.split("\n", 1)[0].rstrip("\r")):
            raise Stop(Exit.DATA, "the password is empty")
        return line
    if not sys.stdin.isatty():
        raise Stop(Exit.USAGE, "there is no terminal to ask for the password; use --password-stdin or --password-file")
    from getpass import getpass

    first = getpass(f"{prompt}: ")
    if twice and getpass("again: ") != first:
        raise Stop(Exit.DATA, "the two are not the same")
    if not first:
        raise Stop(Exit.DATA, "the password is empty")
    return first


def confirm(options: argparse.Namespace, question: str) -> None:
    """Ask before what cannot be undone, unless ``--yes``."""
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise Stop(Exit.USAGE, f"{question} There is no terminal to ask at; say --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Stop(Exit.NOT_FOUND, "nothing was done")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """For what asks before it acts."""
    parser.add_argument("--yes", action="store_true", help="do not ask")

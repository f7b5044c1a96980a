"""postroom doctor."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.base import Column, Exit, Stop, emit, examples_of, moment, positive, say, table

if TYPE_CHECKING:
    from gateway.settings import Settings
    from pipeline.store.examine import Affected, Examined


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = (
        "Look at the store, its files and its disk from outside, read-only and without the daemon: is it whole, and"
        " which mails are affected where it is not? Exit code 1 where something is wrong."
    )
    parser.epilog = examples_of(
        "postroom doctor\npostroom doctor --json\npostroom doctor --refetch   # with the daemon stopped, as its user"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (default /etc/postroom/postroom.toml)")
    parser.add_argument(
        "--json", action="store_true", help="print each finding and each affected mail as a line of JSON"
    )
    parser.add_argument(
        "--mails", type=positive, default=100_000, metavar="N", help="compare the newest N mails (default 100000)"
    )
    parser.add_argument(
        "--refetch",
        action="store_true",
        help="make a sound file of a damaged one, and fetch affected mails again where their server still has them",
    )
    parser.set_defaults(alone=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from gateway import doctor
    from gateway.paths import default_settings
    from gateway.settings import BadSettings, load
    from pipeline.errors import PostroomError

    try:
        settings = load(options.config or default_settings())
    except BadSettings as bad:
        raise Stop(Exit.CONFIG, f"the settings do not hold:\n{bad}\ncheck them with: postroom check-config") from None
    try:
        examined = doctor.look(settings, options.mails)
        if options.refetch and examined is not None:
            examined = _refetched(options, settings, examined)
        found = list(doctor.findings(settings, examined))
    except PostroomError as error:
        raise Stop(Exit.DATA, str(error)) from None
    affected = examined.affected if examined is not None else []
    if options.json:
        for row in (*found, *affected):
            emit(row)
    else:
        columns = [
            Column("", lambda row: "ok" if row.well else "BAD"),
            Column("check", lambda row: row.check),
            Column("what was found", lambda row: row.words),
        ]
        table(found, columns, "nothing was looked at")
        if affected:
            _show(affected)
    if affected and not options.refetch:
        say("fetch them again where their servers still have them, with the daemon stopped: postroom doctor --refetch")
    return Exit.OK if all(row.well for row in found) else Exit.NOT_FOUND


def _refetched(options: argparse.Namespace, settings: Settings, examined: Examined) -> Examined:
    """Bring back what can be; what a second look finds."""
    import asyncio

    from gateway import doctor
    from pipeline.store.examine import examine

    if not examined.faults and not examined.affected:
        say("nothing is damaged, and nothing is fetched")
        return examined
    if examined.faults:
        kept = doctor.mend(settings)
        say(f"the store was made anew of all that could be read; the damaged file is kept as {kept}")
        examined = examine(settings.store, options.mails)
    for row in asyncio.run(doctor.refetch(settings, examined.affected)):
        say(f"mail {row.id}: {row.words}")
    return examine(settings.store, options.mails)


def _show(affected: list[Affected]) -> None:
    columns = [
        Column("mail", lambda row: row.id, right=True),
        Column("way", lambda row: row.direction),
        Column("touchpoint", lambda row: row.address),
        Column("received", lambda row: moment(row.received_at)),
        Column("subject", lambda row: row.subject, wide=True),
        Column("where", lambda row: f"{row.folder} {row.remote_id}" if row.folder else "here only"),
        Column("what is wrong", lambda row: row.what, wide=True),
    ]
    print()
    table(affected, columns, "")

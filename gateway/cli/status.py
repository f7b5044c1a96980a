"""postroom status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.cli.base import Column, common, emit, examples_of, moment, table

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import Batch, Event, Stages, Status, TouchpointRow

IN = (
    ("queued", "queued"),
    ("stopped", "stopped"),
    ("held_in", "held"),
    ("waiting_in", "waiting"),
    ("dropped_in", "dropped"),
)
OUT = (
    ("delivered", "delivered"),
    ("waiting_out", "waiting"),
    ("parked", "parked"),
    ("unknown", "unknown"),
    ("held_out", "held"),
    ("failed", "failed"),
    ("dropped_out", "dropped"),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.description = "The account, the touchpoints and what waits for a person."
    parser.epilog = examples_of(
        "postroom status\npostroom status --watch\npostroom status --stages\npostroom status --json"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--watch", action="store_true", help="go on, and say what happens, until Ctrl-C")
    which.add_argument("--stages", action="store_true", help="rate and time of each station of a mail's way instead")
    common(parser)
    parser.set_defaults(work=_status)


def account_lines(account: Mapping[str, int]) -> list[str]:
    """Both lines of the account in words, and what is lost."""
    if not account:
        return []

    def line(total: str, parts: tuple[tuple[str, str], ...]) -> str:
        return f"{total} {account[total]:,} = " + " + ".join(f"{word} {account[name]:,}" for name, word in parts)

    return [
        line("taken", IN),
        line("accepted", OUT),
        f"auto-replied {account['auto_replied']:,}",
        f"lost {account['lost']:,}",
    ]


def trouble(row: TouchpointRow) -> str:
    """Where a connection stands, in words."""
    words = row.state if row.active else f"{row.state}, inactive"
    return f"{words}: {row.cause}" if row.cause else words


TOUCHPOINTS = (
    Column("TOUCHPOINT", lambda row: row.address, wide=True),
    Column("STATE", trouble, wide=True),
    Column("QUEUED", lambda row: f"{row.queued:,}", right=True),
    Column("HELD", lambda row: f"{row.held:,}", right=True),
    Column("WAITING", lambda row: f"{row.waiting_in + row.waiting_out + row.parked:,}", right=True),
    Column("FAILED", lambda row: f"{row.failed + row.unknown:,}", right=True),
    Column("POLLED", lambda row: moment(row.polled_at)),
)


async def _status(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import GetStages, GetStatus, Snapshot

    if options.stages:
        stages = await client.call(GetStages())
        emit(stages) if options.json else _show_stages(stages)
        return
    if not options.watch:
        status = await client.call(GetStatus())
        emit(status) if options.json else _show(status)
        return
    async for news in client.watch():
        if options.json:
            emit(news)
        elif isinstance(news, Snapshot):
            _show(news.status)
        else:
            _tell(news)
        sys.stdout.flush()


def _show(status: Status) -> None:
    from gateway.text import safe_text

    print(f"{status.hostname}, postroom {status.version}, up since {moment(status.started_at)}")
    for line in account_lines(status.account):
        print(line if not sys.stdout.isatty() else _folded(line))
    print()
    table(status.touchpoints, TOUCHPOINTS, "there is no touchpoint yet; make one with: postroom touchpoint create")
    if (more := status.touchpoint_count - len(status.touchpoints)) > 0:
        print(f"and {more:,} more; see: postroom touchpoint list")
    if status.needs_you:
        print("\nneeds you:")
    for need in status.needs_you:
        about = f"{need.touchpoint}: {need.words}" if need.touchpoint else need.words
        print(f"  {safe_text(f'{about}; {need.command}')}")


def seconds(number: float) -> str:
    """A duration for people; "-" for none."""
    if number < 0.9995:
        return f"{number * 1e3:.{3 if number < 0.00995 else 0}f} ms" if number else "-"
    return f"{number:.1f} s"


STAGES = (
    Column("STATION", lambda row: row.name, wide=True),
    Column("MAILS/S", lambda row: f"{row.rate:.1f}", right=True),
    Column("P50", lambda row: seconds(row.p50), right=True),
    Column("P95", lambda row: seconds(row.p95), right=True),
    Column("P99", lambda row: seconds(row.p99), right=True),
    Column("WAITING", lambda row: f"{row.waiting:,}", right=True),
    Column("ERRORS/H", lambda row: f"{row.errors_hour:,}", right=True),
    Column("TOTAL", lambda row: f"{row.total:,}", right=True),
)


def _show_stages(stages: Stages) -> None:
    print(f"in {stages.rate_in:.1f} mails/s, out {stages.rate_out:.1f} mails/s, over the last minute\n")
    table(stages.rows, STAGES, "there is no station")


def _folded(line: str) -> str:
    import shutil
    import textwrap

    return textwrap.fill(line, shutil.get_terminal_size((80, 24)).columns, subsequent_indent="    ")


def _tell(batch: Batch) -> None:
    from gateway.text import safe_text

    for event in batch.events:
        print(safe_text(_words(event)))
    if batch.left_out:
        print(f"and {batch.left_out:,} more")


def _words(event: Event) -> str:
    if event.mail:
        row = event.mail
        about = (
            f"mail {row.id} {row.touchpoint}: {row.state} {row.cause}".strip() + f", {row.subject or '(no subject)'}"
        )
    elif event.touchpoint:
        about = f"{event.touchpoint.address}: {trouble(event.touchpoint)}"
    else:
        about = f"touchpoint {event.gone}" if event.gone else ""
    return " ".join(filter(None, (event.what, about, f"({event.words})" if event.words else "")))

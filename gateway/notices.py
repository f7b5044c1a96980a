"""Tells people by mail what they must know: so far, that a relayed mail failed for good.

A notice goes to the relay user's notify address, else to the admins of the settings, never to an address of this
installation; it has the null sender where the provider takes it, so that nothing ever bounces back on it. It enters
the spool in the very commit that makes the failure final. Who cannot be reached by mail still sees the fact.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Protocol

from gateway.settings import Settings
from pipeline import header_writer
from pipeline.conversation import conversation_key
from pipeline.directory import Directory
from pipeline.entry import Born, Origin, State
from pipeline.headers import date_header
from pipeline.mail import Direction
from pipeline.outbox import Settled
from pipeline.spool import Notice, Writer
from pipeline.store import Row
from pipeline.touchpoint import Touchpoint, without_tag

log = logging.getLogger("postroom.notices")


@cache
def texts() -> dict[str, dict[str, str]]:
    """The texts of conf/notices.toml by name, each with ``subject`` and ``text``."""
    return tomllib.loads(files("conf").joinpath("notices.toml").read_text("utf-8"))


def fill(text: str, values: dict[str, str]) -> str:
    """Replace ``{name}`` by its value, once; a value that contains braces stays as it is."""
    parts = text.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, closing, rest = part.partition("}")
        filled.append(values[name] + rest if closing and name in values else "{" + part)
    return "".join(filled)


class House(Protocol):
    """What a notice is written from."""

    @property
    def settings(self) -> Settings:
        """Whom it goes to."""
        ...

    @property
    def directory(self) -> Directory:
        """Which addresses are ours."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time."""
        ...


def writer(house: House, touchpoint: Touchpoint) -> Writer:
    """``of_failure`` for the spool: a fault in writing a notice must not undo what it tells about."""

    def write(row: Row, settled: Settled) -> Notice | None:
        try:
            return of_failure(house, touchpoint, row, settled)
        except Exception:
            log.exception("mail %d: its notice could not be written", settled.entry_id)
            return None

    return write


def of_failure(house: House, touchpoint: Touchpoint, row: Row, settled: Settled) -> Notice | None:
    """The one notice of a final failure; None where nobody outside this installation is there to be told."""
    recipients = reachable(house, (row["notify"],) if row["notify"] else house.settings.notices.admins)
    if not recipients:
        return None
    now = house.clock()
    values = {
        "address": touchpoint.address,
        "subject": header_writer.clean(row["subject"])[:200] or "(no subject)",
        "message_id": header_writer.clean(row["message_id"]),
        "recipients": "\n".join(_line(each.address, each.code, each.text) for each in settled.refused),
        "entry": str(row["id"]),
    }
    message_id = _message_id(house, touchpoint, row)
    content = _compose(touchpoint, recipients, values, message_id, house.directory.installation.id, now)
    born = Born(
        touchpoint_id=touchpoint.id,
        direction=Direction.OUT,
        origin=Origin.NOTICE,
        state=State.WAITING,
        at=now,
        due_at=now,
        seed=f"notice/{row['id']}",
        envelope_sender="" if touchpoint.connection.null_sender else touchpoint.address,
        author=touchpoint.address,
        subject=fill(texts()["final_failure"]["subject"], values),
        message_id=message_id,
        received_at=now,
        notice_for=row["id"],
    )
    return Notice(born=born, content=content, recipients=recipients)


def reachable(house: House, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the addresses that a notice can go to, as SMTP carries them."""
    return _written(_outside(house, addresses))


def _outside(house: House, addresses: tuple[str, ...]) -> tuple[str, ...]:
    ours = {without_tag(each) for each in house.directory.by_address}  # a tag leads to the same mailbox
    return tuple(each for each in addresses if without_tag(each) not in ours)


def _written(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """As SMTP without RFC 6531 carries them; whom it cannot reach keeps nobody else from being told."""
    found = []
    for each in addresses:
        with suppress(ValueError):
            found.append(str(header_writer.write_address("", each)))
    return tuple(found)


def _line(address: str, code: int, text: str) -> str:
    return header_writer.clean(f"{address}: {code or ''} {text}")[:500]


def _message_id(house: House, touchpoint: Touchpoint, row: Row) -> str:
    key = conversation_key(touchpoint.id, f"notice/{row['id']}")
    return house.directory.installation.message_ids.make(key, f"{row['id']:x}")


def _compose(
    touchpoint: Touchpoint, recipients: tuple[str, ...], values: dict[str, str], message_id: str, installation: str,
    now: float,
) -> bytes:  # fmt: skip
    text = texts()["final_failure"]
    return header_writer.compose(
        [
            ("From", header_writer.write_address(touchpoint.name, touchpoint.address)),
            ("To", header_writer.Encoded(", ".join(recipients))),
            ("Subject", fill(text["subject"], values)),
            ("Date", date_header(now)),
            ("Message-ID", header_writer.Encoded(message_id)),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
            ("X-Postroom-Loop", installation),
        ],
        fill(text["text"].lstrip("\n"), values),
    )

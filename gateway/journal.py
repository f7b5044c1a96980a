"""The daemon's log as far back as it remembers, so that guests can read it from where they are.

It owns a copy in memory of the last records, each with a number of its own, counted from 1 and never used twice. It
promises that keeping a record raises nothing, that what is kept can cross the wire, and that its memory is bounded.
The log itself goes where ``logging`` sends it; this copy is gone with the process. It decides nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from gateway.control import MOST_ROWS, ListLog
from gateway.rows import LogRow, Page
from gateway.views import MOST_BYTES
from pipeline.errors import Refused

KEPT = 10_000
LONGEST = 4000
"""Characters of one record's text."""
MOST_TEXT = 16 * 1024 * 1024
"""Characters of all records; a flood of long ones pushes the oldest out sooner."""
LAST_LINES = 12
"""Of an exception: where it came from, and what it says."""
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_FORMAT = logging.Formatter()


class Journal(logging.Handler):
    """Keeps the last records; any thread may log, and any thread may read."""

    def __init__(self, kept: int = KEPT, most_text: int = MOST_TEXT) -> None:
        super().__init__()
        self._rows: deque[LogRow] = deque()
        self._kept = kept
        self._room = most_text
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; ``logging`` holds the handler's lock meanwhile."""
        self._count += 1
        row = _row(self._count, record)
        self._rows.append(row)
        self._room -= len(row.text)
        while len(self._rows) > self._kept or self._room < 0:
            self._room += len(self._rows.popleft().text)

    def page(self, asked: ListLog) -> Page[LogRow]:
        """A window of what is remembered, the newest first; raises Refused for a level that there is not."""
        kept: list[LogRow] = []
        room = MOST_BYTES
        for row in self._found(asked):
            room -= 4 * (len(row.logger) + len(row.text))
            if kept and (room < 0 or len(kept) >= min(asked.limit, MOST_ROWS)):
                return Page(rows=tuple(kept), next=kept[-1].id)
            kept.append(row)
        return Page(rows=tuple(kept))

    def _found(self, asked: ListLog) -> Iterator[LogRow]:
        least, wanted = _least(asked.level), asked.text.casefold()
        for row in reversed(self._snapshot()):
            if row.id <= asked.since:
                return
            if (
                (not asked.after or row.id < asked.after)
                and LEVELS[row.level] >= least
                and (wanted in row.text.casefold() or wanted in row.logger.casefold())
            ):
                yield row

    def _snapshot(self) -> list[LogRow]:
        self.acquire()
        try:
            return list(self._rows)
        finally:
            self.release()


def _least(level: str) -> int:
    if level and level not in LEVELS:
        raise Refused(f"there is no level {level[:40]!a}; there are: {', '.join(LEVELS)}")
    return LEVELS.get(level, 0)


def _row(number: int, record: logging.LogRecord) -> LogRow:
    try:
        text = _text(record)
    except Exception as error:  # a record's arguments are anybody's, and so is what their __str__ does
        text = f"(a record that cannot be put into words: {type(error).__name__})"
    level = next((name for name, least in reversed(LEVELS.items()) if record.levelno >= least), "debug")
    return LogRow(id=number, at=record.created, level=level, logger=_sound(record.name)[:200], text=text)


def _text(record: logging.LogRecord) -> str:
    """The message, and behind it the last lines of the exception."""
    message = _sound(record.getMessage())
    if record.exc_info and not record.exc_text:
        record.exc_text = _FORMAT.formatException(record.exc_info)  # kept there for the next handler, as logging does
    if not record.exc_text:
        return _cut(message, LONGEST)
    last = "\n".join(_sound(record.exc_text).splitlines()[-LAST_LINES:])[-LONGEST // 2 :]
    return f"{_cut(message, LONGEST - 1 - len(last))}\n{last}"


def _sound(text: str) -> str:
    """Half a surrogate pair comes from undecodable file names, and cannot cross the wire."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

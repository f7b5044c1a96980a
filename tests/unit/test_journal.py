"""The log as far back as the daemon remembers: what is kept of a record, for how long, and how it is found again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import control
from gateway.control import ListLog
from gateway.journal import KEPT, LONGEST, Journal
from pipeline.errors import Refused


@pytest.fixture
def journal() -> Iterator[Journal]:
    """A journal on a logger of the tests' own."""
    made = Journal()
    yield from hearing(made)


def hearing(journal: Journal) -> Iterator[Journal]:
    log = logging.getLogger("postroom.test")
    log.addHandler(journal)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    yield journal
    log.removeHandler(journal)
    log.propagate = True


LOG = logging.getLogger("postroom.test")


def texts(journal: Journal, **asked: Any) -> list[str]:
    return [row.text for row in journal.page(ListLog(**asked)).rows]


# -- What is kept --------------------------------------------------------------------------------------------------


def test_a_record_becomes_a_row_with_a_number_of_its_own(journal: Journal) -> None:
    LOG.info("mail %d came", 17)
    LOG.warning("and another")
    new, old = journal.page(ListLog()).rows
    assert (old.id, old.level, old.logger, old.text) == (1, "info", "postroom.test", "mail 17 came")
    assert (new.id, new.level, new.text) == (2, "warning", "and another")
    assert 0 < old.at <= new.at


@pytest.mark.parametrize(
    ("number", "name"),
    [(5, "debug"), (10, "debug"), (20, "info"), (25, "info"), (30, "warning"), (40, "error"), (50, "critical")],
)
def test_every_level_has_one_of_five_names(number: int, name: str) -> None:
    journal = Journal()
    journal.handle(logging.LogRecord("x", number, "", 0, "text", (), None))
    assert journal.page(ListLog()).rows[0].level == name


def test_of_an_exception_the_last_lines_are_kept(journal: Journal) -> None:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ValueError("no such\nthing")

    try:
        deep(40)
    except ValueError:
        LOG.exception("it went wrong")
    lines = journal.page(ListLog()).rows[0].text.splitlines()
    assert lines[0] == "it went wrong"
    assert lines[-2:] == ["ValueError: no such", "thing"]
    assert len(lines) < 20


def test_a_long_record_is_cut_and_an_exception_behind_it_is_not_lost(journal: Journal) -> None:
    LOG.info("y" * 10_000)
    try:
        raise ValueError("z" * 10_000)
    except ValueError:
        LOG.exception("x" * 10_000)
    with_exception, plain = (row.text for row in journal.page(ListLog()).rows)
    assert len(plain) == LONGEST
    assert plain.endswith("y…")
    assert len(with_exception) == LONGEST
    assert with_exception.startswith("xxx")
    assert with_exception.endswith("zzz")


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("text", "args"), [("%d mails", ("many",)), ("%s", (Hostile(),)), ("%s %s", ("one",))], ids=["type", "str", "few"]
)
def test_a_record_that_cannot_be_put_into_words_is_kept_as_such(text: str, args: tuple[Any, ...]) -> None:
    journal = Journal()
    journal.handle(logging.LogRecord("x", logging.ERROR, "", 0, text, args, None))
    assert texts(journal)[0].startswith("(a record that cannot be put into words: ")


def test_what_cannot_cross_the_wire_is_escaped(journal: Journal) -> None:
    name = b"\xff.eml".decode("utf-8", "surrogateescape")
    # Straight to it: pytest keeps what is logged, and cannot carry half a surrogate from one process to another.
    journal.handle(logging.LogRecord("postroom.test", logging.ERROR, __file__, 1, "file %s", (name,), None))
    page = journal.page(ListLog())
    assert page.rows[0].text == "file \\udcff.eml"
    assert b"udcff" in control.reply_line(1, page)


# -- For how long --------------------------------------------------------------------------------------------------


def test_the_last_ten_thousand_are_remembered(journal: Journal) -> None:
    for number in range(1, KEPT + 6):
        LOG.debug("%d", number)
    assert texts(journal, limit=1) == [str(KEPT + 5)]
    assert texts(journal, after=10) == ["9", "8", "7", "6"]


def test_a_flood_of_long_records_pushes_the_oldest_out_sooner() -> None:
    for journal in hearing(Journal(most_text=1000)):
        for number in range(20):
            LOG.info("%d%s", number % 10, "x" * 299)
        assert [text[0] for text in texts(journal)] == ["9", "8", "7"]
        LOG.info("short")
        assert len(texts(journal)) == 4


def test_threads_may_log_and_read_at_once(journal: Journal) -> None:
    def work(name: str) -> None:
        for number in range(300):
            LOG.info("%s %d", name, number)
            journal.page(ListLog(text="no such text"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [row for after in (0, 701, 201) for row in journal.page(ListLog(after=after, limit=500)).rows]
    assert [row.id for row in rows] == list(range(1200, 0, -1))
    for name in "abcd":
        assert [row.text for row in reversed(rows) if row.text[0] == name] == [f"{name} {n}" for n in range(300)]


# -- Finding it again ----------------------------------------------------------------------------------------------


@pytest.fixture
def told(journal: Journal) -> Journal:
    """Rows 1 to 5."""
    LOG.debug("one")
    LOG.info("Two STRASSE")
    LOG.warning("three 100%")
    LOG.error("four")
    LOG.critical("five")
    return journal


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"level": "debug"}, [5, 4, 3, 2, 1]),
        ({"level": "warning"}, [5, 4, 3]),
        ({"level": "critical"}, [5]),
        ({"text": "FOUR"}, [4]),
        ({"text": "straße"}, [2]),
        ({"text": "0%"}, [3]),
        ({"text": "POSTROOM.test"}, [5, 4, 3, 2, 1]),
        ({"text": "test one"}, []),
        ({"since": 3}, [5, 4]),
        ({"since": 5}, []),
        ({"since": -1}, [5, 4, 3, 2, 1]),
        ({"after": 3}, [2, 1]),
        ({"since": 1, "after": 4, "level": "info"}, [3, 2]),
    ],
)
def test_filters(told: Journal, asked: dict[str, Any], ids: list[int]) -> None:
    assert [row.id for row in told.page(ListLog(**asked)).rows] == ids


def test_a_level_that_there_is_not_is_refused(told: Journal) -> None:
    with pytest.raises(Refused, match="there are: debug, info, warning, error, critical"):
        told.page(ListLog(level="loud"))


def test_windows_go_on_where_the_last_one_ended(told: Journal) -> None:
    seen, after = [], 0
    while True:
        page = told.page(ListLog(after=after, limit=2))
        seen.append([row.id for row in page.rows])
        if not (after := page.next):
            break
    assert seen == [[5, 4], [3, 2], [1]]
    assert told.page(ListLog(limit=5)).next == 0
    assert len(told.page(ListLog(limit=-1)).rows) == 1


@pytest.mark.parametrize("char", ["x", "\x00", '"', "😀"], ids=ascii)
def test_a_window_of_the_longest_records_fits_into_a_line(char: str, journal: Journal) -> None:
    for _ in range(500):
        LOG.info(char * LONGEST)
    page = journal.page(ListLog(limit=500))
    assert len(page.rows) >= 20
    assert page.next == page.rows[-1].id
    assert len(control.reply_line(1, page)) <= control.LONGEST_LINE

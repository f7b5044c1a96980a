"""The commands why and replay as people and scripts meet them: what is printed where, and the exit codes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.cli import _parser
from gateway.cli.base import Exit, Stop
from gateway.control import (
    Change,
    Finding,
    MailRow,
    Replayed,
    ReplayMail,
    ReplayRow,
    Why,
    WhyAnswer,
)
from tests.unit.making import NOW

NEVER = Finding(
    kind="not-watched",
    words="It is in \x1b[2JArchive of a@b.example.",
    command="postroom settings show",
    touchpoint="a@b.example",
)
NOTHING = Finding(kind="nothing", words="No such mail was ever seen here.", command="postroom status")
ROW = MailRow(
    id=7, touchpoint_id=1, touchpoint="a@b.example", direction="in", origin="fetched", state="held", cause="blocked",
    reason="", kind="", mark="", author="x@y.example", recipients=(), recipient_count=0, subject="Offer", message_id="",
    size=1, received_at=NOW, accepted_at=NOW, settled_at=0.0, due_at=0.0, attempts=0, queues=(),
)  # fmt: skip


class Answers:
    """Stands for the daemon: gives these answers one after the other, and remembers the questions."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def call(self, call: Any) -> Any:
        """The next answer."""
        self.asked.append(call)
        return self.answers.pop(0)


def run(answers: Answers, *args: str) -> int:
    options = _parser(list(args)).parse_args(list(args))
    return int(asyncio.run(options.work(answers, options)) or 0)


def answer(**more: Any) -> WhyAnswer:
    return WhyAnswer(**{"mails": (), "items": (), "more": False, **more})


# -- Why -------------------------------------------------------------------------------------------------------------


def test_a_day_is_a_day_and_options_travel() -> None:
    asked = Answers(answer(findings=(NOTHING,)))
    run(asked, "why", "x@y.example", "--day", "2026-11-20", "--subject", "offer", "--touchpoint", "a@b.example",
        "--books-only")  # fmt: skip
    (call,) = asked.asked
    assert isinstance(call, Why)
    assert call.until - call.since == 86400.0
    assert (call.what, call.subject, call.touchpoint, call.servers) == (
        "x@y.example", "offer", "a@b.example", "never",
    )  # fmt: skip


def test_where_it_is_although_it_never_came_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Answers(answer(findings=(NEVER,))), "why", "x@y.example") == Exit.OK
    out = capsys.readouterr().out
    assert "It is in \\x1b[2JArchive of a@b.example.\n  next: postroom settings show\n" in out


def test_that_nobody_knows_it_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Answers(answer(findings=(NOTHING,))), "why", "<x@y>") == Exit.NOT_FOUND
    assert "next: postroom status" in capsys.readouterr().out


def test_several_are_listed_with_the_way_to_one(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (ROW, replace(ROW, id=6))
    assert run(Answers(answer(candidates=rows, more=True)), "why", "offer") == Exit.OK
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["ID", "7", "6"]
    assert "2 match; the story of one: postroom why 7" in said.err
    assert "there may be more such mail" in said.err


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    run(Answers(answer(findings=(NEVER,))), "why", "x", "--json")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["findings"][0]["kind"] == "not-watched"


# -- Replay ----------------------------------------------------------------------------------------------------------


def replayed(number: int, *changes: Change, **more: Any) -> ReplayRow:
    values: dict[str, Any] = {"walked_at": NOW, "version_then": 3, "version_now": 5, **more}
    return ReplayRow(
        id=number, touchpoint="a@b.example", direction="in", author="", subject="", changes=changes, **values
    )


QUEUES = Change(what="queues", then="first", now="\x1b[2Jsecond")


def test_no_difference_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    asked = Answers(Replayed(rows=(replayed(17),), walked=1, differ=0, skipped=0))
    assert run(asked, "replay", "17") == Exit.OK
    assert asked.asked == [ReplayMail(id=17)]
    said = capsys.readouterr()
    assert (said.out, "1 mail walked again, 0 decided otherwise" in said.err) == ("", True)


def test_differences_are_a_table_window_by_window_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    asked = Answers(
        Replayed(rows=(replayed(1, QUEUES, depends_on_memory=True),), walked=2, differ=1, skipped=0, next=9),
        Replayed(rows=(replayed(10, skipped="never fetched"),), walked=0, differ=0, skipped=1),
    )
    assert run(asked, "replay", "--since", "2026-11-20", "--touchpoint", "a@b.example") == 1
    assert [call.after for call in asked.asked] == [0, 9]
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split() == ["MAIL", "WHAT", "THEN", "NOW", "BECAUSE"]
    assert "\\x1b[2Jsecond" in said.out
    assert "settings 3 -> 5, depends on memory" in said.out
    assert "mail 10 was not walked: never fetched" in said.err
    assert "2 mail walked again, 1 decided otherwise; 1 not walked" in said.err


def test_replay_json_is_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    asked = Answers(Replayed(rows=(replayed(1, QUEUES), replayed(2, QUEUES)), walked=2, differ=2, skipped=0))
    assert run(asked, "replay", "--until", "2026-11-20", "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["changes"][0]["what"]) for row in rows] == [(1, "queues"), (2, "queues")]


@pytest.mark.parametrize("args", [("replay",), ("replay", "17", "--since", "2026-11-20")])
def test_replay_wants_one_mail_or_a_range(args: tuple[str, ...]) -> None:
    with pytest.raises(Stop, match="say one mail by its id, or which"):
        run(Answers(), *args)

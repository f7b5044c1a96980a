"""Commands about mail: move, read, shape, and the lists that changed, against a real office."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.base import Exit
from gateway.control import Block, CreateRingGroup, CreateTouchpoint, Role
from pipeline import touchpoints
from pipeline.lifecycle import ConnectionState
from pipeline.mail import Direction
from pipeline.verdict import Action, HoldCause, Splice
from tests.unit.desking import caller
from tests.unit.making import NOW, OURS, a_content, a_mail, a_page, a_touchpoint, an_outcome, taken
from tests.unit.test_cli import Running, Shell

ADMIN = caller(Role.ADMIN)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shell(running: Running, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(running, capsys)


def queued(shell: Shell, number: int, *groups: int, **mail: Any) -> int:
    found: int = shell.do(shell.room.take(number, an_outcome(a_mail(number, **mail), ring_groups=groups)))
    return found


# -- Moving --------------------------------------------------------------------------------------------------------


def test_mail_is_moved_and_moved_back(shell: Shell) -> None:
    first, second = queued(shell, 1, 1), queued(shell, 2, 1)
    shell("queue", "move", str(first), str(second), "--to", "second", "--to", "first")
    assert f"mail {first} is in the queue of first and second: queued" in shell.err
    assert [row["queues"] for row in shell.json("queue", "list")] == [["first", "second"]] * 2
    shell("queue", "move", str(first), "--nowhere")
    assert f"mail {first} is in no queue: queued" in shell.err
    assert [row["id"] for row in shell.json("queue", "list", "--unassigned")] == [first]
    assert shell.json("queue", "move", str(first), "--to", "second")[0]["queues"] == ["second"]


def test_a_move_that_cannot_be_is_said_and_the_others_are_moved(shell: Shell) -> None:
    first = queued(shell, 1, 1)
    closed = queued(shell, 2, 1)
    shell("queue", "close", str(closed))
    shell("queue", "move", str(closed), str(first), "--to", "second", code=Exit.DATA)
    assert f"mail {closed} is closed; reopen it first: postroom queue reopen {closed}" in shell.err
    assert f"mail {first} is in the queue of second" in shell.err
    shell("queue", "move", str(first), "--to", "no-such", code=Exit.DATA)
    assert "no ring group named 'no-such'" in shell.err
    shell("queue", "move", str(first), code=Exit.USAGE)
    shell("queue", "move", str(first), "--to", "first", "--nowhere", code=Exit.USAGE)


def test_a_dry_run_says_what_would_change_and_changes_nothing(shell: Shell) -> None:
    first, there = queued(shell, 1, 1), queued(shell, 2, 2)
    held = shell.do(shell.room.take(3, an_outcome(a_mail(3), Action.HOLD, cause=HoldCause.BLOCKED)))
    ids = [str(each) for each in (first, there, held, 99)]
    out = shell("queue", "move", *ids, "--to", "second", "--dry-run", code=Exit.DATA)
    assert out.splitlines() == [f"mail {first}: first -> second", f"mail {there}: nothing would change"]
    assert f"mail {held} is held blocked: it would not be moved" in shell.err
    assert "there is no mail 99" in shell.err
    assert shell("queue", "move", str(first), "--nowhere", "--dry-run") == f"mail {first}: first -> no queue\n"
    assert shell.json("queue", "move", str(first), "--to", "second", "--dry-run") == [
        {"id": first, "from": ["first"], "to": ["second"]}
    ]
    shell("queue", "move", str(first), "--to", "no-such", "--dry-run", code=Exit.DATA)
    assert "there is no ring group 'no-such'" in shell.err
    assert [row["queues"] for row in shell.json("queue", "list")] == [["second"], ["first"]]
    assert shell.json("queue", "list", "--all")[0]["state"] == "queued"


# -- Reading -------------------------------------------------------------------------------------------------------

EVIL = a_content(
    1,
    headers=["X-Odd: =?utf-8?q?=1B]0;evil=07?=", "Content-Type: multipart/mixed; boundary=b"],
    body=b"--b\r\nContent-Type: text/html\r\n\r\n<p>Dear <b>desk</b>,<p>\x1b[2J<a href='https://evil.example/'>here</a>"
    b'\r\n--b\r\nContent-Type: application/pdf; name="\x1b[31mbill.pdf"\r\n\r\n12345\r\n--b--\r\n',
)


@pytest.mark.parametrize("command", [("queue", "read"), ("spool", "text")])
def test_a_mail_is_read(shell: Shell, command: tuple[str, str]) -> None:
    number = str(queued(shell, 1, 1, data=EVIL))
    out = shell(*command, number)
    assert out.splitlines() == [
        "From     Customer <customer1@example.org>",
        f"To       {OURS}",
        "Date     Mon, 04 Jan 2027 10:00:00 +0000",
        "Subject  Question 1",
        "",
        "Dear desk,",
        "",
        "\\x1b[2Jhere [evil.example]",
        "",
        "PART              TYPE             SIZE",
        "\\x1b[31mbill.pdf  application/pdf   5 B",
    ]
    assert "written in HTML" in shell.err
    out = shell(*command, number, "--all-headers")
    assert "Message-ID    <1@example.org>" in out
    assert "X-Odd         \\x1b]0;evil\\x07" in out
    assert "\x1b" not in out + shell.err
    found = shell.json(*command, number)[0]
    assert (found["source"], found["cut"], found["parts"][0]["size"]) == ("html", False, 5)


def test_what_cannot_be_read_is_said(shell: Shell) -> None:
    picture = queued(shell, 1, 1, data=a_content(1, headers=["Content-Type: image/png"]))
    shell("queue", "read", str(picture))
    assert "no text in it" in shell.err
    long = queued(shell, 2, 1, data=a_content(2, body=b"x" * 70_000))
    assert len(shell("queue", "read", str(long))) > 65_536
    assert f"postroom spool export {long} --to FILE" in shell.err
    shell("queue", "read", "99", code=Exit.DATA)


# -- The shape of the outbox ---------------------------------------------------------------------------------------


def test_the_outbox_has_a_shape(shell: Shell) -> None:
    shell("spool", "shape")
    assert (shell.out, "nothing waits to go out" in shell.err) == ("", True)
    for number, recipients in enumerate((("a@one.example",), ("b@one.example", "c@two.example")), 1):
        shell.do(shell.room.relay(number, recipients))
    shell.room.clock.now += 60 * 7
    lines = [line.split() for line in shell("spool", "shape").splitlines()]
    assert lines[0] == [
        "DESTINATION",
        "TOTAL",
        "PARKED",
        *["5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+"],
    ]
    assert lines[1:] == [
        ["one.example", "2", "2", "0", "2", *"00000000"],
        ["two.example", "1", "1", "0", "1", *"00000000"],
    ]
    assert max(map(len, shell.out.splitlines())) <= 80
    by_touchpoint = shell.json("spool", "shape", "--by", "touchpoint", "--touchpoint", OURS)[0]
    assert [(row["name"], row["total"]) for row in by_touchpoint["rows"]] == [(OURS, 2)]
    assert shell.json("spool", "shape")[0]["rows"][0]["total"] == 2
    shell("spool", "shape", "--by", "colour", code=Exit.USAGE)
    shell("spool", "shape", "--touchpoint", "nobody@example.org", code=Exit.DATA)


# -- Lists ---------------------------------------------------------------------------------------------------------


def test_all_blocklists_in_one_list(shell: Shell, running: Running) -> None:
    desk = running.office.desk
    shell.do(desk.answer(CreateTouchpoint(address="sales@post.example", name="Sales"), ADMIN))
    for touchpoint, pattern in ((OURS, "@pest.example"), ("sales@post.example", "robot@shop.example")):
        shell.do(desk.answer(Block(touchpoint=touchpoint, pattern=pattern), ADMIN))
    assert shell("blocklist", "list").split("\n")[0].split()[:2] == ["TOUCHPOINT", "BLOCKED"]
    assert [(row["touchpoint"], row["pattern"]) for row in shell.json("blocklist", "list")] == [
        (OURS, "@pest.example"),
        ("sales@post.example", "robot@shop.example"),
    ]
    assert [row["pattern"] for row in shell.json("blocklist", "list", "--text", "robot")] == ["robot@shop.example"]
    assert "TOUCHPOINT" not in shell("blocklist", "list", OURS)
    assert "robot" not in shell.out
    shell("blocklist", "list", "--text", "nobody")
    assert "no such entry is on the blocklist of any touchpoint" in shell.err


def test_ring_groups_show_their_oldest_mail(shell: Shell, running: Running) -> None:
    queued(shell, 1, 1)
    shell.do(running.office.desk.answer(CreateRingGroup(name="third"), ADMIN))
    rows = shell.json("ring-group", "list")
    assert [(row["name"], row["open"], row["oldest_at"]) for row in rows] == [
        ("first", 1, "2027-01-15T08:00:00Z"),
        ("second", 0, None),
        ("third", 0, None),
    ]
    assert "2027-01-15" in shell("ring-group", "list")


def test_the_status_says_what_needs_you_and_what_helps(shell: Shell) -> None:
    shell.house.states[1] = ConnectionState.LOST
    shell.do(
        shell.room.store.write(
            lambda tx: touchpoints.record_state(tx, 1, state="lost", cause="credential", reason="\x1b[31m", now=NOW)
        )
    )
    queued(shell, 1)
    out = shell("status")
    assert out.partition("needs you:\n")[2].splitlines() == [
        f"  {OURS}: connection lost (credential); postroom touchpoint connect {OURS}",
        "  1 mail queued for no ring group; postroom queue list --unassigned",
    ]
    needs = shell.json("status")[0]["needs_you"]
    assert [(need["kind"], need["since"]) for need in needs] == [
        ("lost", "2027-01-15T08:00:00Z"),
        ("unassigned", "2027-01-15T08:00:00Z"),
    ]


# -- What was put into it ------------------------------------------------------------------------------------------


SIGNED = "signature put into text/plain"


@pytest.mark.parametrize(
    ("splices", "trail", "added", "rewritten"),
    [
        ((), "", "", ""),
        ((Splice(0, 0, b"Received: from a\r\n by b\r\n"),), "", "Received on top of its header", ""),
        ((Splice(0, 0, b"Received: x: y\r\nDate: z\r\n"),), "", "Received, Date on top of its header", ""),
        ((Splice(0, 0, b"Received: x\r\n"), Splice(30, 0, b"-- ")), SIGNED, "Received on top of its header",
         f"yes, {SIGNED}"),
        ((Splice(30, 0, b"-- "),), "", "", "yes, by a stage"),
    ],
    ids=["nothing", "the trace alone", "two fields", "the signature too", "another stage"],
)  # fmt: skip
def test_what_was_put_into_a_mail_is_said_as_it_is(
    shell: Shell, splices: tuple[Splice, ...], trail: str, added: str, rewritten: str
) -> None:
    steps = (("signature", "pass", trail),) if trail else (("signature", "pass", "the signature is off"),)
    mail = a_mail(1, direction=Direction.OUT, recipients=("a@example.org",))
    outcome = replace(an_outcome(mail, splices=splices), trail=steps)
    number = shell.do(shell.room.spool.submit(a_touchpoint(), outcome, mail.opening, ("a@example.org",)))
    told = dict(line.split("  ", 1) for line in shell("spool", "show", str(number)).splitlines() if "  " in line)
    said = {name: value.strip() for name, value in told.items()}
    assert (said.get("added", ""), said.get("rewritten", "")) == (added, rewritten)


# -- Held without its bytes ------------------------------------------------------------------------------------------


def test_a_release_of_mail_without_bytes_says_that_it_is_fetched_first(shell: Shell) -> None:
    outcome = an_outcome(a_mail(7), Action.HOLD, cause=HoldCause.OVERSIZE, reason="too big", stage="line")
    (accepted,) = shell.do(shell.room.spool.accept(a_page([taken(7, outcome, b"")])))
    number = str(accepted.entry_id)
    assert "content     not here: it was never fetched" in shell("spool", "show", number)
    shell("spool", "release", number)
    assert f"mail {number} is released: being fetched: released by" in shell.err
    out = shell("spool", "show", number)
    assert "held oversize" in out
    assert out.rstrip().endswith(": release"), "what people did stands at the end"
    assert shell.json("spool", "list", "--state", "held")[0]["reason"].startswith("being fetched")
    found = shell.json("why", number)[0]["findings"][0]
    assert found["command"] == f"postroom touchpoint test {OURS}"

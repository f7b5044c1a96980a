"""Record and replay: the same screens again, nothing secret in the file, and nothing that can be changed in it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.client import CallFailed
from gateway.control import (
    RULES,
    Batch,
    DeactivateTouchpoint,
    Done,
    Event,
    GetStatus,
    ListBlocklist,
    ListTouchpoints,
    Page,
    ShowTemplate,
    Snapshot,
    TemplateRow,
    TryTouchpoint,
    WhoAmI,
    changes,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, need, served, short, status, touchpoint, until
from tests.tui.screen import Clock, Terminal, terminal
from tests.tui.test_blocklist import ENTRIES, entry
from tests.tui.test_link import Heard
from tui.app import Options
from tui.main import CannotStart, _made, _may_record
from tui.record import FORMAT, BadRecording, Recorder, ReplayLink

ROWS = (touchpoint(1, auto_reply=True), touchpoint(2, "press@acme.example", state="lost", cause="credential"))
TEXT = TemplateRow(kind="auto_reply", active=True, subject="", text="We read it.", html="", updated_at=NOW)


def house() -> Canned:
    """A daemon with a little to look at."""
    return Canned(
        {
            GetStatus: status(ROWS),
            ShowTemplate: lambda call: replace(TEXT, kind=call.kind, text=f"We read it. ({call.kind})"),
            ListBlocklist: lambda call: Page(rows=tuple(row for row in ENTRIES if call.text in row.pattern)),
            DeactivateTouchpoint: replace(ROWS[0], active=False),
        }
    )  # fmt: skip


async def walk(screen: Terminal) -> list[str]:
    """Look about; the middle of each screen that was seen."""
    seen = []
    for keys in (["j"], ["7"]):
        await screen.press(*keys)
        await screen.quiet()
        seen.append("\n".join(screen.text().splitlines()[1:-1]))
    return seen


async def test_a_session_is_recorded_and_seen_again(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    canned = house()
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="replies", record=file) as screen:
        await screen.quiet()
        canned.change(replace(ROWS[0], version=2, name="Front desk"))
        await screen.shows("Front desk")
        first = await walk(screen)
    assert "Front desk" in first[0]
    assert "We read it. (auto_reply)" in first[0]
    assert "@spam.example" in first[1]
    async with terminal(tmp_path / "none.sock", screen="replies", replay=file, speed=0) as screen:
        await screen.quiet()
        assert "RO" in screen.text().splitlines()[0]
        assert await walk(screen) == first


async def test_nothing_can_be_changed_in_a_recording(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    async with served(house(), short(tmp_path)) as path, terminal(path, screen="touchpoints", record=file) as screen:
        await screen.quiet()
    async with terminal(tmp_path / "none.sock", screen="touchpoints", replay=file, speed=0) as screen:
        await screen.quiet()
        await screen.press("t")
        await screen.shows(": this is a recording; nothing can be changed")
        assert screen.ui.link is not None
        with pytest.raises(CallFailed, match="nothing can be changed"):
            await screen.ui.link.call(DeactivateTouchpoint(touchpoint="1"))
        with pytest.raises(CallFailed, match="nobody looked at it then"):
            await screen.ui.link.call(ShowTemplate(touchpoint="99", kind="signature"))


# -- The file --------------------------------------------------------------------------------------------------------


THEN = NOW - 9 * 86_400
"""When the recordings here were made: nine days ago, if anybody looked at a clock of today."""


def recorded(path: Path, *steps: tuple[float, Callable[[Recorder], None]]) -> list[dict[str, Any]]:
    """A recording of these; its lines."""
    clock = Clock()
    recorder = Recorder(path, clock, wall=lambda: THEN)
    for at, step in steps:
        clock.time = 1000.0 + at
        step(recorder)
    recorder.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_is_for_nobody_else_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    before = os.umask(0)
    try:
        first, *rest = recorded(path)
    finally:
        os.umask(before)
    assert first == {"format": FORMAT, "at": THEN}
    assert rest == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Recorder(path)
    with pytest.raises(CannotStart, match="never written over"):
        _may_record(path)
    with pytest.raises(CannotStart, match="no file can be made in"):
        _may_record(tmp_path / "none" / "session.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CannotStart, match="never written over"):
        _may_record(tmp_path / "link.jsonl")
    _may_record(tmp_path / "another.jsonl")


SECRET = [rule.call for rule in RULES if any(not each.repr for each in fields(rule.call))]


@pytest.mark.parametrize("kind", SECRET, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("failed", [False, True])
def test_no_secret_is_ever_in_it(tmp_path: Path, kind: Any, failed: bool) -> None:
    hidden = {each.name: "hunter2" for each in fields(kind) if not each.repr}
    given = {each.name: "support" for each in fields(kind) if each.name in ("touchpoint", "name")}
    call = kind(**given, **hidden)

    def step(recorder: Recorder) -> None:
        if failed:
            recorder.failed(call, CallFailed(1, "no"))
        else:
            recorder.answered(call, Done(words="yes"))

    lines = recorded(tmp_path / "session.jsonl", (1.0, step))
    assert "hunter2" not in json.dumps(lines)
    assert len(lines) == (1 if changes(kind) else 2)


def test_there_are_secrets_to_be_kept_out() -> None:
    assert TryTouchpoint in SECRET
    assert len(SECRET) >= 5
    named = {rule.call for rule in RULES for each in fields(rule.call) if each.name in ("password", "secret", "token")}
    assert named <= set(SECRET), "a password that its call shows in a repr would be recorded"


async def test_a_password_that_is_typed_is_not_recorded(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    canned = house()
    canned.answers[TryTouchpoint] = Refused("the server says no")
    async with served(canned, short(tmp_path)) as path, terminal(path, record=file) as screen:
        await screen.quiet()
        with pytest.raises(CallFailed):
            await screen.ui.call(TryTouchpoint(touchpoint="1", password="hunter2"))
    assert canned.asked(TryTouchpoint)[0].password == "hunter2"
    assert "hunter2" not in file.read_text()
    assert "the server says no" in file.read_text()


async def test_a_full_disk_ends_the_recording_and_not_the_session(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "session.jsonl")
    assert recorder._file is not None
    recorder._file.close()
    recorder._file = open("/dev/full", "w")  # noqa: SIM115
    recorder.answered(WhoAmI(), Done(words="x"))
    recorder.answered(WhoAmI(), Done(words="x"))
    recorder.close()


_HEAD = b'{"format": "postroom recording 1", "at": 1}\n'
_NONE = "is not a recording: its first line does not say 'postroom recording 1'"
_ODD = "is damaged: its line 2 is no line of a recording"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", _NONE),
        (b"{}\n", _NONE),
        (b'{"format": "postroom recording 9"}\n', "was recorded by another version: it is a 'postroom recording 9'"),
        (b"\x89PNG\r\n\x1a\n\xff", _NONE),
        (b"plain text\n", _NONE),
        (b"[1, 2]\n", _NONE),
        (b"[" * 100_000 + b"\n", _NONE),
        (_HEAD[:20], _NONE),
        (b'{"format": "postroom recording 1"}\n', _NONE),
        (b'{"format": "postroom recording 1", "at": "noon"}\n', _NONE),
        (b'{"format": "postroom recording 1", "at": NaN}\n', _NONE),
        (b'{"format": "postroom recording 1", "at": 1e18}\n', _NONE),
        (_HEAD + b'{"t": "x"}\n', _ODD),
        (_HEAD + b'{"t": -1}\n', _ODD),
        (_HEAD + b'{"t": Infinity}\n', _ODD),
        (_HEAD + b'{"t": 1\n{"t": 2}\n', "is damaged: its line 2 is not JSON"),
        (_HEAD + b'{"t": 1, "call": "status"}\n', _ODD),
        (_HEAD + b'{"t": 1, "call": "status", "params": {}}\n', _ODD),
        (_HEAD + b'{"t": 1, "call": "status", "params": {}, "error": 7}\n', _ODD),
        (_HEAD + b'{"t": 1, "call": 7, "params": {}, "result": 1}\n', _ODD),
        (_HEAD + b"[" * 100_000 + b"\n", "is damaged: its line 2 is not JSON"),
        (_HEAD + b'{"t": 1, "me": {"colour": "red"}}\n', "was recorded by another version (unknown key 'colour'"),
        (_HEAD + b'{"t": 1, "snapshot": 7}\n', "was recorded by another version"),
    ],
)
def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "session.jsonl"
    path.write_bytes(content)
    with pytest.raises(CannotStart) as raised:
        _made(Options(socket=Path(), replay=path))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="cannot be read: No such file"):
        ReplayLink(tmp_path / "none.jsonl")
    with pytest.raises(BadRecording, match="cannot be read: Is a directory"):
        ReplayLink(tmp_path)


@pytest.mark.parametrize("torn", [1, 7, 40])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "session.jsonl"
    lines = recorded(
        path,
        (1.0, lambda r: r.answered(WhoAmI(), Done(words="one"))),
        (2.0, lambda r: r.answered(WhoAmI(), Done(words="two"))),
    )
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - torn])
    assert ReplayLink(path).lines == lines[1 : 3 if torn == 1 else 2]


# -- What is answered ------------------------------------------------------------------------------------------------


def _list(*numbers: int) -> Page[Any]:
    return Page(rows=tuple(touchpoint(number) for number in numbers), next=0)


def two_answers(path: Path, now: float) -> ReplayLink:
    """A question that was answered at 1 s and at 5 s, and refused at 9 s; the replay is at ``now``."""
    ask = ListTouchpoints(limit=50)
    recorded(
        path,
        (1.0, lambda r: r.answered(ask, _list(1))),
        (5.0, lambda r: r.answered(ask, _list(1, 2))),
        (9.0, lambda r: r.failed(ask, CallFailed(3, "no \x1b[2J"))),
    )
    clock = Clock()
    link = ReplayLink(path, speed=10.0, clock=clock)
    clock.time += now / 10
    return link


@pytest.mark.parametrize(("now", "count"), [(0.0, 1), (1.0, 1), (4.9, 1), (5.0, 2), (8.0, 2)])
async def test_the_answer_is_the_last_one_by_then(tmp_path: Path, now: float, count: int) -> None:
    link = two_answers(tmp_path / "session.jsonl", now)
    page = await link.call(ListTouchpoints(limit=300))
    assert len(page.rows) == count, "how many rows a terminal asked for does not matter"


async def test_a_refusal_is_recorded_too(tmp_path: Path) -> None:
    link = two_answers(tmp_path / "session.jsonl", 900.0)
    with pytest.raises(CallFailed, match=r"no \\x1b\[2J"):
        await link.call(ListTouchpoints())


async def test_a_recording_passes_the_gate_like_a_daemon(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    hostile = entry(1, "\x1b]52;c;x\x07@shop.example")
    recorded(path, (1.0, lambda r: r.answered(ListBlocklist(), Page(rows=(hostile,)))))
    page = await ReplayLink(path).call(ListBlocklist())
    assert page.rows[0].pattern == "\\x1b]52;c;x\\x07@shop.example"


async def test_an_answer_of_another_version_is_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    recorded(path, (1.0, lambda r: r.answered(ListTouchpoints(), Done(words="x"))))
    with pytest.raises(CallFailed, match="this was recorded by another version"):
        await ReplayLink(path).call(ListTouchpoints())


# -- A replay --------------------------------------------------------------------------------------------------------

ME = Canned().answers[WhoAmI]


def incident(path: Path, length: float = 190.0) -> Path:
    """A house with one thing to do for two hours, an event at once, and more touchpoints at the end."""
    rows = (touchpoint(1, state_since=THEN - 60),)
    house = status(rows, now=THEN, started_at=THEN - 86_400, needs_you=(need(since=THEN - 7200),))
    news = Batch(boot="boot", number=1, events=(Event(what="touchpoint.changed", touchpoint=rows[0]),))
    recorded(
        path,
        (0.0, lambda r: r.me(ME)),
        (0.0, lambda r: r.news(Snapshot(boot="boot", number=0, status=house))),
        (0.0, lambda r: r.news(news)),
        (0.0, lambda r: r.answered(ListTouchpoints(), _list(1))),
        (length, lambda r: r.answered(ListTouchpoints(), _list(1, 2))),
    )
    return path


async def test_it_is_told_when_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "session.jsonl"
    recorded(path, (1.0, lambda r: r.me(ME)), (4.0, lambda r: r.me(ME)), (4.0, lambda r: r.me(ME)))
    slept: list[float] = []
    heard, clock = Heard(), Clock()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.time += seconds + 0.25  # it is never on time, and that does not add up

    monkeypatch.setattr("tui.record.asyncio.sleep", sleep)
    task = asyncio.create_task(ReplayLink(path, speed=2.0, clock=clock).run(heard))
    for _ in range(500):
        if len(heard.said) == 4:
            break
        await asyncio.wait([task], timeout=0.01)
    task.cancel()
    assert slept == [0.5, 1.25]
    nothing = "this recording is empty: no daemon answered while it was made"
    assert heard.said == ["joined", "joined", "joined", nothing]


async def test_its_clock_is_that_of_the_recording(tmp_path: Path) -> None:
    file, clock = incident(tmp_path / "session.jsonl"), Clock()
    async with terminal(tmp_path / "none.sock", screen="touchpoints", replay=file, speed=10.0, now=clock) as screen:
        await screen.quiet()
        await screen.shows("it begins at 2026-11-14 14:02:11")
        assert screen.text().splitlines()[0].startswith(" REPLAY 0:00 of 3:10  gw01  1 ok")
        clock.time += 4.2
        await screen.shows("REPLAY 0:42 of 3:10")
        first = screen.text().splitlines()[0]
        assert first.endswith("RO 14:02:53")
        assert len(first) == 80
        await screen.press("1")
        await screen.shows("2 h 00 m")  # that it has waited
        assert "14:02:11  tp" in screen.text(), "an event keeps the time at which it was told"
        clock.time += 1000
        await screen.shows("REPLAY 3:10 of 3:10")
        assert screen.ui.wall() == THEN + 190, "time does not go on after the end"


async def test_after_its_end_a_recording_can_still_be_looked_at(tmp_path: Path) -> None:
    file = incident(tmp_path / "session.jsonl")
    async with terminal(tmp_path / "none.sock", screen="touchpoints", replay=file, speed=1000.0) as screen:
        await screen.shows("this is the end of the recording; Q leaves")
        await screen.quiet()
        assert screen.text().splitlines()[0].startswith(" REPLAY ended at 3:10 ")
        assert "NO CONNECTION" not in screen.text()
        assert len((await screen.ui.call(ListTouchpoints())).rows) == 2
        await screen.press("t")
        await screen.shows(": this is a recording; nothing can be changed")


@pytest.mark.parametrize(
    ("seconds", "said"), [(9.9, "0:05 of 0:09"), (3599.0, "0:05 of 59:59"), (36_610.0, "0:05 of 10:10:10")]
)
def test_how_far_it_is(tmp_path: Path, seconds: float, said: str) -> None:
    clock = Clock()
    link = ReplayLink(incident(tmp_path / "session.jsonl", seconds), clock=clock)
    clock.time += 5.5
    assert link.how_far == said


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b'{"t":2.0,"batch":{"boo', "this is the end of the recording, which was cut off there"),
        (b"\0\0\0\xff", "this is the end of the recording, which was cut off there"),
        (b'{"t":2.0,"batch":{"colour":"red"}}\n{"t":9,"call":"x","params":{},"result":1}\n',
         "the recording ends here for us: another version made it (unknown key 'colour')"),
    ],
)  # fmt: skip
async def test_it_plays_until_the_cut(tmp_path: Path, last: bytes, said: str) -> None:
    file = incident(tmp_path / "session.jsonl", 1.0)
    file.write_bytes(file.read_bytes() + last)
    heard = Heard()
    link = ReplayLink(file, speed=1000.0)
    task = asyncio.create_task(link.run(heard))
    await until(lambda: link.over, "it is over")
    task.cancel()
    assert heard.said == ["joined", "snapshot", "batch", said]
    assert link.how_far == "ended at 0:01"
    assert len((await link.call(ListTouchpoints())).rows) == 2


async def test_a_recording_of_no_daemon_says_so_on_the_screen(tmp_path: Path) -> None:
    recorded(tmp_path / "session.jsonl")
    async with terminal(tmp_path / "none.sock", replay=tmp_path / "session.jsonl") as screen:
        await screen.shows("REPLAY ended at 0:00  this recording is empty: no daemon")
        assert "daemon answered while it was made; Q leaves" in screen.text(), "said last, and whole"
        assert "NO CONNECTION" not in screen.text()

"""Record and replay: the same screens again, nothing secret in the file, and nothing that can be changed in it."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.client import CallFailed
from gateway.control import (
    RULES,
    DeactivateTouchpoint,
    Done,
    GetStatus,
    ListBlocklist,
    ListTouchpoints,
    Page,
    ShowTemplate,
    TemplateRow,
    TryTouchpoint,
    WhoAmI,
    changes,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, served, short, stages, status, touchpoint, until
from tests.tui.screen import Terminal, terminal
from tests.tui.test_blocklist import ENTRIES, entry
from tests.tui.test_link import Heard
from tui.main import CannotStart, _may_record
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
        await screen.shows("this is a recording")
        assert screen.ui.link is not None
        with pytest.raises(CallFailed, match="nothing can be changed"):
            await screen.ui.link.call(DeactivateTouchpoint(touchpoint="1"))
        with pytest.raises(CallFailed, match="nobody looked at it then"):
            await screen.ui.link.call(ShowTemplate(touchpoint="99", kind="signature"))


# -- The file --------------------------------------------------------------------------------------------------------


class Moment:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def recorded(path: Path, *steps: tuple[float, Callable[[Recorder], None]]) -> list[dict[str, Any]]:
    """A recording of these; its lines."""
    clock = Moment()
    recorder = Recorder(path, clock)
    for at, step in steps:
        clock.at = 100.0 + at
        step(recorder)
    recorder.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_is_for_nobody_else_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    first, *rest = recorded(path)
    assert first["format"] == FORMAT
    assert rest == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Recorder(path)
    with pytest.raises(CannotStart, match="never written over"):
        _may_record(path)
    with pytest.raises(CannotStart, match="no file can be made in"):
        _may_record(tmp_path / "none" / "session.jsonl")
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its first line does not say 'postroom recording 1'"),
        (b"{}\n", "its first line does not say"),
        (b'{"format": "postroom recording 9"}\n', "is not a recording of this version"),
        (b"\x89PNG\r\n\x1a\n\xff", "is not UTF-8"),
        (b"plain text\n", ":1 is not JSON"),
        (b"[1, 2]\n", ":1 is no line of a recording"),
        (_HEAD + b'{"t": "x"}\n', ":2 is no line of a recording"),
        (_HEAD + b'{"t": 1\n{"t": 2}\n', ":2 is not JSON"),
        (_HEAD + b'{"t": 1, "call": "status"}\n', ":2 is no line of a recording"),
        (b'{"format": "postroom recording 1", "at": "noon"}\n', ":1 is no line of a recording"),
        (_HEAD + b'{"t": 1, "call": "status", "params": {}}\n', ":2 is no line of a recording"),
        (_HEAD + b'{"t": 1, "call": "status", "params": {}, "error": 7}\n', ":2 is no line of a recording"),
        (_HEAD + b'{"t": 1, "call": 7, "params": {}, "result": 1}\n', ":2 is no line of a recording"),
        (_HEAD + b"[" * 100_000 + b"\n", ":2 is not JSON"),
    ],
)
def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "session.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadRecording) as raised:
        ReplayLink(path)
    assert said in str(raised.value)


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


def two_answers(path: Path) -> ReplayLink:
    """A question that was answered at 1 s and at 5 s, and refused at 9 s."""
    ask = ListTouchpoints(limit=50)
    recorded(
        path,
        (1.0, lambda r: r.answered(ask, _list(1))),
        (5.0, lambda r: r.answered(ask, _list(1, 2))),
        (9.0, lambda r: r.failed(ask, CallFailed(3, "no"))),
    )
    return ReplayLink(path)


@pytest.mark.parametrize(("now", "count"), [(0.0, 1), (1.0, 1), (4.9, 1), (5.0, 2), (8.0, 2)])
async def test_the_answer_is_the_last_one_by_then(tmp_path: Path, now: float, count: int) -> None:
    link = two_answers(tmp_path / "session.jsonl")
    link._now = now
    page = await link.call(ListTouchpoints(limit=300))
    assert len(page.rows) == count, "how many rows a terminal asked for does not matter"


async def test_a_refusal_is_recorded_too(tmp_path: Path) -> None:
    link = two_answers(tmp_path / "session.jsonl")
    link._now = 9.0
    with pytest.raises(CallFailed, match="no"):
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


async def test_a_recording_of_another_version_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    path.write_text(
        json.dumps({"format": FORMAT, "at": 1}) + "\n" + json.dumps({"t": 1, "me": {"colour": "red"}}) + "\n"
    )
    heard = Heard()
    await asyncio.wait_for(ReplayLink(path, speed=0).run(heard), 5)
    assert "was recorded by another version" in heard.said[0]


async def test_it_is_told_when_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "session.jsonl"
    me = Canned().answers[WhoAmI]
    recorded(path, (1.0, lambda r: r.me(me)), (4.0, lambda r: r.me(me)), (4.0, lambda r: r.me(me)))
    slept: list[float] = []
    heard = Heard()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("tui.record.asyncio.sleep", sleep)
    task = asyncio.create_task(ReplayLink(path, speed=2.0).run(heard))
    while len(heard.said) < 4:
        await asyncio.wait([task], timeout=0.01)
    task.cancel()
    assert slept == [0.5, 1.5]
    assert heard.said == ["joined", "joined", "joined", "this is the end of the recording"]


async def test_the_end_of_a_recording_is_said(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    canned = house()
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints", record=file) as screen:
        await screen.quiet()
        await until(lambda: screen.ui.stages is not None, "the stations were asked for")
        assert stages() == screen.ui.stages
    async with terminal(tmp_path / "none.sock", screen="touchpoints", replay=file, speed=1000) as screen:
        await screen.shows("this is the end of the recording")
        await screen.shows("support@acme.example")

"""The line to the daemon: it goes and comes back, at a pace that spares it, and everything read passes the gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.client import CallFailed, Unreachable
from gateway.control import Batch, Code, DeactivateTouchpoint, GetStatus, ListTouchpoints, Me, Snapshot, WhoAmI
from pipeline.errors import Refused
from tests.tui.canned import Canned, served, short, status, touchpoint, until
from tests.tui.screen import Clock, terminal
from tui.link import LONGEST, DaemonLink, via, words


class Heard:
    """Who listens, and writes it down."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.news: list[Snapshot | Batch] = []
        self.me: list[Me] = []
        self.waits: list[float] = []
        self.on_parted: Callable[[], object] = lambda: None

    def heard(self, news: Snapshot | Batch) -> None:
        self.said.append(type(news).__name__.lower())
        self.news.append(news)

    def joined(self, me: Me) -> None:
        self.said.append("joined")
        self.me.append(me)

    def parted(self, why: str, retry_in: float) -> None:
        self.said.append(why)
        self.waits.append(retry_in)
        self.on_parted()

    def ended(self, words: str) -> None:
        self.said.append(words)


@asynccontextmanager
async def running(path: Path, chance: float = 0.5) -> AsyncIterator[tuple[DaemonLink, Heard]]:
    """A link that runs."""
    link, heard = DaemonLink(path), Heard()
    task = asyncio.create_task(link.run(heard, lambda: chance))
    try:
        yield link, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def eager(link: DaemonLink, heard: Heard) -> None:
    """Do not wait for the next try; what the wait would have been is written down."""
    heard.on_parted = lambda: asyncio.get_running_loop().call_soon(link.hurry)


async def test_who_we_are_comes_first_then_a_snapshot_then_what_happens(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status((touchpoint(),))})
    async with served(canned, short(tmp_path)) as path, running(path) as (_, heard):
        await until(lambda: len(heard.said) >= 2, "the snapshot is here")
        canned.change(touchpoint(name="Another"))
        await until(lambda: len(heard.said) >= 3, "the event is here")
        assert heard.said == ["joined", "snapshot", "batch"]
        news = heard.news[-1]
        assert isinstance(news, Batch)
        assert [event.touchpoint.name for event in news.events if event.touchpoint] == ["Another"]


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
async def test_it_tries_again_slower_and_slower_with_jitter(tmp_path: Path, chance: float, factor: float) -> None:
    async with running(tmp_path / "none.sock", chance) as (link, heard):
        eager(link, heard)
        await until(lambda: len(heard.waits) >= 8, "eight tries")
        assert [wait / factor for wait in heard.waits[:8]] == [1, 2, 4, 8, 16, LONGEST, LONGEST, LONGEST]
        assert "no daemon answers at" in heard.said[0]


async def test_after_a_connection_the_first_try_comes_soon_again(tmp_path: Path) -> None:
    path = short(tmp_path)
    async with running(path) as (link, heard):
        eager(link, heard)
        await until(lambda: len(heard.waits) >= 3, "three tries")
        heard.on_parted = lambda: None
        async with served(Canned(), path):
            link.hurry()
            await until(lambda: "snapshot" in heard.said, "it is connected")
            failed = len(heard.waits)
        await until(lambda: len(heard.waits) > failed, "it is gone")
        assert heard.waits[failed] == 1.0
        assert "closed the connection" in heard.said[-1]


async def test_a_daemon_that_comes_back_tells_everything_anew(tmp_path: Path) -> None:
    path = short(tmp_path)
    async with running(path) as (link, heard):
        eager(link, heard)
        for name in ("before", "after"):
            async with served(Canned({GetStatus: status((touchpoint(name=name),))}), path):
                await until(lambda name=name: _last_name(heard) == name, f"the house {name}")
        assert heard.said.count("joined") == 2


def _last_name(heard: Heard) -> str:
    news = heard.news[-1] if heard.news else None
    return news.status.touchpoints[0].name if isinstance(news, Snapshot) else ""


async def test_a_call_without_a_connection_fails_and_one_that_it_breaks_off_too(tmp_path: Path) -> None:
    path = short(tmp_path)
    async with running(path) as (link, heard):
        with pytest.raises(Unreachable, match="there is no connection to the daemon now"):
            await link.call(WhoAmI())
        canned = Canned()
        never = asyncio.Event()
        original = canned.answer

        async def answer(call: Any, caller: Any) -> Any:
            if isinstance(call, ListTouchpoints):
                await never.wait()
            return await original(call, caller)

        canned.answer = answer  # type: ignore[method-assign]
        async with served(canned, path):
            link.hurry()
            await until(lambda: "snapshot" in heard.said, "it is connected")
            asked = asyncio.create_task(link.call(ListTouchpoints()))
            await asyncio.sleep(0)
        with pytest.raises(Unreachable):
            await asked


async def test_answers_and_refusals_pass_the_gate_and_what_is_edited_does_not(tmp_path: Path) -> None:
    canned = Canned({WhoAmI: Me(name="\x1b[2Jops", uid=1, roles=("admin",), hostname="h", version="0.1.0"),
                     ListTouchpoints: Refused("no \x1b]52;c;x\x07 today")})  # fmt: skip
    async with served(canned, short(tmp_path)) as path, running(path) as (link, heard):
        await until(lambda: "snapshot" in heard.said, "it is connected")
        assert heard.me[0].name == "\\x1b[2Jops"
        assert (await link.call(WhoAmI())).name == "\\x1b[2Jops"
        assert (await link.raw(WhoAmI())).name == "\x1b[2Jops"
        for ask in (link.call, link.raw):
            with pytest.raises(CallFailed) as raised:
                await ask(ListTouchpoints())
            assert str(raised.value) == "no \\x1b]52;c;x\\x07 today"


async def test_whence_we_come_is_told_as_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert via() == ""
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 51000 192.0.2.1 22")
    assert via() == "ssh 192.0.2.7"
    monkeypatch.setenv("SSH_CONNECTION", "x" * 500)
    assert len(via()) < 80
    canned = Canned()
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 51000 192.0.2.1 22")
    async with served(canned, short(tmp_path)) as path, running(path) as (_, heard):
        await until(lambda: "joined" in heard.said, "it is connected")
    assert canned.asked(WhoAmI)[0].via == "ssh 192.0.2.7"


def test_a_daemon_that_is_older_is_said_to_be() -> None:
    assert words(CallFailed(Code.REFUSED, "no")) == "no"
    assert words(CallFailed(Code.NO_METHOD, "there is no call x")).endswith("restart it with the installed version")
    assert words(Unreachable("")) == "Unreachable"


# -- Another version -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def stranger(path: Path, answer: Callable[[dict[str, Any]], bytes]) -> AsyncIterator[list[int]]:
    """Something that listens at the socket and answers otherwise."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        while line := await reader.readline():
            writer.write(answer(json.loads(line)))
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield asked
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda call: _result(call, {"version": "9.9.9"}), "the daemon is Postroom 9.9.9, this command is "),
        (lambda call: _result(call, {"colour": "red"}), "the daemon is of another version than this command"),
        (lambda call: _error(call, -32601), "the daemon is of another version than this command"),
    ],
)
async def test_a_daemon_of_another_version_is_not_asked_every_second(
    tmp_path: Path, answer: Callable[[dict[str, Any]], bytes], said: str
) -> None:
    path = short(tmp_path)
    async with stranger(path, answer), running(path) as (_, heard):
        await until(lambda: heard.waits, "it gave up")
        assert said in heard.said[0]
        assert heard.waits == [LONGEST]
        assert "joined" not in heard.said


@pytest.mark.parametrize(
    "junk", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"{}\n", b"[1]\n", b'{"id":1}\n', b"\xff\n", b"x" * 3_000_000]
)
async def test_what_is_no_daemon_is_given_up(tmp_path: Path, junk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.link.PATIENCE", 0.05)
    path = short(tmp_path)
    async with stranger(path, lambda call: junk) as asked, running(path) as (link, heard):
        eager(link, heard)
        await until(lambda: len(asked) >= 2, "it tried again")
        assert "joined" not in heard.said
        assert "does not answer" in heard.said[0] or "closed the connection" in heard.said[0]


def _result(call: dict[str, Any], value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": value}).encode() + b"\n"


def _error(call: dict[str, Any], code: int) -> bytes:
    made = {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": "what?"}}
    return json.dumps(made).encode() + b"\n"


# -- In the app ------------------------------------------------------------------------------------------------------


async def test_the_first_paint_comes_before_any_connection(tmp_path: Path) -> None:
    async with terminal(tmp_path / "none.sock") as screen:
        assert "1 Overview" in screen.text()
        await screen.shows("NO CONNECTION")
        await screen.shows("next try in")
        assert "data" not in screen.text().splitlines()[0], "nothing was ever told, so nothing is old"


async def test_the_daemon_goes_and_the_banner_says_how_old_all_this_is(tmp_path: Path) -> None:
    clock = Clock()
    canned = Canned({GetStatus: status((touchpoint(), touchpoint(2, "press@acme.example")))})
    async with (
        served(canned, short(tmp_path)) as path,
        terminal(path, screen="touchpoints", now=clock, size=(160, 48)) as screen,
    ):
        await screen.quiet()
        await canned.server.close(remove=path)
        await screen.shows("NO CONNECTION")
        clock.time += 45
        await screen.shows("data 45 s old")
        assert "closed the connection" in screen.text()
        assert "press@acme.example" in screen.text(), "what was known is shown on"
        await screen.press("t")
        await screen.shows("there is no connection to the daemon")
        await screen.press("a")
        await screen.shows("there is no connection to the daemon)")
        assert not canned.asked(DeactivateTouchpoint)


async def test_the_daemon_comes_back_with_a_fresh_snapshot(tmp_path: Path) -> None:
    first = Canned({GetStatus: status((touchpoint(), touchpoint(2, "press@acme.example")))})
    path = short(tmp_path)
    async with terminal(path, screen="touchpoints") as screen:
        async with served(first, path):
            await screen.pilot.pause()
            await screen.press("ctrl+l")
            await screen.quiet()
            await screen.shows("press@acme.example")
        await screen.shows("NO CONNECTION")
        rows = (touchpoint(), touchpoint(3, "sales@acme.example"))
        second = Canned({GetStatus: status(rows), DeactivateTouchpoint: replace(rows[0], active=False)})
        async with served(second, path):
            await screen.press("ctrl+l")
            await screen.shows("sales@acme.example")
            await screen.shows("connected again; everything on the screen is fresh")
            assert "press@acme.example" not in screen.text()
            await screen.hides("NO CONNECTION")
            await screen.press("g", "t")
            await until(lambda: second.asked(DeactivateTouchpoint), "acts are possible again")


async def test_a_daemon_of_another_version_is_said_on_the_screen(tmp_path: Path) -> None:
    path = short(tmp_path)
    async with (
        stranger(path, lambda call: _result(call, {"version": "9.9.9"})),
        terminal(path, size=(160, 48)) as screen,
    ):
        await screen.shows("the daemon is Postroom 9.9.9, this command is")
        await screen.press("W")
        await screen.shows("there is no connection to the daemon")


async def test_of_a_house_with_more_touchpoints_than_a_snapshot_holds_all_are_read(tmp_path: Path) -> None:
    many = [touchpoint(n, f"desk{n:04}@acme.example") for n in range(1, 701)]

    def window(call: ListTouchpoints) -> Any:
        from gateway.control import Page

        found = [row for row in many if row.id > call.after][: call.limit]
        return Page(rows=tuple(found), next=found[-1].id if found and found[-1].id < 700 else 0)

    canned = Canned({GetStatus: status(tuple(many[:50]), touchpoint_count=700), ListTouchpoints: window})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints") as screen:
        await screen.shows("TOUCHPOINTS 700 of 700")
        await screen.press("G")
        await screen.shows("desk0700@acme.example")

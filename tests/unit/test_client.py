"""The guest's end of the socket: versions that do not fit together are told apart by name, and a closed door is named.

The daemon is a fake one on a real Unix socket, which answers as an older or a newer one would.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gateway
from gateway import control
from gateway.client import CallFailed, Client, OtherVersion, Unreachable, connected
from gateway.control import VERSION, Code, GetStatus, ListTouchpoints, WhoAmI

ME = {"name": "ops", "uid": 1000, "roles": ["ops"], "hostname": "post.example", "version": VERSION}
NEWER = {**ME, "version": "99.0.0"}
BOTH_NAMES = f"the daemon is Postroom 99.0.0, this command is {VERSION}: use the same version on both"

Answers = Callable[[str, dict[str, Any]], Any]


class No(Exception):
    """The fake daemon says no."""

    def __init__(self, code: int, text: str = "no") -> None:
        super().__init__(text)
        self.code = code


@asynccontextmanager
async def a_daemon(folder: Path, answers: Answers, *news: bytes) -> AsyncIterator[Client]:
    """A client of a daemon that answers ``answers(method, params)``, after it told the news."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked = json.loads(line)
            reply: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
            try:
                reply["result"] = answers(asked["method"], asked["params"])
            except No as no:
                reply["error"] = {"code": int(no.code), "message": str(no)}
            writer.write(json.dumps(reply).encode() + b"\n" + b"".join(news))
        writer.close()

    server = await asyncio.start_unix_server(serve, folder / "fake.sock")
    async with server, connected(folder / "fake.sock") as client:
        yield client


def saying(me: Any, rest: Any = None) -> Answers:
    """A daemon that answers ``whoami`` with this, and everything else with that."""

    def answers(method: str, params: dict[str, Any]) -> Any:
        found = me if method == "whoami" else rest
        if isinstance(found, Exception):
            raise found
        return found

    return answers


def test_the_wire_tells_its_version() -> None:
    assert gateway.__version__ == VERSION


async def test_hello_says_whence_and_hears_who(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def answers(method: str, params: dict[str, Any]) -> Any:
        asked.append(params)
        return ME

    async with a_daemon(tmp_path, answers) as client:
        me = await client.hello("ssh 192.0.2.7")
    assert (me.name, me.roles, asked) == ("ops", ("ops",), [{"via": "ssh 192.0.2.7"}])


async def test_an_older_daemon_that_knows_no_via_is_asked_without_it(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def answers(method: str, params: dict[str, Any]) -> Any:
        asked.append(params)
        if params:
            raise No(Code.BAD_PARAMS, "whoami: params: unknown key 'via'")
        return {**ME, "version": "0.0.1"}

    async with a_daemon(tmp_path, answers) as client:
        me = await client.hello("ssh 192.0.2.7")
    assert (me.version, asked) == ("0.0.1", [{"via": "ssh 192.0.2.7"}, {}])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({**NEWER, "colour": "blue"}, BOTH_NAMES),
        ({"version": "99.0.0"}, BOTH_NAMES),
        ({**NEWER, "roles": "ops"}, BOTH_NAMES),
        ({"version": "9" * 500}, f"the daemon is Postroom {'9' * 40}, this command"),
        ({**ME, "colour": "blue"}, f"another build of Postroom {VERSION}"),
        ({"name": "ops"}, f"another version than this command, which is {VERSION}: use the same version on both"),
        ({**ME, "version": 3}, "another version than this command"),
        ([], "another version than this command"),
        (None, "another version than this command"),
        (No(Code.NO_METHOD), "another version than this command"),
        (No(Code.BAD_PARAMS), "another version than this command"),
    ],
    ids=lambda given: "" if isinstance(given, str) else ascii(given)[:60],
)
async def test_an_answer_that_we_cannot_read_is_another_version(answer: Any, words: str, tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(answer)) as client:
        with pytest.raises(OtherVersion) as caught:
            await client.hello()
    assert words in str(caught.value)
    assert isinstance(caught.value, Unreachable)


async def test_who_may_not_say_hello_is_told_so(tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(No(Code.NOT_PERMITTED, "you may not"))) as client:
        with pytest.raises(CallFailed, match="you may not") as caught:
            await client.hello()
    assert caught.value.code == Code.NOT_PERMITTED


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"rows": [], "next": 0, "colour": "blue"}, "unknown key 'colour'"),
        (No(Code.NO_METHOD, "there is no method 'touchpoint.list'"), "there is no method"),
        (No(Code.BAD_PARAMS, "touchpoint.list: unknown key 'state'"), "unknown key 'state'"),
    ],
    ids=["answer", "method", "params"],
)
async def test_after_hello_a_misfit_names_both_versions(answer: Any, words: str, tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(NEWER, answer)) as client:
        assert (await client.hello()).version == "99.0.0"
        with pytest.raises(OtherVersion) as caught:
            await client.call(ListTouchpoints())
    assert str(caught.value).startswith(BOTH_NAMES)
    assert words in str(caught.value)


async def test_another_version_that_understands_us_is_welcome(tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(NEWER, {"rows": [], "next": 0})) as client:
        await client.hello()
        assert (await client.call(ListTouchpoints())).rows == ()


@pytest.mark.parametrize("code", [Code.REFUSED, Code.NOT_NOW, Code.NOT_PERMITTED])
async def test_a_no_of_another_version_stays_a_no(code: Code, tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(NEWER, No(code, "there is no touchpoint"))) as client:
        await client.hello()
        with pytest.raises(CallFailed, match="there is no touchpoint"):
            await client.call(ListTouchpoints())


@pytest.mark.parametrize("code", [Code.NO_METHOD, Code.BAD_PARAMS])
async def test_of_the_same_version_a_misfit_is_the_callers_own(code: Code, tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(ME, No(code))) as client:
        await client.hello()
        with pytest.raises(CallFailed) as caught:
            await client.call(ListTouchpoints())
    assert caught.value.code == code


async def test_without_hello_an_answer_that_does_not_fit_is_another_version_too(tmp_path: Path) -> None:
    async with a_daemon(tmp_path, saying(NEWER)) as client:
        with pytest.raises(OtherVersion, match="another version than this command") as caught:
            await client.call(GetStatus())
    assert "must be dict" in str(caught.value)


async def test_a_feed_that_cannot_be_read_is_another_version(tmp_path: Path) -> None:
    news = b'{"jsonrpc": "2.0", "method": "batch", "params": {"boot": 1}}\n'
    async with a_daemon(tmp_path, saying(NEWER), news) as client:
        await client.hello()
        with pytest.raises(OtherVersion, match=r"99\.0\.0"):
            while True:
                await client.call(WhoAmI())


# -- A closed door -------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every socket refuses us, as it does to people outside its group; root would get in."""

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("asyncio.open_unix_connection", refuse)


async def why_not(path: Path) -> str:
    with pytest.raises(Unreachable) as caught:
        async with connected(path):
            pass
    return str(caught.value)


async def test_a_closed_socket_names_its_group(closed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "control.sock"
    path.touch()
    monkeypatch.setattr("os.stat", lambda _: SimpleNamespace(st_gid=4711))
    monkeypatch.setattr("grp.getgrgid", lambda number: SimpleNamespace(gr_name=f"group{number}"))
    assert await why_not(path) == (
        f"you may not open {path}: it belongs to the group group4711;"
        " join it: sudo usermod -aG group4711 $USER, then log in again"
    )


async def test_a_group_without_a_name_is_told_by_its_number(
    closed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("os.stat", lambda _: SimpleNamespace(st_gid=4711))
    monkeypatch.setattr("grp.getgrgid", nameless)
    assert "it belongs to the group 4711; join it" in await why_not(tmp_path / "control.sock")


async def test_nobody_is_told_to_join_the_group_of_root(
    closed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.stat", lambda _: SimpleNamespace(st_gid=0))
    words = await why_not(tmp_path / "control.sock")
    assert "usermod" not in words
    assert "socket_group" in words


async def test_a_folder_that_cannot_be_read_is_said(
    closed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)
    words = await why_not(tmp_path / "control.sock")
    assert words.startswith(f"you may not open {tmp_path / 'control.sock'}: its folder {tmp_path} cannot be read")


def test_a_bare_line_has_no_parameters() -> None:
    line = control.bare_line(3, WhoAmI(via="x"))
    assert json.loads(line) == {"jsonrpc": "2.0", "id": 3, "method": "whoami", "params": {}}
    assert control.read_request(line) == (3, WhoAmI())

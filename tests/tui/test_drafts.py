"""Drafts outlive the terminal they were typed in, are nobody else's to read, and hold no secret."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.tui.canned import Canned, served, short, until
from tests.tui.screen import terminal
from tui.dialogs import Field, Form
from tui.drafts import MOST, Drafts, home_of_drafts


def test_what_was_kept_is_there_in_the_next_session(tmp_path: Path) -> None:
    Drafts(tmp_path / "a" / "b").write("signature of support@acme.example", {"text": "Straße\npart \x1b[2J"})
    again = Drafts(tmp_path / "a" / "b")
    assert again.read("signature of support@acme.example") == {"text": "Straße\npart \x1b[2J"}
    assert again.read("another") == {}
    assert again.names() == ["signature of support@acme.example"]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Drafts(tmp_path / "drafts").write("x", {"text": "y"})
    finally:
        os.umask(before)
    (path,) = (tmp_path / "drafts").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_name_is_never_a_path(tmp_path: Path) -> None:
    home = tmp_path / "drafts"
    for name in ("../../evil", "/etc/passwd", "a\0b", "x" * 5_000, "\udcff", ""):
        Drafts(home).write(name, {"text": name[:5]})
        assert Drafts(home).read(name) == {"text": name[:5]}, ascii(name)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {home}


@given(st.text(st.sampled_from('aß日😀"\\\n\x01\udc80'), min_size=1), st.integers(1, 4))
def test_whatever_is_kept_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str, share: int) -> None:
    """Also where each character takes twelve bytes: a long text is kept whole or not at all."""
    drafts = Drafts(tmp_path_factory.getbasetemp() / "drafts")
    long = text * (MOST // share // len(text))
    drafts.write("x", {"text": long})
    assert drafts.read("x") == {"text": long}


def test_what_is_too_long_leaves_the_one_before_alone(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.write("x", {"text": "short"})
    drafts.write("x", {"text": "l" * (MOST + 1)})
    assert drafts.read("x") == {"text": "short"}


def test_a_later_one_takes_its_place_and_leaves_no_file_behind(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.write("x", {"text": "1"})
    drafts.write("x", {"text": "2"})
    assert drafts.read("x") == {"text": "2"}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_sent_is_forgotten(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.write("x", {"text": "1"})
    drafts.forget("x")
    drafts.forget("x")
    assert drafts.read("x") == {}
    assert drafts.names() == []


def test_the_newest_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts = Drafts(tmp_path)
    for at, name in ((30.0, "b"), (10.0, "a"), (20.0, "c")):
        monkeypatch.setattr("tui.drafts.time.time", lambda at=at: at)
        drafts.write(name, {"text": name})
    assert drafts.names() == ["b", "c", "a"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"values": 3}', b'{"values": {"a": null}}', b"\xff\xfe", b'{"at": "x"}', b"7"],
)
def test_a_file_that_is_no_draft_is_none(tmp_path: Path, content: bytes) -> None:
    drafts = Drafts(tmp_path)
    drafts.write("x", {"text": "1"})
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert drafts.read("x") in ({}, {"a": "None"})
    assert drafts.names() == []
    drafts.write("x", {"text": "2"})
    assert drafts.read("x") == {"text": "2"}


def test_where_nothing_can_be_kept_nothing_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    drafts = Drafts(tmp_path / "file" / "drafts")
    drafts.write("x", {"text": "1"})
    drafts.forget("x")
    assert drafts.read("x") == {}
    assert drafts.names() == []


def test_they_lie_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert home_of_drafts() == tmp_path / "postroom" / "drafts"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/desk")
    assert home_of_drafts() == Path("/home/desk/.local/state/postroom/drafts")


async def test_a_form_keeps_no_secret(tmp_path: Path) -> None:
    home = tmp_path / "drafts"
    fields = [Field(name="user", label="User"), Field(name="password", label="Password", secret=True)]

    async def refuse(values: dict[str, str]) -> dict[str, str]:
        return {"": "no"}

    async with served(Canned(), short(tmp_path)) as path, terminal(path, drafts=home) as screen:
        await screen.quiet()
        form = Form(screen.ui, "connect", fields, refuse, draft="connect support@acme.example")
        screen.ui.work(_ask(screen.ui, form))
        await screen.shows("Password")
        await screen.type("desk")
        await screen.press("tab")
        await screen.type("hunter2")
        assert "hunter2" not in screen.text()
        await screen.press("ctrl+s", "escape")
        await until(lambda: screen.ui.screen is not form, "the form is closed")
        (file,) = home.iterdir()
        assert json.loads(file.read_text())["values"] == {"user": "desk"}
        again = Form(screen.ui, "connect", fields, refuse, draft="connect support@acme.example")
        assert again.values == {"user": "desk", "password": ""}


async def _ask(ui: object, form: Form) -> None:
    await ui.ask(form)  # type: ignore[attr-defined]

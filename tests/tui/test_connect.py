"""The Connect dialog, step by step: what is tried, what is said, and that nothing happens before the last step."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste

from gateway.control import (
    ActivateTouchpoint,
    ConnectTouchpoint,
    FolderPlan,
    GetStatus,
    ListPresets,
    Page,
    PlanConnect,
    PlanRow,
    Role,
    SetConnection,
    ShowTouchpoint,
    TouchpointDetail,
    TouchpointRow,
    TryRow,
    TryTouchpoint,
    WhoAmI,
)
from pipeline.errors import NeedsPerson, Refused, Transient
from tests.tui.canned import NOW, PRESETS, Canned, served, short, status, touchpoint, touchpoint_page, until
from tests.tui.screen import Terminal, terminal

NEW = touchpoint(4, "new@acme.example", name="New one", state="new", active=False, signed_in_at=0.0, polled_at=0.0)
LOST = touchpoint(2, "press@acme.example", name="Press desk", state="lost", cause="credential", reason="NO [AUTH]")
PLAN = PlanRow(
    server="imap.acme.example", principal="new@acme.example", marks="", twin="",
    folders=(FolderPlan(folder="INBOX", there=4_000, taken=0), FolderPlan(folder="Junk", there=12, taken=0)),
)  # fmt: skip
SECRET = "open-sesame-4711"


def house(row: TouchpointRow = NEW, *, tries: list[TryRow] | None = None, **page: Any) -> Canned:
    """A daemon with this touchpoint, at which all goes well but for these tries."""
    at_first: dict[str, Any] = {"has_password": row.state != "new", "activated_at": 0.0}
    detail = touchpoint_page(row, **(at_first | page))
    answers = list(tries or [])

    def tried(call: TryTouchpoint) -> TryRow:
        return answers.pop(0) if answers else TryRow(receiving="", sending="")

    connected = replace(row, state="connected", cause="", reason="", signed_in_at=NOW)
    return Canned(
        {
            GetStatus: status((row,)), ShowTouchpoint: detail, ListPresets: Page(rows=PRESETS), TryTouchpoint: tried,
            PlanConnect: PLAN, ConnectTouchpoint: connected, ActivateTouchpoint: replace(connected, active=True),
        }
    )  # fmt: skip


@asynccontextmanager
async def dialog(canned: Canned, tmp_path: Path, key: str = "c", **options: Any) -> AsyncIterator[Terminal]:
    """The dialog of the only touchpoint."""
    path, drafts = short(tmp_path), tmp_path / "drafts"
    async with served(canned, path), terminal(path, screen="touchpoints", drafts=drafts, **options) as made:
        await made.quiet()
        await made.press(key)
        yield made


async def paste(screen: Terminal, text: str) -> None:
    """Put a text into the field that is focused, as a terminal does when it is pasted."""
    field = screen.ui.screen.focused
    assert field is not None
    field.post_message(Paste(text))
    await screen.pilot.pause()


async def password(screen: Terminal, text: str = SECRET) -> None:
    """Give a password."""
    await screen.shows("Enter goes on")
    await paste(screen, text)
    await screen.press("enter")


def step(screen: Terminal, label: str) -> str:
    """The mark and the words of a step."""
    found = re.search(rf"│ ([+x~.-] {re.escape(label)} [^│]*)│", screen.text())
    assert found is not None, screen.text()
    return found[1].rstrip()


async def test_the_whole_way_from_new_to_active(tmp_path: Path) -> None:
    canned = house()
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("connect new@acme.example")
        await screen.shows("imap imap.acme.example:993 tls")
        assert step(screen, "password") == ". password          that of the mailbox"
        await password(screen)
        await screen.shows("Enter connects")
        assert step(screen, "test receiving").startswith("+")
        assert step(screen, "sign in") == "+ sign in           signed in to receive and to send"
        assert "no other touchpoint has new@acme.example at" in screen.text()
        assert step(screen, "what is taken").endswith("only mail that comes from now on")
        assert "INBOX: 4,000 there, 0 taken" in screen.text() and "nothing is changed on the server" in screen.text()
        assert canned.asked(ConnectTouchpoint) == []
        await screen.press("enter")
        await screen.shows("t switches it on")
        assert step(screen, "connect").startswith("+ connect           connected")
        await screen.press("t")
        await screen.shows("new@acme.example is on")
    assert [call.half for call in canned.asked(TryTouchpoint)] == ["receiving", "sending"]
    for call in (*canned.asked(TryTouchpoint), *canned.asked(PlanConnect), *canned.asked(ConnectTouchpoint)):
        assert call.touchpoint == "4" and call.password == SECRET
    assert canned.asked(ActivateTouchpoint) == [ActivateTouchpoint(touchpoint="4", start_now=False)]


async def test_results_come_as_they_are_there_and_esc_leaves_at_once(tmp_path: Path) -> None:
    canned = house()
    gate = asyncio.Event()

    async def slowly(call: TryTouchpoint) -> TryRow:
        await gate.wait()
        return TryRow(receiving="", sending="")

    canned.answers[TryTouchpoint] = slowly
    async with dialog(canned, tmp_path) as screen:
        await password(screen)
        await screen.shows("trying imap.acme.example:993")
        assert step(screen, "test receiving").startswith("~")
        assert step(screen, "test sending").startswith(".")
        await screen.press("enter", "r", "p")
        assert len(canned.asked(TryTouchpoint)) == 1
        await screen.press("escape")
        await screen.hides("test receiving")
        gate.set()
        await screen.pilot.pause()
        assert canned.asked(ConnectTouchpoint) == canned.asked(PlanConnect) == []
        assert "is connected" not in screen.text()


async def test_a_slow_step_says_how_long_it_has_been(tmp_path: Path) -> None:
    canned = house()
    gate, now = asyncio.Event(), [1000.0]

    async def slowly(call: TryTouchpoint) -> TryRow:
        await gate.wait()
        return TryRow(receiving="", sending="")

    canned.answers[TryTouchpoint] = slowly
    async with dialog(canned, tmp_path, now=lambda: now[0]) as screen:
        await password(screen)
        await screen.shows("trying imap.acme.example:993")
        now[0] += 42
        await screen.shows("42 s so far")
        await screen.press("escape")
        gate.set()


async def test_a_refused_login_is_told_apart_from_a_server_that_answers(tmp_path: Path) -> None:
    refused = TryRow(receiving="NO [AUTH] bad password", sending="", receiving_cause="credential")
    canned = house(tries=[refused])
    async with dialog(canned, tmp_path) as screen:
        await password(screen, "wrong")
        await screen.shows("NO [AUTH] bad")
        assert step(screen, "test receiving") == "+ test receiving    the server answers"
        assert step(screen, "test sending").startswith(". test sending      not tried")
        assert step(screen, "sign in").startswith("x sign in           receiving: the login was refused")
        assert "p: another password; it takes that of the mailbox" in screen.text()
        await screen.press("p")
        await password(screen)
        await screen.shows("Enter connects")
        assert [call.password for call in canned.asked(TryTouchpoint)] == ["wrong", SECRET, SECRET]


async def test_a_server_that_cannot_be_reached_is_tried_again(tmp_path: Path) -> None:
    lost = TryRow(receiving="", sending="connection refused", sending_cause="network")
    canned = house(tries=[TryRow(receiving="", sending=""), lost])
    async with dialog(canned, tmp_path) as screen:
        await password(screen)
        await screen.shows("r again")
        assert step(screen, "test receiving").startswith("+")
        assert step(screen, "test sending").startswith("x test sending      the server cannot be reached")
        assert "connection refused" in screen.text()
        assert step(screen, "sign in").startswith(".")
        assert "look at the server's name" in screen.text()
        assert "by itself" not in screen.text(), "only what is connected is tried again by itself"
        await screen.press("r")
        await screen.shows("Enter connects")
        assert canned.asked(TryTouchpoint)[-1].password == SECRET


async def test_a_port_that_wants_starttls_is_told_from_a_server_that_failed(tmp_path: Path) -> None:
    wrong = TryRow(receiving="TLS failed: WRONG_VERSION_NUMBER", sending="", receiving_cause="provider")
    async with dialog(house(tries=[wrong, wrong]), tmp_path) as screen:
        await password(screen)
        await screen.shows("it may want starttls instead of tls")


async def test_a_twin_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    canned = house()
    words = "new@acme.example is the same mailbox as the touchpoint help@acme.example"
    canned.answers[PlanConnect] = replace(PLAN, twin=words)
    async with dialog(canned, tmp_path) as screen:
        await password(screen)
        await screen.shows("leave it to that touchpoint")
        assert step(screen, "same mailbox?").startswith("x")
        await screen.press("enter")
        assert canned.asked(ConnectTouchpoint) == []


@pytest.mark.parametrize(
    ("error", "advice"),
    [(Refused("no room for it"), "r tries again"), (NeedsPerson("not let in"), "p: try another password"),
     (Transient("busy"), "r tries again")],
)  # fmt: skip
async def test_a_last_step_that_fails_can_be_tried_again(tmp_path: Path, error: Exception, advice: str) -> None:
    canned = house()
    connected = canned.answers[ConnectTouchpoint]
    canned.answers[ConnectTouchpoint] = error
    async with dialog(canned, tmp_path) as screen:
        await password(screen)
        await screen.shows("Enter connects")
        await screen.press("enter")
        await screen.shows(str(error))
        assert advice in screen.text()
        canned.answers[ConnectTouchpoint] = connected
        await screen.press("r")
        await screen.shows("Enter connects")
        await screen.press("enter")
        await screen.shows("t switches it on")
        assert len(canned.asked(ConnectTouchpoint)) == 2


async def test_the_password_that_is_kept_will_do(tmp_path: Path) -> None:
    canned = house(LOST)
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("reconnect press@acme.example")
        await screen.shows("Enter alone takes the one that is kept")
        await screen.press("enter")
        await screen.shows("Enter connects")
        assert "it goes on where it stopped reading" in screen.text()
        await screen.press("s")  # older mail is for a first connect
        assert "take mail since" not in screen.text()
        await screen.press("enter")
        await screen.shows("mail moves again")
        await screen.press("enter")
        await screen.shows("press@acme.example is connected")
        assert [call.password for call in canned.asked(ConnectTouchpoint)] == [None]


async def test_to_reauthenticate_takes_a_new_password(tmp_path: Path) -> None:
    canned = house(LOST)
    async with dialog(canned, tmp_path, "R") as screen:
        await screen.shows("sign in anew at press@acme.example")
        await screen.shows("Enter goes on")
        assert "the one that is kept" not in screen.text()
        await screen.press("enter")
        await screen.shows("nothing was typed")
        assert canned.asked(TryTouchpoint) == []
        await password(screen)
        await screen.shows("Enter connects")
        assert [call.password for call in canned.asked(TryTouchpoint)] == [SECRET, SECRET]


@pytest.mark.parametrize(("half", "other", "verb"), [("imap", "sending", "receive"), ("smtp", "receiving", "send")])
async def test_one_half_alone(tmp_path: Path, half: str, other: str, verb: str) -> None:
    lacking: dict[str, Any] = {"smtp" if half == "imap" else "imap": None}
    canned = house(**lacking)
    async with dialog(canned, tmp_path) as screen:
        await password(screen)
        await screen.shows("Enter connects")
        assert step(screen, f"test {other}").startswith("-")
        assert step(screen, "sign in") == f"+ sign in           signed in to {verb}"
        assert [call.half for call in canned.asked(TryTouchpoint)] == ["receiving" if half == "imap" else "sending"]
        assert len(canned.asked(PlanConnect)) == (half == "imap")
        await screen.press("enter")
        await screen.shows("t switches it on")


async def test_older_mail_is_taken_from_a_day_on(tmp_path: Path) -> None:
    canned = house()
    canned.answers[PlanConnect] = lambda call: (
        replace(PLAN, folders=(FolderPlan(folder="INBOX", there=4_000, taken=17),)) if call.since else PLAN
    )
    async with dialog(canned, tmp_path) as screen:
        await password(screen)
        await screen.shows("s older mail too")
        await screen.press("s")
        await paste(screen, "2026-13-01")
        await screen.press("enter")
        await screen.shows("write the day as year-month-day")
        await screen.press("end", *["backspace"] * 4, "1", "-", "0", "1", "enter")
        await screen.shows("INBOX: 4,000 there, 17 taken")
        assert "mail since 01 Nov 2026" in screen.text()
        await screen.press("enter")
        await screen.shows("t switches it on")
        since = time.mktime((2026, 11, 1, 0, 0, 0, 0, 0, -1))
        assert [call.since for call in canned.asked(ConnectTouchpoint)] == [since]


async def test_a_day_to_come_is_none(tmp_path: Path) -> None:
    async with dialog(house(), tmp_path) as screen:
        await password(screen)
        await screen.shows("s older mail too")
        await screen.press("s")
        await paste(screen, "2027-01-01")
        await screen.press("enter")
        await screen.shows("that day is still to come")
        await screen.press("escape")
        await screen.shows("Enter connects")


async def test_without_servers_the_provider_comes_first(tmp_path: Path) -> None:
    canned = house(imap=None, smtp=None)

    def set_servers(call: SetConnection) -> TouchpointDetail:
        at = PRESETS[1]
        canned.answers[ShowTouchpoint] = touchpoint_page(
            NEW, preset="yahoo", imap=at.imap, smtp=at.smtp, has_password=False
        )
        detail: TouchpointDetail = canned.answers[ShowTouchpoint]
        return detail

    canned.answers[SetConnection] = set_servers
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("who is the provider")
        await screen.press("2")
        await screen.shows("imap.mail.yahoo.com:993:tls")
        await screen.press("ctrl+s")
        await screen.shows("imap imap.mail.yahoo.com:993 tls")
        await screen.shows("an app password")
        await password(screen)
        await screen.shows("Enter connects")


async def test_whoever_says_not_where_it_is_is_left_with_the_way_to(tmp_path: Path) -> None:
    canned = house(imap=None, smtp=None)
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("who is the provider")
        await screen.press("escape")
        await screen.shows("E says where it is")
        await screen.press("p")
        assert "Enter goes on" not in screen.text()
        await screen.press("E")
        await screen.shows("who is the provider")


async def test_ops_may_connect_but_not_say_where_it_is(tmp_path: Path) -> None:
    canned = house(imap=None, smtp=None)
    canned.answers[WhoAmI] = replace(canned.answers[WhoAmI], roles=(Role.OPS,))
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("an admin has to say where it is")
        await screen.press("E")
        await screen.shows("only an admin says where a mailbox is")


async def test_servers_can_be_changed_on_the_way(tmp_path: Path) -> None:
    canned = house()
    canned.answers[SetConnection] = lambda call: canned.answers[ShowTouchpoint]
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("Enter goes on")
        await screen.press("f4")
        await screen.shows("servers of new@acme.example")
        await screen.press("escape")
        await password(screen)
        await screen.shows("Enter connects")
        await screen.press("E")
        await screen.shows("servers of new@acme.example")
        await screen.press("right", "ctrl+s")
        await screen.shows("Enter goes on")  # a password is never taken to another server
        assert len(canned.asked(SetConnection)) == 1


async def test_a_test_changes_nothing_and_asks_for_nothing(tmp_path: Path) -> None:
    canned = house(LOST, tries=[TryRow(receiving="", sending=""), TryRow(
        receiving="", sending="certificate has expired", sending_cause="certificate"
    )])  # fmt: skip
    async with dialog(canned, tmp_path, "T", read_only=True) as screen:
        await screen.shows("certificate has expired")
        assert step(screen, "test sending").startswith("x test sending      the server's certificate does not verify")
        assert "what is taken" not in screen.text()
        await screen.press("r")
        await screen.shows("all of it works; nothing was changed")
        assert [call.password for call in canned.asked(TryTouchpoint)] == [None] * 4
        await screen.press("enter")
        await screen.hides("all of it works")
        assert canned.asked(PlanConnect) == canned.asked(ConnectTouchpoint) == []


async def test_the_daemon_goes_away_meanwhile(tmp_path: Path) -> None:
    canned = house()
    async with dialog(canned, tmp_path) as screen:
        await screen.shows("Enter goes on")
        await canned.server.close()
        await until(lambda: not screen.ui.picture.connected, "the connection is gone")
        await password(screen)
        await screen.shows("r tries again once the daemon is back")
        await screen.press("escape")
        await screen.shows("NO CONNECTION")


async def test_the_password_is_nowhere_but_on_the_wire(tmp_path: Path) -> None:
    refused = TryRow(receiving="NO", sending="", receiving_cause="credential")
    canned = house(tries=[refused])
    recording = tmp_path / "recording.jsonl"
    async with dialog(canned, tmp_path, record=recording) as screen:
        await screen.shows("Enter goes on")
        await paste(screen, SECRET)
        assert SECRET not in screen.text() and "•" in screen.text()
        await screen.press("enter")
        await screen.shows("p: another password")
        await screen.press("p")
        await password(screen)
        await screen.shows("Enter connects")
        assert SECRET not in screen.text()
        assert SECRET not in repr(canned.made)
        await screen.press("escape")
        await screen.hides("test receiving")
        assert SECRET not in screen.text()
    assert "touchpoint.test" in recording.read_text()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


async def test_it_fits_a_small_terminal_and_a_resized_one(tmp_path: Path) -> None:
    async with dialog(house(), tmp_path, size=(60, 16)) as screen:
        await password(screen)
        await screen.shows("Enter connects")
        await screen.pilot.resize_terminal(100, 40)
        await screen.shows("connect new@acme.example")
        await screen.shows("INBOX: 4,000 there, 0 taken")

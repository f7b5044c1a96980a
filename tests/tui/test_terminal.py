"""The terminal UI as a process: terminals that go away or cannot do much, daemons that are not there or of another
version, and lists that are longer than anybody scrolls."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import GetStatus, ListMail, ListTouchpoints, MailRow, Page, WhoAmI
from pipeline.errors import Refused
from tests.tui.canned import Canned, mail, served, short, status, threaded, touchpoint
from tests.tui.house import a_house
from tests.tui.screen import terminal
from tests.tui.terminal import ROOT, PtyTerminal

MANY = 10_000


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return short(tmp_path)


@pytest.fixture
def house(socket: Path) -> Iterator[Canned]:
    with threaded(a_house, socket) as canned:
        yield canned


def start(socket: Path, home: Path, *more: str, **environment: str) -> PtyTerminal:
    own = {"XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home), "TMUX": ""} | environment
    return PtyTerminal(["-m", "gateway.cli", "tui", "--socket", str(socket), *more], environment=own)


# -- Terminals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [False, True], ids=["as it comes", "with SIGHUP ignored, as under nohup"])
def test_it_ends_with_its_terminal_and_keeps_what_was_typed(
    socket: Path, house: Canned, tmp_path: Path, ignored: bool
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        terminal_ = start(socket, tmp_path, "--screen", "touchpoints")
    finally:
        signal.signal(signal.SIGHUP, before)
    with terminal_:
        terminal_.shows("press@acme.example")
        terminal_.quiet()
        terminal_.press("n")
        terminal_.shows("Friendly name")
        terminal_.press("ideas@acme.example")
        drafts = tmp_path / "postroom" / "drafts"
        terminal_.until(lambda: any(drafts.glob("*.json")), "the draft is kept")
        terminal_.hang_up()
        assert terminal_.wait() in (-signal.SIGHUP, 0, 1)
    with start(socket, tmp_path, "--screen", "touchpoints") as again:
        again.shows("kept from before")
        again.quiet()
        again.press("n")
        again.shows("ideas@acme.example")


def test_its_window_may_have_any_size_at_any_time(socket: Path, house: Canned, tmp_path: Path) -> None:
    with start(socket, tmp_path) as terminal_:
        terminal_.shows("PIPELINE")
        for width, height in ((20, 5), (1, 1), (300, 100), (60, 16), (59, 40), (80, 3), (160, 48), (80, 24)):
            terminal_.resize(width, height)
            terminal_.press("231")
            terminal_.quiet(0.2)
        terminal_.written.clear()
        terminal_.press("2")
        terminal_.press("\x0c")
        terminal_.shows("support@acme.example")
        terminal_.press("Q")
        assert terminal_.wait() == 0


def test_a_new_size_is_seen_whatever_the_environment_says(socket: Path, house: Canned, tmp_path: Path) -> None:
    with start(socket, tmp_path, COLUMNS="80", LINES="24") as terminal_:
        terminal_.shows("PIPELINE")
        terminal_.quiet()
        terminal_.resize(50, 12)
        terminal_.shows("50x12 is too small")


def test_after_a_pause_in_the_shell_all_of_the_screen_is_there_again(
    socket: Path, house: Canned, tmp_path: Path
) -> None:
    with start(socket, tmp_path) as terminal_:
        terminal_.shows("PIPELINE")
        terminal_.quiet()
        terminal_.press("\x1a")
        stat = Path(f"/proc/{terminal_.pid}/stat")
        terminal_.until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it sleeps")
        terminal_.until(lambda: b"\x1b[?1049l" in terminal_.written, "the terminal is the shell's")
        terminal_.written.clear()
        os.kill(terminal_.pid, signal.SIGCONT)
        for words in ("gw01", "Touchpoints", "PIPELINE", "NEEDS YOU", "LIVE", "difference", "help"):
            terminal_.shows(words)
        terminal_.press("Q")
        assert terminal_.wait() == 0


def test_when_it_is_told_to_end_the_terminal_is_as_it_was(socket: Path, house: Canned, tmp_path: Path) -> None:
    with start(socket, tmp_path) as terminal_:
        terminal_.shows("PIPELINE")
        os.kill(terminal_.pid, signal.SIGTERM)
        assert terminal_.wait() == 128 + signal.SIGTERM
        terminal_.until(lambda: b"\x1b[?1049l" in terminal_.written, "the screen of before is back")


@pytest.mark.parametrize(
    ("environment", "words"),
    [({"TERM": "dumb"}, "TERM=dumb"), ({"TERM": ""}, "cannot move its cursor")],
    ids=["dumb", "unknown"],
)
def test_a_terminal_that_cannot_is_told_so(environment: dict[str, str], words: str, tmp_path: Path) -> None:
    with start(tmp_path / "none.sock", tmp_path, **environment) as terminal_:
        terminal_.shows(words)
        terminal_.shows("postroom status --watch")
        assert terminal_.wait() == 64


def test_without_a_terminal_it_says_what_to_use_instead(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "tui", "--socket", str(tmp_path / "s")],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "ssh -t HOST postroom tui" in done.stderr and "postroom status --watch" in done.stderr


def test_a_file_of_keys_with_a_fault_is_told_before_the_screen_is_taken(tmp_path: Path) -> None:
    (tmp_path / "postroom").mkdir()
    (tmp_path / "postroom" / "tui.toml").write_text('[keys]\n"touchpoint.swich" = "T"\n')
    with start(tmp_path / "none.sock", tmp_path) as terminal_:
        terminal_.shows("did you mean touchpoint.switch?")
        assert terminal_.wait() == 64


# -- Daemons -------------------------------------------------------------------------------------------------------


async def test_no_daemon_is_a_sentence_and_not_an_end(socket: Path) -> None:
    async with terminal(socket) as at:
        await at.shows("NO CONNECTION")
        await at.shows("start one: postroom run")
        await at.press("2", "t")
        await at.shows("there is no connection to the daemon")
        async with served(a_house(), socket):
            await at.press("ctrl+l")
            await at.shows("press@acme.example")
        await at.shows("NO CONNECTION")
        await at.shows("old")


async def test_a_daemon_of_another_version_is_named(socket: Path) -> None:
    canned = a_house()
    canned.answers[WhoAmI] = {"version": "9.9.9", "hostname": "gw01", "something": "new"}
    async with served(canned, socket), terminal(socket, size=(160, 48)) as at:
        await at.shows("9.9.9")
        await at.shows("0.1.0")


async def test_a_daemon_that_knows_this_person_not(socket: Path) -> None:
    canned = a_house()
    refused = Refused("nobody may not do status (roles: none); ask an admin for the right group")
    canned.answers |= {GetStatus: status(), ListTouchpoints: refused}
    async with served(canned, socket), terminal(socket, screen="queues") as at:
        await at.shows("QUEUES")


# -- Long lists ----------------------------------------------------------------------------------------------------


async def test_ten_thousand_touchpoints(socket: Path) -> None:
    rows = tuple(touchpoint(n, f"desk{n:05}@acme.example", name=f"Desk {n}") for n in range(1, MANY + 1))
    canned = Canned({GetStatus: status(rows[:400], touchpoint_count=MANY)})

    def window(call: ListTouchpoints) -> Page[Any]:
        found = rows[call.after : call.after + call.limit]
        return Page(rows=found, next=found[-1].id if found and found[-1].id < MANY else 0)

    canned.answers[ListTouchpoints] = window
    async with served(canned, socket), terminal(socket, screen="touchpoints") as at:
        await at.shows("10,000 of 10,000")
        await at.press("G")
        await at.shows(">desk10000@acme.example")
        await at.press("/", *"0777")
        await at.shows(" 11 of 10,000")
        await at.press("escape")
        await at.shows("10,000 of 10,000")


async def test_a_hundred_thousand_mails_in_a_queue(socket: Path) -> None:
    canned = a_house()

    def window(call: ListMail) -> Page[MailRow]:
        top = (call.after or 100_001) - 1
        rows = tuple(mail(n, f"question {n}", accepted_at=1.0 * n) for n in range(top, max(top - call.limit, 0), -1))
        return Page(rows=rows, next=rows[-1].id if rows and rows[-1].id > 1 else 0)

    canned.answers[ListMail] = window
    async with served(canned, socket), terminal(socket, screen="queues") as at:
        await at.shows("Front office")
        await at.press("g", "enter")
        await at.shows("question 100000")
        for _ in range(12):
            await at.press("G")
        await at.quiet()
        assert at.ui.view is not None and at.ui.view.list is not None
        loaded = len(at.ui.view.list.rows)
        assert 600 <= loaded < 100_000
        await at.press("g")
        await at.shows(">")
        assert len(canned.asked(ListMail)) < 60


def test_the_process_is_small_and_quiet_when_nothing_happens(socket: Path, house: Canned, tmp_path: Path) -> None:
    with start(socket, tmp_path) as terminal_:
        terminal_.shows("PIPELINE")
        terminal_.quiet()
        terminal_.written.clear()
        until = time.monotonic() + 2.0
        while (left := until - time.monotonic()) > 0:
            terminal_.read(left)
        assert len(terminal_.written) < 600, "the clock is all that moves"
        assert os.path.exists(f"/proc/{terminal_.pid}")


_SGR = re.compile(rb"\x1b\[([0-9;]*)m")
_COLOURS = {*range(30, 39), *range(40, 49), *range(90, 108)}


@pytest.mark.parametrize("theme", ["ansi-dark", "dracula"])
def test_without_colour_nothing_is_drawn_with_any(socket: Path, house: Canned, tmp_path: Path, theme: str) -> None:
    with start(socket, tmp_path, "--theme", theme, "--screen", "touchpoints", NO_COLOR="1") as terminal_:
        terminal_.shows("press@acme.example")
        terminal_.quiet()
        terminal_.press("n")
        terminal_.shows("Friendly name")
        terminal_.quiet()
        used = {int(each or 0) for found in _SGR.findall(terminal_.written) for each in found.split(b";")}
    assert used & _COLOURS == set()
    assert {1, 7} <= used, "bold and reverse are left"

"""The terminal UI in a real terminal, on the real daemon and a real mailbox: an operator's first evening.

Keys are pressed in tmux and the screen is read, as a person would. The screens that ``docs/tui`` shows come from here:
``--accept`` writes them anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.control import ListAudit, ListBlocklist, ShowTouchpoint
from tests.daemon import ROOT, Daemon
from tests.journeys.conftest import PASSWORD, Mailbox, mail

if TYPE_CHECKING:
    from tests.servers.dovecot import Dovecot
    from tests.servers.tmux import Tmux

PICTURES = ROOT / "docs" / "tui"


@pytest.fixture
def keep(request: pytest.FixtureRequest, tmux: Tmux) -> Callable[[str], None]:
    """Keeps a screen for the documents."""

    def take(name: str) -> None:
        if request.config.getoption("accept"):
            PICTURES.mkdir(exist_ok=True)
            picture, readme = PICTURES / f"{name}.txt", ROOT / "README.md"
            if picture.exists():  # the README shows some of them
                shown = readme.read_text("utf-8").replace(picture.read_text("utf-8"), tmux.screen())
                readme.write_text(shown, "utf-8")
            picture.write_text(tmux.screen(), "utf-8")

    return take


def start(tmux: Tmux, daemon: Daemon, folder: Path, *more: str) -> None:
    """``postroom tui`` in the terminal, with a home of its own."""
    own = {"XDG_STATE_HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "home"), "EDITOR": "true"}
    tmux.start([sys.executable, "-m", "gateway.cli", "tui", "--socket", str(daemon.socket), *more], own, ROOT)
    tmux.shows("PIPELINE", "RW")


def fill(tmux: Tmux, *values: str) -> None:
    """Type into one field after the other."""
    for value in values:
        if value:
            tmux.type(value)
        tmux.keys("Tab")


def test_from_a_new_touchpoint_to_a_blocked_sender_and_back(
    tmux: Tmux,
    daemon: Daemon,
    dovecot: Dovecot,
    folder: Path,
    keep: Callable[[str], None],
) -> None:
    dovecot.add_user("support@example.org", PASSWORD)
    box = Mailbox("support@example.org", dovecot)
    start(tmux, daemon, folder)

    # A ring group, and a touchpoint that feeds its queue.
    tmux.keys("3")
    tmux.shows("QUEUES")
    tmux.keys("n")
    tmux.shows("as agents know it")
    tmux.type("Front office")
    tmux.keys("C-s")
    tmux.hides("as agents know it")
    tmux.shows("Front office")
    tmux.keys("2", "n")
    tmux.shows("Friendly name")
    tmux.type(box.address)
    tmux.keys("C-s")
    tmux.shows("must be filled in")  # the friendly name is missing, and what was typed is still there
    assert box.address[:30] in tmux.screen()
    tmux.type("Support desk")
    tmux.keys("C-s")
    tmux.hides("Friendly name")
    tmux.shows("o new")

    # Connected, step by step.
    tmux.keys("c")
    tmux.shows("who is the provider", "any IMAP and SMTP server")
    tmux.keys("Enter")
    tmux.shows("Receives (IMAP)")
    fill(tmux, "", box.imap, "", "", box.ca_file)
    tmux.keys("C-s")
    tmux.hides("servers of")
    tmux.shows("type it, it is not shown")
    tmux.type(PASSWORD)
    tmux.keys("Enter")
    tmux.shows("Enter connects")
    keep("connect")
    assert PASSWORD not in tmux.screen()
    tmux.keys("Enter")
    tmux.shows("no mail moves before it is active")
    tmux.keys("Escape")
    tmux.shows("+ connected")

    # In use: linked to the queue, and active.
    tmux.keys("l")
    tmux.shows("Front office")
    tmux.keys("Space", "Enter")
    daemon.until(lambda: daemon.touchpoint(box.address).ring_groups == ("Front office",), "the queue is linked")
    tmux.hides("Space marks")
    tmux.keys("t")
    daemon.until(lambda: daemon.touchpoint(box.address).active, "it is active")
    tmux.shows("yes")

    # Mail arrives, and is seen to arrive.
    box.deliver(mail("buyer@client.example.net", box.address, "Where is my order?", "It was due on Monday."))
    tmux.keys("1")
    tmux.shows("Where is my order?", "taken 1 =", "difference 0")
    keep("overview")
    tmux.keys("3")
    tmux.shows("Front office", "1")
    tmux.keys("g", "Enter")
    tmux.shows("Where is my order?", "It was due on Monday.")
    keep("queue")
    tmux.keys("Enter")
    tmux.shows("It is in the queue of Front office")

    # The daemon is killed and comes back while we look: nothing to do but wait.
    daemon.kill()
    tmux.shows("NO CONNECTION", "old")
    keep("no-connection")
    daemon.start()
    tmux.shows("RW")
    tmux.shows("It is in the queue of Front office")

    # Its sender is blocked, and a mail that comes afterwards is held.
    tmux.keys("b")
    tmux.shows("buyer@client.example.net")
    tmux.keys("Enter")
    daemon.until(lambda: daemon.call(ListBlocklist()).rows, "the sender is blocked")
    daemon.wait_for_state(box.address, ("connected",))
    box.deliver(mail("buyer@client.example.net", box.address, "Answer me!"))
    daemon.until(lambda: daemon.account()["held_in"] == 1, "the next mail is held")
    tmux.keys("5")
    tmux.shows("Answer me!", "blocked")

    # Off, and on again by undo.
    tmux.keys("2")
    tmux.shows("+ connected")
    keep("touchpoints")
    tmux.keys("t")
    daemon.until(lambda: not daemon.touchpoint(box.address).active, "it is off")
    tmux.shows("off")
    tmux.keys("z")
    daemon.until(lambda: daemon.touchpoint(box.address).active, "it is on again")

    # A smaller window, a bigger one, and the way out.
    tmux.resize(50, 12)
    tmux.shows("too small")
    tmux.resize(160, 48)
    tmux.shows("9 Relay 0 Settings", "+ connected")
    tmux.resize(80, 24)
    tmux.shows("TOUCHPOINTS 1 of 1")
    tmux.keys("Q")
    tmux.until(lambda: tmux.ended, "it ends")
    assert tmux.code == 0, tmux.screen()
    verbs = [row.verb for row in daemon.call(ListAudit()).rows]
    for verb in (
        "touchpoint.create",
        "touchpoint.connect",
        "touchpoint.activate",
        "blocklist.add",
        "touchpoint.deactivate",
    ):
        assert verb in verbs
    assert daemon.call(ShowTouchpoint(touchpoint=box.address)).row.active
    assert os.path.exists(daemon.socket)


def test_copying_reaches_the_clipboard_of_the_terminal(tmux: Tmux, daemon: Daemon, folder: Path) -> None:
    daemon.cli("touchpoint", "create", "jobs@example.org", "--name", "Jobs")
    start(tmux, daemon, folder)
    tmux.keys("2")
    tmux.shows("jobs@example.org")
    tmux.keys("Y")
    tmux.shows("tmux buffer")
    command = f"postroom touchpoint show jobs@example.org --socket {daemon.socket}"
    tmux.until(lambda: tmux.buffer() == command, "the buffer has the command")
    tmux.keys("V")
    tmux.until(lambda: " ".join(tmux.screen().split()) == command, "nothing else is shown")
    tmux.keys("Escape")
    tmux.shows("TOUCHPOINTS 1 of 1")
    tmux.keys("Q")
    tmux.until(lambda: tmux.ended, "it ends")


def test_the_demo_ends_by_offering_itself_to_be_watched(tmux: Tmux, folder: Path) -> None:
    own = {"XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    tmux.start([sys.executable, "-m", "gateway.cli", "demo"], own, ROOT)
    tmux.shows("lost 0", "Enter opens the terminal UI", patience=60)
    tmux.keys("Enter")
    tmux.shows("PIPELINE", "NEEDS YOU", "LIVE")
    tmux.shows("3 backoff")  # the provider is dead
    tmux.keys("2")
    tmux.shows("~ backoff")
    tmux.shows("3 ok", "+ connected")  # and back
    tmux.keys("1")
    tmux.shows("difference 0")
    tmux.keys("Q")
    tmux.shows("q and Enter ends the demo")
    tmux.type("q")
    tmux.keys("Enter")
    tmux.until(lambda: tmux.ended, "it ends")
    assert tmux.code == 0

"""Journey 4: the mailbox's server goes away, comes back, and throws connections out; nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.journeys.conftest import PASSWORD, Mailbox, mail
from tests.servers.dovecot import Dovecot


@pytest.fixture
def own_dovecot(server_directory: Callable[[str], Path], dovecot: Dovecot) -> Iterator[Dovecot]:
    """A Dovecot that no other test needs, so that it may be stopped."""
    with Dovecot(server_directory("outage")) as server:
        yield server


def test_a_stopped_server_is_backoff_and_nothing_is_lost(daemon: Daemon, own_dovecot: Dovecot) -> None:
    own_dovecot.add_user("box@example.org", PASSWORD)
    box = Mailbox("box@example.org", own_dovecot)
    daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file)
    box.deliver(*(mail("c@example.net", box.address, f"before {n}") for n in range(3)))
    daemon.until(lambda: daemon.account()["taken"] == 3, "mail comes in")
    assert daemon.touchpoint(box.address).state == "connected"

    own_dovecot.down()
    daemon.until(lambda: daemon.touchpoint(box.address).state == "backoff", "the touchpoint is in BACKOFF")
    row = daemon.touchpoint(box.address)
    assert row.cause in ("network", "provider")
    assert row.reason
    own_dovecot.save_many(box.address, [mail("c@example.net", box.address, f"meanwhile {n}") for n in range(20)])

    own_dovecot.up()
    daemon.until(lambda: daemon.account()["taken"] == 23, "what came meanwhile is taken")
    assert daemon.touchpoint(box.address).state == "connected"
    for number in range(5):
        own_dovecot.kick(box.address)
        box.deliver(mail("c@example.net", box.address, f"kicked {number}"))
    daemon.until(lambda: daemon.account()["taken"] == 28, "what came between kicks is taken")
    daemon.until(lambda: daemon.touchpoint(box.address).state == "connected", "connected again")
    subjects = sorted(row.subject for row in daemon.mails("in"))
    wanted = [f"before {n}" for n in range(3)] + [f"meanwhile {n}" for n in range(20)]
    assert subjects == sorted(wanted + [f"kicked {n}" for n in range(5)])
    assert daemon.account()["lost"] == 0


def test_causes_are_told_apart(
    daemon: Daemon, new_mailbox: Callable[..., Mailbox], own_dovecot: Dovecot, folder: Path
) -> None:
    box = new_mailbox()
    trusted = folder / "trusted.pem"
    trusted.write_bytes(Path(box.ca_file).read_bytes())
    daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=str(trusted))
    _change_password(box, "something else")
    box.dovecot.kick(box.address)
    daemon.until(lambda: daemon.touchpoint(box.address).state == "lost", "refused credentials need a person")
    assert daemon.touchpoint(box.address).cause == "credential"
    assert "something else" not in daemon.words()
    assert PASSWORD not in daemon.words()

    box.deliver(mail("c@example.net", box.address, "while lost"))
    _change_password(box, PASSWORD)
    done = daemon.cli("touchpoint", "connect", box.address, "--yes", "--password-stdin", stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    daemon.until(lambda: daemon.account()["taken"] == 1, "reconnecting restores what waited")

    daemon.stop()
    trusted.write_bytes(own_dovecot.tls.ca.read_bytes())
    daemon.start()
    daemon.until(lambda: daemon.touchpoint(box.address).cause == "certificate", "a certificate is its own cause")
    assert daemon.touchpoint(box.address).state == "backoff"


def test_a_renumbered_mailbox_stops_its_touchpoint_and_no_other(
    daemon: Daemon, new_mailbox: Callable[..., Mailbox]
) -> None:
    one, two = new_mailbox(), new_mailbox()
    for box in (one, two):
        daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file)
        box.deliver(mail("c@example.net", box.address, "first"))
    daemon.until(lambda: daemon.account()["taken"] == 2, "both take mail")
    one.dovecot.renumber(one.address)
    one.dovecot.kick(one.address)
    daemon.until(lambda: daemon.touchpoint(one.address).state == "lost", "the renumbered one stops")
    assert daemon.touchpoint(one.address).cause == "renumbered"
    two.deliver(mail("c@example.net", two.address, "second"))
    daemon.until(lambda: daemon.account()["taken"] == 3, "the other one goes on")
    assert daemon.touchpoint(two.address).state == "connected"


def test_the_same_mailbox_is_not_taken_twice(daemon: Daemon, new_mailbox: Callable[..., Mailbox]) -> None:
    box = new_mailbox()
    box.deliver(*(mail("c@example.net", box.address, f"{n}") for n in range(3)))
    daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file)
    daemon.cli("touchpoint", "create", "alias@example.org", "--name", "Alias")
    daemon.cli(
        "touchpoint", "edit", "alias@example.org", "--imap", box.imap, "--login", box.address, "--ca-file", box.ca_file
    )
    refused = daemon.cli(
        "touchpoint", "connect", "alias@example.org", "--yes", "--password-stdin", stdin=PASSWORD + "\n"
    )
    assert refused.returncode != 0
    assert box.address in refused.stderr


def _change_password(box: Mailbox, password: str) -> None:
    box.dovecot.add_user(box.address, password)

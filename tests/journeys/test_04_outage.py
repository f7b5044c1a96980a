"""Journey 4: the mailbox's server goes away, comes back, and throws connections out; nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gateway.control import GetStatus
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


def test_a_renumbered_mailbox_goes_on_where_it_was(daemon: Daemon, new_mailbox: Callable[..., Mailbox]) -> None:
    box = new_mailbox()
    daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file)
    twins = [mail("c@example.net", box.address, "the same twice", message_id="<twin@client.example.net>")] * 2
    box.deliver(*(mail("c@example.net", box.address, f"before {n}") for n in range(5)), *twins)
    daemon.until(lambda: daemon.account()["taken"] == 7, "mail comes in")
    for count in (8, 9):
        box.dovecot.renumber(box.address)
        box.dovecot.kick(box.address)
        box.deliver(mail("c@example.net", box.address, f"after {count}"))
        daemon.until(partial(_taken, daemon, count), "only what is new is taken")
    _made_anew(box)
    box.deliver(mail("c@example.net", box.address, "after all"))
    daemon.until(lambda: daemon.account()["taken"] == 10, "nor when every mail has another number, too")
    row = daemon.touchpoint(box.address)
    assert (row.state, row.asks) == ("connected", 0)
    subjects = sorted(row.subject for row in daemon.mails("in"))
    wanted = [*(f"before {n}" for n in range(5)), "the same twice", "the same twice", "after 8", "after 9", "after all"]
    assert subjects == sorted(wanted)
    shown = daemon.cli("touchpoint", "show", box.address)
    assert "INBOX: known 9, left alone 0, unseen 1" in shown.stdout


def _taken(daemon: Daemon, count: int) -> bool:
    return daemon.account()["taken"] == count


def _made_anew(box: Mailbox) -> None:
    """Its INBOX under other numbers, the INTERNALDATE of each mail kept."""
    box.dovecot.doveadm("mailbox", "create", "-u", box.address, "Aside")
    box.dovecot.doveadm("move", "-u", box.address, "Aside", "mailbox", "INBOX", "all")
    box.dovecot.renumber(box.address)
    box.dovecot.doveadm("move", "-u", box.address, "INBOX", "mailbox", "Aside", "all")
    box.dovecot.kick(box.address)


def test_much_old_mail_is_taken_when_a_person_says_so(daemon: Daemon, new_mailbox: Callable[..., Mailbox]) -> None:
    box = new_mailbox()
    daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file)
    box.deliver(mail("c@example.net", box.address, "before"))
    daemon.until(lambda: daemon.account()["taken"] == 1, "mail comes in")
    box.dovecot.renumber(box.address)
    # The Date of these is that of every mail here: before the last arrival.
    box.dovecot.save_many(box.address, [mail("c@example.net", box.address, f"old {n}") for n in range(201)])
    box.dovecot.kick(box.address)
    daemon.until(lambda: daemon.touchpoint(box.address).asks == 1, "a person is asked")
    assert daemon.touchpoint(box.address).state == "connected"
    (need,) = [row for row in daemon.call(GetStatus()).needs_you if row.kind == "resume"]
    told = daemon.cli(*need.command.split()[1:])
    assert "known 1, left alone 0, unseen 201, 201 of these are old" in told.stdout
    assert told.returncode == 64
    refused = daemon.cli("touchpoint", "resume", box.address, "--folder", "Junk", "--take")
    assert (refused.returncode, daemon.account()["taken"]) == (65, 1)
    done = daemon.cli("touchpoint", "resume", box.address, "--take")
    assert done.returncode == 0, done.stderr
    daemon.until(lambda: daemon.account()["taken"] == 202, "all of it is taken")
    assert daemon.touchpoint(box.address).asks == 0


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

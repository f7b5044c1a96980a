"""Scenario 14: the disk is full. Relay clients are told to come back, intake pauses and says so, both resume alone."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.control import AddRelayUser, GetStatus
from tests.daemon import Daemon
from tests.journeys.conftest import PASSWORD, RELAY, Mailbox, folder, mail, new_mailbox, submit, trusted
from tests.servers.postfix import Postfix

ROOM = 6 * 1024 * 1024
__all__ = ["folder", "new_mailbox", "trusted"]  # fixtures of the journeys


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, too small for what comes."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=755", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs root and a kernel that lets us mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_pauses_and_resumes_by_itself(
    small_disk: Path, folder: Path, new_mailbox: Callable[..., Mailbox], postfix: Postfix, trusted: str
) -> None:
    box = new_mailbox()
    daemon = Daemon(folder, RELAY)
    daemon.toml.write_text(daemon.toml.read_text().replace(str(daemon.state), str(small_disk / "state")))
    with daemon:
        smtp = f"127.0.0.1:{postfix.submission}:starttls"
        daemon.furnish(box.address, PASSWORD, imap=box.imap, smtp=smtp, ca_file=trusted)
        daemon.call(AddRelayUser(name="app", password=PASSWORD, grants=(box.address,)))
        filler = small_disk / "filler"
        _fill(filler)
        sent = [mail("c@example.net", box.address, f"mail {n}", "x" * 30_000) for n in range(40)]
        box.dovecot.save_many(box.address, sent)
        daemon.until(lambda: daemon.touchpoint(box.address).state == "backoff", "intake pauses and says so")
        assert daemon.account()["lost"] == 0
        answer = mail(box.address, "x@far.example", "waits", "y" * 70 + "\n" + ("y" * 70 + "\n") * 2800)
        with pytest.raises(smtplib.SMTPResponseException) as full:
            for _ in range(50):
                submit(daemon.relay_port("relay"), "app", box.address, ["x@far.example"], answer)
        assert full.value.smtp_code == 452
        assert _told(daemon)
        accepted = daemon.account()["accepted"]

        filler.unlink()
        daemon.until(lambda: daemon.account()["taken"] == 40, "intake resumes without a restart")
        submit(daemon.relay_port("relay"), "app", box.address, ["x@far.example"], answer)
        account = daemon.account()
        assert account["accepted"] == accepted + 1
        assert account["lost"] == 0
        daemon.until(lambda: daemon.touchpoint(box.address).state == "connected", "both halves are well again")
        daemon.until(lambda: not _told(daemon), "nobody is needed any more")
        assert daemon.process is not None
        assert daemon.process.poll() is None


def _told(daemon: Daemon) -> bool:
    """Whether "needs you" tells of the disk."""
    return any(row.kind == "disk-full" and "no room" in row.words for row in daemon.call(GetStatus()).needs_you)


def _fill(path: Path) -> None:
    """Take all the room there is but a little."""
    left = os.statvfs(path.parent)
    with open(path, "wb") as file:
        file.write(b"\0" * max(0, left.f_bavail * left.f_frsize - 300_000))

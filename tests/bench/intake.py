"""A backlog taken in: Dovecot through the whole inbound line into our store, against mbsync into a Maildir.

Both read the same mailbox of the same server by the same kind of connection and write to the same disk; mbsync with
``FSync yes``. Ours is the real daemon: it fetches, walks the line, and commits content, trail, assignment, ledger and
cursor. Its clock runs from the call that connects the touchpoint to its last commit, mbsync's from start to end.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from random import Random

from gateway.control import (
    ActivateTouchpoint,
    ConnectTouchpoint,
    CreateRingGroup,
    CreateTouchpoint,
    GetStatus,
    LinkRingGroup,
    SetConnection,
)
from tests.bench import Figure, Scene, Unavailable, mbsync, say, take_turns
from tests.daemon import Daemon, running
from tests.servers.dovecot import Dovecot, missing

ADDRESS, PASSWORD = "backlog@example.org", "correct-horse"
MAILS, SIZE = 10_000, 5_000


def run(scene: Scene) -> dict[str, Figure]:
    """Mails a second for a backlog of small mails."""
    if (lack := missing()) is not None:
        raise Unavailable(lack)
    if shutil.which("mbsync") is None:
        raise Unavailable("mbsync is not here; bring it with: apt install isync")
    count = scene.amount(MAILS)
    (scene.directory / "dovecot").mkdir()
    with Dovecot(scene.directory / "dovecot") as dovecot:
        dovecot.open_mailbox(ADDRESS, PASSWORD)
        say(f"filling the mailbox with {count:,} mails")
        dovecot.save_many(ADDRESS, backlog(count))
        case = f"{count:,} mails of {SIZE // 1000} kB"
        figure = take_turns(
            scene,
            f"intake {case}",
            lambda: _ours(scene.directory / "ours", dovecot.imap_port, count),
            lambda: _peer(scene.directory / "peer", dovecot.imap_port, count),
            "mails/s",
        )
    return {case: figure}


def backlog(count: int) -> Iterator[bytes]:
    """Mails from somebody, about something, each at a minute of its own."""
    random, start = Random(1), datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        yield _mail(number, start + timedelta(minutes=number), random)


def _mail(number: int, at: datetime, random: Random) -> bytes:
    head = (
        f"Return-Path: <person{number % 997}@customer.example>\r\n"
        f"From: Person {number % 997} <person{number % 997}@customer.example>\r\nTo: <{ADDRESS}>\r\n"
        f"Subject: Question {number}\r\nDate: {format_datetime(at)}\r\n"
        f"Message-ID: <{number}.bench@customer.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    letters = "abcdefghijklmnopqrstuvwxyz          "
    lines = ("".join(random.choices(letters, k=76)) + "\r\n" for _ in range((SIZE - len(head)) // 78 + 1))
    return (head + "".join(lines)).encode()[: SIZE - 2] + b"\r\n"


def _ours(directory: Path, port: int, count: int) -> float:
    directory.mkdir()
    try:
        with running(directory, "[intake]\nfolders = ['inbox']\n") as daemon:
            daemon.call(CreateRingGroup(name="desk"))
            daemon.call(CreateTouchpoint(address=ADDRESS, name="Backlog"))
            daemon.call(LinkRingGroup(touchpoint=ADDRESS, ring_group="desk"))
            daemon.call(SetConnection(touchpoint=ADDRESS, user=ADDRESS, imap=f"127.0.0.1:{port}:none", smtp=""))
            start = time.time()
            daemon.call(ConnectTouchpoint(touchpoint=ADDRESS, password=PASSWORD, since=0.0))
            daemon.call(ActivateTouchpoint(touchpoint=ADDRESS))
            _wait_for(daemon, count)
        return count / (_last_commit(daemon.store, count) - start)
    finally:
        shutil.rmtree(directory)


def _wait_for(daemon: Daemon, count: int) -> None:
    """Until all is taken; asks seldom, since asking costs the daemon time."""
    deadline = time.monotonic() + 600
    while (account := daemon.call(GetStatus()).account)["taken"] < count:
        if time.monotonic() > deadline or (daemon.process and daemon.process.poll() is not None):
            raise RuntimeError(f"not all was taken: {account}\n{daemon.log.read_text()}")
        time.sleep(0.3)
    if account["lost"] or account["queued"] != count:
        raise RuntimeError(f"the account does not add up: {account}")


def _last_commit(store: Path, count: int) -> float:
    """When the last mail was committed, from the store of a daemon that has ended."""
    connection = sqlite3.connect(store)
    try:
        rows, last = connection.execute("SELECT count(*), max(accepted_at) FROM entry").fetchone()
    finally:
        connection.close()
    if rows != count:
        raise RuntimeError(f"{rows} rows for {count} mails")
    return float(last)


def _peer(directory: Path, port: int, count: int) -> float:
    config = mbsync.configure(
        directory, host="127.0.0.1", port=port, tls="SSLType None", user=ADDRESS, password=PASSWORD
    )
    try:
        _, took = mbsync.watched(config)
        if (found := sum(1 for _ in mbsync.mails(directory))) != count:
            raise RuntimeError(f"mbsync stored {found} of {count} mails")
        return count / took
    finally:
        shutil.rmtree(directory)

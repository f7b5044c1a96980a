"""A mail of 100 MB on its three ways: in by IMAP, in by the relay, out by SMTP; peak memory above idle, and time.

Ours is the real daemon, started anew for each way, so that no way finds memory that another one left. Idle is what it
holds at rest right before. The peers are what people take for that way, each against the same servers:

- in by IMAP: mbsync with ``FSync yes``; its idle is what it takes when there is nothing to fetch;
- in by the relay: Postfix, its smtpd and cleanup together, after a small mail; what comes is put on hold. It needs
  nothing that could be measured, so for the ratio it counts as one MiB;
- out by SMTP: a script that hands the mail to aiosmtplib.

The server is Dovecot over TLS for the first way, and Postfix with STARTTLS and sign-in for the last.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.control import (
    ActivateTouchpoint,
    AddRelayUser,
    ConnectTouchpoint,
    CreateTouchpoint,
    DeactivateTouchpoint,
    SetConnection,
)
from tests.bench import Figure, Scene, Unavailable, mbsync, say
from tests.bench.processes import above, alive, at_rest, children, expect, forget_peak, named, peak, resident, until
from tests.daemon import ROOT, Daemon
from tests.servers import dovecot, postfix
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

SIZE = 100_000_000
ADDRESS, FAR, PASSWORD = "desk@example.org", "far@far.example", "correct-horse"
PATIENCE = 60.0
ROUNDS = 5
"""The rounds of other benches that one round of this one takes the time of."""
SETTINGS = """
[relay]
largest_mail = 1073741824

[[relay.listener]]
name = "bench"
host = "127.0.0.1"
port = 0
mode = "plain"

[[relay.network]]
cidr = "127.0.0.0/8"
user = "bench"
"""

Measured = tuple[float, float]
"""Bytes at the peak above idle, and seconds."""


def run(scene: Scene) -> dict[str, Figure]:
    """MiB and seconds for each way."""
    _all_here()
    size = max(1_000_000, int(SIZE * scene.scale))
    ours: dict[str, list[Measured]] = {}
    peer: dict[str, list[Measured]] = {}
    with _servers(scene.directory, size) as (imap, smtp, holding):
        for number in range((scene.rounds + ROUNDS - 1) // ROUNDS):
            home = scene.directory / f"round{number}"
            home.mkdir(mode=0o755)
            for way, side, found in _ways(home, imap, smtp, holding, size):
                (ours if side == "ours" else peer).setdefault(way, []).append(found)
                say(f"large {way}, {side}: {found[0] / 2**20:.1f} MiB above idle, {found[1]:.1f} s")
    mega = f"{size / 1e6:,.0f} MB"
    memory = {f"{mega} {way}, memory": figure(ours[way], peer[way], 0, "MiB above idle", 2**20) for way in ours}
    seconds = {f"{mega} {way}, time": figure(ours[way], peer[way], 1, "s", 1) for way in ours}
    return memory | seconds


def figure(ours: Sequence[Measured], peer: Sequence[Measured], at: int, unit: str, per: int) -> Figure:
    """The medians of what was measured; of less than one MiB no ratio is made."""
    mine, theirs = (statistics.median(each[at] for each in side) / per for side in (ours, peer))
    least = 1.0 if per > 1 else 0.01
    ratio = max(mine, least) / max(theirs, least)
    return Figure(ours=round(mine, 2), peer=round(theirs, 2), ratio=round(ratio, 2), unit=f"{unit}, less is better")


def _all_here() -> None:
    for lack in (dovecot.missing(), postfix.missing()):
        if lack is not None:
            raise Unavailable(lack)
    for tool, package in (("mbsync", "isync"), ("smtp-source", "postfix")):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not here; bring it with: apt install {package}")


@contextmanager
def _servers(directory: Path, size: int) -> Iterator[tuple[Dovecot, Postfix, Postfix]]:
    """A mailbox with one big mail, where to send by, and the Postfix that is the relay's peer."""
    for name in ("dovecot", "provider", "holding"):
        (directory / name).mkdir(mode=0o755)
    limit = 2 * size
    with (
        Dovecot(directory / "dovecot") as imap,
        Postfix(
            directory / "provider", auth_client_path=imap.auth_client_path, deliver="discard:", size_limit=limit
        ) as smtp,
        Postfix(
            directory / "holding", deliver="discard:", size_limit=limit,
            settings="smtpd_client_restrictions = static:HOLD",
        ) as holding,
    ):  # fmt: skip
        imap.open_mailbox(ADDRESS, PASSWORD)
        imap.save_many(ADDRESS, [big_mail(size)])
        yield imap, smtp, holding


def big_mail(size: int) -> bytes:
    """One mail of exactly so many bytes, an attachment as far as its lines look."""
    head = (
        f"Return-Path: <buyer@customer.example>\r\nFrom: Buyer <buyer@customer.example>\r\nTo: <{ADDRESS}>\r\n"
        "Subject: Scanned documents\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <big@customer.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ).encode()
    line = b"VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZyBhbmQgc2xlZXBz\r\n"
    return (head + line * (size // len(line) + 1))[: size - 2] + b"\r\n"


def _ways(home: Path, imap: Dovecot, smtp: Postfix, holding: Postfix, size: int) -> Iterator[tuple[str, str, Measured]]:
    yield "in by IMAP", "ours", _in_by_imap(home / "imap", imap, size)
    yield "in by IMAP", "peer", _mbsync(home / "mbsync", imap, size)
    smtp.down()
    daemon, found = _in_by_relay(home / "relay", smtp, size)
    smtp.up()
    yield "in by the relay", "ours", found
    yield "in by the relay", "peer", _postfix(holding, size)
    yield "out by SMTP", "ours", _out(daemon, size)
    yield "out by SMTP", "peer", _script(home, smtp, size)


# -- Ours ------------------------------------------------------------------------------------------------------------


def _measured(pid: int, work: Callable[[], None]) -> Measured:
    """What some work costs a process that is at rest."""
    idle = at_rest(pid)
    forget_peak(pid)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return peak(pid) - idle, seconds


def _in_by_imap(directory: Path, server: Dovecot, size: int) -> Measured:
    """From the call that connects the touchpoint to the committed mail."""
    directory.mkdir()
    daemon = Daemon(directory, SETTINGS)

    def work() -> None:
        daemon.call(ConnectTouchpoint(touchpoint=ADDRESS, password=PASSWORD, since=0.0))
        daemon.call(ActivateTouchpoint(touchpoint=ADDRESS))
        until(lambda: daemon.account()["queued"] == 1, "the mail is taken", PATIENCE)

    with alive(daemon) as pid:
        _furnish(daemon, imap=f"localhost:{server.imaps_port}:tls", smtp="", ca_file=server.tls.ca)
        found = _measured(pid, work)
        _whole(daemon, "in", size)
    shutil.rmtree(directory)
    return found


def _in_by_relay(directory: Path, server: Postfix, size: int) -> tuple[Daemon, Measured]:
    """From connect to 250; the provider is down, so nothing else is done with the mail. It stays in the store."""
    directory.mkdir()
    daemon = Daemon(directory, SETTINGS)
    server.up()
    with alive(daemon) as pid:
        _furnish(daemon, imap="", smtp=f"localhost:{server.submission}:starttls", ca_file=server.tls.ca)
        daemon.call(AddRelayUser(name="bench", password="not used here", grants=(ADDRESS,)))
        daemon.call(ConnectTouchpoint(touchpoint=ADDRESS, password=PASSWORD))
        daemon.call(ActivateTouchpoint(touchpoint=ADDRESS))
        daemon.wait_for_state(ADDRESS, ("connected",))
        server.down()
        port = daemon.relay_port("bench")
        found = _measured(pid, lambda: _submit(port, size))
        _whole(daemon, "out", size)
        daemon.call(DeactivateTouchpoint(touchpoint=ADDRESS))
    return daemon, found


def _out(daemon: Daemon, size: int) -> Measured:
    """From the call that lets it go to the committed answer of the server."""

    def work() -> None:
        daemon.call(ActivateTouchpoint(touchpoint=ADDRESS))
        until(lambda: daemon.account()["delivered"] == 1, "the mail is delivered", PATIENCE)

    with alive(daemon) as pid:
        found = _measured(pid, work)
    shutil.rmtree(daemon.directory)
    return found


def _furnish(daemon: Daemon, *, imap: str, smtp: str, ca_file: Path) -> None:
    daemon.call(CreateTouchpoint(address=ADDRESS, name="Desk"))
    daemon.call(
        SetConnection(touchpoint=ADDRESS, user=ADDRESS, imap=imap, smtp=smtp, ca_file=str(ca_file), sent_copy="none")
    )


def _whole(daemon: Daemon, direction: str, size: int) -> None:
    """The mail is there with all its bytes."""
    sizes = [row.size for row in daemon.mails(direction)]
    if len(sizes) != 1 or not size <= sizes[0] < size + 4096:
        raise RuntimeError(f"one mail of {size} bytes was to be there, and there are {sizes}")


# -- The peers -------------------------------------------------------------------------------------------------------


def _mbsync(directory: Path, server: Dovecot, size: int) -> Measured:
    """The first run fetches the mail, the second finds nothing to do."""
    tls = f"SSLType IMAPS\nCertificateFile {server.tls.ca}"
    config = mbsync.configure(directory, host="localhost", port=server.imaps_port, tls=tls, user=ADDRESS,
                              password=PASSWORD)  # fmt: skip
    held, seconds = mbsync.watched(config)
    stored = [path.stat().st_size for path in mbsync.mails(directory)]
    if len(stored) != 1 or stored[0] < size * 0.95:  # with bare LF
        raise RuntimeError(f"mbsync was to store one mail of {size} bytes, and stored {stored}")
    found = held - mbsync.watched(config)[0], seconds
    shutil.rmtree(directory)
    return found


def _postfix(server: Postfix, size: int) -> Measured:
    """From connect to 250, in the processes that touch a mail before that."""
    _submit(server.smtp, 1_000)
    before = {pid: resident(pid) for pid in _touching(server)}
    for pid in before:
        forget_peak(pid)
    start = time.perf_counter()
    _submit(server.smtp, size)
    seconds = time.perf_counter() - start
    return above(before, _touching(server)), seconds


def _touching(server: Postfix) -> list[int]:
    return [pid for pid in children(server.master_pid() or 0) if named(pid) in ("smtpd", "cleanup")]


def _submit(port: int, size: int) -> None:
    names = ["-M", "bench.example.org", "-f", ADDRESS, "-t", FAR]
    command = ["smtp-source", "-l", str(size), *names, f"inet:127.0.0.1:{port}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)


def _script(home: Path, server: Postfix, size: int) -> Measured:
    """From reading the file to the server's answer."""
    (home / "big.eml").write_bytes(big_mail(size))
    arguments = [str(server.submission), str(server.tls.ca), str(home / "big.eml")]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.large_peer", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def work() -> None:
            assert process.stdin is not None
            process.stdin.write("send\n")
            process.stdin.flush()
            expect(process, "sent")

        try:
            expect(process, "ready")
            return _measured(process.pid, work)
        finally:
            process.kill()

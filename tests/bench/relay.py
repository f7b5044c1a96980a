"""Durable acceptance: our relay against Postfix smtpd, driven by smtp-source.

Ours is the real daemon with a plain listener. Its touchpoint was connected once and its provider is gone, so mail is
parked: nothing is sent on while it accepts. Postfix puts every mail on hold as it comes, so its queue manager has
nothing to do either. Both answer 250 after the mail is on the disk, the same one.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from gateway.control import (
    ActivateTouchpoint,
    AddRelayUser,
    ConnectTouchpoint,
    CreateTouchpoint,
    GetStatus,
    SetConnection,
)
from tests.bench import Figure, Scene, Unavailable, take_turns
from tests.daemon import Daemon, running
from tests.servers.embedded import Embedded
from tests.servers.postfix import Postfix, missing

ADDRESS, PASSWORD = "desk@example.org", "correct horse"
CASES = {
    "5 kB, reuse": (5_000, 4_000, ["-d"]),
    "5 kB, one per connection": (5_000, 3_000, []),
    "50 kB, reuse": (50_000, 1_500, ["-d"]),
}
"""Octets of a mail, mails in a round, and how smtp-source treats its 20 connections."""

SETTINGS = """
[relay]
connections_per_client = 500

[[relay.listener]]
name = "bench"
host = "127.0.0.1"
port = 0
mode = "plain"

[[relay.network]]
cidr = "127.0.0.0/8"
user = "bench"
"""


def run(scene: Scene) -> dict[str, Figure]:
    """Mails a second for the three cases."""
    if shutil.which("smtp-source") is None:
        raise Unavailable("smtp-source is not here; bring it with: apt install postfix")
    figures = {}
    with _ours(scene.directory) as (daemon, ours), _peer(scene.directory) as peer:
        for case, (size, full, options) in CASES.items():
            count = scene.amount(full)
            figures[case] = take_turns(
                scene,
                f"relay {case}",
                partial(_accepted_by_us, daemon, ours, count, size, options),
                partial(_drive, peer, count, size, options),
                "mails/s",
            )
    return figures


@contextmanager
def _ours(directory: Path) -> Iterator[tuple[Daemon, int]]:
    home = directory / "ours"
    home.mkdir()
    with running(home, SETTINGS) as daemon:
        _park_a_touchpoint(daemon)
        daemon.call(AddRelayUser(name="bench", password="not used here", grants=(ADDRESS,)))
        yield daemon, daemon.relay_port("bench")


def _park_a_touchpoint(daemon: Daemon) -> None:
    """One that was connected once and whose provider does not answer: the relay takes its mail, nothing leaves."""
    with Embedded() as provider:
        provider.open_mailbox(ADDRESS, PASSWORD)
        daemon.call(CreateTouchpoint(address=ADDRESS, name="Desk"))
        imap, smtp = f"127.0.0.1:{provider.imap_port}:none", f"127.0.0.1:{provider.smtp_port}:none"
        daemon.call(SetConnection(touchpoint=ADDRESS, user=ADDRESS, imap=imap, smtp=smtp))
        daemon.call(ConnectTouchpoint(touchpoint=ADDRESS, password=PASSWORD))
        daemon.call(ActivateTouchpoint(touchpoint=ADDRESS))
        daemon.wait_for_state(ADDRESS, ("connected",))
    daemon.wait_for_state(ADDRESS, ("backoff", "lost"))


@contextmanager
def _peer(directory: Path) -> Iterator[int]:
    """Postfix that holds whatever comes; its port."""
    if (lack := missing()) is not None:
        raise Unavailable(lack)
    with Postfix(directory / "peer", deliver="discard:", settings="smtpd_client_restrictions = static:HOLD") as postfix:
        yield postfix.smtp


def _accepted_by_us(daemon: Daemon, port: int, count: int, size: int, options: list[str]) -> float:
    """The rate; every mail must be in the account afterwards, or the figure is worth nothing."""
    before = daemon.call(GetStatus()).account
    rate = _drive(port, count, size, options)
    after = daemon.call(GetStatus()).account
    if after["accepted"] - before["accepted"] != count or after["lost"] or after["delivered"]:
        raise RuntimeError(f"{count} mails were sent, and the account says {after} after {before}")
    return rate


def _drive(port: int, count: int, size: int, options: list[str]) -> float:
    """Mails a second, as smtp-source sees it from its start to its end."""
    amount = ["-s", "20", "-m", str(count), "-l", str(size), *options]
    names = ["-M", "bench.example.org", "-f", ADDRESS, "-t", "far@far.example"]
    command = ["smtp-source", *amount, *names, f"inet:127.0.0.1:{port}"]
    start = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=600)
    return count / (time.perf_counter() - start)

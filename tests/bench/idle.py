"""Memory of a touchpoint that waits for mail: the daemon with 1,000 of them against a script on aioimaplib.

Every touchpoint is signed in over TLS and in IDLE. A process is measured twice, with ten and with all, once its memory
no longer changes; the difference is what the others cost, with all that the daemon keeps for them. The touchpoints are
put into the store beforehand as a connect leaves them, and the daemon signs in to all of them at its start. In the end
one mailbox gets a mail, and the process has to notice: what sleeps too well would be cheap as well.

The peer runs twice: on asyncio's own event loop, and on uvloop, which is the daemon's.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.auth.secrets import Secrets, load_key
from pipeline import touchpoints
from pipeline.store import Tx
from pipeline.store.sqlite import SqliteStore
from pipeline.touchpoint import Connection, Security, Server
from tests.bench import Figure, Scene, say
from tests.bench.processes import alive, at_rest, expect, until
from tests.daemon import ROOT, Daemon
from tests.servers.embedded import Embedded

MANY, FEW = 1_000, 10
PASSWORD = "correct horse"
MAIL = b"From: Buyer <buyer@customer.example>\r\nSubject: Are you there\r\n\r\nHello\r\n"
PATIENCE = 60.0
SETTINGS = """
[[relay.listener]]
name = "unused"
host = "127.0.0.1"
port = 0
mode = "plain"

[[relay.network]]
cidr = "127.0.0.0/8"
user = "nobody"
"""

Measure = Callable[[Path, Embedded, int], int]


def run(scene: Scene) -> dict[str, Figure]:
    """KiB for each touchpoint, beside a connection of the peer's."""
    many = scene.amount(MANY)
    with Embedded(scene.directory / "tls") as server:
        for number in range(many):
            server.open_mailbox(address(number), PASSWORD)
        sides: dict[str, Measure] = {"ours": _ours, "asyncio": _peer("asyncio"), "uvloop": _peer("uvloop")}
        cost = {name: _each(scene.directory / name, server, many, measure) for name, measure in sides.items()}
    return {
        f"{many:,} in IDLE over TLS, peer on {loop}": Figure(
            ours=round(cost["ours"], 1),
            peer=round(cost[loop], 1),
            ratio=round(cost["ours"] / cost[loop], 2),
            unit="KiB each, less is better",
        )
        for loop in ("asyncio", "uvloop")
    }


def address(number: int) -> str:
    """The mailbox of this number."""
    return f"desk{number}@example.org"


def _each(directory: Path, server: Embedded, many: int, measure: Measure) -> float:
    """KiB that one more costs."""
    directory.mkdir()
    held = [measure(directory / str(count), server, count) for count in (FEW, many)]
    cost = each(held[0], held[1], FEW, many)
    say(f"idle {directory.name}: {held[0] / 1e6:.0f} MB with {FEW}, {held[1] / 1e6:.0f} MB with {many}: {cost:.1f} KiB")
    return cost


def each(with_few: int, with_many: int, few: int, many: int) -> float:
    """KiB for one, from the bytes that a process holds with few and with many."""
    return (with_many - with_few) / (many - few) / 1024


def _in_idle(server: Embedded, count: int, pid: int) -> int:
    """Bytes at rest, once all are there; that they stay is looked at as well."""
    until(lambda: server.provider.connections == count, f"{count} connections", PATIENCE)
    held = at_rest(pid)
    if server.provider.connections != count:
        raise RuntimeError(f"{server.provider.connections} of {count} connections stayed")
    return held


# -- Ours ------------------------------------------------------------------------------------------------------------


def _ours(directory: Path, server: Embedded, count: int) -> int:
    directory.mkdir()
    daemon = Daemon(directory, SETTINGS)
    with alive(daemon):  # makes the store
        pass
    asyncio.run(_furnish(daemon, server, count))
    with alive(daemon) as pid:
        held = _in_idle(server, count, pid)
        server.deliver(address(count - 1), MAIL)
        until(lambda: daemon.account()["queued"] == 1, "the daemon notices mail", PATIENCE)
    until(lambda: server.provider.connections == 0, "all connections end", PATIENCE)
    server.expunge(address(count - 1), server.contents(address(count - 1)))
    return held


async def _furnish(daemon: Daemon, server: Embedded, count: int) -> None:
    """Put touchpoints into the store of a daemon that does not run: connected once, and active."""
    secrets = Secrets(load_key(daemon.state / "secret.key"))
    imap = Server(host="localhost", port=server.imaps_port, security=Security.TLS)

    def work(tx: Tx) -> None:
        for number in range(count):
            user = address(number)
            found = touchpoints.create(tx, address=user, name=f"Desk {number}", now=1.0)
            connection = Connection(user=user, imap=imap, ca_file=str(server.tls.ca))
            touchpoints.set_connection(tx, found, connection)
            sealed = secrets.seal(found, "password", PASSWORD.encode())
            touchpoints.put_secret(tx, found, "password", sealed, 1.0)
            touchpoints.record_state(tx, found, state="connecting", now=1.0, signed_in=True)
            touchpoints.activate(tx, found, 1.0)

    store = await SqliteStore.open(daemon.store)
    try:
        await store.write(work)
    finally:
        await store.close()


# -- The peer --------------------------------------------------------------------------------------------------------


def _peer(loop: str) -> Measure:
    def measure(directory: Path, server: Embedded, count: int) -> int:
        arguments = [loop, str(server.imaps_port), str(server.tls.ca), str(count)]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.bench.idle_peer", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                expect(process, "ready")
                held = _in_idle(server, count, process.pid)
                server.deliver(address(count - 1), MAIL)
                expect(process, "woken")
            finally:
                process.kill()
        until(lambda: server.provider.connections == 0, "all connections end", PATIENCE)
        server.expunge(address(count - 1), server.contents(address(count - 1)))
        return held

    return measure

"""How soon a mail is known: from the APPEND on a real Dovecot to *assigned*, told by IDLE alone.

Eight mailboxes over TLS, each with one mail at a time: the next one is appended once the last one was seen. Ours is the
daemon, and the end is the moment at which a guest of its control socket hears that the mail is assigned: it is taken,
walked and committed, and the feed gathers events for up to 0.1 s. The peer is a script that waits in IDLE by
aioimaplib, fetches, writes a file and syncs it. Most of the time is Dovecot's in both: it waits for half a second after
a change before it tells those who are in IDLE.
"""

from __future__ import annotations

import asyncio
import imaplib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from gateway.client import Unreachable, connected
from gateway.control import Snapshot
from gateway.events import MailWhat
from tests.bench import Figure, Scene, Unavailable, say
from tests.daemon import ROOT, Daemon
from tests.servers.dovecot import Dovecot, missing

MAILS, MAILBOXES = 320, 8
ROUNDS = 2
"""Turns of each side, whatever ``--rounds`` says: the mails are what is counted."""
PASSWORD = "correct-horse"
PATIENCE = 20.0
"""Seconds for one mail; the next sweep is far behind that."""
SETTINGS = """
[[relay.listener]]
name = "unused"
host = "127.0.0.1"
port = 0

[intake]
folders = ['inbox']
"""

Seen = Callable[[str], None]
"""Called with the Message-ID of a mail that has arrived."""
Side = Callable[[Path, Dovecot, Seen], AbstractAsyncContextManager[None]]


def run(scene: Scene) -> dict[str, Figure]:
    """Milliseconds, the median and the slowest of a hundred."""
    if (lack := missing()) is not None:
        raise Unavailable(lack)
    each = -(-scene.amount(MAILS) // (MAILBOXES * ROUNDS))
    took: dict[str, list[float]] = {"ours": [], "peer": []}
    sides: dict[str, Side] = {"ours": _ours, "peer": _peer}
    for name in ("dovecot", "ours", "peer"):
        (scene.directory / name).mkdir(mode=0o755)
    with Dovecot(scene.directory / "dovecot") as dovecot:
        for number in range(MAILBOXES):
            dovecot.open_mailbox(address(number), PASSWORD)
        for turn in range(ROUNDS):
            for name in ("ours", "peer") if turn % 2 == 0 else ("peer", "ours"):
                found = asyncio.run(_measure(sides[name], scene.directory / name / str(turn), dovecot, each))
                took[name] += found
                say(f"latency, {name}: {len(found)} mails, p50 {percentile(found, 50):.0f} ms,"
                    f" p99 {percentile(found, 99):.0f} ms, slowest {max(found):.0f} ms")  # fmt: skip
    many = len(took["ours"])
    return {f"p{each} of {many:,} mails": _figure(took, each) for each in (50, 99)}


def _figure(took: dict[str, list[float]], rank: int) -> Figure:
    mine, theirs = percentile(took["ours"], rank), percentile(took["peer"], rank)
    return Figure(ours=round(mine, 1), peer=round(theirs, 1), ratio=round(mine / theirs, 2), unit="ms, less is better")


def percentile(values: list[float], rank: int) -> float:
    """The value that ``rank`` percent of them do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[rank - 1]


def address(number: int) -> str:
    """The mailbox of this number."""
    return f"desk{number}@example.org"


async def _measure(side: Side, directory: Path, dovecot: Dovecot, count: int) -> list[float]:
    """Milliseconds for each mail."""
    directory.mkdir()
    waiting: dict[str, asyncio.Future[float]] = {}

    def seen(message_id: str) -> None:
        if (arrival := waiting.get(message_id)) is not None and not arrival.done():
            arrival.set_result(time.perf_counter())

    async def one_by_one(user: str) -> list[float]:
        found = []
        with imaplib.IMAP4(dovecot.host, dovecot.imap_port) as client:
            await asyncio.to_thread(client.starttls, dovecot.tls.client_context())
            await asyncio.to_thread(client.login, user, PASSWORD)
            for number in range(count):
                name = f"<{number}.{directory.parent.name}{directory.name}.{user}>"
                arrival = waiting[name] = asyncio.get_running_loop().create_future()
                start = time.perf_counter()
                await asyncio.to_thread(client.append, "INBOX", "", "", _mail(name, user))
                async with asyncio.timeout(PATIENCE):
                    found.append((await arrival - start) * 1000)
        return found

    try:
        async with side(directory, dovecot, seen):
            rows = await asyncio.gather(*(one_by_one(address(number)) for number in range(MAILBOXES)))
    except TimeoutError:
        raise RuntimeError(f"a mail was not seen within {PATIENCE:.0f} s") from None
    return [each for row in rows for each in row]


def _mail(message_id: str, user: str) -> bytes:
    head = f"From: Buyer <buyer@customer.example>\r\nTo: <{user}>\r\nSubject: Question\r\nMessage-ID: {message_id}\r\n"
    return head.encode() + b"\r\n" + b"Where is it?\r\n" * 300


# -- Ours ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _ours(directory: Path, dovecot: Dovecot, seen: Seen) -> AsyncIterator[None]:
    """The daemon with all touchpoints in IDLE, and a guest that listens."""
    daemon = Daemon(directory, SETTINGS)
    listening, listener = asyncio.Event(), None
    try:
        await asyncio.to_thread(_furnish, daemon, dovecot)
        listener = asyncio.create_task(_listen(daemon, seen, listening))
        async with asyncio.timeout(PATIENCE):
            await listening.wait()
        yield
    finally:
        if listener is not None:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
        await asyncio.to_thread(daemon.stop)


def _furnish(daemon: Daemon, dovecot: Dovecot) -> None:
    daemon.start()
    for number in range(MAILBOXES):
        user = address(number)
        daemon.furnish(user, PASSWORD, imap=f"localhost:{dovecot.imaps_port}:tls", ca_file=str(dovecot.tls.ca))
        daemon.wait_for_state(user, ("connected",))


async def _listen(daemon: Daemon, seen: Seen, listening: asyncio.Event) -> None:
    """Until the daemon goes away; then the next mail is not seen in time."""
    with suppress(Unreachable):
        async with connected(daemon.socket) as guest:
            async for news in guest.watch():
                if isinstance(news, Snapshot):
                    listening.set()
                    continue
                for event in news.events:
                    if event.what == MailWhat.ASSIGNED and event.mail is not None:
                        seen(event.mail.message_id)


# -- The peer --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _peer(directory: Path, dovecot: Dovecot, seen: Seen) -> AsyncIterator[None]:
    """The script, once all its mailboxes are in IDLE."""
    users = [address(number) for number in range(MAILBOXES)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.latency_peer", str(dovecot.imaps_port), str(dovecot.tls.ca), str(directory),
        *users, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None

    async def listen(output: asyncio.StreamReader) -> None:
        async for line in output:
            seen(line.decode().strip())

    listener = None
    try:
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the peer did not start")
        listener = asyncio.create_task(listen(process.stdout))
        yield
    finally:
        if listener is not None:
            listener.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()

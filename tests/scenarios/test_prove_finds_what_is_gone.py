"""``prove`` says that nothing is missing after an outage, a renumbering and a kill; and it finds what somebody removed.

In CI with a few thousand mails on the embedded provider. The release size is for a real Dovecot:

    POSTROOM_PROVE_MAILS=50000 POSTROOM_PROVE_SERVER=dovecot ./dev test tests/scenarios/test_prove_finds_what_is_gone.py
"""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.control import Proof, Prove
from tests.daemon import Daemon
from tests.servers.embedded import Embedded

MAILS = int(os.environ.get("POSTROOM_PROVE_MAILS", "2000"))
SERVER = os.environ.get("POSTROOM_PROVE_SERVER", "embedded")
PATIENCE = max(60.0, MAILS / 50)
LONGEST_PROOF = 60.0
PASSWORD = "correct horse"
ADDRESS = "desk@example.org"
RELAY = '[[relay.listener]]\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'
OLDER = 50
SENT = 5


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    if SERVER == "dovecot":
        yield request.getfixturevalue("dovecot")
        return
    with Embedded() as made:
        yield made


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="postroom-prove-"))
    with Daemon(folder, RELAY) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def mails(first: int, count: int) -> Iterator[bytes]:
    for number in range(first, first + count):
        yield (
            f"From: buyer{number % 97}@example.net\r\nTo: {ADDRESS}\r\nSubject: order {number}\r\n"
            f"Message-ID: <{number}@example.net>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n{'y' * 200}\r\n"
        ).encode()


def prove(daemon: Daemon, touchpoint: str = "") -> Proof:
    """What the daemon says; it comes in time."""
    began = time.monotonic()
    proof = daemon.call(Prove(touchpoint=touchpoint))
    assert time.monotonic() - began < LONGEST_PROOF
    if MAILS > 10_000:
        print(f"proof of {sum(proof.inward.values()):,} items: {proof.seconds} s")
    return proof


def taken(daemon: Daemon, number: int) -> None:
    daemon.until(lambda: daemon.account()["taken"] == number, f"{number} mails are taken", PATIENCE)


def relay(daemon: Daemon, number: int) -> None:
    port = daemon.relay_port("relay")
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=30) as client:
        client.login("shop", PASSWORD)
        content = f"From: {ADDRESS}\r\nTo: buyer@example.net\r\nSubject: answer {number}\r\n\r\nThank you.\r\n"
        client.sendmail(ADDRESS, ["buyer@example.net"], content)


def furnish(daemon: Daemon, server: Any) -> None:
    server.open_mailbox(ADDRESS, PASSWORD)
    server.save_many(ADDRESS, mails(1_000_000, OLDER), internaldate=time.time() - 86400.0)
    both = daemon.directory / "ca.pem"
    both.write_bytes(server.tls.ca.read_bytes())
    smtp = f"127.0.0.1:{server.smtp_port}:starttls" if isinstance(server, Embedded) else ""
    daemon.furnish(ADDRESS, PASSWORD, imap=f"127.0.0.1:{server.imaps_port}:tls", smtp=smtp, ca_file=str(both))
    if smtp:
        added = daemon.cli("relay-user", "add", "shop", "--grant", ADDRESS, "--password-stdin", stdin=PASSWORD + "\n")
        assert added.returncode == 0, added.stderr


def test_prove_after_everything_that_happens_to_a_mailbox(daemon: Daemon, server: Any) -> None:
    furnish(daemon, server)
    third = MAILS // 3
    server.save_many(ADDRESS, mails(0, third))
    for _ in range(5):  # while mail flows
        assert prove(daemon).missing == 0
    taken(daemon, third)
    if isinstance(server, Embedded):
        for number in range(SENT):
            relay(daemon, number)
        daemon.until(lambda: daemon.account()["delivered"] == SENT, "the answers are delivered")

    # An outage, with mail that comes meanwhile.
    server.down()
    daemon.until(lambda: daemon.touchpoint(ADDRESS).state == "backoff", "the touchpoint is in BACKOFF")
    said = daemon.cli("prove", "--json")
    report = json.loads(said.stdout)
    assert (said.returncode, report["missing"], report["unproven"]) == (75, 0, 1)
    assert report["touchpoints"][0]["words"].startswith(("network", "provider"))
    server.save_many(ADDRESS, mails(third, third))
    server.up()
    taken(daemon, 2 * third)

    # A new numbering.
    server.renumber(ADDRESS)
    if not isinstance(server, Embedded):
        server.kick(ADDRESS)
    daemon.until(lambda: not prove(daemon).unproven, "the folder is resumed under its new numbers", PATIENCE)

    # A kill while mail comes in.
    server.save_many(ADDRESS, mails(2 * third, third))
    daemon.until(lambda: daemon.account()["taken"] > 2 * third, "the last third begins to come in", PATIENCE)
    daemon.kill()
    daemon.start()
    assert prove(daemon).missing == 0
    taken(daemon, 3 * third)

    proof = prove(daemon)
    assert (proof.missing, proof.unproven, proof.found) == (0, 0, ())
    assert (proof.inward["queued"], proof.inward["older"], proof.inward["not_taken"]) == (3 * third, OLDER, 0)
    assert proof.outward["delivered"] == (SENT if isinstance(server, Embedded) else 0)
    said = daemon.cli("prove")
    assert said.returncode == 0
    assert said.stdout.startswith(f"in {3 * third + OLDER:,} = queued {3 * third:,} + stopped 0 + ")
    assert "not yet taken 0 · missing 0\nout " in said.stdout
    for table, loss in (("entry", "no-entry"), ("ledger", "no-row"), ("chunk", "no-content")):
        find_what_is_removed(daemon, table, loss)
    assert prove(daemon, ADDRESS).missing == 0


WHICH = {
    "entry": "id = {entry}",
    "ledger": "entry_id = {entry}",
    "chunk": "id / 1048576 = (SELECT content_id FROM entry WHERE id = {entry})",
}


def find_what_is_removed(daemon: Daemon, table: str, loss: str) -> None:
    """Take a row out of the database behind the daemon's back; the proof names it. Then put it back."""
    with closing(sqlite3.connect(daemon.store)) as looking:
        # The last one that was taken: it has one number only, since it came after the renumbering.
        entry, message_id = looking.execute(
            "SELECT id, message_id FROM entry WHERE direction = 'in' ORDER BY id DESC LIMIT 1"
        ).fetchone()
    with removed(daemon.store, table, WHICH[table].format(entry=entry)):
        proof = prove(daemon)
        assert proof.missing == 1, proof.found
        (found,) = proof.found
        assert (found.loss, found.id, found.message_id) == (loss, entry, message_id)
        assert (found.touchpoint, found.folder) == (ADDRESS, "INBOX")
        shown = daemon.cli("prove", ADDRESS)
        assert shown.returncode == 1
        assert "· missing 1\n" in shown.stdout
        assert found.words in shown.stdout
    assert prove(daemon).missing == 0


@contextmanager
def removed(store: Path, table: str, which: str) -> Iterator[None]:
    def change(work: Callable[[sqlite3.Connection], object]) -> None:
        with closing(sqlite3.connect(store, timeout=30)) as other, other:
            work(other)

    with closing(sqlite3.connect(store)) as looking:
        rows = looking.execute(f"SELECT * FROM {table} WHERE {which}").fetchall()
    assert rows
    change(lambda db: db.execute(f"DELETE FROM {table} WHERE {which}"))
    yield
    places = ", ".join("?" * len(rows[0]))
    change(lambda db: db.executemany(f"INSERT INTO {table} VALUES ({places})", rows))

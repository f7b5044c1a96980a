"""Journey 3: the daemon is killed with SIGKILL, again and again, and no mail is lost or taken twice."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.client import Unreachable
from gateway.control import GetStatus
from tests.daemon import Daemon
from tests.journeys.conftest import PASSWORD, RELAY, Mailbox, mail

# A stage of a plug-in that ends the process for one mail, as a fault in a C library would.
_KILLER = """
import os, signal
from dataclasses import dataclass
from pipeline.verdict import passed

@dataclass(frozen=True)
class KillerStage:
    async def __call__(self, mail, context):
        if mail.headers.subject == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return passed("harmless")
"""


def test_a_thousand_mails_survive_a_kill_in_the_middle(folder: Path, new_mailbox: Callable[..., Mailbox]) -> None:
    box = new_mailbox()
    sent = [mail(f"c{n}@example.net", box.address, f"mail {n}", "x" * (n % 3000)) for n in range(1000)]
    sent[500] = sent[499]  # byte-equal, and still two mails
    with Daemon(folder, RELAY + "\n[intake]\npage_mails = 50\n") as daemon:
        daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file, active=False)
        box.dovecot.save_many(box.address, sent)
        daemon.cli("touchpoint", "activate", box.address, "--catch-up")
        kills = 0
        for taken in (100, 450, 800):
            daemon.until(lambda: _taken(daemon) >= taken, f"{taken} mails are taken")  # noqa: B023
            daemon.kill()
            kills += 1
            daemon.start()
        daemon.until(lambda: _taken(daemon) >= 1000, "all mails are taken")
        time.sleep(0.3)
        account = daemon.account()
        assert (account["taken"], account["queued"], account["lost"]) == (1000, 1000, 0)
        stored = [hashlib.sha256(_stored(daemon.store, row.id)).digest() for row in daemon.mails("in")]
    assert kills == 3
    assert sorted(stored) == sorted(hashlib.sha256(content).digest() for content in sent)
    with sqlite3.connect(daemon.store) as store:
        assert store.execute("SELECT count(*), count(DISTINCT remote_id) FROM ledger").fetchone() == (1000, 1000)
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_mail_that_kills_the_process_is_held_at_the_third_strike(
    folder: Path, new_mailbox: Callable[..., Mailbox]
) -> None:
    box = new_mailbox()
    plugin = _plugin(folder)
    lines = '\n[lines]\ninbound = ["ingest", "killer", "blocklist", "auto_reply", "ring_group"]\n'
    daemon = Daemon(folder, RELAY + lines, {"PYTHONPATH": str(plugin)})
    with daemon:
        daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file, active=False)
        subjects = [f"mail {n}" for n in range(10)] + ["deadly"] + [f"mail {n}" for n in range(10, 20)]
        box.dovecot.save_many(box.address, [mail("c@example.net", box.address, each) for each in subjects])
        daemon.cli("touchpoint", "activate", box.address, "--catch-up")
        deaths = 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _taken(daemon) < 21:
            assert daemon.process is not None
            if daemon.process.poll() is not None:
                deaths += 1
                daemon.launch()
            time.sleep(0.05)
        account = daemon.account()
        assert deaths == 3
        assert (account["taken"], account["queued"], account["held_in"], account["lost"]) == (21, 20, 1, 0)
        [held] = daemon.mails("in", "held")
        assert (held.subject, held.cause) == ("deadly", "poison")
        assert daemon.content(held.id).endswith(b"Good morning.\r\n")
        box.deliver(mail("c@example.net", box.address, "after it"))
        daemon.until(lambda: _taken(daemon) == 22, "the next mail goes on")


def test_a_second_daemon_on_the_same_store_is_refused_by_name(daemon: Daemon, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    second = Daemon(other, RELAY)
    text = second.toml.read_text().replace(str(second.state), str(daemon.state))
    second.toml.write_text(text)
    assert second.launch().wait(30) == 78
    assert daemon.process is not None
    assert f"pid {daemon.process.pid}" in second.words()
    assert daemon.account()["lost"] == 0


def _taken(daemon: Daemon) -> int:
    try:
        return int(daemon.call(GetStatus()).account["taken"])
    except Unreachable:
        return 0


def _stored(store: Path, entry_id: int) -> bytes:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as reader:
        row = reader.execute(
            "SELECT c.data FROM entry AS e JOIN chunk AS c ON c.id = e.content_id * 1048576 WHERE e.id = ?", (entry_id,)
        ).fetchone()
    return bytes(row[0])


def _plugin(folder: Path) -> Path:
    plugin = folder / "plugin"
    info = plugin / "killer-1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "killer.py").write_text(_KILLER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: killer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[postroom.stages]\nkiller = killer:KillerStage\n")
    return plugin


@pytest.mark.parametrize("phase", ["starting"])
def test_the_daemon_starts_again_after_a_kill_while(phase: str, folder: Path) -> None:
    daemon = Daemon(folder, RELAY)
    for _ in range(3):
        daemon.launch()
        time.sleep(0.4)
        daemon.kill()
    with daemon:
        assert daemon.account()["lost"] == 0

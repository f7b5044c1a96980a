"""Scenario 33: a page of the store is not what was written, a log is cut short, contents belong to nobody."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.client import Unreachable
from gateway.control import ReadContent
from pipeline.store.content import _SHIFT
from tests.faults.house import Desk, House
from tests.faults.nursery import ROOT, Nursery
from tests.faults.workload import Answer

DESK = Desk("support@house.example")
FAR = ("reader@far.example",)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("r33")
    with House(folder, desks=(DESK,), seed=33, nursery=nursery) as made:
        assert made.start()
        made.deliver((DESK.address, made.writer.inbound(DESK.address, size=1000), "INBOX") for _ in range(30))
        made.deliver([(DESK.address, made.writer.inbound(DESK.address, size=700_000), "INBOX")])
        assert made.quiesce(30) == []
        yield made


def doctor(house: House, *words: str) -> tuple[int, list[dict[str, object]], str]:
    """Its exit code, its lines, and what it narrated."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "doctor", "--config", str(house.daemon.toml), "--json", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def spoil(path: Path, needle: bytes) -> None:
    """Write nonsense over the page that holds this text, as a bad disk does."""
    data = path.read_bytes()
    at = data.index(needle) // 4096 * 4096
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 4096)
        os.fsync(file.fileno())


def ids(house: House) -> list[int]:
    """Mails in the order in which they came."""
    with closing(sqlite3.connect(house.daemon.store)) as store:
        return [row[0] for row in store.execute("SELECT id FROM entry ORDER BY id")]


def first_chunk(house: House, entry_id: int) -> int:
    """The row that holds the start of a mail's content."""
    with closing(sqlite3.connect(house.daemon.store)) as store:
        row = store.execute("SELECT content_id FROM entry WHERE id = ?", (entry_id,)).fetchone()
    return int(row[0]) * _SHIFT


def test_a_spoilt_page_is_met_named_and_mended_from_the_server(house: House) -> None:
    assert house.stop() == 0
    victim = ids(house)[10]
    with closing(sqlite3.connect(house.daemon.store)) as store:
        text = store.execute("SELECT data FROM chunk WHERE id = ?", (first_chunk(house, victim),)).fetchone()[0]
    spoil(house.daemon.store, text[-60:])

    assert house.start()
    with pytest.raises(Unreachable):
        house.daemon.call(ReadContent(id=victim, offset=0))
    assert house.wait_ended(10) == 65
    last = house.daemon.words().splitlines()[-1]
    assert "is damaged" in last and "nothing more is written" in last and "postroom doctor" in last

    code, lines, narrated = doctor(house)
    assert code == 1
    damaged = {line["id"] for line in lines if "what" in line}
    assert victim in damaged and len(damaged) < 10
    assert any(line.get("check") == "integrity" and not line["well"] for line in lines)
    assert "postroom doctor --refetch" in narrated

    code, lines, narrated = doctor(house, "--refetch")
    assert code == 0, (lines, narrated)
    assert narrated.count("its content is whole again") == len(damaged)
    assert [path.name for path in house.daemon.state.glob("*.damaged-*")] == ["postroom.db.damaged-1"]
    assert house.start()
    assert house.quiesce(30) == []
    assert house.check() == []
    house.stop()
    assert doctor(house)[0] == 0


def test_bytes_that_changed_silently_are_put_back(house: House) -> None:
    house.stop()
    mails = ids(house)
    with closing(sqlite3.connect(house.daemon.store, isolation_level=None)) as store:
        [(big,)] = store.execute("SELECT id FROM entry ORDER BY size DESC LIMIT 1")
        small = next(mail for mail in mails if mail != big)
        store.execute("UPDATE chunk SET data = zeroblob(length(data)) WHERE id = ?", (first_chunk(house, small),))
        store.execute("DELETE FROM chunk WHERE id = ?", (first_chunk(house, big) + 1,))
    code, lines, _ = doctor(house)
    assert code == 1
    assert {line["id"] for line in lines if "what" in line} == {small, big}
    code, lines, narrated = doctor(house, "--refetch")
    assert code == 0, (lines, narrated)
    assert house.start()
    assert house.check() == []


def test_what_only_we_have_is_listed_and_left_alone(house: House) -> None:
    client = house.client()
    content, message_id = house.writer.outbound(DESK.address, FAR)
    assert client.submit(content, message_id, DESK.address, FAR).answer is Answer.OK
    client.close()
    assert house.quiesce(30) == []
    house.stop()
    mail = ids(house)[-1]
    with closing(sqlite3.connect(house.daemon.store, isolation_level=None)) as store:
        store.execute(
            "UPDATE content SET sha256 = x'00' WHERE id = (SELECT content_id FROM entry WHERE id = ?)", (mail,)
        )
        before = list(store.execute("SELECT * FROM entry"))
    code, _, narrated = doctor(house, "--refetch")
    assert code == 1
    assert f"mail {mail}: it did not come from a server: nobody else has it" in narrated
    with closing(sqlite3.connect(house.daemon.store)) as store:
        assert list(store.execute("SELECT * FROM entry")) == before


def test_mail_whose_commits_a_short_log_forgot_is_fetched_again_once(house: House) -> None:
    """All that a commit said lies in one file: where it is forgotten, the cursor is set back with it."""
    house.kill()
    log = house.daemon.store.with_name("postroom.db-wal")
    os.truncate(log, log.stat().st_size // 2 // 4096 * 4096)
    code, lines, _ = doctor(house)
    assert (code, [line["words"] for line in lines if not line["well"]]) == (0, [])
    forgotten = len(ids(house))
    assert house.start()
    assert house.quiesce(30) == []
    assert house.check() == []
    house.stop()
    assert len(ids(house)) == 31 >= forgotten


def test_contents_that_belong_to_nobody_are_told_of_and_swept(house: House) -> None:
    house.stop()
    with closing(sqlite3.connect(house.daemon.store, isolation_level=None)) as store:
        store.execute("INSERT INTO content (id, owned) VALUES (900, 0)")
        store.execute("INSERT INTO chunk (id, data) VALUES (?, zeroblob(1000))", (900 * _SHIFT,))
    code, lines, _ = doctor(house)
    assert code == 0
    assert any("1 partial contents" in str(line["words"]) for line in lines)
    assert house.start()
    house.stop()
    with closing(sqlite3.connect(house.daemon.store)) as store:
        assert store.execute("SELECT count(*) FROM chunk WHERE id >= ?", (900 * _SHIFT,)).fetchone() == (0,)


def test_a_running_daemon_is_looked_at_beside_it_and_never_changed(house: House) -> None:
    code, lines, _ = doctor(house)
    assert code == 0
    assert any("has the store open" in str(line["words"]) for line in lines)
    with closing(sqlite3.connect(house.daemon.store, isolation_level=None)) as store:
        store.execute("UPDATE content SET sha256 = x'00' WHERE id = 3")
    assert doctor(house, "--refetch")[0] == 65

"""Looking at a store from outside, and making a sound one of a damaged one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway import doctor
from gateway.cli import main
from gateway.settings import Settings, load
from pipeline.errors import Refused
from pipeline.store.examine import examine
from pipeline.store.rebuild import rebuild
from pipeline.store.sqlite import SqliteStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "postroom.toml"
    file.write_text(f'[daemon]\nhostname = "post.example.org"\nstate_dir = "{tmp_path}/state"\n', "utf-8")
    return load(file)


@pytest.fixture
async def path(settings: Settings) -> Path:
    """An empty store, closed."""
    store = await SqliteStore.open(settings.store)
    await store.close()
    settings.key_file.write_text("a key")
    settings.key_file.chmod(0o600)
    return settings.store


def words(settings: Settings) -> dict[str, list[str]]:
    """What is bad, by check."""
    bad: dict[str, list[str]] = {}
    for each in doctor.findings(settings, doctor.look(settings, 100)):
        if not each.well:
            bad.setdefault(each.check, []).append(each.words)
    return bad


def test_a_sound_store_has_nothing_bad(settings: Settings, path: Path) -> None:
    assert words(settings) == {}


def test_no_store_is_said_and_not_made(settings: Settings) -> None:
    assert "there is none" in words(settings)["store"][0]
    assert not settings.state_dir.exists()


@pytest.mark.parametrize("name", ["postroom.db", "secret.key", "."])
def test_files_that_others_may_read_are_named_with_what_helps(settings: Settings, path: Path, name: str) -> None:
    target = path.parent / name
    target.chmod(target.stat().st_mode | 0o044)
    [found] = words(settings)["files"]
    assert "chmod" in found and str(target) in found


def test_little_room_is_said(settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE", 1 << 62)
    assert "free under" in words(settings)["room"][0]


def test_what_is_no_database_is_said(settings: Settings, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(b"This is a letter. " * 1000)
    assert words(settings)["integrity"][0] == "file is not a database"
    assert main(["doctor", "--config", str(settings.files[0]), "--refetch"]) == 65
    assert "restore a backup" in capsys.readouterr().err


def test_an_item_whose_mail_is_gone_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute(
            "INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, entry_id)"
            " VALUES (1, 'INBOX', 1, 1, 'taken', 77)"
        )
    assert "1 items were taken whose mail is not there" in examine(path, 100).faults[0]


def test_a_rebuilt_store_is_the_same_and_gives_no_id_twice(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("INSERT INTO content (size, sha256, owned) VALUES (3, x'00', 1)")
        store.execute("INSERT INTO chunk (id, data) VALUES (1048576, x'616263')")
        store.execute("INSERT INTO ring_group (name) VALUES ('first'), ('second')")
        store.execute("DELETE FROM ring_group WHERE name = 'second'")
        before = list(store.iterdump())
    kept = rebuild(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept.exists()
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        assert [line for line in store.iterdump() if "_sqlite_migrations" not in line] == [
            line for line in before if "_sqlite_migrations" not in line
        ]
        assert store.execute("INSERT INTO ring_group (name) VALUES ('third')").lastrowid == 3


def test_damage_outside_of_the_contents_is_left_for_a_backup(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.executemany("INSERT INTO ring_group (name) VALUES (?)", [(f"group{n:05}",) for n in range(2000)])
    data = path.read_bytes()
    at = data.index(b"group01000") // 4096 * 4096
    spoilt = data[:at] + b"\xa5" * 4096 + data[at + 4096 :]
    path.write_bytes(spoilt)
    assert examine(path, 100).faults
    with pytest.raises(Refused, match=r"ring_group.*restore a backup"):
        rebuild(path)
    assert path.read_bytes() == spoilt
    assert not [each for each in path.parent.iterdir() if "rebuilt" in each.name or "damaged" in each.name]


async def test_a_store_that_is_held_is_not_mended(settings: Settings, path: Path) -> None:
    store = await SqliteStore.open(path)
    with pytest.raises(Refused, match=f"pid {os.getpid()}"):
        doctor.mend(settings)
    await store.close()

"""Secrets at rest: bound to their row, and only under a key file that is ours alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.auth.passwords import hash_password, verify_password
from gateway.auth.secrets import Secrets, load_key
from pipeline.errors import Refused, SecretFault

SECRETS = Secrets(bytes(range(32)))
SECRET = b"hunter2 \xff"


def test_what_is_sealed_opens_and_shows_nothing() -> None:
    sealed = SECRETS.seal(7, "password", SECRET)
    assert SECRETS.open(7, "password", sealed) == SECRET
    assert SECRET not in sealed
    assert SECRETS.seal(7, "password", SECRET) != sealed


def test_a_sealed_secret_opens_in_its_own_row_only() -> None:
    sealed = SECRETS.seal(7, "password", SECRET)
    for touchpoint, name, table in ((8, "password", "secret"), (7, "token", "secret"), (7, "password", "other")):
        with pytest.raises(SecretFault):
            SECRETS.open(touchpoint, name, sealed, table=table)
    with pytest.raises(SecretFault, match="another key file"):
        Secrets(bytes(32)).open(7, "password", sealed)


def test_any_flipped_bit_is_noticed() -> None:
    sealed = SECRETS.seal(7, "password", SECRET)
    for position in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(SecretFault) as caught:
            SECRETS.open(7, "password", bytes(altered))
        assert "hunter2" not in str(caught.value)


def test_any_truncation_is_noticed() -> None:
    sealed = SECRETS.seal(7, "password", SECRET)
    for size in range(len(sealed)):
        with pytest.raises(SecretFault):
            SECRETS.open(7, "password", sealed[:size])


def test_the_key_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "secret.key"
    key = load_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == key
    assert os.listdir(tmp_path) == ["secret.key"]


def test_two_at_once_agree_on_one_key(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(tmp_path / "secret.key"), range(32)))
    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "secret.key"
    load_key(path)
    path.chmod(mode)
    with pytest.raises(Refused, match="chmod 600"):
        load_key(path)


def test_no_key_file_is_made_where_others_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(Refused, match="others may write"):
        load_key(tmp_path / "secret.key")
    assert os.listdir(tmp_path) == []
    with pytest.raises(Refused, match="No such file"):
        load_key(tmp_path / "no" / "secret.key")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "secret.key"
    load_key(path)
    os.chown(path, 12345, -1)
    with pytest.raises(Refused, match="belongs to another user"):
        load_key(path)


def test_links_folders_pipes_and_damage_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    load_key(tmp_path / "real.key")
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    (tmp_path / "folder.key").mkdir()
    os.mkfifo(tmp_path / "pipe.key", 0o600)
    for content in (b"", b"postroom-key-1 short", b"postroom-key-2 " + b"A" * 43 + b"=", b"\xff" * 80):
        (tmp_path / "bad.key").write_bytes(content)
        (tmp_path / "bad.key").chmod(0o600)
        with pytest.raises(Refused, match="damaged"):
            load_key(tmp_path / "bad.key")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(Refused):
            load_key(tmp_path / f"{name}.key")


def test_passwords_of_relay_users() -> None:
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$")
    assert verify_password(hashed, "correct horse")
    assert not verify_password(hashed, "correct house")
    assert not verify_password(None, "the password of nobody")
    assert not verify_password("damaged", "correct horse")
    assert not verify_password(hashed, "x" * 2000)
    for bad in ("short", "with\nline break", "x" * 2000, "nul\0nul\0"):
        with pytest.raises(Refused):
            hash_password(bad)

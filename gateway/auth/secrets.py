"""Secrets at rest: the key file, and sealing under it.

A secret is sealed with AES-256-GCM. Table, touchpoint, name and key version are its associated data, so that a sealed
secret which was moved to another row, or altered by one bit, does not open. The key lives in a file of its own that
only the daemon's user may read; it is made at first use, in a folder that is ours, and never anywhere else. Nothing
here logs, and no text of an error holds key or secret.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.errors import Refused, SecretFault

_MAGIC = "postroom-key-1"
_FORMAT = 1
_KEY_VERSION = 1
_NONCE = 12
_HEAD = bytes([_FORMAT]) + _KEY_VERSION.to_bytes(2)


class Secrets:
    """Seals and opens the secrets of touchpoints under one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, touchpoint_id: int, name: str, secret: bytes, *, table: str = "secret") -> bytes:
        """The secret as it may be stored, bound to its row."""
        nonce = secrets.token_bytes(_NONCE)
        return _HEAD + nonce + self._cipher.encrypt(nonce, secret, _row(table, touchpoint_id, name))

    def open(self, touchpoint_id: int, name: str, sealed: bytes, *, table: str = "secret") -> bytes:
        """The secret; raises SecretFault if it was altered, moved, or sealed under another key."""
        head, nonce, body = sealed[: len(_HEAD)], sealed[len(_HEAD) :][:_NONCE], sealed[len(_HEAD) + _NONCE :]
        if head != _HEAD or len(body) < 16:
            raise SecretFault(f"the sealed {name} of touchpoint {touchpoint_id} is not in a form that we know")
        try:
            return self._cipher.decrypt(nonce, body, _row(table, touchpoint_id, name))
        except InvalidTag:
            raise SecretFault(
                f"the sealed {name} of touchpoint {touchpoint_id} does not open: it was altered,"
                " or sealed under another key file"
            ) from None


def _row(table: str, touchpoint_id: int, name: str) -> bytes:
    # Lengths first, so that no two rows give the same bytes.
    parts = (table.encode(), str(touchpoint_id).encode(), name.encode(), str(_KEY_VERSION).encode())
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def load_key(path: Path) -> bytes:
    """The 32 bytes of the key file, made at first use; raises Refused with what is wrong with it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        _create(path)
        return load_key(path)
    except OSError as error:
        raise Refused(f"the key file {path} cannot be opened: {error.strerror}") from None
    try:
        _check_file(path, os.fstat(descriptor))
        return _decode(path, os.read(descriptor, 200))
    finally:
        os.close(descriptor)


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"the key file {path} is not a plain file")
    if status.st_uid != os.geteuid():
        raise Refused(f"the key file {path} belongs to another user; it must be ours: chown {os.geteuid()} {path}")
    if status.st_mode & 0o077:
        raise Refused(f"the key file {path} can be read by others; close it: chmod 600 {path}")


def _decode(path: Path, content: bytes) -> bytes:
    magic, _, rest = content.decode("ascii", "replace").partition(" ")
    try:
        key = base64.b64decode(rest.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if magic != _MAGIC or len(key) != 32:
        raise Refused(f"the key file {path} is damaged; restore it from its backup, or sign every touchpoint in again")
    return key


def _create(path: Path) -> None:
    folder = path.parent
    _check_folder(folder, path)
    unfinished = folder / f".{path.name}.{secrets.token_hex(8)}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{_MAGIC} {base64.b64encode(secrets.token_bytes(32)).decode()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)  # fails where another process was faster, so nobody's key is written over
        except FileExistsError:
            return
        _sync_folder(folder)
    finally:
        unfinished.unlink()


def _check_folder(folder: Path, path: Path) -> None:
    try:
        status = folder.stat()
    except OSError as error:
        raise Refused(f"no key file can be made at {path}: {folder}: {error.strerror}") from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise Refused(
            f"no key file is made at {path}, since others may write to {folder};"
            f" make the folder ours alone: chown {os.geteuid()} {folder}; chmod 700 {folder}"
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

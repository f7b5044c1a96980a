"""What ``postroom doctor`` looks at, and how it brings back mail whose content is damaged.

Looking changes nothing and needs no daemon. ``refetch`` holds the store as a daemon would: it makes a sound file of one
whose structure is damaged, then asks the servers for the affected mails and puts their bytes back where, and only
where, they have the hash that was kept when the mail came. No mail is made, walked, answered or marked by it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from gateway.auth.secrets import Secrets, load_key
from gateway.connectors import Fetched, Missing, Ref
from gateway.connectors.imap_smtp import ImapReceiving
from gateway.settings import Settings
from pipeline import people, touchpoints
from pipeline.directory import load
from pipeline.errors import PostroomError, Refused
from pipeline.people import Actor, Detail
from pipeline.store import Store, Tx, content
from pipeline.store.content import ContentWriter
from pipeline.store.examine import Affected, Examined, examine
from pipeline.store.rebuild import rebuild
from pipeline.store.sqlite import SqliteStore, hold

LITTLE = 64 * 1024 * 1024
"""Bytes of free room below which the disk is said to be nearly full."""
PASSWORD = "password"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    well: bool
    words: str


def findings(settings: Settings, examined: Examined | None) -> Iterator[Finding]:
    """All that can be said without a daemon; ``examined`` is None where there is no store."""
    yield from _files(settings)
    yield _room(settings.state_dir)
    yield _holder(settings.store)
    if examined is None:
        yield Finding(check="store", well=False, words=f"there is none at {settings.store}")
        return
    schema, mode = examined.schema or "unknown", examined.mode or "unknown"
    yield Finding(
        check="store",
        well=mode == "wal",
        words=f"{examined.bytes:,} bytes, schema {schema}, journal mode {mode}, which a daemon runs with"
        " synchronous=FULL or not at all",
    )
    if examined.log_bytes:
        words = f"{examined.log_bytes:,} bytes that the next start takes in: the last daemon was killed, or one runs"
        yield Finding(check="log", well=True, words=words)
    for fault in examined.faults:
        yield Finding(check="integrity", well=False, words=fault)
    if not examined.faults:
        yield Finding(check="integrity", well=True, words="the file is sound")
    if examined.unowned:
        words = f"{examined.unowned} partial contents belong to no mail; the next start sweeps them"
        yield Finding(check="contents", well=True, words=words)
    compared = f"{examined.looked_at:,} of {examined.mails:,} mails read and compared"
    affected = len(examined.affected)
    yield Finding(check="contents", well=not affected, words=f"{compared}, {affected:,} affected")


def look(settings: Settings, most: int) -> Examined | None:
    """Examine the store of these settings; None where there is none. Raises Refused where it cannot be read at all."""
    try:
        return examine(settings.store, most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{settings.store} cannot be read: {error.strerror}") from None


def _files(settings: Settings) -> Iterator[Finding]:
    """Who can read the store and the key: their owner and nobody else."""
    for path, needed in ((settings.state_dir, True), (settings.store, True), (settings.key_file, True)):
        try:
            status = path.stat()
        except OSError as error:
            yield Finding(check="files", well=not needed, words=f"{path}: {error.strerror}")
            continue
        mode = stat.S_IMODE(status.st_mode)
        others = mode & 0o077
        words = f"{path}: mode {mode:04o}, uid {status.st_uid}"
        if others:
            words += f": others may reach it; close it with: chmod {mode & 0o700:o} {path}"
        yield Finding(check="files", well=not others, words=words)


def _room(folder: Path) -> Finding:
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return Finding(check="room", well=False, words=f"{folder}: {error.strerror}")
    free = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        return Finding(check="room", well=False, words=f"the disk under {folder} is read-only")
    return Finding(check="room", well=free >= LITTLE, words=f"{free // (1024 * 1024):,} MiB free under {folder}")


def _holder(store: Path) -> Finding:
    lock = store.with_name(store.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Finding(check="daemon", well=True, words="none runs")
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pid = os.read(handle, 20).decode(errors="replace").strip()
        return Finding(
            check="daemon", well=True, words=f"process {pid or '?'} has the store open; this looks beside it"
        )
    finally:
        os.close(handle)
    return Finding(check="daemon", well=True, words="none runs")


# -- bringing back -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What became of one affected mail."""

    id: int
    well: bool
    words: str


def mend(settings: Settings) -> Path:
    """A sound file in the place of a damaged one; where the damaged one is now. Raises Refused where a daemon runs."""
    lock = hold(settings.store)
    try:
        return rebuild(settings.store)
    finally:
        os.close(lock)


async def refetch(settings: Settings, affected: list[Affected]) -> list[Brought]:
    """Ask the servers for what is damaged; raises Refused where a daemon runs."""
    store = await SqliteStore.open(settings.store)
    try:
        brought = [
            Brought(id=each.id, well=False, words="it did not come from a server: nobody else has it")
            for each in affected
            if not each.folder
        ]
        theirs = sorted((each for each in affected if each.folder), key=lambda each: (each.touchpoint_id, each.folder))
        for touchpoint_id, group in groupby(theirs, key=lambda each: each.touchpoint_id):
            mails = list(group)
            try:
                brought += await _from_server(settings, store, touchpoint_id, mails)
            except PostroomError as error:
                done = {each.id for each in brought}
                brought += [Brought(id=each.id, well=False, words=str(error)) for each in mails if each.id not in done]
        return brought
    finally:
        await store.close()


async def _from_server(settings: Settings, store: Store, touchpoint_id: int, mails: list[Affected]) -> list[Brought]:
    directory = await store.read(lambda tx: load(tx, settings.hostname))
    touchpoint = directory.touchpoints.get(touchpoint_id)
    sealed = await store.read(lambda tx: touchpoints.get_secret(tx, touchpoint_id, PASSWORD))
    if touchpoint is None or sealed is None:
        raise Refused("its touchpoint is deleted, or not signed in")
    password = Secrets(load_key(settings.key_file)).open(touchpoint_id, PASSWORD, sealed).decode()
    connector = ImapReceiving(touchpoint.connection, password)
    brought: list[Brought] = []
    try:
        await connector.open()
        for mail in mails:
            ref = Ref(mail.folder, mail.epoch, mail.remote_id, mail.internaldate, mail.size)
            try:
                answers = [each async for each in connector.fetch([ref], lambda: ContentWriter(store))]
                brought += [await _put_back(store, mail, answer) for answer in answers]
            except PostroomError as error:
                brought.append(Brought(id=mail.id, well=False, words=str(error)))
    finally:
        await connector.close()
    return brought


async def _put_back(store: Store, mail: Affected, answer: Fetched | Missing) -> Brought:
    if isinstance(answer, Missing):
        words = "it is no longer on the server" if answer.gone else answer.error
        return Brought(id=mail.id, well=False, words=words)
    if answer.sha256 != mail.sha256:
        if answer.content_id:
            await store.write(lambda tx: content.delete(tx, answer.content_id))
        return Brought(id=mail.id, well=False, words="the server has other bytes than it gave us; nothing was changed")
    await store.write(lambda tx: _replace(tx, mail, answer), size=len(answer.data))
    return Brought(id=mail.id, well=True, words="its content is whole again")


def _replace(tx: Tx, mail: Affected, answer: Fetched) -> None:
    content_id = answer.content_id
    if content_id:
        content.adopt(tx, content_id)
    else:
        content_id = content.put(tx, answer.data, answer.sha256)
    tx.run("UPDATE entry SET content_id = :new WHERE id = :id", {"new": content_id, "id": mail.id})
    content.delete(tx, mail.content_id)
    actor = Actor(name="doctor", uid=os.geteuid(), role="root" if os.geteuid() == 0 else "owner")
    detail: Detail = {"folder": mail.folder, "uid": mail.remote_id, "was": mail.what}
    people.audit(tx, actor, "RefetchContent", f"mail {mail.id}", time.time(), detail)

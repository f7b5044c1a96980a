"""Content in chunks: one durability domain with everything else, and never a big mail in memory whole.

A small mail is one chunk, put in by the commit that takes the mail. A big one is written chunk by chunk, each its own
small commit, and belongs to nobody until that commit adopts it; what nobody adopted is swept at the next start.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from pipeline.errors import PostroomError
from pipeline.mail import OPENING
from pipeline.store import Store, Tx, Value

CHUNK = OPENING
_SHIFT = 1 << 20


def put(tx: Tx, data: bytes, sha256: bytes = b"") -> int:
    """Store a content that is whole in memory, owned at once; its id. The hash is made where it is not known."""
    content_id = tx.insert(
        "INSERT INTO content (size, sha256, owned) VALUES (:size, :sha256, 1)",
        {"size": len(data), "sha256": sha256 or hashlib.sha256(data).digest()},
    )
    for number in range(0, len(data) or 1, CHUNK):
        _put_chunk(tx, content_id, number // CHUNK, data[number : number + CHUNK])
    return content_id


def adopt(tx: Tx, content_id: int) -> None:
    """Make a written content somebody's; raises PostroomError where it is not there."""
    if not tx.run("UPDATE content SET owned = 1 WHERE id = :id", {"id": content_id}):
        raise PostroomError(f"content {content_id} is gone, there is nothing to adopt")


def sweep(tx: Tx, below: int) -> int:
    """Delete contents that nobody adopted, of ids below ``below``; how many there were."""
    rows = tx.all("SELECT id FROM content WHERE owned = 0 AND id < :below", {"below": below})
    for row in rows:
        delete(tx, row["id"])
    return len(rows)


def delete(tx: Tx, content_id: int) -> None:
    """Delete a content and its chunks."""
    span = {"low": content_id * _SHIFT, "high": (content_id + 1) * _SHIFT - 1, "id": content_id}
    tx.run("DELETE FROM chunk WHERE id BETWEEN :low AND :high", span)
    tx.run("DELETE FROM content WHERE id = :id", span)


def chunk(tx: Tx, content_id: int, number: int) -> bytes:
    """One chunk; b"" behind the last one."""
    row = tx.one("SELECT data FROM chunk WHERE id = :id", {"id": content_id * _SHIFT + number})
    return b"" if row is None else bytes(row["data"])


def _put_chunk(tx: Tx, content_id: int, number: int, data: bytes) -> None:
    tx.run("INSERT INTO chunk (id, data) VALUES (:id, :data)", {"id": content_id * _SHIFT + number, "data": data})


async def chunks(store: Store, content_id: int) -> AsyncIterator[bytes]:
    """A content from its start, a chunk at a time."""
    number = 0
    while data := await store.read(lambda tx, n=number: chunk(tx, content_id, n)):  # type: ignore[misc]
        yield data
        number += 1


@dataclass(frozen=True, slots=True)
class Written:
    """A big content that lies in the store, complete and waiting to be adopted."""

    content_id: int
    size: int
    sha256: bytes
    opening: bytes


class ContentWriter:
    """A big content on its way into the store."""

    def __init__(self, store: Store) -> None:
        self.content_id = 0
        self._size = 0
        self._opening = b""
        self._store = store
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._number = 0

    async def write(self, data: bytes) -> None:
        """Take more bytes; whole chunks are committed before this returns. After StoreFull go on with ``b""``."""
        self._hash.update(data)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            await self._flush(bytes(self._buffer[:CHUNK]))
            del self._buffer[:CHUNK]

    async def finish(self) -> Written:
        """Commit the rest, the size and the hash."""
        if self._buffer or not self.content_id:
            await self._flush(bytes(self._buffer))
            self._buffer.clear()
        written = Written(self.content_id, self._size, self._hash.digest(), self._opening)
        values: dict[str, Value] = {"id": written.content_id, "size": written.size, "sha256": written.sha256}
        await self._store.write(
            lambda tx: tx.run("UPDATE content SET size = :size, sha256 = :sha256 WHERE id = :id", values)
        )
        return written

    async def discard(self) -> None:
        """Forget what was written: the mail did not come to its end."""
        if self.content_id:
            await self._store.write(lambda tx: delete(tx, self.content_id))

    async def _flush(self, data: bytes) -> None:
        if not self.content_id:
            self._opening = data
        self.content_id = await self._store.write(lambda tx: self._append(tx, data), size=len(data))
        self._number += 1

    def _append(self, tx: Tx, data: bytes) -> int:
        content_id = self.content_id or tx.insert("INSERT INTO content (owned) VALUES (0)")
        _put_chunk(tx, content_id, self._number, data)
        return content_id


async def forget(store: Store, written: Written) -> None:
    """Delete a content that nobody is going to adopt."""
    await store.write(lambda tx: delete(tx, written.content_id))

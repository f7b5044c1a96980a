"""Content in chunks: what comes out is what went in, and nobody's bytes are swept away while they are somebody's."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from pipeline.errors import PostroomError
from pipeline.store import content
from pipeline.store.content import CHUNK, ContentWriter
from pipeline.store.sqlite import SqliteStore
from tests.unit.making import a_room

SIZES = {0: 1, 1: 1, CHUNK - 1: 1, CHUNK: 1, CHUNK + 1: 2, 4 * CHUNK: 4}
"""Bytes of a content -> chunks that it takes."""


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    async with a_room() as room:
        yield room.store


def some_bytes(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return (hashlib.sha512(str(size).encode()).digest() * (size // 64 + 1))[:size]


async def whole(store: SqliteStore, content_id: int) -> bytes:
    return b"".join([chunk async for chunk in content.chunks(store, content_id)])


async def contents(store: SqliteStore) -> dict[int, tuple[int, bytes, int, int]]:
    """id -> (size, sha256, owned, chunks)"""
    rows = await store.read(
        lambda tx: tx.all(
            "SELECT id, size, sha256, owned, (SELECT count(*) FROM chunk WHERE chunk.id >> 20 = content.id) AS chunks"
            " FROM content"
        )
    )
    return {row["id"]: (row["size"], row["sha256"], row["owned"], row["chunks"]) for row in rows}


@pytest.mark.parametrize(("size", "chunks"), SIZES.items())
async def test_put_whole(store: SqliteStore, size: int, chunks: int) -> None:
    data = some_bytes(size)
    content_id = await store.write(lambda tx: content.put(tx, data))
    assert await whole(store, content_id) == data
    assert await contents(store) == {content_id: (size, hashlib.sha256(data).digest(), 1, chunks)}


@pytest.mark.parametrize(("size", "chunks"), SIZES.items())
@pytest.mark.parametrize("piece", [CHUNK - 7, 3 * CHUNK])
async def test_write_in_pieces(store: SqliteStore, size: int, chunks: int, piece: int) -> None:
    data = some_bytes(size)
    writer = ContentWriter(store)
    for at in range(0, size, piece):
        await writer.write(data[at : at + piece])
        assert len(writer._buffer) < CHUNK
    written = await writer.finish()
    assert (written.size, written.sha256, written.opening) == (size, hashlib.sha256(data).digest(), data[:CHUNK])
    assert await whole(store, written.content_id) == data
    assert await contents(store) == {written.content_id: (size, written.sha256, 0, chunks)}


async def test_each_chunk_is_a_commit_of_its_own(store: SqliteStore) -> None:
    writer = ContentWriter(store)
    before = store.commits
    await writer.write(some_bytes(3 * CHUNK + 1))
    assert store.commits - before == 3


async def test_what_nobody_adopted_is_swept(store: SqliteStore) -> None:
    kept = await store.write(lambda tx: content.put(tx, b"kept"))
    adopted, orphan, later = ContentWriter(store), ContentWriter(store), ContentWriter(store)
    for writer in (adopted, orphan, later):
        await writer.write(some_bytes(2 * CHUNK))
        await writer.finish()
    await store.write(lambda tx: content.adopt(tx, adopted.content_id))
    assert await store.write(lambda tx: content.sweep(tx, later.content_id)) == 1
    assert set(await contents(store)) == {kept, adopted.content_id, later.content_id}
    assert await store.write(lambda tx: content.sweep(tx, 2**62)) == 1
    assert await whole(store, kept) == b"kept"
    assert await whole(store, adopted.content_id) == some_bytes(2 * CHUNK)
    rows = await store.read(lambda tx: tx.all("SELECT id FROM chunk"))
    assert {row["id"] >> 20 for row in rows} == {kept, adopted.content_id}


async def test_what_is_gone_cannot_be_adopted(store: SqliteStore) -> None:
    writer = ContentWriter(store)
    await writer.write(b"half a mail")
    written = await writer.finish()
    await writer.discard()
    assert await contents(store) == {}
    with pytest.raises(PostroomError, match="gone"):
        await store.write(lambda tx: content.adopt(tx, written.content_id))


async def test_discarding_nothing_is_nothing(store: SqliteStore) -> None:
    await ContentWriter(store).discard()
    assert await contents(store) == {}


async def test_ids_are_never_used_again(store: SqliteStore) -> None:
    first = await store.write(lambda tx: content.put(tx, b"first"))
    await store.write(lambda tx: content.delete(tx, first))
    assert await store.write(lambda tx: content.put(tx, b"second")) > first
    assert await whole(store, first) == b""

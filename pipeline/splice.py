"""Splices: the only way in which Postroom changes a mail. What no splice names stays equal by construction.

A splice replaces some bytes of the original at an offset; a set of them is kept beside the untouched content and
applied while it is read, so a 100 MB mail with a signature is never in memory whole.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import pairwise

from pipeline.verdict import Splice

_HEAD = struct.Struct(">QQI")


def ordered(splices: Iterable[Splice]) -> tuple[Splice, ...]:
    """Splices by offset, insertions at one place in the order given; raises ValueError where two overlap."""
    result = sorted(splices, key=lambda splice: splice.offset)
    for before, behind in pairwise(result):
        if before.offset + before.length > behind.offset:
            raise ValueError(f"splices overlap at {behind.offset}")
    return tuple(result)


def pack(splices: Sequence[Splice]) -> bytes:
    """Splices as they are stored."""
    return b"".join(_HEAD.pack(each.offset, each.length, len(each.data)) + each.data for each in splices)


def unpack(packed: bytes) -> tuple[Splice, ...]:
    """Splices from the store."""
    result = []
    at = 0
    while at < len(packed):
        offset, length, size = _HEAD.unpack_from(packed, at)
        at += _HEAD.size
        result.append(Splice(offset, length, packed[at : at + size]))
        at += size
    return tuple(result)


def size_after(size: int, splices: Iterable[Splice]) -> int:
    """Bytes of a content of ``size`` bytes with its splices applied."""
    return size + sum(len(splice.data) - splice.length for splice in splices)


def apply(content: bytes, splices: Sequence[Splice]) -> bytes:
    """A content in memory with its ordered splices applied."""
    parts: list[bytes] = []
    at = 0
    for splice in splices:
        parts += (content[at : splice.offset], splice.data)
        at = splice.offset + splice.length
    return b"".join((*parts, content[at:]))


async def applied(chunks: AsyncIterator[bytes], splices: Sequence[Splice]) -> AsyncIterator[bytes]:
    """A content that comes in chunks with its ordered splices applied."""
    waiting = list(reversed(splices))
    start = 0  # offset of this chunk in the original
    drop = 0  # bytes still to leave out
    async for chunk in chunks:
        at = 0
        while at < len(chunk):
            if drop:
                skipped = min(drop, len(chunk) - at)
                at, drop = at + skipped, drop - skipped
            elif waiting and waiting[-1].offset < start + len(chunk):
                splice = waiting.pop()
                if splice.offset > start + at:
                    yield chunk[at : splice.offset - start]
                at = max(at, splice.offset - start)
                drop = splice.length
                if splice.data:
                    yield splice.data
            else:
                yield chunk[at:]
                at = len(chunk)
        start += len(chunk)
    for splice in reversed(waiting):
        if splice.data:
            yield splice.data

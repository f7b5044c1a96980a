"""The flight note: which mail is in hand right now, readable after the process was killed.

A mapped file of 4 KiB with 32 slots. Writing a slot is a memory write, far below a microsecond, and the kernel keeps
it when the process dies of SIGKILL or of running out of memory. (A power cut may lose it; it kills no mail's
neighbours either.) At the next start ``in_hand`` tells what to strike; only when that is committed is the note wiped.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.strikes import InHand

SIZE = 4096
_SLOT = 128
_HEAD = struct.Struct("<BIQQQB")
_NAME = _SLOT - _HEAD.size
_KEPT = 8
"""Slots that are kept for walks."""
_PHASES = {1: "fetch", 2: "walk"}
_CODES = {phase: code for code, phase in _PHASES.items()}


class Flight:
    """The flight note of this process; more than 32 at once are simply not noted."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, SIZE)
            os.posix_fallocate(handle, 0, SIZE)  # a page without room on the disk would kill with SIGBUS when written
            self._map = mmap.mmap(handle, SIZE)
        finally:
            os.close(handle)
        self._free = list(range(SIZE // _SLOT))

    def in_hand(self) -> list[InHand]:
        """What the last process had in hand when it ended; empty after a clean stop."""
        return [hand for slot in range(SIZE // _SLOT) if (hand := self._read(slot)) is not None]

    def wipe(self) -> None:
        """Forget it all: what it said is committed."""
        self._map[:] = bytes(SIZE)

    @contextmanager
    def holding(self, hand: InHand) -> Iterator[None]:
        """Note a mail while the block runs; an exception is no death and clears it too."""
        name = hand.folder.encode()
        # Slow fetches of many mailboxes must not leave a walk unnoted.
        if len(self._free) <= (_KEPT if hand.phase == "fetch" else 0) or len(name) > _NAME:
            yield
            return
        slot = self._free.pop()
        at = slot * _SLOT
        self._map[at + _HEAD.size : at + _HEAD.size + len(name)] = name
        _HEAD.pack_into(self._map, at, _CODES[hand.phase], hand.touchpoint_id, hand.epoch, hand.low, hand.high,
                        len(name))  # fmt: skip
        try:
            yield
        finally:
            self._map[at] = 0
            self._free.append(slot)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def _read(self, slot: int) -> InHand | None:
        at = slot * _SLOT
        code, touchpoint_id, epoch, low, high, length = _HEAD.unpack_from(self._map, at)
        if code not in _PHASES:
            return None
        name = self._map[at + _HEAD.size : at + _HEAD.size + length].decode("utf-8", "replace")
        return InHand(touchpoint_id=touchpoint_id, folder=name, epoch=epoch, low=low, high=high, phase=_PHASES[code])

"""Which item is which, once a folder has new numbers: what the ledger knows laid against what the server lists now.

Pure; no store, no server. Items are matched as multisets (two byte-equal mails are two items): k items that we know
absorb k that the server lists, and the one beyond is new. What two items have in common is asked in this order, and
the first answer that leaves no doubt counts:

1. equal bytes (SHA-256), where the body of the new item was read because there was a doubt;
2. equal head (Message-ID, Date, From, Subject), size and INTERNALDATE;
3. equal head and size: whoever moves a mailbox may lose the INTERNALDATE;
4. equal head and INTERNALDATE: RFC822.SIZE is only what a server says;
5. equal size and INTERNALDATE, of an item whose bytes we never had.

There is a doubt where bytes that differ, or more new items than known ones, answer alike; and wherever size or
INTERNALDATE differ and no Message-ID vouches for the rest. Who asks reads those bodies and asks again: a mail that is
new must never pass for one that we know. What is left as new is the same whatever of it was paired before, so the work
can be cut off anywhere and done again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Old:
    """An item that the ledger knows."""

    id: int
    """Of its row."""
    head_hash: bytes
    size: int
    """What the server said."""
    internaldate: float
    sha256: bytes = b""
    """b"" where its bytes were never fetched; its head is not known then, either."""
    named: bool = True
    """Whether it has a Message-ID."""


@dataclass(frozen=True, slots=True)
class New:
    """An item as the server lists it now."""

    remote_id: int
    head_hash: bytes
    """b"" where the server does not say its head."""
    size: int
    internaldate: float


@dataclass(slots=True)
class Matching:
    """What was found out."""

    pairs: dict[int, int] = field(default_factory=dict)
    """Remote id -> the row of the item that it is."""
    doubtful: list[int] = field(default_factory=list)
    """Remote ids whose bodies would tell."""


def match(old: Iterable[Old], new: Iterable[New], bodies: Mapping[int, bytes]) -> Matching:
    """Pair items. ``bodies`` has the SHA-256 of each body that was read, b"" for one that did not come.

    Both come in the order in which the server numbers them; equal items are paired in that order. What is neither
    paired nor in doubt is new.
    """
    work = _Work({each.id: each for each in old}, {each.remote_id: each for each in new}, Matching())
    read = {number: sha for number, sha in bodies.items() if sha}
    had = _old_if(lambda one: one.sha256 != b"")
    work.pair(had(lambda one: (one.sha256, one.internaldate)), lambda one: _of(read, one, one.internaldate), _sure)
    asked = _new_if(lambda one: one.remote_id not in bodies)
    headed = _new_if(lambda one: one.head_hash != b"" and one.remote_id not in bodies)
    work.pair(
        had(lambda one: (one.head_hash, one.size, one.internaldate)),
        headed(lambda one: (one.head_hash, one.size, one.internaldate)),
        _alike,
    )
    work.pair(had(lambda one: one.sha256), lambda one: read.get(one.remote_id), _sure)
    work.pair(had(lambda one: (one.head_hash, one.size)), headed(lambda one: (one.head_hash, one.size)), _vouched)
    work.pair(
        had(lambda one: (one.head_hash, one.internaldate)),
        headed(lambda one: (one.head_hash, one.internaldate)),
        _vouched,
    )
    blind = _old_if(lambda one: one.sha256 == b"" and one.size > 0)
    work.pair(blind(lambda one: (one.size, one.internaldate)), lambda one: (one.size, one.internaldate), _sure)
    # A head that cannot be compared, since the server and we read a broken one differently.
    work.pair(
        had(lambda one: (one.size, one.internaldate)),
        asked(lambda one: (one.size, one.internaldate)),
        lambda known, listed: False,
    )
    return work.found


@dataclass(slots=True)
class _Work:
    """What is not paired yet."""

    old: dict[int, Old]
    new: dict[int, New]
    found: Matching

    def pair(
        self,
        old_key: Callable[[Old], Hashable],
        new_key: Callable[[New], Hashable],
        sure: Callable[[list[Old], list[New]], bool],
    ) -> None:
        """Pair items with equal keys (None is none); where that is not sure, they wait for the bodies."""
        known, listed = _groups(self.old.values(), old_key), _groups(self.new.values(), new_key)
        for key in known.keys() & listed.keys():
            ours, theirs = sorted(known[key], key=_when), sorted(listed[key], key=_when)
            if sure(ours, theirs):
                for one, other in zip(ours, theirs, strict=False):
                    self.found.pairs[other.remote_id] = one.id
                    del self.old[one.id], self.new[other.remote_id]
            else:
                self.found.doubtful += [other.remote_id for other in theirs]
                for one in ours:
                    del self.old[one.id]
                for other in theirs:
                    del self.new[other.remote_id]


def _groups(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Hashable, list[T]]:
    groups: defaultdict[Hashable, list[T]] = defaultdict(list)
    for each in items:
        if (value := key(each)) is not None:
            groups[value].append(each)
    return groups


def _when(item: Old | New) -> float:
    return item.internaldate


def _of(read: Mapping[int, bytes], item: New, at: float) -> tuple[bytes, float] | None:
    sha = read.get(item.remote_id)
    return None if sha is None else (sha, at)


def _old_if(test: Callable[[Old], bool]) -> Callable[[Callable[[Old], Hashable]], Callable[[Old], Hashable]]:
    return lambda key: lambda one: key(one) if test(one) else None


def _new_if(test: Callable[[New], bool]) -> Callable[[Callable[[New], Hashable]], Callable[[New], Hashable]]:
    return lambda key: lambda one: key(one) if test(one) else None


def _sure(known: list[Old], listed: list[New]) -> bool:
    return True


def _alike(known: list[Old], listed: list[New]) -> bool:
    return len(listed) <= len(known) and len({one.sha256 for one in known}) == 1


def _vouched(known: list[Old], listed: list[New]) -> bool:
    return _alike(known, listed) and all(one.named for one in known)

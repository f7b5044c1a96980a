"""The database behind a small protocol, so that another engine can stand in its place.

Work on the store is a function ``def f(tx) -> T`` that does SQL only: named parameters, plain values, rows as
mappings, nothing of the engine's own types. ``write`` runs it in the one writer's next transaction and answers after
the commit; ``read`` runs it on a read-only snapshot. Modules take a ``tx``; only the methods of the spool, the
directory and their kind open one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

Value = int | float | str | bytes | None
Row = Mapping[str, Any]
T = TypeVar("T")


class Tx(Protocol):
    """One open transaction."""

    def run(self, sql: str, params: Mapping[str, Value] = {}) -> int:
        """Execute a statement; the number of rows it changed."""
        ...

    def many(self, sql: str, params: Iterable[Mapping[str, Value]]) -> None:
        """Execute a statement once for each set of parameters."""
        ...

    def insert(self, sql: str, params: Mapping[str, Value] = {}) -> int:
        """Execute an INSERT; the id of the new row."""
        ...

    def one(self, sql: str, params: Mapping[str, Value] = {}) -> Row | None:
        """The first row of a query, or None."""
        ...

    def all(self, sql: str, params: Mapping[str, Value] = {}) -> list[Row]:
        """All rows of a query."""
        ...


class Store(Protocol):
    """What holds everything durable."""

    no_writes: str
    """Why the disk takes no writes, as of the last one that was tried; "" while all is well."""

    async def write(self, work: Callable[[Tx], T], *, size: int = 0, urgent: bool = False) -> T:
        """Run ``work`` and answer after its commit has reached the disk.

        ``size`` is roughly how many bytes it writes (callers wait while 32 MiB are queued); ``urgent`` is the lane of
        results of sends. Raises whatever ``work`` raises (its effects are then gone) and StoreFull.
        """
        ...

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` on a read-only snapshot; at most one second."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then let go of the files."""
        ...

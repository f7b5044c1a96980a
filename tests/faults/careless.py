"""A daemon that never waits for the disk: what the power cuts of the bench have to find out, or they prove nothing.

``python -m tests.faults.careless run ...`` is the command line of Postroom with ``synchronous=OFF``.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from pipeline.store import sqlite


def _asserts_nothing(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous=OFF")


if __name__ == "__main__":
    sqlite._assert_durable = _asserts_nothing
    from gateway.cli import main

    sys.exit(main())

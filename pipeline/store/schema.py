"""The schema and its numbered migrations; sqlite-utils keeps the books of what was applied.

A migration is a file ``migrations/NNNN_name.DIALECT.sql``. It is applied once, in order, in one transaction together
with the record of it, so a kill in the middle leaves the store as it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from pipeline.errors import Refused


def statements(script: str) -> Iterator[str]:
    """The single statements of a script, complete as SQLite sees it."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if "".join(line for line in pending.splitlines() if not line.lstrip().startswith("--")).strip():
        raise ValueError(f"a migration ends within a statement: {pending.strip()[:80]!r}")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date; raises Refused where a newer Postroom made it."""
    migrations = Migrations("postroom")
    ours: set[str] = set()
    for file in sorted(files(__package__).joinpath("migrations").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sqlite.sql"):
            ours.add(name := file.name.removesuffix(".sqlite.sql"))
            _register(migrations, name, file.read_text("utf-8"))
    database = Database(connection, execute_plugins=False)
    if newer := {each.name for each in migrations.applied(database)} - ours:
        raise Refused(f"the store was made by a newer Postroom ({', '.join(sorted(newer))}): run that version")
    migrations.apply(database)


def _register(migrations: Migrations, name: str, script: str) -> None:
    @migrations(name=name)
    def apply(db: Database) -> None:
        for statement in statements(script):
            db.conn.execute(statement)

"""The schema of an SQLite store: bringing it up to date, and judging whether this release can work with it."""

import asyncio
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import asdict

import aiosqlite

from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.model import Clock, StoreLimits
from sidegate_sidecar.store import migrating
from sidegate_sidecar.store.sql import migrations, query

OLDEST_SQLITE = (3, 37, 0)  # the first with STRICT tables

_MIGRATIONS = migrations("sqlite")
_CREATE_MIGRATIONS = query("sqlite", "create_migrations")
_FIND_MIGRATIONS = query("sqlite", "find_migrations")
_LIST_MIGRATIONS = query("sqlite", "list_migrations")
_RECORD_MIGRATION = query("sqlite", "record_migration")
_CREATE_STORE = query("sqlite", "create_store")


async def migrate(
    connection: aiosqlite.Connection, limits: StoreLimits, clock: Clock, *, after_deploy: bool
) -> list[str]:
    """Apply what is missing, in one transaction; the names. Other processes wait for it and find nothing left to do.
    After any exception the connection is to be closed, which rolls back.

    Args:
        after_deploy: Also apply what is safe only once no older release runs any more. A new store gets all.

    Raises:
        StartupError: The schema is newer than this release can work with.
    """
    await _use_write_ahead_log(connection)
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    await connection.execute_fetchall(_CREATE_MIGRATIONS)
    missing = migrating.to_apply(_MIGRATIONS, await _applied(connection), after_deploy=after_deploy)
    for migration in missing:
        for statement in _statements(migration.script):
            await connection.execute_fetchall(statement)
    for migration in missing:  # only now, for one of them brings a column to note them in
        await connection.execute_fetchall(
            _RECORD_MIGRATION,
            {
                "number": migration.number,
                "name": migration.name,
                "now": clock(),
                "safe_before": migration.safe_before,
            },
        )
    await connection.execute_fetchall(_CREATE_STORE, {"store_id": str(uuid.uuid4()), **asdict(limits)})
    await connection.execute_fetchall("COMMIT")
    return [migration.name for migration in missing]


async def check(connection: aiosqlite.Connection) -> None:
    """Judge the file and its schema.

    Raises:
        StartupError: It is no store, or one that this release cannot work with.
        sqlite3.DatabaseError: It is damaged.
    """
    problems = [row[0] for row in await connection.execute_fetchall("PRAGMA quick_check(1)")]
    if problems != ["ok"]:
        raise sqlite3.DatabaseError(f"quick_check: {problems[0]}")
    if not list(await connection.execute_fetchall(_FIND_MIGRATIONS)):
        raise StartupError("The file is no session store yet. Make it one with `sidegate migrate`.")
    migrating.check_applied(_MIGRATIONS, await _applied(connection))
    [[mode]] = await connection.execute_fetchall("PRAGMA journal_mode")
    if mode != "wal":
        raise StartupError(f"The session store is in journal mode {mode}, not wal. Mend it with `sidegate migrate`.")


async def _applied(connection: aiosqlite.Connection) -> dict[int, bool]:
    rows = await connection.execute_fetchall(_LIST_MIGRATIONS)
    # There is no such column before 0002, and nothing before it that was not safe.
    return {
        row["number"]: bool(row["safe_before"]) if "safe_before" in row.keys() else True  # noqa: SIM118 - no dict
        for row in rows
    }


async def _use_write_ahead_log(connection: aiosqlite.Connection) -> None:
    # The mode stays with the file. SQLite does not wait for other processes' locks here as it does elsewhere.
    while True:
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            await asyncio.sleep(0.01)
        else:
            return


def _statements(script: str) -> Iterator[str]:
    # The driver's own executescript would commit first.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

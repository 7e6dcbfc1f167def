"""The schema of a PostgreSQL store: bringing it up to date, and judging whether this release can work with it."""

import asyncio

import asyncpg

from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.model import StoreLimits
from sidegate_sidecar.store.migrating import check_applied, to_apply
from sidegate_sidecar.store.postgres_links import Connection
from sidegate_sidecar.store.postgres_reading import Header
from sidegate_sidecar.store.sql import migrations, query

OLDEST_SERVER = 14  # the oldest that its makers still maintain
"""The oldest major version of the server."""

LOCK_SECONDS = 0.1
"""How long a migration may hold up look-ups while it waits for a table: well below what `check_database` has."""

PAUSE_SECONDS = 1.0
"""How long look-ups then pass before it tries again."""

_MIGRATIONS = migrations("postgres")
_TAKE_MIGRATION_LOCK = query("postgres", "take_migration_lock")
_FIND_SCHEMA = query("postgres", "find_schema")
_CREATE_SCHEMA = query("postgres", "create_schema")
_CREATE_MIGRATIONS = query("postgres", "create_migrations")
_LIST_MIGRATIONS = query("postgres", "list_migrations")
_RECORD_MIGRATION = query("postgres", "record_migration")
_CREATE_STORE = query("postgres", "create_store")


async def migrate(connection: Connection, limits: StoreLimits, *, after_deploy: bool, patience: float) -> list[str]:
    """Apply what is missing, in one transaction; the names. Other processes wait for it and find nothing left to do.
    After any exception the connection is to be closed, which rolls back.

    Whoever is to change a table waits until no transaction uses it, and everybody who comes later waits behind. So it
    waits for `LOCK_SECONDS` only, lets them pass, and tries again.

    Args:
        patience: For how long it tries, in seconds.

    Raises:
        StartupError: The server or its database will not do, or the schema is newer than this release.
        asyncpg.LockNotAvailableError: A transaction used a table all the time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return await _migrate(connection, limits, after_deploy=after_deploy)
        except asyncpg.LockNotAvailableError:
            if loop.time() + PAUSE_SECONDS > deadline:
                raise
        await connection.execute("ROLLBACK")
        await asyncio.sleep(PAUSE_SECONDS)


async def _migrate(connection: Connection, limits: StoreLimits, *, after_deploy: bool) -> list[str]:
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    await connection.execute(_TAKE_MIGRATION_LOCK)
    await connection.execute(f"SET LOCAL lock_timeout = {round(LOCK_SECONDS * 1000)}")
    await _check_server(connection)
    if not await connection.fetchval(_FIND_SCHEMA):
        await connection.execute(_CREATE_SCHEMA)
    await connection.execute(_CREATE_MIGRATIONS)
    applied = {row["number"]: row["safe_before"] for row in await connection.fetch(_LIST_MIGRATIONS)}
    wanted = to_apply(_MIGRATIONS, applied, after_deploy=after_deploy)
    for migration in wanted:
        await connection.execute(migration.script)
        await connection.execute(_RECORD_MIGRATION, migration.number, migration.name, migration.safe_before)
    await connection.execute(_CREATE_STORE, limits.max_token_lifetime, limits.leeway, limits.max_session_lifetime)
    await connection.execute("COMMIT")
    return [migration.name for migration in wanted]


def check(header: Header) -> None:
    """Check that this release can work with the schema. Raises: StartupError."""
    check_applied(_MIGRATIONS, header.migrations)


async def _check_server(connection: Connection) -> None:
    if connection.get_server_version().major < OLDEST_SERVER:
        raise StartupError(f"The session store needs PostgreSQL {OLDEST_SERVER} or later.")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StartupError(f"The session store's database is encoded in {encoding}. Create one in UTF8.")

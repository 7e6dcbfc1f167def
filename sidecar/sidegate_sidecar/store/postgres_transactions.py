"""Where transactions on a PostgreSQL store begin and end."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg

from sidegate_sidecar.errors import RequestRefused, StoreUnavailable
from sidegate_sidecar.store.postgres_links import Connection

# What is written, logins too, is on the disk when the call returns, whatever the server is set to. A stronger setting
# stays as it is.
_COMMIT_TO_DISK = (
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)

T = TypeVar("T")
Task: TypeAlias = Callable[[Connection], Awaitable[T]]
"""What to do in a transaction."""

# A sidecar that vanished in the middle of a transaction holds its locks for no longer than this: the network may never
# tell the server.
_IDLE_MILLISECONDS = 2000


async def transact(connection: Connection, task: Task[T], *, timeout: float, validate_only: bool = False) -> T:
    """All of it or nothing. After any exception but a refusal the connection is to be closed, which rolls back.

    Args:
        connection: Whose transaction it is.
        task: What to do in it. Done anew if a migration has changed what it reads since the connection read it first.
        timeout: Bounds each statement on the server's side, in seconds.
        validate_only: Undo it all, and return its result as if it had been done.
    """
    try:
        result = await _begun(connection, task, "READ WRITE", timeout)
    except RequestRefused:
        await connection.execute("ROLLBACK")
        raise
    if validate_only:
        await connection.execute("ROLLBACK")
    else:
        await _commit(connection)
    return result


async def read_in_transaction(connection: Connection, task: Task[T], *, timeout: float) -> T:
    """What a read says, all of it on one connection of a pooler's. As `transact`, but nothing is written."""
    result = await _begun(connection, task, "READ ONLY", timeout)
    await _commit(connection)
    return result


async def _begun(connection: Connection, task: Task[T], access: str, timeout: float) -> T:
    await _begin(connection, access, timeout)
    try:
        return await task(connection)
    except asyncpg.InvalidCachedStatementError:
        # "cached plan must not change result type": the server has undone the transaction, and the driver has forgotten
        # its statements. Outside of transactions the driver asks again by itself.
        await connection.execute("ROLLBACK")
    await _begin(connection, access, timeout)
    return await task(connection)


async def _begin(connection: Connection, access: str, timeout: float) -> None:
    # One round trip, and nothing of it outlives the transaction.
    await connection.execute(
        f"BEGIN ISOLATION LEVEL READ COMMITTED {access};"
        f" SET LOCAL statement_timeout = {round(timeout * 1000)};"
        f" SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MILLISECONDS};"
        f" {_COMMIT_TO_DISK}"
    )


async def _commit(connection: Connection) -> None:
    if await connection.execute("COMMIT") != "COMMIT":  # the server says ROLLBACK where a statement had failed
        raise StoreUnavailable("The session store did not commit.")

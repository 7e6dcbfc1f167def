"""Writing to an SQLite store, but for revoking. Each function is one transaction; SQLite's write lock is the log's."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import aiosqlite

from sidegate_sidecar.errors import RequestRefused
from sidegate_sidecar.model import (
    Clock,
    Micros,
    Registration,
    Removed,
    SessionRecord,
    StoreLimits,
)
from sidegate_sidecar.store import registering, sqlite_reading
from sidegate_sidecar.store.sql import query

T = TypeVar("T")

PUT_SESSIONS = query("sqlite", "put_sessions")
REMOVE_SESSIONS = query("sqlite", "remove_sessions")
REMOVE_ENTRIES = query("sqlite", "remove_entries")
_ADVANCE_HORIZON = query("sqlite", "advance_horizon")
_RAISE_LIMITS = query("sqlite", "raise_limits")
_PUT_OFF_FORGETTING = query("sqlite", "put_off_forgetting")
_RENEW_IDENTITY = query("sqlite", "renew_identity")
_FORGET_ALL_REQUESTS = query("sqlite", "forget_all_requests")


@dataclass(frozen=True, slots=True)
class Transaction:
    """What holds while the write lock is held.

    Attributes:
        now: The store's clock, read under the lock: T of the watermark that this transaction writes.
        head: The last sequence handed out before it.
        validate_only: Whether it is undone when its answer is known.
    """

    connection: aiosqlite.Connection
    now: Micros
    store_id: str
    head: int
    limits: StoreLimits
    validate_only: bool

    @property
    def token_afterlife(self) -> Micros:
        """For how long after its end a session's last token may still be taken for good."""
        return self.limits.max_token_lifetime + self.limits.leeway


async def transact(
    connection: aiosqlite.Connection,
    clock: Clock,
    work: Callable[[Transaction], Awaitable[T]],
    *,
    deadline: float,
    validate_only: bool = False,
) -> T:
    """All of it or nothing. After any exception but a refusal the connection is to be closed, which rolls back.

    Args:
        deadline: When the caller stops waiting, in the loop's time. A transaction that begins later does nothing: one
            who was told that the store is unavailable should not find much later that it was done after all.
        validate_only: Undo it all, and return its result as if it had been done.
    """
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    if asyncio.get_running_loop().time() >= deadline:
        raise TimeoutError
    [row] = await connection.execute_fetchall(sqlite_reading.READ_STORE)
    transaction = Transaction(
        connection=connection,
        now=clock(),
        store_id=row["store_id"],
        head=row["head_sequence"],
        limits=sqlite_reading.limits_from(row),
        validate_only=validate_only,
    )
    try:
        result = await work(transaction)
    except RequestRefused:
        await connection.rollback()
        raise
    await connection.execute_fetchall("ROLLBACK" if validate_only else "COMMIT")
    return result


async def raise_limits(transaction: Transaction, limits: StoreLimits) -> StoreLimits:
    """Raise those that are lower; what is then in force."""
    await transaction.connection.execute_fetchall(_RAISE_LIMITS, asdict(limits))
    raised = await sqlite_reading.limits(transaction.connection)
    growth = _total(raised) - _total(transaction.limits)
    if growth:
        await transaction.connection.execute_fetchall(_PUT_OFF_FORGETTING, {"growth": growth})
    return raised


async def renew_identity(transaction: Transaction, store_id: str) -> None:
    """Make it another store, if it is still the one named."""
    if transaction.store_id == store_id:
        await transaction.connection.execute_fetchall(
            _RENEW_IDENTITY, {"store_id": store_id, "new_store_id": str(uuid.uuid4())}
        )
        await transaction.connection.execute_fetchall(_FORGET_ALL_REQUESTS)


async def register(transaction: Transaction, registrations: Sequence[Registration]) -> list[SessionRecord]:
    """Record sessions, all or none."""
    subjects = [registering.subject_of(registration) for registration in registrations]
    facts = await sqlite_reading.look_up(transaction.connection, subjects)
    records = registering.judge(registrations, facts, now=transaction.now)
    rows = [
        [
            record.issuer,
            record.session_handle,
            record.user_id,
            record.tenant_id,
            record.create_time,
            record.session_expire_time,
        ]
        for record in records
    ]
    await transaction.connection.execute_fetchall(PUT_SESSIONS, {"sessions": json.dumps(rows)})
    return records


async def compact(transaction: Transaction, limit: int) -> Removed:
    """Remove up to `limit` sessions; once there are no more of them, up to `limit` log entries."""
    async with transaction.connection.execute(
        REMOVE_SESSIONS, {"ended_by": transaction.now - transaction.token_afterlife, "limit": limit}
    ) as cursor:
        sessions = cursor.rowcount
    if sessions == limit:
        return Removed(log_entries=0, sessions=sessions)
    rows = await transaction.connection.execute_fetchall(
        REMOVE_ENTRIES, {"now": transaction.now, "head": transaction.head, "limit": limit}
    )
    removed = [row["sequence"] for row in rows]
    if removed:
        await transaction.connection.execute_fetchall(
            _ADVANCE_HORIZON, {"highest": max(removed), "count": len(removed)}
        )
    return Removed(log_entries=len(removed), sessions=sessions)


def _total(limits: StoreLimits) -> Micros:
    return limits.max_token_lifetime + limits.leeway + limits.max_session_lifetime

"""Writing to an SQLite store. Each function is one transaction; SQLite's write lock is the log lock."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import aiosqlite

from sidegate_sidecar.errors import InvalidRequest, RequestRefused
from sidegate_sidecar.model import (
    Attribution,
    Clock,
    Micros,
    Registration,
    Revision,
    SessionRecord,
    SessionsEnded,
    SessionsRevoked,
    StoreLimits,
)
from sidegate_sidecar.store import registering, replay, sqlite_reading
from sidegate_sidecar.store.sql import query

T = TypeVar("T")
Revoked = TypeVar("Revoked", SessionsRevoked, SessionsEnded)

PUT_SESSIONS = query("sqlite", "put_sessions")
REVOKE_HANDLES = query("sqlite", "revoke_handles")
WRITE_USER_WATERMARK = query("sqlite", "write_user_watermark")
REVOKE_SESSIONS_OF_USER = query("sqlite", "revoke_sessions_of_user")
FIND_REQUEST = query("sqlite", "find_request")
FORGET_REQUESTS = query("sqlite", "forget_requests")
_ADVANCE_HEAD = query("sqlite", "advance_head")
_RAISE_LIMITS = query("sqlite", "raise_limits")
_PUT_OFF_FORGETTING = query("sqlite", "put_off_forgetting")
_RENEW_IDENTITY = query("sqlite", "renew_identity")
_FORGET_ALL_REQUESTS = query("sqlite", "forget_all_requests")
_REMEMBER_REQUEST = query("sqlite", "remember_request")


@dataclass(frozen=True, slots=True)
class Transaction:
    """What holds while the write lock is held.

    Attributes:
        now: The store's clock, read under the lock: T of the watermark that this transaction writes.
        head: The last sequence handed out before it.
    """

    connection: aiosqlite.Connection
    now: Micros
    store_id: str
    head: int
    limits: StoreLimits

    def retention(self) -> dict[str, int]:
        """The parameters from which the queries reckon `forget_time`."""
        return {
            "now": self.now,
            "max_session_lifetime": self.limits.max_session_lifetime,
            "token_afterlife": self.limits.max_token_lifetime + self.limits.leeway,
        }


async def transact(
    connection: aiosqlite.Connection, clock: Clock, work: Callable[[Transaction], Awaitable[T]], *, deadline: float
) -> T:
    """All of it or nothing. After any exception but a refusal the connection is to be closed, which rolls back.

    Args:
        deadline: When the caller stops waiting, in the loop's time. A transaction that begins later does nothing: one
            who was told that the store is unavailable should not find much later that it was done after all.
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
    )
    try:
        result = await work(transaction)
    except RequestRefused:
        await connection.rollback()
        raise
    await connection.execute_fetchall("COMMIT")
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


async def revoke_sessions(
    transaction: Transaction, issuer: str, session_handles: Sequence[str], attribution: Attribution
) -> SessionsRevoked:
    """Revoke handles, all or none."""

    async def revoke() -> SessionsRevoked:
        rows = await transaction.connection.execute_fetchall(
            REVOKE_HANDLES,
            {
                "issuer": issuer,
                "session_handles": json.dumps(list(session_handles)),
                "head": transaction.head,
                **transaction.retention(),
                **asdict(attribution),
            },
        )
        logged = {row["subject"] for row in rows}  # RETURNING promises no order
        return SessionsRevoked(
            newly_revoked=tuple(handle for handle in dict.fromkeys(session_handles) if handle in logged),
            revision=await _advance(transaction, transaction.head + len(logged)),
        )

    asked = replay.fingerprint("revoke_sessions", issuer, list(session_handles), attribution.reason)
    return await _once(transaction, attribution, asked, replay.sessions_revoked, revoke)


async def revoke_user(
    transaction: Transaction,
    issuer: str,
    user_id: str,
    *,
    tenant_id: str | None,
    except_session_handle: str | None,
    accept_unknown_exception: bool,
    attribution: Attribution,
) -> SessionsEnded:
    """Write a watermark, then the handles that it ends: one stretch of the log, the watermark first."""

    async def revoke() -> SessionsEnded:
        if except_session_handle is not None:
            spared = await sqlite_reading.get_session(transaction.connection, issuer, except_session_handle)
            if not accept_unknown_exception if spared is None else spared.user_id != user_id:
                raise InvalidRequest(
                    "except_session_handle", "names no session of that user", reason="NOT_A_SESSION_OF_USER"
                )
        values = {
            "issuer": issuer,
            "user_id": user_id,
            "tenant_id": tenant_id,
            "except_session_handle": except_session_handle,
            "watermark": transaction.head + 1,
            **transaction.retention(),
            **asdict(attribution),
        }
        await transaction.connection.execute_fetchall(WRITE_USER_WATERMARK, values)
        async with transaction.connection.execute(REVOKE_SESSIONS_OF_USER, values) as cursor:
            ended = cursor.rowcount
        return SessionsEnded(revoked_count=ended, revision=await _advance(transaction, transaction.head + 1 + ended))

    asked = replay.fingerprint(
        "revoke_user",
        issuer,
        user_id,
        tenant_id,
        except_session_handle,
        attribution.reason,
    )
    return await _once(transaction, attribution, asked, replay.user_revoked, revoke)


async def _once(
    transaction: Transaction,
    attribution: Attribution,
    asked: bytes,
    answer_from: Callable[[str], Revoked],
    revoke: Callable[[], Awaitable[Revoked]],
) -> Revoked:
    """What was answered to this request before, else what `revoke` answers now."""
    if attribution.request_id is None:
        return await revoke()
    key = {"actor": attribution.actor, "request_id": attribution.request_id}
    for row in await transaction.connection.execute_fetchall(FIND_REQUEST, {**key, "now": transaction.now}):
        if row["fingerprint"] != asked:
            raise replay.reused()
        return answer_from(row["response"])
    answer = await revoke()
    await transaction.connection.execute_fetchall(FORGET_REQUESTS, {"now": transaction.now})
    await transaction.connection.execute_fetchall(
        _REMEMBER_REQUEST,
        {
            **key,
            "fingerprint": asked,
            "response": replay.kept(answer),
            "expire_time": transaction.now + replay.REPLAY_SPAN,
        },
    )
    return answer


async def _advance(transaction: Transaction, head: int) -> Revision:
    if head != transaction.head:
        await transaction.connection.execute_fetchall(_ADVANCE_HEAD, {"head": head})
    return Revision(transaction.store_id, head)


def _total(limits: StoreLimits) -> Micros:
    return limits.max_token_lifetime + limits.leeway + limits.max_session_lifetime

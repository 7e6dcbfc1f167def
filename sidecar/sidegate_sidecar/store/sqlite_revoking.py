"""Revoking in an SQLite store. Each function is one transaction; SQLite's write lock is the log lock."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace

import aiosqlite

from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import (
    Attribution,
    KeyRevoked,
    Micros,
    Revision,
    RevocationKind,
    SessionsEnded,
    SessionsRevoked,
)
from sidegate_sidecar.store import replay, sqlite_reading
from sidegate_sidecar.store.replay import AnyAnswer
from sidegate_sidecar.store.sql import query
from sidegate_sidecar.store.sqlite_writing import Transaction

REVOKE_HANDLES = query("sqlite", "revoke_handles")
FIND_KEY_REVOCATION = query("sqlite", "find_key_revocation")
FIND_REQUEST = query("sqlite", "find_request")
FORGET_REQUESTS = query("sqlite", "forget_requests")
_APPEND_ENTRY = query("sqlite", "append_entry")
SUPERSEDE_WATERMARKS = query("sqlite", "supersede_watermarks")
_ADVANCE_HEAD = query("sqlite", "advance_head")
_REMEMBER_REQUEST = query("sqlite", "remember_request")

_END_SESSIONS = query("sqlite", "end_sessions")
END_SESSIONS_OF_USER = _END_SESSIONS.replace("{index}", "sessions_by_user").replace(
    "{covered}",
    "session.user_id = :subject"
    " AND (:tenant_id IS NULL OR session.tenant_id = :tenant_id)"
    " AND (:except_session_handle IS NULL OR session.session_handle <> :except_session_handle)",
)
END_SESSIONS_OF_TENANT = _END_SESSIONS.replace("{index}", "sessions_by_tenant").replace(
    "{covered}",
    "session.tenant_id = :subject AND session.tenant_id <> ''",  # the second is the index's own condition
)


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
                "now": transaction.now,
                "max_session_lifetime": transaction.limits.max_session_lifetime,
                "token_afterlife": transaction.token_afterlife,
                **asdict(attribution),
            },
        )
        logged = {row["subject"] for row in rows}  # RETURNING promises no order
        return SessionsRevoked(
            newly_revoked=tuple(handle for handle in dict.fromkeys(session_handles) if handle in logged),
            revision=await _advance(transaction, transaction.head + len(logged)),
        )

    asked = replay.fingerprint("revoke_sessions", issuer, list(session_handles), attribution.reason)
    return await _once(transaction, attribution, asked, SessionsRevoked, revoke)


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
    """Write a watermark, then the handles that it ends."""

    async def revoke() -> SessionsEnded:
        if except_session_handle is not None:
            spared = await sqlite_reading.get_session(transaction.connection, issuer, except_session_handle)
            if not accept_unknown_exception if spared is None else spared.user_id != user_id:
                raise InvalidRequest(
                    "except_session_handle", "names no session of that user", reason="NOT_A_SESSION_OF_USER"
                )
        return await _end_sessions(
            transaction,
            END_SESSIONS_OF_USER,
            RevocationKind.USER,
            issuer,
            user_id,
            attribution,
            tenant_id=tenant_id,
            except_session_handle=except_session_handle,
        )

    asked = replay.fingerprint(
        "revoke_user",
        issuer,
        user_id,
        tenant_id,
        except_session_handle,
        attribution.reason,
    )
    return await _once(transaction, attribution, asked, SessionsEnded, revoke)


async def revoke_tenant(
    transaction: Transaction, issuer: str, tenant_id: str, attribution: Attribution
) -> SessionsEnded:
    """Write a watermark, then the handles that it ends."""

    async def revoke() -> SessionsEnded:
        return await _end_sessions(
            transaction, END_SESSIONS_OF_TENANT, RevocationKind.TENANT, issuer, tenant_id, attribution
        )

    asked = replay.fingerprint("revoke_tenant", issuer, tenant_id, attribution.reason)
    return await _once(transaction, attribution, asked, SessionsEnded, revoke)


async def revoke_key(
    transaction: Transaction, issuer: str, key_thumbprint: str, attribution: Attribution, *, key_id: str | None
) -> KeyRevoked:
    """Revoke a key for ever, once."""

    async def revoke() -> KeyRevoked:
        if list(
            await transaction.connection.execute_fetchall(
                FIND_KEY_REVOCATION, {"issuer": issuer, "subject": key_thumbprint}
            )
        ):
            return KeyRevoked(newly_revoked=False, revision=await _advance(transaction, transaction.head))
        await _append(transaction, RevocationKind.KEY, issuer, key_thumbprint, attribution, None, key_id=key_id)
        return KeyRevoked(newly_revoked=True, revision=await _advance(transaction, transaction.head + 1))

    asked = replay.fingerprint_of_key(issuer, key_thumbprint, key_id, attribution.reason)
    return await _once(transaction, attribution, asked, KeyRevoked, revoke)


async def find_key_replay(
    connection: aiosqlite.Connection, issuer: str, key_id: str, attribution: Attribution, *, now: Micros
) -> KeyRevoked | None:
    """What was answered to this request before."""
    asked = replay.fingerprint_of_key(issuer, "", key_id, attribution.reason)
    return await _kept(connection, attribution, asked, KeyRevoked, now)


async def _end_sessions(
    transaction: Transaction,
    end_covered: str,
    kind: RevocationKind,
    issuer: str,
    subject: str,
    attribution: Attribution,
    **limited_to: str | None,
) -> SessionsEnded:
    """One stretch of the log: the watermark, then the handles of the sessions that it ends."""
    forget_time = transaction.now + transaction.limits.max_session_lifetime + transaction.token_afterlife
    values = await _append(transaction, kind, issuer, subject, attribution, forget_time, **limited_to)
    async with transaction.connection.execute(
        end_covered, {**values, "token_afterlife": transaction.token_afterlife}
    ) as cursor:
        ended = cursor.rowcount
    return SessionsEnded(revoked_count=ended, revision=await _advance(transaction, transaction.head + 1 + ended))


async def _append(
    transaction: Transaction,
    kind: RevocationKind,
    issuer: str,
    subject: str,
    attribution: Attribution,
    forget_time: Micros | None,
    **more: str | None,
) -> dict[str, object]:
    """Log an entry after the head. What was written, by the names of the columns."""
    values: dict[str, object] = {
        "sequence": transaction.head + 1,
        "kind": kind.value,
        "issuer": issuer,
        "subject": subject,
        "tenant_id": None,
        "except_session_handle": None,
        "now": transaction.now,
        "forget_time": forget_time,
        "user_id": subject if kind is RevocationKind.USER else None,
        "key_id": None,
        **asdict(attribution),
        **more,
    }
    if kind is RevocationKind.USER:
        await transaction.connection.execute_fetchall(SUPERSEDE_WATERMARKS, values)
    await transaction.connection.execute_fetchall(_APPEND_ENTRY, values)
    return values


async def _once(
    transaction: Transaction,
    attribution: Attribution,
    asked: bytes,
    kind: type[AnyAnswer],
    revoke: Callable[[], Awaitable[AnyAnswer]],
) -> AnyAnswer:
    """What was answered to this request before, else what `revoke` answers now."""
    kept = await _kept(transaction.connection, attribution, asked, kind, transaction.now)
    if kept is not None:
        return kept
    answer = await revoke()
    if transaction.validate_only:
        return replace(answer, revision=Revision(transaction.store_id, transaction.head))
    if attribution.request_id is not None:
        await transaction.connection.execute_fetchall(FORGET_REQUESTS, {"now": transaction.now})
        await transaction.connection.execute_fetchall(
            _REMEMBER_REQUEST,
            {
                "actor": attribution.actor,
                "request_id": attribution.request_id,
                "fingerprint": asked,
                "response": replay.kept(answer),
                "expire_time": transaction.now + replay.REPLAY_SPAN,
            },
        )
    return answer


async def _kept(
    connection: aiosqlite.Connection, attribution: Attribution, asked: bytes, kind: type[AnyAnswer], now: Micros
) -> AnyAnswer | None:
    if attribution.request_id is None:
        return None
    named = {"actor": attribution.actor, "request_id": attribution.request_id, "now": now}
    for row in await connection.execute_fetchall(FIND_REQUEST, named):
        if row["fingerprint"] != asked:
            raise replay.reused()
        return replay.answer_from(row["response"], kind)
    return None


async def _advance(transaction: Transaction, head: int) -> Revision:
    if head != transaction.head:
        await transaction.connection.execute_fetchall(_ADVANCE_HEAD, {"head": head})
    return Revision(transaction.store_id, head)

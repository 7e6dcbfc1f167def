"""Revoking in a PostgreSQL store. Each function is the work of one transaction: stripes, the log lock, the entries."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

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
from sidegate_sidecar.store import postgres_reading, replay
from sidegate_sidecar.store.postgres_links import Connection
from sidegate_sidecar.store.postgres_writing import (
    STORE_NOW,
    Stripe,
    Transaction,
    affected,
    take_log_lock,
    take_stripes,
)
from sidegate_sidecar.store.replay import AnyAnswer
from sidegate_sidecar.store.sql import query

REVOKE_HANDLES = query("postgres", "revoke_handles")
FIND_REQUEST = query("postgres", "find_request")
FORGET_REQUESTS = query("postgres", "forget_requests")
WRITE_WATERMARK = query("postgres", "write_watermark")
_REVOKE_KEY = query("postgres", "revoke_key")
_WAKE_FOLLOWERS = query("postgres", "wake_followers")
_REMEMBER_REQUEST = query("postgres", "remember_request")

_UNDER_WATERMARK = query("postgres", "revoke_sessions_under_watermark")
REVOKE_SESSIONS_OF_USER = _UNDER_WATERMARK.replace("{column}", "user_id")
REVOKE_SESSIONS_OF_TENANT = _UNDER_WATERMARK.replace("{column}", "tenant_id")


async def revoke_sessions(
    connection: Connection,
    issuer: str,
    session_handles: Sequence[str],
    attribution: Attribution,
    *,
    validate_only: bool,
) -> SessionsRevoked:
    """Revoke handles, all or none."""
    await take_stripes(connection, [Stripe(RevocationKind.SESSION, issuer, handle) for handle in session_handles])
    transaction = await take_log_lock(connection, validate_only=validate_only)

    async def revoke() -> SessionsRevoked:
        rows = await connection.fetch(
            REVOKE_HANDLES,
            transaction.head,
            issuer,
            list(session_handles),
            transaction.now,
            transaction.limits.max_session_lifetime,
            transaction.token_afterlife,
            attribution.actor,
            attribution.reason,
            attribution.request_id,
        )
        logged = {row["subject"] for row in rows}  # RETURNING promises no order
        return SessionsRevoked(
            newly_revoked=tuple(handle for handle in dict.fromkeys(session_handles) if handle in logged),
            revision=await _advance(transaction, len(logged)),
        )

    asked = replay.fingerprint("revoke_sessions", issuer, list(session_handles), attribution.reason)
    return await _once(transaction, attribution, asked, SessionsRevoked, revoke)


async def revoke_user(
    connection: Connection,
    issuer: str,
    user_id: str,
    *,
    tenant_id: str | None,
    except_session_handle: str | None,
    accept_unknown_exception: bool,
    attribution: Attribution,
    validate_only: bool,
) -> SessionsEnded:
    """Write a watermark, then the handles that it ends: one stretch of the log, the watermark first."""
    stripes = [Stripe(RevocationKind.USER, issuer, user_id)]
    if except_session_handle is not None:
        stripes.append(Stripe(RevocationKind.SESSION, issuer, except_session_handle, shared=True))
    await take_stripes(connection, stripes)
    transaction = await take_log_lock(connection, validate_only=validate_only)

    async def revoke() -> SessionsEnded:
        if except_session_handle is not None:
            spared = await postgres_reading.get_session(connection, issuer, except_session_handle)
            if not accept_unknown_exception if spared is None else spared.user_id != user_id:
                raise InvalidRequest(
                    "except_session_handle", "names no session of that user", reason="NOT_A_SESSION_OF_USER"
                )
        return await _end_sessions(
            transaction,
            RevocationKind.USER,
            issuer,
            user_id,
            attribution,
            tenant_id=tenant_id,
            except_session_handle=except_session_handle,
        )

    asked = replay.fingerprint("revoke_user", issuer, user_id, tenant_id, except_session_handle, attribution.reason)
    return await _once(transaction, attribution, asked, SessionsEnded, revoke)


async def revoke_tenant(
    connection: Connection, issuer: str, tenant_id: str, attribution: Attribution, *, validate_only: bool
) -> SessionsEnded:
    """Write a watermark, then the handles that it ends: one stretch of the log, the watermark first."""
    await take_stripes(connection, [Stripe(RevocationKind.TENANT, issuer, tenant_id)])
    transaction = await take_log_lock(connection, validate_only=validate_only)

    async def revoke() -> SessionsEnded:
        return await _end_sessions(transaction, RevocationKind.TENANT, issuer, tenant_id, attribution)

    asked = replay.fingerprint("revoke_tenant", issuer, tenant_id, attribution.reason)
    return await _once(transaction, attribution, asked, SessionsEnded, revoke)


async def revoke_key(
    connection: Connection,
    issuer: str,
    key_thumbprint: str,
    attribution: Attribution,
    *,
    key_id: str | None,
    validate_only: bool,
) -> KeyRevoked:
    """Revoke a key for ever."""
    transaction = await take_log_lock(connection, validate_only=validate_only)

    async def revoke() -> KeyRevoked:
        logged = affected(
            await connection.execute(
                _REVOKE_KEY,
                transaction.head + 1,
                issuer,
                key_thumbprint,
                transaction.now,
                attribution.actor,
                attribution.reason,
                attribution.request_id,
                key_id,
            )
        )
        return KeyRevoked(newly_revoked=bool(logged), revision=await _advance(transaction, logged))

    asked = replay.fingerprint_of_key(issuer, key_thumbprint, key_id, attribution.reason)
    return await _once(transaction, attribution, asked, KeyRevoked, revoke)


async def find_key_replay(
    connection: Connection, issuer: str, key_id: str, attribution: Attribution
) -> KeyRevoked | None:
    """What was answered to this request before."""
    asked = replay.fingerprint_of_key(issuer, "", key_id, attribution.reason)
    now = await connection.fetchval(STORE_NOW)
    return await _kept(connection, attribution, asked, KeyRevoked, now)


async def _end_sessions(
    transaction: Transaction,
    kind: RevocationKind,
    issuer: str,
    subject: str,
    attribution: Attribution,
    *,
    tenant_id: str | None = None,
    except_session_handle: str | None = None,
) -> SessionsEnded:
    watermark = transaction.head + 1
    ended = affected(
        await transaction.connection.execute(
            REVOKE_SESSIONS_OF_USER if kind is RevocationKind.USER else REVOKE_SESSIONS_OF_TENANT,
            watermark,
            issuer,
            subject,
            tenant_id,
            except_session_handle,
            transaction.now,
            transaction.token_afterlife,
            attribution.actor,
            attribution.reason,
            attribution.request_id,
        )
    )
    await transaction.connection.execute(
        WRITE_WATERMARK,
        watermark,
        kind.value,
        issuer,
        subject,
        tenant_id,
        except_session_handle,
        transaction.now,
        transaction.limits.max_session_lifetime + transaction.token_afterlife,
        attribution.actor,
        attribution.reason,
        attribution.request_id,
        watermark + ended,
    )
    return SessionsEnded(revoked_count=ended, revision=await _advance(transaction, 1 + ended))


async def _once(
    transaction: Transaction,
    attribution: Attribution,
    asked: bytes,
    kind: type[AnyAnswer],
    revoke: Callable[[], Awaitable[AnyAnswer]],
) -> AnyAnswer:
    """What was answered to this request before, else what `revoke` answers now."""
    connection = transaction.connection
    kept = await _kept(connection, attribution, asked, kind, transaction.now)
    if kept is not None:
        return kept
    answer = await revoke()
    if transaction.validate_only:
        return replace(answer, revision=transaction.revision)
    if attribution.request_id is not None:
        await connection.execute(FORGET_REQUESTS, transaction.now)
        await connection.execute(
            _REMEMBER_REQUEST,
            attribution.actor,
            attribution.request_id,
            asked,
            replay.kept(answer),
            transaction.now + replay.REPLAY_SPAN,
        )
    return answer


async def _kept(
    connection: Connection, attribution: Attribution, asked: bytes, kind: type[AnyAnswer], now: Micros
) -> AnyAnswer | None:
    if attribution.request_id is None:
        return None
    kept = await connection.fetchrow(FIND_REQUEST, attribution.actor, attribution.request_id, now)
    if kept is None:
        return None
    if kept["fingerprint"] != asked:
        raise replay.reused()
    return replay.answer_from(kept["response"], kind)


async def _advance(transaction: Transaction, entries: int) -> Revision:
    """The revision that so many entries make. The first of them tells the head to whoever reads the log."""
    if entries:
        await transaction.connection.execute(_WAKE_FOLLOWERS)
    return Revision(transaction.store_id, transaction.head + entries)

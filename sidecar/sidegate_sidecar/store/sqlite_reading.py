"""Reading an SQLite store. Each function is one statement, and so one snapshot."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict

import aiosqlite

from sidegate_sidecar.model import (
    Attribution,
    AuditEntry,
    AuditFilter,
    Coverage,
    LogEntry,
    LogPage,
    Revision,
    RevocationKind,
    SessionRecord,
    StoreFacts,
    StoreLimits,
    Subject,
)
from sidegate_sidecar.store.sql import query

READ_STORE = query("sqlite", "read_store")
LOOK_UP = query("sqlite", "look_up")
READ_LOG = query("sqlite", "read_log")
GET_SESSION = query("sqlite", "get_session")
LIST_SESSIONS = query("sqlite", "list_sessions")
LIST_REVOCATIONS = query("sqlite", "list_revocations")

_KINDS = {kind.value: kind for kind in RevocationKind}
_AUDIT_CONDITIONS = {
    "issuer": "issuer = :issuer",
    "session_handle": "kind = 's' AND subject = :session_handle",
    "user_id": "user_id = :user_id",
    "tenant_id": "(kind = 't' AND subject = :tenant_id OR tenant_id = :tenant_id)",
    "actor": "actor = :actor",
    "before": "sequence < :before",
}


async def limits(connection: aiosqlite.Connection) -> StoreLimits:
    """The limits that retention rests on."""
    [row] = await connection.execute_fetchall(READ_STORE)
    return limits_from(row)


async def look_up(connection: aiosqlite.Connection, subjects: Sequence[Subject]) -> list[StoreFacts]:
    """What is known of each, in their order."""
    wanted = [
        [each.issuer, each.session_handle, each.user_id, each.tenant_id, each.key_thumbprint] for each in subjects
    ]
    rows = await connection.execute_fetchall(LOOK_UP, {"subjects": json.dumps(wanted)})
    return [
        StoreFacts(
            coverage=Coverage(
                session_revoked=row["revoke_time"] is not None,
                key_revoked=bool(row["key_revoked"]),
                user_watermark=row["user_watermark"],
                tenant_watermark=row["tenant_watermark"],
            ),
            record=None if row["create_time"] is None else _record(row),
            revision=Revision(row["store_id"], row["head_sequence"]),
        )
        for row in rows
    ]


async def read_log(connection: aiosqlite.Connection, first: int, limit: int) -> LogPage:
    """A stretch of the log, its head and its horizon at the same moment."""
    [header, *rows] = await connection.execute_fetchall(READ_LOG, {"first": first, "limit": limit})
    store_id, digest_salt, head, horizon, removed, *_ = header
    return LogPage(
        store_id=store_id,
        digest_salt=digest_salt,
        head=head,
        horizon=horizon,
        removed=removed,
        # By position: a million entries are read when a sidecar starts, and names cost as much again.
        entries=tuple(
            LogEntry(sequence, entry_id, _KINDS[kind], issuer, subject, tenant_id, spared, revoke_time, forget_time)
            for sequence, entry_id, kind, issuer, subject, tenant_id, spared, revoke_time, forget_time in rows
        ),
    )


async def get_session(connection: aiosqlite.Connection, issuer: str, session_handle: str) -> SessionRecord | None:
    """One registered session."""
    rows = await connection.execute_fetchall(GET_SESSION, {"issuer": issuer, "session_handle": session_handle})
    return next(map(_record, rows), None)


async def list_sessions(
    connection: aiosqlite.Connection, issuer: str, user_id: str, after: str, limit: int
) -> list[SessionRecord]:
    """A page of a user's sessions."""
    wanted = {"issuer": issuer, "user_id": user_id, "after": after, "limit": limit}
    return [_record(row) for row in await connection.execute_fetchall(LIST_SESSIONS, wanted)]


async def list_revocations(
    connection: aiosqlite.Connection, wanted: AuditFilter, before: int | None, limit: int
) -> list[AuditEntry]:
    """A page of the audit trail."""
    statement, values = audit_query(wanted, before, limit)
    return [_audit_entry(row) for row in await connection.execute_fetchall(statement, values)]


def audit_query(wanted: AuditFilter, before: int | None, limit: int) -> tuple[str, dict[str, str | int]]:
    """The statement of `list_revocations` for these filters, and its parameters."""
    values: dict[str, str | int] = {name: value for name, value in asdict(wanted).items() if value is not None}
    if before is not None:
        values["before"] = before
    conditions = " AND ".join(_AUDIT_CONDITIONS[name] for name in values) or "true"
    return LIST_REVOCATIONS.replace("{conditions}", conditions), {**values, "limit": limit}


def limits_from(row: sqlite3.Row) -> StoreLimits:
    """The limits in the store's one row."""
    return StoreLimits(
        max_token_lifetime=row["max_token_lifetime"],
        leeway=row["leeway"],
        max_session_lifetime=row["max_session_lifetime"],
    )


def _record(row: sqlite3.Row) -> SessionRecord:
    return SessionRecord(
        issuer=row["issuer"],
        session_handle=row["session_handle"],
        user_id=row["user_id"],
        tenant_id=row["tenant_id"],
        create_time=row["create_time"],
        session_expire_time=row["session_expire_time"],
        revoke_time=row["revoke_time"],
    )


def _entry(row: sqlite3.Row) -> LogEntry:
    return LogEntry(
        sequence=row["sequence"],
        entry_id=row["entry_id"],
        kind=_KINDS[row["kind"]],
        issuer=row["issuer"],
        subject=row["subject"],
        tenant_id=row["tenant_id"],
        except_session_handle=row["except_session_handle"],
        revoke_time=row["revoke_time"],
        forget_time=row["forget_time"],
    )


def _audit_entry(row: sqlite3.Row) -> AuditEntry:
    entry = _entry(row)
    return AuditEntry(
        entry=entry,
        attribution=Attribution(actor=row["actor"], reason=row["reason"], request_id=row["request_id"]),
        store_id=row["store_id"],
        user_id=row["user_id"] or "" if entry.kind is RevocationKind.SESSION else "",
        key_id=row["key_id"] or "",
        cause_sequence=row["cause_sequence"] or 0,
    )

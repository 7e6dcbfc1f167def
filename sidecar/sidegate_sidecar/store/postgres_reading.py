"""Reading a PostgreSQL store. Each function is one statement, and so one snapshot."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import asyncpg

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
from sidegate_sidecar.store.postgres_links import Connection
from sidegate_sidecar.store.sql import query

LOOK_UP = query("postgres", "look_up")
READ_LOG = query("postgres", "read_log")
GET_SESSION = query("postgres", "get_session")
LIST_SESSIONS = query("postgres", "list_sessions")
LIST_REVOCATIONS = query("postgres", "list_revocations")

_KINDS = {kind.value: kind for kind in RevocationKind}  # calling the enumeration costs twenty times as much
_AUDIT_CONDITIONS = {
    "issuer": "issuer = {}",
    "session_handle": "kind = 's' AND subject = {}",
    "user_id": "user_id = {}",
    "tenant_id": "(kind = 't' AND subject = {0} OR tenant_id = {0})",
    "actor": "actor = {}",
    "before": "sequence < {}",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the store says of itself with every page of its log.

    Attributes:
        migrations: The numbers of those applied; of each, whether it was safe before its deploy.
    """

    limits: StoreLimits
    migrations: dict[int, bool]


async def look_up(connection: Connection, subjects: Sequence[Subject]) -> list[StoreFacts]:
    """What is known of each, in their order. At least one."""
    row = await _one_row(
        connection,
        LOOK_UP,
        [subject.issuer for subject in subjects],
        [subject.session_handle for subject in subjects],
        [subject.user_id for subject in subjects],
        [subject.tenant_id for subject in subjects],
        [subject.key_thumbprint for subject in subjects],
    )
    revision = Revision(row["store_id"], row["head_sequence"])
    columns = zip(
        subjects,
        row["registered_user_ids"],
        row["registered_tenant_ids"],
        map(_number, row["create_times"]),
        map(_number, row["session_expire_times"]),
        map(_number, row["revoke_times"]),
        row["key_revocations"],
        map(_number, row["user_watermarks"]),
        map(_number, row["tenant_watermarks"]),
        strict=True,
    )
    return [
        StoreFacts(
            coverage=Coverage(
                session_revoked=revoked is not None,
                key_revoked=key_revoked == "true",
                user_watermark=user_watermark,
                tenant_watermark=tenant_watermark,
            ),
            record=None
            if created is None or expires is None
            else SessionRecord(subject.issuer, subject.session_handle, user_id, tenant_id, created, expires, revoked),
            revision=revision,
        )
        for (
            subject,
            user_id,
            tenant_id,
            created,
            expires,
            revoked,
            key_revoked,
            user_watermark,
            tenant_watermark,
        ) in columns
    ]


async def read_log(connection: Connection, first: int, limit: int) -> LogPage:
    """A stretch of the log, and its head at the same moment."""
    row = await _one_row(connection, READ_LOG, first, limit)
    columns = zip(
        map(int, row["sequences"] or ()),
        map(bytes.fromhex, row["entry_ids"] or ()),
        map(_KINDS.__getitem__, row["kinds"] or ()),
        row["issuers"] or (),
        row["subjects"] or (),
        row["tenant_ids"] or (),
        row["except_session_handles"] or (),
        map(int, row["revoke_times"] or ()),
        map(_number, row["forget_times"] or ()),
        strict=True,
    )
    return LogPage(
        store_id=row["store_id"],
        digest_salt=row["digest_salt"],
        head=row["head_sequence"],
        horizon=row["horizon_sequence"],
        removed=row["removed_entries"],
        entries=tuple(map(LogEntry._make, columns)),
    )


async def read_header(connection: Connection) -> Header:
    """What the store says of itself."""
    row = await _one_row(connection, READ_LOG, 1, 0)
    safe_before = (each == "true" for each in row["migrations_safe_before"])
    return Header(
        limits=limits_from(row),
        migrations=dict(zip(map(int, row["migration_numbers"]), safe_before, strict=True)),
    )


async def get_session(connection: Connection, issuer: str, session_handle: str) -> SessionRecord | None:
    """One registered session."""
    row = await connection.fetchrow(GET_SESSION, issuer, session_handle)
    return None if row is None else _record(row)


async def list_sessions(
    connection: Connection, issuer: str, user_id: str, after: str, limit: int
) -> list[SessionRecord]:
    """A page of a user's sessions."""
    return [_record(row) for row in await connection.fetch(LIST_SESSIONS, issuer, user_id, after, limit)]


async def list_revocations(
    connection: Connection, wanted: AuditFilter, before: int | None, limit: int
) -> list[AuditEntry]:
    """A page of the audit trail."""
    statement, values = audit_query(wanted, before, limit)
    return [_audit_entry(row) for row in await connection.fetch(statement, *values)]


def audit_query(wanted: AuditFilter, before: int | None, limit: int) -> tuple[str, list[str | int]]:
    """The statement of `list_revocations` for these filters, and its parameters."""
    filters: dict[str, str | int] = {name: value for name, value in asdict(wanted).items() if value is not None}
    if before is not None:
        filters["before"] = before
    conditions = [_AUDIT_CONDITIONS[name].format(f"${place}") for place, name in enumerate(filters, start=2)]
    return LIST_REVOCATIONS.replace("{conditions}", " AND ".join(conditions) or "true"), [limit, *filters.values()]


def limits_from(row: asyncpg.Record) -> StoreLimits:
    """The limits among a row's columns."""
    return StoreLimits(
        max_token_lifetime=row["max_token_lifetime"],
        leeway=row["leeway"],
        max_session_lifetime=row["max_session_lifetime"],
    )


async def _one_row(connection: Connection, statement: str, *values: object) -> asyncpg.Record:
    [row] = await connection.fetch(statement, *values)
    return row


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _record(row: asyncpg.Record) -> SessionRecord:
    return SessionRecord(
        issuer=row["issuer"],
        session_handle=row["session_handle"],
        user_id=row["user_id"],
        tenant_id=row["tenant_id"],
        create_time=row["create_time"],
        session_expire_time=row["session_expire_time"],
        revoke_time=row["revoke_time"],
    )


def _audit_entry(row: asyncpg.Record) -> AuditEntry:
    kind = RevocationKind(row["kind"])
    return AuditEntry(
        entry=LogEntry(
            sequence=row["sequence"],
            entry_id=row["entry_id"],
            kind=kind,
            issuer=row["issuer"],
            subject=row["subject"],
            tenant_id=row["tenant_id"],
            except_session_handle=row["except_session_handle"],
            revoke_time=row["revoke_time"],
            forget_time=row["forget_time"],
        ),
        attribution=Attribution(actor=row["actor"], reason=row["reason"], request_id=row["request_id"]),
        store_id=row["store_id"],
        user_id=row["user_id"] or "" if kind is RevocationKind.SESSION else "",
        key_id=row["key_id"] or "",
        cause_sequence=row["cause_sequence"] or 0,
    )

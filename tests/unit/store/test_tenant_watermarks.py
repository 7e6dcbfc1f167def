"""Watermarks of tenants are read from the first schema on, though nothing writes them yet."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sidegate_sidecar.errors import PreconditionFailed
from sidegate_sidecar.model import AuditFilter, Coverage
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import HOUR, ISSUER, LIMITS, NOW, FakeClock, session, subject


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store in which the tenant "red" was revoked twice, under a clock that stepped back in between."""
    path = tmp_path / "sessions.db"
    opened = SqliteStore(path, clock=FakeClock())
    await opened.migrate(LIMITS)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO revocation_log (sequence, entry_id, kind, issuer, subject, revoke_time, actor, reason)"
            " VALUES (?, randomblob(16), 't', ?, 'red', ?, 'ops', '')",
            [(1, ISSUER, NOW + HOUR), (2, ISSUER, NOW)],
        )
        connection.execute("UPDATE store SET head_sequence = 2")
    await opened.open()
    yield opened
    await opened.close()


async def test_the_newest_covers_every_session_of_the_tenant(store: SqliteStore) -> None:
    facts = await store.look_up(
        [subject("s1", tenant="red"), subject("", user="bob", tenant="red"), subject("s1", tenant="blue")]
    )

    assert [each.coverage for each in facts] == [
        Coverage(tenant_watermark=NOW + HOUR),
        Coverage(tenant_watermark=NOW + HOUR),
        Coverage(),
    ]


async def test_a_beginning_that_it_covers_is_refused(store: SqliteStore) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        await store.register([session("s1", tenant="red", create_time=NOW + HOUR)])

    assert refused.value.reason == "CREATE_TIME_REVOKED"


async def test_a_login_now_begins_after_it(store: SqliteStore) -> None:
    [recorded] = await store.register([session("s1", tenant="red")])

    assert recorded.create_time == NOW + HOUR + 1


async def test_the_audit_trail_finds_it_by_its_tenant(store: SqliteStore) -> None:
    found = await store.list_revocations(AuditFilter(tenant_id="red"), before=None, limit=10)

    assert [entry.entry.sequence for entry in found] == [2, 1]

"""The queries touch what they are asked for, however large the tables grow."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sidegate_sidecar.model import AuditFilter
from sidegate_sidecar.store import sqlite_reading, sqlite_writing
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import LIMITS

TABLES = ("sessions", "session", "revocation_log", "revocation", "watermark", "requests", "entry")


@pytest.fixture
async def database(tmp_path: Path) -> sqlite3.Connection:
    """A migrated database, never analysed: as every store is."""
    path = tmp_path / "sessions.db"
    await SqliteStore(path).migrate(LIMITS)
    return sqlite3.connect(path)


class Anything(dict[str, object]):
    """A value for every parameter: planning needs none."""

    def __missing__(self, name: str) -> object:
        return "[]"


def plan(database: sqlite3.Connection, statement: str) -> list[str]:
    with closing(database):
        return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", Anything())]


def scanned(steps: list[str]) -> Iterator[str]:
    for step in steps:
        if step.startswith("SCAN ") and step.split()[1] in TABLES:
            yield step


STATEMENTS = {
    "look_up": sqlite_reading.LOOK_UP,
    "get_session": sqlite_reading.GET_SESSION,
    "list_sessions": sqlite_reading.LIST_SESSIONS,
    "revoke_handles": sqlite_writing.REVOKE_HANDLES,
    "revoke_sessions_of_user": sqlite_writing.REVOKE_SESSIONS_OF_USER,
    "find_request": sqlite_writing.FIND_REQUEST,
    "forget_requests": sqlite_writing.FORGET_REQUESTS,
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_no_table_is_scanned(database: sqlite3.Connection, statement: str) -> None:
    assert list(scanned(plan(database, statement))) == []


def test_a_scan_would_be_noticed(database: sqlite3.Connection) -> None:
    assert list(scanned(plan(database, "SELECT * FROM sessions AS session WHERE create_time = 1"))) != []


def test_a_look_up_finds_watermarks_in_their_indexes_alone(database: sqlite3.Connection) -> None:
    steps = plan(database, sqlite_reading.LOOK_UP)

    for kind in ("user", "tenant"):
        index = f"SEARCH watermark USING COVERING INDEX {kind}_watermarks (subject=? AND issuer=?)"
        assert index in steps
    assert not [step for step in steps if "watermark" in step and "SORT" in step.upper()]


@pytest.mark.parametrize(
    "wanted",
    [
        AuditFilter(session_handle="s1"),
        AuditFilter(user_id="ada"),
        AuditFilter(tenant_id="red"),
        AuditFilter(issuer="i", session_handle="s1"),
        AuditFilter(issuer="i", user_id="ada"),
        AuditFilter(issuer="i", tenant_id="red"),
        AuditFilter(issuer="i", user_id="ada", actor="ops"),
    ],
    ids=str,
)
def test_the_audit_trail_of_one_subject_is_found_by_an_index(database: sqlite3.Connection, wanted: AuditFilter) -> None:
    statement, _ = sqlite_reading.audit_query(wanted, before=100, limit=10)

    steps = plan(database, statement)

    assert list(scanned(steps)) == []
    assert not any("PRIMARY KEY" in step for step in steps)

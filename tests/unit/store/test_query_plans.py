"""The queries touch what they are asked for, however large the tables grow."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sidegate_sidecar.model import AuditFilter
from sidegate_sidecar.store import sqlite_reading, sqlite_revoking, sqlite_writing
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import ISSUER, LIMITS, revoke_user

TABLES = ("sessions", "session", "revocation_log", "revocation", "watermark", "other", "requests", "entry")


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
        # To search by the issuer alone is to scan: there are few issuers, and one has most of the rows.
        if step.split()[1] in TABLES and (step.startswith("SCAN ") or step.endswith("(issuer=?)")):
            yield step


STATEMENTS = {
    "look_up": sqlite_reading.LOOK_UP,
    "get_session": sqlite_reading.GET_SESSION,
    "list_sessions": sqlite_reading.LIST_SESSIONS,
    "revoke_handles": sqlite_revoking.REVOKE_HANDLES,
    "supersede_watermarks": sqlite_revoking.SUPERSEDE_WATERMARKS,
    "end_sessions_of_user": sqlite_revoking.END_SESSIONS_OF_USER,
    "end_sessions_of_tenant": sqlite_revoking.END_SESSIONS_OF_TENANT,
    "find_key_revocation": sqlite_revoking.FIND_KEY_REVOCATION,
    "find_request": sqlite_revoking.FIND_REQUEST,
    "forget_requests": sqlite_revoking.FORGET_REQUESTS,
    "remove_sessions": sqlite_writing.REMOVE_SESSIONS,
    "remove_entries": sqlite_writing.REMOVE_ENTRIES,
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_no_table_is_scanned(database: sqlite3.Connection, statement: str) -> None:
    assert list(scanned(plan(database, statement))) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM sessions AS session WHERE create_time = 1",
        "SELECT * FROM sessions AS session WHERE issuer = 'i' AND create_time = 1",
    ],
)
def test_a_scan_would_be_noticed(database: sqlite3.Connection, statement: str) -> None:
    assert list(scanned(plan(database, statement))) != []


def test_a_look_up_finds_watermarks_in_their_indexes_alone(database: sqlite3.Connection) -> None:
    steps = plan(database, sqlite_reading.LOOK_UP)

    for kind in ("user", "tenant"):
        index = f"SEARCH watermark USING COVERING INDEX {kind}_watermarks (subject=? AND issuer=?)"
        assert index in steps
    assert not [step for step in steps if "watermark" in step and "SORT" in step.upper()]


def test_a_look_up_finds_keys_in_their_index_alone(database: sqlite3.Connection) -> None:
    steps = plan(database, sqlite_reading.LOOK_UP)

    assert "SEARCH revoked_key USING COVERING INDEX revoked_keys (subject=? AND issuer=? AND kind=?)" in steps


@pytest.mark.parametrize(
    ("statement", "step"),
    [
        (
            sqlite_revoking.END_SESSIONS_OF_USER,
            "SEARCH session USING INDEX sessions_by_user (issuer=? AND user_id=?)",
        ),
        (
            sqlite_revoking.END_SESSIONS_OF_TENANT,
            "SEARCH session USING INDEX sessions_by_tenant (issuer=? AND tenant_id=?)",
        ),
        (
            sqlite_writing.REMOVE_SESSIONS,
            "SEARCH session USING COVERING INDEX sessions_by_expiry (session_expire_time<?)",
        ),
        (
            sqlite_writing.REMOVE_ENTRIES,
            "SEARCH entry USING COVERING INDEX revocations_by_forgetting (forget_time<?)",
        ),
    ],
    ids=["sessions of a user", "sessions of a tenant", "sessions to remove", "entries to remove"],
)
def test_what_is_to_end_or_to_go_is_found_in_order_by_an_index(
    database: sqlite3.Connection, statement: str, step: str
) -> None:
    steps = plan(database, statement)

    assert step in steps
    assert not [each for each in steps if "TEMP B-TREE" in each]


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


async def test_a_session_spared_a_thousand_times_is_answered_as_one_spared_ten_times(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    await store.migrate(LIMITS)
    await store.open()
    await revoke_user(store)

    def steps() -> int:
        """How many instructions a look-up of it takes."""
        count = 0

        def count_one() -> int:
            nonlocal count
            count += 1
            return 0

        with closing(sqlite3.connect(path)) as connection:
            connection.set_progress_handler(count_one, 1)
            [row] = connection.execute(
                sqlite_reading.LOOK_UP, {"subjects": json.dumps([[ISSUER, "s1", "ada", "", ""]])}
            ).fetchall()
            connection.set_progress_handler(None, 1)
        assert row[9] is not None, "the first watermark spares nobody"
        return count

    for _ in range(10):
        await revoke_user(store, spare="s1", accept_unknown=True)
    ten = steps()
    for _ in range(990):
        await revoke_user(store, spare="s1", accept_unknown=True)

    assert steps() == ten
    await store.close()

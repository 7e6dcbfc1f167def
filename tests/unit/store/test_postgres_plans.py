"""The queries touch what they are asked for, however large the tables grow and however old the plans are."""

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sidegate_sidecar.model import AuditFilter
from sidegate_sidecar.store import postgres_reading, postgres_revoking, postgres_writing
from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.postgres_links import Connection

from tests.contract.fakes import ISSUER, OPS, revoke_user
from tests.fakes.postgres import Database, PostgresServer

FILL = """
INSERT INTO sidegate.sessions
SELECT 'https://issuer.example', 's' || n, 'u' || n % 20000, 't' || n % 5000, n, 4000000000000000 + n
FROM generate_series(1, 100000) AS n;
INSERT INTO sidegate.revocation_log
    (sequence, kind, issuer, subject, user_id, tenant_id, revoke_time, forget_time, actor, reason)
SELECT n, (ARRAY['s', 'u', 't'])[n % 3 + 1], 'https://issuer.example', (ARRAY['s', 'u', 't'])[n % 3 + 1] || n,
    'u' || n % 20000, 't' || n % 5000, n, 4000000000000000 + n, 'ops', ''
FROM generate_series(1, 30000) AS n;
UPDATE sidegate.store SET head_sequence = 30000;
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """10^5 sessions and a third as many revocations, analysed."""
    async with postgres_server.database() as database:
        await database.execute(FILL)
        await database.execute("VACUUM ANALYZE sidegate.sessions, sidegate.revocation_log")
        yield database


STATEMENTS = {
    "get_session": postgres_reading.GET_SESSION,
    "list_sessions": postgres_reading.LIST_SESSIONS,
    "revoke_sessions_of_user": postgres_revoking.REVOKE_SESSIONS_OF_USER,
    "revoke_sessions_of_tenant": postgres_revoking.REVOKE_SESSIONS_OF_TENANT,
    "write_watermark": postgres_revoking.WRITE_WATERMARK,
    "find_request": postgres_revoking.FIND_REQUEST,
    "remove_sessions": postgres_writing.REMOVE_SESSIONS,
    "remove_entries": postgres_writing.REMOVE_ENTRIES,
    "revoke_handles": postgres_revoking.REVOKE_HANDLES,
    **{
        f"list_revocations of {wanted}": postgres_reading.audit_query(wanted, before=100, limit=10)[0]
        for wanted in (
            AuditFilter(),
            AuditFilter(session_handle="s1"),
            AuditFilter(user_id="u1"),
            AuditFilter(tenant_id="t1"),
            AuditFilter(issuer=ISSUER, user_id="u1", actor="ops"),
        )
    },
}


async def plan(database: Database, statement: str) -> str:
    """How the server runs it for parameters that it has not been told."""
    parameters = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", statement))))
    async with database.connect() as connection:
        await connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE asked AS {statement}")
        rows = await connection.fetch("EXPLAIN EXECUTE asked" + (f" ({parameters})" if parameters else ""))
        return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_no_large_table_is_scanned(filled: Database, statement: str) -> None:
    steps = await plan(filled, statement)

    assert "Seq Scan on sessions" not in steps
    assert "Seq Scan on revocation_log" not in steps


async def test_a_scan_would_be_noticed(filled: Database) -> None:
    assert "Seq Scan on sessions" in await plan(filled, "SELECT * FROM sidegate.sessions WHERE create_time = 1")


_TOUCHED = """
SELECT relname, seq_scan, seq_tup_read, idx_scan, idx_tup_fetch
FROM pg_stat_xact_user_tables
WHERE relname IN ('sessions', 'revocation_log')
"""


@pytest.mark.parametrize("subjects", [1, 500])
async def test_a_look_up_reads_what_it_asks_for_even_by_plans_of_an_empty_database(
    postgres_server: PostgresServer, subjects: int
) -> None:
    names = [[kind + str(number) for number in range(1, subjects + 1)] for kind in "sutk"]
    asked = [[ISSUER] * subjects, *names]
    async with postgres_server.database() as database, database.connect() as connection:
        for _ in range(10):  # enough for whatever the server remembers to be remembered
            await connection.fetch(postgres_reading.LOOK_UP, *asked)
        await connection.execute("BEGIN")
        await connection.execute(FILL)
        await connection.execute("COMMIT")
        await connection.execute("BEGIN")

        [row] = await connection.fetch(postgres_reading.LOOK_UP, *asked)

        touched = {each["relname"]: each for each in await connection.fetch(_TOUCHED)}
        await connection.execute("ROLLBACK")
    assert all(row["create_times"])
    assert touched["sessions"]["seq_scan"] == touched["revocation_log"]["seq_scan"] == 0
    assert touched["sessions"]["idx_scan"] == subjects
    assert touched["sessions"]["idx_tup_fetch"] == subjects
    assert touched["revocation_log"]["idx_scan"] == 4 * subjects + 1  # and one for the head
    assert touched["revocation_log"]["idx_tup_fetch"] <= subjects  # a third of the kinds each


async def test_a_page_of_the_log_reads_no_more_than_the_page(filled: Database) -> None:
    async with filled.connect() as connection:
        await connection.execute("BEGIN")
        [row] = await connection.fetch(postgres_reading.READ_LOG, 29_000, 500)
        touched = {each["relname"]: each for each in await connection.fetch(_TOUCHED)}

    assert len(row["sequences"]) == 500
    assert touched["revocation_log"]["seq_scan"] == 0
    assert touched["revocation_log"]["idx_tup_fetch"] == 500


async def test_a_user_with_many_watermarks_is_answered_by_the_newest(filled: Database) -> None:
    async with filled.connect() as connection:
        await connection.execute("BEGIN")
        await connection.execute(
            "INSERT INTO sidegate.revocation_log (sequence, kind, issuer, subject, revoke_time, actor, reason)"
            " SELECT 40000 + n, 'u', $1, 'busy', n, '', '' FROM generate_series(1, 5000) AS n",
            ISSUER,
        )
        before = (await connection.fetch(_TOUCHED))[0]["idx_tup_fetch"]
        [row] = await connection.fetch(postgres_reading.LOOK_UP, [ISSUER], ["s1"], ["busy"], ["t1"], [""])
        touched = {each["relname"]: each for each in await connection.fetch(_TOUCHED)}
        await connection.execute("ROLLBACK")

    assert row["user_watermarks"] == ["5000"]
    assert touched["revocation_log"]["idx_tup_fetch"] - before <= 5


MANY_SESSIONS = """
INSERT INTO sidegate.sessions
SELECT 'https://issuer.example', 's' || n, 'ada', 'red', n, 4000000000000000 + n FROM generate_series(1, 2000) AS n
"""


@pytest.mark.parametrize(
    ("statement", "whose"),
    [(postgres_revoking.REVOKE_SESSIONS_OF_USER, "ada"), (postgres_revoking.REVOKE_SESSIONS_OF_TENANT, "red")],
    ids=["a user's", "a tenant's"],
)
async def test_many_sessions_end_at_a_price_for_each_even_by_plans_of_an_empty_database(
    database: Database, statement: str, whose: str
) -> None:
    """Not for each of them that was logged before it, which would be two million."""
    async with database.connect() as connection:
        await connection.execute("ALTER TABLE sidegate.sessions SET (autovacuum_enabled = off)")
        await connection.execute(MANY_SESSIONS)
        await connection.execute("BEGIN")

        status = await connection.execute(statement, 1, ISSUER, whose, None, None, 1, 1, "ops", "", None)

        read = await connection.fetchval(
            "SELECT pg_stat_get_xact_tuples_returned('sidegate.revoked_sessions'::regclass)"
            " + pg_stat_get_xact_tuples_returned('sidegate.revocation_log'::regclass)"
        )
    assert status == "INSERT 0 2000"
    assert read <= 2000


async def buffers(connection: Connection, handle: str = "s1") -> int:
    """How many pages a look-up of that session of Ada's touches."""
    asked = f"sidegate.look_up('{{{ISSUER}}}', '{{{handle}}}', '{{ada}}', '{{t1}}', '{{k1}}')"
    touched = 0
    for _ in range(3):  # the first plans, and marks what is dead for those who come after it
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {asked}")  # noqa: S608 - our own names
        [top] = json.loads(plan)
        touched = sum(top["Plan"][f"Shared {kind} Blocks"] for kind in ("Hit", "Read"))
    return touched


async def test_a_look_up_beside_an_open_transaction_costs_the_same_after_many_revocations(database: Database) -> None:
    store = PostgresStore(database.url)
    await store.open()
    async with database.connect() as connection, database.connect() as other:
        await store.revoke_sessions(ISSUER, ["r0"], OPS)
        before = await buffers(connection)
        await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM sidegate.store")  # as pg_dump does

        for number in range(1, 301):
            await store.revoke_sessions(ISSUER, [f"r{number}"], OPS)

        assert await buffers(connection) <= before + 2  # it was one more for every sixty
    assert (await store.read_log(1, 1)).head == 301
    await store.close()


async def test_a_look_up_passes_over_one_entry_of_a_transaction_that_writes_many(database: Database) -> None:
    store = PostgresStore(database.url)
    await store.open()
    await store.revoke_sessions(ISSUER, ["r"], OPS)
    async with database.connect() as connection, database.connect() as other:
        before = await buffers(connection)
        await other.execute("BEGIN")
        handles = [f"r{number}" for number in range(5000)]
        await other.fetch(postgres_revoking.REVOKE_HANDLES, 1, ISSUER, handles, 1, 1, 1, "ops", "", None)

        assert await buffers(connection) <= before + 3
    await store.close()


async def test_the_head_is_kept_and_nothing_gone_is_passed_over_when_entries_are_removed(database: Database) -> None:
    store = PostgresStore(database.url)
    await store.open()
    async with database.connect() as connection, database.connect() as other:
        for number in range(300):
            await store.revoke_sessions(ISSUER, [f"r{number}", f"q{number}"], OPS)
        before = await buffers(connection)
        await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM sidegate.store")
        await connection.execute("UPDATE sidegate.revocation_log SET forget_time = 1")

        assert (await store.compact(1000)).log_entries == 599

        assert await buffers(connection) <= before + 2
    page = await store.read_log(1, 10)
    assert (page.head, [entry.sequence for entry in page.entries]) == (600, [600])
    assert (await store.revoke_sessions(ISSUER, ["next"], OPS)).revision.sequence == 601
    await store.close()


async def test_a_session_spared_a_thousand_times_is_answered_as_one_spared_ten_times(database: Database) -> None:
    store = PostgresStore(database.url)
    await store.open()
    await revoke_user(store)
    async with database.connect() as connection:
        for _ in range(10):
            await revoke_user(store, spare="s1", accept_unknown=True)
        ten = await buffers(connection)
        await connection.execute("BEGIN")
        for each in range(12, 1002):  # as the store does, with one commit for all
            watermark = [each, "u", ISSUER, "ada", None, "s1", 4 * 10**15 + each, 1, "ops", "", None, each]
            await connection.execute(postgres_revoking.WRITE_WATERMARK, *watermark)
        await connection.execute("COMMIT")
        await connection.execute("VACUUM sidegate.revocation_log")

        assert await buffers(connection) <= ten + 5  # indexes have grown by a level
    async with database.connect() as connection:  # whose own count begins
        await connection.execute("BEGIN")
        [row] = await connection.fetch(postgres_reading.LOOK_UP, [ISSUER], ["s1"], ["ada"], [""], [""])
        read = await connection.fetchval(
            "SELECT pg_stat_get_xact_tuples_returned('sidegate.user_watermarks'::regclass)"
        )
    assert row["user_watermarks"] != [None], "the first watermark spares nobody"
    assert read == 2
    await store.close()


async def test_a_look_up_of_a_registered_session_needs_its_index_alone(filled: Database) -> None:
    async with filled.connect() as connection:
        await connection.execute("BEGIN")
        [row] = await connection.fetch(postgres_reading.LOOK_UP, [ISSUER], ["s5"], ["u5"], ["t5"], [""])
        touched = {each["relname"]: each for each in await connection.fetch(_TOUCHED)}

    assert row["registered_user_ids"] == ["u5"]
    assert touched["sessions"]["idx_scan"] == 1
    assert touched["sessions"]["idx_tup_fetch"] == 0  # of rows, for vacuum has been there

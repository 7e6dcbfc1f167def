"""docs/postgresql-roles.sql: what each role may do, and that it may do nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import Attribution, AuditFilter, Removed, StoreLimits
from sidegate_sidecar.store.postgres import PostgresStore

from tests.contract.fakes import ISSUER, LIMITS, OPS, revoke_user, session, subject
from tests.fakes.postgres import Database, PostgresServer

ROLES = (Path(__file__).resolve().parents[3] / "docs/postgresql-roles.sql").read_text(encoding="utf-8")
PASSWORD = "not-secret"
# Users belong to the whole server, so all databases of the session share them.
MAKE_USERS = """
DO $$
BEGIN
    IF to_regrole('test_owner') IS NULL THEN
        CREATE USER test_owner PASSWORD 'not-secret' CREATEROLE;
        CREATE USER test_pods PASSWORD 'not-secret';
        CREATE USER test_admins PASSWORD 'not-secret';
        CREATE USER test_strangers PASSWORD 'not-secret';
    END IF;
END
$$
"""


@pytest.fixture
async def owned(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A store that an ordinary user migrated, with its roles."""
    async with postgres_server.database(migrated=False) as fresh:
        await fresh.execute(MAKE_USERS)
        await fresh.execute(f'GRANT CREATE ON DATABASE "{fresh.name}" TO test_owner')
        store = PostgresStore(fresh.url_of("test_owner", PASSWORD))
        assert await store.migrate(LIMITS)
        await fresh.execute(ROLES)
        await fresh.execute("GRANT sidegate_verifier TO test_pods; GRANT sidegate_admin TO test_admins")
        yield fresh


async def refused(database: Database, user: str, statement: str) -> bool:
    connection = await asyncpg.connect(database.url_of(user, PASSWORD))
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        connection.terminate()
    return False


@pytest.fixture
async def verifier(owned: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(owned.url_of("test_pods", PASSWORD))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def admin(owned: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(owned.url_of("test_admins", PASSWORD))
    await store.open()
    yield store
    await store.close()


async def test_a_verifier_does_all_that_a_verifying_sidecar_needs(
    admin: PostgresStore, verifier: PostgresStore
) -> None:
    await admin.register([session("s1")])
    await admin.revoke_sessions(ISSUER, ["s1"], OPS)

    [facts] = await verifier.look_up([subject("s1")])

    assert facts.coverage.session_revoked
    assert [entry.subject for entry in (await verifier.read_log(1, 10)).entries] == ["s1"]
    assert await verifier.limits() == LIMITS
    await verifier.wait_for_change(0.01)


async def test_a_verifier_that_finds_the_log_set_back_leaves_renaming_it_to_others(verifier: PostgresStore) -> None:
    before = await verifier.read_log(1, 1)

    await verifier.renew_identity(before.store_id)

    assert await verifier.read_log(1, 1) == before


async def test_a_verifier_that_is_asked_to_write_says_that_it_cannot(verifier: PostgresStore) -> None:
    with pytest.raises(StoreUnavailable, match=r"docs/postgresql-roles\.sql"):
        await verifier.revoke_sessions(ISSUER, ["s1"], OPS)

    assert (await verifier.read_log(1, 1)).head == 0


async def test_an_admin_does_all_that_an_administering_sidecar_needs(admin: PostgresStore) -> None:
    once = Attribution("ops", "drill", "0f8fad5b-d9cb-469f-a165-70867728950e")
    await admin.register([session("s1", tenant="red"), session("s2")])
    await admin.register([session("s2")])
    await admin.revoke_sessions(ISSUER, ["s1"], once)
    await admin.revoke_sessions(ISSUER, ["s1"], once)
    await revoke_user(admin, spare="s2")
    await admin.revoke_tenant(ISSUER, "red", OPS)
    await admin.revoke_key(ISSUER, "thumbprint", OPS, key_id="k1")
    before = await admin.read_log(1, 100)
    await admin.renew_identity(before.store_id)

    assert await admin.compact(10) == Removed(0, 0)

    assert before.head == 4
    assert (await admin.read_log(1, 1)).store_id != before.store_id
    assert len(await admin.list_revocations(AuditFilter(), before=None, limit=10)) == 4
    assert len(await admin.list_sessions(ISSUER, "ada", after="", limit=10)) == 2
    assert await admin.get_session(ISSUER, "s2")


async def test_an_admin_removes_what_matters_to_nobody(owned: Database, admin: PostgresStore) -> None:
    await admin.register([session("past", create_time=1, expire_time=2)])
    await admin.revoke_sessions(ISSUER, ["s1", "s2"], OPS)
    await owned.execute("UPDATE sidegate.revocation_log SET forget_time = 1")

    assert await admin.compact(10) == Removed(1, 1)


async def test_an_admin_cannot_move_the_limits(admin: PostgresStore) -> None:
    with pytest.raises(StoreUnavailable):
        await admin.raise_limits(StoreLimits(2 * LIMITS.max_token_lifetime, LIMITS.leeway, LIMITS.max_session_lifetime))

    assert await admin.limits() == LIMITS


FOR_NOBODY = [
    "CREATE TABLE sidegate.t ()",
    "CREATE TABLE public.t ()",
    "CREATE TEMPORARY TABLE t ()",
    "CREATE SCHEMA s",
    "CREATE FUNCTION sidegate.look_up() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SEQUENCE sidegate.s",
    "CREATE SEQUENCE public.s",
    "CREATE INDEX ON sidegate.sessions (create_time)",
    "ALTER TABLE sidegate.sessions ADD extra text",
    "ALTER FUNCTION sidegate.store_now() STABLE",
    "DROP TABLE sidegate.requests",
    "DROP SCHEMA sidegate CASCADE",
    "TRUNCATE sidegate.revocation_log",
    "UPDATE sidegate.revocation_log SET forget_time = 1",
    "UPDATE sidegate.revocation_log SET subject = 'another'",
    "UPDATE sidegate.sessions SET user_id = 'another'",
    "UPDATE sidegate.store SET max_token_lifetime = 1",
    "DELETE FROM sidegate.store",
    "INSERT INTO sidegate.store (max_token_lifetime, leeway, max_session_lifetime) VALUES (1, 1, 1)",
    "INSERT INTO sidegate.migrations (number, name, safe_before) VALUES (99, 'x', false)",
    "SELECT * FROM sidegate.migrations",
    "SELECT pg_read_file('/etc/hostname')",
    "GRANT SELECT ON sidegate.migrations TO PUBLIC",
    "CREATE ROLE another",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_create(0)",
    "SELECT lo_creat(0)",
]
FOR_ADMINS = [
    "SELECT FROM sidegate.store",
    "SELECT FROM sidegate.current_store",
    "SELECT FROM sidegate.sessions",
    "SELECT FROM sidegate.revocation_log",
    "SELECT FROM sidegate.requests",
    "DELETE FROM sidegate.sessions",
    "DELETE FROM sidegate.revocation_log",
    "DELETE FROM sidegate.requests",
    "UPDATE sidegate.store SET head_sequence = 0",
    "UPDATE sidegate.sessions SET session_expire_time = 1",
    "UPDATE sidegate.revocation_log SET superseded = true",
    "INSERT INTO sidegate.sessions VALUES ('i', 's', 'u', '', 1, 2)",
    "SELECT sidegate.store_now()",
    "SELECT sidegate.take_log_lock()",
    "SELECT sidegate.take_stripes('{s}', '{i}', '{s}', '{true}')",
    "SELECT pg_advisory_lock(1373530750, 1)",
    "SELECT pg_try_advisory_xact_lock_shared(1)",
]
FOR_VERIFIERS = [
    "SELECT sidegate.look_up('{}', '{}', '{}', '{}', '{}')",
    "SELECT sidegate.read_log(1, 1)",
]


@pytest.mark.parametrize("user", ["test_pods", "test_admins", "test_strangers"])
async def test_what_is_for_nobody_is_refused(owned: Database, user: str) -> None:
    assert [each for each in FOR_NOBODY if not await refused(owned, user, each)] == []


@pytest.mark.parametrize("user", ["test_pods", "test_strangers"])
async def test_what_is_for_admins_is_refused_to_others(owned: Database, user: str) -> None:
    assert [each for each in FOR_ADMINS if not await refused(owned, user, each)] == []
    assert [each for each in FOR_ADMINS if await refused(owned, "test_admins", each)] == []


async def test_what_is_for_verifiers_is_refused_to_strangers(owned: Database) -> None:
    assert [each for each in FOR_VERIFIERS if not await refused(owned, "test_strangers", each)] == []
    assert [each for each in FOR_VERIFIERS if await refused(owned, "test_pods", each)] == []


async def test_every_function_and_table_has_been_thought_of(owned: Database) -> None:
    """One that a migration adds is to get its place in docs/postgresql-roles.sql."""
    async with owned.connect() as connection:
        rows = await connection.fetch(
            "SELECT proname AS name FROM pg_proc WHERE pronamespace = 'sidegate'::regnamespace"
            " UNION ALL"
            " SELECT relname FROM pg_class WHERE relnamespace = 'sidegate'::regnamespace AND relkind NOT IN ('i', 't')"
        )
    assert sorted(row["name"] for row in rows) == [
        "current_store",
        "look_up",
        "migrations",
        "read_log",
        "requests",
        "revocation_log",
        "sessions",
        "store",
        "store_now",
        "take_log_lock",
        "take_stripes",
    ]


async def test_the_two_functions_cannot_be_led_astray(owned: Database) -> None:
    async with owned.connect() as connection:
        rows = await connection.fetch(
            "SELECT proname, proconfig, provolatile FROM pg_proc"
            " WHERE prosecdef AND pronamespace = 'sidegate'::regnamespace"
        )

    assert sorted(row["proname"] for row in rows) == ["look_up", "read_log"]
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"]
        assert row["provolatile"] == b"s"  # STABLE: else each of its statements would read a snapshot of its own


async def test_roles_can_be_set_again(owned: Database, verifier: PostgresStore) -> None:
    await owned.execute(ROLES)

    assert (await verifier.read_log(1, 1)).head == 0


async def test_the_owner_goes_on_migrating_once_a_superuser_has_set_the_roles(owned: Database) -> None:
    store = PostgresStore(owned.url_of("test_owner", PASSWORD))

    assert await store.migrate(LIMITS) == []
    assert await store.raise_limits(LIMITS) == LIMITS


async def test_an_owner_who_is_no_superuser_can_set_the_roles(owned: Database) -> None:
    connection = await asyncpg.connect(owned.url_of("test_owner", PASSWORD))
    try:
        assert await connection.execute(ROLES) == "DO"
    finally:
        connection.terminate()

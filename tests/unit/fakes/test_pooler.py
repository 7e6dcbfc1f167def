"""The pooler takes from a client all that a session would keep, and nothing else."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import asyncpg
import pytest

from tests.fakes.pooler import SERVER_CONNECTIONS, Pooler
from tests.fakes.postgres import SUPERUSER, Database, PostgresServer

PATIENCE_SECONDS = 10.0
WHO_AM_I = "SELECT pg_backend_pid()"

Connect: TypeAlias = Callable[..., AbstractAsyncContextManager["asyncpg.Connection[asyncpg.Record]"]]


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    async with postgres_server.database(migrated=False) as fresh:
        yield fresh


@pytest.fixture
async def pooler(postgres_server: PostgresServer, database: Database) -> AsyncIterator[Pooler]:
    with Pooler(
        postgres_server.folder / f".s.PGSQL.{postgres_server.port}", user=SUPERUSER, database=database.name
    ) as running:
        yield running


@pytest.fixture
def connect(pooler: Pooler, database: Database) -> Connect:
    """Connects through the pooler, by default as one must: without a cache of prepared statements."""

    @asynccontextmanager
    async def connecting(
        *, statement_cache_size: int = 0, server_settings: dict[str, str] | None = None
    ) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        url = database.url_of(SUPERUSER, "not asked for", port=pooler.port)
        connection = await asyncpg.connect(
            url,
            timeout=PATIENCE_SECONDS,
            statement_cache_size=statement_cache_size,
            server_settings=server_settings,
        )
        try:
            yield connection
        finally:
            connection.terminate()

    return connecting


async def test_each_transaction_runs_on_another_connection(connect: Connect, pooler: Pooler) -> None:
    async with connect() as client:
        seen = Counter([await client.fetchval(WHO_AM_I) for _ in range(3 * SERVER_CONNECTIONS)])
    assert list(seen.values()) == [3] * SERVER_CONNECTIONS
    assert pooler.transactions >= 3 * SERVER_CONNECTIONS


async def test_a_transaction_stays_on_its_connection(connect: Connect) -> None:
    async with connect() as one, connect() as other, one.transaction(), other.transaction():
        ones = {await one.fetchval(WHO_AM_I) for _ in range(5)}
        others = {await other.fetchval(WHO_AM_I) for _ in range(5)}
    assert (len(ones), len(others)) == (1, 1)
    assert ones != others


async def test_more_clients_than_connections_take_turns(connect: Connect) -> None:
    async def transact() -> int:
        async with connect() as client, client.transaction():
            backend: int = await client.fetchval(WHO_AM_I)
            return backend

    assert len(set(await asyncio.gather(*(transact() for _ in range(4 * SERVER_CONNECTIONS))))) == SERVER_CONNECTIONS


async def test_arguments_results_and_errors_go_through(connect: Connect) -> None:
    async with connect() as client:
        assert await client.fetchval("SELECT $1::text[]", ["x", "y"]) == ["x", "y"]
        assert len(await client.fetch("SELECT generate_series(1, 20000)")) == 20_000
        with pytest.raises(asyncpg.DivisionByZeroError):
            await client.fetch("SELECT 1 / 0")
        assert await client.fetchval("SELECT 1") == 1


async def test_a_client_that_keeps_prepared_statements_breaks(connect: Connect) -> None:
    """asyncpg keeps them unless told otherwise."""
    async with connect(statement_cache_size=100) as client:
        assert await client.fetchval("SELECT $1::int", 1) == 1
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            await client.fetchval("SELECT $1::int", 2)


async def test_a_client_that_counts_on_a_setting_breaks(connect: Connect) -> None:
    async with connect() as client:
        await client.execute("SET work_mem = '1234kB'")
        assert await client.fetchval("SHOW work_mem") != "1234kB"


async def test_listening_is_refused(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await client.execute("LISTEN channel")
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await client.add_listener("channel", print)
        assert await client.fetchval("SELECT 1") == 1


async def test_a_client_that_sets_a_parameter_at_the_start_is_refused(connect: Connect) -> None:
    with pytest.raises(asyncpg.ProtocolViolationError, match="unsupported startup parameter: jit"):
        async with connect(server_settings={"jit": "off"}):
            pass
    async with connect(server_settings={"application_name": "sidegate"}) as client:
        assert await client.fetchval("SELECT 1") == 1


async def test_the_transaction_of_a_client_that_goes_away_is_rolled_back(connect: Connect) -> None:
    async with connect() as client:
        await client.execute("BEGIN; CREATE TABLE unfinished ()")
    async with connect() as client:
        for _ in range(SERVER_CONNECTIONS):
            assert await client.fetchval("SELECT to_regclass('unfinished')") is None


@pytest.mark.parametrize(
    ("statement", "leftover"),
    [
        ("SET work_mem = '1234kB'", "setting: work_mem"),
        ("SELECT pg_advisory_lock(1)", "advisory lock"),
        ("PREPARE forever AS SELECT 1", "prepared statement: PREPARE forever AS SELECT 1"),
        ("CREATE TEMPORARY TABLE scratch ()", "temporary: scratch"),
        ("DECLARE rows CURSOR WITH HOLD FOR SELECT 1", "cursor: rows"),
    ],
)
async def test_what_outlives_a_transaction_is_found(
    connect: Connect, pooler: Pooler, statement: str, leftover: str
) -> None:
    async with connect() as client:
        await client.fetchval("SELECT $1::int", 1)
        async with client.transaction():
            await client.execute("SET LOCAL work_mem = '1234kB'; SELECT pg_advisory_xact_lock(1)")
        assert pooler.leftovers() == []
        await client.execute(statement)
        assert pooler.leftovers() == [leftover]


async def test_it_connects_again_to_a_server_that_was_restarted(
    connect: Connect, postgres_server: PostgresServer, pooler: Pooler
) -> None:
    async with connect() as idle, connect() as busy:
        await busy.execute("BEGIN")
        postgres_server.restart()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, ConnectionError)):
            await busy.execute("SELECT 1")
        assert await idle.fetchval("SELECT 1") == 1
    assert pooler.leftovers() == []

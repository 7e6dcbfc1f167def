"""What tests of more than one folder share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.postgres import Database, PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this session's own; under xdist, of this worker's. Whoever stops it starts it again."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A fresh database with the schema of a session store."""
    async with postgres_server.database() as fresh:
        yield fresh

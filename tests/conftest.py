"""What tests of more than one folder share."""

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.postgres import Database, PostgresServer

# A shell has what it starts in the background ignore Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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

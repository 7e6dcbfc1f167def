"""Every test of this folder runs against each backend, through the protocol alone."""

from collections.abc import AsyncIterator

import pytest
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.backends import Backend, Backends, PostgresBackends, SqliteBackends
from tests.contract.fakes import LIMITS, FakeClock, StoreFactory
from tests.fakes.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def backends(request: pytest.FixtureRequest) -> Backends:
    """Databases of one kind."""
    if request.param == "sqlite":
        return SqliteBackends()
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return PostgresBackends(server)


@pytest.fixture
async def backend(backends: Backends) -> AsyncIterator[Backend]:
    """A fresh database of one kind, and its clock."""
    async with backends.fresh() as fresh:
        yield fresh


@pytest.fixture
def clock(backend: Backend) -> FakeClock:
    """The clock of every store of the test."""
    return backend.clock


@pytest.fixture
async def open_store(backend: Backend) -> AsyncIterator[StoreFactory]:
    """Opens stores on one fresh, migrated database."""
    opened: list[SessionStore] = []

    async def open_one() -> SessionStore:
        store = backend.new_store()
        opened.append(store)
        await store.migrate(LIMITS)
        await store.open()
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: StoreFactory) -> SessionStore:
    """One open, empty store."""
    return await open_store()

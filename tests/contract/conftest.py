"""Every test of this folder runs against each backend, through the protocol alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.backends import Backend, PostgresBackend, SqliteBackend
from tests.contract.fakes import LIMITS, FakeClock, StoreFactory
from tests.fakes.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A fresh database of one kind, and its clock."""
    if request.param == "sqlite":
        yield SqliteBackend(tmp_path / "sessions.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    async with server.emptied_database() as database:
        yield await PostgresBackend.on(database)


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

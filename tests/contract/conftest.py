"""Every test of this folder runs against each backend, through the protocol alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import LIMITS, FakeClock, StoreFactory


@pytest.fixture
def clock() -> FakeClock:
    """The clock of every store of the test."""
    return FakeClock()


@pytest.fixture(params=["sqlite"])
async def open_store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[StoreFactory]:
    """Opens stores on one fresh, migrated database."""
    opened: list[SessionStore] = []

    async def open_one() -> SessionStore:
        store = SqliteStore(tmp_path / "sessions.db", clock=clock)
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

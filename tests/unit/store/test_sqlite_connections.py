"""How an open store's connections are set: what its durability and its harmless reading rest on."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.store.sqlite import SqliteStore
from sidegate_sidecar.store.sqlite_link import SqliteLink

from tests.contract.fakes import ISSUER, LIMITS, OPS, log_of

FULL = 2  # how SQLite spells `synchronous = FULL`


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    file = tmp_path / "sessions.db"
    await SqliteStore(file).migrate(LIMITS)
    return file


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[aiosqlite.Connection]:
    """Every connection that is made from now on."""
    made: list[aiosqlite.Connection] = []
    connect: Callable[..., aiosqlite.Connection] = aiosqlite.connect

    @wraps(connect)
    def recorded(*arguments: Any, **options: Any) -> aiosqlite.Connection:
        made.append(connect(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(aiosqlite, "connect", recorded)
    return made


async def pragma(connection: aiosqlite.Connection, name: str) -> int:
    [[value]] = await connection.execute_fetchall(f"PRAGMA {name}")
    return int(value)


async def test_what_is_acknowledged_is_on_the_disk_and_only_one_connection_can_write(
    path: Path, connections: list[aiosqlite.Connection]
) -> None:
    store = SqliteStore(path)
    await store.open()
    try:
        await store.revoke_sessions(ISSUER, ["s1"], OPS)
        await store.get_session(ISSUER, "s1")

        assert [await pragma(connection, "synchronous") for connection in connections] == [FULL] * len(connections)
        query_only = [await pragma(connection, "query_only") for connection in connections]
        assert sorted(query_only) == [0, 1, 1, 1]
        writer = connections[query_only.index(0)]
        written = writer.total_changes
        await store.revoke_sessions(ISSUER, ["s2"], OPS)
        assert writer.total_changes > written
    finally:
        await store.close()


async def test_a_connection_made_after_a_fault_is_set_as_the_first_was(
    path: Path, connections: list[aiosqlite.Connection]
) -> None:
    for writes in (True, False):
        link = SqliteLink(path, writes=writes, busy_timeout=1)
        await link.run(lambda connection: pragma(connection, "synchronous"), timeout=60)
        with pytest.raises(StoreUnavailable):
            await link.run(lambda connection: connection.execute_fetchall("no SQL"), timeout=60)

        assert await link.run(lambda connection: pragma(connection, "synchronous"), timeout=60) == FULL
        assert await link.run(lambda connection: pragma(connection, "query_only"), timeout=60) == (not writes)
        await link.close(timeout=60)

    assert len(connections) == 4


async def test_a_connection_that_reads_cannot_write_whatever_it_is_told(path: Path) -> None:
    link = SqliteLink(path, writes=False, busy_timeout=1)

    for statement in (
        "DELETE FROM revocation_log",
        "UPDATE store SET head_sequence = 7",
        "DROP TABLE sessions",
        "CREATE TABLE more (x)",
    ):

        async def attack(connection: aiosqlite.Connection, statement: str = statement) -> None:
            await connection.execute_fetchall(statement)

        with pytest.raises(StoreUnavailable) as refused:
            await link.run(attack, timeout=60)
        assert "readonly" in str(refused.value.__cause__)
    await link.close(timeout=60)

    store = SqliteStore(path)
    await store.open()
    assert await log_of(store) == []
    await store.close()

"""A standby may lag behind what was acknowledged, so it is never asked, whatever the URL leads to."""

import socket
from collections.abc import Iterator

import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.store.postgres import PostgresStore

from tests.contract.fakes import ISSUER, OPS, session, subject
from tests.fakes.postgres import Database, PostgresServer


@pytest.fixture
def standby(postgres_server: PostgresServer, database: Database) -> Iterator[PostgresServer]:
    """Made once the test's database is there."""
    assert database.server is postgres_server
    server = PostgresServer(primary=postgres_server)
    yield server
    server.close()


async def test_a_standby_answers_nothing(database: Database, standby: PostgresServer) -> None:
    store = PostgresStore(Database(database.name, standby).url)
    with pytest.raises(StoreUnavailable, match="primary"):
        await store.open()

    for call in (
        lambda: store.look_up([subject("s1")]),
        lambda: store.read_log(1, 10),
        lambda: store.register([session("s1")]),
        lambda: store.revoke_sessions(ISSUER, ["s1"], OPS),
    ):
        with pytest.raises(StoreUnavailable, match="primary"):
            await call()
    await store.close()


async def test_of_several_hosts_the_primary_is_found(database: Database, standby: PostgresServer) -> None:
    hosts = f"127.0.0.1:{standby.port},127.0.0.1:{database.server.port}"
    store = PostgresStore(
        f"postgresql://postgres:{standby.password}@{hosts}/{database.name}?target_session_attrs=primary"
    )
    await store.open()

    assert (await store.revoke_sessions(ISSUER, ["s1"], OPS)).newly_revoked == ("s1",)

    await store.close()


async def test_the_primary_is_found_behind_a_host_that_has_died_without_a_word(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are taken, and nothing is ever said
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{database.server.port}"
        store = PostgresStore(
            f"postgresql://postgres:{database.server.password}@{hosts}/{database.name}?target_session_attrs=primary"
        )
        await store.open()

        assert (await store.revoke_sessions(ISSUER, ["s1"], OPS)).newly_revoked == ("s1",)

        await store.close()


async def test_where_no_host_is_the_primary_it_is_asked_for(database: Database, standby: PostgresServer) -> None:
    store = PostgresStore(f"{Database(database.name, standby).url}?target_session_attrs=primary")

    with pytest.raises(StoreUnavailable, match="primary"):
        await store.open()

    await store.close()

"""A PostgreSQL store behind a pooler that gives every transaction another connection."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import Attribution, AuditFilter, Removed
from sidegate_sidecar.store.postgres import PostgresStore

from tests.contract.fakes import DAY, ISSUER, LIMITS, NOW, OPS, log_of, revoke_user, session, subject
from tests.fakes.pooler import Pooler
from tests.fakes.postgres import SUPERUSER, Database
from tests.unit.store.postgres_locks import LOG_LOCK, held, until_waiting

FAR = NOW + 3650 * DAY  # these tests have the server's own clock


@pytest.fixture
def pooler(database: Database) -> Iterator[Pooler]:
    socket = database.server.folder / f".s.PGSQL.{database.server.port}"
    with Pooler(socket, user=SUPERUSER, database=database.name) as running:
        yield running


@pytest.fixture
async def store(pooler: Pooler, database: Database) -> AsyncIterator[PostgresStore]:
    url = database.url_of(SUPERUSER, "any", port=pooler.port)
    store = PostgresStore(url, transaction_pooler=True, poll_interval=0.01)
    await store.migrate(LIMITS)
    await store.open()
    yield store
    await store.close()


async def test_everything_works_and_nothing_is_left_behind(pooler: Pooler, store: PostgresStore) -> None:
    once = Attribution("ops", "", "0f8fad5b-d9cb-469f-a165-70867728950e")
    await asyncio.gather(
        *(store.register([session(f"s{number}", tenant="red", expire_time=FAR)]) for number in range(9))
    )
    first = await store.revoke_sessions(ISSUER, ["s1"], once)
    assert await store.revoke_sessions(ISSUER, ["s1"], once) == first
    await store.revoke_sessions(ISSUER, ["s2"], OPS, validate_only=True)
    assert await revoke_user(store, spare="s3") == 7
    assert (await store.revoke_tenant(ISSUER, "red", OPS)).revoked_count == 1
    await store.revoke_key(ISSUER, "thumbprint", OPS, key_id=None)
    assert await store.compact(10) == Removed(0, 0)
    assert await store.raise_limits(LIMITS) == LIMITS
    await asyncio.gather(*(store.look_up([subject(f"s{number}")]) for number in range(20)))
    assert len(await store.list_sessions(ISSUER, "ada", after="", limit=100)) == 9
    assert len(await store.list_revocations(AuditFilter(), before=None, limit=100)) == 12
    await store.renew_identity((await store.read_log(1, 1)).store_id)

    assert len(await log_of(store)) == 12
    assert pooler.leftovers() == []


async def test_another_sidecars_revocation_is_found_by_polling(store: PostgresStore, database: Database) -> None:
    other = PostgresStore(database.url)
    await other.open()
    await other.revoke_sessions(ISSUER, ["s1"], OPS)

    await asyncio.wait_for(store.wait_for_change(3600), 30)

    assert [entry.subject for entry in await log_of(store)] == ["s1"]
    await other.close()


async def test_ones_own_revocation_is_a_hint_although_nobody_notifies(pooler: Pooler, database: Database) -> None:
    url = database.url_of(SUPERUSER, "any", port=pooler.port)
    store = PostgresStore(url, transaction_pooler=True, poll_interval=3600)
    await store.open()
    wait = asyncio.create_task(store.wait_for_change(3600))

    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    await asyncio.wait_for(wait, 30)
    await store.close()


async def test_what_timed_out_is_given_up_by_the_server_too(pooler: Pooler, database: Database) -> None:
    url = database.url_of(SUPERUSER, "any", port=pooler.port)
    store = PostgresStore(url, transaction_pooler=True, admin_timeout=0.2)
    await store.open()
    async with held(database, LOG_LOCK):
        with pytest.raises(StoreUnavailable):
            await store.revoke_sessions(ISSUER, ["s1"], OPS)
        await until_waiting(database)

    assert await log_of(store) == []
    await store.close()

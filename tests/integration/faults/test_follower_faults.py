"""A follower on a real PostgreSQL under a storm of notifications, and before tables that somebody has locked."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sidegate_sidecar.errors import RevisionNotReached, StoreUnavailable
from sidegate_sidecar.model import LogPage, Revision
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.store.postgres import CHANNEL, COALESCE_SECONDS, PostgresStore

from tests.contract.fakes import ISSUER, OPS, subject
from tests.fakes.postgres import Database
from tests.unit.store.postgres_locks import held, until_waiting

PATIENCE_SECONDS = 30.0
NOTIFICATIONS = 10_000
# Each in a transaction of its own: within one, equal ones are one. Up to 10,000 a second; the server sleeps for a
# millisecond and more.
STORM = f"""
DO $$BEGIN
    FOR number IN 1..{NOTIFICATIONS} LOOP
        NOTIFY {CHANNEL};
        COMMIT;
        IF number % 15 = 0 THEN PERFORM pg_sleep(0.001); END IF;
    END LOOP;
END$$
"""


class CountedLog:
    """A store's log. A `LogSource`.

    Attributes:
        reads: How many pages were asked for.
    """

    def __init__(self, store: PostgresStore) -> None:
        self.reads = 0
        self._store = store

    async def read_log(self, first: int, limit: int) -> LogPage:
        self.reads += 1
        return await self._store.read_log(first, limit)

    async def wait_for_change(self, timeout: float) -> None:
        await self._store.wait_for_change(timeout)

    async def renew_identity(self, store_id: str) -> None:
        await self._store.renew_identity(store_id)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(database.url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[PostgresStore]:
    """Another sidecar's."""
    store = PostgresStore(database.url)
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def following(follower: LogFollower) -> AsyncGenerator[None]:
    run = asyncio.create_task(follower.run())
    yield
    run.cancel()
    with pytest.raises(asyncio.CancelledError):  # anything else would be a follower that gave up
        await run


async def stands_at(follower: LogFollower, revision: Revision) -> None:
    """By itself: nobody asks it to read."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while follower.index is None or follower.index.revision != revision:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


async def test_a_storm_of_notifications_costs_no_more_reads_than_fit_between_two_wake_ups(
    database: Database, store: PostgresStore, writer: PostgresStore
) -> None:
    log = CountedLog(store)
    follower = LogFollower(log)
    loop = asyncio.get_running_loop()
    async with following(follower), database.connect() as connection:
        await stands_at(follower, (await writer.revoke_sessions(ISSUER, ["before"], OPS)).revision)
        began, log.reads = loop.time(), 0
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(STORM)
        amid = await writer.revoke_sessions(ISSUER, ["amid"], OPS)
        await stands_at(follower, amid.revision)
        reads, took = log.reads, loop.time() - began

    print(f"{NOTIFICATIONS / took:.0f} notifications/s: {reads} reads, {reads / took:.0f}/s")  # noqa: T201 - for people
    assert reads <= 2 + took / COALESCE_SECONDS


async def test_while_a_table_is_locked_the_index_serves_and_its_lag_grows_and_then_it_is_current(
    database: Database, store: PostgresStore, writer: PostgresStore
) -> None:
    """As by an ALTER TABLE that rewrites it."""
    follower = LogFollower(store)
    async with following(follower):
        before = await writer.revoke_sessions(ISSUER, ["before"], OPS)
        await stands_at(follower, before.revision)
        async with held(database, "LOCK TABLE sidegate.revocation_log, sidegate.store IN ACCESS EXCLUSIVE MODE"):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while follower.answering:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.005)
            locked_out = follower.lag()
            impatient = PostgresStore(database.url, admin_timeout=0.1)
            with suppress(StoreUnavailable):
                await impatient.open()
            with pytest.raises(StoreUnavailable):
                await impatient.revoke_sessions(ISSUER, ["in vain"], OPS)
            await impatient.close()
            with pytest.raises(RevisionNotReached):
                await follower.reach(Revision(before.revision.store_id, 2), 0.05)
            assert follower.index is not None
            assert follower.index.coverage(subject("before")).session_revoked
            assert follower.lag() > locked_out > 0

        after = await writer.revoke_sessions(ISSUER, ["after"], OPS)
        await stands_at(follower, after.revision)
        assert after.revision.sequence == 2, "what was refused did not happen later"
        assert follower.answering
        await until_waiting(database)  # what was given up on our side was on the server's too

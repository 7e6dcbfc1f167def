"""A failover to a standby that lacks the last entries: what was acknowledged and lost is lost; nothing else is."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sidegate_sidecar.errors import ForeignRevision, RevisionNotReached
from sidegate_sidecar.model import Attribution, Revision
from sidegate_sidecar.revocations.feed import Hello, RevocationFeed
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.store.postgres import PostgresStore

from tests.contract.fakes import ISSUER, OPS, subject
from tests.fakes.postgres import SUPERUSER, Database, PostgresServer
from tests.unit.revocations.watching import Watcher, subjects_of

ONCE = Attribution("ops", "", "0f8fad5b-d9cb-469f-a165-70867728950e")
PATIENCE_SECONDS = 30.0


@pytest.fixture
def standby(postgres_server: PostgresServer, database: Database) -> Iterator[PostgresServer]:
    """Made once the test's database is there."""
    assert database.server is postgres_server
    server = PostgresServer(primary=postgres_server)
    yield server
    server.close()


@pytest.fixture
async def store(database: Database, standby: PostgresServer) -> AsyncIterator[PostgresStore]:
    """Of the two, the one that writes."""
    hosts = f"127.0.0.1:{database.server.port},127.0.0.1:{standby.port}"
    url = f"postgresql://{SUPERUSER}:{standby.password}@{hosts}/{database.name}?target_session_attrs=primary"
    store = PostgresStore(url)
    await store.open()
    yield store
    await store.close()


async def stop_replicating(primary: Database, copy: Database) -> None:
    """Once the standby has all that there is."""
    async with primary.connect() as connection, copy.connect() as behind:
        end = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await behind.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", end):  # noqa: ASYNC110 - a server tells nobody
                await asyncio.sleep(0.01)
            await behind.execute("ALTER SYSTEM SET primary_conninfo = ''")
            await behind.execute("SELECT pg_reload_conf()")
            while await behind.fetchval("SELECT count(*) FROM pg_stat_wal_receiver"):  # noqa: ASYNC110 - nor of this
                await asyncio.sleep(0.01)


async def notice(follower: LogFollower, written: Revision) -> None:
    """Read back what was written to the new primary, which is no more to be had by that name."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with pytest.raises(RevisionNotReached) as not_reached:  # before the new primary is found, too
                await follower.read_back(written, 5)
            if isinstance(not_reached.value.__cause__, ForeignRevision):
                return


async def told_everything(watcher: Watcher, revision: Revision) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while watcher.delivered != revision:  # noqa: ASYNC110 - a watcher tells nobody
            await asyncio.sleep(0.001)


async def test_a_failover_that_loses_the_end_of_the_log_is_noticed_and_loses_nothing_else(
    database: Database, standby: PostgresServer, store: PostgresStore
) -> None:
    copy = Database(database.name, standby)
    follower = LogFollower(store)  # it reads when it is told to, and not before
    kept = await store.revoke_sessions(ISSUER, ["kept"], OPS)
    await follower.read_back(kept.revision, PATIENCE_SECONDS)
    feed = RevocationFeed(follower)
    watcher = Watcher(feed)
    await stop_replicating(database, copy)
    lost = await store.revoke_sessions(ISSUER, ["lost 1", "lost 2"], OPS)
    await follower.read_back(lost.revision, PATIENCE_SECONDS)
    await told_everything(watcher, lost.revision)

    database.server.kill()
    try:
        await copy.execute("SELECT pg_promote()")
        other = PostgresStore(copy.url)
        await other.open()
        new = await other.revoke_sessions(ISSUER, ["new 1", "new 2", "new 3"], OPS)
        assert new.revision.store_id == lost.revision.store_id, "nobody knows yet"
        assert new.revision.sequence > lost.revision.sequence, "by its number alone it would be a continuation"
        await notice(follower, new.revision)

        page = await other.read_log(1, 100)
        here = Revision(page.store_id, page.head)
        index = follower.index
        assert index is not None
        assert index.revision == here
        assert here.store_id != lost.revision.store_id
        handles = ["kept", "lost 1", "lost 2", "new 1", "new 2", "new 3"]
        refused = [index.coverage(subject(handle)).session_revoked for handle in handles]
        assert refused == [True, False, False, True, True, True]
        assert [facts.coverage.session_revoked for facts in await store.look_up([*map(subject, handles)])] == refused

        await told_everything(watcher, here)
        assert watcher.hellos[-1] == Hello(here, page.digest_salt)
        assert len(watcher.hellos) == 2
        resumed = Watcher(feed, lost.revision, with_snapshot=True)
        await told_everything(resumed, here)
        later = await store.revoke_sessions(ISSUER, ["later"], OPS)
        await follower.read_back(later.revision, PATIENCE_SECONDS)
        for each in (watcher, resumed):
            await told_everything(each, later.revision)
            assert each.told == subjects_of(
                page.digest_salt, (await other.read_log(later.revision.sequence, 1)).entries
            )
        assert resumed.snapshot == set(subjects_of(page.digest_salt, page.entries))
        for each in (watcher, resumed):
            await each.end()
        await other.close()
    finally:
        database.server.start()


async def test_a_revocation_right_after_a_failover_is_acknowledged_by_no_index_that_lacks_it(
    database: Database, standby: PostgresServer, store: PostgresStore
) -> None:
    """Its number is one that the index has, of a revocation that was lost."""
    copy = Database(database.name, standby)
    follower = LogFollower(store)
    await stop_replicating(database, copy)
    lost = await store.revoke_sessions(ISSUER, ["lost 1", "lost 2"], OPS)
    await follower.read_back(lost.revision, PATIENCE_SECONDS)

    database.server.kill()
    try:
        await copy.execute("SELECT pg_promote()")
        other = PostgresStore(copy.url)
        await other.open()
        new = await other.revoke_sessions(ISSUER, ["new"], ONCE)
        assert (new.revision.store_id, new.revision.sequence) == (lost.revision.store_id, 1)

        await notice(follower, new.revision)

        index = follower.index
        assert index is not None
        assert index.coverage(subject("new")).session_revoked
        again = await other.revoke_sessions(ISSUER, ["new"], ONCE)
        await follower.read_back(again.revision, PATIENCE_SECONDS)
        await other.close()
    finally:
        database.server.start()

"""Two transactions at once, each held at the worst moment: one comes first, and the other sees all of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sidegate_sidecar.errors import PreconditionFailed
from sidegate_sidecar.model import SECOND, Removed
from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.postgres_links import Connection
from sidegate_sidecar.store.postgres_transactions import transact
from sidegate_sidecar.store.postgres_writing import take_log_lock

from tests.contract.fakes import DAY, ISSUER, LIMITS, NOW, OPS, log_of, revoke_user, session
from tests.fakes.postgres import Database
from tests.unit.store.postgres_locks import LOG_LOCK, REGISTERING, held, until_waiting

FAR = NOW + 3650 * DAY  # these tests have the server's own clock


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(database.url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(database.url)
    await store.open()
    yield store
    await store.close()


Revoke = Callable[[PostgresStore], Awaitable[object]]


async def the_user(store: PostgresStore) -> None:
    await revoke_user(store)


async def the_tenant(store: PostgresStore) -> None:
    await store.revoke_tenant(ISSUER, "red", OPS)


async def the_handle(store: PostgresStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)


every_revocation = pytest.mark.parametrize("revoke", [the_user, the_tenant, the_handle])
LOGIN = session("s1", tenant="red", expire_time=FAR)


@every_revocation
async def test_a_revocation_waits_for_a_login_that_came_first_and_ends_it(
    database: Database, store: PostgresStore, other: PostgresStore, revoke: Revoke
) -> None:
    async with held(database, REGISTERING):
        login = asyncio.create_task(store.register([LOGIN]))
        await until_waiting(database, "relation")
        revocation = asyncio.ensure_future(revoke(other))
        await until_waiting(database, "advisory", "relation")

    [recorded] = await login
    await revocation
    record = await store.get_session(ISSUER, "s1")
    assert record is not None
    assert record.revoke_time is not None
    assert record.revoke_time >= recorded.create_time
    entry = (await log_of(store))[-1]
    # It was found among the registered, or it would be kept by the unregistered's rule.
    assert (entry.subject, entry.forget_time) == ("s1", FAR + LIMITS.max_token_lifetime + LIMITS.leeway)


@pytest.mark.parametrize("revoke", [the_user, the_tenant])
async def test_a_login_waits_for_a_revocation_that_came_first_and_begins_after_it(
    database: Database, store: PostgresStore, other: PostgresStore, revoke: Revoke
) -> None:
    async with held(database, LOG_LOCK):
        revocation = asyncio.ensure_future(revoke(other))
        await until_waiting(database, "transactionid")
        login = asyncio.create_task(store.register([LOGIN]))
        await until_waiting(database, "advisory", "transactionid")

    await revocation
    [recorded] = await login
    [watermark] = await log_of(store)
    assert recorded.create_time > watermark.revoke_time
    record = await store.get_session(ISSUER, "s1")
    assert record == recorded


async def test_a_login_waits_for_the_revocation_of_its_handle_and_is_refused(
    database: Database, store: PostgresStore, other: PostgresStore
) -> None:
    async with held(database, LOG_LOCK):
        revocation = asyncio.ensure_future(the_handle(other))
        await until_waiting(database, "transactionid")
        login = asyncio.create_task(store.register([LOGIN]))
        await until_waiting(database, "advisory", "transactionid")

    await revocation
    with pytest.raises(PreconditionFailed) as refused:
        await login
    assert refused.value.reason == "SESSION_REVOKED"


async def test_of_two_registrations_of_a_handle_the_second_sees_the_first(
    database: Database, store: PostgresStore, other: PostgresStore
) -> None:
    async with held(database, REGISTERING):
        first = asyncio.create_task(store.register([session("s1", expire_time=FAR)]))
        await until_waiting(database, "relation")
        second = asyncio.create_task(other.register([session("s1", user="bob", expire_time=FAR)]))
        await until_waiting(database, "advisory", "relation")

    recorded = await first
    with pytest.raises(PreconditionFailed) as refused:
        await second
    assert refused.value.reason == "SESSION_OF_ANOTHER"
    assert [await store.get_session(ISSUER, "s1")] == recorded


async def test_the_exception_of_a_watermark_is_registered_first_or_not_at_all(
    database: Database, store: PostgresStore, other: PostgresStore
) -> None:
    async with held(database, REGISTERING):
        login = asyncio.create_task(store.register([session("s1", user="bob", expire_time=FAR)]))
        await until_waiting(database, "relation")
        revocation = asyncio.create_task(revoke_user(other, spare="s1", accept_unknown=True))
        await until_waiting(database, "advisory", "relation")

    await login
    with pytest.raises(Exception, match="names no session of that user"):
        await revocation


async def test_a_login_waits_for_no_revocation_of_somebody_else(
    database: Database, store: PostgresStore, other: PostgresStore
) -> None:
    async with held(database, LOG_LOCK):
        revocation = asyncio.ensure_future(the_user(other))
        await until_waiting(database, "transactionid")

        await store.register([session("b1", user="bob", expire_time=FAR)])

        assert not revocation.done()
    await revocation


async def test_batches_in_opposite_orders_never_wait_in_a_circle(store: PostgresStore, other: PostgresStore) -> None:
    batch = [session(f"s{number}", user=f"u{number}", tenant="red", expire_time=FAR) for number in range(200)]
    handles = [each.session_handle for each in batch]

    await asyncio.gather(
        *(store.register(batch) for _ in range(4)),
        *(other.register(batch[::-1]) for _ in range(4)),
    )
    one, another, *_ = await asyncio.gather(
        store.revoke_sessions(ISSUER, handles, OPS),
        other.revoke_sessions(ISSUER, handles[::-1], OPS),
        other.revoke_tenant(ISSUER, "red", OPS),
        revoke_user(store, "u7"),
    )

    assert not set(one.newly_revoked) & set(another.newly_revoked)
    for handle in handles[::20]:
        record = await store.get_session(ISSUER, handle)
        assert record is not None
        assert record.revoke_time is not None


@pytest.mark.parametrize("changed", [True, False], ids=["changed by its holder", "left as it was"])
async def test_what_is_read_under_the_log_lock_is_what_its_last_holder_left(database: Database, changed: bool) -> None:
    async with database.connect() as first, database.connect() as second:
        await first.execute("BEGIN; SELECT sidegate.take_log_lock()")
        await second.execute("BEGIN")
        waiting = asyncio.ensure_future(second.fetchrow("SELECT * FROM sidegate.take_log_lock()"))
        await until_waiting(database, "transactionid")
        if changed:
            await first.execute("UPDATE sidegate.store SET head_sequence = 7")
        left = await first.fetchval("SELECT sidegate.store_now()")
        await first.execute("COMMIT")

        row = await waiting

    assert row is not None
    assert row["head_sequence"] == (7 if changed else 0)
    assert left <= row["now"] <= left + 60 * SECOND


async def test_a_sidecar_that_vanishes_in_a_transaction_does_not_hold_the_log_lock_for_long(
    database: Database, store: PostgresStore
) -> None:
    async def vanish(connection: Connection) -> None:
        await take_log_lock(connection)
        await asyncio.Event().wait()

    async with database.connect() as connection:
        vanished = asyncio.create_task(transact(connection, vanish, timeout=60))
        while not connection.is_closed():  # noqa: ASYNC110 - the server's own timer ends it
            await asyncio.sleep(0.01)
        vanished.cancel()
        await asyncio.wait([vanished])

    await store.revoke_sessions(ISSUER, ["s1"], OPS)


@pytest.mark.parametrize(
    ("configured", "used"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
async def test_revocations_and_logins_are_on_the_disk_whatever_the_database_is_set_to(
    database: Database, store: PostgresStore, configured: str, used: str
) -> None:
    await database.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = {configured}')
    await database.execute(
        "CREATE TABLE public.seen (name text, setting text); GRANT INSERT ON public.seen TO PUBLIC;"
        "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen"
        " VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NULL; END$$;"
        "CREATE CONSTRAINT TRIGGER see AFTER INSERT ON sidegate.sessions DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.see();"  # deferred: what is in force at the commit
        "CREATE CONSTRAINT TRIGGER see AFTER INSERT ON sidegate.revocation_log DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.see()"
    )

    await store.register([session("s1", expire_time=FAR)])
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    async with database.connect() as connection:
        rows = await connection.fetch("SELECT name, setting FROM public.seen ORDER BY 1")
    assert [tuple(row) for row in rows] == [("revocation_log", used), ("sessions", used)]


async def test_one_revocation_is_one_notification_and_a_login_is_none(database: Database, store: PostgresStore) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()

    def hear(_connection: object, _sender: object, channel: object, _payload: object) -> None:
        heard.put_nowait(channel)

    async with database.connect() as listener:
        await listener.add_listener("sidegate_log", hear)
        await listener.add_listener("end", hear)

        await store.register([session(f"s{number}", expire_time=FAR) for number in range(3)])
        await revoke_user(store)
        await store.revoke_sessions(ISSUER, ["s1"], OPS)  # revoked already
        await database.execute('NOTIFY "end"')
        channels = [await asyncio.wait_for(heard.get(), 20) for _ in range(2)]

    assert channels == ["sidegate_log", "end"]


async def test_compaction_passes_over_a_session_that_is_being_registered_again(
    database: Database, store: PostgresStore
) -> None:
    await store.register([session(f"s{number}", create_time=1, expire_time=2 + number) for number in range(3)])

    async with held(database, "UPDATE sidegate.sessions SET session_expire_time = 9 WHERE session_handle = 's1'"):
        assert (await store.compact(10)).sessions == 2
        assert (await store.compact(10)).sessions == 0

    assert (await store.compact(10)).sessions == 1


async def test_no_entry_is_removed_while_a_session_of_its_time_is_left(
    database: Database, store: PostgresStore
) -> None:
    await store.register([session("s1", create_time=1, expire_time=2)])
    await store.revoke_sessions(ISSUER, ["s1", "s2"], OPS)
    await database.execute("UPDATE sidegate.revocation_log SET forget_time = 1")

    async with held(database, "SELECT FROM sidegate.sessions FOR UPDATE"):
        assert await store.compact(10) == Removed(0, 0)

    assert await store.compact(10) == Removed(1, 1)

"""A PostgreSQL store whose database fails: the error that callers get, what becomes of their work, and recovery."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest
from sidegate_sidecar.errors import StartupError, StoreUnavailable
from sidegate_sidecar.model import Attribution
from sidegate_sidecar.store import postgres_schema
from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.sql import Migration, migrations

from tests.contract.fakes import DAY, ISSUER, LIMITS, NOW, OPS, log_of, revoke_user, session, subject
from tests.fakes.postgres import SUPERUSER, Database, PostgresServer
from tests.fakes.proxy import Proxy
from tests.unit.store.postgres_locks import LOG_LOCK, held, until_waiting

FAR = NOW + 3650 * DAY  # these tests have the server's own clock


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(database.url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def connected(database: Database) -> int:
    """How many connections of sidegate's the server has."""
    async with database.connect() as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sidegate'"
        )
        return count


async def end_connections(database: Database) -> None:
    await database.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'sidegate'"
    )


Call = Callable[[PostgresStore], Awaitable[object]]
CALLS: dict[str, Call] = {
    "look_up": lambda store: store.look_up([subject("s1")]),
    "read_log": lambda store: store.read_log(1, 10),
    "limits": lambda store: store.limits(),
    "register": lambda store: store.register([session("s1", expire_time=FAR)]),
    "revoke": lambda store: store.revoke_sessions(ISSUER, ["s1"], OPS),
    "get_session": lambda store: store.get_session(ISSUER, "s1"),
    "compact": lambda store: store.compact(10),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


async def succeeds_soon(call: Callable[[], Awaitable[object]]) -> None:
    """The first call may find that its connection has gone; the second gets another."""
    try:
        await call()
    except StoreUnavailable:
        await call()


@every_call
async def test_a_connection_that_was_ended_is_replaced(database: Database, store: PostgresStore, call: Call) -> None:
    await call(store)
    await end_connections(database)

    await succeeds_soon(lambda: call(store))


@every_call
async def test_a_server_that_stops_is_unavailable_and_after_its_return_it_is_there(
    postgres_server: PostgresServer, store: PostgresStore, call: Call
) -> None:
    await call(store)
    postgres_server.stop()
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailable) as failed:
                await call(store)
            assert failed.value.__cause__ is not None
            assert postgres_server.password not in str(failed.value)
    finally:
        postgres_server.start()

    await succeeds_soon(lambda: call(store))


async def test_a_server_that_never_says_anything_is_unavailable(silent_port: int) -> None:
    store = PostgresStore(f"postgresql://u:hidden@127.0.0.1:{silent_port}/d")

    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await store.open()

    await store.close()


async def test_a_host_that_refuses_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = PostgresStore(f"postgresql://u:hidden@127.0.0.1:{port}/d")

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.open()

    await store.close()


@pytest.mark.parametrize(
    ("user", "password", "wording"),
    [
        (SUPERUSER, "hidden", "refuses the user or the password"),
        ("nobody_at_all", "hidden", "refuses the user or the password"),
    ],
)
async def test_a_wrong_password_is_told_without_it(database: Database, user: str, password: str, wording: str) -> None:
    store = PostgresStore(database.url_of(user, password))

    with pytest.raises(StoreUnavailable, match=wording) as failed:
        await store.open()

    assert "hidden" not in f"{failed.value} {failed.value.__cause__} {store!r} {vars(store)}"
    await store.close()


async def test_a_database_without_a_schema_is_told_and_waited_for(postgres_server: PostgresServer) -> None:
    async with postgres_server.database(migrated=False) as empty:
        store = PostgresStore(empty.url)
        with pytest.raises(StoreUnavailable, match="sidegate migrate"):
            await store.open()

        await store.migrate(LIMITS)

        await store.open()
        assert (await store.read_log(1, 1)).head == 0
        await store.close()


async def test_a_database_that_is_not_there_is_told(database: Database) -> None:
    store = PostgresStore(database.url + "_not")

    with pytest.raises(StoreUnavailable, match="no such database"):
        await store.open()

    await store.close()


@pytest.mark.parametrize("url", ["postgresql://u:hidden@h:port/d", "postgresql://u:hidden@h/d?sslmode=maybe"])
async def test_a_url_that_will_never_do_is_refused_without_showing_it(url: str) -> None:
    store = PostgresStore(url)

    with pytest.raises(StartupError) as refused:
        await store.open()

    assert "hidden" not in str(refused.value)
    assert refused.value.__cause__ is None
    await store.close()


async def test_a_store_that_is_not_open_is_unavailable(database: Database) -> None:
    store = PostgresStore(database.url)
    for call in CALLS.values():
        with pytest.raises(StoreUnavailable):
            await call(store)
    await store.open()
    await store.close()
    await store.close()
    for call in CALLS.values():
        with pytest.raises(StoreUnavailable):
            await call(store)


async def test_what_was_still_connecting_when_the_store_was_closed_never_begins(database: Database) -> None:
    with Proxy(database.server.port) as proxy:
        store = PostgresStore(database.url_of(SUPERUSER, database.server.password, port=proxy.port))
        await store.open()
        proxy.delay(0.05)
        call = asyncio.create_task(store.revoke_sessions(ISSUER, ["s1"], OPS))
        async with asyncio.timeout(20):
            while proxy.connections < 2:  # noqa: ASYNC110 - the proxy runs in a thread of its own
                await asyncio.sleep(0.001)

        await store.close()

        with pytest.raises(StoreUnavailable, match="closed"):
            await call


async def test_nothing_is_connected_before_it_is_needed_and_nothing_afterwards(database: Database) -> None:
    store = PostgresStore(database.url)
    assert await connected(database) == 0
    await store.open()
    assert await connected(database) == 1
    await asyncio.gather(*(store.look_up([subject(f"s{number}")]) for number in range(20)))
    assert await connected(database) == 3
    await asyncio.gather(*(store.get_session(ISSUER, f"s{number}") for number in range(20)))
    assert await connected(database) == 7

    await store.close()

    async with asyncio.timeout(20):
        while await connected(database):  # noqa: ASYNC110 - the server takes note of a hang-up by itself
            await asyncio.sleep(0.01)


async def test_a_write_that_timed_out_is_never_done_later(database: Database) -> None:
    store = PostgresStore(database.url, admin_timeout=0.2)
    await store.open()
    async with held(database, LOG_LOCK):
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await store.revoke_sessions(ISSUER, ["s1"], OPS)
        async with asyncio.timeout(20):
            await until_waiting(database)  # the server has given it up too

    assert await log_of(store) == []
    await store.revoke_sessions(ISSUER, ["s2"], OPS)
    assert [entry.subject for entry in await log_of(store)] == ["s2"]
    await store.close()


async def test_a_look_up_that_waits_for_a_lock_is_given_up_on_both_sides(
    database: Database, store: PostgresStore
) -> None:
    async with held(database, "LOCK TABLE sidegate.sessions IN ACCESS EXCLUSIVE MODE"):
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await store.look_up([subject("s1")])
        await until_waiting(database)

    await store.look_up([subject("s1")])


ALTER = Migration(99, "0099_a_column", safe_before=True, script="ALTER TABLE sidegate.sessions ADD COLUMN extra text")


async def test_a_migration_that_waits_for_a_long_transaction_holds_up_no_look_up(
    database: Database, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_schema, "_MIGRATIONS", (*migrations("postgres"), ALTER))  # there is only one yet
    migrating = PostgresStore(database.url)
    async with held(database, "SELECT FROM sidegate.sessions"):  # what a report or a dump holds
        migration = asyncio.create_task(migrating.migrate(LIMITS))
        await until_waiting(database, "relation")

        await store.look_up([subject("s1")])
        await store.register([session("s1", expire_time=FAR)])

        assert not migration.done()
    assert await migration == ["0099_a_column"]
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(extra) FROM sidegate.sessions") == 0


async def test_a_migration_that_waits_in_vain_says_what_for_and_changes_nothing(
    database: Database, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_schema, "_MIGRATIONS", (*migrations("postgres"), ALTER))
    migrating = PostgresStore(database.url, open_timeout=1.0)

    async with held(database, "SELECT FROM sidegate.sessions"):
        with pytest.raises(StoreUnavailable, match="in use by a transaction that has been open for long"):
            await migrating.migrate(LIMITS)

    assert await store.register([session("s1", expire_time=FAR)])
    assert await migrating.migrate(LIMITS) == ["0099_a_column"]


async def test_calls_go_on_after_a_migration_that_changed_what_they_read(
    database: Database, store: PostgresStore
) -> None:
    await store.register([session("s1", expire_time=FAR)])
    await store.look_up([subject("s1")])
    async with database.connect() as connection:
        definition: str = await connection.fetchval(
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'look_up'"
        )
        changed = definition.replace("OUT tenant_watermarks text[]", "OUT tenant_watermarks text[], OUT extra text")
        assert changed != definition
        await connection.execute(f"BEGIN; DROP FUNCTION sidegate.look_up; {changed}; COMMIT")

    await store.register([session("s2", expire_time=FAR)])
    [facts] = await store.look_up([subject("s2")])

    assert facts.record is not None


async def test_a_write_whose_caller_has_gone_is_done_and_leaves_nothing_behind(
    database: Database, store: PostgresStore
) -> None:
    async with held(database, LOG_LOCK):
        calls = [asyncio.create_task(store.revoke_sessions(ISSUER, [f"s{number}"], OPS)) for number in range(4)]
        await until_waiting(database, "transactionid", "tuple", "tuple", "tuple")
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.cancelled() for call in calls)

    await revoke_user(store)  # has to wait for one of them

    async with asyncio.timeout(20):
        while len(await log_of(store)) < 5:  # noqa: ASYNC110 - nobody is told when they are done
            await asyncio.sleep(0.01)
    assert await connected(database) == 5


async def test_work_whose_caller_left_before_its_turn_is_not_begun(database: Database, store: PostgresStore) -> None:
    async with held(database, LOG_LOCK):
        first = [asyncio.create_task(store.revoke_sessions(ISSUER, [f"s{number}"], OPS)) for number in range(4)]
        await until_waiting(database, "transactionid", "tuple", "tuple", "tuple")
        late = asyncio.create_task(store.revoke_sessions(ISSUER, ["late"], OPS))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait([late])

    await asyncio.gather(*first)
    await store.revoke_sessions(ISSUER, ["last"], OPS)
    assert "late" not in [entry.subject for entry in await log_of(store)]


async def test_a_commit_whose_answer_is_lost_is_unknown_and_can_be_asked_again(
    database: Database, store: PostgresStore
) -> None:
    once = Attribution("ops", "", "0f8fad5b-d9cb-469f-a165-70867728950e")
    # A commit that takes the connection with it, after it has been done.
    await database.execute(
        "CREATE FUNCTION public.hang_up() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END$$;"
        " CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON sidegate.requests DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.hang_up()"
    )
    with pytest.raises(StoreUnavailable):
        await store.revoke_sessions(ISSUER, ["s1"], once)
    await database.execute("DROP TRIGGER hang_up ON sidegate.requests")

    await store.revoke_sessions(ISSUER, ["s1"], once)
    again = await store.revoke_sessions(ISSUER, ["s1"], once)

    assert again.newly_revoked == ("s1",)
    assert [entry.subject for entry in await log_of(store)] == ["s1"]


@pytest.mark.parametrize(
    ("code", "wording"),
    [
        ("40001", "beside others"),
        ("40P01", "beside others"),
        ("53100", "no space left"),
        ("53300", "no connection free"),
        ("57P01", "shutting down"),
        ("XX001", "SQLSTATE XX001"),
    ],
)
async def test_a_fault_of_the_server_is_named_and_its_words_are_not_repeated(
    database: Database, store: PostgresStore, code: str, wording: str
) -> None:
    await database.execute(
        "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE 'hidden' USING ERRCODE = '{code}'; END$$;"
        " CREATE TRIGGER fail BEFORE INSERT ON sidegate.revocation_log EXECUTE FUNCTION public.fail()"
    )

    with pytest.raises(StoreUnavailable, match=wording) as failed:
        await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert "hidden" not in str(failed.value)
    assert isinstance(failed.value.__cause__, asyncpg.PostgresError)
    assert await log_of(store) == []


async def test_a_listening_link_that_ends_is_a_hint(database: Database) -> None:
    store = PostgresStore(database.url, poll_interval=3600)
    await store.open()
    await store.wait_for_change(60)  # its first hint: it listens from now on
    wait = asyncio.create_task(store.wait_for_change(60))

    await end_connections(database)

    await asyncio.wait_for(wait, 30)
    await store.close()


async def test_what_was_revoked_while_nobody_listened_is_a_hint_once_somebody_does(database: Database) -> None:
    store, other = PostgresStore(database.url, poll_interval=3600), PostgresStore(database.url)
    await store.open()
    await other.open()
    await store.wait_for_change(60)
    await end_connections(database)
    await store.wait_for_change(60)
    await succeeds_soon(lambda: other.revoke_sessions(ISSUER, ["s1"], OPS))

    await succeeds_soon(lambda: store.read_log(1, 1))

    await asyncio.wait_for(store.wait_for_change(60), 30)
    await store.close()
    await other.close()


async def test_a_burst_of_revocations_is_one_hint(database: Database) -> None:
    store, other = PostgresStore(database.url, poll_interval=3600), PostgresStore(database.url)
    await store.open()
    await other.open()
    await store.wait_for_change(60)
    async with database.connect() as connection:
        await connection.execute("BEGIN")
        for number in range(100):  # one transaction's equal notifications are one; these differ
            await connection.execute(f"NOTIFY sidegate_log, '{number}'")
        await connection.execute("COMMIT")

    await asyncio.wait_for(store.wait_for_change(60), 30)

    wait = asyncio.create_task(store.wait_for_change(60))
    done, _ = await asyncio.wait({wait}, timeout=0.2)
    assert not done
    wait.cancel()
    await store.close()
    await other.close()

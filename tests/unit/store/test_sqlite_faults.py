"""What an SQLite store does when something fails: never a false success, and itself again afterwards."""

import asyncio
import resource
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import aiosqlite
import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import Attribution, AuditFilter, Micros, SessionsRevoked
from sidegate_sidecar.store.sqlite import SqliteStore
from sidegate_sidecar.store.sqlite_link import SqliteLink

from tests.contract.fakes import ISSUER, LIMITS, NOW, OPS, log_of, quiet, revoke_user, session, subject

KEY = Attribution("ops", "", "5e7c3a52-6b0e-4b8a-9d3c-0f6f4f1f7f10")


class ScriptedClock:
    """The store reads it inside its transactions: the place to make something happen there."""

    def __init__(self) -> None:
        self.script: Callable[[], None] | None = None

    def __call__(self) -> Micros:
        script, self.script = self.script, None
        if script is not None:
            script()
        return NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def clock() -> ScriptedClock:
    return ScriptedClock()


@pytest.fixture
async def store(path: Path, clock: ScriptedClock) -> AsyncIterator[SqliteStore]:
    """An open store that holds one revocation."""
    opened = SqliteStore(path, clock=clock)
    await opened.migrate(LIMITS)
    await opened.open()
    await opened.revoke_sessions(ISSUER, ["first"], OPS)
    yield opened
    await opened.close()


async def assert_works(store: SqliteStore, *, handles: list[str]) -> None:
    """The log holds these handles and takes another."""
    assert [entry.subject for entry in await log_of(store)] == handles
    outcome = await store.revoke_sessions(ISSUER, ["another"], OPS)
    assert outcome.revision.sequence == len(handles) + 1
    assert [entry.subject for entry in await log_of(store)] == [*handles, "another"]


def leave(caller: asyncio.Task[Any]) -> None:
    """Its client hung up."""
    caller.cancel()


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Another process writes and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def full_disk(path: Path) -> Generator[None]:
    """No file of this process can grow past what the write-ahead log has already: the nearest thing to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(f"{path.name}-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def hidden(path: Path) -> Generator[None]:
    """The file is not where it was."""
    elsewhere = path.with_name("hidden.db")
    path.rename(elsewhere)
    yield
    assert not path.exists()
    elsewhere.rename(path)


@contextmanager
def damaged(path: Path) -> Generator[None]:
    """Everything but the header of the file is overwritten."""
    intact = path.read_bytes()
    path.write_bytes(intact[:100] + b"\xa5" * (len(intact) - 100))
    yield
    path.write_bytes(intact)


@pytest.fixture
async def impatient(store: SqliteStore, path: Path, clock: ScriptedClock) -> AsyncIterator[SqliteStore]:
    """Another store on the file, that gives a write little time."""
    opened = SqliteStore(path, clock=clock, write_timeout=0.2)
    await opened.open()
    yield opened
    await opened.close()


async def test_a_locked_database_refuses_writes_and_answers_reads(impatient: SqliteStore, path: Path) -> None:
    with locked(path):
        with pytest.raises(StoreUnavailable) as raised:
            await impatient.revoke_sessions(ISSUER, ["s1"], OPS)
        [facts] = await impatient.look_up([subject("first")])

    # SQLite gives up first, unless the machine is too busy to let it.
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError | TimeoutError)
    assert facts.coverage.session_revoked
    await assert_works(impatient, handles=["first"])


async def test_the_lock_of_another_process_is_named_as_the_cause(store: SqliteStore, path: Path) -> None:
    link = SqliteLink(path, writes=True, busy_timeout=0.05)

    async def begin(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall("BEGIN IMMEDIATE")

    with locked(path), pytest.raises(StoreUnavailable) as raised:
        await link.run(begin, timeout=60)

    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    await link.close(timeout=30)


async def test_every_writer_in_the_queue_has_its_time_bounded(impatient: SqliteStore, path: Path) -> None:
    with locked(path):
        outcomes = await asyncio.wait_for(
            asyncio.gather(
                *(impatient.revoke_sessions(ISSUER, [f"s{number}"], OPS) for number in range(5)),
                return_exceptions=True,
            ),
            30,
        )

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 5
    await assert_works(impatient, handles=["first"])


async def test_a_full_disk_is_no_success(store: SqliteStore, path: Path) -> None:
    handles = [f"s{number}" for number in range(1000)]
    with full_disk(path):
        with pytest.raises(StoreUnavailable) as raised:
            await store.revoke_sessions(ISSUER, handles, OPS)
        [facts] = await store.look_up([subject("s1")])

    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert not facts.coverage.session_revoked
    await assert_works(store, handles=["first"])


WRITES: dict[str, Callable[[SqliteStore], Awaitable[object]]] = {
    "revoke_sessions": lambda store: store.revoke_sessions(ISSUER, [f"s{number}" for number in range(1000)], KEY),
    "revoke_user": lambda store: revoke_user(store, attribution=KEY),
    "register": lambda store: store.register([session(f"s{number}") for number in range(1000)]),
}


async def allow_pages(store: SqliteStore, pages: int) -> None:
    """How large the file may be, for the connection that writes: SQLite's own full disk. At least what it is now."""

    async def limit(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(f"PRAGMA max_page_count = {pages}")

    await store._open_links().writer.run(limit, timeout=30)  # pyright: ignore[reportPrivateUsage] - a limit is a connection's own


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_file_that_cannot_grow_takes_nothing_of_a_write_and_goes_on_when_it_can(
    store: SqliteStore, write: Callable[[SqliteStore], Awaitable[object]]
) -> None:
    alive = [f"alive{number}" for number in range(1000)]
    await store.register([session(handle) for handle in alive])
    page = await store.read_log(1, 10)
    await allow_pages(store, 1)

    with pytest.raises(StoreUnavailable, match="no space left") as raised:
        await write(store)
    facts = await store.look_up([subject("first"), *map(subject, alive)])

    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert raised.value.__cause__.sqlite_errorname == "SQLITE_FULL"
    assert await store.read_log(1, 10) == page
    assert [each.coverage.session_revoked for each in facts] == [True] + [False] * 1000
    assert await store.get_session(ISSUER, "s1") is None
    await write(store)  # on a new connection, which has no limit
    assert await store.get_session(ISSUER, "alive1") is not None
    assert (await store.revoke_sessions(ISSUER, ["last"], OPS)).newly_revoked == ("last",)


async def test_a_key_of_a_write_that_failed_is_free(store: SqliteStore, path: Path) -> None:
    with full_disk(path), pytest.raises(StoreUnavailable):
        await store.revoke_sessions(ISSUER, [f"s{number}" for number in range(1000)], KEY)

    assert (await store.revoke_sessions(ISSUER, ["s1"], KEY)).newly_revoked == ("s1",)


async def test_a_file_that_is_gone_is_no_empty_store(store: SqliteStore, path: Path) -> None:
    with hidden(path):
        with pytest.raises(StoreUnavailable):
            await store.revoke_sessions(ISSUER, ["s1"], OPS)
        with pytest.raises(StoreUnavailable):
            await store.look_up([subject("first")])

    await assert_works(store, handles=["first"])


async def test_a_restored_file_is_read_and_written_from_then_on(store: SqliteStore, path: Path) -> None:
    backup = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    await store.revoke_sessions(ISSUER, ["lost"], OPS)
    await store.wait_for_change(1)

    shutil.move(backup, path)
    for leftover in ("-wal", "-shm"):
        path.with_name(path.name + leftover).unlink(missing_ok=True)

    await asyncio.wait_for(store.wait_for_change(60), 30)
    await assert_works(store, handles=["first"])


async def test_a_backup_that_is_put_back_into_a_file_in_use_is_read_and_written_from_then_on(
    store: SqliteStore, path: Path
) -> None:
    """As `.restore` does, for which docs/operations.md says so."""
    backup = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    await store.revoke_sessions(ISSUER, ["lost"], OPS)
    await store.wait_for_change(1)

    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)

    await asyncio.wait_for(store.wait_for_change(60), 30)
    await assert_works(store, handles=["first"])


async def test_damage_is_reported_by_whoever_meets_it(store: SqliteStore, path: Path) -> None:
    await store.close()  # which moves what the write-ahead log holds to the file
    await store.open()

    with damaged(path), pytest.raises(StoreUnavailable) as raised:
        await store.look_up([subject("first")])

    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)
    await assert_works(store, handles=["first"])


async def test_the_clock_is_read_with_the_log_lock_held(store: SqliteStore, path: Path, clock: ScriptedClock) -> None:
    held: list[bool] = []

    def try_to_write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                held.append(True)

    for write in (
        lambda: revoke_user(store),
        lambda: store.revoke_sessions(ISSUER, ["s1"], OPS),
        lambda: store.register([session("s2")]),
    ):
        clock.script = try_to_write
        await write()

    assert held == [True, True, True]


async def test_a_caller_that_leaves_in_the_middle_leaves_a_whole_transaction(
    store: SqliteStore, clock: ScriptedClock
) -> None:
    await store.register([session("s1"), session("s2")])
    revocation = asyncio.create_task(revoke_user(store, attribution=KEY))
    clock.script = lambda: leave(revocation)

    with pytest.raises(asyncio.CancelledError):
        await revocation

    # It was committed, so the retry is told what the first attempt did.
    assert await revoke_user(store, attribution=KEY) == 2
    await assert_works(store, handles=["first", "ada", "s1", "s2"])


async def test_a_caller_that_leaves_before_its_turn_leaves_nothing(store: SqliteStore, clock: ScriptedClock) -> None:
    ahead = asyncio.create_task(store.revoke_sessions(ISSUER, ["s1"], OPS))
    behind = asyncio.create_task(store.revoke_sessions(ISSUER, ["s2"], OPS))
    clock.script = lambda: leave(behind)

    await ahead
    with pytest.raises(asyncio.CancelledError):
        await behind

    await assert_works(store, handles=["first", "s1"])


async def test_a_transaction_that_dies_with_its_loop_is_rolled_back(store: SqliteStore, clock: ScriptedClock) -> None:
    def end_the_transaction() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # as asyncio.run does to every task at its end

    await store.register([session("s1")])
    clock.script = end_the_transaction

    with pytest.raises(asyncio.CancelledError):
        await revoke_user(store)

    await assert_works(store, handles=["first"])


async def test_a_defect_in_the_middle_is_rolled_back_and_not_hidden(store: SqliteStore, clock: ScriptedClock) -> None:
    def defect() -> None:
        raise LookupError("a defect")

    clock.script = defect

    with pytest.raises(LookupError):
        await store.revoke_sessions(ISSUER, ["s1"], OPS)

    await assert_works(store, handles=["first"])


async def test_a_store_that_is_not_open_is_unavailable(path: Path) -> None:
    store = SqliteStore(path)
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.look_up([subject("s1")])
    with pytest.raises(StoreUnavailable):
        await store.revoke_sessions(ISSUER, ["s1"], OPS)
    with pytest.raises(StoreUnavailable):
        await store.wait_for_change(1)


async def test_closing_lets_the_write_at_hand_end_and_refuses_the_rest(store: SqliteStore) -> None:
    await quiet(store)
    wait = asyncio.create_task(store.wait_for_change(60))
    queued = [asyncio.create_task(store.revoke_sessions(ISSUER, [f"s{number}"], OPS)) for number in range(5)]
    await asyncio.sleep(0)

    await asyncio.gather(store.close(), store.close())

    outcomes = await asyncio.gather(*queued, return_exceptions=True)
    # Woken by the first of the writes, or refused.
    await asyncio.wait_for(asyncio.gather(wait, return_exceptions=True), 30)
    await store.open()
    assert [type(outcome) for outcome in outcomes] == [SessionsRevoked, *[StoreUnavailable] * 4]
    await assert_works(store, handles=["first", "s0"])


async def test_closing_leaves_no_thread_behind(store: SqliteStore) -> None:
    threads = [thread for thread in threading.enumerate() if "_connection_worker" in thread.name]
    assert len(threads) == 4

    await store.close()

    for thread in threads:
        await asyncio.to_thread(thread.join, 30)  # its last word to the loop is not quite its end
    assert not any(thread.is_alive() for thread in threads)


async def test_a_closed_store_can_be_opened_again(store: SqliteStore) -> None:
    await store.close()
    await store.open()

    await assert_works(store, handles=["first"])


async def test_a_fault_while_waiting_for_a_change_counts_as_one_once_it_is_over(store: SqliteStore, path: Path) -> None:
    await quiet(store)
    wait = asyncio.create_task(store.wait_for_change(60))
    with hidden(path):
        done, _ = await asyncio.wait({wait}, timeout=0.2)
        assert not done

    await asyncio.wait_for(wait, 30)


async def test_a_connection_that_stopped_is_replaced(store: SqliteStore, path: Path) -> None:
    link = SqliteLink(path, writes=False, busy_timeout=1)

    async def stop(connection: aiosqlite.Connection) -> None:
        stopped = cast("asyncio.Future[object]", connection.stop())  # pyright: ignore[reportUnknownMemberType] - a bare Future
        await stopped

    async def count(connection: aiosqlite.Connection) -> int:
        [[entries]] = await connection.execute_fetchall("SELECT count(*) FROM revocation_log")
        return entries

    await link.run(stop, timeout=30)
    with pytest.raises(StoreUnavailable) as raised:
        await link.run(count, timeout=30)
    assert isinstance(raised.value.__cause__, ValueError)

    assert await link.run(count, timeout=30) == 1
    await link.close(timeout=30)


@pytest.mark.parametrize("leaves_by", ["timeout", "cancellation"])
async def test_a_read_whose_caller_has_gone_is_interrupted(store: SqliteStore, path: Path, leaves_by: str) -> None:
    link = SqliteLink(path, writes=False, busy_timeout=1)
    begun = asyncio.Event()

    async def endless(connection: aiosqlite.Connection) -> None:
        begun.set()
        await connection.execute_fetchall(
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        )

    async def answer(connection: aiosqlite.Connection) -> int:
        [[one]] = await connection.execute_fetchall("SELECT 1")
        return one

    reading = asyncio.create_task(link.run(endless, timeout=0.3 if leaves_by == "timeout" else 60))
    await begun.wait()
    if leaves_by == "cancellation":
        reading.cancel()

    outcome, *_ = await asyncio.gather(reading, return_exceptions=True)

    assert isinstance(outcome, StoreUnavailable if leaves_by == "timeout" else asyncio.CancelledError)
    assert await link.run(answer, timeout=30) == 1
    await link.close(timeout=30)


async def test_a_long_search_of_the_audit_trail_holds_no_look_up_up(store: SqliteStore) -> None:
    searching = asyncio.Event()
    gate = asyncio.Event()
    links = store._links  # pyright: ignore[reportPrivateUsage] - the only way to a search that lasts
    assert links is not None

    async def search(connection: aiosqlite.Connection) -> None:
        searching.set()
        await gate.wait()

    busy = asyncio.create_task(links.lister.run(search, timeout=60))
    await searching.wait()

    [facts] = await store.look_up([subject("first")])
    assert facts.coverage.session_revoked

    gate.set()
    await busy
    assert len(await store.list_revocations(AuditFilter(), before=None, limit=10)) == 1


async def test_no_error_tells_what_the_store_holds(impatient: SqliteStore, path: Path) -> None:
    with locked(path), pytest.raises(StoreUnavailable) as raised:
        await impatient.revoke_sessions(ISSUER, ["secret-handle"], OPS)

    assert "secret-handle" not in f"{raised.value}{raised.value.__cause__}"
    assert str(path) not in str(raised.value)

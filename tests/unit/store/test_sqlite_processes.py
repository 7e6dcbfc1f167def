"""Several processes on one file, and what is left when one of them is killed."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from sidegate_sidecar.model import LogEntry, RevocationKind, wall_clock
from sidegate_sidecar.store.sql import migrations
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import DAY, ISSUER, LIMITS, log_of, revoke_user, session
from tests.unit.store.worker import MOMENTS

ROOT = Path(__file__).parents[3]
SESSIONS = 10_000

Start: TypeAlias = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts workers; none outlives its test."""
    started: list[Process] = []

    async def start_worker(*arguments: str | Path) -> Process:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.unit.store.worker", *map(str, arguments), cwd=ROOT, stdout=PIPE
        )
        started.append(worker)
        return worker

    yield start_worker
    for worker in started:
        if worker.returncode is None:
            worker.kill()
        await worker.communicate()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """An empty store."""
    file = tmp_path / "sessions.db"
    await SqliteStore(file).migrate(LIMITS)
    return file


async def log_in(path: Path) -> list[LogEntry]:
    """The whole log of a store that nobody need have closed properly."""
    store = SqliteStore(path)
    await store.open()
    try:
        return await log_of(store)
    finally:
        await store.close()


async def read_line(worker: Process) -> str:
    assert worker.stdout is not None
    return (await asyncio.wait_for(worker.stdout.readline(), 60)).decode().rstrip("\n")


async def rest(worker: Process) -> list[str]:
    output, _ = await asyncio.wait_for(worker.communicate(), 60)
    return output.decode().splitlines()


async def test_processes_that_migrate_at_once_make_one_store(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "fresh" / "sessions.db"
    workers = [await start("migrate", path) for _ in range(4)]

    applied = [await rest(worker) for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert sorted(map(len, applied))[:3] == [0, 0, 0]
    assert [name for names in applied for name in names] == [each.name for each in migrations("sqlite")]


async def test_sequences_are_gap_free_whoever_writes(path: Path, start: Start) -> None:
    workers = [await start("revoke", path, prefix, "40") for prefix in "abc"]

    acknowledged = [line.split() for worker in workers for line in await rest(worker)]

    log = await log_in(path)
    assert len(log) == 120
    assert {(int(sequence), handle) for sequence, handle in acknowledged} == {
        (entry.sequence, entry.subject) for entry in log
    }


async def test_a_store_is_told_of_what_another_process_writes(path: Path, start: Start) -> None:
    store = SqliteStore(path)
    await store.open()
    worker = await start("revoke", path, "a", "5")
    seen = 0

    while seen < 5:
        await asyncio.wait_for(store.wait_for_change(60), 60)
        seen = (await store.read_log(1, 1)).head

    assert len(await rest(worker)) == 5
    await store.close()


@pytest.mark.parametrize("after", [1, 2, 7, 20])
async def test_no_acknowledged_revocation_is_lost_when_the_process_is_killed(
    path: Path, start: Start, after: int
) -> None:
    worker = await start("revoke", path, "s", "100000")
    acknowledged = [await read_line(worker) for _ in range(after)]

    worker.kill()
    acknowledged += await rest(worker)

    log = await log_in(path)
    written = [f"{entry.sequence} {entry.subject}" for entry in log]
    assert written[: len(acknowledged)] == acknowledged
    assert len(written) <= len(acknowledged) + 1  # the one under way may have been written


@pytest.fixture(scope="module")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store in which ada has 10,000 sessions."""
    path = tmp_path_factory.mktemp("large") / "sessions.db"

    async def fill() -> None:
        store = SqliteStore(path)
        await store.migrate(LIMITS)
        await store.open()
        handles = [f"s{number}" for number in range(SESSIONS)]
        await store.register([session(handle, expire_time=wall_clock() + DAY) for handle in handles])
        await store.close()

    asyncio.run(fill())
    return path.read_bytes()


def assert_all_or_nothing(log: list[LogEntry], *, acknowledged: bool) -> None:
    assert len(log) == SESSIONS + 1 if acknowledged else len(log) in (0, SESSIONS + 1)
    assert [entry.kind for entry in log[:1]] == [RevocationKind.USER] * bool(log)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_user_revocation_is_all_or_nothing_whenever_the_process_dies(
    tmp_path: Path, large_store: bytes, start: Start, moment: str
) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(large_store)
    worker = await start("revoke-user", path, moment)

    said = await rest(worker)

    assert worker.returncode == -9
    assert said == (["begin", "acknowledged"] if moment == "acknowledged" else ["begin"])
    log = await log_in(path)
    assert len(log) == (SESSIONS + 1 if moment == "acknowledged" else 0)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2])
async def test_a_user_revocation_is_all_or_nothing_whenever_the_process_is_killed(
    tmp_path: Path, large_store: bytes, start: Start, delay: float
) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(large_store)
    worker = await start("revoke-user", path, "never")
    assert await read_line(worker) == "begin"

    await asyncio.sleep(delay)  # wherever that finds it: every moment has to do
    if worker.returncode is None:
        worker.kill()
    said = await rest(worker)

    assert_all_or_nothing(await log_in(path), acknowledged=said == ["acknowledged"])


async def test_a_killed_writer_holds_nobody_up(tmp_path: Path, large_store: bytes, start: Start) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(large_store)
    survivor = SqliteStore(path)
    await survivor.open()
    worker = await start("revoke-user", path, "written")
    await rest(worker)

    assert await revoke_user(survivor) == SESSIONS
    assert len(await log_of(survivor)) == SESSIONS + 1
    await survivor.close()


async def test_a_login_waits_for_the_revocation_under_way_in_another_process(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    login = asyncio.create_task(store.register([session("s1", expire_time=wall_clock() + DAY)]))
    done, _ = await asyncio.wait({login}, timeout=0.1)
    assert not done
    watermark = wall_clock() + DAY // 2  # as if that process's clock were ahead
    other.execute(
        "INSERT INTO revocation_log (sequence, entry_id, kind, issuer, subject, revoke_time, actor, reason)"
        " VALUES (1, randomblob(16), 'u', ?, 'ada', ?, 'ops', '')",
        (ISSUER, watermark),
    )
    other.execute("UPDATE store SET head_sequence = 1")
    other.execute("COMMIT")
    other.close()

    [recorded] = await login
    assert recorded.create_time == watermark + 1
    await store.close()

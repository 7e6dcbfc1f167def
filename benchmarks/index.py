"""What the revocation index costs: how long it takes to load, how much memory, how long the event loop stands still.

Each row comes from a process of its own, which also imports the whole sidecar. `memory` reads from a log that is made
up as it is read, so that loading alone is measured; `sqlite` from a store on this disk, `postgresql` from a real
server. CPU is this process's; beside it, what the server spent. A stall is the longest turn of the event loop, by the
clock and by the CPU that its thread spent: on a busy machine only the latter is the sidecar's own doing. Then a watcher
asks for a snapshot of it all by gRPC; the last columns say how long that took, and the longest turn by CPU meanwhile.
Takes about two minutes.

`make bench`, or `PYTHONPATH=. .venv/bin/python benchmarks/index.py`.
"""

import asyncio
import logging
import multiprocessing
import os
import selectors
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import structlog
from sidegate.v1 import feed_pb2, feed_pb2_grpc
from sidegate_sidecar.app import keep_what_was_imported
from sidegate_sidecar.model import SECOND, LogEntry, LogPage, Revision, RevocationKind, StoreLimits, Subject, wall_clock
from sidegate_sidecar.revocations.feed import RevocationFeed
from sidegate_sidecar.revocations.follower import LogFollower, LogSource
from sidegate_sidecar.rpc.feed import RevocationFeedService
from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.fakes.postgres import Database, PostgresServer

ISSUER = "https://login.example.com"
SIZES = (10_000, 100_000, 1_000_000)
LOOK_UPS = 20_000
DAY = 24 * 3600 * SECOND


def handle(number: int) -> str:
    """As long as a UUID, as handles are."""
    return f"5e551011-0000-4000-8000-{number:012}"


class MadeUpLog:
    """A log of as many revoked sessions, each made when it is read."""

    def __init__(self, size: int) -> None:
        self._size = size

    async def read_log(self, first: int, limit: int) -> LogPage:
        """Yields once, as a real one does."""
        await asyncio.sleep(0)
        entries = tuple(
            LogEntry(
                number, number.to_bytes(16, "big"), RevocationKind.SESSION, ISSUER, handle(number), None, None, 1, 2
            )
            for number in range(first, min(first + limit, self._size + 1))
        )
        return LogPage("store", bytes(16), self._size, 0, 0, entries)

    async def wait_for_change(self, timeout: float) -> None:
        """Nothing changes."""
        await asyncio.sleep(timeout)

    async def renew_identity(self, store_id: str) -> None:
        """Never set back."""


async def make_store(path: Path, size: int) -> SessionStore:
    """A store with as many revocations, written past the store's own methods, which would take minutes."""
    store = SqliteStore(path, clock=wall_clock)
    await store.migrate(StoreLimits(DAY, SECOND, 30 * DAY))
    connection = sqlite3.connect(path, isolation_level=None)
    now = wall_clock()
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO revocation_log"
        " (sequence, entry_id, kind, issuer, subject, revoke_time, forget_time, actor, reason)"
        " VALUES (?, ?, 's', ?, ?, ?, ?, 'benchmark', '')",
        (
            (number, number.to_bytes(16, "big"), ISSUER, handle(number), now, now + 30 * DAY)
            for number in range(1, size + 1)
        ),
    )
    connection.execute("UPDATE store SET head_sequence = ?", (size,))
    connection.execute("COMMIT")
    connection.close()
    await store.open()
    return store


async def fill(database: Database, size: int) -> None:
    """With as many, likewise."""
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO sidegate.revocation_log"
            " (sequence, kind, issuer, subject, revoke_time, forget_time, actor, reason)"
            " SELECT n, 's', $1, $2 || to_char(n, 'FM000000000000'), $3, $4, 'benchmark', ''"
            " FROM generate_series(1, $5::bigint) AS k (n)",
            ISSUER,
            handle(0)[:-12],
            wall_clock(),
            wall_clock() + 30 * DAY,
            size,
            timeout=120,
        )
        await connection.execute("UPDATE sidegate.store SET head_sequence = $1", size)
        await connection.execute("VACUUM ANALYZE sidegate.revocation_log")


def resident_mb() -> float:
    """The memory of this process, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6


class TurnMeter(selectors.DefaultSelector):
    """Knows how long the event loop that asks it takes from one question to the next.

    Attributes:
        longest: Of a turn since `begin`, in seconds.
        longest_cpu: Likewise, by the CPU that the loop's thread spent in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        """Forget what was; the turn under way counts from now."""
        self.longest = self.longest_cpu = 0.0
        self._began, self._began_cpu = time.perf_counter(), time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Ends a turn, and begins the next."""
        self.longest = max(self.longest, time.perf_counter() - self._began)
        self.longest_cpu = max(self.longest_cpu, time.thread_time() - self._began_cpu)
        found = super().select(timeout)
        self._began, self._began_cpu = time.perf_counter(), time.thread_time()
        return found


def cpu_of_children(pid: int) -> float:
    """What the children of a process have spent on CPU, in seconds; in steps of a tick."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    fields = [Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for child in children]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def log_of(source: str, size: int) -> AsyncGenerator[tuple[LogSource, int]]:
    """A log of so many revocations, and the process that serves it; 0: this one."""
    if source == "memory":
        yield MadeUpLog(size), 0
    elif source == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            store = await make_store(Path(folder) / "sessions.db", size)
            yield store, 0
            await store.close()
    else:
        server = await asyncio.to_thread(PostgresServer)
        try:
            async with server.database() as database:
                await fill(database, size)
                store = PostgresStore(database.url)
                await store.open()
                yield store, server.pid
                await store.close()
        finally:
            server.close()


def ask_for_snapshot(target: str) -> int:
    """How many revocations a snapshot has."""
    told = 0
    with grpc.insecure_channel(target) as channel:
        stub = feed_pb2_grpc.RevocationFeedServiceStub(channel)
        for message in stub.WatchRevocations(feed_pb2.WatchRevocationsRequest(with_snapshot=True)):
            if message.HasField("checkpoint"):
                break
            told += len(message.snapshot_chunk.revocations)
    return told


async def snapshot(follower: LogFollower, folder: Path) -> int:
    """How many revocations another process was told of."""
    service = RevocationFeedService(RevocationFeed(follower), wall_clock, snapshots=True)
    server = grpc.aio.server()
    feed_pb2_grpc.add_RevocationFeedServiceServicer_to_server(service, server)
    target = f"unix:{folder}/feed.sock"
    server.add_insecure_port(target)
    await server.start()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as watcher:
        told = await asyncio.get_running_loop().run_in_executor(watcher, ask_for_snapshot, target)
    await server.stop(0)
    return told


async def load(source: str, size: int, turns: TurnMeter) -> str:
    """One row of the table."""
    async with log_of(source, size) as (log, server_pid):
        store_id = (await log.read_log(1, 1)).store_id
        memory, server_cpu = resident_mb(), cpu_of_children(server_pid) if server_pid else 0.0
        follower = LogFollower(log)
        began, cpu_began = time.perf_counter(), time.process_time()
        turns.begin()
        following = asyncio.create_task(follower.run())
        await follower.reach(Revision(store_id, size), 300)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        stall, stall_cpu = turns.longest, turns.longest_cpu
        server_cpu = cpu_of_children(server_pid) - server_cpu if server_pid else 0.0
        index = follower.index
        if index is None or len(index) != size:
            raise RuntimeError("the index is not whole")
        row = (
            f"{source:11}{size:>10,}{seconds:>9.2f} s{cpu:>8.2f} s{server_cpu:>8.2f} s"
            f"{resident_mb():>6.0f} MB{resident_mb() - memory:>6.0f} MB"
            f"{stall * 1000:>7.1f} ms{stall_cpu * 1000:>7.1f} ms"
        )
        subjects = [Subject(ISSUER, handle(number), "user", "") for number in range(1, 2 * LOOK_UPS, 2)]
        began = time.perf_counter()
        for subject in subjects:
            index.coverage(subject)
        row += f"{(time.perf_counter() - began) / LOOK_UPS * 1e6:>8.2f} us"
        with tempfile.TemporaryDirectory(prefix="sg-") as folder:
            began = time.perf_counter()
            turns.begin()
            if await snapshot(follower, Path(folder)) != size:
                raise RuntimeError("the snapshot is not whole")
            row += f"{time.perf_counter() - began:>7.2f} s{turns.longest_cpu * 1000:>7.1f} ms"
        following.cancel()
        await asyncio.wait([following])
        return row


def print_row(source: str, size: int) -> None:
    """In a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    keep_what_was_imported()
    turns = TurnMeter()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        sys.stdout.write(runner.run(load(source, size, turns)) + "\n")


def main() -> None:
    """Every source in every size."""
    sys.stdout.write(
        "log           entries     loaded       CPU  server's resident of it index   stall   its CPU    look-up"
        " snapshot   its CPU\n"
    )
    sys.stdout.flush()
    spawning = multiprocessing.get_context("spawn")
    for source in ("memory", "sqlite", "postgresql"):
        for size in SIZES:
            process = spawning.Process(target=print_row, args=(source, size))
            process.start()
            process.join()


if __name__ == "__main__":
    main()

"""What the revocation index costs: how long it takes to load, how much memory, how long the event loop stands still.

Each row comes from a process of its own, which also imports the whole sidecar. `memory` reads from a log that is made
up as it is read, so that loading alone is measured; `sqlite` from a store on this disk. The stall is the longest time
for which a task that does nothing else had to wait for the loop. Takes about a minute.

`make bench`, or `PYTHONPATH=. .venv/bin/python benchmarks/index.py`.
"""

import asyncio
import logging
import multiprocessing
import sqlite3
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog
from sidegate_sidecar.app import keep_what_was_imported
from sidegate_sidecar.model import SECOND, LogEntry, LogPage, Revision, RevocationKind, StoreLimits, Subject, wall_clock
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

ISSUER = "https://login.example.com"
SIZES = (10_000, 100_000, 1_000_000)
LOOK_UPS = 20_000
TICK_SECONDS = 0.001
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


def resident_mb() -> float:
    """The memory of this process, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6


async def longest_stall(work: Coroutine[Any, Any, None]) -> float:
    """How long the loop stood still at most while it did the work, in seconds."""
    worst = 0.0
    task = asyncio.create_task(work)
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        worst = max(worst, time.perf_counter() - began - TICK_SECONDS)
    await task
    return worst


async def load(source: str, size: int) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        store = await make_store(Path(folder) / "sessions.db", size) if source == "sqlite" else None
        source_log = store or MadeUpLog(size)
        store_id = (await source_log.read_log(1, 1)).store_id
        before = resident_mb()
        follower = LogFollower(source_log)
        following = asyncio.create_task(follower.run())
        began = time.perf_counter()
        stall = await longest_stall(follower.reach(Revision(store_id, size), 300))
        seconds = time.perf_counter() - began
        index = follower.index
        if index is None or len(index) != size:
            raise RuntimeError("the index is not whole")
        subjects = [Subject(ISSUER, handle(number), "user", "") for number in range(1, 2 * LOOK_UPS, 2)]
        began = time.perf_counter()
        for subject in subjects:
            index.coverage(subject)
        look_up = (time.perf_counter() - began) / LOOK_UPS
        row = (
            f"{source:8}{size:>12,}{seconds:>10.2f} s{resident_mb():>10.0f} MB{resident_mb() - before:>10.0f} MB"
            f"{stall * 1000:>10.1f} ms{look_up * 1e6:>10.2f} us"
        )
        following.cancel()
        await asyncio.wait([following])
        if store is not None:
            await store.close()
        return row


def print_row(source: str, size: int) -> None:
    """In a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    keep_what_was_imported()
    sys.stdout.write(asyncio.run(load(source, size)) + "\n")


def main() -> None:
    """Every source in every size."""
    sys.stdout.write("log          entries     loaded  resident    of it index   stall   look-up\n")
    sys.stdout.flush()
    spawning = multiprocessing.get_context("spawn")
    for source in ("memory", "sqlite"):
        for size in SIZES:
            process = spawning.Process(target=print_row, args=(source, size))
            process.start()
            process.join()


if __name__ == "__main__":
    main()

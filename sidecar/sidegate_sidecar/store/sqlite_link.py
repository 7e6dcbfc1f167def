"""One connection to an SQLite file: in turn, bounded in time, and replaced when it or the file fails."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import aiosqlite

from sidegate_sidecar.errors import SidegateError, StoreUnavailable

_INTERRUPT_INTERVAL = 0.02  # seconds

T = TypeVar("T")
Work = Callable[[aiosqlite.Connection], Awaitable[T]]
"""What to do with a connection while nobody else uses it."""


class SqliteLink:
    """A connection and its thread. Connects when first used, and again after any fault.

    Work that has begun is not cancelled with its caller: it runs to its end in a task of its own, so that no statement
    is still running when the next caller's turn comes.

    Args:
        path: The file. It must exist; it is never created here.
        writes: False: the connection can only read, and work whose caller has gone is interrupted.
        busy_timeout: How long SQLite itself waits for another process's lock, in seconds.
    """

    def __init__(self, path: Path, *, writes: bool, busy_timeout: float) -> None:
        self._path = path
        self._writes = writes
        self._busy_timeout = busy_timeout
        self._turn = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._closed = False
        self._interrupting: asyncio.Task[None] | None = None  # the loop itself holds tasks weakly

    async def run(self, work: Work[T], *, timeout: float) -> T:
        """Do it when its turn comes. `timeout` in seconds covers the wait for the turn.

        Raises:
            StoreUnavailable: The driver failed, or the time is up; then the work may still be done.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._turn.acquire()
                if self._closed:
                    self._turn.release()
                    raise StoreUnavailable("The session store is closed.")
                job = asyncio.create_task(self._do(work))
                job.add_done_callback(self._end)
                try:
                    return await asyncio.shield(job)
                except asyncio.CancelledError:
                    # A write is left to end: its outcome is what a retry with the same request_id asks for.
                    if not self._writes and not job.done():
                        self._interrupting = asyncio.create_task(self._interrupt(job))
                    raise
        except TimeoutError as fault:
            raise StoreUnavailable("The session store did not answer in time.") from fault
        # aiosqlite reports a connection that has been stopped by a ValueError.
        except (sqlite3.Error, OSError, ValueError) as fault:
            raise StoreUnavailable(_wording(fault)) from fault

    async def close(self, *, timeout: float) -> None:
        """Let the work at hand end, then disconnect for good. A thread that hangs in the disk is left behind."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._turn:
                await self._disconnect()

    async def _do(self, work: Work[T]) -> T:
        file = _identity(self._path)
        if self._connection is not None and file != self._file:
            # The file was replaced under us, by a restored backup for one: what we wrote to the old one nobody would
            # ever see.
            await self._disconnect()
        if self._connection is None:
            self._connection = await self._connect()
            # As it was before connecting: had it been replaced in between, the next turn would notice.
            self._file = file
        try:
            return await work(self._connection)
        except SidegateError:
            raise  # an answer
        except BaseException:
            # Nobody knows in which state the connection is. Closing it rolls back whatever is open.
            await self._disconnect()
            raise

    def _end(self, job: asyncio.Task[T]) -> None:
        self._turn.release()
        if not job.cancelled():
            job.exception()  # its caller may have gone, and asyncio logs exceptions that nobody fetched

    async def _interrupt(self, job: asyncio.Task[T]) -> None:
        # Again and again: SQLite forgets an interrupt that finds no statement running yet.
        while not job.done():
            if self._connection is not None:
                with suppress(sqlite3.Error, ValueError):  # it is being closed
                    await self._connection.interrupt()
            await asyncio.wait({job}, timeout=_INTERRUPT_INTERVAL)

    async def _connect(self) -> aiosqlite.Connection:
        connection = aiosqlite.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",  # never rwc: an empty store would know of no revocation
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,  # transactions begin and end where we say so
        )
        try:
            await connection
        except sqlite3.Error:
            # Its thread has yet to report its own end, and leaves a stack trace if the event loop has ended by then.
            thread = connection._thread  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to wait
            await asyncio.to_thread(thread.join)
            raise
        try:
            connection.row_factory = sqlite3.Row
            await connection.execute_fetchall("PRAGMA synchronous = FULL")  # acknowledged means on the disk
            if not self._writes:
                await connection.execute_fetchall("PRAGMA query_only = ON")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error, ValueError):  # it is being thrown away for a fault already reported
                await connection.close()


def _wording(fault: Exception) -> str:
    """What may be said of it: the driver's own words could hold what the store does."""
    # No attribute where the driver raises by itself.
    if getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "The session store has no space left on its disk."
    return "The session store failed."


def _identity(path: Path) -> tuple[int, int]:
    # On the loop: names of a local disk are in memory, and a network's is refused at open.
    found = path.stat()
    return found.st_dev, found.st_ino

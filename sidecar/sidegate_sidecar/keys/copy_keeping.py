"""Keeps an issuer's saved copy current without anybody waiting for the disk."""

import asyncio
from concurrent.futures import Executor

from structlog.typing import FilteringBoundLogger

from sidegate_sidecar.keys.saved_copy import CopyUnusable, SavedCopy, SavedKeys
from sidegate_sidecar.keys.wording import in_words

DISK_TIMEOUT_SECONDS = 5.0  # how long start and close wait for a disk that hangs


class CopyKeeper:
    """Writes what it was last handed, one write at a time. A copy that cannot be read or written costs nothing but
    itself: it is logged, and the sidecar goes on.

    Args:
        executor: Where the disk is waited for.
        log: Bound to the issuer.
    """

    def __init__(self, copy: SavedCopy, executor: Executor, log: FilteringBoundLogger) -> None:
        self._copy = copy
        self._executor = executor
        self._log = log
        self._handed = asyncio.Event()
        self._unwritten: SavedKeys | None = None
        self._closing = False
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> SavedKeys | None:
        """Read the copy and begin to keep it. None: there is none that may be used."""
        self._task = asyncio.create_task(self._write_all())
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DISK_TIMEOUT_SECONDS):
                return await loop.run_in_executor(self._executor, self._copy.read)
        except (CopyUnusable, TimeoutError) as error:
            self.log_ignored(str(error) or "the disk does not answer")
            return None

    def log_ignored(self, problem: str) -> None:
        """Say that there is a copy which is not used."""
        self._log.warning("saved_keys_ignored", error=f"{self._copy.shown_directory}: {problem}")

    def keep(self, saved: SavedKeys) -> None:
        """Hand over what to write next; what was handed over before and not yet written is skipped."""
        self._unwritten = saved
        self._handed.set()

    async def close(self) -> None:
        """Write what is left, if the disk lets us, and end."""
        self._closing = True
        self._handed.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DISK_TIMEOUT_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write_all(self) -> None:
        while not self._closing or self._unwritten is not None:
            await self._handed.wait()
            self._handed.clear()
            saved, self._unwritten = self._unwritten, None
            if saved is not None:
                await self._write(saved)

    async def _write(self, saved: SavedKeys) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, self._copy.write, saved)
        except OSError as error:
            if not self._failing:
                self._log.warning("keys_not_saved", error=f"{self._copy.shown_directory}: {in_words(error)}")
            self._failing = True
        else:
            self._failing = False

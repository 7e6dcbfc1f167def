"""An event loop in a thread of its own: a fake serves while its test waits for something else."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

PATIENCE_SECONDS = 30.0  # for what takes milliseconds

ResultT = TypeVar("ResultT")


class BackgroundLoop:
    """Runs coroutines for threads that may block. Whoever made it closes it."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self._faults.append(repr(context)))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """The result of `work`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def close(self) -> None:
        """Cancel what still runs, and end. Raises: AssertionError, for what failed meanwhile and nobody heard of."""
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()
        assert not self._faults, self._faults

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

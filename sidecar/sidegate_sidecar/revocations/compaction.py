"""Compaction: what can matter to nobody any more leaves the store, a little at a time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import Removed

BATCH = 1000  # removed in some 10 ms, for which writers wait
PAUSE_SECONDS = 0.1  # between batches; a writer of another process looks again after 100 ms at the latest
SPREAD = (0.8, 1.2)  # of the interval, so that replicas which started together do not go on together

_log = structlog.get_logger(__name__)


class Compactable(Protocol):
    """The store, as far as it matters here."""

    async def compact(self, limit: int) -> Removed:
        """Remove up to `limit` log entries and up to `limit` sessions. Raises StoreUnavailable."""
        ...


async def compact_for_ever(
    store: Compactable,
    interval: float,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> None:
    """Every `interval` seconds, more or less, remove all that can go. Ends when it is cancelled.

    Several processes may do so on one store. A store that does not answer is tried again after the next interval, and
    spoken of once.
    """
    answering = True
    while True:
        await sleep(interval * spread(*SPREAD))
        removed, failure = await _remove_all(store, sleep)
        if removed != Removed(0, 0):
            _log.info("store_compacted", log_entries=removed.log_entries, sessions=removed.sessions)
        if failure is not None and answering:
            _log.warning("store_not_compacted", error=failure.message)
        elif failure is None and not answering:
            _log.info("store_compactable_again")
        answering = failure is None


async def _remove_all(
    store: Compactable, sleep: Callable[[float], Awaitable[None]]
) -> tuple[Removed, StoreUnavailable | None]:
    """What was removed, and what kept more from being removed."""
    log_entries = sessions = 0
    while True:
        try:
            batch = await store.compact(BATCH)
        except StoreUnavailable as failure:
            return Removed(log_entries, sessions), failure
        log_entries += batch.log_entries
        sessions += batch.sessions
        if BATCH not in (batch.log_entries, batch.sessions):
            return Removed(log_entries, sessions), None
        await sleep(PAUSE_SECONDS)

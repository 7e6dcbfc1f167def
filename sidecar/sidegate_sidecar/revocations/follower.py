"""Keeps the revocation index current by following the log.

The log is the truth; a wake-up only says that reading may be worth while. Reading from the last sequence with every
page, the follower cannot miss what it was not told about.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from sidegate_sidecar.errors import ForeignRevision, RevisionNotReached, StoreUnavailable
from sidegate_sidecar.model import SECOND, LogPage, Micros, Revision
from sidegate_sidecar.revocations.index import RevocationIndex

PAGE_ENTRIES = 500  # about 2 ms of work on the event loop
POLL_SECONDS = 1.0  # the safety net under lost wake-ups
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0  # so that the index is current again within 3 s of the store's return

_log = structlog.get_logger(__name__)


class LogSource(Protocol):
    """Where the log is read. A store today; the seam at which a hub or another feed can stand in for one."""

    async def read_log(self, first: int, limit: int) -> LogPage:
        """Up to `limit` entries from sequence `first` on, in one snapshot with the head. Raises StoreUnavailable."""
        ...

    async def wait_for_change(self, timeout: float) -> None:
        """Return when the log may have grown since the last call, or after `timeout` s. Raises StoreUnavailable."""
        ...

    async def renew_identity(self, store_id: str) -> None:
        """Make sure that a log which was set back does not go by the same `store_id`. Raises StoreUnavailable.

        Changes nothing if it has another one by now, or if the source cannot write: whoever can will find it too.
        """
        ...


class LogFollower:
    """Loads the index once, then keeps it current until cancelled. Never gives up.

    Args:
        source: Where to read. Not owned: the caller closes it.
        monotonic: Seconds of a clock that never steps.
    """

    def __init__(self, source: LogSource, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic = monotonic
        self._reading = asyncio.Lock()
        self._index: RevocationIndex | None = None
        self._caught_up = asyncio.Event()  # set and replaced each time the index has stood at the head
        self._complete_at = 0.0
        self._answering = False
        self._outage_logged = False

    @property
    def index(self) -> RevocationIndex | None:
        """The index, None until it has loaded once. Replaced as a whole when the store turns out to be another."""
        return self._index

    @property
    def answering(self) -> bool:
        """Whether the last attempt to read the source succeeded."""
        return self._answering

    def lag(self) -> Micros:
        """How long ago the index was last known to be complete: since the last read that reached the head began."""
        return round((self._monotonic() - self._complete_at) * SECOND)

    async def run(self) -> None:
        """Follow until cancelled, through any outage of the source."""
        retry = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._catch_up()
                retry = FIRST_RETRY_SECONDS
                await self._source.wait_for_change(POLL_SECONDS)
            except Exception as failure:  # noqa: BLE001 - an index that stands still accepts what is revoked later
                if self._answering or self._index is None:
                    # A foreign exception's text may hold a connection string.
                    error = str(failure) if isinstance(failure, StoreUnavailable) else type(failure).__qualname__
                    _log.warning("revocation_log_unreadable", error=error, retry_seconds=retry)
                    self._outage_logged = True
                self._answering = False
                await asyncio.sleep(retry)
                retry = min(2 * retry, LAST_RETRY_SECONDS)

    async def reach(self, wanted: Revision, timeout: float) -> None:
        """Return once the index has taken in everything up to `wanted`. Reads by itself; needs no wake-up.

        Raises:
            RevisionNotReached: Not within `timeout` seconds.
            ForeignRevision: It belongs to another store than the one that the log comes from.
        """
        if self._has_reached(wanted):
            return
        try:
            async with asyncio.timeout(timeout):
                await self._catch_up()
                while not self._has_reached(wanted):
                    if self._index is not None and self._index.revision.store_id != wanted.store_id:
                        raise ForeignRevision("the revision belongs to another store than this sidecar's")
                    await self._caught_up.wait()
        except (TimeoutError, StoreUnavailable) as failure:
            raise RevisionNotReached("this sidecar's index has not reached the revision in time") from failure

    def _has_reached(self, wanted: Revision) -> bool:
        here = None if self._index is None else self._index.revision
        return here is not None and here.store_id == wanted.store_id and here.sequence >= wanted.sequence

    async def _catch_up(self) -> None:
        """Read up to the head, starting anew if the log is no longer the one that the index was read from."""
        async with self._reading:
            index = self._index
            if index is None or not await self._extend(index):
                if index is not None:
                    _log.warning("revocation_log_set_back", store_id=index.revision.store_id)
                    await self._source.renew_identity(index.revision.store_id)
                fresh = await self._load()
                self._index = fresh
                _log.info(
                    "revocation_index_loaded",
                    entries=len(fresh),
                    store_id=fresh.revision.store_id,
                    sequence=fresh.revision.sequence,
                )
            self._caught_up.set()
            self._caught_up = asyncio.Event()
            self._answering = True
            if self._outage_logged:
                self._outage_logged = False
                _log.info("revocation_log_readable")

    async def _load(self) -> RevocationIndex:
        """A new index, read from the beginning. The old one serves until this one is whole."""
        while True:
            head = await self._source.read_log(1, 1)
            index = RevocationIndex(head.store_id, head.digest_salt)
            if await self._extend(index):
                return index

    async def _extend(self, index: RevocationIndex) -> bool:
        """Read pages into the index until it stands at the head. False: the log is another one, or was set back.

        Each page begins with the entry that the index ends with. Another entry there, or none, means a restored backup.
        """
        while True:
            began = self._monotonic()
            here = index.revision.sequence
            page = await self._source.read_log(max(here, 1), PAGE_ENTRIES)
            entries = page.entries
            if page.store_id != index.revision.store_id or page.head < here:
                return False
            if here:
                if not entries or entries[0].entry_id != index.last_entry_id:
                    return False
                entries = entries[1:]
            try:
                index.apply(entries)
            except ValueError as fault:
                raise StoreUnavailable(f"the revocation log is torn: {fault}") from fault
            if index.revision.sequence >= page.head:
                self._complete_at = began
                return True
            if not entries:
                raise StoreUnavailable("the revocation log ends before its head")
            if index.revision.sequence % (100 * PAGE_ENTRIES) < PAGE_ENTRIES:
                _log.info("revocation_index_loading", sequence=index.revision.sequence, head=page.head)
            await asyncio.sleep(0)

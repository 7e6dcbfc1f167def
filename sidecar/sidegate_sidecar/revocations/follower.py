"""Keeps the revocation index current by following the log.

The log is the truth; a wake-up only says that reading may be worth while. Reading from the last sequence with every
page, the follower cannot miss what it was not told about.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from sidegate_sidecar.errors import ForeignRevision, RevisionNotReached, StoreUnavailable
from sidegate_sidecar.model import SECOND, LogPage, Micros, Revision, steady_clock
from sidegate_sidecar.revocations.index import RevocationIndex
from sidegate_sidecar.revocations.journal import CAPACITY, Journal
from sidegate_sidecar.revocations.reading import NotRecognised, Reached, extend, load

POLL_SECONDS = 1.0  # the safety net under lost wake-ups
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0  # so that the index is current again within 3 s of the store's return
WORTH_FORGETTING = 10_000  # entries, under 1 MB: less is not worth reading the log for
RENEWAL_PAUSE_SECONDS = 60.0  # between two attempts, so that a source that fails halfway is not read without end

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

    An index forgets by being replaced: once enough entries were removed from the log, another is read in the background
    while this one goes on, and takes its place at the same revision.

    Args:
        source: Where to read. Not owned: the caller closes it.
        monotonic: Seconds of a clock that never steps and runs through suspension.
        worth_forgetting: How many entries must have been removed from the log at least, and half as many as the index
            has, for another to be read.
        journal_capacity: How many events a watcher may fall behind.

    Attributes:
        journal: What the index takes in, each time in the same step; begins when the index has loaded.
    """

    def __init__(
        self,
        source: LogSource,
        *,
        monotonic: Callable[[], float] = steady_clock,
        worth_forgetting: int = WORTH_FORGETTING,
        journal_capacity: int = CAPACITY,
    ) -> None:
        self.journal = Journal(journal_capacity)
        self._worth_forgetting = worth_forgetting
        self._source = source
        self._monotonic = monotonic
        self._reading = asyncio.Lock()
        self._next_reading: asyncio.Task[None] | None = None
        self._index: RevocationIndex | None = None
        self._removed_before = 0  # entries removed from the log before the index was read
        self._left_stores: set[str] = set()  # those that turned out to be others: as many as backups were restored
        self._renewal: asyncio.Task[None] | None = None
        self._no_renewal_until = 0.0
        self._caught_up = asyncio.Event()  # set and replaced each time the index has stood at the head
        self._answering = False
        self._outage_logged = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def index(self) -> RevocationIndex | None:
        """The index, None until it has loaded once. Replaced as a whole by one that knows better or less."""
        return self._index

    @property
    def answering(self) -> bool:
        """Whether the last attempt to read the source succeeded."""
        return self._answering

    def lag(self) -> Micros:
        """How long ago the index was last known to be complete: since the last read that reached the head began."""
        return self.age(self.journal.complete_at)

    def age(self, moment: float) -> Micros:
        """How long ago a moment was, both by the follower's clock."""
        return round((self._monotonic() - moment) * SECOND)

    async def run(self) -> None:
        """Follow until cancelled, through any outage of the source."""
        retry = FIRST_RETRY_SECONDS
        try:
            while True:
                try:
                    await self._catch_up()
                    retry = FIRST_RETRY_SECONDS
                    await self._source.wait_for_change(POLL_SECONDS)
                except Exception as failure:  # noqa: BLE001 - an index that stands still accepts what is revoked later
                    if self._answering or self._index is None:
                        _log.warning("revocation_log_unreadable", error=_wording(failure), retry_seconds=retry)
                        self._outage_logged = True
                    self._answering = False
                    await asyncio.sleep(retry)
                    retry = min(2 * retry, LAST_RETRY_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def reach(self, wanted: Revision, timeout: float) -> None:
        """Return once the index has taken in everything up to `wanted`. Reads by itself; needs no wake-up.

        Raises:
            RevisionNotReached: Not within `timeout` seconds.
            ForeignRevision: It belongs to another store than the one that the log comes from.
        """
        if not self._has_reached(wanted):
            await self._reach_by_reading(wanted, timeout)

    async def read_back(self, written: Revision, timeout: float) -> None:
        """As `reach`, for whoever has just written up to there: by a reading that begins after this call, even if the
        index seems to have it all.

        After a failover that lost the end of the log, or a restored backup, the same sequences are handed out again,
        perhaps before anybody has read that log: what the index has by that number is then another entry.

        Raises:
            RevisionNotReached: Not within `timeout` seconds; or the log turned out to be set back, and so the revision
                is one of no store any more. What was written is in the log.
            ForeignRevision: It was written to another store than the one that the log comes from.
        """
        before = self._index
        try:
            await self._reach_by_reading(written, timeout)
        except ForeignRevision as finding:
            if before is not None and before.revision.store_id != written.store_id:
                raise
            raise RevisionNotReached("the revocation log was found set back just now; ask again") from finding

    async def _reach_by_reading(self, wanted: Revision, timeout: float) -> None:
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
        """Read up to the head in a reading that begins after this call; all who wait for its beginning share it.

        One that is under way may have missed what the caller knows of. A caller that goes away ends it for nobody.
        """
        if self._next_reading is None or self._next_reading.done():
            self._next_reading = self._begin(self._read_in_turn())
        await asyncio.shield(self._next_reading)

    async def _read_in_turn(self) -> None:
        async with self._reading:
            self._next_reading = None  # who comes from now on waits for the next one
            await self._read()

    async def _read(self) -> None:
        """Read up to the head, starting anew if the log cannot be recognised. The caller has the turn."""
        index = self._index
        try:
            if index is None:
                await self._load()
            else:
                self._note(await extend(index, self._source, self._monotonic, taken_in=self.journal.add_revocations))
        except NotRecognised as finding:
            if index is not None and finding.set_back:
                _log.warning("revocation_log_set_back", store_id=index.revision.store_id)
                await self._renew_identity(index.revision.store_id)
            await self._load()
        self._caught_up.set()
        self._caught_up = asyncio.Event()
        self._answering = True
        if self._outage_logged:
            self._outage_logged = False
            _log.info("revocation_log_readable")

    async def _renew_identity(self, left: str) -> None:
        """See to it that the log goes by none of the ids under which it was set back: by the one that is left now, or,
        where the same backup is restored again, by one that was left before.
        """
        self._left_stores.add(left)
        page = await self._source.read_log(1, 1)
        if page.store_id in self._left_stores:
            await self._source.renew_identity(page.store_id)

    def _note(self, reached: Reached) -> None:
        self.journal.complete_at = reached.began
        forgettable = reached.removed - self._removed_before
        if (
            self._index is not None
            and forgettable > max(self._worth_forgetting, len(self._index) // 2)
            and (self._renewal is None or self._renewal.done())
            and self._monotonic() >= self._no_renewal_until
        ):
            self._renewal = self._begin(self._renew(self._index))

    async def _load(self) -> None:
        """Read everything. The old index serves until the new one is whole; then whoever watches has to begin anew."""
        index, reached = await load(self._source, self._monotonic)
        self._index, self._removed_before = index, reached.removed
        self.journal.complete_at = reached.began
        self.journal.begin(index.revision, index.digest_salt)
        _log.info(
            "revocation_index_loaded",
            entries=len(index),
            store_id=index.revision.store_id,
            sequence=index.revision.sequence,
        )

    async def _renew(self, old: RevocationIndex) -> None:
        """Replace the index by one that has only what the log still has. Nobody notices, and watchers least of all."""
        self._no_renewal_until = self._monotonic() + RENEWAL_PAUSE_SECONDS
        try:
            fresh, reached = await load(self._source, self._monotonic)
            async with self._reading:
                await self._read()  # so that the old one is not behind
                if self._index is not old:
                    return
                await extend(fresh, self._source, self._monotonic, until=old.revision.sequence)
                if (fresh.revision, fresh.last_entry_id) != (old.revision, old.last_entry_id):
                    return  # a backup was restored since that reading; the next one finds it
                self._index, self._removed_before = fresh, reached.removed
            _log.info("revocation_index_renewed", entries=len(fresh), entries_before=len(old))
        except Exception as failure:  # noqa: BLE001 - the old index goes on; what it should have forgotten only takes room
            _log.warning("revocation_index_not_renewed", error=_wording(failure))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its callers may all have gone, and asyncio logs exceptions that nobody fetched


def _wording(failure: Exception) -> str:
    """What may be logged of it: a foreign exception's text may hold a connection string."""
    return str(failure) if isinstance(failure, StoreUnavailable) else type(failure).__qualname__

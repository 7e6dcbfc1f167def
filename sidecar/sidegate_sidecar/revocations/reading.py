"""Reading the log into an index, page by page, and recognising it by the entry that was read last."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import LogEntry, LogPage
from sidegate_sidecar.revocations.index import RevocationIndex

PAGE_ENTRIES = 1000
SLICE_ENTRIES = 250  # about 1 ms of work on the event loop
PROGRESS_PAGES = 100  # between two lines in the log

_log = structlog.get_logger(__name__)

TakenIn = Callable[[Sequence[LogEntry], Sequence[bytes]], None]
"""Told of entries, and the digest of each, in the very step in which the index took them in."""


class Pages(Protocol):
    """Where pages come from."""

    async def read_log(self, first: int, limit: int) -> LogPage:
        """Up to `limit` entries from sequence `first` on, in one snapshot with the head. Raises StoreUnavailable."""
        ...


class NotRecognised(Exception):
    """The log is not the one that the index was read from, or nobody can tell whether it is.

    Attributes:
        set_back: It is another one: a restored backup. Else the entry by which to recognise it was removed.
    """

    def __init__(self, *, set_back: bool) -> None:
        super().__init__()
        self.set_back = set_back


@dataclass(frozen=True, slots=True)
class Reached:
    """The index stands where the log did.

    Attributes:
        began: When the read that found it so began, by the clock that was given.
        removed: How many entries had ever been removed from the log.
    """

    began: float
    removed: int


async def load(pages: Pages, monotonic: Callable[[], float]) -> tuple[RevocationIndex, Reached]:
    """A new index, read from the beginning. Begins again if the log is restored or compacted underneath."""
    while True:
        head = await pages.read_log(1, 1)
        index = RevocationIndex(head.store_id, head.digest_salt)
        try:
            reached = await extend(index, pages, monotonic)
        except NotRecognised:
            continue
        return index, Reached(reached.began, head.removed)  # what was removed since may be in it


async def extend(
    index: RevocationIndex,
    pages: Pages,
    monotonic: Callable[[], float],
    *,
    until: int | None = None,
    taken_in: TakenIn | None = None,
) -> Reached:
    """Read pages into the index until it stands at the head. The next page is on its way while one is taken in.

    Each page begins with the entry that the index ends with. Another entry there, or a head below it, means a restored
    backup.

    Args:
        until: Stop there, if the head is beyond it.

    Raises:
        NotRecognised: What was read before that has been taken in.
        StoreUnavailable: The source does not answer, or the log has gaps where it can have none. Likewise.
    """
    began = monotonic()
    page = await pages.read_log(max(index.revision.sequence, 1), PAGE_ENTRIES)
    number = 0
    while True:
        entries, target = _continuation(index, page), page.head
        if until is not None and until < target:
            target = until
            entries = [entry for entry in entries if entry.sequence <= until]
        last = entries[-1].sequence if entries else index.revision.sequence
        if last >= target:
            await _take_in(index, entries, page.horizon, taken_in)
            return Reached(began, page.removed)
        if not entries:
            raise StoreUnavailable("the revocation log ends before its head")
        next_began = monotonic()
        async with _under_way(pages, last) as upcoming:
            await _take_in(index, entries, page.horizon, taken_in)
            number += 1
            if number % PROGRESS_PAGES == 0:
                _log.info("revocation_index_loading", entries=len(index), sequence=last, head=page.head)
            await asyncio.sleep(0)
            page = await upcoming
        began = next_began


def _continuation(index: RevocationIndex, page: LogPage) -> Sequence[LogEntry]:
    """The entries of a page that follow what the index has."""
    here = index.revision.sequence
    if page.store_id != index.revision.store_id or page.head < here:
        raise NotRecognised(set_back=True)
    if here == 0:
        return page.entries
    if not page.entries or page.entries[0].sequence != here:
        if here <= page.horizon:
            raise NotRecognised(set_back=False)
        raise StoreUnavailable(f"the revocation log is torn: entry {here} is missing")
    if page.entries[0].entry_id != index.last_entry_id:
        raise NotRecognised(set_back=True)
    return page.entries[1:]


async def _take_in(index: RevocationIndex, entries: Sequence[LogEntry], horizon: int, taken_in: TakenIn | None) -> None:
    """In slices, between which others run."""
    for begin in range(0, len(entries), SLICE_ENTRIES):
        if begin:
            await asyncio.sleep(0)
        some = entries[begin : begin + SLICE_ENTRIES]
        try:
            digests = index.apply(some, horizon)
        except ValueError as fault:
            raise StoreUnavailable(f"the revocation log is torn: {fault}") from fault
        if taken_in is not None:
            taken_in(some, digests)


@asynccontextmanager
async def _under_way(pages: Pages, first: int) -> AsyncGenerator[asyncio.Task[LogPage]]:
    """The page from `first` on, being read meanwhile. Ended with the block."""
    upcoming = asyncio.ensure_future(pages.read_log(first, PAGE_ENTRIES))
    try:
        yield upcoming
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])
        if not upcoming.cancelled():
            upcoming.exception()  # asyncio logs exceptions that nobody fetched

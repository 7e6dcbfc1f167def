"""Look-ups that wait at the same moment share one query."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import TypeAlias

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import StoreFacts, Subject

MAX_EXPIRIES = 64  # of futures in one turn of the event loop: thousands may come due at once, and others be waiting

_Asker: TypeAlias = asyncio.Future[StoreFacts]
_Slot: TypeAlias = set[_Asker]
"""A subject's place in a query: all who asked for it before the query was sent."""


class _Deadlines:
    """Makes futures that fail when their time is up. It is the same for all, so one timer serves them, in their order.

    `asyncio.timeout` and `shield` around each would cost more than all else that a look-up does here.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: deque[tuple[float, _Asker]] = deque()
        self._timer: asyncio.Handle | None = None

    def future(self) -> _Asker:
        loop = asyncio.get_running_loop()
        asker: _Asker = loop.create_future()
        deadline = loop.time() + self._seconds
        self._due.append((deadline, asker))
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)
        return asker

    def close(self) -> None:
        """Once every future is done."""
        if self._timer is not None:
            self._timer.cancel()
        self._due.clear()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        expired = 0
        self._timer = None
        while self._due:
            deadline, asker = self._due[0]
            if not asker.done():
                if deadline > now:
                    self._timer = loop.call_at(deadline, self._expire)
                    return
                if expired == MAX_EXPIRIES:
                    self._timer = loop.call_soon(self._expire)
                    return
                expired += 1
                _fail(asker, StoreUnavailable("The session store did not answer in time."))
            self._due.popleft()


class SharedLookup:
    """Gathers single look-ups into shared queries.

    A look-up joins only a query that has not been sent yet: an answer that was under way before the question was asked
    may not know of a revocation acknowledged in between (docs/concepts.md, "How Verify decides", step 5).

    Args:
        look_up: The store's; called with at most `max_batch` different subjects.
        timeout: Seconds from the question to the answer, waiting included.
        max_in_flight: How many queries may be out; meanwhile the next ones gather.
    """

    def __init__(
        self,
        look_up: Callable[[Sequence[Subject]], Awaitable[list[StoreFacts]]],
        *,
        timeout: float = 0.25,
        max_batch: int = 500,
        max_in_flight: int = 2,
    ) -> None:
        self._look_up = look_up
        self._deadlines = _Deadlines(timeout)
        self._max_batch = max_batch
        self._max_in_flight = max_in_flight
        self._waiting: dict[Subject, _Slot] = {}
        self._queries: set[asyncio.Task[None]] = set()
        self._query_starts = False
        self._closed = False

    async def look_up(self, subject: Subject) -> StoreFacts:
        """What the store knows of it, at some moment after this call.

        Raises:
            StoreUnavailable: The query failed, or the time is up.
        """
        if self._closed:
            raise StoreUnavailable("The sidecar is shutting down.")
        slot = self._waiting.setdefault(subject, set())
        asker = self._deadlines.future()
        slot.add(asker)
        self._start_query()
        try:
            return await asker
        finally:
            slot.discard(asker)
            if not slot and self._waiting.get(subject) is slot:
                del self._waiting[subject]  # nobody is left to answer; a long outage would pile them up
            del asker  # the exception that it holds holds this frame: a circle, for the garbage collector to find

    async def close(self) -> None:
        """Give up what is under way; whoever waits gets StoreUnavailable. Safe to call twice."""
        self._closed = True
        _fail_all(self._waiting.values(), StoreUnavailable("The sidecar is shutting down."))
        self._waiting.clear()
        queries = list(self._queries)
        for query in queries:
            query.cancel()
        await asyncio.gather(*queries, return_exceptions=True)
        self._deadlines.close()

    def _start_query(self) -> None:
        # The task takes its subjects when it first runs, so whoever asks until then is in.
        if self._waiting and not self._query_starts and len(self._queries) < self._max_in_flight:
            self._query_starts = True
            query = asyncio.create_task(self._query())
            self._queries.add(query)
            query.add_done_callback(self._end_query)

    def _end_query(self, query: asyncio.Task[None]) -> None:
        self._queries.discard(query)
        self._start_query()

    async def _query(self) -> None:
        batch = {subject: self._waiting.pop(subject) for subject in list(islice(self._waiting, self._max_batch))}
        self._query_starts = False
        if not batch:
            return
        self._start_query()  # for those who did not fit
        try:
            facts = await self._look_up(list(batch))
            answers = list(zip(batch.values(), facts, strict=True))
        except asyncio.CancelledError:
            _fail_all(batch.values(), StoreUnavailable("The sidecar is shutting down."))
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is raised to those who asked
            _fail_all(batch.values(), fault)
            return
        for slot, answer in answers:
            for asker in slot:
                if not asker.done():
                    asker.set_result(answer)


def _fail_all(slots: Iterable[_Slot], fault: Exception) -> None:
    for slot in slots:
        for asker in slot:
            if not asker.done():
                _fail(asker, fault)


def _fail(asker: _Asker, fault: Exception) -> None:
    asker.set_exception(fault)
    asker.exception()  # asyncio logs exceptions that nobody fetched, and whoever asked may have gone

"""Look-ups that wait at the same moment share one query."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import StoreFacts, Subject


class _Slot:
    """A subject's place in a query, shared by all who asked for it before the query was sent."""

    __slots__ = ("answer", "askers")

    def __init__(self) -> None:
        self.answer: asyncio.Future[StoreFacts] = asyncio.get_running_loop().create_future()
        self.askers = 0


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
        self._timeout = timeout
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
        slot = self._waiting.get(subject)
        if slot is None:
            slot = self._waiting[subject] = _Slot()
        slot.askers += 1
        self._start_query()
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(slot.answer)  # it is the others' too
        except TimeoutError as fault:
            raise StoreUnavailable("The session store did not answer in time.") from fault
        finally:
            slot.askers -= 1
            if slot.askers == 0 and self._waiting.get(subject) is slot:
                del self._waiting[subject]  # nobody is left to answer; a long outage would pile them up

    async def close(self) -> None:
        """Give up what is under way; whoever waits gets StoreUnavailable. Safe to call twice."""
        self._closed = True
        _fail(self._waiting.values(), StoreUnavailable("The sidecar is shutting down."))
        self._waiting.clear()
        queries = list(self._queries)
        for query in queries:
            query.cancel()
        await asyncio.gather(*queries, return_exceptions=True)

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
            _fail(batch.values(), StoreUnavailable("The sidecar is shutting down."))
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is raised to those who asked
            _fail(batch.values(), fault)
            return
        for slot, answer in answers:
            slot.answer.set_result(answer)


def _fail(slots: Iterable[_Slot], fault: Exception) -> None:
    for slot in slots:
        slot.answer.set_exception(fault)
        slot.answer.exception()  # asyncio logs exceptions that nobody fetched, and all may have gone

"""Which look-ups share a query, and what happens to one another's."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import Coverage, Revision, StoreFacts, Subject
from sidegate_sidecar.store.lookup import MAX_EXPIRIES, SharedLookup


def subject(handle: str) -> Subject:
    return Subject("i", handle, "ada", "")


def facts(number: int) -> StoreFacts:
    """Facts that tell which query they came from."""
    return StoreFacts(Coverage(user_watermark=number), None, Revision("store", number))


class Query:
    """One query that a test answers when it likes."""

    def __init__(self, number: int, subjects: Sequence[Subject]) -> None:
        self.number = number
        self.handles = [each.session_handle for each in subjects]
        self.answer = asyncio.get_running_loop().create_future()

    def succeed(self) -> None:
        self.answer.set_result([facts(self.number) for _ in self.handles])

    def fail(self, fault: Exception) -> None:
        self.answer.set_exception(fault)


class HeldStore:
    """A store whose queries wait for the test."""

    def __init__(self) -> None:
        self.sent: list[Query] = []
        self._arrived: asyncio.Queue[Query] = asyncio.Queue()

    async def look_up(self, subjects: Sequence[Subject]) -> list[StoreFacts]:
        query = Query(len(self.sent) + 1, subjects)
        self.sent.append(query)
        self._arrived.put_nowait(query)
        return await query.answer

    async def next_query(self) -> Query:
        return await asyncio.wait_for(self._arrived.get(), 30)


@pytest.fixture
def store() -> HeldStore:
    return HeldStore()


@pytest.fixture
async def lookup(store: HeldStore) -> AsyncIterator[SharedLookup]:
    """Its timeout is out of the way; two queries of at most three subjects may be out."""
    shared = SharedLookup(store.look_up, timeout=60, max_batch=3, max_in_flight=2)
    yield shared
    await shared.close()


def ask(lookup: SharedLookup, handle: str) -> asyncio.Task[StoreFacts]:
    return asyncio.create_task(lookup.look_up(subject(handle)))


async def settle() -> None:
    """Let every task run until it waits for something outside."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_lone_look_up_is_sent_at_once(store: HeldStore, lookup: SharedLookup) -> None:
    asked = ask(lookup, "a")
    query = await store.next_query()

    query.succeed()

    assert query.handles == ["a"]
    assert await asked == facts(1)


async def test_look_ups_of_the_same_moment_share_a_query(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, handle) for handle in "abc"]
    query = await store.next_query()

    query.succeed()

    assert query.handles == ["a", "b", "c"]
    assert await asyncio.gather(*asked) == [facts(1)] * 3


async def test_a_look_up_never_joins_a_query_that_was_sent(store: HeldStore, lookup: SharedLookup) -> None:
    early = ask(lookup, "a")
    first = await store.next_query()
    late = ask(lookup, "a")  # the very same question: the first answer may be older than it
    second = await store.next_query()

    first.succeed()
    assert await early == facts(1)
    assert not late.done()

    second.succeed()
    assert await late == facts(2)


async def test_with_all_queries_out_the_next_look_ups_gather(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, "a")]
    first = await store.next_query()
    asked.append(ask(lookup, "b"))
    second = await store.next_query()
    for handle in "cd":
        asked.append(ask(lookup, handle))
        await settle()
    assert len(store.sent) == 2

    second.succeed()
    third = await store.next_query()
    assert third.handles == ["c", "d"]

    third.succeed()
    first.succeed()
    assert await asyncio.gather(*asked) == [facts(1), facts(2), facts(3), facts(3)]


async def test_what_does_not_fit_a_query_goes_with_the_next(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, handle) for handle in "abcdefgh"]
    first, second = await store.next_query(), await store.next_query()
    await settle()
    assert [query.handles for query in store.sent] == [["a", "b", "c"], ["d", "e", "f"]]

    first.succeed()
    third = await store.next_query()
    assert third.handles == ["g", "h"]

    second.succeed()
    third.succeed()
    await asyncio.gather(*asked)


async def test_the_same_subject_is_asked_for_once(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, handle) for handle in "abab"]
    query = await store.next_query()

    query.succeed()

    assert query.handles == ["a", "b"]
    assert await asyncio.gather(*asked) == [facts(1)] * 4


async def test_a_failing_query_fails_its_own_callers_and_no_others(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, "a"), ask(lookup, "b")]
    first = await store.next_query()
    spared = ask(lookup, "a")
    second = await store.next_query()

    first.fail(StoreUnavailable("down"))
    second.succeed()

    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    assert await spared == facts(2)


async def test_after_a_failure_look_ups_go_on(store: HeldStore, lookup: SharedLookup) -> None:
    for number in range(1, 4):
        failing = ask(lookup, "a")
        (await store.next_query()).fail(StoreUnavailable("down"))
        with pytest.raises(StoreUnavailable):
            await failing
        assert len(store.sent) == number
    asked = ask(lookup, "a")

    (await store.next_query()).succeed()

    assert await asked == facts(4)


async def test_an_answer_of_the_wrong_length_fails_everybody(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, "a"), ask(lookup, "b")]

    (await store.next_query()).answer.set_result([facts(1)])

    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]


@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "after it was sent"])
async def test_a_cancelled_caller_harms_no_neighbour(store: HeldStore, lookup: SharedLookup, sent: bool) -> None:
    asked = [ask(lookup, handle) for handle in "aab"]
    query = await store.next_query() if sent else None
    asked[0].cancel()
    query = query or await store.next_query()

    query.succeed()

    with pytest.raises(asyncio.CancelledError):
        await asked[0]
    assert await asked[1] == await asked[2] == facts(1)


async def test_whoever_left_before_the_query_was_sent_is_not_asked_for(store: HeldStore, lookup: SharedLookup) -> None:
    asked = [ask(lookup, "a"), ask(lookup, "b")]
    first = await store.next_query()
    asked.append(ask(lookup, "c"))
    second = await store.next_query()
    left, stayed = ask(lookup, "d"), ask(lookup, "e")
    await settle()
    left.cancel()
    await settle()

    first.succeed()
    third = await store.next_query()
    second.succeed()
    third.succeed()

    assert third.handles == ["e"]
    await asyncio.gather(*asked, stayed)


async def test_the_timeout_covers_the_query(store: HeldStore) -> None:
    lookup = SharedLookup(store.look_up, timeout=0.01)

    with pytest.raises(StoreUnavailable):
        await lookup.look_up(subject("a"))

    assert len(store.sent) == 1
    await lookup.close()


async def test_the_timeout_covers_the_waiting(store: HeldStore) -> None:
    lookup = SharedLookup(store.look_up, timeout=0.01, max_in_flight=1)
    stuck = ask(lookup, "a")
    query = await store.next_query()

    with pytest.raises(StoreUnavailable):
        await lookup.look_up(subject("b"))
    with pytest.raises(StoreUnavailable):
        await stuck

    query.succeed()  # nobody waits for it any more, nor for what gathered behind it
    await settle()
    assert len(store.sent) == 1
    await lookup.close()


async def test_look_ups_that_come_due_together_fail_a_few_at_a_time(store: HeldStore) -> None:
    """An outage fails thousands at once, and whoever needs no store is not to wait for all of them."""
    lookup = SharedLookup(store.look_up, timeout=0)
    asked = [ask(lookup, f"session-{number}") for number in range(3 * MAX_EXPIRIES)]
    failed = [0]
    while failed[-1] < len(asked):
        await asyncio.sleep(0)
        failed.append(sum(task.done() for task in asked))
    await asyncio.gather(*asked, return_exceptions=True)
    await lookup.close()

    assert max(after - before for before, after in pairwise(failed)) <= MAX_EXPIRIES


async def test_a_failure_is_gone_as_soon_as_nobody_holds_it(store: HeldStore) -> None:
    """An outage makes so many that the garbage collector would stop everybody for a tenth of a second."""
    lookup = SharedLookup(store.look_up, timeout=0)
    gc.disable()
    try:
        asked = ask(lookup, "a")
        await asyncio.wait([asked])
        failure = asked.exception()
        assert isinstance(failure, StoreUnavailable)
        trace = weakref.ref(failure)
        del asked, failure
        assert trace() is None
    finally:
        gc.enable()
        await lookup.close()


async def test_closing_answers_whoever_waits(store: HeldStore) -> None:
    lookup = SharedLookup(store.look_up, timeout=60, max_in_flight=1)
    sent = ask(lookup, "a")
    await store.next_query()
    waiting = ask(lookup, "b")
    await settle()

    await lookup.close()
    await lookup.close()

    outcomes = await asyncio.gather(sent, waiting, lookup.look_up(subject("c")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert store.sent[0].answer.cancelled()
    assert len(store.sent) == 1


async def test_closing_before_the_first_query_was_sent_answers_too(store: HeldStore) -> None:
    lookup = SharedLookup(store.look_up, timeout=60)
    waiting = ask(lookup, "a")
    await asyncio.sleep(0)

    await lookup.close()

    with pytest.raises(StoreUnavailable):
        await waiting
    assert store.sent == []

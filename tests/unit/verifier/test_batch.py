"""Several questions at once: each answered as if it were alone."""

import asyncio
import gc
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace

import pytest
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.batch import BUDGET_SECONDS, SLICE_SECONDS, Steps, decide_together
from sidegate_sidecar.errors import BatchBudgetSpent, InvalidRequest, KeysUnavailable, StoreUnavailable
from sidegate_sidecar.model import Coverage, Demand, KeySet, Reason, StoreFacts, Subject, Verdict
from sidegate_sidecar.store.lookup import SharedLookup
from sidegate_sidecar.verifier import Backing, SessionLookup, Verifier

from tests.unit.tokens.minting import NOW
from tests.unit.verifier.fakes import (
    CHECKED,
    GOOD,
    KEYS,
    NOTHING,
    POLICY,
    UNKNOWN_KEY,
    Bench,
    FakeClock,
    FakeKeys,
    FakeLookup,
    FakeRevocations,
    facts_of,
    is_valid,
    reason_of,
    token,
)

EXPIRED = Demand(token(exp=NOW))
REVOKED = Demand(token(sid="revoked"))


def begin(bench: Bench, *demands: Demand) -> asyncio.Task[list[Verdict | Exception]]:
    return asyncio.create_task(bench.verifier.verify_batch(demands))


async def test_answers_come_in_the_order_asked_whichever_has_to_wait() -> None:
    bench = Bench()
    bench.revocations.revoke(subject="revoked")
    results = begin(bench, UNKNOWN_KEY, GOOD, CHECKED, EXPIRED, REVOKED)
    query, refetch = await bench.lookup.queries.next(), await bench.keys.refetches.next()
    query.answer(facts_of(Coverage(session_revoked=True), None))
    refetch.answer(KEYS)

    unknown_key, good, checked, expired, revoked = await results
    assert isinstance(good, Verdict)
    assert is_valid(good)
    assert reason_of(unknown_key) is Reason.UNKNOWN_KEY
    assert reason_of(checked) is Reason.SESSION_REVOKED
    assert reason_of(expired) is Reason.EXPIRED
    assert reason_of(revoked) is Reason.SESSION_REVOKED


async def test_an_empty_batch_has_no_answers() -> None:
    assert await begin(Bench()) == []


async def test_an_item_that_cannot_be_decided_fails_no_other() -> None:
    bench = Bench()
    results = begin(bench, Demand(""), UNKNOWN_KEY, CHECKED, GOOD)
    (await bench.keys.refetches.next()).fail(KeysUnavailable("the issuer does not answer"))
    (await bench.lookup.queries.next()).fail(StoreUnavailable("down"))

    *failures, good = await results
    assert [type(failure) for failure in failures] == [InvalidRequest, KeysUnavailable, StoreUnavailable]
    assert isinstance(good, Verdict)
    assert is_valid(good)


class CrashingKeys(FakeKeys):
    """Keys with a bug that shows once."""

    crashes_left = 1

    def key_set(self, issuer: str) -> KeySet:
        if self.crashes_left:
            self.crashes_left -= 1
            raise RuntimeError("a bug")
        return super().key_set(issuer)


async def test_an_item_that_crashes_at_once_fails_no_other() -> None:
    bench = Bench()
    verifier = Verifier(
        Authenticator([POLICY], CrashingKeys(), remembered=0),
        Backing(bench.revocations, bench.lookup),
        clock=bench.clock,
    )

    crashed, good = await verifier.verify_batch([GOOD, GOOD])

    assert isinstance(crashed, RuntimeError)
    assert isinstance(good, Verdict)
    assert is_valid(good)


async def test_an_item_that_crashes_after_a_wait_fails_no_other() -> None:
    bench = Bench()
    results = begin(bench, CHECKED, GOOD, CHECKED)
    (await bench.lookup.queries.next()).fail(RuntimeError("a bug"))
    (await bench.lookup.queries.next()).answer(NOTHING)

    crashed, *others = await results
    assert isinstance(crashed, RuntimeError)
    assert all(isinstance(other, Verdict) and is_valid(other) for other in others)


# The budget.


class BusyKeys(FakeKeys):
    """Each item costs the event loop as long as the test says; the clock of the budget is theirs."""

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost
        self.spent = 0.0

    def key_set(self, issuer: str) -> KeySet:
        self.spent += self.cost
        return super().key_set(issuer)

    def perf_counter(self) -> float:
        return self.spent


def busy_verifier(
    monkeypatch: pytest.MonkeyPatch,
    cost: float,
    lookup: SessionLookup | None = None,
    revocations: FakeRevocations | None = None,
) -> Verifier:
    """Its items cost so many seconds each, by a clock that nothing else moves."""
    keys = BusyKeys(cost)
    monkeypatch.setattr("sidegate_sidecar.batch.time", SimpleNamespace(perf_counter=keys.perf_counter))
    backing = Backing(revocations or FakeRevocations(), lookup or FakeLookup())
    return Verifier(Authenticator([POLICY], keys, remembered=0), backing, clock=FakeClock())


async def test_items_that_wait_at_the_same_moment_share_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[list[str]] = []

    async def look_up(subjects: Sequence[Subject]) -> list[StoreFacts]:
        queries.append([subject.session_handle for subject in subjects])
        return [NOTHING for _ in subjects]

    lookup = SharedLookup(look_up, timeout=30)
    verifier = busy_verifier(monkeypatch, 0, lookup)
    handles = [f"session-{number}" for number in range(5)]
    results = await verifier.verify_batch([Demand(token(sid=handle), check_database=True) for handle in handles])
    await lookup.close()

    assert all(isinstance(result, Verdict) and is_valid(result) for result in results)
    assert queries == [handles]


async def test_past_its_budget_the_rest_of_a_batch_is_shed(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = busy_verifier(monkeypatch, BUDGET_SECONDS / 8)

    results = await verifier.verify_batch([GOOD] * 20)

    assert all(isinstance(result, Verdict) and is_valid(result) for result in results[:8])
    assert [type(result) for result in results[8:]] == [BatchBudgetSpent] * 12


async def test_the_budget_is_spent_by_many_small_items_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = SLICE_SECONDS / 4
    verifier = busy_verifier(monkeypatch, cost)

    results = await verifier.verify_batch([GOOD] * 256)

    decided = sum(isinstance(result, Verdict) for result in results)
    assert [type(result) for result in results[decided:]] == [BatchBudgetSpent] * (256 - decided)
    assert BUDGET_SECONDS <= decided * cost <= BUDGET_SECONDS + SLICE_SECONDS


async def test_a_batch_within_its_budget_is_answered_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = busy_verifier(monkeypatch, BUDGET_SECONDS / 1024)

    assert all(isinstance(result, Verdict) for result in await verifier.verify_batch([GOOD] * 256))


async def test_others_wait_for_one_slice_however_many_batches_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate_sidecar.batch.SLICE_SECONDS", 0)  # each item is one
    begun: list[int] = []

    def begin_decision(position: int) -> Steps[int]:
        begun.append(position)
        return position
        yield

    turns = asyncio.Lock()
    batches = [asyncio.create_task(decide_together(4, begin_decision, lambda _: False, turns)) for _ in range(5)]
    counts = [0]
    while not all(batch.done() for batch in batches):
        await asyncio.sleep(0)
        counts.append(len(begun))

    assert [await batch for batch in batches] == [[0, 1, 2, 3]] * 5
    assert max(after - before for before, after in pairwise(counts)) == 1


async def test_what_a_batch_decided_before_it_waited_for_its_turn_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second round has one item and ends without a pause, but others ran while it waited to begin."""
    keys, revocations = BusyKeys(SLICE_SECONDS), FakeRevocations()
    monkeypatch.setattr("sidegate_sidecar.batch.time", SimpleNamespace(perf_counter=keys.perf_counter))
    backing = Backing(revocations, FakeLookup())
    verifier = Verifier(Authenticator([POLICY], keys, remembered=0), backing, clock=FakeClock())
    turns = verifier._batch_turns  # pyright: ignore[reportPrivateUsage] - to take turns as another batch would
    results = asyncio.create_task(verifier.verify_batch([Demand(token(sid="a")), Demand(token(sid="b"))]))
    await asyncio.sleep(0)  # the slice in which "a" is decided
    revocations.revoke(subject="a")
    keys.cost = 0
    async with turns:
        ours_again = asyncio.create_task(turns.acquire())
        await asyncio.sleep(0)  # both wait: the batch, to decide "b", and behind it we
    await ours_again
    revocations.revoke(subject="b")
    turns.release()

    assert [reason_of(result) for result in await results] == [Reason.SESSION_REVOKED] * 2


async def test_others_run_while_a_long_batch_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    revocations = FakeRevocations()
    verifier = busy_verifier(monkeypatch, SLICE_SECONDS, revocations=revocations)
    asyncio.get_running_loop().call_soon(revocations.revoke)

    results = await verifier.verify_batch([GOOD] * 3)

    # The first was decided before the revocation could arrive, and anew when it had.
    assert [reason_of(result) for result in results] == [Reason.SESSION_REVOKED] * 3


async def test_items_that_wait_are_answered_even_if_the_budget_ends_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookup = FakeLookup()
    verifier = busy_verifier(monkeypatch, BUDGET_SECONDS, lookup)
    results = asyncio.create_task(verifier.verify_batch([CHECKED, GOOD]))
    (await lookup.queries.next()).answer(NOTHING)

    waited, shed = await results
    assert isinstance(waited, Verdict)
    assert is_valid(waited)
    assert isinstance(shed, BatchBudgetSpent)


async def test_what_is_decided_anew_is_within_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    revocations, lookup = FakeRevocations(), FakeLookup()
    verifier = busy_verifier(monkeypatch, BUDGET_SECONDS / 8, lookup, revocations)
    results = asyncio.create_task(verifier.verify_batch([GOOD] * 6 + [CHECKED]))
    query = await lookup.queries.next()
    revocations.revoke(subject="somebody else's")
    query.answer(NOTHING)

    assert [type(result) for result in await results] == [Verdict] + [BatchBudgetSpent] * 5 + [Verdict]


# A caller that goes away.


async def test_a_cancelled_batch_leaves_no_question_behind() -> None:
    bench = Bench()
    results = begin(bench, CHECKED, UNKNOWN_KEY, CHECKED._replace(tenant_id=None))
    questions = [await bench.lookup.queries.next(), await bench.lookup.queries.next()]
    refetch = await bench.keys.refetches.next()
    results.cancel()
    with pytest.raises(asyncio.CancelledError):
        await results

    assert all(question.abandoned for question in questions)
    assert refetch.abandoned
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_batch_cancelled_between_two_slices_leaves_nothing_unawaited(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = busy_verifier(monkeypatch, SLICE_SECONDS)
    results = asyncio.create_task(verifier.verify_batch([CHECKED] * 3))
    asyncio.get_running_loop().call_soon(results.cancel)  # runs when the first slice ends, before the item's own task
    with suppress(asyncio.CancelledError):
        await results
    await asyncio.sleep(0)
    gc.collect()  # a coroutine that was never awaited warns when it is collected; every warning fails a test

    assert results.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}

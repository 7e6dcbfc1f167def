"""Where verifications are counted: in the handlers, which see how each of them ends."""

import asyncio
from collections.abc import Callable

import pytest
from sidegate.v1 import verification_pb2 as v1
from sidegate_sidecar.errors import KeysUnavailable, SidegateError, StoreUnavailable
from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.model import ServingStatus, StoreState
from sidegate_sidecar.rpc.verification import VerificationService
from sidegate_sidecar.sign_out import SignOut

from tests.unit.verifier.fakes import Bench, token

PLAIN = v1.VerifyRequest(access_token=token())
CHECKED = v1.VerifyRequest(access_token=token(), check_database=True)


def service_of(bench: Bench, counts: VerificationCounts) -> VerificationService:
    status = ServingStatus("0", (), None, None, StoreState.NOT_CONFIGURED)
    return VerificationService(bench.verifier, SignOut(bench.verifier, None), lambda: status, counts)


def counted(counts: VerificationCounts) -> dict[str, int]:
    """What is not 0."""
    return {outcome: count for outcome, count in counts.by_outcome().items() if count}


def without_keys(bench: Bench) -> None:
    bench.keys.current = None


def without_index(bench: Bench) -> None:
    bench.revocations.index = None


@pytest.mark.parametrize(
    ("broken", "outcome"),
    [(without_keys, "KEYS_UNAVAILABLE"), (without_index, "INDEX_NOT_LOADED")],
    ids=["without keys", "without an index"],
)
async def test_where_nobody_can_say_it_is_counted_why(broken: Callable[[Bench], None], outcome: str) -> None:
    bench, counts = Bench(), VerificationCounts()
    service = service_of(bench, counts)
    broken(bench)
    with pytest.raises(SidegateError):
        await service.Verify(PLAIN, None)
    assert counted(counts) == {outcome: 1}

    await service.BatchVerify(v1.BatchVerifyRequest(requests=[PLAIN, PLAIN]), None)

    assert counted(counts) == {outcome: 3}


@pytest.mark.parametrize("failure", [StoreUnavailable("down"), KeysUnavailable("down")], ids=lambda each: each.reason)
async def test_a_failure_after_a_wait_is_counted_once(failure: SidegateError) -> None:
    bench, counts = Bench(), VerificationCounts()
    asked = asyncio.create_task(service_of(bench, counts).Verify(CHECKED, None))
    query = await bench.lookup.queries.next()
    assert counted(counts) == {}
    query.fail(failure)

    with pytest.raises(type(failure)):
        await asked
    assert list(counted(counts).values()) == [1]


async def test_a_caller_that_hangs_up_is_counted_as_such_and_the_call_stays_cancelled() -> None:
    bench, counts = Bench(), VerificationCounts()
    asked = asyncio.create_task(service_of(bench, counts).Verify(CHECKED, None))
    await bench.lookup.queries.next()
    asked.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asked
    assert counted(counts) == {"CANCELLED": 1}


async def test_of_a_batch_whose_caller_hangs_up_every_item_is_counted() -> None:
    bench, counts = Bench(), VerificationCounts()
    batch = v1.BatchVerifyRequest(requests=[PLAIN, CHECKED, PLAIN])
    asked = asyncio.create_task(service_of(bench, counts).BatchVerify(batch, None))
    await bench.lookup.queries.next()
    asked.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asked
    assert counted(counts) == {"CANCELLED": 3}


async def test_a_token_is_accepted_alone_and_in_a_batch() -> None:
    bench, counts = Bench(), VerificationCounts()
    service = service_of(bench, counts)
    await service.Verify(PLAIN, None)
    await service.BatchVerify(v1.BatchVerifyRequest(requests=[PLAIN, v1.VerifyRequest(access_token="x")]), None)

    assert counted(counts) == {"valid": 2, "MALFORMED": 1}

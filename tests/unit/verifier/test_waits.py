"""A decision waits, the world moves on: what happened meanwhile counts. docs/concepts.md, "How Verify decides", 6."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from sidegate_sidecar.errors import RevisionNotReached
from sidegate_sidecar.model import Demand, KeySet, Reason, Revision, RevocationKind, Source, Verdict
from sidegate_sidecar.revocations.index import RevocationIndex

from tests.unit.tokens.minting import NOW_MICROS, signer
from tests.unit.verifier.fakes import (
    ALGORITHM,
    CHECKED,
    FRESH,
    GOOD,
    HANDLE,
    ISSUED_AT,
    KEYS,
    NOTHING,
    STORE,
    THUMBPRINT,
    UNKNOWN_KEY,
    USER,
    Bench,
    is_valid,
    reason_of,
    registered,
)

Release = Callable[[], None]
"""Ends the wait with the answer that makes the token good."""

ADDED_KEY = signer(ALGORITHM).key("new")


async def _key_refetch(bench: Bench) -> Release:
    call = await bench.keys.refetches.next()
    return lambda: call.answer(KeySet(2, (*KEYS.keys, ADDED_KEY)))


async def _freshness(bench: Bench) -> Release:
    call = await bench.revocations.waits.next()
    return lambda: call.answer(None)


async def _freshness_look_up(bench: Bench) -> Release:
    (await bench.revocations.waits.next()).fail(RevisionNotReached("not in time"))
    call = await bench.lookup.queries.next()
    return lambda: call.answer(NOTHING)


async def _look_up(bench: Bench) -> Release:
    call = await bench.lookup.queries.next()
    return lambda: call.answer(registered(ISSUED_AT + 1))


@dataclass(frozen=True)
class Wait:
    """A demand that waits, where it is held, and whether a watermark makes it wait."""

    demand: Demand
    held: Callable[[Bench], Awaitable[Release]]
    ambiguous: bool = False

    async def begin(self, bench: Bench) -> tuple[asyncio.Task[Verdict], Release]:
        if self.ambiguous:
            bench.revocations.revoke(RevocationKind.USER, USER, at=ISSUED_AT)
        verdict = bench.begin(self.demand)
        return verdict, await self.held(bench)


WAITS = {
    "key refetch": Wait(UNKNOWN_KEY, _key_refetch),
    "at_least_as_fresh": Wait(FRESH, _freshness),
    "look-up for at_least_as_fresh": Wait(FRESH, _freshness_look_up),
    "look-up for check_database": Wait(CHECKED, _look_up),
    "look-up for an ambiguous watermark": Wait(GOOD, _look_up, ambiguous=True),
}
during_each_wait = pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())


@during_each_wait
@pytest.mark.parametrize(
    ("kind", "subject", "reason"),
    [
        (RevocationKind.SESSION, HANDLE, Reason.SESSION_REVOKED),
        (RevocationKind.USER, USER, Reason.USER_REVOKED),
        (RevocationKind.KEY, THUMBPRINT, Reason.KEY_REVOKED),
    ],
)
async def test_a_revocation_that_arrives_meanwhile_is_seen(
    wait: Wait, kind: RevocationKind, subject: str, reason: Reason
) -> None:
    bench = Bench()
    verdict, release = await wait.begin(bench)
    thumbprint_of_the_added_key = kind is RevocationKind.KEY and wait.demand is UNKNOWN_KEY
    bench.revocations.revoke(kind, ADDED_KEY.thumbprint if thumbprint_of_the_added_key else subject)
    release()

    assert reason_of(await verdict) is reason


@during_each_wait
async def test_a_revocation_that_arrives_before_the_answer_is_taken_up_is_seen(wait: Wait) -> None:
    bench = Bench()
    verdict, release = await wait.begin(bench)
    release()
    bench.revocations.revoke()  # the answer is there, but the decision has not run yet

    assert reason_of(await verdict) is Reason.SESSION_REVOKED


@during_each_wait
async def test_a_token_that_expires_meanwhile_is_expired(wait: Wait) -> None:
    bench = Bench()
    verdict, release = await wait.begin(bench)
    bench.clock.now = NOW_MICROS + 3600 * 1_000_000
    release()

    assert reason_of(await verdict) is Reason.EXPIRED


@during_each_wait
async def test_the_evidence_is_of_the_step_that_decided(wait: Wait) -> None:
    bench = Bench()
    verdict, release = await wait.begin(bench)
    bench.revocations.revoke(subject="somebody else's")
    bench.revocations.revoke(subject="somebody else's too")
    bench.revocations.lag_micros = 42
    release()

    assert is_valid(await verdict)
    assert (await verdict).evidence.revision == Revision(STORE, 3 if wait.ambiguous else 2)
    assert (await verdict).evidence.revocation_lag == 42


@during_each_wait
async def test_an_index_that_takes_the_place_of_another_meanwhile_is_the_one_that_is_asked(wait: Wait) -> None:
    bench = Bench()
    verdict, release = await wait.begin(bench)
    bench.revocations.index = RevocationIndex("store-2", b"another salt....")
    bench.revocations.revoke()
    release()

    assert reason_of(await verdict) is Reason.SESSION_REVOKED
    assert (await verdict).evidence.revision == Revision("store-2", 1)


@pytest.mark.parametrize("wait", ["key refetch", "at_least_as_fresh"])
async def test_a_watermark_that_arrives_meanwhile_and_is_ambiguous_asks_the_store(wait: str) -> None:
    bench = Bench()
    verdict, release = await WAITS[wait].begin(bench)
    bench.revocations.revoke(RevocationKind.USER, USER, at=ISSUED_AT)
    release()
    (await bench.lookup.queries.next()).answer(registered(ISSUED_AT))

    assert reason_of(await verdict) is Reason.USER_REVOKED
    assert (await verdict).evidence.source is Source.DATABASE


async def test_a_watermark_that_arrives_while_the_store_is_asked_about_another_is_judged_too() -> None:
    bench = Bench()
    verdict, release = await WAITS["look-up for an ambiguous watermark"].begin(bench)
    bench.revocations.revoke(RevocationKind.USER, USER, at=ISSUED_AT + 1)  # covers the create_time that is answered
    release()

    assert reason_of(await verdict) is Reason.USER_REVOKED
    assert len(bench.lookup.queries.made) == 1


@during_each_wait
async def test_a_caller_that_goes_away_takes_its_question_with_it(wait: Wait) -> None:
    bench = Bench()
    verdict, _ = await wait.begin(bench)
    verdict.cancel()

    with pytest.raises(asyncio.CancelledError):
        await verdict


@pytest.mark.parametrize("name", [name for name in WAITS if name != "key refetch"])
async def test_a_key_that_is_withdrawn_meanwhile_verifies_nothing_any_more(name: str) -> None:
    bench = Bench()
    verdict, release = await WAITS[name].begin(bench)
    bench.keys.current = KeySet(2, ())
    release()
    (await bench.keys.refetches.next()).answer(KeySet(2, ()))

    assert reason_of(await verdict) is Reason.UNKNOWN_KEY

"""What becomes outdated while others of its batch are being decided is decided anew, before anybody is answered."""

import asyncio

from sidegate_sidecar.batch import MAX_ROUNDS
from sidegate_sidecar.errors import BatchBudgetSpent, KeysUnavailable
from sidegate_sidecar.model import SECOND, Demand, KeySet, Reason, Verdict

from tests.unit.tokens.minting import NOW
from tests.unit.verifier.fakes import (
    ANOTHERS_KEY,
    CHECKED,
    GOOD,
    KEYS,
    NOTHING,
    UNKNOWN_KEY,
    Bench,
    is_valid,
    reason_of,
    token,
)


def begin(bench: Bench, *demands: Demand) -> asyncio.Task[list[Verdict | Exception]]:
    return asyncio.create_task(bench.verifier.verify_batch(demands))


async def test_a_token_that_expires_while_the_batch_waits_is_refused() -> None:
    bench = Bench()
    results = begin(bench, Demand(token(exp=NOW + 1)), CHECKED)
    query = await bench.lookup.queries.next()
    bench.clock.now += SECOND
    query.answer(NOTHING)

    expired, _ = await results
    assert reason_of(expired) is Reason.EXPIRED


async def test_a_revocation_that_arrives_while_the_batch_waits_is_seen_by_all_of_it() -> None:
    bench = Bench()
    results = begin(bench, GOOD, CHECKED)
    query = await bench.lookup.queries.next()
    bench.revocations.revoke()
    query.answer(NOTHING)

    at_once, later = await results
    assert isinstance(at_once, Verdict)
    assert reason_of(at_once) is Reason.SESSION_REVOKED  # though it was decided before the revocation was known
    assert reason_of(later) is Reason.SESSION_REVOKED


async def test_those_that_have_to_be_asked_anew_wait_together() -> None:
    bench = Bench()
    results = begin(bench, *[CHECKED] * 3, UNKNOWN_KEY)
    for _ in range(3):
        (await bench.lookup.queries.next()).answer(NOTHING)
    refetch = await bench.keys.refetches.next()
    for _ in range(3):
        await asyncio.sleep(0)  # the three take up their answers
    bench.revocations.revoke(subject="somebody else's")
    refetch.answer(KEYS)
    anew = [await bench.lookup.queries.next() for _ in range(3)]
    anew[0].fail(RuntimeError("a bug"))
    for query in anew[1:]:
        query.answer(NOTHING)

    crashed, *others, _ = await results
    assert isinstance(crashed, RuntimeError)
    assert all(isinstance(other, Verdict) and is_valid(other) for other in others)


async def test_a_key_that_disappears_while_the_batch_waits_vouches_for_nothing() -> None:
    bench = Bench()
    results = begin(bench, GOOD, CHECKED)
    query = await bench.lookup.queries.next()
    bench.keys.current = KeySet(KEYS.generation + 1, (ANOTHERS_KEY,))
    query.answer(NOTHING)

    assert [reason_of(result) for result in await results] == [Reason.BAD_SIGNATURE] * 2


async def test_keys_that_may_not_be_relied_on_any_more_leave_the_batch_undecided() -> None:
    bench = Bench()
    results = begin(bench, GOOD, UNKNOWN_KEY)
    refetch = await bench.keys.refetches.next()
    bench.keys.current = None
    refetch.fail(KeysUnavailable("the issuer does not answer"))

    assert [type(result) for result in await results] == [KeysUnavailable] * 2


CHECKED_ALICE = Demand(token(sid="alices"), check_database=True)
CHECKED_BOB = Demand(token(sid="bobs"), check_database=True)


async def overtake_once(bench: Bench) -> None:
    """Answer one look-up, let the log move on, and answer the other; then the first verdict is outdated."""
    first, second = await bench.lookup.queries.next(), await bench.lookup.queries.next()
    first.answer(NOTHING)
    for _ in range(3):
        await asyncio.sleep(0)  # it is decided
    bench.revocations.revoke(subject="somebody else's")
    second.answer(NOTHING)


async def test_a_revocation_that_arrives_while_others_are_asked_anew_is_seen_by_all() -> None:
    """Whatever is decided anew may wait, too, and so outdate what comes before it and after it."""
    bench = Bench()
    results = begin(bench, GOOD, CHECKED_ALICE, CHECKED_BOB, GOOD)
    await overtake_once(bench)
    alices = await bench.lookup.queries.next()  # with her the two that need no look-up were decided anew
    bench.revocations.revoke()
    alices.answer(NOTHING)
    (await bench.lookup.queries.next()).answer(NOTHING)  # and now Bob's is outdated

    first, alice, bob, last = await results
    assert (reason_of(first), reason_of(last)) == (Reason.SESSION_REVOKED, Reason.SESSION_REVOKED)
    assert all(isinstance(verdict, Verdict) and is_valid(verdict) for verdict in (alice, bob))


async def test_what_news_overtakes_each_time_is_shed_in_the_end() -> None:
    bench = Bench()
    results = begin(bench, CHECKED_ALICE, CHECKED_BOB)
    await overtake_once(bench)
    for _ in range(MAX_ROUNDS - 1):
        query = await bench.lookup.queries.next()  # Alice's, Bob's, Alice's: each outdates the other
        bench.revocations.revoke(subject="somebody else's")
        query.answer(NOTHING)

    alice, bob = await results
    assert isinstance(alice, Verdict)
    assert is_valid(alice)
    assert isinstance(bob, BatchBudgetSpent)
    assert len(bench.lookup.queries.made) == 2 + MAX_ROUNDS - 1

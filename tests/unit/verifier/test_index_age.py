"""docs/configuration.md, SIDEGATE_MAX_REVOCATION_LAG: an acceptance never rests on an index older than that alone."""

import pytest
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.errors import ForeignRevision, IndexTooOld, RevisionNotReached
from sidegate_sidecar.model import SECOND, Demand, Micros, Reason, Revision, RevocationKind
from sidegate_sidecar.verifier import Backing, Verifier

from tests.unit.tokens.minting import NOW
from tests.unit.verifier.fakes import (
    CHECKED,
    FRESH,
    GOOD,
    NOTHING,
    POLICY,
    STORE,
    Bench,
    facts_of,
    is_valid,
    reason_of,
    registered,
    token,
)

LIMIT: Micros = 5 * SECOND


def bench(lag: Micros, *, limit: Micros | None = LIMIT, remembered: int = 0) -> Bench:
    """A verifier whose index is that old."""
    bench = Bench(remembered=remembered)
    bench.revocations.lag_micros = lag
    authenticator = Authenticator([POLICY], bench.keys, remembered=remembered)
    backing = Backing(bench.revocations, bench.lookup)
    bench.verifier = Verifier(authenticator, backing, clock=bench.clock, max_revocation_lag=limit)
    return bench


async def test_an_index_that_is_just_young_enough_will_do() -> None:
    assert is_valid(await bench(LIMIT).verify(GOOD))


async def test_an_index_that_is_too_old_accepts_nothing() -> None:
    with pytest.raises(IndexTooOld):
        await bench(LIMIT + 1).verify(GOOD)


async def test_without_a_limit_an_index_of_any_age_will_do() -> None:
    verdict = await bench(366 * 86400 * SECOND, limit=None).verify(GOOD)

    assert is_valid(verdict)
    assert verdict.evidence.revocation_lag == 366 * 86400 * SECOND


async def test_a_token_that_was_remembered_is_no_exception() -> None:
    aging = bench(0, remembered=10)
    assert is_valid(await aging.verify(GOOD))
    aging.revocations.lag_micros = LIMIT + 1

    with pytest.raises(IndexTooOld):
        await aging.verify(GOOD)


@pytest.mark.parametrize("kind", [RevocationKind.SESSION, None], ids=["revoked", "expired"])
async def test_an_old_index_still_refuses(kind: RevocationKind | None) -> None:
    old = bench(LIMIT + 1)
    if kind is not None:
        old.revocations.revoke(kind)
        assert reason_of(await old.verify(GOOD)) is Reason.SESSION_REVOKED
    else:
        assert reason_of(await old.verify(Demand(token(exp=NOW - 1)))) is Reason.EXPIRED


async def test_what_the_database_was_asked_for_this_verdict_is_not_old() -> None:
    old = bench(LIMIT + 1)
    checked = old.begin(CHECKED)
    (await old.lookup.queries.next()).answer(registered())

    assert is_valid(await checked)


async def test_what_the_store_answered_in_place_of_a_late_index_is_not_old() -> None:
    old = bench(LIMIT + 1)
    fresh = old.begin(FRESH)
    (await old.revocations.waits.next()).fail(RevisionNotReached("late"))
    (await old.lookup.queries.next()).answer(NOTHING)

    assert is_valid(await fresh)


async def test_one_of_a_batch_fails_by_itself() -> None:
    old = bench(LIMIT + 1)
    expired = Demand(token(exp=NOW - 1))

    outcomes = await old.verifier.verify_batch([GOOD, expired])

    assert isinstance(outcomes[0], IndexTooOld)
    assert reason_of(outcomes[1]) is Reason.EXPIRED


# at_least_as_fresh, of another store.


async def test_a_foreign_revision_is_undecided_and_the_store_is_not_asked() -> None:
    young = bench(0)
    fresh = young.begin(FRESH)
    (await young.revocations.waits.next()).fail(ForeignRevision("foreign"))

    with pytest.raises(ForeignRevision):
        await fresh
    assert young.lookup.queries.made == []


async def test_a_store_that_turns_out_to_be_another_is_undecided() -> None:
    """The index could not be read in time, and the store says whose it is."""
    young = bench(0)
    fresh = young.begin(FRESH._replace(at_least_as_fresh=Revision("elsewhere", 1)))
    (await young.revocations.waits.next()).fail(RevisionNotReached("late"))
    (await young.lookup.queries.next()).answer(facts_of(NOTHING.coverage, None, Revision(STORE, 7)))

    with pytest.raises(ForeignRevision):
        await fresh

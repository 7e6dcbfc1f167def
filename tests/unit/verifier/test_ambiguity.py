"""Watermarks and tokens by two clocks. docs/concepts.md, "How Verify decides", step 7.

T is 20:00:00 by the database's clock; the issuer's clock may be 2 s off it. A token's begin is given in microseconds
relative to T.
"""

from dataclasses import replace

import pytest
from sidegate_sidecar.errors import RevisionNotReached, StoreUnavailable
from sidegate_sidecar.model import (
    SECOND,
    Coverage,
    Demand,
    Micros,
    NextAction,
    Reason,
    Rejection,
    RevocationKind,
    Source,
    StoreFacts,
)

from tests.unit.tokens.minting import NOW, NOW_MICROS
from tests.unit.verifier.fakes import (
    HANDLE,
    HEAD,
    NOTHING,
    USER,
    Bench,
    facts_of,
    is_valid,
    reason_of,
    record,
    token,
)
from tests.unit.verifier.fakes import POLICY as LENIENT_POLICY

POLICY = replace(LENIENT_POLICY, leeway=0)

SKEW = POLICY.issuer_clock_skew
ISSUED = NOW - 60
T_OF_ZERO: Micros = ISSUED * SECOND
TENANT = "acme"
DEMAND = Demand(token(tid=TENANT))
WATERMARKS = [(RevocationKind.USER, USER, Reason.USER_REVOKED), (RevocationKind.TENANT, TENANT, Reason.TENANT_REVOKED)]
by_user_and_by_tenant = pytest.mark.parametrize(("kind", "subject", "reason"), WATERMARKS, ids=["user", "tenant"])


def facts(create_time: Micros, *, user: str = USER, tenant: str = TENANT) -> StoreFacts:
    return facts_of(Coverage(), record(create_time=create_time, user_id=user, tenant_id=tenant))


@by_user_and_by_tenant
@pytest.mark.parametrize(
    ("begun", "revoked"),
    [
        pytest.param(-SKEW - 1, True, id="earlier than T by more than the skew: revoked"),
        pytest.param(SKEW + 1, False, id="later than T by more than the skew: good"),
    ],
)
async def test_beyond_the_skew_the_token_speaks_for_itself(
    kind: RevocationKind, subject: str, reason: Reason, begun: Micros, revoked: bool
) -> None:
    bench = Bench(POLICY)
    bench.revocations.revoke(kind, subject, at=T_OF_ZERO - begun)

    verdict = await bench.verify(DEMAND)

    assert (reason_of(verdict) if revoked else is_valid(verdict)) == (reason if revoked else True)
    assert verdict.evidence.source is Source.LOCAL
    if isinstance(verdict.outcome, Rejection):
        assert verdict.outcome.next_action is NextAction.REAUTHENTICATE


@by_user_and_by_tenant
@pytest.mark.parametrize(
    ("begun", "clear"),
    [
        pytest.param(30 * SECOND, False, id="dated ahead by the leeway: the register decides"),
        pytest.param(30 * SECOND + 1, True, id="dated ahead by more: would not have been taken for good before T"),
    ],
)
async def test_a_token_that_the_leeway_forgives_is_not_clear_of_a_watermark_by_its_date(
    kind: RevocationKind, subject: str, reason: Reason, begun: Micros, clear: bool
) -> None:
    bench = Bench(replace(POLICY, leeway=30 * SECOND))
    bench.revocations.revoke(kind, subject, at=T_OF_ZERO - begun)
    verdict = bench.begin(DEMAND)
    if not clear:
        (await bench.lookup.queries.next()).answer(NOTHING)

    assert is_valid(await verdict) if clear else reason_of(await verdict) is reason


WITHIN_THE_SKEW = [
    pytest.param(-SKEW, id="iat = T - skew"),
    pytest.param(-1, id="iat just before T"),
    pytest.param(0, id="iat = T"),
    pytest.param(1, id="iat just after T"),
    pytest.param(SKEW, id="iat = T + skew"),
]
REGISTER = [
    pytest.param(-1, {}, NextAction.REAUTHENTICATE, id="registered before T: revoked"),
    pytest.param(0, {}, NextAction.REAUTHENTICATE, id="registered at T: revoked"),
    pytest.param(1, {}, None, id="registered after T: good"),
    pytest.param(None, {}, NextAction.REFRESH, id="not registered: refresh"),
    pytest.param(1, {"user": "another"}, NextAction.REFRESH, id="another user's: refresh"),
    pytest.param(1, {"tenant": "another"}, NextAction.REFRESH, id="another tenant's: refresh"),
]


@by_user_and_by_tenant
@pytest.mark.parametrize("begun", WITHIN_THE_SKEW)
@pytest.mark.parametrize(("created", "whose", "next_action"), REGISTER)
async def test_within_the_skew_the_register_decides(
    kind: RevocationKind,
    subject: str,
    reason: Reason,
    begun: Micros,
    created: Micros | None,
    whose: dict[str, str],
    next_action: NextAction | None,
) -> None:
    bench, watermark = Bench(POLICY), T_OF_ZERO - begun
    bench.revocations.revoke(kind, subject, at=watermark)
    verdict = bench.begin(DEMAND)
    query = await bench.lookup.queries.next()
    query.answer(NOTHING if created is None else facts(watermark + created, **whose))

    if next_action is None:
        assert is_valid(await verdict)
    else:
        outcome = (await verdict).outcome
        assert isinstance(outcome, Rejection)
        assert (outcome.reason, outcome.next_action) == (reason, next_action)
    assert (await verdict).evidence.source is Source.DATABASE


@by_user_and_by_tenant
@pytest.mark.parametrize("begun", WITHIN_THE_SKEW)
async def test_within_the_skew_a_silent_store_is_no_verdict(
    kind: RevocationKind, subject: str, reason: Reason, begun: Micros
) -> None:
    bench = Bench(POLICY)
    bench.revocations.revoke(kind, subject, at=T_OF_ZERO - begun)
    verdict = bench.begin(DEMAND)
    (await bench.lookup.queries.next()).fail(StoreUnavailable("down"))

    with pytest.raises(StoreUnavailable):
        await verdict


async def test_the_register_is_not_asked_for_existence_where_only_a_watermark_is_ambiguous() -> None:
    bench = Bench(replace(POLICY, unknown_sessions_rejected=True))
    bench.revocations.revoke(RevocationKind.USER, USER, at=T_OF_ZERO)
    verdict = bench.begin(DEMAND)
    expired = facts_of(Coverage(), record(create_time=T_OF_ZERO + 1, tenant_id=TENANT, session_expire_time=NOW_MICROS))
    (await bench.lookup.queries.next()).answer(expired)

    assert is_valid(await verdict)


async def test_a_watermark_that_only_the_store_knows_is_judged_by_the_same_answer() -> None:
    bench = Bench(POLICY)
    verdict = bench.begin(DEMAND._replace(check_database=True))
    watermark = T_OF_ZERO + 5
    answer = facts_of(Coverage(user_watermark=watermark), record(create_time=watermark, tenant_id=TENANT))
    (await bench.lookup.queries.next()).answer(answer)

    assert reason_of(await verdict) is Reason.USER_REVOKED
    assert len(bench.lookup.queries.made) == 1


@by_user_and_by_tenant
@pytest.mark.parametrize(
    ("created", "whose", "revoked"),
    [
        pytest.param(0, {}, True, id="registered at T: revoked"),
        pytest.param(1, {}, False, id="registered after T: good"),
        pytest.param(0, {"user": "another"}, False, id="another user's: nothing to judge by"),
        pytest.param(0, {"tenant": "another"}, False, id="another tenant's: nothing to judge by"),
    ],
)
async def test_a_session_begun_by_t_is_revoked_though_it_had_ended_and_its_token_is_later(
    kind: RevocationKind, subject: str, reason: Reason, created: Micros, whose: dict[str, str], revoked: bool
) -> None:
    """Only the sessions that are alive at T are revoked by their handles as well."""
    bench, watermark = Bench(POLICY), T_OF_ZERO - 10 * SECOND
    bench.revocations.revoke(kind, subject, at=watermark)
    verdict = bench.begin(DEMAND._replace(at_least_as_fresh=HEAD))
    (await bench.revocations.waits.next()).fail(RevisionNotReached("late"))
    (await bench.lookup.queries.next()).answer(facts(watermark + created, **whose))

    assert reason_of(await verdict) is reason if revoked else is_valid(await verdict)


async def test_auth_time_is_compared_where_the_issuer_entry_names_it() -> None:
    bench = Bench(replace(POLICY, begin_claim="auth_time"))
    bench.revocations.revoke(RevocationKind.USER, USER, at=T_OF_ZERO - 10 * SECOND)  # the iat is clear of it

    assert reason_of(await bench.verify(Demand(token(auth_time=ISSUED - 60)))) is Reason.USER_REVOKED
    assert is_valid(await bench.verify(Demand(token(auth_time=ISSUED))))
    assert is_valid(await Bench(POLICY).verify(Demand(token(auth_time=ISSUED - 60))))


async def test_an_ambiguous_auth_time_asks_for_a_login_for_a_refresh_would_change_nothing() -> None:
    bench = Bench(replace(POLICY, begin_claim="auth_time"))
    bench.revocations.revoke(RevocationKind.USER, USER, at=T_OF_ZERO)
    verdict = bench.begin(Demand(token(auth_time=ISSUED)))
    (await bench.lookup.queries.next()).answer(NOTHING)

    outcome = (await verdict).outcome
    assert isinstance(outcome, Rejection)
    assert (outcome.reason, outcome.next_action) == (Reason.USER_REVOKED, NextAction.REAUTHENTICATE)


async def test_with_no_skew_only_the_very_instant_is_ambiguous() -> None:
    bench = Bench(replace(POLICY, issuer_clock_skew=0))
    bench.revocations.revoke(RevocationKind.USER, USER, at=T_OF_ZERO - 1)
    assert is_valid(await bench.verify(DEMAND))

    bench.revocations.revoke(RevocationKind.USER, USER, at=T_OF_ZERO)
    verdict = bench.begin(DEMAND)
    (await bench.lookup.queries.next()).answer(NOTHING)
    assert reason_of(await verdict) is Reason.USER_REVOKED


# Exceptions: each spares one session from one watermark, and from no other.


@pytest.mark.parametrize(
    ("spared", "good"),
    [
        pytest.param([HANDLE], True, id="its own exception: good"),
        pytest.param(["another"], False, id="another's exception: revoked"),
        pytest.param([HANDLE, "another"], False, id="excepted from the first only: revoked"),
        pytest.param(["another", HANDLE], False, id="excepted from the second only: revoked"),
        pytest.param([HANDLE, HANDLE], True, id="excepted from both: good"),
        pytest.param([None, HANDLE], False, id="no exception, then its own: revoked"),
        pytest.param([HANDLE, None], False, id="its own exception, then none: revoked"),
    ],
)
async def test_a_session_is_good_only_if_every_watermark_excepts_it(spared: list[str | None], good: bool) -> None:
    bench = Bench(POLICY)
    for position, spare in enumerate(spared):
        bench.revocations.revoke(RevocationKind.USER, USER, at=NOW_MICROS + position, spare=spare)

    verdict = await bench.verify(DEMAND)

    assert (is_valid(verdict) if good else reason_of(verdict)) == (good or Reason.USER_REVOKED)


async def test_two_devices_that_log_each_other_out_are_both_out() -> None:
    bench = Bench(POLICY)
    bench.revocations.revoke(RevocationKind.USER, USER, at=NOW_MICROS, spare="phone")
    bench.revocations.revoke(RevocationKind.USER, USER, at=NOW_MICROS + 1, spare="laptop")

    for handle in ("phone", "laptop"):
        assert reason_of(await bench.verify(Demand(token(sid=handle)))) is Reason.USER_REVOKED


@pytest.mark.parametrize(
    ("limit", "good"), [(TENANT, False), ("another", True), (None, False)], ids=["its tenant", "another tenant", "none"]
)
async def test_a_watermark_limited_to_a_tenant_leaves_the_others_alone(limit: str | None, good: bool) -> None:
    bench = Bench(POLICY)
    bench.revocations.revoke(RevocationKind.USER, USER, tenant=limit)

    verdict = await bench.verify(DEMAND)

    assert (is_valid(verdict) if good else reason_of(verdict)) == (good or Reason.USER_REVOKED)


async def test_a_token_without_a_handle_is_revocable_by_its_user_and_spared_by_nobody() -> None:
    bench = Bench(replace(POLICY, session_claim=None))
    bench.revocations.revoke(subject="")
    assert is_valid(await bench.verify(DEMAND))

    bench.revocations.revoke(RevocationKind.USER, USER, spare=HANDLE)
    assert reason_of(await bench.verify(DEMAND)) is Reason.USER_REVOKED

"""docs/concepts.md, "How Verify decides": the steps, their order, and what each answers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.errors import (
    ForeignRevision,
    IndexNotLoaded,
    InvalidRequest,
    KeysUnavailable,
    PreconditionFailed,
    RevisionNotReached,
    StoreUnavailable,
)
from sidegate_sidecar.model import (
    SECOND,
    Coverage,
    Demand,
    Evidence,
    KeySet,
    NextAction,
    Reason,
    Rejection,
    Revision,
    RevocationKind,
    Session,
    Source,
    StoreFacts,
    Subject,
)
from sidegate_sidecar.verifier import Verifier

from tests.unit.tokens.minting import ISSUER, KEY_ID, NOW, NOW_MICROS, claims_without, header, mint, signer
from tests.unit.verifier.fakes import (
    ALGORITHM,
    ANOTHERS_KEY,
    CHECKED,
    FRESH,
    GOOD,
    HANDLE,
    KEYS,
    NOTHING,
    POLICY,
    STORE,
    THUMBPRINT,
    UNKNOWN_KEY,
    USER,
    Bench,
    FakeClock,
    FakeKeys,
    facts_of,
    is_valid,
    reason_of,
    record,
    registered,
    token,
)


async def test_a_good_token_names_its_session_and_what_the_answer_rests_on() -> None:
    bench = Bench()
    bench.revocations.revoke(subject="somebody else's")
    bench.revocations.lag_micros = 70_000

    verdict = await bench.verify(GOOD)

    assert isinstance(verdict.outcome, Session)
    assert verdict.outcome == Session(
        ISSUER, HANDLE, USER, "", (NOW - 60) * SECOND, (NOW + 3600) * SECOND, verdict.outcome.claims_json
    )
    assert f'"sid":"{HANDLE}"' in verdict.outcome.claims_json
    assert verdict.evidence == Evidence(Source.LOCAL, Revision(STORE, 1), 70_000, KEY_ID)
    assert bench.waits_made == 0


# Each step's fault, in the order of the steps. A demand with all of them from one on meets that one first.
Fault = Callable[[Bench, dict[str, object], dict[str, object]], None]


def _no_crit(_bench: Bench, head: dict[str, object], _claims: dict[str, object]) -> None:
    head["crit"] = ["exp"]


def _no_user(_bench: Bench, _head: dict[str, object], claims: dict[str, object]) -> None:
    claims["sub"] = ""


def _other_key(bench: Bench, _head: dict[str, object], _claims: dict[str, object]) -> None:
    bench.keys.current = KeySet(2, (replace(KEYS.keys[0], public_key=signer("ES256").public_key),))


def _expired(_bench: Bench, _head: dict[str, object], claims: dict[str, object]) -> None:
    claims["exp"] = NOW


def _other_audience(_bench: Bench, _head: dict[str, object], claims: dict[str, object]) -> None:
    claims["aud"] = "shipping"


def _session_revoked(bench: Bench, _head: dict[str, object], _claims: dict[str, object]) -> None:
    bench.revocations.revoke()


def _no_fault(_bench: Bench, _head: dict[str, object], _claims: dict[str, object]) -> None: ...


STEPS: list[tuple[Fault, Reason | None]] = [
    (_no_crit, Reason.MALFORMED),
    (_no_user, Reason.MISSING_CLAIM),
    (_other_key, Reason.BAD_SIGNATURE),
    (_expired, Reason.EXPIRED),
    (_other_audience, Reason.WRONG_AUDIENCE),
    (_session_revoked, Reason.SESSION_REVOKED),
    (_no_fault, None),
]


@pytest.mark.parametrize("first", range(len(STEPS)), ids=[reason or "none: good" for _, reason in STEPS])
async def test_the_first_fault_in_the_order_of_the_steps_is_the_reason(first: int) -> None:
    bench, head = Bench(), header(ALGORITHM)
    claims = {**claims_without(), "aud": "orders"}
    for fault, _ in STEPS[first:]:
        fault(bench, head, claims)

    verdict = await bench.verify(Demand(mint(claims, head, algorithm=ALGORITHM), accepted_audiences=("orders",)))

    reason = STEPS[first][1]
    assert (reason_of(verdict) if reason else is_valid(verdict)) == (reason or True)


@pytest.mark.parametrize(
    ("demand", "field"),
    [
        pytest.param(Demand(""), "access_token", id="an empty token"),
        pytest.param(GOOD._replace(accepted_audiences=("a",) * 65), "accepted_audiences", id="65 audiences"),
        pytest.param(GOOD._replace(accepted_audiences=("orders", "")), "accepted_audiences", id="an empty audience"),
        pytest.param(GOOD._replace(tenant_id=""), "tenant_id", id="an empty tenant"),
    ],
)
async def test_a_mistake_of_the_caller_is_no_verdict(demand: Demand, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await Bench().verify(demand)

    assert refused.value.metadata == {"field": field}


async def test_64_audiences_are_no_mistake() -> None:
    assert is_valid(await Bench().verify(GOOD._replace(accepted_audiences=("orders", *("x",) * 63))))


@pytest.mark.parametrize(
    ("issuer", "reason"),
    [
        pytest.param(f"{ISSUER}/", Reason.WRONG_ISSUER, id="a trailing slash"),
        pytest.param([ISSUER], Reason.WRONG_ISSUER, id="a list"),
        pytest.param(None, Reason.WRONG_ISSUER, id="null"),
    ],
)
async def test_a_token_of_no_configured_issuer_is_refused(issuer: object, reason: Reason) -> None:
    assert reason_of(await Bench().verify(Demand(token(iss=issuer)))) is reason


async def test_a_token_without_iss_is_for_the_entry_that_expects_none() -> None:
    text = mint(claims_without("iss"), header(ALGORITHM), algorithm=ALGORITHM)
    verdict = await Bench(replace(POLICY, issuer_claim_absent=True)).verify(Demand(text))

    assert reason_of(await Bench().verify(Demand(text))) is Reason.MISSING_CLAIM
    assert isinstance(verdict.outcome, Session)
    assert verdict.outcome.issuer == ISSUER


async def test_a_token_with_iss_is_not_for_the_entry_that_expects_none() -> None:
    assert reason_of(await Bench(replace(POLICY, issuer_claim_absent=True)).verify(GOOD)) is Reason.WRONG_ISSUER


# Step 2: the key.


async def test_without_keys_nobody_can_say() -> None:
    bench = Bench()
    bench.keys.current = None

    with pytest.raises(KeysUnavailable):
        await bench.verify(GOOD)


async def test_an_unknown_key_is_refused_once_the_issuer_was_asked() -> None:
    bench = Bench()
    verdict = bench.begin(UNKNOWN_KEY)
    (await bench.keys.refetches.next()).answer(KEYS)

    assert reason_of(await verdict) is Reason.UNKNOWN_KEY
    assert bench.keys.refetches.made == ["new"]


async def test_an_unknown_key_is_no_verdict_if_the_issuer_could_not_be_asked() -> None:
    bench = Bench()
    verdict = bench.begin(UNKNOWN_KEY)
    (await bench.keys.refetches.next()).fail(KeysUnavailable("the issuer does not answer"))

    with pytest.raises(KeysUnavailable):
        await verdict


async def test_a_key_that_the_issuer_added_verifies() -> None:
    bench = Bench()
    verdict = bench.begin(UNKNOWN_KEY)
    (await bench.keys.refetches.next()).answer(KeySet(2, (*KEYS.keys, signer(ALGORITHM).key("new"))))

    assert (await verdict).evidence.key_id == "new"


async def test_the_evidence_names_no_key_that_did_not_verify() -> None:
    bench = Bench()
    _other_key(bench, {}, {})

    verdict = await bench.verify(GOOD)

    assert reason_of(verdict) is Reason.BAD_SIGNATURE
    assert verdict.evidence.key_id is None


async def test_the_evidence_of_a_refusal_names_the_key_that_verified() -> None:
    assert (await Bench().verify(Demand(token(exp=NOW)))).evidence.key_id == KEY_ID


# Step 4: at_least_as_fresh.


async def test_a_revision_is_waited_for_before_the_index_is_asked() -> None:
    bench = Bench()
    verdict = bench.begin(FRESH)
    wait = await bench.revocations.waits.next()
    bench.revocations.revoke()
    wait.answer(None)

    assert wait.question == Revision(STORE, 7)
    assert reason_of(await verdict) is Reason.SESSION_REVOKED
    assert bench.lookup.queries.made == []


async def test_a_revision_that_is_not_reached_sends_the_question_to_the_store() -> None:
    bench = Bench()
    verdict = bench.begin(FRESH)
    (await bench.revocations.waits.next()).fail(RevisionNotReached("not in time"))
    query = await bench.lookup.queries.next()
    query.answer(facts_of(Coverage(session_revoked=True), None))

    assert query.question == Subject(ISSUER, HANDLE, USER, "", THUMBPRINT)
    assert reason_of(await verdict) is Reason.SESSION_REVOKED
    assert (await verdict).evidence.source is Source.DATABASE


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(NOTHING, id="nobody registered it"),
        pytest.param(facts_of(Coverage(), record(session_expire_time=NOW_MICROS)), id="it has expired"),
        pytest.param(facts_of(Coverage(), record(user_id="another")), id="it is another user's"),
    ],
)
async def test_freshness_asks_the_store_for_revocations_and_never_for_existence(facts: StoreFacts) -> None:
    bench = Bench(replace(POLICY, unknown_sessions_rejected=True))
    verdict = bench.begin(FRESH)
    (await bench.revocations.waits.next()).fail(RevisionNotReached("not in time"))
    (await bench.lookup.queries.next()).answer(facts)

    assert is_valid(await verdict)


async def test_a_revision_that_neither_index_nor_store_can_vouch_for_is_no_verdict() -> None:
    bench = Bench()
    verdict = bench.begin(FRESH)
    (await bench.revocations.waits.next()).fail(RevisionNotReached("not in time"))
    (await bench.lookup.queries.next()).fail(StoreUnavailable("down"))

    with pytest.raises(StoreUnavailable):
        await verdict


@pytest.mark.parametrize(
    ("seen", "refusal"),
    [
        pytest.param(Revision(STORE, 6), RevisionNotReached, id="the store is behind"),
        pytest.param(Revision("another", 8), ForeignRevision, id="the store is another"),
    ],
)
async def test_a_store_that_has_not_come_to_the_revision_cannot_vouch_for_it(
    seen: Revision, refusal: type[Exception]
) -> None:
    bench = Bench()
    verdict = bench.begin(FRESH)
    (await bench.revocations.waits.next()).fail(RevisionNotReached("not in time"))
    (await bench.lookup.queries.next()).answer(facts_of(Coverage(), None, seen))

    with pytest.raises(refusal):
        await verdict


async def test_another_stores_revision_is_no_verdict() -> None:
    bench = Bench()
    verdict = bench.begin(FRESH)
    (await bench.revocations.waits.next()).fail(ForeignRevision("another store's"))

    with pytest.raises(ForeignRevision):
        await verdict
    assert bench.lookup.queries.made == []


async def test_one_look_up_serves_both_freshness_and_the_database_check() -> None:
    bench = Bench(replace(POLICY, unknown_sessions_rejected=True))
    verdict = bench.begin(FRESH._replace(check_database=True))
    (await bench.revocations.waits.next()).fail(RevisionNotReached("not in time"))
    (await bench.lookup.queries.next()).answer(NOTHING)

    assert reason_of(await verdict) is Reason.SESSION_NOT_FOUND
    assert len(bench.lookup.queries.made) == 1


# Step 5: check_database.


@pytest.mark.parametrize(
    ("facts", "reject_unknown", "reason"),
    [
        pytest.param(registered(), True, None, id="registered: good"),
        pytest.param(NOTHING, False, None, id="not registered, unknown sessions accepted: good"),
        pytest.param(NOTHING, True, Reason.SESSION_NOT_FOUND, id="not registered, unknown sessions rejected"),
        pytest.param(
            facts_of(Coverage(session_revoked=True), record()), False, Reason.SESSION_REVOKED, id="handle revoked"
        ),
        pytest.param(
            facts_of(Coverage(session_revoked=True), None), False, Reason.SESSION_REVOKED, id="unknown handle revoked"
        ),
        pytest.param(facts_of(Coverage(key_revoked=True), record()), False, Reason.KEY_REVOKED, id="key revoked"),
        pytest.param(
            facts_of(Coverage(user_watermark=NOW_MICROS), None), False, Reason.USER_REVOKED, id="user watermark"
        ),
        pytest.param(
            facts_of(Coverage(tenant_watermark=NOW_MICROS), None), False, Reason.TENANT_REVOKED, id="tenant watermark"
        ),
        pytest.param(
            facts_of(Coverage(), record(session_expire_time=NOW_MICROS)),
            False,
            Reason.SESSION_EXPIRED,
            id="at its end",
        ),
        pytest.param(
            facts_of(Coverage(), record(session_expire_time=NOW_MICROS + 1)),
            False,
            None,
            id="1 µs before its end: good",
        ),
        pytest.param(
            facts_of(Coverage(), record(user_id="another")), False, Reason.SESSION_NOT_FOUND, id="another user's"
        ),
        pytest.param(
            facts_of(Coverage(), record(tenant_id="another")), False, Reason.WRONG_TENANT, id="another tenant's"
        ),
    ],
)
async def test_check_database_asks_the_register_and_its_revocations(
    facts: StoreFacts, reject_unknown: bool, reason: Reason | None
) -> None:
    bench = Bench(replace(POLICY, unknown_sessions_rejected=reject_unknown))
    verdict = bench.begin(CHECKED)
    (await bench.lookup.queries.next()).answer(facts)

    assert (reason_of(await verdict) if reason else is_valid(await verdict)) == (reason or True)
    assert (await verdict).evidence.source is Source.DATABASE


async def test_check_database_without_an_answer_of_the_database_is_no_verdict() -> None:
    bench = Bench()
    verdict = bench.begin(CHECKED)
    (await bench.lookup.queries.next()).fail(StoreUnavailable("down"))

    with pytest.raises(StoreUnavailable):
        await verdict


async def test_a_bad_token_never_costs_the_store_a_look_up() -> None:
    bench = Bench()

    assert reason_of(await bench.verify(Demand(token(exp=NOW), check_database=True))) is Reason.EXPIRED
    assert bench.waits_made == 0


# Step 6: the index, and what there is without one.


@pytest.mark.parametrize(
    ("kind", "subject", "reason"),
    [
        (RevocationKind.SESSION, HANDLE, Reason.SESSION_REVOKED),
        (RevocationKind.USER, USER, Reason.USER_REVOKED),
        (RevocationKind.TENANT, "acme", Reason.TENANT_REVOKED),
        (RevocationKind.KEY, THUMBPRINT, Reason.KEY_REVOKED),
    ],
)
@pytest.mark.parametrize("check_database", [False, True], ids=["stateless", "check_database"])
async def test_what_the_index_holds_is_refused(
    kind: RevocationKind, subject: str, reason: Reason, check_database: bool
) -> None:
    bench = Bench()
    bench.revocations.revoke(kind, subject)
    verdict = bench.begin(Demand(token(tid="acme"), check_database))
    if check_database:
        (await bench.lookup.queries.next()).answer(NOTHING)  # a database that has not heard of it yet, or was restored

    assert reason_of(await verdict) is reason
    assert (await verdict).outcome.next_action is NextAction.REAUTHENTICATE  # type: ignore[union-attr]  # a rejection


async def test_before_the_index_has_loaded_nobody_can_say() -> None:
    bench = Bench()
    bench.revocations.index = None

    with pytest.raises(IndexNotLoaded):
        await bench.verify(GOOD)


async def test_before_the_index_has_loaded_the_database_alone_vouches_for_nobody() -> None:
    bench = Bench()
    bench.revocations.index = None
    verdict = bench.begin(CHECKED)
    (await bench.lookup.queries.next()).answer(registered())

    with pytest.raises(IndexNotLoaded):
        await verdict


async def test_before_the_index_has_loaded_a_bad_token_is_refused_all_the_same() -> None:
    bench = Bench()
    bench.revocations.index = None

    verdict = await bench.verify(Demand(token(exp=NOW)))

    assert reason_of(verdict) is Reason.EXPIRED
    assert verdict.evidence == Evidence(Source.LOCAL, None, None, KEY_ID)


def _stateless() -> Verifier:
    return Verifier(Authenticator([POLICY], FakeKeys(), remembered=0), None, clock=FakeClock())


async def test_a_stateless_sidecar_answers_from_the_token_alone() -> None:
    verdict = await _stateless().verify(GOOD)

    assert is_valid(verdict)
    assert verdict.evidence == Evidence(Source.LOCAL, None, None, KEY_ID)


@pytest.mark.parametrize("demand", [CHECKED, FRESH], ids=["check_database", "at_least_as_fresh"])
async def test_a_stateless_sidecar_says_that_it_has_no_store(demand: Demand) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        await _stateless().verify(demand)

    assert refused.value.reason == "STORE_NOT_CONFIGURED"


async def test_no_message_of_a_rejection_gives_the_token_away() -> None:
    bench = Bench()
    bench.revocations.revoke()

    verdict = await bench.verify(GOOD)

    assert isinstance(verdict.outcome, Rejection)
    for secret in (HANDLE, USER, *GOOD.access_token.split(".")):
        assert secret not in verdict.outcome.message


# Step 2, for tokens without `kid`.


def _without_key_id() -> Demand:
    return Demand(mint(head={"alg": ALGORITHM, "typ": "JWT"}, algorithm=ALGORITHM))


async def test_a_token_without_kid_that_no_key_has_signed_asks_the_issuer_for_a_newer_one() -> None:
    bench = Bench()
    bench.keys.current = KeySet(1, (ANOTHERS_KEY,))
    verdict = bench.begin(_without_key_id())
    refetch = await bench.keys.refetches.next()
    refetch.answer(KeySet(2, (ANOTHERS_KEY, *KEYS.keys)))

    assert refetch.question is None
    assert is_valid(await verdict)


@pytest.mark.parametrize(
    ("published", "reason"),
    [
        pytest.param(
            KeySet(1, (ANOTHERS_KEY,)), Reason.BAD_SIGNATURE, id="keys of its algorithm, none of which signed it"
        ),
        pytest.param(KeySet(1, ()), Reason.UNKNOWN_KEY, id="no key of its algorithm"),
    ],
)
async def test_a_token_without_kid_is_refused_once_the_issuer_was_asked(published: KeySet, reason: Reason) -> None:
    bench = Bench()
    bench.keys.current = published
    verdict = bench.begin(_without_key_id())
    (await bench.keys.refetches.next()).answer(published)

    assert reason_of(await verdict) is reason


async def test_a_token_that_names_its_key_never_asks_for_another() -> None:
    bench = Bench()
    bench.keys.current = KeySet(1, (ANOTHERS_KEY,))

    assert reason_of(await bench.verify(GOOD)) is Reason.BAD_SIGNATURE
    assert bench.keys.refetches.made == []

"""Remembering verified tokens spares the signature check and nothing else. docs/hostile-tokens.md rows 8 and 23."""

from dataclasses import replace

import pytest
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.model import SECOND, Demand, KeySet, Reason, RevocationKind, Session, Subject
from sidegate_sidecar.remembered import MAX_BYTES, RememberedTokens, VerifiedToken
from sidegate_sidecar.tokens import parse_token, read_claims

from tests.unit.tokens.minting import NOW
from tests.unit.verifier.fakes import (
    ANOTHERS_KEY,
    GOOD,
    KEYS,
    NOTHING,
    POLICY,
    THUMBPRINT,
    USER,
    Bench,
    is_valid,
    reason_of,
    token,
)


async def _bench_that_remembers(demand: Demand = GOOD) -> Bench:
    bench = Bench(replace(POLICY, anti_csrf_claim="csrf"), remembered=10)
    assert is_valid(await bench.verify(demand))
    return bench


async def test_a_remembered_token_costs_no_signature_check() -> None:
    bench = await _bench_that_remembers()
    bench.keys.current = KeySet(KEYS.generation, (ANOTHERS_KEY,))  # would verify nothing, were it asked

    assert is_valid(await bench.verify(GOOD))


async def test_without_a_memory_each_signature_is_checked() -> None:
    bench = Bench(remembered=0)
    assert is_valid(await bench.verify(GOOD))
    bench.keys.current = KeySet(KEYS.generation, (ANOTHERS_KEY,))

    assert reason_of(await bench.verify(GOOD)) is Reason.BAD_SIGNATURE


async def test_a_change_of_the_key_set_ends_what_was_remembered() -> None:
    bench = await _bench_that_remembers()
    bench.keys.current = KeySet(KEYS.generation + 1, (ANOTHERS_KEY,))

    assert reason_of(await bench.verify(GOOD)) is Reason.BAD_SIGNATURE


async def test_a_key_that_disappears_ends_what_it_verified() -> None:
    bench = await _bench_that_remembers()
    bench.keys.current = KeySet(KEYS.generation + 1, ())
    verdict = bench.begin(GOOD)
    (await bench.keys.refetches.next()).answer(bench.keys.current)

    assert reason_of(await verdict) is Reason.UNKNOWN_KEY


async def test_a_key_that_disappears_while_the_store_is_asked_vouches_for_nothing() -> None:
    bench = await _bench_that_remembers()
    verdict = bench.begin(GOOD._replace(check_database=True))
    query = await bench.lookup.queries.next()
    bench.keys.current = KeySet(KEYS.generation + 1, (ANOTHERS_KEY,))
    query.answer(NOTHING)

    assert reason_of(await verdict) is Reason.BAD_SIGNATURE


async def test_a_key_set_past_its_outage_cap_vouches_for_nothing_remembered() -> None:
    bench = await _bench_that_remembers()
    bench.keys.current = None

    with pytest.raises(KeysUnavailable):
        await bench.verify(GOOD)


@pytest.mark.parametrize(
    ("kind", "subject", "reason"),
    [
        (RevocationKind.USER, USER, Reason.USER_REVOKED),
        (RevocationKind.KEY, THUMBPRINT, Reason.KEY_REVOKED),
    ],
    ids=["its user is revoked", "its key is revoked"],
)
async def test_a_remembered_token_is_refused_when(kind: RevocationKind, subject: str, reason: Reason) -> None:
    bench = await _bench_that_remembers()
    bench.revocations.revoke(kind, subject)

    assert reason_of(await bench.verify(GOOD)) is reason


async def test_a_remembered_token_is_refused_when_its_session_is_revoked() -> None:
    bench = await _bench_that_remembers()
    bench.revocations.revoke()

    assert reason_of(await bench.verify(GOOD)) is Reason.SESSION_REVOKED


async def test_a_remembered_token_expires() -> None:
    demand = Demand(token(exp=NOW + 1))
    bench = await _bench_that_remembers(demand)
    bench.clock.now += SECOND

    assert reason_of(await bench.verify(demand)) is Reason.EXPIRED


@pytest.mark.parametrize(
    ("stricter", "reason"),
    [
        (GOOD._replace(accepted_audiences=("elsewhere",)), Reason.WRONG_AUDIENCE),
        (GOOD._replace(tenant_id="elsewhere"), Reason.WRONG_TENANT),
        (GOOD._replace(anti_csrf_token="another"), Reason.ANTI_CSRF_MISMATCH),
    ],
    ids=["audience", "tenant", "anti-CSRF"],
)
async def test_a_remembered_token_answers_no_stricter_question(stricter: Demand, reason: Reason) -> None:
    bench = await _bench_that_remembers()

    assert reason_of(await bench.verify(stricter)) is reason


async def test_a_refused_token_is_not_remembered() -> None:
    bench = Bench(remembered=10)
    bench.keys.current = KeySet(1, (ANOTHERS_KEY,))
    assert reason_of(await bench.verify(GOOD)) is Reason.BAD_SIGNATURE
    bench.keys.current = KEYS  # of the same generation

    assert is_valid(await bench.verify(GOOD))


async def test_a_token_that_differs_in_one_character_is_another_token() -> None:
    bench = await _bench_that_remembers()
    last = GOOD.access_token[-1]
    other = GOOD.access_token[:-1] + ("A" if last != "A" else "Q")

    assert reason_of(await bench.verify(Demand(other))) in {Reason.BAD_SIGNATURE, Reason.MALFORMED}


def _verified(claims_json: str = "{}") -> VerifiedToken:
    claims = read_claims(parse_token(GOOD.access_token), POLICY)
    subject = Subject(POLICY.issuer, claims.session_handle, claims.user_id, claims.tenant_id)
    session = Session(POLICY.issuer, claims.session_handle, claims.user_id, "", 0, 0, claims_json)
    return VerifiedToken(POLICY, claims, session, None, KEYS.keys[0], 1, subject)


def test_the_least_recently_used_is_forgotten_first() -> None:
    memory = RememberedTokens(2)
    memory.remember("a", _verified())
    memory.remember("b", _verified())
    memory.recall("a")
    memory.remember("c", _verified())

    assert [memory.recall(text) is not None for text in "abc"] == [True, False, True]


def test_the_memory_is_bounded_in_bytes_too() -> None:
    memory = RememberedTokens(1_000_000)
    third = "x" * (MAX_BYTES // 3 - 1000)
    for text in "abcd":
        memory.remember(text, _verified(third))

    assert len(memory) == 3
    assert memory.recall("a") is None


def test_remembering_a_token_again_counts_it_once() -> None:
    memory = RememberedTokens(10)
    half = "x" * (MAX_BYTES // 2)
    memory.remember("a", _verified())
    for _ in range(5):
        memory.remember("b", _verified(half))

    assert memory.recall("a") is not None


def test_what_is_remembered_prints_no_claims() -> None:
    assert "secret" not in repr(_verified("secret"))

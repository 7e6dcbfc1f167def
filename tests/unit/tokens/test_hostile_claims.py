"""docs/hostile-tokens.md, the rows about what claims hold: 15, 16, 18, and 17 where `aud` is malformed."""

from dataclasses import dataclass, replace

import pytest
from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import SECOND, Demand, Micros, NextAction, Reason
from sidegate_sidecar.tokens import (
    IssuerPolicy,
    TokenClaims,
    check_claims,
    check_expiry,
    issuer_of,
    parse_token,
    read_claims,
)

from tests.unit.tokens.minting import (
    CLAIMS,
    ISSUER,
    NOW,
    NOW_MICROS,
    POLICY,
    claims_with,
    claims_without,
    json_with,
    mint,
    plain_decode,
    refusal,
    verify,
)

MALFORMED, MISSING = Reason.MALFORMED, Reason.MISSING_CLAIM


@dataclass(frozen=True)
class Case:
    """A properly signed token with bad claims. `plain_accepts`: plain jwt.decode wrongly takes it."""

    row: str
    claims: dict[str, object] | bytes
    reason: Reason = MALFORMED
    plain_accepts: bool = False


def _date(name: str, literal: str) -> bytes:
    return json_with(f'"{name}":{literal}', claims_without(name))


ODD_DATES = ["[]", "{}", "[1]", '"soon"', '""', "1e400", "-1e400", "NaN", "-1", "-0.5", "9007199254740992", "1e16"]

CASES = [
    *(
        Case(f"row 15: {name} is {literal}", _date(name, literal))
        for name in ("exp", "nbf", "iat")
        for literal in ODD_DATES
    ),
    Case("row 15: exp is a string", claims_with(exp=str(NOW + 3600)), plain_accepts=True),
    Case("row 15: exp is 2^53", claims_with(exp=2**53), plain_accepts=True),
    Case("row 15: exp is true", claims_with(exp=True)),
    Case("row 15: iat is a string", claims_with(iat=str(NOW - 60)), plain_accepts=True),
    Case("row 15: iat is true", claims_with(iat=True), plain_accepts=True),
    Case("row 15: iat is negative", claims_with(iat=-1), plain_accepts=True),
    Case("row 15: nbf is a string", claims_with(nbf="0"), plain_accepts=True),
    Case("row 15: nbf is false", claims_with(nbf=False), plain_accepts=True),
    Case("row 15: exp has passed", claims_with(exp=NOW - 1), Reason.EXPIRED),
    Case("row 15: exp is now", claims_with(exp=NOW), Reason.EXPIRED),
    Case("row 15: exp is zero", claims_with(exp=0), Reason.EXPIRED),
    Case("row 15: nbf lies ahead", claims_with(nbf=NOW + 31), Reason.NOT_YET_VALID),
    Case("row 15: iat lies ahead", claims_with(iat=NOW + 31), Reason.NOT_YET_VALID),
    *(Case(f"row 16: no {name}", claims_without(name), MISSING) for name in ("exp", "iat", "sub")),
    Case("row 16: no session handle", claims_without("sid"), MISSING, plain_accepts=True),
    Case("row 16: no iss", claims_without("iss"), MISSING),
    *(Case(f"row 16: {name} is null", claims_with(**{name: None}), MISSING) for name in ("exp", "iat", "sub")),
    Case("row 16: sid is null", claims_with(sid=None), MISSING, plain_accepts=True),
    Case("row 16: sub is empty", claims_with(sub=""), MISSING, plain_accepts=True),
    Case("row 16: sid is empty", claims_with(sid=""), MISSING, plain_accepts=True),
    Case("row 16: sub is a number", claims_with(sub=7)),
    *(
        Case(f"row 16: sid is {value!r}", claims_with(sid=value), plain_accepts=True)
        for value in (7, 0, False, ["session-91c2"], {"a": 1})
    ),
    Case("row 16: sub of 513 bytes", claims_with(sub="é" * 256 + "x"), plain_accepts=True),
    Case("row 16: sid of 513 bytes", claims_with(sid="x" * 513), plain_accepts=True),
    Case("row 16: lives a second too long", claims_with(exp=NOW - 60 + 24 * 3600 + 1), Reason.LIFETIME_TOO_LONG, True),
    Case("row 16: lives for ever", claims_with(exp=2**53 - 1), Reason.LIFETIME_TOO_LONG, True),
    *(
        Case(f"row 17: aud is {value!r}", claims_with(aud=value))
        for value in (7, True, {"orders": 1}, ["orders", 7], [["orders"]])
    ),
    *(
        Case(f"row 18: iss is {value!r}", claims_with(iss=value), Reason.WRONG_ISSUER)
        for value in (f"{ISSUER}/", ISSUER[:-1], f"{ISSUER}.evil.example", ISSUER.upper(), f" {ISSUER}", "")
    ),
    *(
        Case(f"row 18: iss is {value!r}", claims_with(iss=value), Reason.WRONG_ISSUER)
        for value in ([ISSUER], {ISSUER: 1}, 7, None)
    ),
]


def _text(case: Case) -> str:
    return mint(case.claims)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_bad_claims_are_refused_for_their_reason(case: Case) -> None:
    assert refusal(_text(case)) is case.reason


@pytest.mark.parametrize("case", [case for case in CASES if case.plain_accepts], ids=lambda case: case.row)
def test_plain_jwt_decode_wrongly_accepts_them(case: Case) -> None:
    assert "iss" in plain_decode(_text(case))


def test_only_an_expired_token_can_be_refreshed() -> None:
    for claims, action in (
        (claims_with(exp=NOW), NextAction.REFRESH),
        (claims_with(sub=""), NextAction.REAUTHENTICATE),
    ):
        with pytest.raises(Rejected) as refused:
            verify(mint(claims))
        assert refused.value.next_action is action


# Row 15: instants.


@pytest.mark.parametrize(
    ("literal", "micros"),
    [
        ("1691623046", 1_691_623_046_000_000),
        ("1.691623046E9", 1_691_623_046_000_000),
        ("1691623046.0", 1_691_623_046_000_000),
        ("1691623046.25", 1_691_623_046_250_000),
        ("1700000000.123456", 1_700_000_000_123_456),
        ("1700000000.0078125", 1_700_000_000_007_812),  # a tie, to even: down
        ("1700000000.0234375", 1_700_000_000_023_438),  # a tie, to even: up
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("1e-400", 0),
        ("9007199254740991", 9_007_199_254_740_991_000_000),
    ],
)
def test_row_15_a_date_is_exact_to_the_microsecond(literal: str, micros: Micros) -> None:
    token = parse_token(mint(_date("iat", literal)))
    assert read_claims(token, POLICY).issue_time == micros


def _claims(**members: object) -> TokenClaims:
    return read_claims(parse_token(mint(claims_with(**members))), POLICY)


def _check(claims: TokenClaims, now: Micros = NOW_MICROS, policy: IssuerPolicy = POLICY) -> Reason | None:
    try:
        check_claims(claims, policy, None, Demand("x"), now)
    except Rejected as refused:
        return refused.reason
    return None


def test_row_15_expiry_is_exclusive_and_knows_no_leeway() -> None:
    claims = _claims(exp=NOW + 10)
    end = (NOW + 10) * SECOND
    assert _check(claims, end - 1) is None
    assert _check(claims, end) is Reason.EXPIRED
    check_expiry(claims, end - 1)
    with pytest.raises(Rejected):
        check_expiry(claims, end)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_row_15_leeway_is_forgiven_on_nbf_and_iat_to_the_microsecond(name: str) -> None:
    claims = _claims(**{name: NOW + 30})
    assert _check(claims, NOW_MICROS) is None
    assert _check(claims, NOW_MICROS - 1) is Reason.NOT_YET_VALID
    assert _check(claims, NOW_MICROS, replace(POLICY, leeway=0)) is Reason.NOT_YET_VALID


def test_row_16_a_lifetime_of_exactly_the_maximum_is_good() -> None:
    assert _check(_claims(exp=NOW - 60 + 24 * 3600)) is None


def test_row_16_a_waived_handle_is_empty_whatever_the_token_says() -> None:
    policy = replace(POLICY, session_claim=None)
    assert verify(mint(), policy).session_handle == ""
    assert verify(mint(claims_without("sid")), policy).session_handle == ""


def test_row_16_a_name_of_512_bytes_is_good() -> None:
    assert verify(mint(claims_with(sub="é" * 256))).user_id == "é" * 256


def test_the_begin_claim_counts_where_the_policy_names_one() -> None:
    policy = replace(POLICY, begin_claim="auth_time")
    assert verify(mint()).begin_time == (NOW - 60) * SECOND
    assert verify(mint(claims_with(auth_time=NOW - 900)), policy).begin_time == (NOW - 900) * SECOND
    assert refusal(mint(), policy) is MISSING
    assert refusal(mint(claims_with(auth_time="0")), policy) is MALFORMED
    # It would be later than every watermark of today.
    assert refusal(mint(claims_with(auth_time=NOW + 10**6)), policy) is Reason.NOT_YET_VALID


def test_the_reasons_come_in_their_order() -> None:
    """Every fault at once; mending the first of them brings out the next."""
    text_policy = replace(
        POLICY,
        audiences=frozenset({"stock"}),
        tenant_claim="tid",
        token_type="at+jwt",
        anti_csrf_claim="csrf",
        anti_csrf_required=True,
        max_token_lifetime=SECOND,
    )
    demand = Demand("x", tenant_id="north")
    claims = TokenClaims("u", "s", "south", 200, 50, 150, 200, (), None)
    mends: list[tuple[Reason | None, dict[str, object]]] = [
        (Reason.EXPIRED, {"expire_time": 10**9}),
        (Reason.NOT_YET_VALID, {"not_before": 0}),
        (Reason.NOT_YET_VALID, {"issue_time": 0}),
        (Reason.NOT_YET_VALID, {"begin_time": 0}),
        (Reason.LIFETIME_TOO_LONG, {"expire_time": SECOND}),
        (Reason.WRONG_AUDIENCE, {"audiences": ("stock",)}),
        (Reason.WRONG_TENANT, {"tenant_id": "north"}),
    ]
    policy = replace(text_policy, leeway=0)
    for reason, mend in mends:
        with pytest.raises(Rejected) as refused:
            check_claims(claims, policy, None, demand, 100)
        assert refused.value.reason is reason
        claims = claims._replace(**mend)  # type: ignore[arg-type]  # each mend names a field and a value of its type
    with pytest.raises(Rejected) as refused:
        check_claims(claims, policy, None, demand, 100)
    assert refused.value.reason is Reason.WRONG_TYPE
    with pytest.raises(Rejected) as refused:
        check_claims(claims, policy, "at+jwt", demand, 100)
    assert refused.value.reason is Reason.ANTI_CSRF_MISMATCH


# Row 18: issuers.


def test_row_18_an_entry_whose_tokens_carry_no_iss_takes_none_that_do() -> None:
    policy = replace(POLICY, issuer_claim_absent=True)
    assert verify(mint(claims_without("iss")), policy).user_id == CLAIMS["sub"]
    assert refusal(mint(), policy) is Reason.WRONG_ISSUER
    assert refusal(mint(claims_with(iss=None)), policy) is Reason.WRONG_ISSUER


def test_row_18_the_issuer_is_told_as_it_stands() -> None:
    assert issuer_of(parse_token(mint())) == ISSUER
    assert issuer_of(parse_token(mint(claims_without("iss")))) is None


@pytest.mark.parametrize("change", [{"leeway": 61 * SECOND}, {"leeway": -1}, {"algorithms": frozenset({"HS256"})}])
def test_a_policy_that_would_weaken_verification_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"leeway|algorithms"):
        replace(POLICY, **change)  # type: ignore[arg-type]  # each change names a field and a value of its type

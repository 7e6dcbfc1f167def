"""Whatever comes in, a token is verified or refused; nothing else ever comes out."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import Demand
from sidegate_sidecar.tokens import TokenClaims, parse_token, read_claims

from tests.unit.tokens.minting import CLAIMS, POLICY, base64url, header, mint, sign, verify

UNHURRIED = settings(deadline=None)  # no test of ours judges by the clock
GOOD = mint()
GOOD_HEAD = GOOD.split(".")[0]
VERIFIED = verify(GOOD)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0é"

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["iss", "sub", "sid", "aud", "iat", "exp", "nbf", "csrf", "tid"]) | st.text(max_size=8)
json_bytes = st.dictionaries(names, any_json, max_size=6).map(lambda value: json.dumps(value).encode())
demands = st.builds(
    Demand,
    access_token=st.just(""),
    accepted_audiences=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    tenant_id=st.none() | st.text(max_size=8),
    anti_csrf_token=st.none() | st.text(max_size=8),
)


def _verdict(text: str, demand: Demand | None = None) -> TokenClaims | None:
    try:
        return verify(text, demand=demand)
    except Rejected:
        return None


@UNHURRIED
@given(st.text(alphabet=st.characters(exclude_categories=[]) | st.sampled_from(ALPHABET)))
def test_any_text_is_refused(text: str) -> None:
    assert _verdict(text) is None


@UNHURRIED
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_any_bytes_in_base64url_are_refused(parts: list[bytes]) -> None:
    assert _verdict(".".join(base64url(part) for part in parts)) is None


@UNHURRIED
@given(head=json_bytes | st.binary(max_size=100), payload=json_bytes | st.binary(max_size=200))
def test_any_signed_header_and_payload_get_a_verdict(head: bytes, payload: bytes) -> None:
    _verdict(sign(f"{base64url(head)}.{base64url(payload)}"))
    _verdict(sign(f"{GOOD_HEAD}.{base64url(payload)}"))


@UNHURRIED
@given(members=st.dictionaries(names, any_json, max_size=3), demand=demands)
def test_any_signed_claims_get_a_verdict(members: dict[str, object], demand: Demand) -> None:
    claims = _verdict(mint(json.dumps({**CLAIMS, **members}).encode(), header()), demand)
    if claims is not None:
        assert claims.user_id
        assert claims.session_handle


@settings(UNHURRIED, max_examples=300)
@given(
    at=st.integers(0, len(GOOD) - 1),
    length=st.integers(0, 3),
    insert=st.text(alphabet=ALPHABET, max_size=3),
)
def test_a_mutated_token_is_refused(at: int, length: int, insert: str) -> None:
    text = GOOD[:at] + insert + GOOD[at + length :]
    assert _verdict(text) == (VERIFIED if text == GOOD else None)


@UNHURRIED
@given(json_bytes)
def test_what_python_can_read_and_we_accept_is_read_alike(payload: bytes) -> None:
    try:
        token = parse_token(mint(payload))
    except Rejected:
        return
    assert token.claims == json.loads(payload)
    assert token.claims_json.encode() == payload


@UNHURRIED
@given(st.floats(min_value=0, max_value=2**53, exclude_max=True))
def test_a_date_is_rounded_to_the_nearest_microsecond(seconds: float) -> None:
    payload = json.dumps({**CLAIMS, "iat": seconds}).encode()
    micros = read_claims(parse_token(mint(payload)), POLICY).issue_time
    numerator, denominator = seconds.as_integer_ratio()
    assert 2 * abs(numerator * 10**6 - micros * denominator) <= denominator

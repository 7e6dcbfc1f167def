"""docs/hostile-tokens.md, the rows about keys and signatures: 3, 6, 7, 8, 14."""

from dataclasses import replace
from itertools import product

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import ALGORITHMS, KeySet, Reason, VerificationKey
from sidegate_sidecar.tokens import (
    ParsedToken,
    candidate_keys,
    parse_token,
    verify_signature,
)
from sidegate_sidecar.tokens.algorithms import VERIFIES, der_signature

from tests.unit.tokens.minting import (
    CLAIMS,
    KEY_ID,
    POLICY,
    Signer,
    base64url,
    claims_with,
    header,
    key_set_of_all,
    mint,
    plain_decode,
    refusal,
    signer,
    verify,
)

# Size of r and of s in bytes, and the order that both lie below.
EC_ORDERS = {
    "ES256": (32, ec.SECP256R1().group_order),
    "ES384": (48, ec.SECP384R1().group_order),
    "ES512": (66, ec.SECP521R1().group_order),
}


def _token(algorithm: str) -> ParsedToken:
    return parse_token(mint(head=header(algorithm), algorithm=algorithm))


def _verifies(token: ParsedToken, *keys: VerificationKey) -> bool:
    try:
        verify_signature(token, keys)
    except Rejected as refused:
        if refused.reason is not Reason.BAD_SIGNATURE:
            raise
        return False
    return True


def _text(token: ParsedToken, signature: bytes) -> str:
    return f"{token.signing_input.decode()}.{base64url(signature)}"


def test_each_algorithm_and_no_other_has_a_way_to_verify() -> None:
    assert set(VERIFIES) == ALGORITHMS


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_each_algorithm_verifies_what_it_signed(algorithm: str) -> None:
    text = mint(head=header(algorithm), algorithm=algorithm)
    key = signer(algorithm).key()
    assert verify_signature(parse_token(text), [key]) is key
    assert verify(text, key_set=signer(algorithm).key_set()).user_id == CLAIMS["sub"]


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_no_flipped_bit_of_a_signature_is_accepted(algorithm: str) -> None:
    token, key = _token(algorithm), signer(algorithm).key()
    for bit in range(len(token.signature) * 8):
        flipped = bytearray(token.signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not _verifies(token._replace(signature=bytes(flipped)), key), f"bit {bit}"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_no_flipped_bit_of_the_signed_text_is_accepted(algorithm: str) -> None:
    token, key = _token(algorithm), signer(algorithm).key()
    for index in range(0, len(token.signing_input), 7):
        flipped = bytearray(token.signing_input)
        flipped[index] ^= 1
        assert not _verifies(token._replace(signing_input=bytes(flipped)), key), f"byte {index}"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_signature_over_something_else_is_refused(algorithm: str) -> None:
    token = _token(algorithm)._replace(signing_input=b"something else")
    assert not _verifies(token, signer(algorithm).key())
    assert not _verifies(token)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_row_7_a_signature_of_a_wrong_length_is_refused(algorithm: str) -> None:
    token, key = _token(algorithm), signer(algorithm).key()
    good = token.signature
    for signature in (b"", good[:-1], good[1:], good + b"\0", b"\0" + good, good * 2, bytes(len(good))):
        assert not _verifies(token._replace(signature=signature), key)


@pytest.mark.parametrize("algorithm", sorted(EC_ORDERS))
def test_row_7_r_and_s_lie_between_one_and_the_order(algorithm: str) -> None:
    size, order = EC_ORDERS[algorithm]
    token, key = _token(algorithm), signer(algorithm).key()
    r, s = (int.from_bytes(part, "big") for part in (token.signature[:size], token.signature[size:]))
    zero, top = 0, 2 ** (8 * size) - 1
    pairs = [(zero, zero), (zero, s), (r, zero), (order, s), (r, order), (order, order), (top, s), (r, top), (1, 1)]
    pairs += [(r + order, s), (r, s + order)]
    for pair in pairs:
        if max(pair) <= top:
            signature = b"".join(number.to_bytes(size, "big") for number in pair)
            assert not _verifies(token._replace(signature=signature), key), pair


class CredulousKey(ec.EllipticCurvePublicKey):
    """A fault: a library beneath that takes every signature for good, as that of CVE-2022-21449 took zeros."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._curve

    def verify(self, signature: object, data: object, signature_algorithm: object) -> None:
        pass


CredulousKey.__abstractmethods__ = frozenset()  # the rest of a key is not asked for


@pytest.mark.parametrize(
    ("form", "good"),
    [
        ("r and s of one", True),
        ("r and s below the order", True),
        ("zeros", False),
        ("r zero", False),
        ("s zero", False),
        ("r the order", False),
        ("s the order", False),
        ("s without its leading zeros", False),
        ("s with one zero more", False),
        ("a curve of another name", False),
    ],
)
def test_row_7_no_fault_beneath_lets_a_bad_form_through(form: str, *, good: bool) -> None:
    size, order = EC_ORDERS["ES256"]
    one, top, zero, n = ((number).to_bytes(size, "big") for number in (1, order - 1, 0, order))
    signature = {
        "r and s below the order": top + top,
        "zeros": zero + zero,
        "r zero": zero + one,
        "s zero": one + zero,
        "r the order": n + one,
        "s the order": one + n,
        "s without its leading zeros": one + b"\1",
        "s with one zero more": one + b"\0" + one,
    }.get(form, one + one)
    curve = ec.SECP384R1() if form == "a curve of another name" else ec.SECP256R1()
    key = VerificationKey(KEY_ID, frozenset({"ES256"}), "thumbprint", CredulousKey(curve))  # type: ignore[abstract]  # see above
    assert _verifies(_token("ES256")._replace(signature=signature), key) == good


@given(data=st.data())
@pytest.mark.parametrize("algorithm", sorted(EC_ORDERS))
def test_a_pair_is_written_in_der_as_the_library_writes_it(algorithm: str, data: st.DataObject) -> None:
    size, order = EC_ORDERS[algorithm]
    # Numbers of every length alike: of those drawn from the whole range, next to none begins with a zero byte.
    numbers = st.integers(1, 8 * size).flatmap(lambda bits: st.integers(1, min(2**bits, order) - 1))
    r, s = data.draw(numbers), data.draw(numbers)
    assert der_signature(r.to_bytes(size, "big"), s.to_bytes(size, "big")) == encode_dss_signature(r, s)


@pytest.mark.parametrize("algorithm", sorted(EC_ORDERS))
def test_the_least_and_the_greatest_pair_are_written_in_der_as_the_library_writes_them(algorithm: str) -> None:
    size, order = EC_ORDERS[algorithm]
    edges = (1, 0x7F, 0x80, 0xFF, 0x100, order // 2, order - 1)
    for r, s in product(edges, edges):
        assert der_signature(r.to_bytes(size, "big"), s.to_bytes(size, "big")) == encode_dss_signature(r, s)


@pytest.mark.parametrize("algorithm", sorted(EC_ORDERS))
def test_row_7_der_form_is_refused(algorithm: str) -> None:
    size, _ = EC_ORDERS[algorithm]
    token = _token(algorithm)
    r, s = (int.from_bytes(part, "big") for part in (token.signature[:size], token.signature[size:]))
    assert not _verifies(token._replace(signature=encode_dss_signature(r, s)), signer(algorithm).key())


@pytest.mark.parametrize("algorithm", sorted(EC_ORDERS))
def test_row_8_the_high_s_twin_is_valid(algorithm: str) -> None:
    size, order = EC_ORDERS[algorithm]
    token, key = _token(algorithm), signer(algorithm).key()
    s = int.from_bytes(token.signature[size:], "big")
    twin = token.signature[:size] + (order - s).to_bytes(size, "big")
    assert twin != token.signature
    assert _verifies(token._replace(signature=twin), key)


def test_row_14_a_pss_signature_without_its_leading_zero_is_refused_though_plain_jwt_decode_takes_it() -> None:
    for attempt in range(5000):
        token = parse_token(mint(claims_with(jti=str(attempt)), header("PS256"), algorithm="PS256"))
        if token.signature[0] == 0:
            break
    else:
        pytest.fail("5,000 signatures without a leading zero: each has one with probability 1/256")
    shorter = _text(token, token.signature[1:])
    assert plain_decode(_text(token, token.signature), "PS256")["sub"]
    assert plain_decode(shorter, "PS256")["sub"]
    assert refusal(shorter) is Reason.BAD_SIGNATURE
    assert verify(_text(token, token.signature)).user_id == CLAIMS["sub"]


# Row 3: keys and algorithms.


@pytest.mark.parametrize(
    ("token_algorithm", "key_algorithm"),
    [("PS256", "RS256"), ("RS256", "PS256"), ("RS512", "RS256"), ("ES256", "ES384"), ("RS256", "EdDSA")],
)
def test_row_3_a_key_pinned_to_another_alg_is_refused(token_algorithm: str, key_algorithm: str) -> None:
    text = mint(head=header(token_algorithm), algorithm=token_algorithm)
    key = signer(key_algorithm).key()
    assert refusal(text, key_set=KeySet(1, (key,))) is Reason.UNSUPPORTED_ALGORITHM
    assert not _verifies(parse_token(text), key)


@pytest.mark.parametrize(
    ("token_algorithm", "key_algorithm"),
    [("RS256", "ES256"), ("PS256", "EdDSA"), ("ES256", "RS256"), ("ES256", "ES384"), ("EdDSA", "ES256")],
)
def test_row_3_a_key_of_another_type_or_curve_verifies_nothing_even_if_it_claims_the_alg(
    token_algorithm: str, key_algorithm: str
) -> None:
    liar = signer(key_algorithm).key(algorithms=ALGORITHMS)
    assert refusal(mint(head=header(token_algorithm), algorithm=token_algorithm), key_set=KeySet(1, (liar,))) is (
        Reason.BAD_SIGNATURE
    )


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_row_3_a_key_without_alg_serves_every_alg_of_its_type_where_pyjwk_pins_rs256(algorithm: str) -> None:
    text = mint(head=header(algorithm), algorithm=algorithm)
    assert verify(text, key_set=key_set_of_all()).user_id == CLAIMS["sub"]
    if algorithm != "RS256":
        key = signer("RS256").public_key
        assert isinstance(key, RSAPublicKey)
        unpinned = jwt.PyJWK(RSAAlgorithm.to_jwk(key, as_dict=True))
        with pytest.raises(jwt.InvalidAlgorithmError):
            jwt.decode(text, unpinned, algorithms=[algorithm], audience="orders")


def test_the_policy_narrows_the_algorithms() -> None:
    policy = replace(POLICY, algorithms=frozenset({"ES256"}))
    assert refusal(mint(), policy) is Reason.UNSUPPORTED_ALGORITHM
    assert verify(mint(head=header("ES256", kid="ES256"), algorithm="ES256"), policy).user_id == CLAIMS["sub"]


# Rows 5 and 6: which keys are tried.

NO_KEY_ID = {"alg": "ES256", "typ": "JWT"}


def _strangers(count: int) -> list[VerificationKey]:
    return [
        Signer("ES256", ec.generate_private_key(ec.SECP256R1())).key(f"stranger-{number}") for number in range(count)
    ]


def test_row_6_without_kid_the_keys_of_the_algorithm_are_tried() -> None:
    text = mint(head=NO_KEY_ID, algorithm="ES256")
    key_set = KeySet(1, (signer("RS256").key(), *_strangers(3), signer("ES256").key("mine")))
    assert verify_signature(parse_token(text), candidate_keys(parse_token(text), key_set, POLICY)).key_id == "mine"
    assert verify(text, key_set=key_set).user_id == CLAIMS["sub"]


def test_row_6_without_kid_eight_keys_are_tried_and_no_ninth() -> None:
    text = mint(head=NO_KEY_ID, algorithm="ES256")
    strangers, mine = _strangers(8), signer("ES256").key(None)
    assert verify(text, key_set=KeySet(1, (*strangers[:7], mine))).user_id == CLAIMS["sub"]
    assert len(candidate_keys(parse_token(text), KeySet(1, (*strangers, mine)), POLICY)) == 8
    assert refusal(text, key_set=KeySet(1, (*strangers, mine))) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(("algorithm", "curve"), [("ES384", ec.SECP384R1()), ("ES512", ec.SECP521R1())])
def test_row_6_of_the_dear_curves_only_three_are_tried(algorithm: str, curve: ec.EllipticCurve) -> None:
    token = parse_token(mint(head={"alg": algorithm}, algorithm=algorithm))
    strangers = tuple(Signer(algorithm, ec.generate_private_key(curve)).key(f"stranger-{n}") for n in range(4))
    assert len(candidate_keys(token, KeySet(1, strangers), POLICY)) == 3


def test_row_6_a_policy_may_demand_a_kid() -> None:
    demanding = replace(POLICY, key_id_required=True)
    assert refusal(mint(head=NO_KEY_ID, algorithm="ES256"), demanding) is Reason.MISSING_CLAIM
    assert verify(mint(), demanding).user_id == CLAIMS["sub"]


def test_row_6_without_kid_and_without_a_key_of_the_algorithm_the_key_is_unknown() -> None:
    text = mint(head=NO_KEY_ID, algorithm="ES256")
    assert candidate_keys(parse_token(text), signer("RS256").key_set(), POLICY) == ()
    assert refusal(text, key_set=signer("RS256").key_set()) is Reason.UNKNOWN_KEY


def test_row_5_a_kid_is_matched_exactly_and_no_other_key_is_tried() -> None:
    text = mint(head=header("ES256", kid="gone"), algorithm="ES256")
    key_set = KeySet(1, (signer("ES256").key(KEY_ID), signer("ES256").key(None), signer("ES256").key("gone ")))
    assert candidate_keys(parse_token(text), key_set, POLICY) == ()
    assert refusal(text, key_set=key_set) is Reason.UNKNOWN_KEY


def test_the_first_of_two_keys_with_one_kid_counts() -> None:
    first, second = _strangers(1)[0], signer("ES256").key()
    key_set = KeySet(1, (VerificationKey(KEY_ID, first.algorithms, "1", first.public_key), second))
    assert key_set.by_id[KEY_ID].thumbprint == "1"

"""docs/hostile-tokens.md row 20 and its neighbours 2 and 3, one by one."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidegate_sidecar.keys import NotAKeySet, parse_jwks
from sidegate_sidecar.keys.jwks import MAX_DOCUMENT_BYTES, MAX_MEMBERS

from tests.unit.keys.key_material import Jwk, base64url, ec_jwk, ed25519_jwk, integer, jwks, rsa_jwk

RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def without(jwk: Jwk, member: str) -> Jwk:
    return {name: value for name, value in jwk.items() if name != member}


def padded(octets: object) -> str:
    """The same number, one octet longer."""
    return base64url(b"\x00" + base64.urlsafe_b64decode(f"{octets}=="))


DROPPED: dict[str, object] = {
    "use is enc": rsa_jwk(use="enc"),
    "use is null": rsa_jwk(use=None),
    "key_ops without verify": rsa_jwk(key_ops=["encrypt"]),
    "key_ops is a string that holds verify": rsa_jwk(key_ops="verify"),
    "RSA of 2047 bits": rsa_jwk(bits=2047),
    "RSA of 4097 bits": rsa_jwk(bits=4097),
    "RSA of 8192 bits": rsa_jwk(bits=8192),
    "RSA of half a million bits": rsa_jwk(bits=500_000),
    "RSA with an even modulus": rsa_jwk(n=integer(1 << 2047)),
    "RSA with e = 1": rsa_jwk(exponent=1),
    "RSA with e = 0": rsa_jwk(e="AA"),
    "RSA with an even e": rsa_jwk(exponent=65536),
    "RSA with e > 2^32": rsa_jwk(exponent=2**32 + 1),
    "RSA with an e of a thousand octets": rsa_jwk(exponent=2**8000 + 1),
    "RSA without n": without(rsa_jwk(), "n"),
    "RSA with n as a number": rsa_jwk(n=7),
    "RSA with padding": rsa_jwk(e="AQAB="),
    "RSA with the alphabet of plain base64": rsa_jwk(n="+/" + "A" * 340),
    "RSA with a length that base64 cannot have": rsa_jwk(e="AQABA"),
    "off-curve": ec_jwk(y=base64url(bytes(31) + b"\x01")),
    "the point at infinity": ec_jwk(x=base64url(bytes(32)), y=base64url(bytes(32))),
    "P-256 called P-384": ec_jwk(crv="P-384"),
    "a coordinate with an octet too many": ec_jwk(x=padded(ec_jwk()["x"])),
    "secp256k1": ec_jwk("secp256k1"),
    "EC without crv": without(ec_jwk(), "crv"),
    "X25519": ed25519_jwk(crv="X25519"),
    "Ed25519 of 31 octets": ed25519_jwk(x=base64url(bytes(31))),
    "the neutral point of Ed25519": ed25519_jwk(x=base64url(b"\x01" + bytes(31))),
    "private RSA": rsa_jwk(d="AQAB"),
    "private RSA by its primes alone": rsa_jwk(p="AQAB", q="AQAB"),
    "private EC": ec_jwk(d="AQAB"),
    "private Ed25519": ed25519_jwk(d="AQAB"),
    "a private member that is null": ed25519_jwk(d=None),
    "oct": {"kty": "oct", "k": "AQAB"},
    "oct without k": {"kty": "oct"},
    "a symmetric member in a public key": rsa_jwk(k="AQAB"),
    "unknown kty": {"kty": "AKP", "pub": "AQAB"},
    "kty in lower case": rsa_jwk(kty="rsa"),
    "kty as a list": rsa_jwk(kty=["RSA"]),
    "no kty": {"kid": "b"},
    "a string": "RSA",
    "null": None,
    "a list": [],
    "alg of an HMAC": rsa_jwk(alg="HS256"),
    "alg none": rsa_jwk(alg="none"),
    "alg of an encryption": rsa_jwk(alg="RSA-OAEP"),
    "alg of another type": rsa_jwk(alg="ES256"),
    "alg of another curve": ec_jwk("P-384", alg="ES256"),
    "alg as a list": rsa_jwk(alg=["RS256"]),
    "alg null": rsa_jwk(alg=None),
    "kid empty": ed25519_jwk(kid=""),
    "kid of 257 characters": ed25519_jwk(kid="k" * 257),
    "kid as a number": ed25519_jwk(kid=7),
    "kid null": ed25519_jwk(kid=None),
    "kid with a lone surrogate": ed25519_jwk(kid="\ud800"),
}


@pytest.mark.parametrize("member", DROPPED.values(), ids=DROPPED.keys())
def test_an_unfit_member_is_dropped_and_the_rest_kept(member: object) -> None:
    first, last = ed25519_jwk(kid="first"), ed25519_jwk(kid="last")

    content = parse_jwks(jwks(first, member, last))

    assert [key.key_id for key in content.keys] == ["first", "last"]
    assert [dropped.position for dropped in content.dropped] == [1]
    assert content.dropped[0].reason


KEPT: dict[str, tuple[Jwk, set[str]]] = {
    "RSA without alg serves every alg of its type": (rsa_jwk(), RSA_ALGORITHMS),
    "RSA with alg serves that one": (rsa_jwk(alg="PS384"), {"PS384"}),
    "RSA of 4096 bits": (rsa_jwk(bits=4096), RSA_ALGORITHMS),
    "RSA with e = 3": (rsa_jwk(exponent=3), RSA_ALGORITHMS),
    "RSA with e = 2^32 - 1": (rsa_jwk(exponent=2**32 - 1), RSA_ALGORITHMS),
    "P-256": (ec_jwk("P-256"), {"ES256"}),
    "P-384": (ec_jwk("P-384"), {"ES384"}),
    "P-521": (ec_jwk("P-521"), {"ES512"}),
    "P-256 with its alg": (ec_jwk("P-256", alg="ES256"), {"ES256"}),
    "Ed25519": (ed25519_jwk(), {"EdDSA"}),
    "use is sig": (ed25519_jwk(use="sig"), {"EdDSA"}),
    "key_ops with verify": (ed25519_jwk(key_ops=["verify", "sign"]), {"EdDSA"}),
    "kid of 256 characters": (ed25519_jwk(kid="k" * 256), {"EdDSA"}),
    "members that nobody knows": (ed25519_jwk(nbf=1.5e400, x5u="https://elsewhere.example", n=None), {"EdDSA"}),
}


@pytest.mark.parametrize(("member", "algorithms"), KEPT.values(), ids=KEPT.keys())
def test_a_fit_member_is_kept_for_its_algorithms(member: Jwk, algorithms: set[str]) -> None:
    content = parse_jwks(jwks(member).replace(b"Infinity", b"1e400"))

    assert content.dropped == ()
    assert content.keys[0].algorithms == algorithms
    assert content.keys[0].key_id == member.get("kid")


NO_KEY_SETS = {
    "empty": b"",
    "HTML": b"<html><body>502</body></html>",
    "truncated": jwks(ed25519_jwk())[:-5],
    "an array": b"[]",
    "no keys": b"{}",
    "keys is an object": b'{"keys": {}}',
    "keys is null": b'{"keys": null}',
    "keys named twice": b'{"keys": [], "keys": []}',
    "keys named twice, once by an escape": b'{"keys": [], "\\u006beys": []}',
    "NaN": b'{"keys": [NaN]}',
    "Infinity": b'{"keys": [-Infinity]}',
    "a byte order mark": b"\xef\xbb\xbf" + jwks(),
    "UTF-16": jwks().decode().encode("utf-16"),
    "bad UTF-8": b'{"keys": ["\xff"]}',
    "something after it": jwks() + b"{}",
    "nested too deep": b'{"keys": ' + b"[" * 100_000,
    "over 1 MiB": jwks() + b" " * MAX_DOCUMENT_BYTES,
    "half a million members": b'{"keys": [' + b"0," * 500_000 + b"0]}",
}


@pytest.mark.parametrize("document", NO_KEY_SETS.values(), ids=NO_KEY_SETS.keys())
def test_what_is_no_key_set_is_refused_as_a_whole(document: bytes) -> None:
    with pytest.raises(NotAKeySet):
        parse_jwks(document)


def test_a_huge_number_costs_neither_the_set_nor_time() -> None:
    document = b'{"version": ' + b"9" * 500_000 + b', "keys": [' + json.dumps(ed25519_jwk()).encode() + b"]}"

    assert len(parse_jwks(document).keys) == 1


def test_a_member_that_names_something_twice_is_dropped_alone() -> None:
    good = json.dumps(ed25519_jwk(kid="good")).encode()
    twice = good[:-1] + b', "kid": "other"}'

    content = parse_jwks(b'{"keys": [' + twice + b"," + good + b"]}")

    assert [key.key_id for key in content.keys] == ["good"]
    assert [dropped.position for dropped in content.dropped] == [0]


def test_of_two_usable_members_with_one_kid_the_first_stays() -> None:
    first, second = ed25519_jwk(kid="twin"), ed25519_jwk(kid="twin")

    content = parse_jwks(jwks(first, second))

    assert content.keys == parse_jwks(jwks(first)).keys
    assert [dropped.position for dropped in content.dropped] == [1]


def test_an_unusable_member_does_not_take_its_kid_from_a_usable_one() -> None:
    content = parse_jwks(jwks(ed25519_jwk(kid="twin", use="enc"), ed25519_jwk(kid="twin", use="sig")))

    assert [key.key_id for key in content.keys] == ["twin"]


def test_any_number_of_keys_may_lack_a_kid() -> None:
    assert len(parse_jwks(jwks(ed25519_jwk(), ed25519_jwk())).keys) == 2


def test_of_9_000_keys_the_first_256_are_kept_and_one_line_says_so() -> None:
    jwk = ed25519_jwk()

    content = parse_jwks(jwks(*({**jwk, "kid": str(number)} for number in range(9_000))))

    assert [key.key_id for key in content.keys] == [str(number) for number in range(MAX_MEMBERS)]
    assert [dropped.position for dropped in content.dropped] == [MAX_MEMBERS]


def test_the_kid_of_a_dropped_member_is_shown_escaped_and_cut() -> None:
    content = parse_jwks(jwks({"kty": "oct", "kid": "a\r\nlevel=error \x1b[31m" + "x" * 1000}))

    shown = content.dropped[0].shown_key_id
    assert shown.isprintable()
    assert shown.startswith("a\\r\\nlevel=error \\x1b[31m")
    assert len(shown) < 100


def test_thumbprint_of_the_example_in_rfc_7638_section_3_1() -> None:
    jwk: Jwk = {
        "kty": "RSA",
        "n": (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n"
            "3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zg"
            "dAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFC"
            "ur-kEgU8awapJzKnqDKgw"
        ),
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }

    assert parse_jwks(jwks(jwk)).keys[0].thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_thumbprint_of_the_example_in_rfc_8037_appendix_a_3() -> None:
    jwk: Jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

    assert parse_jwks(jwks(jwk)).keys[0].thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_leading_zero_octet_changes_neither_the_rsa_key_nor_its_thumbprint() -> None:
    plain = rsa_jwk()
    padded = {**plain, "n": base64url(b"\x00" + (1 << 2047 | 1).to_bytes(256, "big"))}

    assert parse_jwks(jwks(padded)).keys == parse_jwks(jwks(plain)).keys


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "k", "use", "key_ops", "alg", "kid"]),
    JSON | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "verify", "RS256", "AQAB", "A" * 43]),
)


def bend(jwk: Jwk, changes: Jwk) -> Jwk:
    return {**jwk, **changes}


BENT = st.builds(
    bend,
    st.sampled_from([rsa_jwk(kid="r"), ec_jwk(kid="e"), ed25519_jwk(kid="o")]),
    MEMBERS,
)


@given(st.lists(JSON | MEMBERS | BENT, max_size=5))
def test_any_members_leave_the_good_key_and_each_is_kept_or_dropped(members: list[object]) -> None:
    good = ed25519_jwk(kid="the good one" * 3)  # longer than any text that is drawn
    try:
        content = parse_jwks(jwks(*members, good))
    except NotAKeySet:
        assert b"NaN" in jwks(*members) or b"Infinity" in jwks(*members)
        return

    assert content.keys[-1].key_id == good["kid"]
    assert len(content.keys) + len(content.dropped) == len(members) + 1
    assert all(key.algorithms for key in content.keys)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_rubbish_raises_nothing_but_the_rooms_own_error(document: bytes) -> None:
    try:
        parse_jwks(document)
    except NotAKeySet:
        return
    assert b"keys" in document or b"\\u" in document

"""Which public keys are fit to verify with, and how a key is named whatever its `kid`.

Source of the bounds: docs/hostile-tokens.md row 20, RFC 7518 §3.3 to §3.5 and §6, RFC 8037.
"""

import base64
import hashlib
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidegate_sidecar.model import ALGORITHMS, CURVE_ALGORITHMS, RSA_ALGORITHMS, PublicKey, VerificationKey

MAX_KEY_ID_LENGTH = 256  # characters; docs/hostile-tokens.md row 5 refuses longer ones in tokens
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096  # 8192 bits cost 0.3 ms a check

# RFC 7518 §6.2.1.1: name and curve; §3.4: the one algorithm of each.
CURVES: Mapping[str, type[EllipticCurve]] = {"P-256": SECP256R1, "P-384": SECP384R1, "P-521": SECP521R1}

# The y of the points of order 1, 2, 4 and 8, with the two spellings past the field's modulus. For a key of small order
# anybody can make signatures (of the neutral point, R = the neutral point and S = 0 signs everything), and OpenSSL lets
# them pass. Source: RFC 8032 §5.1; libsodium's crypto_core_ed25519_is_valid_point refuses the same seven.
_ED25519_P = 2**255 - 19
_ED25519_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _ED25519_P - 1, _ED25519_Y8, _ED25519_P - _ED25519_Y8, _ED25519_P, _ED25519_P + 1})


class UnusableKey(Exception):
    """A key that must not verify anything. The message says why and holds no value of the key."""


def verification_key(public_key: PublicKey, *, key_id: str | None, algorithm: str | None) -> VerificationKey:
    """The noun for a public key that is fit for use.

    Args:
        algorithm: The only one to use it with. None: every one of its type and curve.

    Raises:
        UnusableKey: Too weak, too costly, or not made for `algorithm`; or a `kid` that no token can carry.
    """
    if key_id is not None:
        _check_key_id(key_id)
    algorithms = _algorithms_of(public_key)
    if algorithm is not None:
        if algorithm not in ALGORITHMS:
            raise UnusableKey("its alg is not one that tokens may be signed with")
        if algorithm not in algorithms:
            raise UnusableKey("its alg does not fit its type")
        algorithms = frozenset({algorithm})
    return VerificationKey(key_id, algorithms, _thumbprint(public_key), public_key)


def jwk_of(key: VerificationKey) -> dict[str, str]:
    """A key as a public JWK (RFC 7517): reading it again makes an equal key."""
    jwk = _required_members(key.public_key)
    if key.key_id is not None:
        jwk["kid"] = key.key_id
    if len(key.algorithms) == 1:
        jwk["alg"] = next(iter(key.algorithms))
    return jwk


def _check_key_id(key_id: str) -> None:
    if not 1 <= len(key_id) <= MAX_KEY_ID_LENGTH:
        raise UnusableKey(f"its kid is not of 1 to {MAX_KEY_ID_LENGTH} characters")
    try:
        key_id.encode()
    except UnicodeEncodeError:  # a lone surrogate, which protobuf cannot carry
        raise UnusableKey("its kid is not Unicode text") from None


def _algorithms_of(public_key: PublicKey) -> frozenset[str]:
    if isinstance(public_key, RSAPublicKey):
        if not MIN_RSA_BITS <= public_key.key_size <= MAX_RSA_BITS:
            raise UnusableKey(f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
        numbers = public_key.public_numbers()
        if not 3 <= numbers.e <= 2**32 or numbers.e % 2 == 0 or numbers.n % 2 == 0:
            raise UnusableKey("an RSA key's exponent must be odd, above 1 and at most 2^32, and its modulus odd")
        return RSA_ALGORITHMS
    if isinstance(public_key, EllipticCurvePublicKey):
        return frozenset({CURVE_ALGORITHMS[_curve_name(public_key)]})
    raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    if int.from_bytes(raw, "little") & (2**255 - 1) in _SMALL_ORDER_Y:
        raise UnusableKey("an Ed25519 key of small order vouches for anything")
    return frozenset({"EdDSA"})


def _curve_name(public_key: EllipticCurvePublicKey) -> str:
    for name, curve in CURVES.items():
        if isinstance(public_key.curve, curve):
            return name
    raise UnusableKey("its curve is none of P-256, P-384 and P-521")


def _required_members(public_key: PublicKey) -> dict[str, str]:
    """What makes the key, as RFC 7638 §3.2 and RFC 8037 §2 name it."""
    if isinstance(public_key, RSAPublicKey):
        numbers = public_key.public_numbers()
        return {"e": _integer(numbers.e), "kty": "RSA", "n": _integer(numbers.n)}
    if isinstance(public_key, EllipticCurvePublicKey):
        point = public_key.public_numbers()
        size = (public_key.curve.key_size + 7) // 8
        return {
            "crv": _curve_name(public_key),
            "kty": "EC",
            "x": _base64url(point.x.to_bytes(size, "big")),
            "y": _base64url(point.y.to_bytes(size, "big")),
        }
    raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}


def _thumbprint(public_key: PublicKey) -> str:
    """RFC 7638 §3: the required members alone, sorted, without white space."""
    text = json.dumps(_required_members(public_key), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def _integer(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

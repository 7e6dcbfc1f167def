"""Keys and key sets to test with."""

import base64
import json
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sidegate_sidecar.keys import JwksContent, parse_jwks
from sidegate_sidecar.model import VerificationKey

Jwk = dict[str, object]


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def integer(number: int) -> str:
    return base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def ed25519_jwk(**members: object) -> Jwk:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), **members}


def rsa_jwk(*, bits: int = 2048, exponent: int = 65537, **members: object) -> Jwk:
    """Nobody signs with it, so its modulus need not be a product of primes."""
    return {"kty": "RSA", "n": integer(1 << (bits - 1) | 1), "e": integer(exponent), **members}


_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}


@cache
def _point(curve: str) -> tuple[str, str]:
    point = ec.generate_private_key(_CURVES[curve]()).public_key().public_numbers()
    size = (_CURVES[curve]().key_size + 7) // 8
    return base64url(point.x.to_bytes(size, "big")), base64url(point.y.to_bytes(size, "big"))


def ec_jwk(curve: str = "P-256", **members: object) -> Jwk:
    x, y = _point(curve)
    return {"kty": "EC", "crv": curve, "x": x, "y": y, **members}


@cache
def real_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def jwks(*members: object) -> bytes:
    return json.dumps({"keys": members}).encode()


def named_keys(*key_ids: str) -> JwksContent:
    """The same key for the same name, in the order given."""
    return JwksContent(tuple(_named_key(key_id) for key_id in key_ids))


@cache
def _named_key(key_id: str) -> VerificationKey:
    return parse_jwks(jwks(ed25519_jwk(kid=key_id))).keys[0]

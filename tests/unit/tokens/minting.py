"""An issuer for tests: keys, tokens of any shape, and what plain jwt.decode makes of them.

Tokens are signed with PyJWT's algorithms, so that ours are never checked against themselves.
"""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.types import Options
from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import ALGORITHMS, SECOND, Demand, KeySet, Micros, PublicKey, Reason, VerificationKey
from sidegate_sidecar.tokens import IssuerPolicy, TokenClaims, verify_token

NOW = int(time.time())  # the real time, for nobody can hand jwt.decode another
NOW_MICROS: Micros = NOW * SECOND
ISSUER = "https://issuer.example"
KEY_ID = "key-1"

CLAIMS: Mapping[str, object] = {
    "iss": ISSUER,
    "sub": "user-7f3a",
    "sid": "session-91c2",
    "aud": ["orders", "billing"],
    "iat": NOW - 60,
    "exp": NOW + 3600,
}
POLICY = IssuerPolicy(issuer=ISSUER, session_claim="sid", max_token_lifetime=24 * 3600 * SECOND, leeway=30 * SECOND)

Json = Mapping[str, object] | bytes
"""A JSON object, or the very bytes to stand in its place."""


@dataclass(frozen=True)
class Signer:
    """A private key and the algorithm that it signs with."""

    algorithm: str
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    def sign(self, data: bytes) -> bytes:
        return jwt.get_algorithm_by_name(self.algorithm).sign(data, self.private_key)

    def key(self, key_id: str | None = KEY_ID, algorithms: frozenset[str] | None = None) -> VerificationKey:
        return VerificationKey(key_id, algorithms or frozenset({self.algorithm}), f"of {key_id}", self.public_key)

    def key_set(self) -> KeySet:
        return KeySet(1, (self.key(),))


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def signer(algorithm: str) -> Signer:
    """The same signer for the same algorithm; those of RSA share one key."""
    match algorithm:
        case "ES256":
            return Signer(algorithm, ec.generate_private_key(ec.SECP256R1()))
        case "ES384":
            return Signer(algorithm, ec.generate_private_key(ec.SECP384R1()))
        case "ES512":
            return Signer(algorithm, ec.generate_private_key(ec.SECP521R1()))
        case "EdDSA":
            return Signer(algorithm, Ed25519PrivateKey.generate())
        case _:
            return Signer(algorithm, _rsa_key())


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(value: Json) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def header(algorithm: str = "RS256", **members: object) -> dict[str, object]:
    return {"alg": algorithm, "kid": KEY_ID, **members}


def claims_with(**members: object) -> dict[str, object]:
    return {**CLAIMS, **members}


def claims_without(*names: str) -> dict[str, object]:
    return {name: value for name, value in CLAIMS.items() if name not in names}


def json_with(member: str, base: Mapping[str, object] = CLAIMS) -> bytes:
    """The object's JSON with one more member, given as JSON text."""
    return as_bytes(base)[:-1] + b"," + member.encode() + b"}"


def sign(signing_input: str, algorithm: str = "RS256") -> str:
    return f"{signing_input}.{base64url(signer(algorithm).sign(signing_input.encode()))}"


def mint(payload: Json = CLAIMS, head: Json | None = None, *, algorithm: str = "RS256") -> str:
    """A token that is properly signed, whatever its parts are."""
    parts = (header(algorithm) if head is None else head, payload)
    return sign(".".join(base64url(as_bytes(part)) for part in parts), algorithm)


def verify(
    text: str,
    policy: IssuerPolicy = POLICY,
    demand: Demand | None = None,
    *,
    now: Micros = NOW_MICROS,
    key_set: KeySet | None = None,
) -> TokenClaims:
    return verify_token(text, key_set or key_set_of_all(), policy, demand, now)


def refusal(
    text: str,
    policy: IssuerPolicy = POLICY,
    demand: Demand | None = None,
    *,
    now: Micros = NOW_MICROS,
    key_set: KeySet | None = None,
) -> Reason:
    """Why the token is refused; it is an error if it is not. The message must give nothing of the token away."""
    with pytest.raises(Rejected) as refused:
        verify(text, policy, demand, now=now, key_set=key_set)
    for part in text.split("."):
        assert len(part) < 8 or part not in refused.value.message
    for value in CLAIMS.values():
        assert str(value) not in refused.value.message
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 200
    return refused.value.reason


@cache
def key_set_of_all() -> KeySet:
    """An RSA key under KEY_ID that serves every RSA algorithm, and one key for each other algorithm under its name."""
    rsa_algorithms = frozenset(name for name in ALGORITHMS if name[0] in "RP")
    others = sorted(ALGORITHMS - rsa_algorithms)
    return KeySet(1, (signer("RS256").key(KEY_ID, rsa_algorithms), *(signer(name).key(name) for name in others)))


STRICTEST: Options = {
    "require": ["exp", "iat", "sub", "iss", "aud"],
    "verify_signature": True,
    "verify_aud": True,
    "verify_exp": True,
    "verify_iat": True,
    "verify_iss": True,
    "verify_jti": True,
    "verify_nbf": True,
    "verify_sub": True,
    "enforce_minimum_key_length": True,
}


def plain_decode(text: str, algorithm: str = "RS256") -> Mapping[str, object]:
    """What plain jwt.decode makes of the token, at the strictest options that our tokens could live with."""
    return jwt.decode(
        text,
        signer(algorithm).public_key,
        algorithms=[algorithm],
        options=STRICTEST,
        audience="orders",
        issuer=ISSUER,
        leeway=0,
    )

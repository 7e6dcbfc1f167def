"""An issuer of access tokens: real keys, real signatures, and any claims that a test wants."""

import json
import time
from collections.abc import Mapping
from itertools import count
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey

ALGORITHMS = ("RS256", "ES256", "EdDSA")
TOKEN_SECONDS = 600


class FakeIssuer:
    """Signs with one current key for each algorithm; `rotate` replaces one.

    Args:
        name: Its `iss`.
    """

    def __init__(self, name: str = "https://issuer.example") -> None:
        self.name = name
        self._numbers = count(1)
        self._keys: dict[str, tuple[str, PrivateKey]] = {}
        for algorithm in ALGORITHMS:
            self.rotate(algorithm)

    def rotate(self, algorithm: str) -> str:
        """Sign with a new key from now on, and publish it in place of the old one. Its `kid`."""
        key_id = f"{algorithm}-{next(self._numbers)}"
        self._keys[algorithm] = (key_id, _new_key(algorithm))
        return key_id

    def key_id(self, algorithm: str) -> str:
        """The `kid` of the current key."""
        return self._keys[algorithm][0]

    def jwks(self) -> bytes:
        """What it publishes: the public halves of its current keys."""
        members = [
            {**_public_jwk(key), "kid": key_id, "use": "sig", "alg": algorithm}
            for algorithm, (key_id, key) in self._keys.items()
        ]
        return json.dumps({"keys": members}).encode()

    def mint(
        self,
        user_id: str = "alice",
        session_handle: str = "session-1",
        *,
        algorithm: str = "ES256",
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token good for ten minutes, unless `claims` or `headers` say otherwise. A claim of None is left out."""
        now = int(time.time())
        content: dict[str, object] = {
            "iss": self.name,
            "sub": user_id,
            "sid": session_handle,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            **claims,
        }
        key_id, key = self._keys[algorithm]
        return jwt.encode(
            {name: value for name, value in content.items() if value is not None},
            key,
            algorithm=algorithm,
            headers={"kid": key_id, **(headers or {})},
        )


def with_another_signature(token: str) -> str:
    """The same token, its signature changed in one bit."""
    signing_input, _, signature = token.rpartition(".")
    return f"{signing_input}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _new_key(algorithm: str) -> PrivateKey:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(65537, 2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return Ed25519PrivateKey.generate()


def _public_jwk(key: PrivateKey) -> dict[str, Any]:
    match key:
        case rsa.RSAPrivateKey():
            return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case Ed25519PrivateKey():
            return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)

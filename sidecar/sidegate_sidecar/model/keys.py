"""Keys, and what they may verify."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVE_ALGORITHMS: Mapping[str, str] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALGORITHMS = RSA_ALGORITHMS | frozenset(CURVE_ALGORITHMS.values()) | {"EdDSA"}
"""All that a token may ever be signed with, by JWS name; an issuer entry can only narrow it."""

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key of an issuer.

    Attributes:
        key_id: Its `kid`, if it has one.
        algorithms: The JWS algorithms that it may verify: the one that its JWK pins, else all of its type and curve.
        thumbprint: RFC 7638, SHA-256, base64url without padding. Names the key whatever its `kid`.
        serves_any_key_id: Whether it also verifies tokens whose `kid` no key has: it is the issuer's one key, from a
            source that cannot name it.
    """

    key_id: str | None
    algorithms: frozenset[str]
    thumbprint: str
    public_key: PublicKey
    serves_any_key_id: bool = False


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable public keys of one issuer. `generation` grows with each change; 0 is the set before the first.

    Attributes:
        by_id: The keys that have a `kid`, by it. Of two that share one, the first.
    """

    generation: int
    keys: tuple[VerificationKey, ...]
    by_id: Mapping[str, VerificationKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Reversed, so that the first of a shared `kid` is written last and stays.
        by_id = {key.key_id: key for key in reversed(self.keys) if key.key_id is not None}
        object.__setattr__(self, "by_id", by_id)

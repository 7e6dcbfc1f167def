"""Reading a JWK set: the keys that are fit for use, and why each other member is not. Pure."""

import base64
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from sidegate_sidecar.keys.public_keys import CURVES, MAX_RSA_BITS, UnusableKey, verification_key
from sidegate_sidecar.keys.strict_json import Json, NotStrictJson, parse_strict_json
from sidegate_sidecar.model import PublicKey, VerificationKey

MAX_DOCUMENT_BYTES = 1024 * 1024  # 256 keys, each with a chain of certificates of 4 kB
MAX_MEMBERS = 256

# RFC 7518 §6.2.2, §6.3.2 and §6.4, RFC 8037 §2. A key that was published is no secret; this one was.
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_KEY_ID_LENGTH = 64


class NotAKeySet(Exception):
    """The document is no JWK set. The message says why, for an operator, and holds nothing of the document."""


@dataclass(frozen=True, slots=True)
class DroppedMember:
    """A member of a JWK set that is not used.

    Attributes:
        position: Its place in `keys`, from 0.
        shown_key_id: Its `kid`, escaped and cut so that it may be logged. Empty if it has none.
        reason: One sentence without anything of the document.
    """

    position: int
    shown_key_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class JwksContent:
    """What a JWK set holds. No two of `keys` share a `kid`."""

    keys: tuple[VerificationKey, ...]
    dropped: tuple[DroppedMember, ...] = ()


def parse_jwks(document: bytes) -> JwksContent:
    """Read a JWK set (RFC 7517 §5). A member that is not fit for use is dropped, and never costs the others.

    Raises:
        NotAKeySet: Over 1 MiB, not strict JSON, or without an array `keys`.

    Source of what is dropped: docs/hostile-tokens.md rows 2, 3 and 20.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise NotAKeySet(f"it is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        root = parse_strict_json(document)
    except NotStrictJson as error:
        raise NotAKeySet(str(error)) from None
    members = root.get("keys") if isinstance(root, dict) else None
    if not isinstance(members, list):
        raise NotAKeySet("it is not a JSON object with an array `keys`")

    keys: list[VerificationKey] = []
    dropped: list[DroppedMember] = []
    taken: set[str] = set()
    for position, member in enumerate(members[:MAX_MEMBERS]):
        try:
            key = _key_from(member, taken)
        except UnusableKey as error:
            dropped.append(DroppedMember(position, _shown_key_id(member), str(error)))
            continue
        if key.key_id is not None:
            taken.add(key.key_id)
        keys.append(key)
    if len(members) > MAX_MEMBERS:
        dropped.append(DroppedMember(MAX_MEMBERS, "", f"it and all after it exceed the limit of {MAX_MEMBERS} members"))
    return JwksContent(tuple(keys), tuple(dropped))


def _key_from(member: Json, taken: set[str]) -> VerificationKey:
    if not isinstance(member, dict):
        raise UnusableKey("it is not an object, or names a member twice")
    if not _PRIVATE_MEMBERS.isdisjoint(member):
        raise UnusableKey("it holds a private or symmetric key")
    if "use" in member and member["use"] != "sig":
        raise UnusableKey("its use is not sig")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKey("its key_ops lack verify")
    key_id = _text(member, "kid") if "kid" in member else None
    if key_id in taken:
        raise UnusableKey("a usable member before it has the same kid")
    return verification_key(
        _public_key_from(member),
        key_id=key_id,
        algorithm=_text(member, "alg") if "alg" in member else None,
    )


def _public_key_from(jwk: dict[str, Json]) -> PublicKey:
    kty = jwk.get("kty")
    try:
        if kty == "RSA":
            return _rsa_key(jwk)
        if kty == "EC":
            return _ec_key(jwk)
        if kty == "OKP" and jwk.get("crv") == "Ed25519":
            return Ed25519PublicKey.from_public_bytes(_octets(jwk, "x"))
    except ValueError:  # cryptography's; its text may quote the key
        raise UnusableKey("its values make no key") from None
    raise UnusableKey("its kty and crv are not those of a key that tokens are verified with")


def _rsa_key(jwk: dict[str, Json]) -> PublicKey:
    # Measured before they become numbers: OpenSSL takes its time over a modulus of a megabyte. One octet may lead.
    modulus, exponent = _octets(jwk, "n"), _octets(jwk, "e")
    if len(modulus) > MAX_RSA_BITS // 8 + 1 or len(exponent) > 8:
        raise UnusableKey(f"an RSA key must have at most {MAX_RSA_BITS} bits and an exponent of at most 8 octets")
    return RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()


def _ec_key(jwk: dict[str, Json]) -> PublicKey:
    curve_type = CURVES.get(_text(jwk, "crv"))
    if curve_type is None:
        raise UnusableKey("its crv is none of P-256, P-384 and P-521")
    curve, x, y = curve_type(), _octets(jwk, "x"), _octets(jwk, "y")
    size = (curve.key_size + 7) // 8
    if len(x) != size or len(y) != size:  # RFC 7518 §6.2.1.2: the full size of a coordinate
        raise UnusableKey("its coordinates are not of its curve's size")
    # Refuses a point that is not on the curve.
    return EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve).public_key()


def _text(jwk: dict[str, Json], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise UnusableKey(f"its {name} is not a string")
    return value


def _octets(jwk: dict[str, Json], name: str) -> bytes:
    """RFC 7515 §2: base64url, no padding, no other character."""
    text = _text(jwk, name)
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise UnusableKey(f"its {name} is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _shown_key_id(member: Json) -> str:
    key_id = member.get("kid") if isinstance(member, dict) else None
    if not isinstance(key_id, str):
        return ""
    return key_id[:_SHOWN_KEY_ID_LENGTH].encode("unicode_escape").decode()

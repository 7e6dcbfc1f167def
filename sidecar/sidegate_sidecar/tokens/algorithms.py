"""The signature algorithms: how each verifies, and no more than these."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from sidegate_sidecar.model import PublicKey

Verifies: TypeAlias = Callable[[PublicKey, bytes, bytes], bool]
"""Whether a key verifies a signature (second) over the data (third). False for a key of another type or curve."""

_Hash: TypeAlias = SHA256 | SHA384 | SHA512


def _rsa(scheme: padding.PKCS1v15 | padding.PSS, digest: _Hash) -> Verifies:
    """RSASSA-PKCS1-v1_5 or RSASSA-PSS [RFC 7518 §3.3, §3.5].

    The signature is as long as the modulus [RFC 8017 §8.1.2, §8.2.2]. OpenSSL does not insist on that for PSS: it takes
    a signature that begins with a zero byte without that byte too, which would be a second spelling of one token.
    """

    def verifies(key: PublicKey, signature: bytes, data: bytes) -> bool:
        if not isinstance(key, RSAPublicKey) or len(signature) != (key.key_size + 7) // 8:
            return False
        try:
            key.verify(signature, data, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return verifies


def _pss(digest: _Hash) -> Verifies:
    return _rsa(padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size), digest)


def _ecdsa(curve: ec.EllipticCurve, digest: _Hash) -> Verifies:
    """ECDSA [RFC 7518 §3.4]: r and s as big-endian integers of the order's length, one after the other, and not DER.

    Both lie in [1, order - 1] [CVE-2022-21449]. The twin with s' = order - s is as valid as its sibling.
    """
    order = curve.group_order
    size = (order.bit_length() + 7) // 8
    # Big-endian bytes of one length compare as their numbers do, and cost no conversion.
    zero, top = bytes(size), order.to_bytes(size, "big")
    scheme = ec.ECDSA(digest)

    def verifies(key: PublicKey, signature: bytes, data: bytes) -> bool:
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve.name:
            return False
        if len(signature) != 2 * size:
            return False
        r, s = signature[:size], signature[size:]
        if not (zero < r < top and zero < s < top):
            return False
        try:
            key.verify(der_signature(r, s), data, scheme)
        except InvalidSignature:
            return False
        return True

    return verifies


# What precedes the content, by its length [X.690 §8.1.3]. A sign byte keeps an integer whose top bit is set positive.
# The longest content is that of P-521: two integers of 66 bytes, each with two before them.
_INTEGER = [b"\x02" + bytes([length]) for length in range(67)]
_INTEGER_WITH_SIGN_BYTE = [b"\x02" + bytes([length + 1]) + b"\x00" for length in range(67)]
_SEQUENCE = [b"\x30" + (b"" if length < 128 else b"\x81") + bytes([length]) for length in range(137)]


def der_signature(r: bytes, s: bytes) -> bytes:
    """Ecdsa-Sig-Value in DER [RFC 3279 §2.2.3] of two big-endian numbers, neither of them zero or above 66 bytes.

    By way of integers and `encode_dss_signature` it takes 1 µs more, a hundredth of what an ES256 check costs.
    """
    content = _der_integer(r) + _der_integer(s)
    return _SEQUENCE[len(content)] + content


def _der_integer(number: bytes) -> bytes:
    digits = number.lstrip(b"\x00")
    return (_INTEGER_WITH_SIGN_BYTE if digits[0] >= 0x80 else _INTEGER)[len(digits)] + digits


def _ed25519(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """EdDSA over Ed25519 [RFC 8037 §3.1]. Length and range of the signature are checked beneath."""
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


VERIFIES: Mapping[str, Verifies] = {
    "RS256": _rsa(padding.PKCS1v15(), SHA256()),
    "RS384": _rsa(padding.PKCS1v15(), SHA384()),
    "RS512": _rsa(padding.PKCS1v15(), SHA512()),
    "PS256": _pss(SHA256()),
    "PS384": _pss(SHA384()),
    "PS512": _pss(SHA512()),
    "ES256": _ecdsa(ec.SECP256R1(), SHA256()),
    "ES384": _ecdsa(ec.SECP384R1(), SHA384()),
    "ES512": _ecdsa(ec.SECP521R1(), SHA512()),
    "EdDSA": _ed25519,
}
"""By JWS name, each of ALGORITHMS. Neither "none" nor anything symmetric is here, so nothing can select it.

Source: RFC 8725 §3.1, §3.2.
"""

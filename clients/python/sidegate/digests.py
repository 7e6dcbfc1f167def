"""The digests by which the revocation feed names sessions, users and tenants. feed.proto specifies them."""

from hashlib import blake2b

DIGEST_BYTES = 16

SESSION, USER, TENANT = b"s", b"u", b"t"


def digest_of(salt: bytes, kind: bytes, issuer: str, subject: str) -> bytes:
    """The digest of a subject that is scoped by its issuer, e.g. of a session handle.

    Args:
        salt: From the feed's hello; 1 to 64 bytes.
        kind: SESSION, USER or TENANT.
    """
    issuer_bytes, subject_bytes = issuer.encode(), subject.encode()
    # The lengths keep ("ab", "c") and ("a", "bc") apart.
    named = b"".join(
        (kind, len(issuer_bytes).to_bytes(4, "big"), issuer_bytes, len(subject_bytes).to_bytes(4, "big"), subject_bytes)
    )
    return blake2b(named, key=salt, digest_size=DIGEST_BYTES).digest()

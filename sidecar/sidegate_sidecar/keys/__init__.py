"""The issuers' public keys: fetched, checked, kept and rotated."""

from sidegate_sidecar.keys.jwks import DroppedMember, JwksContent, NotAKeySet, parse_jwks
from sidegate_sidecar.keys.ring import KeyRing
from sidegate_sidecar.keys.sources import (
    Discovery,
    IssuerKeysConfig,
    JwksFile,
    JwksUrl,
    KeySource,
    PemFile,
    check_headers,
)

__all__ = [
    "Discovery",
    "DroppedMember",
    "IssuerKeysConfig",
    "JwksContent",
    "JwksFile",
    "JwksUrl",
    "KeyRing",
    "KeySource",
    "NotAKeySet",
    "PemFile",
    "check_headers",
    "parse_jwks",
]

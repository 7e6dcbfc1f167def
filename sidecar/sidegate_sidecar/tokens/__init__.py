"""Strict parsing of access tokens, signatures and claim checks. Pure: no I/O, no clock of its own."""

from sidegate_sidecar.tokens.claims import TokenClaims, check_claims, check_expiry, issuer_of, read_claims
from sidegate_sidecar.tokens.jws import MAX_TOKEN_BYTES, ParsedToken, parse_token
from sidegate_sidecar.tokens.policy import MAX_LEEWAY, IssuerPolicy
from sidegate_sidecar.tokens.signature import candidate_keys, verify_signature
from sidegate_sidecar.tokens.verification import verify_token

__all__ = [
    "MAX_LEEWAY",
    "MAX_TOKEN_BYTES",
    "IssuerPolicy",
    "ParsedToken",
    "TokenClaims",
    "candidate_keys",
    "check_claims",
    "check_expiry",
    "issuer_of",
    "parse_token",
    "read_claims",
    "verify_signature",
    "verify_token",
]

"""What a token's claims, the register and the revocations come to. Pure. The rules are those of docs/concepts.md, "How
Verify decides"; one table of tests runs against the fake and a real sidecar, so that they stay the same.
"""

from dataclasses import dataclass
from typing import Literal

from sidegate.errors import SessionRejected
from sidegate.testing.store import Facts
from sidegate.testing.tokens import SECOND, TokenClaims, rejected
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import NextAction, RejectionReason

# The sidecar's defaults (docs/configuration.md).
LEEWAY = 2 * SECOND
CLOCK_SKEW = 2 * SECOND
MAX_TOKEN_LIFETIME = 24 * 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Policy:
    """What an issuer entry of the settings would say.

    Attributes:
        audiences: `aud` must name one of them. Empty: unchecked, unless the demand names some.
        anti_csrf_required: Every demand must bring the anti-CSRF token.
        unknown_sessions: What `check_database` says of a session that nobody registered.
    """

    audiences: frozenset[str] = frozenset()
    anti_csrf_required: bool = False
    unknown_sessions: Literal["accept", "reject"] = "accept"


def check_claims(claims: TokenClaims, policy: Policy, demand: VerifyRequest, now: int) -> None:
    """Check what depends on the time, the policy or the demand.

    Raises:
        SessionRejected: In this order: EXPIRED, NOT_YET_VALID, LIFETIME_TOO_LONG, WRONG_AUDIENCE, WRONG_TENANT,
            ANTI_CSRF_MISMATCH.
    """
    if claims.expire_time <= now:
        raise rejected(RejectionReason.EXPIRED, "the token has expired")
    if max(claims.not_before or 0, claims.issue_time) > now + LEEWAY:
        raise rejected(RejectionReason.NOT_YET_VALID, "the token's nbf or iat lies in the future")
    if claims.expire_time - claims.issue_time > MAX_TOKEN_LIFETIME:
        raise rejected(RejectionReason.LIFETIME_TOO_LONG, "the token lives longer than the maximum")
    for accepted in (policy.audiences, demand.accepted_audiences):
        if accepted and frozenset(claims.audiences).isdisjoint(accepted):
            raise rejected(RejectionReason.WRONG_AUDIENCE, "the token's aud names none of the accepted audiences")
    if demand.HasField("tenant_id") and demand.tenant_id != claims.tenant_id:
        raise rejected(RejectionReason.WRONG_TENANT, "the token belongs to another tenant")
    if (policy.anti_csrf_required or demand.HasField("anti_csrf_token")) and (
        not claims.anti_csrf_token or demand.anti_csrf_token != claims.anti_csrf_token
    ):
        raise rejected(RejectionReason.ANTI_CSRF_MISMATCH, "the anti-CSRF token is absent or another")


def check_record(facts: Facts, claims: TokenClaims, policy: Policy, now: int) -> None:
    """Check a session against the register.

    Raises:
        SessionRejected: SESSION_NOT_FOUND, WRONG_TENANT or SESSION_EXPIRED.
    """
    record = facts.record
    if record is None:
        if policy.unknown_sessions == "reject":
            raise rejected(RejectionReason.SESSION_NOT_FOUND, "nobody registered the session")
    elif record.user_id != claims.user_id:
        raise rejected(RejectionReason.SESSION_NOT_FOUND, "the session is registered for another user")
    elif record.tenant_id != claims.tenant_id:
        raise rejected(RejectionReason.WRONG_TENANT, "the session is registered for another tenant")
    elif record.session_expire_time <= now:
        raise rejected(RejectionReason.SESSION_EXPIRED, "the session has expired")


def check_coverage(facts: Facts, claims: TokenClaims, *, asked: bool) -> bool:
    """Refuse a session that a revocation covers.

    Args:
        asked: Whether the register has been asked: a token dated within the clock skew of a revocation is judged by it.

    Returns:
        Whether the register has to be asked. Never true if it has been.

    Raises:
        SessionRejected: KEY_REVOKED, SESSION_REVOKED, USER_REVOKED or TENANT_REVOKED.
    """
    if facts.key_revoked:
        raise rejected(RejectionReason.KEY_REVOKED, "the key that verified the token was revoked")
    if facts.session_revoked:
        raise rejected(RejectionReason.SESSION_REVOKED, "the session was revoked")
    ambiguous = False
    for watermark, reason in (
        (facts.user_watermark, RejectionReason.USER_REVOKED),
        (facts.tenant_watermark, RejectionReason.TENANT_REVOKED),
    ):
        if watermark is None or claims.issue_time > watermark + max(CLOCK_SKEW, LEEWAY):
            continue
        if claims.issue_time < watermark - CLOCK_SKEW:
            raise rejected(reason, "sessions of that time were revoked")
        ambiguous = True
        if asked:
            _check_registered_later(facts, claims, watermark, reason)
    return ambiguous and not asked


def _check_registered_later(facts: Facts, claims: TokenClaims, watermark: int, reason: RejectionReason) -> None:
    record = facts.record
    if record is None or (record.user_id, record.tenant_id) != (claims.user_id, claims.tenant_id):
        raise _ambiguous(reason)
    if record.create_time <= watermark:
        raise rejected(reason, "sessions of that time were revoked")


def _ambiguous(reason: RejectionReason) -> SessionRejected:
    """Refreshing helps: the next token is dated clear of the revocation."""
    return rejected(
        reason, "the token was issued within the clock skew of a revocation", next_action=NextAction.REFRESH
    )

"""What revocations and the session's record mean for a token. Pure."""

from sidegate_sidecar.errors import ForeignRevision, Rejected, RevisionNotReached
from sidegate_sidecar.model import Coverage, Micros, NextAction, Reason, Revision, SessionRecord, StoreFacts, Subject
from sidegate_sidecar.tokens import IssuerPolicy, TokenClaims


def check_freshness(seen: Revision, wanted: Revision) -> None:
    """Check that a store has come as far as it was asked to be: a restored backup may not have.

    Raises:
        RevisionNotReached: It is behind.
        ForeignRevision: It is another store.
    """
    if seen.store_id != wanted.store_id:
        raise ForeignRevision("the revision belongs to another store than this sidecar's")
    if seen.sequence < wanted.sequence:
        raise RevisionNotReached("the store itself has not come to that revision")


def check_record(record: SessionRecord | None, subject: Subject, policy: IssuerPolicy, now: Micros) -> None:
    """Check a session against the register. For `check_database`; `check_coverage` sees to revocations.

    Raises:
        Rejected: SESSION_NOT_FOUND, WRONG_TENANT or SESSION_EXPIRED.
    """
    if record is None:
        if policy.unknown_sessions_rejected:
            raise Rejected(Reason.SESSION_NOT_FOUND, "nobody registered the session")
        return
    if record.user_id != subject.user_id:
        raise Rejected(Reason.SESSION_NOT_FOUND, "the session is registered for another user")
    if record.tenant_id != subject.tenant_id:
        raise Rejected(Reason.WRONG_TENANT, "the session is registered for another tenant")
    if record.session_expire_time <= now:
        raise Rejected(Reason.SESSION_EXPIRED, "the session has expired")


def check_coverage(
    coverage: Coverage, claims: TokenClaims, policy: IssuerPolicy, subject: Subject, facts: StoreFacts | None
) -> bool:
    """Refuse a session that a revocation covers.

    The instant that a token names and the T of a watermark come from two clocks. Nearer than the issuer's clock skew
    they cannot be compared; then the register decides, whose `create_time` and T were ordered under one lock. A token
    may be dated ahead by as much as the leeway and be taken for good, so that much after T nothing is clear of it.

    A session that the register has as begun by T is covered, however late its token was issued: one that had ended
    before T was not revoked by its handle, and its issuer may have refreshed it all the same.

    Args:
        facts: What the store knows, once it has been asked.

    Returns:
        Whether it can only be said after asking the store. Never true if `facts` is given.

    Raises:
        Rejected: KEY_REVOKED, SESSION_REVOKED, USER_REVOKED or TENANT_REVOKED.
    """
    if coverage.key_revoked:
        raise Rejected(Reason.KEY_REVOKED, "the key that verified the token was revoked")
    if coverage.session_revoked:
        raise Rejected(Reason.SESSION_REVOKED, "the session was revoked")
    ambiguous = False
    clear_after = max(policy.issuer_clock_skew, policy.leeway)
    record = None if facts is None else _own_record(facts, subject)
    for watermark, reason, whose in (
        (coverage.user_watermark, Reason.USER_REVOKED, "user"),
        (coverage.tenant_watermark, Reason.TENANT_REVOKED, "tenant"),
    ):
        if watermark is None:
            continue
        if record is not None and record.create_time <= watermark:
            raise Rejected(reason, f"the {whose}'s sessions of that time were revoked")
        if claims.begin_time > watermark + clear_after:
            continue
        if claims.begin_time < watermark - policy.issuer_clock_skew:
            raise Rejected(reason, f"the {whose}'s sessions of that time were revoked")
        if facts is None:
            ambiguous = True
        elif record is None:
            raise Rejected(
                reason,
                f"the token was issued within the clock skew of a revocation of its {whose}",
                next_action=_after_ambiguity(policy),
            )
    return ambiguous


def _own_record(facts: StoreFacts, subject: Subject) -> SessionRecord | None:
    """What is registered under the handle, if that is the session of the token's own user and tenant."""
    record = facts.record
    if record is None or (record.user_id, record.tenant_id) != (subject.user_id, subject.tenant_id):
        return None
    return record


def _after_ambiguity(policy: IssuerPolicy) -> NextAction:
    """A refreshed token carries a later `iat` and is clear of the watermark; `auth_time` stays what it was for ever."""
    return NextAction.REFRESH if policy.begin_claim is None else NextAction.REAUTHENTICATE

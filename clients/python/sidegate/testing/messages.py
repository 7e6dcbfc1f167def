"""From the fake's values to the messages of sidegate.v1. Pure."""

from google.protobuf.timestamp_pb2 import Timestamp

from sidegate.testing.store import Entry, Kind, Record, Wanted
from sidegate.testing.tokens import SECOND, TokenClaims
from sidegate.v1 import revocation_pb2, session_pb2
from sidegate.verdicts import Rejection, Revision

_KINDS = {
    Kind.SESSION: revocation_pb2.REVOCATION_KIND_SESSION,
    Kind.USER: revocation_pb2.REVOCATION_KIND_USER,
    Kind.TENANT: revocation_pb2.REVOCATION_KIND_TENANT,
    Kind.KEY: revocation_pb2.REVOCATION_KIND_KEY,
}


def revision_from(revision: Revision) -> session_pb2.Revision:
    """A position in the log."""
    return session_pb2.Revision(store_id=revision.store_id, sequence=revision.sequence)


def timestamp_from(instant: int) -> Timestamp:
    """An instant."""
    return Timestamp(seconds=instant // SECOND, nanos=instant % SECOND * 1000)


def micros_from(timestamp: Timestamp) -> int:
    """An instant as microseconds."""
    return timestamp.seconds * SECOND + timestamp.nanos // 1000


def session_from(claims: TokenClaims, issuer: str) -> session_pb2.Session:
    """Whose session a good token belongs to."""
    return session_pb2.Session(
        issuer=issuer,
        session_handle=claims.session_handle,
        user_id=claims.user_id,
        tenant_id=claims.tenant_id,
        token_issue_time=timestamp_from(claims.issue_time),
        token_expire_time=timestamp_from(claims.expire_time),
        claims_json=claims.claims_json,
    )


def rejection_from(rejection: Rejection) -> session_pb2.Rejection:
    """Why a token is not good."""
    return session_pb2.Rejection(
        reason=session_pb2.RejectionReason.Value(f"REJECTION_REASON_{rejection.reason}"),
        next_action=session_pb2.NextAction.Value(f"NEXT_ACTION_{rejection.next_action}"),
        message=rejection.message,
    )


def wanted_from(request: revocation_pb2.RegisterSessionRequest) -> Wanted:
    """A session to register."""
    return Wanted(
        session_handle=request.session_handle,
        user_id=request.user_id,
        tenant_id=request.tenant_id,
        session_expire_time=micros_from(request.session_expire_time),
        create_time=micros_from(request.create_time) if request.HasField("create_time") else None,
    )


def registered_session_from(record: Record, issuer: str, now: int) -> session_pb2.RegisteredSession:
    """What the store knows of a session."""
    if record.revoke_time is not None:
        state = session_pb2.SESSION_STATE_REVOKED
    elif record.session_expire_time <= now:
        state = session_pb2.SESSION_STATE_EXPIRED
    else:
        state = session_pb2.SESSION_STATE_ACTIVE
    return session_pb2.RegisteredSession(
        issuer=issuer,
        session_handle=record.session_handle,
        user_id=record.user_id,
        tenant_id=record.tenant_id,
        create_time=timestamp_from(record.create_time),
        session_expire_time=timestamp_from(record.session_expire_time),
        state=state,
        revoke_time=None if record.revoke_time is None else timestamp_from(record.revoke_time),
    )


def revocation_from(entry: Entry, issuer: str, store_id: str) -> revocation_pb2.Revocation:
    """One entry of the audit trail."""
    kind = entry.kind
    return revocation_pb2.Revocation(
        revision=session_pb2.Revision(store_id=store_id, sequence=entry.sequence),
        kind=_KINDS[kind],
        issuer=issuer,
        session_handle=entry.subject if kind is Kind.SESSION else "",
        user_id=entry.user_id,
        tenant_id=entry.subject if kind is Kind.TENANT else entry.tenant_id,
        except_session_handle=entry.except_session_handle,
        key_id=entry.key_id,
        key_thumbprint=entry.subject if kind is Kind.KEY else "",
        revoke_time=timestamp_from(entry.revoke_time),
        actor=entry.attribution.actor,
        reason=entry.attribution.reason,
        request_id=entry.attribution.request_id,
        cause_sequence=entry.cause_sequence,
    )

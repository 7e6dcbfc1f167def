"""Translation between the messages of sidegate.v1 and the model. Pure, and without a decision."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sidegate.v1 import revocation_pb2, session_pb2, verification_pb2

from sidegate_sidecar import model
from sidegate_sidecar.errors import InvalidRequest

LAST_TIMESTAMP_SECOND = 253_402_300_799  # google/protobuf/timestamp.proto: 9999-12-31T23:59:59Z

_MICROS = model.SECOND
_KINDS = {
    model.RevocationKind.SESSION: revocation_pb2.REVOCATION_KIND_SESSION,
    model.RevocationKind.USER: revocation_pb2.REVOCATION_KIND_USER,
    model.RevocationKind.TENANT: revocation_pb2.REVOCATION_KIND_TENANT,
    model.RevocationKind.KEY: revocation_pb2.REVOCATION_KIND_KEY,
}
_REASONS = {
    reason: session_pb2.RejectionReason.Value(f"REJECTION_REASON_{reason.value}")  # the names are one contract
    for reason in model.Reason
}
_NEXT_ACTIONS = {action: session_pb2.NextAction.Value(f"NEXT_ACTION_{action.value}") for action in model.NextAction}
_SOURCES = {source: session_pb2.EvidenceSource.Value(f"EVIDENCE_SOURCE_{source.value}") for source in model.Source}


def demand_from(request: verification_pb2.VerifyRequest) -> model.Demand:
    """What is asked. A field that is absent is None."""
    wanted = request.at_least_as_fresh if request.HasField("at_least_as_fresh") else None
    return model.Demand(
        access_token=request.access_token,
        check_database=request.check_database,
        at_least_as_fresh=None if wanted is None else model.Revision(wanted.store_id, wanted.sequence),
        accepted_audiences=tuple(request.accepted_audiences),
        tenant_id=request.tenant_id if request.HasField("tenant_id") else None,
        anti_csrf_token=request.anti_csrf_token if request.HasField("anti_csrf_token") else None,
    )


def sign_out_demand_from(request: verification_pb2.SignOutRequest) -> model.Demand:
    """The token to sign out with, and what it must be good for."""
    return model.Demand(
        access_token=request.access_token,
        anti_csrf_token=request.anti_csrf_token if request.HasField("anti_csrf_token") else None,
    )


def response_from(verdict: model.Verdict) -> verification_pb2.VerifyResponse:
    """The verdict as Verify answers it."""
    response = verification_pb2.VerifyResponse()
    write_response(verdict, response)
    return response


# In place, for a message that is given to another's constructor is copied, the claims with it: four times the cost.


def write_response(verdict: model.Verdict, response: verification_pb2.VerifyResponse) -> None:
    """Write the verdict into an empty response."""
    outcome = verdict.outcome
    if isinstance(outcome, model.Session):
        session = response.session
        session.issuer = outcome.issuer
        session.session_handle = outcome.session_handle
        session.user_id = outcome.user_id
        session.tenant_id = outcome.tenant_id
        _write_micros(outcome.token_issue_time, session.token_issue_time)
        _write_micros(outcome.token_expire_time, session.token_expire_time)
        session.claims_json = outcome.claims_json
    else:
        rejection = response.rejection
        rejection.reason = _REASONS[outcome.reason]
        rejection.next_action = _NEXT_ACTIONS[outcome.next_action]
        rejection.message = outcome.message
    evidence = response.evidence
    evidence.source = _SOURCES[verdict.evidence.source]
    if verdict.evidence.revision is not None:
        revision = evidence.revision
        revision.store_id = verdict.evidence.revision.store_id
        revision.sequence = verdict.evidence.revision.sequence
    if verdict.evidence.revocation_lag is not None:
        _write_micros(verdict.evidence.revocation_lag, evidence.revocation_lag)
    if verdict.evidence.key_id:
        evidence.key_id = verdict.evidence.key_id


def key_set_status_from(status: model.KeySetStatus) -> verification_pb2.KeySetStatus:
    """One issuer's keys."""
    return verification_pb2.KeySetStatus(
        issuer=status.issuer,
        generation=status.generation,
        key_count=status.key_count,
        age=None if status.age is None else duration_from(status.age),
        last_error=status.last_error,
    )


def registration_from(request: revocation_pb2.RegisterSessionRequest, path: str = "") -> model.Registration:
    """A session to record. `path` leads the names of its fields in errors, e.g. "requests[3]."."""
    if not request.HasField("session_expire_time"):
        raise InvalidRequest(f"{path}session_expire_time", "must be set")
    return model.Registration(
        issuer=request.issuer,
        session_handle=request.session_handle,
        user_id=request.user_id,
        tenant_id=request.tenant_id,
        create_time=(
            micros_from(request.create_time, f"{path}create_time") if request.HasField("create_time") else None
        ),
        session_expire_time=micros_from(request.session_expire_time, f"{path}session_expire_time"),
    )


def registered_session_from(record: model.SessionRecord, now: model.Micros) -> session_pb2.RegisteredSession:
    """What the store knows of a session, seen at `now`."""
    if record.revoke_time is not None:
        state = session_pb2.SESSION_STATE_REVOKED
    elif record.session_expire_time <= now:
        state = session_pb2.SESSION_STATE_EXPIRED
    else:
        state = session_pb2.SESSION_STATE_ACTIVE
    return session_pb2.RegisteredSession(
        issuer=record.issuer,
        session_handle=record.session_handle,
        user_id=record.user_id,
        tenant_id=record.tenant_id,
        create_time=timestamp_from(record.create_time),
        session_expire_time=timestamp_from(record.session_expire_time),
        state=state,
        revoke_time=None if record.revoke_time is None else timestamp_from(record.revoke_time),
    )


def revocation_from(audit: model.AuditEntry) -> revocation_pb2.Revocation:
    """One entry of the audit trail."""
    entry = audit.entry
    kind = entry.kind
    subject = entry.subject
    return revocation_pb2.Revocation(
        revision=revision_from(model.Revision(audit.store_id, entry.sequence)),
        kind=_KINDS[kind],
        issuer=entry.issuer,
        session_handle=subject if kind is model.RevocationKind.SESSION else "",
        user_id=subject if kind is model.RevocationKind.USER else audit.user_id,
        tenant_id=subject if kind is model.RevocationKind.TENANT else entry.tenant_id or "",
        except_session_handle=entry.except_session_handle or "",
        key_id=audit.key_id,
        key_thumbprint=subject if kind is model.RevocationKind.KEY else "",
        revoke_time=timestamp_from(entry.revoke_time),
        actor=audit.attribution.actor,
        reason=audit.attribution.reason,
        request_id=audit.attribution.request_id or "",
        cause_sequence=audit.cause_sequence,
    )


def revision_from(revision: model.Revision) -> session_pb2.Revision:
    """A position in the log."""
    return session_pb2.Revision(store_id=revision.store_id, sequence=revision.sequence)


def timestamp_from(instant: model.Micros) -> Timestamp:
    """An instant."""
    timestamp = Timestamp()
    _write_micros(instant, timestamp)
    return timestamp


def _write_micros(micros: model.Micros, message: Timestamp | Duration) -> None:
    message.seconds, fraction = divmod(micros, _MICROS)
    message.nanos = fraction * 1000


def micros_from(timestamp: Timestamp, field: str) -> model.Micros:
    """An instant; what is finer than a microsecond is cut off. Raises InvalidRequest outside the years 1970 to 9999."""
    if not (0 <= timestamp.seconds <= LAST_TIMESTAMP_SECOND and 0 <= timestamp.nanos < 1_000_000_000):
        raise InvalidRequest(field, "must be an instant of the years 1970 to 9999")
    return timestamp.seconds * _MICROS + timestamp.nanos // 1000


def duration_from(span: model.Micros) -> Duration:
    """A span."""
    duration = Duration()
    _write_micros(span, duration)
    return duration

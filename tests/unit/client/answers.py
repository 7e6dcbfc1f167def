"""What a sidecar answers, and what a client makes of it."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sidegate import Evidence, EvidenceSource, Revision, Session
from sidegate.v1 import session_pb2, verification_pb2

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"
CLAIMS = '{"sub": "anna", "sid": "s-1", "big": 9007199254740993, "roles": ["admin"]}'
ISSUED = datetime(2026, 11, 2, 10, 30, 0, 250_000, tzinfo=UTC)
EXPIRES = ISSUED + timedelta(hours=1)


def timestamp(at: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)
    return message


ACCEPTED = verification_pb2.VerifyResponse(
    session=session_pb2.Session(
        issuer="https://login.example",
        session_handle="s-1",
        user_id="anna",
        tenant_id="acme",
        token_issue_time=timestamp(ISSUED),
        token_expire_time=timestamp(EXPIRES),
        claims_json=CLAIMS,
    ),
    evidence=session_pb2.Evidence(
        source=session_pb2.EVIDENCE_SOURCE_DATABASE,
        revision=session_pb2.Revision(store_id="store", sequence=7),
        revocation_lag=Duration(nanos=20_000_000),
        key_id="k1",
    ),
)

EVIDENCE = Evidence(EvidenceSource.DATABASE, Revision("store", 7), timedelta(milliseconds=20), "k1")

SESSION = Session(
    issuer="https://login.example",
    session_handle="s-1",
    user_id="anna",
    tenant_id="acme",
    token_issue_time=ISSUED,
    token_expire_time=EXPIRES,
    claims_json=CLAIMS,
    evidence=EVIDENCE,
)


def rejected(
    reason: session_pb2.RejectionReason.ValueType,
    next_action: session_pb2.NextAction.ValueType = session_pb2.NEXT_ACTION_REAUTHENTICATE,
) -> verification_pb2.VerifyResponse:
    return verification_pb2.VerifyResponse(
        rejection=session_pb2.Rejection(reason=reason, next_action=next_action, message="not good"),
        evidence=session_pb2.Evidence(source=session_pb2.EVIDENCE_SOURCE_LOCAL),
    )

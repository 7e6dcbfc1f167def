"""The calls of VerificationService: Python values to requests, responses to verdicts. Pure."""

from collections.abc import Sequence

from sidegate.calls import Call, UnreadableAnswer, call
from sidegate.errors import SessionRejected, SidegateError, VerificationUnavailable
from sidegate.failures import Failure, failure_of_status, sign_out_error, verification_error
from sidegate.fields import (
    enum_members,
    instant,
    invalid,
    optional_text,
    revision,
    revision_message,
    span,
    text,
    texts,
)
from sidegate.records import SessionsEnded
from sidegate.v1 import session_pb2, verification_pb2
from sidegate.verdicts import (
    Evidence,
    EvidenceSource,
    KeySetStatus,
    NextAction,
    Rejection,
    RejectionReason,
    ServingStatus,
    Session,
    SignOutScope,
    StoreState,
    Verdict,
)

MAX_TOKEN_BYTES = 16 * 1024  # session.proto: larger is MALFORMED, undecoded. Sent, 256 of them would not fit a batch

_SERVICE = "/sidegate.v1.VerificationService/"
VERIFY = f"{_SERVICE}Verify"
_REASONS = enum_members(session_pb2.RejectionReason.DESCRIPTOR, "REJECTION_REASON_", RejectionReason)
_NEXT_ACTIONS = enum_members(session_pb2.NextAction.DESCRIPTOR, "NEXT_ACTION_", NextAction)
_SOURCES = enum_members(session_pb2.EvidenceSource.DESCRIPTOR, "EVIDENCE_SOURCE_", EvidenceSource)
_STORE_STATES = enum_members(verification_pb2.StoreState.DESCRIPTOR, "STORE_STATE_", StoreState)


def verify_request(
    access_token: str,
    *,
    check_database: bool,
    at_least_as_fresh: object,
    audiences: Sequence[str],
    tenant_id: str | None,
    anti_csrf_token: str | None,
) -> verification_pb2.VerifyRequest | Verdict:
    """The question to send, or the verdict on a token that need not or cannot be sent.

    Raises:
        TypeError: An argument is of the wrong type, e.g. a token in bytes.
        InvalidRequest: The token is empty, or another argument cannot be sent.
    """
    request = verification_pb2.VerifyRequest()
    if check_database:
        request.check_database = check_database
    if audiences != ():
        request.accepted_audiences.extend(texts("accepted_audiences", audiences))
    if tenant_id is not None:
        request.tenant_id = text("tenant_id", tenant_id)
    if anti_csrf_token is not None:
        request.anti_csrf_token = text("anti_csrf_token", anti_csrf_token)
    if at_least_as_fresh is not None:
        request.at_least_as_fresh.CopyFrom(revision_message("at_least_as_fresh", at_least_as_fresh))
    if rejection := token_rejection(access_token):
        return Verdict(rejection, Evidence(EvidenceSource.LOCAL))
    request.access_token = access_token
    return request


def token_rejection(access_token: object) -> Rejection | None:
    """What is wrong with a token that cannot be sent. It is text that came with a request, so it may be anything.

    Raises:
        TypeError: It is no str.
        InvalidRequest: It is empty: then there was nothing to verify, and asking is the caller's mistake.
    """
    if not isinstance(access_token, str):
        raise TypeError(f"access_token must be a str, not {type(access_token).__name__}")
    if not access_token:
        raise invalid("access_token", "is empty")
    # A JWS is base64url and dots (RFC 7515 section 7.1). A lone surrogate would crash protobuf, and the next test may
    # take characters for bytes.
    if not access_token.isascii():
        return _malformed("the token holds characters outside ASCII")
    if len(access_token) > MAX_TOKEN_BYTES:
        return _malformed("the token is larger than 16 KiB")
    # The sidecar would say the same. What was meant is clear, and yet no token may have two spellings.
    if access_token.lstrip()[:7].lower() == "bearer ":
        return _malformed("the token begins with 'Bearer '; pass what follows it")
    if access_token != access_token.strip():
        return _malformed("the token has white space around it; pass it without")
    return None


def verify(request: verification_pb2.VerifyRequest) -> Call[Verdict]:
    """Ask one question."""
    return call(VERIFY, request, verification_pb2.VerifyResponse, verdict, verification_error)


def verify_together(requests: Sequence[verification_pb2.VerifyRequest]) -> Call[list[Verdict | SidegateError]]:
    """Ask 1 to 256 questions. For each, in order, its verdict or what `verify` would have failed with.

    A call that fails as a whole says nothing about any one question, whatever its code.
    """

    def read(response: verification_pb2.BatchVerifyResponse) -> list[Verdict | SidegateError]:
        if len(response.results) != len(requests):
            raise UnreadableAnswer("the sidecar's answer holds another number of results than there were questions")
        return [_outcome(result) for result in response.results]

    return call(
        f"{_SERVICE}BatchVerify",
        verification_pb2.BatchVerifyRequest(requests=requests),
        verification_pb2.BatchVerifyResponse,
        read,
        lambda failure: failure.as_error(VerificationUnavailable),
    )


def verdict(response: verification_pb2.VerifyResponse) -> Verdict:
    """What the sidecar decided. Raises: UnreadableAnswer."""
    evidence = _evidence(response.evidence)
    match response.WhichOneof("verdict"):
        case "session":
            return Verdict(_session(response.session, evidence), evidence)
        case "rejection":
            return Verdict(_rejection(response.rejection), evidence)
        case _:
            # Neither good nor bad, as far as this client can tell; never a session.
            raise UnreadableAnswer("the sidecar's answer holds no verdict that this client knows")


def session_of(verdict: Verdict) -> Session:
    """The session of a good token. Raises: SessionRejected."""
    if isinstance(verdict.outcome, Rejection):
        raise SessionRejected(verdict.outcome, verdict.evidence)
    return verdict.outcome


def sign_out(access_token: str, scope: SignOutScope, *, anti_csrf_token: str | None) -> Call[SessionsEnded]:
    """End sessions of the token's holder. Raises: SessionRejected, TypeError, InvalidRequest, as `verify_request`."""
    if rejection := token_rejection(access_token):
        raise SessionRejected(rejection, Evidence(EvidenceSource.LOCAL))
    request = verification_pb2.SignOutRequest(
        access_token=access_token,
        scope=verification_pb2.SignOutScope.Value(f"SIGN_OUT_SCOPE_{SignOutScope(scope)}"),
        anti_csrf_token=optional_text("anti_csrf_token", anti_csrf_token),
    )
    return call(
        f"{_SERVICE}SignOut",
        request,
        verification_pb2.SignOutResponse,
        lambda response: SessionsEnded(response.revoked_count, revision(response.revision)),
        sign_out_error,
    )


def serving_status() -> Call[ServingStatus]:
    """Ask what the sidecar knows."""
    return call(
        f"{_SERVICE}GetServingStatus",
        verification_pb2.GetServingStatusRequest(),
        verification_pb2.GetServingStatusResponse,
        _serving_status,
        verification_error,
    )


def _outcome(result: verification_pb2.BatchVerifyResult) -> Verdict | SidegateError:
    match result.WhichOneof("result"):
        case "response":
            try:
                return verdict(result.response)
            except UnreadableAnswer as unreadable:
                return verification_error(Failure("INTERNAL", str(unreadable)))
        case "error":
            return verification_error(failure_of_status(result.error))
        case _:
            return verification_error(Failure("INTERNAL", "the sidecar's answer lacks the result of a question"))


def _malformed(message: str) -> Rejection:
    return Rejection(RejectionReason.MALFORMED, NextAction.REAUTHENTICATE, message)


def _session(message: session_pb2.Session, evidence: Evidence) -> Session:
    return Session(
        issuer=message.issuer,
        session_handle=message.session_handle,
        user_id=message.user_id,
        tenant_id=message.tenant_id,
        token_issue_time=instant(message.token_issue_time),
        token_expire_time=instant(message.token_expire_time),
        claims_json=message.claims_json,
        evidence=evidence,
    )


def _rejection(message: session_pb2.Rejection) -> Rejection:
    return Rejection(
        _REASONS.get(message.reason, RejectionReason.UNRECOGNIZED),
        _NEXT_ACTIONS.get(message.next_action, NextAction.REAUTHENTICATE),
        message.message,
    )


def _evidence(message: session_pb2.Evidence) -> Evidence:
    return Evidence(
        source=_SOURCES.get(message.source, EvidenceSource.UNRECOGNIZED),
        revision=revision(message.revision) if message.HasField("revision") else None,
        revocation_lag=span(message.revocation_lag) if message.HasField("revocation_lag") else None,
        key_id=message.key_id or None,
    )


def _serving_status(message: verification_pb2.GetServingStatusResponse) -> ServingStatus:
    return ServingStatus(
        version=message.version,
        key_sets=tuple(
            KeySetStatus(
                issuer=keys.issuer,
                generation=keys.generation,
                key_count=keys.key_count,
                age=span(keys.age) if keys.HasField("age") else None,
                last_error=keys.last_error,
            )
            for keys in message.key_sets
        ),
        index_revision=revision(message.index_revision) if message.HasField("index_revision") else None,
        index_lag=span(message.index_lag) if message.HasField("index_lag") else None,
        store_state=_STORE_STATES.get(message.store_state, StoreState.UNRECOGNIZED),
    )

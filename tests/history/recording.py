"""Asks real sidecars, and writes down what was asked, when, and what came of it."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import grpc
from sidegate import PreconditionFailed, Revision, RevocationClient, RevocationUnavailable
from sidegate.v1 import session_pb2, verification_pb2, verification_pb2_grpc

from tests.history.operations import Answer, History, LogRecord, Outcome, Registration, Revocation, Verification

VERIFY_SECONDS = 2.0  # far more than a sidecar may take, so that it is the sidecar that gives up
ADMIN_SECONDS = 1.5  # so that a client goes on soon, whatever is down
SESSION_HOURS = 1
# No retries, for each would hide an answer; and a sidecar that comes back is found at once.
_CHANNEL_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]
_EXPLAINED = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}  # by a fault; no other error is
_REVOKED = {
    session_pb2.REJECTION_REASON_SESSION_REVOKED,
    session_pb2.REJECTION_REASON_USER_REVOKED,
}


@dataclass(frozen=True, slots=True)
class Login:
    """A session, and a token of it."""

    handle: str
    user_id: str
    token: str


class Recorder:
    """Asks one sidecar. A context manager; any number of threads may share it.

    Every method but `read_log` notes what happened, a fault being one of the things that may, and lets out only errors
    that no fault explains, e.g. INTERNAL.

    Args:
        name: What the history calls the sidecar.
        target: Its data plane.
        admin_target: Its admin plane.
        history: Where to write.
    """

    def __init__(self, name: str, target: str, admin_target: str, history: History) -> None:
        self.name = name
        self._history = history
        self._channel = grpc.insecure_channel(target, _CHANNEL_OPTIONS)
        self._verification = verification_pb2_grpc.VerificationServiceStub(self._channel)
        self._admin = RevocationClient(admin_target, timeout=ADMIN_SECONDS)

    def verify(
        self, login: Login, *, check_database: bool = False, at_least_as_fresh: Revision | None = None
    ) -> Verification:
        """Verify a token."""
        request = verification_pb2.VerifyRequest(access_token=login.token, check_database=check_database)
        if at_least_as_fresh is not None:
            request.at_least_as_fresh.store_id = at_least_as_fresh.store_id
            request.at_least_as_fresh.sequence = at_least_as_fresh.sequence
        began = time.monotonic()
        try:
            response = self._verification.Verify(request, timeout=VERIFY_SECONDS)
        except grpc.RpcError as failure:
            ended = time.monotonic()
            if failure.code().name not in _EXPLAINED:
                raise
            answer, revision, detail = Answer.UNAVAILABLE, None, failure.details() or ""
        else:
            ended = time.monotonic()
            answer, detail = _answer_of(response)
            revision = Revision(response.evidence.revision.store_id, response.evidence.revision.sequence)
        verification = Verification(
            sidecar=self.name,
            began=began,
            ended=ended,
            handle=login.handle,
            user_id=login.user_id,
            check_database=check_database,
            at_least_as_fresh=at_least_as_fresh,
            answer=answer,
            revision=revision,
            detail=detail,
        )
        self._history.verifications.append(verification)
        return verification

    def revoke(self, login: Login) -> Revocation:
        """Revoke a session."""
        began, outcome, revision = time.monotonic(), Outcome.UNKNOWN, None
        try:
            revision = self._admin.revoke_session(login.handle).revision
            outcome = Outcome.ACKNOWLEDGED
        except RevocationUnavailable as failure:
            _check_unknown(failure)
        return self._revoked(
            Revocation(
                sidecar=self.name,
                began=began,
                ended=time.monotonic(),
                handle=login.handle,
                outcome=outcome,
                revision=revision,
            )
        )

    def revoke_user(self, user_id: str, *, spared: str | None = None) -> Revocation:
        """Revoke all sessions of a user, but perhaps one."""
        began, outcome, revision = time.monotonic(), Outcome.UNKNOWN, None
        try:
            revision = self._admin.revoke_user_sessions(user_id, except_session_handle=spared).revision
            outcome = Outcome.ACKNOWLEDGED
        except RevocationUnavailable as failure:
            _check_unknown(failure)
        return self._revoked(
            Revocation(
                sidecar=self.name,
                began=began,
                ended=time.monotonic(),
                user_id=user_id,
                spared=spared,
                outcome=outcome,
                revision=revision,
            )
        )

    def register(self, login: Login) -> Registration:
        """Register a session."""
        began, outcome = time.monotonic(), Outcome.ACKNOWLEDGED
        expires = datetime.now(UTC) + timedelta(hours=SESSION_HOURS)
        try:
            self._admin.register_session(login.handle, login.user_id, session_expire_time=expires)
        except PreconditionFailed:
            outcome = Outcome.DECLINED
        except RevocationUnavailable as failure:
            _check_unknown(failure)
            outcome = Outcome.UNKNOWN
        registration = Registration(
            sidecar=self.name,
            began=began,
            ended=time.monotonic(),
            handle=login.handle,
            user_id=login.user_id,
            outcome=outcome,
        )
        self._history.registrations.append(registration)
        return registration

    def read_log(self) -> None:
        """Read the whole revocation log into the history. Raises: RevocationUnavailable."""
        self._history.log = [
            LogRecord(
                revision=entry.revision,
                handle=entry.session_handle or None,
                user_id=entry.user_id or None,
                cause=entry.cause_sequence,
            )
            for entry in self._admin.list_revocations(timeout=10)
        ]

    def close(self) -> None:
        """Disconnect."""
        self._admin.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _revoked(self, revocation: Revocation) -> Revocation:
        self._history.revocations.append(revocation)
        return revocation


def _check_unknown(failure: RevocationUnavailable) -> None:
    if failure.code not in _EXPLAINED:
        raise failure


def _answer_of(response: verification_pb2.VerifyResponse) -> tuple[Answer, str]:
    if response.HasField("session"):
        return Answer.VALID, ""
    reason = response.rejection.reason
    name = session_pb2.RejectionReason.Name(reason)
    return Answer.REVOKED if reason in _REVOKED else Answer.REFUSED, name

"""From a failed RPC to an exception. Pure: everything is read from the error itself.

Source: sidegate's reasons travel as google.rpc.ErrorInfo in the trailing metadata `grpc-status-details-bin`, a
serialized google.rpc.Status (https://google.aip.dev/193). An item of a batch carries the same Status directly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from sidegate.errors import (
    CallFailed,
    InvalidRequest,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    RevocationUnavailable,
    SessionNotRegistered,
    SessionRejected,
    SidegateError,
    Unauthenticated,
    VerificationUnavailable,
)
from sidegate.verdicts import NextAction, Rejection, RejectionReason

ERROR_DOMAIN = "sidegate.dev"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed RPC, read but not yet judged. The attributes are those of `CallFailed`."""

    code: str
    message: str
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_error(self, error: type[CallFailed]) -> CallFailed:
        """This failure as an exception of that type."""
        return error(self.message, code=self.code, reason=self.reason, metadata=self.metadata)


def failure_of(error: grpc.RpcError) -> Failure:
    """What a failed call says. Details that cannot be read are left out, for the status code stands without them."""
    status = Status()
    # The stubs have neither None, for a call that ended before it began, nor the pairs of grpc.aio.
    trailers = cast("Iterable[tuple[str, str | bytes]] | None", error.trailing_metadata())
    for key, value in trailers or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                status = Status.FromString(value)
            except DecodeError:
                break
    reason, metadata = _error_info(status)
    return Failure(error.code().name, error.details() or "the call failed", reason, metadata)


def failure_of_status(status: Status) -> Failure:
    """What an item of a batch failed with."""
    reason, metadata = _error_info(status)
    return Failure(_CODES.get(status.code, "UNKNOWN"), status.message or "the call failed", reason, metadata)


def verification_error(failure: Failure) -> SidegateError:
    """No verdict, whatever the code, unless the question itself was wrong."""
    return failure.as_error(InvalidRequest if failure.code == "INVALID_ARGUMENT" else VerificationUnavailable)


def administration_error(failure: Failure, request_id: str | None = None) -> SidegateError:
    """What an admin call failed with. `request_id` is what a revoke went by."""
    match failure.code:
        case "INVALID_ARGUMENT":
            return failure.as_error(InvalidRequest)
        case "NOT_FOUND" if failure.reason == "SESSION_NOT_REGISTERED":
            return failure.as_error(SessionNotRegistered)
        case "FAILED_PRECONDITION":
            return failure.as_error(PreconditionFailed)
        case "UNIMPLEMENTED":
            return failure.as_error(NotSupported)
        case "UNAUTHENTICATED":
            return failure.as_error(Unauthenticated)
        case "PERMISSION_DENIED":
            return failure.as_error(PermissionDenied)
        case _:
            unavailable = RevocationUnavailable(
                failure.message, code=failure.code, reason=failure.reason, metadata=failure.metadata
            )
            unavailable.request_id = request_id
            return unavailable


def sign_out_error(failure: Failure) -> SidegateError:
    """As an admin call, but a token that is not good is a verdict, as it is for Verify."""
    if failure.code == "UNAUTHENTICATED" and (name := failure.metadata.get("rejection_reason")):
        reason = RejectionReason.__members__.get(name, RejectionReason.UNRECOGNIZED)
        # The error carries no next action. EXPIRED is the one reason that always means REFRESH; the other case, an
        # ambiguous watermark, concerns a session that is to end anyway.
        next_action = NextAction.REFRESH if reason is RejectionReason.EXPIRED else NextAction.REAUTHENTICATE
        return SessionRejected(Rejection(reason, next_action, failure.message))
    return administration_error(failure)


def _error_info(status: Status) -> tuple[str | None, Mapping[str, str]]:
    """Reason and metadata of sidegate's own ErrorInfo; a proxy on the way may have added its own."""
    for detail in status.details:
        info = ErrorInfo()
        try:
            if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                return info.reason or None, dict(info.metadata)
        except DecodeError:
            continue
    return None, {}

"""From exceptions to gRPC statuses: the one place that knows which becomes which."""

import secrets

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from sidegate_sidecar.errors import (
    InvalidRequest,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    Rejected,
    RequestRefused,
    Shed,
    Unauthenticated,
    Undecided,
)
from sidegate_sidecar.logs import places

DOMAIN = "sidegate.dev"

_log = structlog.get_logger(__name__)

_CODES: tuple[tuple[type[RequestRefused], grpc.StatusCode], ...] = (
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (PreconditionFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (NotSupported, grpc.StatusCode.UNIMPLEMENTED),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
)


def status_from(failure: Exception) -> Status:
    """The status that tells a caller of a failure.

    Only what our own exceptions say reaches the caller. Of anything else it gets an opaque id, and the log the rest:
    an exception's text may hold a connection string or a token.
    """
    match failure:
        case Shed():
            return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, failure.message, failure.reason)
        case Undecided():
            return _status(grpc.StatusCode.UNAVAILABLE, failure.message, failure.reason)
        case RequestRefused():
            code = next(code for kind, code in _CODES if isinstance(failure, kind))
            return _status(code, failure.message, failure.reason, **failure.metadata)
        case Rejected():
            return _status(
                grpc.StatusCode.UNAUTHENTICATED,
                failure.message,
                "UNAUTHENTICATED",
                rejection_reason=failure.reason.value,
            )
        case _:
            incident_id = secrets.token_hex(8)
            _log.error(
                "internal_error", incident_id=incident_id, exception=type(failure).__qualname__, where=places(failure)
            )
            return _status(
                grpc.StatusCode.INTERNAL,
                f"internal error; incident {incident_id} in the sidecar's log",
                "INTERNAL",
                incident_id=incident_id,
            )


def _status(code: grpc.StatusCode, message: str, reason: str, **metadata: str) -> Status:
    detail = Any()
    detail.Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    return Status(code=Code.Value(code.name), message=message, details=[detail])

"""How a call is refused: an exception inside the fake, a gRPC status with its ErrorInfo outside."""

from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from sidegate.errors import CallFailed
from sidegate.failures import ERROR_DOMAIN, STATUS_DETAILS_KEY


def invalid(field: str, problem: str, *, reason: str = "INVALID_FIELD", **metadata: str) -> CallFailed:
    """A field is unusable."""
    return CallFailed(
        f"{field}: {problem}", code="INVALID_ARGUMENT", reason=reason, metadata={"field": field, **metadata}
    )


def store_unavailable() -> CallFailed:
    """The store was needed, and a test has taken it down."""
    return CallFailed("the store does not answer", code="UNAVAILABLE", reason="STORE_UNAVAILABLE")


def status_from(refusal: CallFailed) -> Status:
    """The status that tells a caller of it, as errors.proto says."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=refusal.reason or "", domain=ERROR_DOMAIN, metadata=refusal.metadata))
    number: int = grpc.StatusCode[refusal.code].value[0]
    return Status(code=number, message=refusal.message, details=[detail])


def abort(refusal: CallFailed, context: grpc.ServicerContext) -> NoReturn:
    """End the call with it."""
    context.set_trailing_metadata(((STATUS_DETAILS_KEY, status_from(refusal).SerializeToString()),))
    context.abort(grpc.StatusCode[refusal.code], refusal.message)

"""What a caller learns of a failure, and what it never does."""

import json
from collections.abc import Mapping

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate_sidecar.errors import (
    BatchBudgetSpent,
    ForeignRevision,
    IndexNotLoaded,
    InvalidRequest,
    KeysUnavailable,
    NotFound,
    NotSupported,
    PreconditionFailed,
    Rejected,
    RevisionNotReached,
    Shed,
    SidegateError,
    StartupError,
    StoreUnavailable,
)
from sidegate_sidecar.model import Reason
from sidegate_sidecar.rpc.status import status_from
from structlog.testing import capture_logs

SECRET = "postgresql://admin:s3cret@db"


def error_info(status: Status) -> tuple[str, str, dict[str, str]]:
    (detail,) = status.details
    assert isinstance(detail, Any)
    info = ErrorInfo()
    assert detail.Unpack(info)
    return info.domain, info.reason, dict(info.metadata)


@pytest.mark.parametrize(
    ("failure", "code", "reason", "metadata"),
    [
        (InvalidRequest("a.b", "is odd"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {"field": "a.b"}),
        (
            InvalidRequest("requests", "too many", reason="BATCH_SIZE", limit="256"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "BATCH_SIZE",
            {"field": "requests", "limit": "256"},
        ),
        (
            NotFound("nobody registered it", reason="SESSION_NOT_REGISTERED"),
            grpc.StatusCode.NOT_FOUND,
            "SESSION_NOT_REGISTERED",
            {},
        ),
        (
            PreconditionFailed("it is another's", reason="SESSION_OF_ANOTHER", metadata={"field": "session_handle"}),
            grpc.StatusCode.FAILED_PRECONDITION,
            "SESSION_OF_ANOTHER",
            {"field": "session_handle"},
        ),
        (NotSupported("not yet"), grpc.StatusCode.UNIMPLEMENTED, "NOT_SUPPORTED", {}),
        (KeysUnavailable("no keys"), grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE", {}),
        (IndexNotLoaded("no index"), grpc.StatusCode.UNAVAILABLE, "INDEX_NOT_LOADED", {}),
        (StoreUnavailable("no store"), grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", {}),
        (RevisionNotReached("late"), grpc.StatusCode.UNAVAILABLE, "REVISION_NOT_REACHED", {}),
        (ForeignRevision("another's"), grpc.StatusCode.UNAVAILABLE, "FOREIGN_REVISION", {}),
        (Shed("busy"), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", {}),
        (BatchBudgetSpent(), grpc.StatusCode.RESOURCE_EXHAUSTED, "BATCH_BUDGET_SPENT", {}),
        (
            Rejected(Reason.EXPIRED, "the token has expired"),
            grpc.StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
            {"rejection_reason": "EXPIRED"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SidegateError) else "",
)
def test_our_own_exceptions_say_what_they_are(
    failure: SidegateError, code: grpc.StatusCode, reason: str, metadata: Mapping[str, str]
) -> None:
    status = status_from(failure)

    assert (Code.Name(status.code), status.message) == (code.name, failure.args[0])
    assert error_info(status) == ("sidegate.dev", reason, metadata)


def test_the_cause_of_an_exception_stays_inside() -> None:
    failure = StoreUnavailable("the store does not answer")
    failure.__cause__ = OSError(SECRET)

    assert SECRET.encode() not in status_from(failure).SerializeToString()


class DriverFailure(Exception):
    """A library's exception, whose text and type say too much."""


def raised(failure: Exception) -> Exception:
    """With the traceback that it would have."""
    try:
        raise failure
    except type(failure) as caught:
        return caught


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(DriverFailure(SECRET), id="a library's"),
        pytest.param(KeyError(SECRET), id="a bug"),
        pytest.param(TimeoutError(SECRET), id="an unforeseen timeout"),
        pytest.param(StartupError(SECRET), id="one of ours that has no business here"),
        pytest.param(ExceptionGroup(SECRET, [DriverFailure(SECRET)]), id="a group"),
    ],
)
def test_whatever_else_is_raised_gives_nothing_away(failure: Exception) -> None:
    failure.__cause__ = ValueError(SECRET)
    with capture_logs() as logged:
        status = status_from(raised(failure))

    domain, reason, metadata = error_info(status)
    (line,) = logged
    assert (Code.Name(status.code), domain, reason) == ("INTERNAL", "sidegate.dev", "INTERNAL")
    assert metadata == {"incident_id": line["incident_id"]}
    assert line["incident_id"] in status.message
    for secret in (SECRET, "s3cret", type(failure).__name__, "ValueError", __file__, "Traceback"):
        assert secret.encode() not in status.SerializeToString()
    assert "s3cret" not in json.dumps(logged)
    assert line["event"] == "internal_error"
    assert line["exception"] == type(failure).__qualname__
    assert "test_status.py" in line["where"]
    assert line["where"].endswith(" raised")


def test_each_incident_has_an_id_of_its_own() -> None:
    with capture_logs():
        ids = {error_info(status_from(KeyError()))[2]["incident_id"] for _ in range(10)}

    assert len(ids) == 10
    assert all(len(incident_id) == 16 for incident_id in ids)

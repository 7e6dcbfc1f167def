"""What each RPC error becomes. One table for each kind of call: verifying, signing out, administering."""

import pickle
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from sidegate import (
    CallFailed,
    Evidence,
    EvidenceSource,
    InvalidRequest,
    NextAction,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    Rejection,
    RejectionReason,
    RevocationClient,
    RevocationUnavailable,
    SessionClient,
    SessionNotRegistered,
    SessionRejected,
    SidegateError,
    Unauthenticated,
    VerificationUnavailable,
)
from sidegate.failures import failure_of

from tests.unit.client.answers import TOKEN
from tests.unit.client.fake_sidecar import Error, FakeSidecar

Code = grpc.StatusCode

RETRYABLE = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}
ALL_CODES = [code for code in Code if code is not Code.OK]

VERIFICATION = dict.fromkeys(ALL_CODES, VerificationUnavailable) | {Code.INVALID_ARGUMENT: InvalidRequest}
ADMINISTRATION = dict.fromkeys(ALL_CODES, RevocationUnavailable) | {
    Code.INVALID_ARGUMENT: InvalidRequest,
    Code.FAILED_PRECONDITION: PreconditionFailed,
    Code.UNIMPLEMENTED: NotSupported,
    Code.UNAUTHENTICATED: Unauthenticated,
    Code.PERMISSION_DENIED: PermissionDenied,
}


def check_error(error: CallFailed, expected: type[CallFailed], code: grpc.StatusCode) -> None:
    assert type(error) is expected
    assert isinstance(error, SidegateError)
    assert (error.code, error.reason, error.metadata) == (code.name, "SOME_REASON", {"field": "a[1].b", "limit": "3"})
    assert (error.field, error.message) == ("a[1].b", "so it was scripted")
    assert error.retryable is (code.name in RETRYABLE)
    assert str(error) == "SOME_REASON: so it was scripted"
    assert isinstance(error.__cause__, grpc.RpcError)


def scripted(code: grpc.StatusCode) -> Error:
    return Error(code, "SOME_REASON", {"field": "a[1].b", "limit": "3"})


@pytest.mark.parametrize("code", ALL_CODES, ids=lambda code: code.name)
@pytest.mark.parametrize(("rpc", "method"), [("Verify", "verify"), ("Verify", "check")])
def test_no_verdict_is_no_rejection_whatever_the_code(
    client: SessionClient, sidecar: FakeSidecar, rpc: str, method: str, code: grpc.StatusCode
) -> None:
    sidecar.script(rpc, scripted(code))
    with pytest.raises(CallFailed) as caught:
        getattr(client, method)(TOKEN)
    check_error(caught.value, VERIFICATION[code], code)


def test_a_serving_status_that_cannot_be_had(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("GetServingStatus", scripted(Code.INTERNAL))
    with pytest.raises(CallFailed) as caught:
        client.serving_status()
    check_error(caught.value, VerificationUnavailable, Code.INTERNAL)


@pytest.mark.parametrize("code", ALL_CODES, ids=lambda code: code.name)
def test_a_sign_out_fails_as_administration_does(
    client: SessionClient, sidecar: FakeSidecar, code: grpc.StatusCode
) -> None:
    sidecar.script("SignOut", scripted(code))
    with pytest.raises(CallFailed) as caught:
        client.sign_out(TOKEN)
    check_error(caught.value, ADMINISTRATION[code], code)


@pytest.mark.parametrize(
    ("name", "reason", "next_action"),
    [
        ("EXPIRED", RejectionReason.EXPIRED, NextAction.REFRESH),
        ("SESSION_REVOKED", RejectionReason.SESSION_REVOKED, NextAction.REAUTHENTICATE),
        ("FROM_THE_FUTURE", RejectionReason.UNRECOGNIZED, NextAction.REAUTHENTICATE),
    ],
)
def test_signing_out_with_a_bad_token_is_a_verdict(
    client: SessionClient, sidecar: FakeSidecar, name: str, reason: RejectionReason, next_action: NextAction
) -> None:
    sidecar.script("SignOut", Error(Code.UNAUTHENTICATED, "UNAUTHENTICATED", {"rejection_reason": name}))
    with pytest.raises(SessionRejected) as caught:
        client.sign_out(TOKEN)
    assert caught.value.rejection == Rejection(reason, next_action, "so it was scripted")
    assert caught.value.evidence is None


@pytest.mark.parametrize("code", ALL_CODES, ids=lambda code: code.name)
def test_an_admin_call_fails_by_its_code(admin: RevocationClient, sidecar: FakeSidecar, code: grpc.StatusCode) -> None:
    sidecar.script("GetSession", scripted(code))
    with pytest.raises(CallFailed) as caught:
        admin.get_session("s-1")
    check_error(caught.value, ADMINISTRATION[code], code)


def test_a_session_that_nobody_registered(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("GetSession", Error(Code.NOT_FOUND, "SESSION_NOT_REGISTERED"))
    with pytest.raises(SessionNotRegistered):
        admin.get_session("s-1")


ADMIN_CALLS: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
    ("RevokeSession", "revoke_session", ("s-1",), {}),
    ("BatchRevokeSessions", "revoke_sessions", (["s-1"],), {}),
    ("RevokeUserSessions", "revoke_user_sessions", ("anna",), {}),
    ("RevokeTenantSessions", "revoke_tenant_sessions", ("acme",), {}),
    ("RevokeSigningKey", "revoke_signing_key", (), {"key_id": "k1"}),
]


@pytest.mark.parametrize(("rpc", "method", "arguments", "options"), ADMIN_CALLS, ids=[row[0] for row in ADMIN_CALLS])
def test_a_revoke_of_unknown_outcome_says_what_to_repeat_it_by(
    admin: RevocationClient,
    sidecar: FakeSidecar,
    rpc: str,
    method: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    sidecar.script(rpc, Error(Code.INTERNAL))
    with pytest.raises(RevocationUnavailable) as caught:
        getattr(admin, method)(*arguments, **options)
    assert caught.value.request_id == sidecar.requests[rpc][0].request_id
    with pytest.raises(RevocationUnavailable) as caught:
        getattr(admin, method)(*arguments, **options, request_id="chosen")
    assert caught.value.request_id == "chosen" == sidecar.requests[rpc][1].request_id


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Error(Code.INTERNAL), id="no details"),
        pytest.param(Error(Code.INTERNAL, details=b"\xff\xff"), id="details that are no message"),
        pytest.param(Error(Code.INTERNAL, details=Status(code=13).SerializeToString()), id="details without ErrorInfo"),
        pytest.param(Error(Code.INTERNAL, details=b"\x1a\x02\x0a\x00"), id="a detail without a type"),
        pytest.param(Error(Code.INTERNAL, "QUOTA", {"field": "x"}, domain="proxy.example"), id="a proxy's ErrorInfo"),
        pytest.param(Error(Code.INTERNAL, ""), id="an empty reason"),
    ],
)
def test_an_error_without_details_of_sidegates_own_has_no_reason(
    client: SessionClient, sidecar: FakeSidecar, error: Error
) -> None:
    sidecar.script("Verify", error)
    with pytest.raises(VerificationUnavailable) as caught:
        client.verify(TOKEN)
    assert (caught.value.code, caught.value.reason, caught.value.metadata) == ("INTERNAL", None, {})
    assert str(caught.value) == "INTERNAL: so it was scripted"


def test_a_detail_of_sidegates_that_is_damaged_is_left_out(client: SessionClient, sidecar: FakeSidecar) -> None:
    status = Status(code=13)
    damaged = status.details.add()
    damaged.type_url, damaged.value = "type.googleapis.com/google.rpc.ErrorInfo", b"\xff"
    sidecar.script("Verify", Error(Code.INTERNAL, details=status.SerializeToString()))
    with pytest.raises(VerificationUnavailable) as caught:
        client.verify(TOKEN)
    assert caught.value.reason is None


def test_a_call_that_never_began_has_no_trailers() -> None:
    class NeverBegan(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return Code.CANCELLED

        def details(self) -> str | None:
            return None

        def trailing_metadata(self) -> Any:
            return None

    failure = failure_of(NeverBegan())
    assert (failure.code, failure.reason, failure.message) == ("CANCELLED", None, "the call failed")


@pytest.mark.parametrize("error", [CallFailed, *CallFailed.__subclasses__()])
def test_a_failed_call_can_be_pickled(error: type[CallFailed]) -> None:
    before = error("broken", code="UNAVAILABLE", reason="STORE_UNAVAILABLE", metadata={"field": "x"})
    if isinstance(before, RevocationUnavailable):
        before.request_id = "r-1"
    after = pickle.loads(pickle.dumps(before))  # noqa: S301 # our own bytes
    assert type(after) is error
    assert (str(after), vars(after)) == (str(before), vars(before))


def test_a_rejection_can_be_pickled() -> None:
    rejection = Rejection(RejectionReason.EXPIRED, NextAction.REFRESH, "over")
    before = SessionRejected(rejection, Evidence(EvidenceSource.LOCAL))
    after = pickle.loads(pickle.dumps(before))  # noqa: S301 # our own bytes
    assert (after.rejection, after.evidence, str(after)) == (rejection, before.evidence, "EXPIRED: over")

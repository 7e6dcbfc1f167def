from typing import Any

import grpc
import pytest
from sidegate import (
    CallFailed,
    RevocationClient,
    RevocationUnavailable,
    SessionClient,
    SessionsEnded,
    VerificationUnavailable,
)
from sidegate.v1 import revocation_pb2, session_pb2, verification_pb2

from tests.unit.client.answers import ACCEPTED, SESSION, TOKEN
from tests.unit.client.fake_sidecar import Error, FakeSidecar, Silence
from tests.unit.client.twins import Twins

UNAVAILABLE = Error(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


def test_a_call_has_the_deadline_of_its_client(twins: Twins, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    sidecar.script("GetSession", revocation_pb2.GetSessionResponse())
    with twins.session_client(sidecar.target) as client, twins.revocation_client(sidecar.target) as admin:
        client.verify(TOKEN)
        admin.get_session("s-1")
    session_seconds, admin_seconds = sidecar.seconds_left["Verify"], sidecar.seconds_left["GetSession"]
    assert session_seconds is not None
    assert admin_seconds is not None
    # A little more than sent: the header counts in coarse units, and gRPC rounds up.
    assert 0 < session_seconds <= 1.1 < admin_seconds <= 5.1


def test_a_sidecar_that_never_answers_is_given_up_at_the_clients_deadline(twins: Twins, sidecar: FakeSidecar) -> None:
    silence = Silence()
    sidecar.script("Verify", silence)
    with twins.session_client(sidecar.target, timeout=0.2) as client:
        with pytest.raises(VerificationUnavailable) as caught:
            client.verify(TOKEN)
        assert (caught.value.code, caught.value.reason) == ("DEADLINE_EXCEEDED", None)
        assert caught.value.retryable
        assert silence.ended.wait(20)


METHODS: list[tuple[str, str, tuple[Any, ...], type[CallFailed]]] = [
    ("Verify", "verify", (TOKEN,), VerificationUnavailable),
    ("Verify", "check", (TOKEN,), VerificationUnavailable),
    ("SignOut", "sign_out", (TOKEN,), RevocationUnavailable),
    ("GetServingStatus", "serving_status", (), VerificationUnavailable),
]


@pytest.mark.parametrize(("rpc", "method", "arguments", "expected"), METHODS, ids=[row[1] for row in METHODS])
def test_a_call_may_have_a_deadline_of_its_own(
    client: SessionClient,
    sidecar: FakeSidecar,
    rpc: str,
    method: str,
    arguments: tuple[Any, ...],
    expected: type[CallFailed],
) -> None:
    sidecar.script(rpc, Silence())
    with pytest.raises(expected) as caught:
        getattr(client, method)(*arguments, timeout=0.2)
    assert caught.value.code == "DEADLINE_EXCEEDED"


ADMIN_METHODS: list[tuple[str, str, dict[str, Any]]] = [
    ("RevokeSession", "revoke_session", {"session_handle": "s-1"}),
    ("BatchRevokeSessions", "revoke_sessions", {"session_handles": ["s-1"]}),
    ("RevokeUserSessions", "revoke_user_sessions", {"user_id": "anna"}),
    ("RevokeTenantSessions", "revoke_tenant_sessions", {"tenant_id": "acme"}),
    ("RevokeSigningKey", "revoke_signing_key", {"key_id": "k1"}),
    (
        "RegisterSession",
        "register_session",
        {"session_handle": "s-1", "user_id": "anna", "session_expire_time": SESSION.token_expire_time},
    ),
    ("BatchRegisterSessions", "register_sessions", {"registrations": []}),
    ("GetSession", "get_session", {"session_handle": "s-1"}),
    ("ListSessions", "list_sessions", {"user_id": "anna"}),
    ("ListRevocations", "list_revocations", {}),
]


@pytest.mark.parametrize(("rpc", "method", "arguments"), ADMIN_METHODS, ids=[row[1] for row in ADMIN_METHODS])
def test_an_admin_call_may_have_a_deadline_of_its_own(
    admin: RevocationClient, sidecar: FakeSidecar, rpc: str, method: str, arguments: dict[str, Any]
) -> None:
    sidecar.script(rpc, Silence())
    with pytest.raises(RevocationUnavailable) as caught:
        # A list fails when it is walked.
        iter(getattr(admin, method)(**arguments, timeout=0.2)).__next__()
    assert caught.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_deadline_is_positive_and_finite(twins: Twins, client: SessionClient, timeout: float) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        twins.session_client(timeout=timeout)
    with pytest.raises(ValueError, match="positive, finite"):
        twins.revocation_client(timeout=timeout)
    with pytest.raises(ValueError, match="positive, finite"):
        client.verify(TOKEN, timeout=timeout)
    with pytest.raises(ValueError, match="positive, finite"):
        client.wait_until_ready(timeout)


def test_verify_is_tried_three_times(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", UNAVAILABLE)
    with pytest.raises(VerificationUnavailable) as caught:
        client.verify(TOKEN)
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert sidecar.calls("Verify") == 3


def test_a_sidecar_that_recovers_is_not_noticed(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", UNAVAILABLE, UNAVAILABLE, ACCEPTED)
    assert client.verify(TOKEN) == SESSION
    assert sidecar.calls("Verify") == 3


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}],
    ids=lambda code: code.name,
)
def test_of_verify_nothing_but_unavailable_is_retried(
    client: SessionClient, sidecar: FakeSidecar, code: grpc.StatusCode
) -> None:
    sidecar.script("Verify", Error(code), ACCEPTED)
    with pytest.raises(CallFailed):
        client.verify(TOKEN)
    assert sidecar.calls("Verify") == 1


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code.name not in {"OK", "UNAVAILABLE", "CANCELLED"}],
    ids=lambda code: code.name,
)
def test_of_an_admin_call_nothing_but_unavailable_and_cancelled_is_retried(
    admin: RevocationClient, sidecar: FakeSidecar, code: grpc.StatusCode
) -> None:
    sidecar.script("RevokeSession", Error(code), revocation_pb2.RevokeSessionResponse())
    with pytest.raises(CallFailed):
        admin.revoke_session("s-1")
    assert sidecar.calls("RevokeSession") == 1


def test_signing_out_is_not_retried(client: SessionClient, sidecar: FakeSidecar) -> None:
    # Had the first attempt ended the session, the second would be told that the token is revoked.
    sidecar.script("SignOut", UNAVAILABLE, verification_pb2.SignOutResponse())
    with pytest.raises(RevocationUnavailable):
        client.sign_out(TOKEN)
    assert sidecar.calls("SignOut") == 1
    assert isinstance(client.sign_out(TOKEN), SessionsEnded)


def test_a_revoke_is_repeated_under_the_same_request_id(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    answer = revocation_pb2.RevokeSessionResponse(revision=session_pb2.Revision(sequence=1))
    sidecar.script("RevokeSession", UNAVAILABLE, Error(grpc.StatusCode.CANCELLED), answer)
    assert admin.revoke_session("s-1").revision.sequence == 1
    first, *others = sidecar.requests["RevokeSession"]
    assert others == [first, first]
    assert first.request_id


def test_a_request_beyond_grpcs_own_retry_buffer_is_retried_too(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("BatchRevokeSessions", UNAVAILABLE, revocation_pb2.BatchRevokeSessionsResponse())
    admin.revoke_sessions([f"{number:0512}" for number in range(1000)])
    assert sidecar.calls("BatchRevokeSessions") == 2


def test_the_largest_answer_within_the_limit_is_taken(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    # Past 4 MiB, which is as much as gRPC takes unasked.
    sessions = [session_pb2.RegisteredSession(session_handle="s" * 4500) for _ in range(1000)]
    sidecar.script("ListSessions", revocation_pb2.ListSessionsResponse(sessions=sessions))
    assert len(list(admin.list_sessions("anna"))) == 1000

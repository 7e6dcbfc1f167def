"""What no caller of good will sends: a clear status or a rejection, and the sidecar goes on."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate.v1 import revocation_pb2, session_pb2, verification_pb2

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import (  # fmt: skip
    REVOCATION,
    SESSIONS,
    VERIFICATION,
    Sidecar,
    file_issuer,
    issuers_setting,
    running_sidecar,
)

MIB = 1024 * 1024
NOT_UTF_8 = b"\x0a\x04ab\xff\xfe"  # field 1, four bytes that are no UTF-8: no generated code would send it
TRUNCATED = b"\x0a\x7fabc"


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    other = FakeIssuer("https://other.example")
    entries = [file_issuer(each, module_folder) for each in (issuer, other)]
    with running_sidecar(module_folder, issuers=issuers_setting(*entries)) as running:
        yield running


@pytest.fixture(scope="module")
def channels(sidecar: Sidecar) -> Iterator[dict[str, grpc.Channel]]:
    """By service. They send whatever they are given."""
    options = [("grpc.max_send_message_length", -1)]
    with (
        grpc.insecure_channel(sidecar.target, options) as data,
        grpc.insecure_channel(sidecar.admin_target, options) as admin,
    ):
        yield {VERIFICATION: data, REVOCATION: admin, SESSIONS: admin}


@pytest.fixture(autouse=True)
def _goes_on(channels: dict[str, grpc.Channel], issuer: FakeIssuer) -> Iterator[None]:
    """After each of these tests a good token is still good."""
    yield
    answer = verify(channels, issuer.mint())
    assert answer.HasField("session")


def method_of(channels: dict[str, grpc.Channel], method: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    """Bytes in, bytes out."""
    return channels[method.partition("/")[0]].unary_unary(f"/{method}")


def send(channels: dict[str, grpc.Channel], method: str, request: Message | bytes) -> bytes:
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    return method_of(channels, method)(payload, timeout=20)


def verify(channels: dict[str, grpc.Channel], token: str) -> verification_pb2.VerifyResponse:
    answer = send(channels, f"{VERIFICATION}/Verify", verification_pb2.VerifyRequest(access_token=token))
    return verification_pb2.VerifyResponse.FromString(answer)


def refusal(channels: dict[str, grpc.Channel], method: str, request: Message | bytes) -> tuple[grpc.StatusCode, str]:
    """The status of a call, and the reason in its ErrorInfo. Nothing of the request may come back."""
    with pytest.raises(grpc.RpcError) as refused:
        send(channels, method, request)
    assert "Traceback" not in str(refused.value.details())
    info = ErrorInfo()
    # The stubs do not know that metadata comes in pairs.
    for key, value in cast("Iterable[tuple[str, str | bytes]]", refused.value.trailing_metadata() or ()):
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            (detail,) = Status.FromString(value).details
            assert detail.Unpack(info)
    return refused.value.code(), info.reason


def test_an_empty_token_is_a_mistake_of_the_caller(channels: dict[str, grpc.Channel]) -> None:
    assert refusal(channels, f"{VERIFICATION}/Verify", b"") == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("x" * MIB, id="1 MB of rubbish"),
        pytest.param("." * MIB, id="1 MB of dots"),
        pytest.param("eyJhbGciOiJSUzI1NiJ9." + "A" * MIB + ".AAAA", id="a header and 1 MB of payload"),
        pytest.param("é\u2028\0\x1b[31m" * 100, id="control characters"),
        pytest.param("x" * (16 * 1024 + 1), id="one byte past the limit"),
    ],
)
def test_rubbish_is_refused_as_malformed(channels: dict[str, grpc.Channel], token: str) -> None:
    assert verify(channels, token).rejection.reason == session_pb2.REJECTION_REASON_MALFORMED


def test_a_message_past_the_limit_is_not_read(channels: dict[str, grpc.Channel]) -> None:
    request = verification_pb2.VerifyRequest(access_token="x" * (5 * MIB + 1))

    assert refusal(channels, f"{VERIFICATION}/Verify", request)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("count", [0, 257, 10_000])
def test_a_batch_of_the_wrong_size_is_refused(channels: dict[str, grpc.Channel], count: int) -> None:
    request = verification_pb2.BatchVerifyRequest(
        requests=[verification_pb2.VerifyRequest(access_token="rubbish")] * count
    )

    assert refusal(channels, f"{VERIFICATION}/BatchVerify", request) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "BATCH_SIZE",
    )


def test_a_batch_of_the_worst_tokens_starves_nobody(channels: dict[str, grpc.Channel], issuer: FakeIssuer) -> None:
    """Each as large as one may be. The batch is answered, its rest shed if need be, and others are served meanwhile."""
    worst = issuer.mint(nested="[" * 8000)
    request = verification_pb2.BatchVerifyRequest(requests=[verification_pb2.VerifyRequest(access_token=worst)] * 256)
    method = method_of(channels, f"{VERIFICATION}/BatchVerify")

    batch = method.future(request.SerializeToString(), timeout=30)
    answers = [verify(channels, issuer.mint()) for _ in range(5)]

    assert all(answer.HasField("session") for answer in answers)
    assert len(verification_pb2.BatchVerifyResponse.FromString(batch.result()).results) == 256


@pytest.mark.parametrize(
    "payload", [NOT_UTF_8, TRUNCATED, b"\xff" * 100], ids=["bad UTF-8", "truncated", "no protobuf"]
)
@pytest.mark.parametrize(
    "method",
    [
        f"{VERIFICATION}/Verify",
        f"{VERIFICATION}/BatchVerify",
        f"{VERIFICATION}/SignOut",
        f"{REVOCATION}/RevokeSession",
        f"{REVOCATION}/RevokeUserSessions",
        f"{REVOCATION}/ListRevocations",
        f"{SESSIONS}/RegisterSession",
        f"{SESSIONS}/ListSessions",
    ],
)
def test_bytes_that_are_no_message_are_refused(channels: dict[str, grpc.Channel], method: str, payload: bytes) -> None:
    assert refusal(channels, method, payload) == (grpc.StatusCode.INVALID_ARGUMENT, "UNREADABLE_REQUEST")


@pytest.mark.parametrize("token", ["x", "x" * 5000, "é", "AAAA", "AAAAAAAAAAA=", "AAAAAAAAAAA5OTk5OTk5OTk5"])
@pytest.mark.parametrize("listing", ["ListRevocations", "ListSessions"])
def test_a_malformed_page_token_is_refused(channels: dict[str, grpc.Channel], listing: str, token: str) -> None:
    method, request = {
        "ListRevocations": (f"{REVOCATION}/ListRevocations", revocation_pb2.ListRevocationsRequest(page_token=token)),
        "ListSessions": (
            f"{SESSIONS}/ListSessions",
            revocation_pb2.ListSessionsRequest(issuer="https://issuer.example", user_id="u", page_token=token),
        ),
    }[listing]

    assert refusal(channels, method, request) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


def test_a_page_token_of_other_filters_is_refused(channels: dict[str, grpc.Channel], issuer: FakeIssuer) -> None:
    revoke = revocation_pb2.BatchRevokeSessionsRequest(issuer=issuer.name, session_handles=["p-1", "p-2"])
    send(channels, f"{REVOCATION}/BatchRevokeSessions", revoke)
    first = revocation_pb2.ListRevocationsResponse.FromString(
        send(channels, f"{REVOCATION}/ListRevocations", revocation_pb2.ListRevocationsRequest(page_size=1))
    )
    assert first.next_page_token
    others = revocation_pb2.ListRevocationsRequest(page_size=1, page_token=first.next_page_token, user_id="somebody")

    assert refusal(channels, f"{REVOCATION}/ListRevocations", others) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_PAGE_TOKEN",
    )


@pytest.mark.parametrize(
    ("issuer_name", "reason"),
    [("https://unknown.example", "UNKNOWN_ISSUER"), ("", "ISSUER_REQUIRED")],
    ids=["unknown", "absent"],
)
def test_the_issuer_must_be_known_and_named(channels: dict[str, grpc.Channel], issuer_name: str, reason: str) -> None:
    request = revocation_pb2.RevokeSessionRequest(issuer=issuer_name, session_handle="a")

    assert refusal(channels, f"{REVOCATION}/RevokeSession", request) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize("method", [f"{VERIFICATION}/Nothing", f"{REVOCATION}/Nothing"])
def test_a_method_that_does_not_exist_is_unimplemented(channels: dict[str, grpc.Channel], method: str) -> None:
    assert refusal(channels, method, b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_too_much_metadata_is_refused(channels: dict[str, grpc.Channel]) -> None:
    method = method_of(channels, f"{VERIFICATION}/Verify")
    with pytest.raises(grpc.RpcError) as refused:
        method(b"", timeout=20, metadata=(("x-long", "x" * 20_000),))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("size", [-1, 2**31 - 1])
def test_a_page_size_out_of_range_is_refused_or_cut(channels: dict[str, grpc.Channel], size: int) -> None:
    request = revocation_pb2.ListRevocationsRequest(page_size=size)
    if size < 0:
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert refusal(channels, f"{REVOCATION}/ListRevocations", request) == expected
    else:
        assert send(channels, f"{REVOCATION}/ListRevocations", request) is not None

"""Requests are refused for their number of fields before protobuf makes objects of them."""

from contextlib import suppress

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from sidegate.v1 import revocation_pb2, verification_pb2
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.rpc.shape import SPARE_FIELDS, check_shape, shape_of

VERIFY = "/sidegate.v1.VerificationService/Verify"
BATCH_VERIFY = "/sidegate.v1.VerificationService/BatchVerify"
BATCH_REVOKE = "/sidegate.v1.RevocationService/BatchRevokeSessions"
BATCH_REGISTER = "/sidegate.v1.SessionService/BatchRegisterSessions"
REVOKE = "/sidegate.v1.RevocationService/RevokeSession"

EMPTY_ITEM = b"\x0a\x00"  # field 1, no bytes
FIVE_MEGABYTES = 5 * 1024 * 1024


def _verify(audiences: int = 0) -> verification_pb2.VerifyRequest:
    return verification_pb2.VerifyRequest(access_token="t", accepted_audiences=["a"] * audiences)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (VERIFY, _verify(64)),
        (BATCH_VERIFY, verification_pb2.BatchVerifyRequest(requests=[_verify(64)] * 256)),
        (BATCH_REVOKE, revocation_pb2.BatchRevokeSessionsRequest(session_handles=["s"] * 1000, reason="r")),
        (
            BATCH_REGISTER,
            revocation_pb2.BatchRegisterSessionsRequest(
                requests=[revocation_pb2.RegisterSessionRequest(session_handle="s", user_id="u")] * 1000
            ),
        ),
    ],
    ids=["Verify", "BatchVerify", "BatchRevokeSessions", "BatchRegisterSessions"],
)
def test_the_largest_honest_request_passes(method: str, request_: Message) -> None:
    check_shape(request_.SerializeToString(), shape_of(method))


@pytest.mark.parametrize(
    ("method", "field", "limit"),
    [
        (VERIFY, "accepted_audiences", "64"),
        (BATCH_VERIFY, "requests", "256"),
        (BATCH_REVOKE, "session_handles", "1000"),
        (BATCH_REGISTER, "requests", "1000"),
        (REVOKE, "request", "0"),
    ],
)
def test_millions_of_empty_items_are_refused_by_name(method: str, field: str, limit: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_shape(EMPTY_ITEM * (FIVE_MEGABYTES // 2), shape_of(method))

    assert refused.value.reason == "BATCH_SIZE"
    assert refused.value.metadata == {"field": field, "limit": limit}


def test_no_more_than_the_first_field_too_many_is_read() -> None:
    unreadable = b"\xff" * 20

    with pytest.raises(InvalidRequest, match="more than 256 items"):
        check_shape(EMPTY_ITEM * (256 + SPARE_FIELDS) + unreadable, shape_of(BATCH_VERIFY))


def test_an_item_of_a_batch_is_bounded_too() -> None:
    hostile = verification_pb2.BatchVerifyRequest(requests=[_verify(), _verify(10_000)])

    with pytest.raises(InvalidRequest, match="accepted_audiences"):
        check_shape(hostile.SerializeToString(), shape_of(BATCH_VERIFY))


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\xff" * 11, b"\x80" * 10 + b"\x01", b"\x0b\x0c", b"\x0f"],
    ids=["a tag alone", "an endless number", "a number of eleven bytes", "a group", "wire type 7"],
)
def test_what_is_no_message_is_unreadable(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_shape(data, shape_of(VERIFY))

    assert refused.value.reason == "UNREADABLE_REQUEST"


@given(st.binary(max_size=200))
def test_any_bytes_pass_or_are_refused(data: bytes) -> None:
    for method in (VERIFY, BATCH_VERIFY):
        with suppress(InvalidRequest):
            check_shape(data, shape_of(method))


@given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=64), st.integers(-(2**63), 2**63 - 1))
def test_every_honest_verify_passes(token: str, audiences: list[str], sequence: int) -> None:
    request = verification_pb2.VerifyRequest(
        access_token=token, accepted_audiences=audiences, check_database=True, tenant_id=token
    )
    request.at_least_as_fresh.sequence = sequence

    check_shape(request.SerializeToString(), shape_of(VERIFY))

"""What a test can have go wrong, and that it is well again afterwards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from sidegate import (
    EvidenceSource,
    NextAction,
    RejectionReason,
    RevocationClient,
    RevocationUnavailable,
    SessionClient,
    SessionRejected,
    StoreState,
    VerificationUnavailable,
)
from sidegate.failures import failure_of
from sidegate.testing import FakeSidecar
from sidegate.v1 import (
    feed_pb2,
    feed_pb2_grpc,
    revocation_pb2,
    verification_pb2,
    verification_pb2_grpc,
)


@pytest.fixture
def channel(sidecar: FakeSidecar) -> Iterator[grpc.Channel]:
    """A channel that retries nothing."""
    with grpc.insecure_channel(sidecar.target, [("grpc.enable_retries", 0)]) as opened:
        yield opened


def watch(channel: grpc.Channel) -> "Iterator[feed_pb2.WatchRevocationsResponse]":
    return iter(feed_pb2_grpc.RevocationFeedServiceStub(channel).WatchRevocations(feed_pb2.WatchRevocationsRequest()))


def drain(feed: "Iterator[feed_pb2.WatchRevocationsResponse]") -> None:
    for _ in feed:
        pass


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return error.value.code()


def test_a_number_of_calls_fails_and_the_next_is_answered(sidecar: FakeSidecar, channel: grpc.Channel) -> None:
    stub = verification_pb2_grpc.VerificationServiceStub(channel)
    request = verification_pb2.VerifyRequest(access_token=sidecar.issue_token())

    sidecar.faults.answer_unavailable(2)

    for _ in range(2):
        with pytest.raises(grpc.RpcError) as failed:
            stub.Verify(request)
        assert code_of(failed) is grpc.StatusCode.UNAVAILABLE
    assert stub.Verify(request).HasField("session")


def test_a_feed_is_no_call_to_count_but_fails_with_all(sidecar: FakeSidecar, channel: grpc.Channel) -> None:
    sidecar.faults.answer_unavailable(1)
    assert next(watch(channel)).HasField("hello")

    sidecar.faults.answer_unavailable()
    with pytest.raises(grpc.RpcError) as failed:
        next(watch(channel))
    assert code_of(failed) is grpc.StatusCode.UNAVAILABLE


def test_the_clients_retries_hide_two_failures(sidecar: FakeSidecar, client: SessionClient) -> None:
    sidecar.faults.answer_unavailable(2)

    client.verify(sidecar.issue_token())


def test_all_calls_fail_until_told_otherwise(
    sidecar: FakeSidecar, client: SessionClient, admin: RevocationClient
) -> None:
    token = sidecar.issue_token()

    sidecar.faults.answer_unavailable(reason="INDEX_NOT_LOADED")

    with pytest.raises(VerificationUnavailable) as failed:
        client.verify(token)
    assert (failed.value.code, failed.value.reason) == ("UNAVAILABLE", "INDEX_NOT_LOADED")
    with pytest.raises(RevocationUnavailable):
        admin.revoke_session("s-1")
    with pytest.raises(VerificationUnavailable, match="NOT_SERVING"):
        client.wait_until_ready(0.1)

    sidecar.faults.clear()
    client.wait_until_ready()
    client.verify(token)
    assert sidecar.revision.sequence == 0


def test_it_is_alive_also_where_it_is_not_ready(sidecar: FakeSidecar, channel: grpc.Channel) -> None:
    # Spelled out because the stubs of grpc_health know no Check.
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    sidecar.faults.answer_unavailable()

    statuses = [
        check(health_pb2.HealthCheckRequest(service=service)).status
        for service in ("", "sidegate.v1.VerificationService", "liveness")
    ]

    answer = health_pb2.HealthCheckResponse
    assert statuses == [answer.NOT_SERVING, answer.NOT_SERVING, answer.SERVING]


@pytest.mark.parametrize(("calls", "reason"), [(None, "NO_SUCH_REASON"), (-1, "KEYS_UNAVAILABLE")])
def test_a_fault_that_makes_no_sense_is_refused(sidecar: FakeSidecar, calls: int | None, reason: str) -> None:
    with pytest.raises(ValueError, match=r"calls|NO_SUCH_REASON"):
        sidecar.faults.answer_unavailable(calls, reason=reason)


def test_a_late_answer_is_too_late_for_a_short_deadline_and_holds_nobody_up(
    sidecar: FakeSidecar, client: SessionClient
) -> None:
    token = sidecar.issue_token()

    sidecar.faults.answer_late(3600.0)

    with pytest.raises(VerificationUnavailable) as failed:
        client.verify(token, timeout=0.2)
    assert failed.value.code == "DEADLINE_EXCEEDED"
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.verify, token)
        sidecar.faults.clear()
        assert waiting.result().user_id == "ada"
    sidecar.faults.answer_late(3600.0)
    with ThreadPoolExecutor(1) as thread:
        cut = thread.submit(client.verify, token, timeout=5.0)
        sidecar.stop()
        with pytest.raises(VerificationUnavailable):
            cut.result()


def test_a_late_answer_comes(sidecar: FakeSidecar, client: SessionClient) -> None:
    sidecar.faults.answer_late(0.05)

    client.verify(sidecar.issue_token())


def test_a_token_is_refused_for_the_reason_given(sidecar: FakeSidecar, client: SessionClient) -> None:
    token, other = sidecar.issue_token(), sidecar.issue_token()

    sidecar.faults.reject(token, RejectionReason.USER_REVOKED, next_action=NextAction.REFRESH)
    sidecar.faults.reject("not.even.one", "SESSION_NOT_FOUND")

    for text, reason, next_action in (
        (token, RejectionReason.USER_REVOKED, NextAction.REFRESH),
        ("not.even.one", RejectionReason.SESSION_NOT_FOUND, NextAction.REAUTHENTICATE),
    ):
        with pytest.raises(SessionRejected) as refused:
            client.verify(text)
        assert (refused.value.reason, refused.value.next_action) == (reason, next_action)
    client.verify(other)
    sidecar.faults.clear()
    client.verify(token)


def test_a_silent_store_fails_what_needs_it_and_nothing_else(
    sidecar: FakeSidecar, client: SessionClient, admin: RevocationClient
) -> None:
    token = sidecar.issue_token("ada", "s-1")
    unclear = sidecar.issue_token("grace", "s-2")
    sidecar.revoke_user_sessions("grace", except_session_handle="s-3")

    sidecar.faults.take_store_down()

    assert client.verify(token).evidence.source is EvidenceSource.LOCAL
    for needy in (
        lambda: client.verify(token, check_database=True),
        lambda: client.sign_out(token),
        lambda: admin.revoke_session("s-1"),
    ):
        with pytest.raises((VerificationUnavailable, RevocationUnavailable)) as failed:
            needy()
        assert (failed.value.code, failed.value.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    with pytest.raises(SessionRejected):
        client.verify(unclear)  # its session was registered, so it was revoked by its handle too: memory is enough
    assert client.serving_status().store_state is StoreState.UNAVAILABLE
    lags = [client.verify(token).evidence.revocation_lag for _ in range(2)]
    assert lags[0] is not None
    assert lags[1] is not None
    assert timedelta(0) < lags[0] < lags[1]

    sidecar.faults.clear()
    assert client.verify(token, check_database=True).evidence.revocation_lag == timedelta(0)
    assert client.serving_status().store_state is StoreState.AVAILABLE


REGISTRATION = revocation_pb2.RegisterSessionRequest(
    session_handle="s-2", user_id="ada", session_expire_time=Timestamp(seconds=2**35)
)


@pytest.mark.parametrize(
    ("method", "request_message"),
    [
        ("RevocationService/ListRevocations", revocation_pb2.ListRevocationsRequest()),
        ("SessionService/GetSession", revocation_pb2.GetSessionRequest(session_handle="s-1")),
        ("SessionService/ListSessions", revocation_pb2.ListSessionsRequest(user_id="ada")),
        ("SessionService/RegisterSession", REGISTRATION),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_silent_store_can_neither_be_read_nor_written(
    sidecar: FakeSidecar, method: str, request_message: Message
) -> None:
    sidecar.issue_token("ada", "s-1")
    with grpc.insecure_channel(sidecar.admin_target, [("grpc.enable_retries", 0)]) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/sidegate.v1.{method}")
        ask(request_message.SerializeToString())

        sidecar.faults.take_store_down()

        with pytest.raises(grpc.RpcError) as failed:
            ask(request_message.SerializeToString())
    assert failure_of(failed.value).reason == "STORE_UNAVAILABLE"


def test_who_has_to_be_looked_up_cannot_be_judged_without_a_store(sidecar: FakeSidecar, client: SessionClient) -> None:
    sidecar.revoke_user_sessions("grace")
    token = sidecar.issue_token("grace")

    sidecar.faults.take_store_down()

    with pytest.raises(VerificationUnavailable) as failed:
        client.verify(token)
    assert failed.value.reason == "STORE_UNAVAILABLE"


def test_a_stalled_feed_says_nothing_until_it_flows_again(sidecar: FakeSidecar, channel: grpc.Channel) -> None:
    feed = watch(channel)
    assert next(feed).HasField("hello")
    assert next(feed).HasField("checkpoint")

    sidecar.faults.stall_feed()
    sidecar.revoke_session("s-1")
    with ThreadPoolExecutor(2) as threads:
        following, new = threads.submit(next, feed), threads.submit(next, watch(channel))
        with pytest.raises(TimeoutError):
            following.result(1.5)  # two checkpoints would have been due
        assert not new.done()
        sidecar.faults.clear()
        assert new.result().HasField("hello")

        assert [each.WhichOneof("subject") for each in following.result().revocations.revocations] == ["session_digest"]


def test_a_broken_feed_ends_and_so_does_every_new_one(sidecar: FakeSidecar, channel: grpc.Channel) -> None:
    feed = watch(channel)
    assert next(feed).HasField("hello")

    sidecar.faults.break_feed()

    with pytest.raises(grpc.RpcError) as failed:
        drain(feed)
    assert code_of(failed) is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as failed:
        next(watch(channel))
    assert code_of(failed) is grpc.StatusCode.UNAVAILABLE
    sidecar.faults.clear()
    assert next(watch(channel)).HasField("hello")


def test_open_feeds_hold_no_stop_up_and_end_with_it(sidecar: FakeSidecar, channel: grpc.Channel) -> None:
    feeds = [watch(channel) for _ in range(8)]
    for feed in feeds:
        next(feed)
    sidecar.faults.stall_feed()
    feeds += [watch(channel) for _ in range(8)]

    sidecar.stop()

    for feed in feeds:
        with pytest.raises(grpc.RpcError):
            drain(feed)


def test_a_feed_that_nobody_reads_any_more_gives_its_thread_back(sidecar: FakeSidecar) -> None:
    for _ in range(100):  # more than the fake has threads
        with closing(grpc.insecure_channel(sidecar.target, [("grpc.use_local_subchannel_pool", 1)])) as channel:
            assert next(watch(channel)).HasField("hello")

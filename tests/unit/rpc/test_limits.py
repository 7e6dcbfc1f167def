"""How much a server has in progress: what is let in, what is shed, and what ends because its time is up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate.v1 import feed_pb2, revocation_pb2, session_pb2
from sidegate.v1 import verification_pb2 as v1
from sidegate_sidecar.errors import Shed, StoreUnavailable
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.rpc import limits as rpc_limits
from sidegate_sidecar.rpc.boundary import Boundary, Context
from sidegate_sidecar.rpc.limits import Limit, Limits
from sidegate_sidecar.rpc.server import DATA_SOCKET_MODE, Endpoint, Service

TIMEOUT = 30
VERIFY = "/sidegate.v1.VerificationService/Verify"
BATCH_VERIFY = "/sidegate.v1.VerificationService/BatchVerify"
SIGN_OUT = "/sidegate.v1.VerificationService/SignOut"
STATUS = "/sidegate.v1.VerificationService/GetServingStatus"
REVOKE = "/sidegate.v1.RevocationService/RevokeSession"
REGISTER = "/sidegate.v1.SessionService/RegisterSession"
WATCH = "/sidegate.v1.RevocationFeedService/WatchRevocations"

PLAIN = v1.VerifyRequest(access_token="t")
CHECKED = v1.VerifyRequest(access_token="t", check_database=True)
FRESH = v1.VerifyRequest(access_token="t", at_least_as_fresh=session_pb2.Revision())  # empty, but there


def batch(*items: v1.VerifyRequest) -> v1.BatchVerifyRequest:
    return v1.BatchVerifyRequest(requests=items)


class Held:
    """A handler that says when it has begun, and answers when it is let go."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Message] = asyncio.Queue()
        self.let_go = asyncio.Event()
        self.ended: list[str] = []

    async def answer(self, request: Message, context: Context) -> str:
        self.begun.put_nowait(request)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        return "answered"


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def limits() -> Limits:
    return Limits()


def in_progress(limits: Limits) -> dict[str, int]:
    """What counts against each limit that anything counts against."""
    return {
        name: each.in_progress for name, each in vars(limits).items() if isinstance(each, Limit) and each.in_progress
    }


def room_for(limit: Limit, weight: int) -> None:
    """Leave room for so much and no more."""
    limit.most = limit.in_progress + weight


@pytest.mark.parametrize(
    ("method", "request_", "limit", "weight"),
    [
        pytest.param(VERIFY, PLAIN, "tokens", 1, id="Verify"),
        pytest.param(VERIFY, CHECKED, "lookups", 1, id="Verify with check_database"),
        pytest.param(VERIFY, FRESH, "lookups", 1, id="Verify with at_least_as_fresh"),
        pytest.param(BATCH_VERIFY, batch(PLAIN, PLAIN, PLAIN), "tokens", 3, id="BatchVerify"),
        pytest.param(BATCH_VERIFY, batch(PLAIN, PLAIN, CHECKED), "lookups", 3, id="BatchVerify with check_database"),
        pytest.param(BATCH_VERIFY, batch(PLAIN, FRESH), "lookups", 2, id="BatchVerify with at_least_as_fresh"),
        pytest.param(SIGN_OUT, v1.SignOutRequest(), "sign_outs", 1, id="SignOut"),
        pytest.param(REVOKE, revocation_pb2.RevokeSessionRequest(), "admin", 1, id="RevokeSession"),
        pytest.param(REGISTER, revocation_pb2.RegisterSessionRequest(), "admin", 1, id="RegisterSession"),
    ],
)
async def test_each_kind_of_call_counts_against_its_own_limit_until_it_is_answered(
    limits: Limits, held: Held, method: str, request_: Message, limit: str, weight: int
) -> None:
    of_its_kind: Limit = getattr(limits, limit)
    call = limits.of_call(method, held.answer)
    under_way = asyncio.ensure_future(call(request_, None))
    await held.begun.get()

    assert in_progress(limits) == {limit: weight}
    room_for(of_its_kind, weight - 1)
    with pytest.raises(Shed, match=r"^too many .+; back off before asking again$"):
        await call(request_, None)
    assert held.begun.empty()
    room_for(of_its_kind, weight)
    second = asyncio.ensure_future(call(request_, None))
    await held.begun.get()
    held.let_go.set()
    assert await asyncio.gather(under_way, second) == ["answered", "answered"]
    assert in_progress(limits) == {}


async def test_the_status_is_always_told(limits: Limits, held: Held) -> None:
    assert limits.of_call(STATUS, held.answer) == held.answer


@pytest.mark.parametrize("request_", [PLAIN, CHECKED], ids=["verify", "look-up"])
async def test_a_call_that_fails_or_is_cancelled_is_counted_no_more(limits: Limits, request_: Message) -> None:
    async def fail(request: Message, context: Context) -> None:
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable, match=r"^down$"):
        await limits.of_call(VERIFY, fail)(request_, None)
    held = Held()
    cancelled = asyncio.ensure_future(limits.of_call(VERIFY, held.answer)(request_, None))
    await held.begun.get()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled

    assert (in_progress(limits), held.ended) == ({}, ["cancelled"])


@pytest.mark.parametrize(
    ("seconds", "method", "request_"),
    [
        ("VERIFY_SECONDS", VERIFY, CHECKED),
        ("VERIFY_SECONDS", BATCH_VERIFY, batch(PLAIN)),
        ("ADMIN_SECONDS", REVOKE, revocation_pb2.RevokeSessionRequest()),
        ("ADMIN_SECONDS", SIGN_OUT, v1.SignOutRequest()),
    ],
    ids=["look-up", "batch", "revocation", "sign-out"],
)
async def test_a_call_that_does_not_end_is_ended_and_nobody_is_told_that_nothing_happened(
    limits: Limits, held: Held, monkeypatch: pytest.MonkeyPatch, seconds: str, method: str, request_: Message
) -> None:
    monkeypatch.setattr(rpc_limits, seconds, 0.01)

    with pytest.raises(StoreUnavailable, match=r"may have been done or may yet be; .* the same request_id$"):
        await limits.of_call(method, held.answer)(request_, None)

    assert held.ended == ["cancelled"]
    assert in_progress(limits) == {}


async def test_a_timeout_of_the_handlers_own_is_a_fault_of_ours_and_no_time_limit(limits: Limits) -> None:
    async def fail(request: Message, context: Context) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await limits.of_call(REVOKE, fail)(revocation_pb2.RevokeSessionRequest(), None)


async def test_those_whom_nobody_knows_yet_take_no_place_of_those_who_are_known(
    limits: Limits, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = partial(held.answer, PLAIN, None)
    strangers = asyncio.ensure_future(limits.admit(admission))
    await held.begun.get()

    assert in_progress(limits) == {"admissions": 1}
    room_for(limits.admissions, 0)
    with pytest.raises(Shed):
        await limits.admit(admission)
    held.let_go.set()
    assert await strangers == "answered"
    held.let_go.clear()
    room_for(limits.admissions, 1)
    monkeypatch.setattr(rpc_limits, "ADMISSION_SECONDS", 0.01)
    with pytest.raises(StoreUnavailable):
        await limits.admit(admission)
    assert in_progress(limits) == {}


class Bench:
    """A server whose Verify and watches wait, and channels to it."""

    def __init__(self, socket: Path) -> None:
        self.held = Held()
        self.endpoint = Endpoint(
            [Service("sidegate.v1.VerificationService", self._add_to)],
            [Listener(path=socket)],
            socket_mode=DATA_SOCKET_MODE,
            reflection_enabled=False,
        )
        boundary: Boundary = self.endpoint._boundary  # pyright: ignore[reportPrivateUsage] - to make its limits small
        self.limits = boundary.limits
        self.target = f"unix:{socket}"

    def _add_to(self, server: grpc.aio.Server) -> None:
        library: Any = grpc  # the stubs know only handlers that are no coroutines
        handlers: dict[str, dict[str, Any]] = {
            VERIFY: {
                "Verify": library.unary_unary_rpc_method_handler(
                    self._verify,
                    request_deserializer=v1.VerifyRequest.FromString,
                    response_serializer=v1.VerifyResponse.SerializeToString,
                )
            },
            WATCH: {
                "WatchRevocations": library.unary_stream_rpc_method_handler(
                    self._watch,
                    request_deserializer=feed_pb2.WatchRevocationsRequest.FromString,
                    response_serializer=feed_pb2.WatchRevocationsResponse.SerializeToString,
                )
            },
        }
        for path, methods in handlers.items():
            server.add_generic_rpc_handlers((library.method_handlers_generic_handler(path.split("/")[1], methods),))

    async def _verify(self, request: v1.VerifyRequest, context: Context) -> v1.VerifyResponse:
        if request.check_database:
            await self.held.answer(request, context)
        return v1.VerifyResponse()

    async def _watch(
        self, request: feed_pb2.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[feed_pb2.WatchRevocationsResponse]:
        yield feed_pb2.WatchRevocationsResponse()
        await self.held.answer(request, context)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "s")
    await bench.endpoint.start()
    yield bench
    bench.held.let_go.set()
    await bench.endpoint.stop(0)


async def ending(call: Awaitable[object]) -> tuple[str, str]:
    """A call's status, and the reason that came with it."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        info = ErrorInfo()
        for key, value in error.trailing_metadata():
            if str(key) == "grpc-status-details-bin" and isinstance(value, bytes):
                Status.FromString(value).details[0].Unpack(info)
        return error.code().name, info.reason
    return "OK", ""


Call = Callable[[v1.VerifyRequest], Awaitable[object]]


async def test_look_ups_over_many_connections_are_shed_and_shut_out_nobody_else(bench: Bench) -> None:
    """Each connection has few streams; it is their sum that has to be bounded."""
    room_for(bench.limits.lookups, 3)
    channels: list[Any] = [
        grpc.aio.insecure_channel(bench.target, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(5)
    ]

    def call(channel: Any, request: v1.VerifyRequest) -> Awaitable[object]:
        return channel.unary_unary(VERIFY)(request.SerializeToString(), timeout=TIMEOUT)

    try:
        waiting = [asyncio.ensure_future(ending(call(channel, CHECKED))) for channel in channels[:3]]
        for _ in waiting:
            await bench.held.begun.get()
        for channel in channels:
            assert await ending(call(channel, CHECKED)) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
            assert await ending(call(channel, PLAIN)) == ("OK", "")
        bench.held.let_go.set()
        assert await asyncio.gather(*waiting) == [("OK", "")] * 3
        assert await ending(call(channels[4], CHECKED)) == ("OK", "")
    finally:
        for channel in channels:
            await channel.close()


@pytest.mark.parametrize("method", [WATCH, "/grpc.health.v1.Health/Watch"], ids=["the feed", "health"])
async def test_streams_are_bounded_each_rpc_by_itself_and_a_place_is_free_once_one_has_ended(
    bench: Bench, method: str
) -> None:
    bench.held.let_go.clear()
    async with grpc.aio.insecure_channel(bench.target) as channel:
        untyped: Any = channel  # the stubs know no calls in bytes
        limit = bench.limits.of_streams(method)
        room_for(limit, 1)
        first = untyped.unary_stream(method)(b"", timeout=TIMEOUT)
        assert isinstance(await first.read(), bytes)

        assert await ending(untyped.unary_stream(method)(b"", timeout=TIMEOUT).read()) == (
            "RESOURCE_EXHAUSTED",
            "OVERLOADED",
        )
        assert await ending(untyped.unary_unary(VERIFY)(PLAIN.SerializeToString(), timeout=TIMEOUT)) == ("OK", "")
        first.cancel()
        async with asyncio.timeout(TIMEOUT):
            while limit.in_progress:  # noqa: ASYNC110 - it ends in grpc
                await asyncio.sleep(0.005)
        assert isinstance(await untyped.unary_stream(method)(b"", timeout=TIMEOUT).read(), bytes)


async def test_a_call_without_a_deadline_ends_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_limits, "VERIFY_SECONDS", 0.01)
    async with grpc.aio.insecure_channel(bench.target) as channel:
        untyped: Any = channel  # the stubs know no calls in bytes
        async with asyncio.timeout(TIMEOUT):
            ended = await ending(untyped.unary_unary(VERIFY)(CHECKED.SerializeToString()))

    assert (ended, bench.held.ended) == (("UNAVAILABLE", "STORE_UNAVAILABLE"), ["cancelled"])

"""The outermost layer, in a real server on a real socket: bytes that are no message, bugs, and callers that go away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from sidegate.v1.verification_pb2 import VerifyRequest, VerifyResponse
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.server import DATA_SOCKET_MODE, Endpoint, Service
from structlog.testing import capture_logs

SERVICE = "sidegate.v1.TinyService"
ASK, WATCH = f"/{SERVICE}/Ask", f"/{SERVICE}/Watch"
SECRET = "s3cret"
GIBBERISH = b"\xff\xff\xff\xff"
TIMEOUT = 30

Handler = Callable[[], Awaitable[None]]


class TinyService:
    """One RPC of each shape that we have; each does what the test says before it answers."""

    def __init__(self) -> None:
        self.act: Handler = _nothing

    async def ask(self, request: VerifyRequest, context: Context) -> VerifyResponse:
        await self.act()
        return VerifyResponse()

    async def watch(self, request: VerifyRequest, context: Context) -> AsyncIterator[VerifyResponse]:
        yield VerifyResponse()
        await self.act()
        yield VerifyResponse()

    def add_to(self, server: grpc.aio.Server) -> None:
        library: Any = grpc  # the stubs know only handlers that are no coroutines
        codec = {
            "request_deserializer": VerifyRequest.FromString,
            "response_serializer": VerifyResponse.SerializeToString,
        }
        handlers = {
            "Ask": library.unary_unary_rpc_method_handler(self.ask, **codec),
            "Watch": library.unary_stream_rpc_method_handler(self.watch, **codec),
        }
        server.add_generic_rpc_handlers((library.method_handlers_generic_handler(SERVICE, handlers),))


class Bench:
    """A server with the tiny service, and a channel to it that speaks in bytes."""

    def __init__(self, socket: Path) -> None:
        self.service = TinyService()
        self._endpoint = Endpoint(
            [Service(SERVICE, self.service.add_to)],
            [Listener(path=socket)],
            socket_mode=DATA_SOCKET_MODE,
            reflection_enabled=False,
        )
        self._channel: Any = grpc.aio.insecure_channel(f"unix:{socket}")  # the stubs know no calls in bytes

    async def __aenter__(self) -> "Bench":
        await self._endpoint.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
        await self._endpoint.stop(0)

    def call(self, method: str, request: bytes = b"") -> Any:
        if method == WATCH:
            return self._channel.unary_stream(method)(request, timeout=TIMEOUT)
        return self._channel.unary_unary(method)(request, timeout=TIMEOUT)

    async def answers(self, method: str, request: bytes = b"") -> list[bytes]:
        call = self.call(method, request)
        return [message async for message in call] if method == WATCH else [await call]

    async def failure(self, method: str, request: bytes = b"") -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.answers(method, request)
        return failed.value


async def _nothing() -> None: ...


async def _crash() -> None:
    raise RuntimeError(SECRET)


async def _store_is_down() -> None:
    raise StoreUnavailable("the store does not answer")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path / "s") as bench:
        yield bench


def error_info(failure: grpc.aio.AioRpcError) -> ErrorInfo:
    """What came with the status, as grpc carries it."""
    details = {str(key): value for key, value in failure.trailing_metadata()}["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status, info = Status.FromString(details), ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


each_shape = pytest.mark.parametrize("method", [ASK, WATCH], ids=["unary", "stream"])


async def test_what_the_handlers_answer_gets_through(bench: Bench) -> None:
    assert await bench.answers(ASK) == [b""]
    assert await bench.answers(WATCH) == [b"", b""]


@each_shape
async def test_bytes_that_are_no_message_are_the_callers_mistake(bench: Bench, method: str) -> None:
    with capture_logs() as logged:
        failure = await bench.failure(method, GIBBERISH)

    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(failure).reason == "UNREADABLE_REQUEST"
    assert logged == []


@each_shape
async def test_a_failure_of_ours_is_told_with_its_reason(bench: Bench, method: str) -> None:
    bench.service.act = _store_is_down

    failure = await bench.failure(method)

    assert (failure.code(), failure.details()) == (grpc.StatusCode.UNAVAILABLE, "the store does not answer")
    assert error_info(failure).reason == "STORE_UNAVAILABLE"


@each_shape
async def test_a_bug_is_an_incident_that_tells_the_caller_nothing(
    bench: Bench, method: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.service.act = _crash
    with capture_logs() as logged:
        failure = await bench.failure(method)

    incident_id = error_info(failure).metadata["incident_id"]
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert [(line["event"], line["incident_id"]) for line in logged] == [("internal_error", incident_id)]
    assert "_crash" in logged[0]["where"]
    printed = capfd.readouterr()
    for text in (str(failure), str(failure.debug_error_string()), str(logged), caplog.text, printed.out, printed.err):
        assert SECRET not in text
    assert "RuntimeError" not in str(failure)
    assert "Traceback" not in caplog.text + printed.err  # grpc prints one for what gets past the boundary


@each_shape
async def test_a_bug_in_one_call_leaves_the_others_alone(bench: Bench, method: str) -> None:
    bench.service.act = _crash
    with capture_logs():
        await bench.failure(method)
    bench.service.act = _nothing

    await test_what_the_handlers_answer_gets_through(bench)


@pytest.mark.parametrize(
    "method",
    [f"/{SERVICE}/Guess", "/sidegate.v2.TinyService/Ask", "/nobody.Service/Call", "/"],
)
async def test_a_method_that_there_is_not_is_unimplemented(bench: Bench, method: str) -> None:
    for _ in range(2):
        assert (await bench.failure(method)).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_served_without_the_boundary(bench: Bench) -> None:
    request = health_pb2.HealthCheckRequest(service=SERVICE)

    (answer,) = await bench.answers("/grpc.health.v1.Health/Check", request.SerializeToString())

    assert health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.NOT_SERVING


@each_shape
async def test_a_caller_that_goes_away_cancels_what_was_done_for_it(bench: Bench, method: str) -> None:
    begun, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def wait_for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set_result("cancelled")
            raise

    bench.service.act = wait_for_ever
    call = bench.call(method)
    if method == WATCH:
        assert await call.read() == b""
    await asyncio.wait_for(begun.wait(), TIMEOUT)
    with capture_logs() as logged:
        call.cancel()
        assert await asyncio.wait_for(ended, TIMEOUT) == "cancelled"

    assert logged == []

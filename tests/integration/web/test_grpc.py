"""Both kinds of interceptors, on real servers: every kind of method, and every way to be refused."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate import AsyncSessionClient, SessionClient
from sidegate.integrations.grpc import AioSessionInterceptor, SessionInterceptor, current_session
from sidegate.testing import FakeSidecar

SERVICE = "shop.v1.Orders"
KINDS = {
    "UnaryUnary": (False, False),
    "UnaryStream": (False, True),
    "StreamUnary": (True, False),
    "StreamStream": (True, True),
}
PATIENCE = 20.0

Call = Callable[..., list[bytes]]


def who() -> bytes:
    try:
        return current_session().user_id.encode()
    except LookupError:
        return b"nobody"


def sync_handlers() -> Mapping[str, Any]:
    make = cast("Any", grpc)

    def one(request: bytes, context: object) -> bytes:
        return who()

    def two(request: bytes, context: object) -> Iterator[bytes]:
        yield who()
        yield who()

    def joined(requests: Iterator[bytes], context: object) -> bytes:
        return b"".join(who() for _ in requests)

    def each(requests: Iterator[bytes], context: object) -> Iterator[bytes]:
        found = who()  # before the first item is asked for, as what is no generator function may
        return (found for _ in requests)

    return {
        "UnaryUnary": make.unary_unary_rpc_method_handler(one),
        "Optional": make.unary_unary_rpc_method_handler(one),
        "UnaryStream": make.unary_stream_rpc_method_handler(two),
        "StreamUnary": make.stream_unary_rpc_method_handler(joined),
        "StreamStream": make.stream_stream_rpc_method_handler(each),
    }


def aio_handlers() -> Mapping[str, Any]:
    make = cast("Any", grpc)

    async def one(request: Any, context: Any) -> bytes:
        return who()

    async def two(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield who()
        await asyncio.sleep(0)
        yield who()

    async def joined(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([who() async for _ in requests])

    async def each(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield who()

    return {
        "UnaryUnary": make.unary_unary_rpc_method_handler(one),
        "Optional": make.unary_unary_rpc_method_handler(one),
        "UnaryStream": make.unary_stream_rpc_method_handler(two),
        "StreamUnary": make.stream_unary_rpc_method_handler(joined),
        "StreamStream": make.stream_stream_rpc_method_handler(each),
    }


def handler_of(methods: Mapping[str, Any]) -> Any:
    return cast("Any", grpc).method_handlers_generic_handler(SERVICE, methods)


def requires_a_session(path: str) -> bool:
    return path != f"/{SERVICE}/Optional"


def rules() -> dict[str, Any]:
    return {
        "check_database": {f"/{SERVICE}/StreamUnary": True},
        "session_required": requires_a_session,
        "require": {"blocked": False},
    }


@pytest.fixture(params=["threads", "asyncio"])
def call(request: pytest.FixtureRequest, sidecar: FakeSidecar) -> Iterator[Call]:
    """Call a method of a server of each kind, with metadata; all that it answers."""
    ready = threading.Event()
    port: list[int] = []
    ending: list[Callable[[], object]] = []

    async def serve() -> None:
        async with AsyncSessionClient(sidecar.target, timeout=PATIENCE) as client:
            server = grpc.aio.server(interceptors=[AioSessionInterceptor(client, **rules())])
            server.add_generic_rpc_handlers((handler_of(aio_handlers()),))
            port.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            ending.append(lambda: loop.call_soon_threadsafe(done.set))
            ready.set()
            await done.wait()
            await server.stop(None)

    if request.param == "threads":
        client = SessionClient(sidecar.target, timeout=PATIENCE)
        # One thread, so that a session that stayed behind would be the next call's.
        server = grpc.server(ThreadPoolExecutor(1), interceptors=[SessionInterceptor(client, **rules())])
        server.add_generic_rpc_handlers((handler_of(sync_handlers()),))
        port.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        ending.append(lambda: (server.stop(None).wait(), client.close()))
    else:
        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert ready.wait(PATIENCE)
        ending.append(thread.join)

    def call_method(method: str, *metadata: tuple[str, str]) -> list[bytes]:
        streaming_in, streaming_out = KINDS.get(method, (False, False))
        kind = f"{'stream' if streaming_in else 'unary'}_{'stream' if streaming_out else 'unary'}"
        stub = getattr(channel, kind)(f"/{SERVICE}/{method}")
        answer = stub(iter([b"", b""]) if streaming_in else b"", metadata=metadata, timeout=PATIENCE)
        return list(answer) if streaming_out else [answer]

    with grpc.insecure_channel(f"127.0.0.1:{port[0]}") as channel:
        yield call_method
    for end in ending:
        end()


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def refusal(call: Call, method: str, *metadata: tuple[str, str]) -> tuple[str, str, dict[str, str]]:
    """The code, the reason and its metadata that a call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(method, *metadata)
    error: Any = caught.value
    (payload,) = (value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    status, info = Status.FromString(payload), ErrorInfo()
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert status.details[0].Unpack(info)
    assert info.domain == "sidegate.dev"
    return error.code().name, info.reason, dict(info.metadata)


@pytest.mark.parametrize("method", KINDS)
def test_a_handler_knows_whose_session_it_serves(call: Call, sidecar: FakeSidecar, method: str) -> None:
    answers = call(method, bearer(sidecar.issue_token("ada", claims={"blocked": False})))

    assert b"".join(answers) in {b"ada", b"adaada"}
    assert set(answers) <= {b"ada", b"adaada"}


def test_no_session_is_left_for_the_next_call(call: Call, sidecar: FakeSidecar) -> None:
    token = sidecar.issue_token("ada", claims={"blocked": False})
    for method in ("UnaryUnary", "UnaryStream", "StreamStream"):
        call(method, bearer(token))

    assert call("Optional") == [b"nobody"]
    assert call("Optional", bearer(token)) == [b"ada"]


@pytest.mark.parametrize("method", KINDS)
def test_a_call_without_a_token_is_refused(call: Call, method: str) -> None:
    assert refusal(call, method) == ("UNAUTHENTICATED", "UNAUTHENTICATED", {"problem": "NO_CREDENTIALS"})


@pytest.mark.parametrize("method", [*KINDS, "Optional"])
def test_a_bad_token_is_refused_with_its_reason(call: Call, sidecar: FakeSidecar, method: str) -> None:
    token = sidecar.issue_token(expires_in=-60)

    assert refusal(call, method, bearer(token)) == (
        "UNAUTHENTICATED",
        "UNAUTHENTICATED",
        {"rejection_reason": "EXPIRED", "next_action": "REFRESH"},
    )


def test_two_tokens_are_refused(call: Call, sidecar: FakeSidecar) -> None:
    token = bearer(sidecar.issue_token(claims={"blocked": False}))

    assert refusal(call, "UnaryUnary", token, token)[2] == {"problem": "DUPLICATE_CREDENTIALS"}


def test_a_session_that_lacks_what_is_required_is_denied(call: Call, sidecar: FakeSidecar) -> None:
    assert refusal(call, "UnaryUnary", bearer(sidecar.issue_token(claims={"blocked": True}))) == (
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        {"claim": "blocked"},
    )


def test_only_a_method_that_checks_the_database_needs_it(call: Call, sidecar: FakeSidecar) -> None:
    token = bearer(sidecar.issue_token(claims={"blocked": False}))
    sidecar.faults.take_store_down()

    assert call("UnaryUnary", token) == [b"ada"]
    assert refusal(call, "StreamUnary", token) == ("UNAVAILABLE", "STORE_UNAVAILABLE", {})


def test_an_unknown_method_stays_unknown(call: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call("Nonesuch")

    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["Orders/List", "/shop.v1.Orders", "/shop.v1.Orders/List/x", "List"])
def test_a_path_that_names_no_method_is_a_mistake(path: str) -> None:
    with (
        SessionClient("unix:///nowhere") as client,
        pytest.raises(ValueError, match=r"write /package\.Service/Method"),
    ):
        SessionInterceptor(client, check_database={path: True})

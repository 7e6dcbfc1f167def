"""A sidecar that says what it is told to: the generated services on a real server, with scripted answers."""

import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate.v1 import revocation_pb2_grpc, verification_pb2_grpc

from tests.fakes.certificate_authority import Pair


@dataclass(frozen=True)
class Error:
    """An RPC error to answer with. `details` overrides the serialized google.rpc.Status."""

    code: grpc.StatusCode
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    message: str = "so it was scripted"
    domain: str = "sidegate.dev"
    details: bytes | None = None


class Silence:
    """Never an answer. `reached` is set when the call has arrived, `ended` when the client has let go of it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.ended = threading.Event()


@dataclass(frozen=True)
class Raw:
    """Bytes in place of a serialized response."""

    payload: bytes


# What a grpc.health.v1.HealthCheckResponse looks like on the wire.
SERVING, NOT_SERVING = Raw(b"\x08\x01"), Raw(b"\x08\x02")

Answer: TypeAlias = Message | Error | Silence | Raw


def fail(error: Error, context: grpc.ServicerContext) -> NoReturn:
    payload = error.details
    if payload is None and error.reason is not None:
        packed = AnyMessage()
        packed.Pack(ErrorInfo(reason=error.reason, domain=error.domain, metadata=dict(error.metadata)))
        number: int = error.code.value[0]
        payload = Status(code=number, message=error.message, details=[packed]).SerializeToString()
    if payload is not None:
        context.set_trailing_metadata((("grpc-status-details-bin", payload),))
    context.abort(error.code, error.message)


class Unscripted:
    """Has every method that generated code registers; Scripted answers before one is called."""

    def __getattr__(self, name: str) -> Any:
        return name


class Scripted(grpc.ServerInterceptor):
    """Answers every call in place of the servicer, whose generated registration says which methods there are."""

    def __init__(self) -> None:
        self.answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self.requests: defaultdict[str, list[Any]] = defaultdict(list)
        self.seconds_left: dict[str, float | None] = {}

    def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        registered = continuation(handler_call_details)
        if registered is None:
            return None  # an unknown path is UNIMPLEMENTED, as it would be at a sidecar
        name = handler_call_details.method.rpartition("/")[2]

        def answer(request: Message, context: grpc.ServicerContext) -> Message | Raw:
            self.requests[name].append(request)
            self.seconds_left[name] = context.time_remaining()
            answers = self.answers[name]
            scripted = answers.popleft() if len(answers) > 1 else answers[0]
            if isinstance(scripted, Error):
                fail(scripted, context)
            if isinstance(scripted, Silence):
                context.add_callback(scripted.ended.set)
                scripted.reached.set()
                scripted.ended.wait()
                context.abort(grpc.StatusCode.CANCELLED, "nobody listens any more")
            return scripted

        def serialize(answered: Message | Raw) -> bytes:
            return answered.payload if isinstance(answered, Raw) else answered.SerializeToString()

        return cast("Any", grpc).unary_unary_rpc_method_handler(answer, registered.request_deserializer, serialize)


class FakeSidecar:
    """All services on one address, or some. The last answer scripted for a method is repeated for ever. Its health is
    SERVING until scripted otherwise.

    Args:
        pair: The certificate to serve with. None: without TLS.

    Attributes:
        target: Where it listens, as gRPC spells it.
        requests: By method name, all that came in, in order.
        seconds_left: By method name, until the deadline of the last call when it came in.
    """

    def __init__(
        self,
        address: str,
        *,
        data_plane: bool = True,
        admin_plane: bool = True,
        health: bool = True,
        pair: Pair | None = None,
    ) -> None:
        self._script = Scripted()
        servicer: Any = Unscripted()  # of every service at once
        self.requests = self._script.requests
        self.seconds_left = self._script.seconds_left
        self._server = grpc.server(
            ThreadPoolExecutor(8, thread_name_prefix="fake-sidecar"),
            interceptors=[self._script],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", 5 * 1024 * 1024),
                ("grpc.max_send_message_length", -1),
            ],
        )
        if data_plane:
            verification_pb2_grpc.add_VerificationServiceServicer_to_server(servicer, self._server)
        if admin_plane:
            revocation_pb2_grpc.add_RevocationServiceServicer_to_server(servicer, self._server)
            revocation_pb2_grpc.add_SessionServiceServicer_to_server(servicer, self._server)
        if health:
            check = cast("Any", grpc).unary_unary_rpc_method_handler(servicer.Check)
            handler = cast("Any", grpc).method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})
            self._server.add_generic_rpc_handlers((handler,))
            self.script("Check", SERVING)
        if pair is None:
            port = self._server.add_insecure_port(address)
        else:
            secured = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
            port = self._server.add_secure_port(address, secured)
        self.target = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        self._server.start()

    def script(self, method: str, *answers: Answer) -> None:
        """What to answer, in order."""
        self._script.answers[method] = deque(answers)

    def calls(self, method: str) -> int:
        """How often the method was called."""
        return len(self.requests[method])

    def stop(self) -> None:
        """End the calls under way, those that are never answered too, and close the port."""
        self._server.stop(None).wait()

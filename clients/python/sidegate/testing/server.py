"""A gRPC server of a fake sidecar: it lets calls in as the faults have it, and turns refusals into statuses."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, cast

import grpc

from sidegate.calls import MAX_MESSAGE_BYTES
from sidegate.errors import CallFailed
from sidegate.testing.faults import Faults
from sidegate.testing.refusals import abort

Services: TypeAlias = Mapping[str, Callable[[grpc.Server], None]]
"""What a server serves, by full name: each adds itself to it."""

THREADS = 64  # each open feed holds one

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # a grpc.health.v1.HealthCheckResponse on the wire


class Boundary(grpc.ServerInterceptor):
    """Wraps the handlers of every service but health.

    Args:
        faults: Decide who is let in.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, within the boundary."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith("/grpc.health."):
            return handler
        library = cast("Any", grpc)  # the stubs want to know the messages of each handler
        if handler.response_streaming:
            wrapped, wrap = self._stream(handler.unary_stream), library.unary_stream_rpc_method_handler
        else:
            wrapped, wrap = self._unary(handler.unary_unary), library.unary_unary_rpc_method_handler
        return wrap(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, answer: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def within_boundary(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._faults.admit(context, feed=False)
                return answer(request, context)
            except CallFailed as refusal:
                abort(refusal, context)

        return within_boundary

    def _stream(
        self, answer: Callable[[Any, grpc.ServicerContext], Iterator[Any]]
    ) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
        def within_boundary(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._faults.admit(context, feed=True)
                yield from answer(request, context)
            except CallFailed as refusal:
                abort(refusal, context)

        return within_boundary


class Plane:
    """One listener and its services. Can be stopped and started again, on the same address.

    Args:
        services: What it serves.
        faults: What is wrong with it.
    """

    def __init__(self, services: Services, faults: Faults) -> None:
        self._services = services
        self._faults = faults
        self._target = ""
        self._server: grpc.Server | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def target(self) -> str:
        """Where to connect. Raises: RuntimeError, if it was never started."""
        if not self._target:
            raise RuntimeError("not started yet")
        return self._target

    def start(self, address: str) -> None:
        """Serve, at the address of the time before if there was one. Starting what serves does nothing.

        Args:
            address: As gRPC spells it; port 0: a free one.

        Raises:
            RuntimeError: The address cannot be had.
        """
        if self._server is not None:
            return
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sidegate-testing")
        server = grpc.server(
            threads,
            interceptors=[Boundary(self._faults)],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)],
        )
        for add_to in self._services.values():
            add_to(server)
        server.add_generic_rpc_handlers((self._health(),))
        address = self._target or address
        port = server.add_insecure_port(address)
        server.start()
        self._target = f"{address.removesuffix(':0')}:{port}" if address.endswith(":0") else address
        self._server, self._threads = server, threads

    def stop(self) -> None:
        """End the calls under way and close the port. Stopping again does nothing."""
        server, self._server = self._server, None
        threads, self._threads = self._threads, None
        if server is not None:
            server.stop(None).wait()
        if threads is not None:
            threads.shutdown()

    def _health(self) -> Any:
        """grpc.health.v1.Health/Check. Its messages are small enough to be read and written by hand."""
        # An empty request means the whole server; else its only field, number 1, names a service.
        liveness, *services = (b"\x0a" + bytes([len(name)]) + name.encode() for name in ("liveness", *self._services))
        known = {b"", *services}

        def check(request: bytes, context: grpc.ServicerContext) -> bytes:
            if request == liveness:
                return _SERVING  # as long as it answers
            if request not in known:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            return _SERVING if self._faults.serving else _NOT_SERVING

        library = cast("Any", grpc)  # as above
        handler = library.unary_unary_rpc_method_handler(check)
        return library.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})

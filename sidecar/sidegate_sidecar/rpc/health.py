"""gRPC health (`grpc.health.v1.Health`) of one server, with watches that end when the server does.

The one of grpc_health keeps its Watch streams open for ever, and a server that stops waits for open calls: a single
health checker would hold every shutdown for the whole grace.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidegate_sidecar.rpc.boundary import Context

EVERYTHING = ""  # how health calls the server as a whole
LIVENESS = "liveness"  # for who restarts what hangs: not ready is no reason to


class Health(health_pb2_grpc.HealthServicer):
    """Whether the server and each of its services serve. NOT_SERVING until told otherwise; for good, once ended.

    Beside them there is `liveness`, which is SERVING for as long as anything is answered.

    Args:
        names: The full names of the services.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset((EVERYTHING, *names))
        self._status: int = health_pb2.HealthCheckResponse.NOT_SERVING
        self._ended = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Tell checkers and watchers. Without effect after the end."""
        if not self._ended:
            response = health_pb2.HealthCheckResponse
            self._status = response.SERVING if serving else response.NOT_SERVING
            self._announce()

    def end(self) -> None:
        """Say NOT_SERVING from now on, and end each watch once it has been told."""
        self.set_serving(False)
        self._ended = True

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """What health says now. NOT_FOUND: the server has no such service."""
        status = self._status_of(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, request: object, context: Context) -> Any:
        """What health says now of each service and of the whole."""
        messages: Any = health_pb2  # its stubs do not know List
        answers = {
            name: health_pb2.HealthCheckResponse(status=self._status_of(name)) for name in (*self._names, LIVENESS)
        }
        return messages.HealthListResponse(statuses=answers)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """What health says now and whenever that changes. A service that the server has not is SERVICE_UNKNOWN."""
        told: int | None = None
        while True:
            changed = self._changed  # taken before the status is read: no change falls between
            status = self._status_of(request.service)
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            elif self._ended:
                return
            else:
                await changed.wait()

    def _status_of(self, service: str) -> int:
        response = health_pb2.HealthCheckResponse
        if service == LIVENESS:
            return response.SERVING
        return self._status if service in self._names else response.SERVICE_UNKNOWN

    def _announce(self) -> None:
        """Wake every watch. Each waits for an event of its own time, so none misses a change while it sends."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

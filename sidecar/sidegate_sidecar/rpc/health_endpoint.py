"""Health and nothing else, for orchestrators that ask a pod's address. Strangers can ask too, and learn no more."""

import asyncio
import socket
from collections.abc import Sequence

from sidegate_sidecar.listener import Listener
from sidegate_sidecar.rpc.front import CLOSING_SECONDS, Front, this_connection
from sidegate_sidecar.rpc.passage import End, pass_on
from sidegate_sidecar.rpc.refusals import RefusalLog
from sidegate_sidecar.rpc.server import DATA_SOCKET_MODE, Endpoint

# Whoever reaches the pod may connect. What they hold must not be what verification needs: memory, file descriptors.
MAX_CONNECTIONS = 64
MAX_BYTES_EACH = 128 * 1024  # who asks four times a second needs that until the connection is a minute old
_OPTIONS = (
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS + 16),  # some of which end; for who gets past the front
    ("grpc.max_concurrent_streams", 8),
    ("grpc.max_receive_message_length", 1024),
    # And none of those places may be held for long.
    ("grpc.max_connection_idle_ms", 2_000),
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 1_000),
)


class HealthEndpoint:
    """As `Endpoint`. Its server listens on a port of this host, behind a front that bounds what it gets to read.

    Args:
        listeners: Addresses.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._endpoint = Endpoint(
            [],
            [Listener(host="127.0.0.1")],
            socket_mode=DATA_SOCKET_MODE,
            reflection_enabled=False,
            options=_OPTIONS,
        )
        self._front: _HealthFront | None = None

    async def start(self) -> list[Listener]:
        """As `Endpoint.start`."""
        [server] = await self._endpoint.start()
        self._front = _HealthFront(server)
        return [await self._front.listen(listener) for listener in self._listeners]

    def set_serving(self, serving: bool) -> None:
        """As `Endpoint.set_serving`."""
        self._endpoint.set_serving(serving)

    async def stop(self, grace: float) -> None:
        """As `Endpoint.stop`."""
        if self._front is not None:
            self._front.stop_accepting()
        await self._endpoint.stop(grace)
        if self._front is not None:
            await self._front.close()


class _HealthFront(Front):
    """Nobody is ever let through: all have to make do with what strangers have.

    Args:
        server: Where the server listens.
    """

    def __init__(self, server: Listener) -> None:
        super().__init__(
            RefusalLog("health_connection_refused"),
            places=lambda: MAX_CONNECTIONS,
            max_bytes=MAX_CONNECTIONS * MAX_BYTES_EACH,
            max_bytes_each=MAX_BYTES_EACH,
        )
        self._server = server

    async def _see_through(self, connection: socket.socket, address: str) -> None:
        outer = self._outer_end()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: outer, connection)
        except OSError:  # it was reset before that, which some systems say here
            connection.close()
            return
        self._strangers.shook_hands(this_connection())
        await pass_on(outer, self._connect, CLOSING_SECONDS)

    async def _connect(self, end: End) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: end, self._server.host, self._server.port)

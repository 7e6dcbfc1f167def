"""The admin listener for callers on other hosts: TLS in front, a gate before every call, and a server behind both."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.rpc.certificate_files import ServerTls
from sidegate_sidecar.rpc.gate import Gate, PeerOf
from sidegate_sidecar.rpc.limits import Limits
from sidegate_sidecar.rpc.server import ADMIN_SOCKET_MODE, Endpoint, Service
from sidegate_sidecar.rpc.tls_front import TlsFront

_MINUTE = 60_000
_OPTIONS = (
    # A connection is judged when it begins. So it, and every watch on it, is to begin anew from time to time, or who
    # came in under a CA that is trusted no more would stay for as long as they like.
    ("grpc.max_connection_age_ms", 10 * _MINUTE),
    ("grpc.max_connection_age_grace_ms", _MINUTE),
    ("grpc.max_connection_idle_ms", 5 * _MINUTE),
)


class TlsEndpoint:
    """As `Endpoint`, on addresses. Start once, stop once.

    Args:
        services: What it serves, and health.
        listeners: Addresses.
        tls: What to shake hands with.
        gate: Makes the gate, given how a connection's peer is found.
        reflection_enabled: Whether to serve reflection too.

    Raises:
        StartupError: There is no folder for its sockets, or one with too long a path.
    """

    def __init__(
        self,
        services: Sequence[Service],
        listeners: Sequence[Listener],
        *,
        tls: ServerTls,
        gate: Callable[[PeerOf], Gate],
        reflection_enabled: bool,
    ) -> None:
        self._listeners = listeners
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="sidegate-")  # mode 0700
        except OSError:
            raise StartupError(
                "the admin listener needs a temporary directory that it can write to; set TMPDIR"
            ) from None
        server = Path(self._folder.name, "server")
        try:
            self._front = TlsFront(lambda: tls.context, server)
        except ValueError as fault:
            self._folder.cleanup()
            raise StartupError(
                f"the admin listener cannot have its sockets in {self._folder.name}: {fault};"
                " set TMPDIR to a shorter path"
            ) from None
        self._endpoint = Endpoint(
            services,
            [Listener(path=server)],
            socket_mode=ADMIN_SOCKET_MODE,
            reflection_enabled=reflection_enabled,
            gate=gate(self._front.peer),
            options=_OPTIONS,
        )

    async def start(self) -> list[Listener]:
        """As `Endpoint.start`."""
        try:
            await self._endpoint.start()
            return [await self._front.listen(listener) for listener in self._listeners]
        except BaseException:
            self._front.stop_accepting()
            raise

    @property
    def limits(self) -> Limits:
        """As `Endpoint.limits`."""
        return self._endpoint.limits

    def set_serving(self, serving: bool) -> None:
        """As `Endpoint.set_serving`."""
        self._endpoint.set_serving(serving)

    async def stop(self, grace: float) -> None:
        """As `Endpoint.stop`."""
        self._front.stop_accepting()
        await self._endpoint.stop(grace)
        await self._front.close()
        self._folder.cleanup()

"""A gRPC server on its listeners: options that hold under attack, sockets with the right mode, a clean end."""

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidegate_sidecar.errors import ListenerUnavailable
from sidegate_sidecar.listener import Listener, check_socket_path
from sidegate_sidecar.rpc.boundary import Boundary, Gate
from sidegate_sidecar.rpc.health import Health
from sidegate_sidecar.rpc.limits import Limits

DATA_SOCKET_MODE = 0o660  # the application's containers, by the shared group
ADMIN_SOCKET_MODE = 0o600  # the owner alone: whoever can open it can revoke
SOCKET_DIRECTORY_MODE = 0o2750
LAST_WORDS_SECONDS = 0.25  # for answers to leave, and for streams to end, once nothing else is in progress
LETTING_GO_SECONDS = 1.0  # for connections to close; grpc goes on with one for as long as its client floods it

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second server silently shares the port
    ("grpc.max_concurrent_streams", 128),  # CVE-2023-44487: without it one attacker starves everybody
    ("grpc.max_receive_message_length", 5 * 1024 * 1024),  # 256 tokens of 16 KiB and what goes with them
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
)

_UNFINISHED: list[grpc.aio.Server] = []  # kept until the process ends: to free one is to wait for its connections

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """A service to serve: its full name, and what adds it to a server."""

    name: str
    add_to: Callable[[grpc.aio.Server], None]


class Endpoint:
    """One gRPC server with its services, listeners and health. Start once, stop once.

    Args:
        services: What it serves. Health is served beside them, for each by name and for all as "".
        listeners: Where.
        socket_mode: Of its Unix sockets.
        reflection_enabled: Whether to serve reflection too.
        gate: Stands before every call. None: whoever reaches a listener may call what is served there.
        options: For grpc, beside those that hold for every server or in their place.
    """

    def __init__(
        self,
        services: Sequence[Service],
        listeners: Sequence[Listener],
        *,
        socket_mode: int,
        reflection_enabled: bool,
        gate: Gate | None = None,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._listeners = listeners
        self._socket_mode = socket_mode
        self._locks: list[int] = []
        names = [service.name for service in services]
        self._health = Health(names)
        self._boundary = Boundary(gate)
        told = {**dict(_OPTIONS), **dict(options)}  # of two values for one option grpc would take the first
        self._server = grpc.aio.server(interceptors=[self._boundary], options=tuple(told.items()))
        for service in services:
            service.add_to(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflection_enabled:
            reflection.enable_server_reflection(
                [*names, "grpc.health.v1.Health", reflection.SERVICE_NAME], self._server
            )

    async def start(self) -> list[Listener]:
        """Bind and serve; NOT_SERVING by health. Where it listens, with the ports that the system chose.

        Raises:
            ListenerUnavailable: A listener cannot be had.
        """
        try:
            bound = [await self._bind(listener) for listener in self._listeners]
        except BaseException:
            self._unlock()
            raise
        await self._server.start()
        return bound

    @property
    def limits(self) -> Limits:
        """What it may have in progress."""
        return self._boundary.limits

    def set_serving(self, serving: bool) -> None:
        """Tell health checkers and those who watch health."""
        self._health.set_serving(serving)

    async def stop(self, grace: float) -> None:
        """Health first, so that no new caller comes; then let calls in flight finish, for `grace` seconds at most.

        Streams are to end by themselves. One whose client does not read never does, whatever its handler says, and is
        not waited for. Nor is a connection that will not close: it ends with the process.
        """
        self._health.end()
        stopping = asyncio.ensure_future(self._server.stop(grace))
        while not stopping.done():
            answered = asyncio.ensure_future(self._boundary.unanswered.wait_for_none())
            await asyncio.wait({stopping, answered}, return_when=asyncio.FIRST_COMPLETED)
            answered.cancel()
            await asyncio.wait({stopping}, timeout=LAST_WORDS_SECONDS)
            if not len(self._boundary.unanswered):
                break
        ending = asyncio.ensure_future(self._server.stop(None))
        _, unfinished = await asyncio.wait({stopping, ending}, timeout=LETTING_GO_SECONDS)
        if unfinished:
            _UNFINISHED.append(self._server)
            _log.warning("connections_left", listeners=[str(listener) for listener in self._listeners])
        self._unlock()

    async def _bind(self, listener: Listener) -> Listener:
        if listener.path is None:
            await _check_name(listener)
            try:
                port = self._server.add_insecure_port(str(listener))
            except RuntimeError:
                port = 0
            if port == 0:
                raise ListenerUnavailable(f"cannot listen on {listener}: the address is in use or not this host's")
            return Listener(host=listener.host, port=port)
        try:
            check_socket_path(listener.path)
        except ValueError as fault:
            raise ListenerUnavailable(f"cannot listen on {listener}: {fault}") from None
        self._locks.append(_claim(listener.path))
        before = os.umask(0o777 & ~self._socket_mode)  # grpc creates the socket with the mode that the umask leaves
        try:
            self._server.add_insecure_port(f"unix:{listener.path}")
        except RuntimeError:
            raise ListenerUnavailable(f"cannot listen on {listener}: the path is not writable") from None
        finally:
            os.umask(before)
        return listener

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())


async def _check_name(listener: Listener) -> None:
    """Tell a name that leads nowhere from an address that is taken: grpc says the same of both."""
    try:
        await asyncio.get_running_loop().getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: no name at all, e.g. with a label of 64 characters
        raise ListenerUnavailable(f"cannot listen on {listener}: the name {listener.host} does not resolve") from None


def _claim(path: Path) -> int:
    """Make the socket's directory and lock its name; the lock's file descriptor.

    grpc silently takes over a path that another server listens on, so a lock file beside it says who has it. A socket
    without a holder of the lock was left by a process that died, and grpc replaces it.
    """
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(SOCKET_DIRECTORY_MODE)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as fault:
        raise ListenerUnavailable(f"cannot listen on unix://{path}: {fault.filename}: {fault.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ListenerUnavailable(f"cannot listen on unix://{path}: another process listens there") from None
    return lock

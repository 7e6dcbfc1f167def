"""TLS in front of a gRPC server: shakes hands, remembers who is on the line, and passes bytes on.

Of grpc's own TLS Python has two switches: client certificates are demanded, or not even asked for. It neither takes a
certificate from one caller and a token from the next, nor says of a handshake that failed that it did or why. Both are
needed here, so the handshake is made by OpenSSL, in front, and grpc serves in the clear on a Unix socket in a folder
that nobody else can enter. Each connection reaches it from a socket with a name of its own, which is what grpc calls
the peer, and by which its client certificate is found again.
"""

import asyncio
import resource
import secrets
import socket
import ssl
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from sidegate_sidecar.access import Certificate, read_certificate
from sidegate_sidecar.errors import ListenerUnavailable
from sidegate_sidecar.listener import Listener, check_socket_path
from sidegate_sidecar.rpc.http2_meter import Http2Meter, NotMeasurable
from sidegate_sidecar.rpc.passage import End, pass_on
from sidegate_sidecar.rpc.refusals import RefusalLog
from sidegate_sidecar.rpc.strangers import Connection, Strangers

HANDSHAKE_SECONDS = 5.0
MAX_CONNECTIONS = 512  # each may hold 400 kB of what its client does not read, or sends without end
DESCRIPTORS_PER_CONNECTION = 3  # to the client, and both ends of the socket to the server
BACKLOG = 128
CLOSING_SECONDS = 1.0  # for the last bytes and TLS's goodbye
BREATH_SECONDS = 0.1  # before accepting again, where the system could not
_NAME_BYTES = 8  # of randomness, in the name of a connection's own socket


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        address: Where they are.
        certificate: None: they brought none.
        keep: To be called once a call of theirs was let through: then their place is nobody else's.
    """

    address: str
    certificate: Certificate | None
    keep: Callable[[], object]


class TlsFront:
    """Listens, and passes what comes through TLS on to a server's Unix socket.

    Args:
        context: What to shake hands with; asked for each connection.
        server: The Unix socket, in a folder that is nobody else's. Connections get sockets beside it.

    Raises:
        ValueError: The folder's path leaves no room for the name of a connection's socket.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], server: Path) -> None:
        check_socket_path(server.parent / _name())
        self._context = context
        self._server = server
        self._peers: dict[str, Peer] = {}
        self._listening: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._refusals = RefusalLog("admin_connection_refused")
        self._strangers = Strangers(self._refused)

    def peer(self, grpc_peer: str) -> Peer | None:
        """Who is on a connection that grpc calls by that name. None: nobody that is still here."""
        return self._peers.get(grpc_peer.rpartition("/")[2])

    async def listen(self, listener: Listener) -> Listener:
        """Accept connections from now on. Where it listens, with the port that the system chose.

        Raises:
            ListenerUnavailable: The address is taken, or not this host's.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except (OSError, UnicodeError):
            raise ListenerUnavailable(
                f"cannot listen on {listener}: the name {listener.host} does not resolve"
            ) from None
        family, _, _, _, address = found[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        self._listening.append(listening)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not SO_REUSEPORT: two would share it
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            raise ListenerUnavailable(
                f"cannot listen on {listener}: the address is in use or not this host's"
            ) from None
        listening.setblocking(False)
        loop.add_reader(listening, self._accept, listening)
        return Listener(host=listener.host, port=listening.getsockname()[1])

    def stop_accepting(self) -> None:
        """Let nobody new in."""
        while self._listening:
            listening = self._listening.pop()
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    async def close(self) -> None:
        """End what is left, once its server has ended: the last bytes first."""
        self.stop_accepting()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSING_SECONDS)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        """Called when somebody is there. Not a task that waits: cancelling one can lose a connection just accepted."""
        try:
            connection, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # gone again
        except OSError:  # out of file descriptors
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(BREATH_SECONDS, self._accept_again, listening)
            return
        if len(self._connections) >= _places() and not self._strangers.make_room():
            connection.close()
            self._refused(_named(address), "too many connections")
            return
        connection.setblocking(False)
        task = asyncio.create_task(self._serve(connection, _named(address)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        self._strangers.came(task, _named(address))
        task.add_done_callback(self._strangers.forget)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def _serve(self, connection: socket.socket, address: str) -> None:
        with _frames_cleared():
            await self._see_through(connection, address)

    async def _see_through(self, connection: socket.socket, address: str) -> None:
        task = cast("Connection", asyncio.current_task())
        outer = End(partial(self._screened, task, Http2Meter()))
        try:
            with _frames_cleared():
                await _shake_hands(outer, connection, self._context())
        except (ConnectionResetError, BrokenPipeError):
            return  # hung up without a word: somebody looked whether the port is open
        except OSError as fault:
            self._refused(address, _in_words(fault))
            return
        self._strangers.shook_hands(task)
        try:
            certificate = _certificate_of(outer.transport)
        except ValueError as fault:
            self._refused(address, str(fault))
            outer.transport.close()
            return
        name = _name()
        own = self._server.parent / name
        self._peers[name] = Peer(address, certificate, keep=partial(self._strangers.let_through, task))
        try:
            await _pass_on(outer, own, self._server)
        finally:
            del self._peers[name]
            own.unlink(missing_ok=True)

    def _screened(self, connection: Connection, meter: Http2Meter, chunk: bytes) -> bytes:
        """What the server gets now of what a client has sent: of strangers no headers without bounds.

        Raises:
            ConnectionAbortedError: No more of that connection.
        """
        if self._strangers.knows(connection):
            return meter.rest() + chunk
        try:
            passing, size = meter.take(chunk)
        except NotMeasurable as fault:
            self._strangers.turn_away(connection, str(fault))
            raise ConnectionAbortedError("it cannot be measured") from fault
        self._strangers.sent(connection, size)
        return passing

    def _refused(self, address: str, cause: str) -> None:
        self._refusals.write(peer=address, cause=cause)


@contextmanager
def _frames_cleared() -> Generator[None, None, None]:
    """Have what is raised hold nothing of where it was raised.

    A future that holds it is held there, and so is a connection, with 256 KiB of asyncio's buffers or more. Such a
    circle stays until the garbage collector finds it, and a flood makes hundreds of them before that.
    """
    try:
        yield
    except BaseException as fault:
        traceback.clear_frames(fault.__traceback__)
        raise


async def _shake_hands(end: End, connection: socket.socket, context: ssl.SSLContext) -> None:
    """Return once TLS stands. Owns the connection. Raises OSError, of which ssl.SSLError is one."""
    await asyncio.get_running_loop().connect_accepted_socket(
        lambda: end,
        connection,
        ssl=context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=CLOSING_SECONDS,
    )


def _places() -> int:
    """How many connections there may be. They take half of the file descriptors that the process may have at most:
    without one nobody could come, or verify, or ask the store, and nobody would be made to give way.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # RLIM_INFINITY is negative
    return MAX_CONNECTIONS if descriptors < 0 else min(MAX_CONNECTIONS, descriptors // 2 // DESCRIPTORS_PER_CONNECTION)


def _name() -> str:
    """For a connection's own socket."""
    return secrets.token_hex(_NAME_BYTES)


def _certificate_of(transport: asyncio.Transport) -> Certificate | None:
    """The client's certificate. Raises ValueError: it cannot be read, or what is spoken here is not HTTP/2."""
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    if tls.selected_alpn_protocol() != "h2":
        raise ValueError("the client does not speak HTTP/2")
    der = tls.getpeercert(binary_form=True)
    return None if der is None else read_certificate(der)


async def _pass_on(outer: End, own: Path, server: Path) -> None:
    """Pass on what comes to the server, and back, until either has ended."""
    inner = End()
    try:
        await _connect(inner, own, server)
    except BaseException as fault:
        outer.transport.close()
        if not isinstance(fault, OSError):
            raise
        return  # the server has ended, or there is no file descriptor left
    await pass_on(outer, inner, CLOSING_SECONDS)


async def _connect(end: End, own: Path, server: Path) -> None:
    """Connect to the server from a socket of that name. Raises OSError."""
    inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        inner.setblocking(False)
        inner.bind(str(own))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(inner, str(server))
        await loop.create_unix_connection(lambda: end, sock=inner)
    except BaseException:
        inner.close()
        raise


def _in_words(fault: OSError) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"the client certificate is not good: {fault.verify_message}"
    if isinstance(fault, ssl.SSLError):
        if fault.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "no client certificate"
        return f"the TLS handshake failed: {(fault.reason or 'unknown').replace('_', ' ').lower()}"
    return "the TLS handshake did not end in time"


def _named(address: object) -> str:
    """A socket's address as text, e.g. "192.0.2.1:4711"."""
    host, port = cast("tuple[str, int]", address)[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

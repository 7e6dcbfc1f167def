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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sidegate_sidecar.access import Certificate, read_certificate
from sidegate_sidecar.listener import check_socket_path
from sidegate_sidecar.rpc.front import CLOSING_SECONDS, Front, frames_cleared, this_connection
from sidegate_sidecar.rpc.passage import End, pass_on
from sidegate_sidecar.rpc.refusals import RefusalLog

HANDSHAKE_SECONDS = 5.0
MAX_CONNECTIONS = 512  # each may hold 700 kB: asyncio's buffers, and what its client does not read or not end
MAX_STRANGERS_BYTES = 16 * 1024 * 1024  # a first call may have 2 MB: a thousand sessions
DESCRIPTORS_PER_CONNECTION = 3  # to the client, and both ends of the socket to the server
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


class TlsFront(Front):
    """Listens, and passes what comes through TLS on to a server's Unix socket.

    Args:
        context: What to shake hands with; asked for each connection.
        server: The Unix socket, in a folder that is nobody else's. Connections get sockets beside it.

    Raises:
        ValueError: The folder's path leaves no room for the name of a connection's socket.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], server: Path) -> None:
        super().__init__(
            RefusalLog("admin_connection_refused"),
            places=_places,
            max_bytes=MAX_STRANGERS_BYTES,
            max_bytes_each=MAX_STRANGERS_BYTES,
        )
        check_socket_path(server.parent / _name())
        self._context = context
        self._server = server
        self._peers: dict[str, Peer] = {}

    def peer(self, grpc_peer: str) -> Peer | None:
        """Who is on a connection that grpc calls by that name. None: nobody that is still here."""
        return self._peers.get(grpc_peer.rpartition("/")[2])

    async def _see_through(self, connection: socket.socket, address: str) -> None:
        outer = self._outer_end()
        try:
            with frames_cleared():
                await _shake_hands(outer, connection, self._context())
        except (ConnectionResetError, BrokenPipeError):
            return  # hung up without a word: somebody looked whether the port is open
        except OSError as fault:
            self._refused(address, _in_words(fault))
            return
        self._strangers.shook_hands(this_connection())
        try:
            certificate = _certificate_of(outer.transport)
        except ValueError as fault:
            self._refused(address, str(fault))
            outer.transport.abort()  # it holds no place any more
            return
        name = _name()
        own = self._server.parent / name
        self._peers[name] = Peer(address, certificate, keep=partial(self._strangers.let_through, this_connection()))
        try:
            await pass_on(outer, partial(_connect, own, self._server), CLOSING_SECONDS)
        finally:
            del self._peers[name]
            own.unlink(missing_ok=True)


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


async def _connect(own: Path, server: Path, end: End) -> None:
    """Connect to the server from a socket of that name. Raises OSError: it has ended, or no descriptor is left."""
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

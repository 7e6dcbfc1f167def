"""An endpoint behind TLS in this process, its one RPC, and who comes to it."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from sidegate_sidecar.access import Authority, Grant, Role
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import Demand, StoreFacts, Subject, Verdict, wall_clock
from sidegate_sidecar.rpc.actor import ACTOR
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.certificate_files import CertificateFiles, ServerTls
from sidegate_sidecar.rpc.gate import Gate, PeerOf
from sidegate_sidecar.rpc.server import Service
from sidegate_sidecar.rpc.tls_endpoint import TlsEndpoint

from tests.fakes.certificate_authority import CertificateAuthority, Pair

SERVICE = "sidegate.v1.RevocationFeedService"  # of which the table of roles knows a method
METHOD = f"/{SERVICE}/WatchRevocations"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LOOPBACK = Listener(host="127.0.0.1")
TIMEOUT = 30


class NoTokens:
    async def verify(self, demand: Demand) -> Verdict:
        raise AssertionError("no token is brought here")


async def look_up(_: Sequence[Subject]) -> list[StoreFacts]:
    raise AssertionError("no grant here hangs on the store")


class Held:
    """An RPC that answers with its actor when it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def answer(self, request: Empty, context: Context) -> Empty:
        self.entered.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await context.send_initial_metadata((("actor", ACTOR.get()),))
        return Empty()

    def add_to(self, server: grpc.aio.Server) -> None:
        library: Any = grpc  # the stubs know only handlers that are no coroutines
        handler = library.unary_unary_rpc_method_handler(
            self.answer, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (library.method_handlers_generic_handler(SERVICE, {"WatchRevocations": handler}),)
        )


class Bench:
    """An endpoint, its authority and its one RPC."""

    def __init__(self, folder: Path, at: Listener = LOOPBACK, *, reflection_enabled: bool = False) -> None:
        self.authority = CertificateAuthority()
        self.held = Held()
        certificate, key = self.authority.issue_for_loopback().write(folder, "server")
        bundle = folder / "ca.crt"
        bundle.write_bytes(self.authority.bundle)
        self.pair = self.authority.issue(dns=["auditor.internal"])
        tls = ServerTls(CertificateFiles(certificate, key, bundle), requires_client_certificate=False)
        granted = Authority([Grant("mtls:auditor.internal", frozenset({Role.AUDITOR}))], NoTokens(), wall_clock)

        def gate(peer_of: PeerOf) -> Gate:
            return Gate(granted, look_up, None, peer_of)

        self.endpoint = TlsEndpoint(
            [Service(SERVICE, self.held.add_to)], [at], tls=tls, gate=gate, reflection_enabled=reflection_enabled
        )

    @asynccontextmanager
    async def calling(self, at: Listener, pair: Pair | None) -> AsyncGenerator[Callable[[], Any], None]:
        async with self.connected(at, pair) as channel:
            yield lambda: channel.unary_unary(METHOD)(b"", timeout=TIMEOUT)

    @asynccontextmanager
    async def connected(self, at: Listener, pair: Pair | None) -> AsyncGenerator[Any, None]:
        """A channel. The stubs know no calls in bytes."""
        credentials = grpc.ssl_channel_credentials(
            self.authority.bundle, *((None, None) if pair is None else (pair.key, pair.certificate))
        )
        async with grpc.aio.secure_channel(str(at), credentials) as channel:
            yield channel


async def accepts(at: Listener) -> bool:
    """Whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection(at.host, at.port)
    except ConnectionError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def stranger(
    bench: Bench, at: Listener
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """Has shaken hands without a certificate, and says no more."""
    context = ssl.create_default_context(cadata=bench.authority.bundle.decode())
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(at.host, at.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def was_cut_off(reader: asyncio.StreamReader) -> bool:
    """Once the listener has ended the connection. What HTTP/2 begins with may come before that."""
    async with asyncio.timeout(TIMEOUT):
        with suppress(ConnectionError):
            await reader.read()
    return True

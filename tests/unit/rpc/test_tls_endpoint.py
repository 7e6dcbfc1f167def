"""The listener behind TLS in this process: whom it lets to the server, how it drains, and what it leaves behind."""

import asyncio
import gc
import os
import resource
import socket
import ssl
import tempfile
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc_reflection.v1alpha import reflection_pb2
from sidegate_sidecar.access import Authority, Grant, Role
from sidegate_sidecar.errors import ListenerUnavailable, StartupError
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import Demand, StoreFacts, Subject, Verdict, wall_clock
from sidegate_sidecar.rpc import refusals, tls_front
from sidegate_sidecar.rpc.actor import ACTOR
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.certificate_files import CertificateFiles, ServerTls
from sidegate_sidecar.rpc.gate import Gate, PeerOf
from sidegate_sidecar.rpc.passage import End, pass_on
from sidegate_sidecar.rpc.server import Service
from sidegate_sidecar.rpc.tls_endpoint import TlsEndpoint
from structlog.testing import capture_logs

from tests.fakes import wire
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


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Where files lie, and where temporary ones are made: by a short path, for a socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sg-") as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        yield tmp_path, Path(temporary)


@pytest.fixture
async def bench(folders: tuple[Path, Path]) -> AsyncIterator[Bench]:
    bench = Bench(folders[0])  # grpc wants the loop to run already
    yield bench
    await bench.endpoint.stop(0)


async def test_calls_in_flight_finish_when_it_stops_and_nothing_is_left(
    bench: Bench, folders: tuple[Path, Path]
) -> None:
    [at] = await bench.endpoint.start()
    async with bench.calling(at, bench.pair) as call:
        under_way = call()
        await bench.held.entered.wait()
        stopping = asyncio.create_task(bench.endpoint.stop(TIMEOUT))
        while await accepts(at):
            pass
        bench.held.let_go.set()

        assert await under_way == b""
        assert dict(await under_way.initial_metadata())["actor"] == "mtls:auditor.internal"
        await stopping
    assert list(folders[1].iterdir()) == []


async def test_a_caller_that_goes_away_ends_its_call(bench: Bench) -> None:
    [at] = await bench.endpoint.start()
    async with bench.calling(at, bench.pair) as call:
        under_way = call()
        await bench.held.entered.wait()
        under_way.cancel()
    async with asyncio.timeout(TIMEOUT):
        await bench.held.cancelled.wait()


async def test_who_gets_to_the_socket_behind_it_is_nobody(bench: Bench, folders: tuple[Path, Path]) -> None:
    await bench.endpoint.start()
    [folder] = folders[1].iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    channel: Any = grpc.aio.insecure_channel(f"unix:{folder}/server")
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(METHOD)(b"", timeout=TIMEOUT)
    await channel.close()

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [entry["cause"] for entry in logs] == ["the connection did not come through the listener"]


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


async def test_who_was_let_in_keeps_the_place_that_a_newcomer_would_need(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_front, "MAX_CONNECTIONS", 1)
    [at] = await bench.endpoint.start()
    async with bench.calling(at, bench.pair) as call:
        under_way = call()
        await bench.held.entered.wait()
        with capture_logs() as logs, pytest.raises(ConnectionError):
            async with stranger(bench, at):
                pass
        bench.held.let_go.set()

        assert await under_way == b""
    assert [(entry["event"], entry["cause"]) for entry in logs] == [
        ("admin_connection_refused", "too many connections")
    ]


async def test_strangers_who_finish_the_handshake_do_not_keep_newcomers_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_front, "MAX_CONNECTIONS", 2)
    bench.held.let_go.set()
    [at] = await bench.endpoint.start()
    async with stranger(bench, at) as (first, _), stranger(bench, at), bench.calling(at, bench.pair) as call:
        with capture_logs() as logs:
            assert await call() == b""
        assert await was_cut_off(first)
    assert [entry["cause"] for entry in logs] == ["too many connections"]


async def test_a_call_that_was_refused_keeps_no_place(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_front, "MAX_CONNECTIONS", 1)
    bench.held.let_go.set()
    [at] = await bench.endpoint.start()
    async with bench.calling(at, None) as call, bench.calling(at, bench.pair) as good_call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call()

        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await good_call() == b""


async def test_a_caller_who_asks_in_a_stream_keeps_the_place(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_front, "MAX_CONNECTIONS", 2)
    bench = Bench(folders[0], reflection_enabled=True)
    try:
        bench.held.let_go.set()
        [at] = await bench.endpoint.start()
        question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        async with bench.connected(at, bench.pair) as channel:
            stream = channel.stream_stream(REFLECTION)(timeout=TIMEOUT)
            await stream.write(question)
            assert await stream.read()
            async with stranger(bench, at) as (younger, _), bench.calling(at, bench.pair) as call:
                assert await call() == b""
                assert await was_cut_off(younger)
            await stream.write(question)
            assert await stream.read()
            stream.cancel()
    finally:
        await bench.endpoint.stop(0)


async def test_a_flood_of_strangers_hides_no_refusal_of_who_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_A_SECOND", 1)
    [at] = await bench.endpoint.start()
    with capture_logs() as logs:
        for pair in (None, None, bench.authority.issue(dns=["other.internal"])):
            async with bench.calling(at, pair) as call:
                with pytest.raises(grpc.aio.AioRpcError):
                    await call()
    assert "mtls:other.internal" in [entry["actor"] for entry in logs]


async def test_handshakes_that_stop_do_not_push_out_who_has_finished_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_front, "MAX_CONNECTIONS", 3)
    [at] = await bench.endpoint.start()
    async with stranger(bench, at) as (finished, _):
        begun = [await asyncio.open_connection(at.host, at.port) for _ in range(6)]
        assert await was_cut_off(begun[0][0])

        assert not finished.at_eof()
        for _, writer in begun:
            writer.transport.abort()


async def test_who_sends_more_than_strangers_may_gives_way(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_front, "MAX_STRANGERS_BYTES", 100_000)
    bench = Bench(folders[0])
    try:
        bench.held.let_go.set()
        [at] = await bench.endpoint.start()
        async with stranger(bench, at) as (greedy, writing):
            writing.write(wire.hello() + (1_000_000).to_bytes(3) + bytes(6) + bytes(200_000))  # a frame of data
            with capture_logs() as logs:
                assert await was_cut_off(greedy)
            async with bench.calling(at, bench.pair) as call:
                assert await call() == b""
        assert [entry["cause"] for entry in logs] == ["too much without a call"]
    finally:
        await bench.endpoint.stop(0)


async def test_headers_without_end_are_turned_away(bench: Bench) -> None:
    [at] = await bench.endpoint.start()
    async with stranger(bench, at) as (reading, writing):
        with capture_logs() as logs:
            writing.write(wire.hello() + wire.headers(1, wire.header_block()))
            for _ in range(20):
                writing.write(wire.continuation(1, b"\x10\x01x\x04more" * 1000))
            assert await was_cut_off(reading)
    assert [entry["cause"] for entry in logs] == ["headers without end"]


async def test_who_was_let_through_may_send_more_than_strangers_may(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_front, "MAX_STRANGERS_BYTES", 100_000)
    bench = Bench(folders[0])
    try:
        bench.held.let_go.set()
        [at] = await bench.endpoint.start()
        async with bench.connected(at, bench.pair) as channel:
            for _ in range(20):
                long = (("x-long", "x" * 7000),)
                assert await channel.unary_unary(METHOD)(b"", timeout=TIMEOUT, metadata=long) == b""
    finally:
        await bench.endpoint.stop(0)


async def test_a_connection_ends_where_no_file_descriptor_is_left_for_its_other_half(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    outer = End()
    await asyncio.get_running_loop().create_connection(lambda: outer, sock=here)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        connect = tls_front._connect  # pyright: ignore[reportPrivateUsage] - accepting would need a descriptor too
        await pass_on(outer, partial(connect, tmp_path / "own", tmp_path / "server"), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert outer.transport.is_closing()
    there.close()


async def test_a_handshake_that_does_not_go_on_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_front, "HANDSHAKE_SECONDS", 0.1)
    [at] = await bench.endpoint.start()
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        async with asyncio.timeout(TIMEOUT):
            assert await reader.read() == b""
        writer.close()

    assert [entry["cause"] for entry in logs] == ["the TLS handshake did not end in time"]


def tls_connections() -> list[SSLProtocol]:
    """All in this process that have not been freed."""
    return [each for each in gc.get_objects() if type(each) is SSLProtocol]  # isinstance() wakes what Django makes late


@pytest.mark.parametrize("ending", ["hanging up", "giving way", "taking too long"])
async def test_a_handshake_that_fails_leaves_no_buffers_to_the_garbage_collector(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(tls_front, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(tls_front, "HANDSHAKE_SECONDS", 0.1 if ending == "taking too long" else TIMEOUT)
    [at] = await bench.endpoint.start()
    others = tls_connections()  # of tests before this one
    gc.disable()
    try:
        begun = [await asyncio.open_connection(at.host, at.port) for _ in range(2 if ending == "giving way" else 1)]
        if ending != "hanging up":
            assert await was_cut_off(begun[0][0])
        for _, writer in begun:
            writer.transport.abort()
        async with asyncio.timeout(TIMEOUT):
            while any(each not in others for each in tls_connections()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_on_every_address_is_on_those_of_both_families(folders: tuple[Path, Path]) -> None:
    bench = Bench(folders[0], Listener(host="0.0.0.0"))  # noqa: S104 - it is about just that
    try:
        [at] = await bench.endpoint.start()
        with capture_logs() as logs:
            for host in ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
                reader, writer = await asyncio.open_connection(host, at.port)
                writer.write(b"no TLS")
                assert await was_cut_off(reader)
                writer.close()
    finally:
        await bench.endpoint.stop(0)
    assert [entry["peer"].rpartition(":")[0] for entry in logs] == ["127.0.0.1", "[::1]"][: len(logs)]
    assert logs


async def test_a_name_is_listened_on_wherever_it_leads(folders: tuple[Path, Path]) -> None:
    bench = Bench(folders[0], Listener(host="localhost"))
    try:
        [at] = await bench.endpoint.start()
        for *_, (host, *_) in socket.getaddrinfo("localhost", at.port, type=socket.SOCK_STREAM):
            assert await accepts(Listener(host=str(host), port=at.port))
    finally:
        await bench.endpoint.stop(0)


async def test_an_address_that_cannot_be_had_is_said(folders: tuple[Path, Path]) -> None:
    first = Bench(folders[0])
    [at] = await first.endpoint.start()
    second = Bench(folders[0], at)
    try:
        with pytest.raises(ListenerUnavailable, match="the address is in use"):
            await second.endpoint.start()
    finally:
        await second.endpoint.stop(0)
        await first.endpoint.stop(0)
    assert list(folders[1].iterdir()) == []


def test_no_folder_to_write_to_refuses_the_start(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StartupError, match="set TMPDIR"):
        Bench(folders[0])


async def test_a_folder_whose_path_is_too_long_for_its_sockets_refuses_the_start(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own socket would fit, and a connection's would not: it would be dropped without a word."""
    made = "sidegate-" + "x" * 8
    room = 107 - len(f"/{made}/") - len("server")
    long = folders[1] / ("t" * (room - len(f"{folders[1]}/")))
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    with pytest.raises(
        StartupError, match=r"has at most 107 bytes, and this one has 117; set TMPDIR to a shorter path"
    ):
        Bench(folders[0])
    assert list(long.iterdir()) == []

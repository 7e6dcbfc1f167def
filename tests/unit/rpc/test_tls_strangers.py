"""Strangers at the listener behind TLS, in this process: what they may hold of it, and who gives way to whom."""

import asyncio
import gc
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from sidegate_sidecar.rpc import refusals, tls_front
from structlog.testing import capture_logs

from tests.fakes import wire
from tests.unit.rpc.tls_bench import METHOD, REFLECTION, TIMEOUT, Bench, stranger, was_cut_off


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


@pytest.fixture
async def narrow_bench(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """One where strangers may have sent no more than 100 kB."""
    monkeypatch.setattr(tls_front, "MAX_STRANGERS_BYTES", 100_000)
    bench = Bench(folders[0])
    bench.held.let_go.set()
    yield bench
    await bench.endpoint.stop(0)


async def test_who_sends_more_than_strangers_may_gives_way(narrow_bench: Bench) -> None:
    [at] = await narrow_bench.endpoint.start()
    async with stranger(narrow_bench, at) as (greedy, writing):
        writing.write(wire.hello() + (1_000_000).to_bytes(3) + bytes(6) + bytes(200_000))  # a frame of data
        with capture_logs() as logs:
            assert await was_cut_off(greedy)
        async with narrow_bench.calling(at, narrow_bench.pair) as call:
            assert await call() == b""
    assert [entry["cause"] for entry in logs] == ["too much without a call"]


async def test_headers_without_end_are_turned_away(bench: Bench) -> None:
    [at] = await bench.endpoint.start()
    async with stranger(bench, at) as (reading, writing):
        with capture_logs() as logs:
            writing.write(wire.hello() + wire.headers(1, wire.header_block()))
            for _ in range(20):
                writing.write(wire.continuation(1, b"\x10\x01x\x04more" * 1000))
            assert await was_cut_off(reading)
    assert [entry["cause"] for entry in logs] == ["headers without end"]


async def test_who_was_let_through_may_send_more_than_strangers_may(narrow_bench: Bench) -> None:
    [at] = await narrow_bench.endpoint.start()
    async with narrow_bench.connected(at, narrow_bench.pair) as channel:
        for _ in range(20):
            long = (("x-long", "x" * 7000),)
            assert await channel.unary_unary(METHOD)(b"", timeout=TIMEOUT, metadata=long) == b""


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

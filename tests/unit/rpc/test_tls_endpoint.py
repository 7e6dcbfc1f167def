"""The listener behind TLS in this process: whom it lets to the server, how it drains, and what it leaves behind."""

import asyncio
import os
import resource
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from sidegate_sidecar.errors import ListenerUnavailable, StartupError
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.rpc import tls_front
from sidegate_sidecar.rpc.passage import End, pass_on
from structlog.testing import capture_logs

from tests.unit.rpc.tls_bench import METHOD, TIMEOUT, Bench, accepts, was_cut_off


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

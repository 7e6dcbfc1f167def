"""A passage between two connections: nothing is lost, nobody is sent more than they take, and its end is an end."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from sidegate_sidecar.rpc.passage import End, pass_on

TIMEOUT = 30
MUCH = 32 * 1024 * 1024  # more than all buffers on the way have room for


class Line:
    """A client, a server, and the passage between them.

    Attributes:
        client, server: Their sockets, which wait for nothing.
    """

    def __init__(self, screened: Callable[[bytes], bytes] = bytes) -> None:
        self.client, self._here = socket.socketpair()
        self.server, self._there = socket.socketpair()
        for end in (self.client, self.server):
            end.setblocking(False)
        self.outer = End(screened)
        self.connect = asyncio.Event()
        self.passing: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self.outer, sock=self._here)
        self.passing = asyncio.create_task(pass_on(self.outer, self._connect, 1))

    async def _connect(self, inner: End) -> None:
        await self.connect.wait()
        await asyncio.get_running_loop().create_connection(lambda: inner, sock=self._there)

    async def end(self) -> None:
        assert self.passing is not None
        self.passing.cancel()
        with suppress(asyncio.CancelledError):
            await self.passing
        self.client.close()
        self.server.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    await line.begin()
    yield line
    await line.end()


async def received(end: socket.socket, number: int) -> bytes:
    """So many bytes, or as many as come before the end."""
    loop = asyncio.get_running_loop()
    got = bytearray()
    async with asyncio.timeout(TIMEOUT):
        while len(got) < number and (chunk := await loop.sock_recv(end, 65_536)):
            got += chunk
    return bytes(got)


async def test_bytes_pass_both_ways(line: Line) -> None:
    line.connect.set()
    line.client.send(b"question")
    assert await received(line.server, 8) == b"question"
    line.server.send(b"answer")
    assert await received(line.client, 6) == b"answer"


async def test_what_came_before_the_other_end_stood_passes_too(line: Line) -> None:
    line.client.send(b"early")
    line.outer.data_received(b"very ")  # as Python before 3.11.4 does
    line.connect.set()
    assert await received(line.server, 10) == b"very early"


async def test_who_sends_waits_for_who_reads(line: Line) -> None:
    line.connect.set()
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(loop.sock_sendall(line.client, bytes(MUCH)))
    got = len(await received(line.server, 1))
    waited = 0
    while line.outer.transport.is_reading():
        waited += 1
        await asyncio.sleep(0)
        assert waited < 100_000, "it goes on reading"
    assert not sending.done()

    assert len(await received(line.server, MUCH - got)) == MUCH - got
    await sending


@pytest.mark.parametrize("ending", ["client", "server"])
async def test_when_one_side_ends_what_it_said_still_arrives_and_the_other_is_ended(line: Line, ending: str) -> None:
    line.connect.set()
    here, there = (line.client, line.server) if ending == "client" else (line.server, line.client)
    here.send(b"hello")
    assert await received(there, 5) == b"hello"
    here.send(b"goodbye")
    here.close()
    assert await received(there, 100) == b"goodbye"
    assert line.passing is not None
    await line.passing


async def test_who_may_send_no_more_is_cut_off_and_so_is_the_other_end() -> None:
    def screened(_: bytes) -> bytes:
        raise ConnectionAbortedError

    line = Line(screened)
    await line.begin()
    line.connect.set()
    line.client.send(b"question")
    assert await received(line.server, 1) == b""
    with suppress(ConnectionResetError):
        assert await received(line.client, 1) == b""
    await line.end()


async def test_where_the_other_end_cannot_be_had_the_first_is_closed() -> None:
    async def connect(_: End) -> None:
        raise ConnectionRefusedError

    client, here = socket.socketpair()
    client.setblocking(False)
    outer = End()
    await asyncio.get_running_loop().create_connection(lambda: outer, sock=here)
    await pass_on(outer, connect, 1)
    assert await received(client, 1) == b""
    client.close()

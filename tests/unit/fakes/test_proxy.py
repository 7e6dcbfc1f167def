"""The proxy does to a link what it says."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.postgres_wire import Message
from tests.fakes.proxy import LostNotifications, Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def upstream_port() -> AsyncIterator[int]:
    """A server that sends back what it gets, and closes after its client."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionError:
            pass  # a test has cut the link
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def proxy(upstream_port: int) -> Iterator[Proxy]:
    with Proxy(upstream_port) as running:
        yield running


async def connected(proxy: Proxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def ask(streams: Streams, text: bytes) -> bytes:
    reader, writer = streams
    writer.write(text)
    return await reader.readexactly(len(text))


async def connect_and_read(proxy: Proxy) -> None:
    """Raises: ConnectionResetError, before the connection stands or after."""
    reader, writer = await connected(proxy)
    try:
        await reader.read(1)
    finally:
        writer.close()


async def is_silent(streams: Streams) -> bool:
    """Whether nothing comes, and no end either, in a while in which an echo would have come a hundred times."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(streams[0].read(1), 0.2)
    return True


async def test_it_forwards_both_ways_and_counts_connections(proxy: Proxy) -> None:
    for number in range(3):
        streams = await connected(proxy)
        assert await ask(streams, b"hello" * 20_000) == b"hello" * 20_000
        assert proxy.connections == number + 1
        streams[1].close()


async def test_an_end_is_forwarded(proxy: Proxy) -> None:
    reader, writer = await connected(proxy)
    writer.write(b"last words")
    writer.write_eof()
    assert await reader.read() == b"last words"
    writer.close()


async def test_a_black_hole_swallows_and_closes_nothing(proxy: Proxy) -> None:
    old = await connected(proxy)
    assert await ask(old, b"before") == b"before"
    proxy.black_hole()
    new = await connected(proxy)
    for streams in (old, new):
        streams[1].write(b"lost?")
        assert await is_silent(streams)
    proxy.heal()
    for streams in (old, new):
        assert await streams[0].readexactly(5) == b"lost?"  # TCP sends again what was swallowed
        assert await ask(streams, b"after") == b"after"
        streams[1].close()


async def test_a_link_that_is_cut_is_reset(proxy: Proxy) -> None:
    streams = await connected(proxy)
    assert await ask(streams, b"before") == b"before"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await streams[0].read(1)
    streams[1].close()
    streams = await connected(proxy)
    assert await ask(streams, b"after") == b"after"
    streams[1].close()


async def test_a_link_in_a_black_hole_can_be_cut(proxy: Proxy) -> None:
    proxy.black_hole()
    streams = await connected(proxy)
    assert await is_silent(streams)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await streams[0].read(1)
    streams[1].close()


async def test_connections_are_refused_until_it_heals(proxy: Proxy) -> None:
    streams = await connected(proxy)
    assert await ask(streams, b"before") == b"before"
    for _ in range(3):
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await streams[0].read(1)
        streams[1].close()
        with pytest.raises(ConnectionRefusedError):
            await connected(proxy)
        proxy.heal()
        streams = await connected(proxy)
        assert await ask(streams, b"after") == b"after"
    streams[1].close()


async def test_what_is_delayed_comes_no_sooner(proxy: Proxy) -> None:
    streams = await connected(proxy)
    assert await ask(streams, b"before") == b"before"
    clock = asyncio.get_running_loop().time
    proxy.delay(0.1)
    began = clock()
    assert await ask(streams, b"slow") == b"slow"
    assert clock() - began >= 0.2  # there and back; never flaky, for a busy machine only takes longer
    streams[1].close()


async def test_it_resets_who_asks_where_nobody_listens() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with Proxy(silent.getsockname()[1]) as proxy, pytest.raises(ConnectionResetError):
            await connect_and_read(proxy)


async def test_a_reset_is_forwarded() -> None:
    resets = 0

    def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal resets
        resets += 1
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        with Proxy(server.sockets[0].getsockname()[1]) as proxy, pytest.raises(ConnectionResetError):
            await connect_and_read(proxy)
    assert resets == 1


async def test_messages_of_a_server_get_lost_alone(upstream_port: int) -> None:
    """The echo makes a server of the client: what it sends is what comes back, less what is lost."""
    notification = Message(b"A", b"\0\0\0\1channel\0payload\0")
    row = Message(b"D", b"A" * 1000)
    loss = LostNotifications(1)
    with Proxy(upstream_port, is_lost=loss) as proxy:
        reader, writer = await connected(proxy)
        for part in (b"N", row.encoded(), notification.encoded(), row.encoded()[:7], row.encoded()[7:]):
            writer.write(part)
            await writer.drain()
        kept = b"N" + row.encoded() * 2
        assert await reader.readexactly(len(kept)) == kept
        assert (loss.lost, loss.delivered) == (1, 0)
        writer.close()


def test_a_share_of_notifications_is_lost() -> None:
    loss = LostNotifications(0.3)
    for _ in range(1000):
        loss(Message(b"A", b""))
        assert not loss(Message(b"D", b""))
    assert loss.lost + loss.delivered == 1000
    assert 250 < loss.lost < 350

"""A TCP proxy on loopback that does to a link what networks do: swallow, reset, refuse, delay, lose."""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from tests.fakes.background_loop import BackgroundLoop
from tests.fakes.postgres_wire import Message, read_message

CHUNK_BYTES = 64 * 1024
NOTIFICATION = b"A"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST and forgets what was not sent

Loss: TypeAlias = Callable[[Message], bool]
"""Whether a message of a PostgreSQL server gets lost."""


class Proxy:
    """Forwards to a port on loopback from one of its own. A context manager; any thread may call its methods.

    Args:
        upstream_port: Where to forward to.
        is_lost: The server speaks PostgreSQL's protocol in the clear, and these messages of it are not forwarded.

    Attributes:
        port: Where it listens.
        connections: How many connections it has accepted.
    """

    def __init__(self, upstream_port: int, *, is_lost: Loss | None = None) -> None:
        self.connections = 0
        self._upstream_port = upstream_port
        self._is_lost = is_lost
        # Bound as long as the proxy lives, and never listening: nobody else is given the port while it refuses.
        self._reservation = _bound_socket(0)
        self.port: int = self._reservation.getsockname()[1]
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._delay = 0.0
        self._loop = BackgroundLoop()
        self._loop.run(self._start())

    def black_hole(self) -> None:
        """Forward nothing either way, and close nothing. Connections are accepted. What is sent waits for `heal`."""
        self._loop.run(self._black_hole())

    def cut(self) -> None:
        """Reset every connection. New ones are welcome."""
        self._loop.run(self._cut())

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._loop.run(self._refuse())

    def delay(self, seconds: float) -> None:
        """Forward everything so much later."""
        self._loop.run(self._set_delay(seconds))

    def heal(self) -> None:
        """Forward again, without delay; what a black hole holds first."""
        self._loop.run(self._heal())

    def close(self) -> None:
        """Reset every connection and end."""
        self._loop.run(self._refuse())
        self._loop.close()
        self._reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self) -> None:
        self._open = asyncio.Event()
        await self._heal()

    async def _black_hole(self) -> None:
        self._open.clear()

    async def _cut(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _set_delay(self, seconds: float) -> None:
        self._delay = seconds

    async def _heal(self) -> None:
        self._delay = 0.0
        self._open.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, sock=_bound_socket(self.port))

    async def _pass(self) -> None:
        """Return when what has come may go on."""
        if self._delay:
            await asyncio.sleep(self._delay)
        await self._open.wait()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to where this one is forwarded. Raises OSError."""
        return await asyncio.open_connection("127.0.0.1", self._upstream_port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = _Link(reader, writer)
        self._links.add(link)
        link.task = asyncio.create_task(self._serve(link))

    async def _serve(self, link: "_Link") -> None:
        try:
            await self._pass()
            reader, writer = await self._connect()
            link.writers.append(writer)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._forward(link.reader, writer))
                if self._is_lost is None:
                    both_ways.create_task(self._forward(reader, link.writers[0]))
                else:
                    both_ways.create_task(self._forward_messages(reader, link.writers[0], self._is_lost))
        except* OSError:
            link.reset()  # one side was reset, or could not be reached: let the other know
        finally:
            self._links.discard(link)
            link.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._pass()
            writer.write(data)
            await writer.drain()
        await self._pass()
        writer.write_eof()

    async def _forward_messages(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_lost: Loss
    ) -> None:
        try:
            first: bytes | None = await reader.readexactly(1)
            if first in {b"N", b"S"}:  # a bare byte answers a request for encryption; nothing else begins like this
                await self._pass()
                writer.write(first)
                first = None
            while True:
                message = await read_message(reader, first)
                first = None
                await self._pass()
                if not is_lost(message):
                    writer.write(message.encoded())
                    await writer.drain()
        except asyncio.IncompleteReadError:
            await self._pass()
            writer.write_eof()


class _Link:
    """One client's connection, and once there is one the server's for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writers = [writer]
        self.task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        """Break it as a firewall does."""
        for writer in self.writers:
            if not writer.is_closing():  # as it is if it was this side that broke it
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        """End it in order, what was sent first."""
        for writer in self.writers:
            writer.close()


class LostNotifications:
    """Loses a share of a server's notifications, the same ones with every run.

    Args:
        share: From 0, none, to 1, all.

    Attributes:
        lost: How many it has lost.
        delivered: How many it has not.
    """

    def __init__(self, share: float) -> None:
        self.lost = 0
        self.delivered = 0
        self._share = share
        self._random = random.Random(4)  # noqa: S311 - nothing secret hangs on it

    def __call__(self, message: Message) -> bool:
        """Whether this one gets lost."""
        if message.kind != NOTIFICATION:
            return False
        if self._random.random() < self._share:
            self.lost += 1
            return True
        self.delivered += 1
        return False


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound

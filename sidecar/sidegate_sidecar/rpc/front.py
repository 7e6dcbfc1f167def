"""In front of a gRPC server: accepts connections, and passes on of each what the server may get to read."""

import asyncio
import socket
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import cast

from sidegate_sidecar.binding import listening_sockets
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.rpc.http2_meter import Http2Meter, NotMeasurable
from sidegate_sidecar.rpc.passage import End
from sidegate_sidecar.rpc.refusals import RefusalLog
from sidegate_sidecar.rpc.strangers import Connection, Strangers

CLOSING_SECONDS = 1.0  # for the last bytes, and TLS's goodbye
BREATH_SECONDS = 0.1  # before accepting again, where the system could not


class Front(ABC):
    """Listens, and has each connection seen through by a task. Without a call that was let through it is a stranger's.

    Args:
        refusals: Where it is logged that a connection was.
        places: How many connections there may be; asked each time.
        max_bytes: That strangers may have sent, together, headers decompressed.
        max_bytes_each: And each of them.
    """

    def __init__(self, refusals: RefusalLog, *, places: Callable[[], int], max_bytes: int, max_bytes_each: int) -> None:
        self._places = places
        self._max_bytes_each = max_bytes_each
        self._listening: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._refusals = refusals
        self._strangers = Strangers(self._refused, max_bytes)

    async def listen(self, listener: Listener) -> Listener:
        """Accept connections from now on. Where it listens, with the port that the system chose.

        Raises:
            ListenerUnavailable: The address is taken, or not this host's.
        """
        found = await listening_sockets(listener)
        self._listening += found
        for listening in found:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)
        return Listener(host=listener.host, port=found[0].getsockname()[1])

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
        if len(self._connections) >= self._places() and not self._strangers.make_room():
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
        with frames_cleared():
            await self._see_through(connection, address)

    @abstractmethod
    async def _see_through(self, connection: socket.socket, address: str) -> None:
        """Pass on what comes until its end. Owns the connection. Tells `_strangers` once hands were shaken."""

    def _outer_end(self) -> End:
        """The end where what comes from the client of this task is screened."""
        return End(partial(self._screened, this_connection(), Http2Meter(self._max_bytes_each)))

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
def frames_cleared() -> Generator[None, None, None]:
    """Have what is raised hold nothing of where it was raised.

    A future that holds it is held there, and so is a connection, with 256 KiB of asyncio's buffers or more. Such a
    circle stays until the garbage collector finds it, and a flood makes hundreds of them before that.
    """
    try:
        yield
    except BaseException as fault:
        traceback.clear_frames(fault.__traceback__)
        raise


def this_connection() -> Connection:
    """The one that the current task sees through."""
    return cast("Connection", asyncio.current_task())


def _named(address: object) -> str:
    """A socket's address as text, e.g. "192.0.2.1:4711"."""
    host, port = cast("tuple[str, int]", address)[:2]
    host = host.removeprefix("::ffff:") if "." in host else host  # IPv4, at a socket of both families
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

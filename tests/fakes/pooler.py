"""A pooler in front of PostgreSQL, as PgBouncer is with `pool_mode = transaction`, and as unkind as it may be.

After each transaction a client is given the next of several server connections, so whatever of a session it counts on
is not there. Clients need no password: the pooler logs in to the server over its Unix socket, where that trusts it.

Source: https://www.pgbouncer.org/features.html, "SQL feature map for pooling modes".
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.background_loop import BackgroundLoop
from tests.fakes.postgres_wire import (
    GSS_ENCRYPTION_REQUEST,
    PROTOCOL_3,
    SSL_REQUEST,
    Message,
    error,
    read_message,
    read_start,
    start,
)

SERVER_CONNECTIONS = 3
# Parameters of a session that PgBouncer keeps for each client; one that starts with any other it refuses.
KEPT_PARAMETERS = frozenset(
    {"user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}
)

_PARAMETER_STATUS, _DATA_ROW, _ERROR, _READY = b"S", b"D", b"E", b"Z"
_IDLE = b"I"  # what ReadyForQuery says outside a transaction
_QUERY, _PARSE, _SYNC, _FUNCTION_CALL, _TERMINATE = b"Q", b"P", b"S", b"F", b"X"
_AUTHENTICATED = Message(b"R", b"\0\0\0\0")
_ROW_HEAD_BYTES = 6  # the number of columns, and the length of the first
_BACKEND_KEY = Message(b"K", bytes(8))  # of nobody: a pooler's client cannot cancel by it
_LISTEN = re.compile(rb"\s*listen\b", re.IGNORECASE)
# A statement in place of LISTEN that fails in every state of a session. PgBouncer lets LISTEN pass, to no effect.
_REFUSAL = b"DO $$BEGIN RAISE 'no LISTEN through a pooler in transaction mode' USING ERRCODE = '0A000'; END$$"
# What of a session is left behind when its transactions are over; each row is one finding.
_LEFTOVERS = b"""
SELECT 'prepared statement: ' || statement FROM pg_catalog.pg_prepared_statements WHERE name <> ''
UNION ALL SELECT 'cursor: ' || name FROM pg_catalog.pg_cursors
UNION ALL SELECT 'listens to ' || channel FROM pg_catalog.pg_listening_channels() AS channel
UNION ALL SELECT 'advisory lock' FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
UNION ALL SELECT 'setting: ' || name FROM pg_catalog.pg_settings
    WHERE source = 'session' AND setting IS DISTINCT FROM reset_val
UNION ALL SELECT 'temporary: ' || relname FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema()
"""


class Pooler:
    """Clients take turns on a few connections to one database. A context manager; any thread may call its methods.

    Args:
        server_socket: The server's Unix socket.
        user: Whom the pooler logs in as, whatever its clients say.
        database: Where to.

    Attributes:
        port: Where it listens, on loopback.
        transactions: How many it has passed on, those of a single statement included.
    """

    def __init__(self, server_socket: Path, *, user: str, database: str) -> None:
        self.port = 0
        self.transactions = 0
        self._server_socket = server_socket
        self._parameters = {"user": user, "database": database}
        self._clients: set[asyncio.Task[None]] = set()
        self._loop = BackgroundLoop()
        self._loop.run(self._start())

    def leftovers(self) -> list[str]:
        """What clients have left behind in server connections, where nothing may be. Waits for their transactions."""
        return self._loop.run(self._find_leftovers())

    def close(self) -> None:
        """Disconnect everybody and end."""
        self._loop.run(self._end())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self) -> None:
        self._servers: asyncio.Queue[_Server] = asyncio.Queue()  # in turn: who comes gets the one that rested longest
        for _ in range(SERVER_CONNECTIONS):
            self._servers.put_nowait(await self._log_in())
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._listener.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        while not self._servers.empty():
            self._servers.get_nowait().close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer, self._servers)
        try:
            if await self._admit(reader, writer):
                while (message := await read_message(reader)).kind != _TERMINATE:
                    if client.server is None:
                        await self._lend(client)
                    client.send(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone, or the server
        finally:
            client.end()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while (request := await read_start(reader))[0] in {SSL_REQUEST, GSS_ENCRYPTION_REQUEST}:
            writer.write(b"N")
        code, parameters = request
        if code != PROTOCOL_3:
            return False
        if unkept := {name for name in parameters if name.lower() not in KEPT_PARAMETERS}:
            refusal = error("08P01", f"unsupported startup parameter: {', '.join(sorted(unkept))}", severity="FATAL")
            writer.write(refusal.encoded())
            return False
        for message in (_AUTHENTICATED, *self._welcome, _BACKEND_KEY, Message(_READY, _IDLE)):
            writer.write(message.encoded())
        return True

    async def _lend(self, client: "_Client") -> None:
        """Give a client a server connection for a transaction. Raises: ConnectionError, there is no server."""
        server = await self._servers.get()
        try:
            if not server.is_connected:
                server = await self._log_in()
        finally:
            if not server.is_connected:  # still: it keeps the place for whoever tries next
                self._servers.put_nowait(server)
        self.transactions += 1
        client.server = server
        server.receive, server.lost = client.receive, client.disconnect

    async def _log_in(self) -> "_Server":
        """A new server connection. Raises: ConnectionError."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._server_socket)
        except OSError as failure:
            raise ConnectionError("the server cannot be reached") from failure
        writer.write(start(self._parameters))
        try:
            self._welcome = await _read_welcome(reader)
        except (asyncio.IncompleteReadError, ConnectionError) as failure:
            writer.close()
            raise ConnectionError("the server does not let the pooler in") from failure
        return _Server(reader, writer)

    async def _find_leftovers(self) -> list[str]:
        servers = [await self._servers.get() for _ in range(SERVER_CONNECTIONS)]
        try:
            return [found for server in servers if server.is_connected for found in await server.ask(_LEFTOVERS)]
        finally:
            for server in servers:
                self._servers.put_nowait(server)


class _Server:
    """A connection to the server.

    Attributes:
        receive: Who gets what the server sends; nobody between transactions, and then it is lost.
        lost: Who is told that it is gone.
        is_connected: Whether it can still be lent.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.receive: Callable[[Message], None] | None = None
        self.lost: Callable[[], None] | None = None
        self.is_connected = True
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))

    def send(self, message: Message) -> None:
        self._writer.write(message.encoded())

    def close(self) -> None:
        self.is_connected = False
        self._reading.cancel()
        self._writer.close()

    async def ask(self, query: bytes) -> list[str]:
        """The one column that a query returns, once nobody uses the connection."""
        found: list[str] = []
        done = asyncio.get_running_loop().create_future()

        def receive(message: Message) -> None:
            if message.kind == _DATA_ROW:
                found.append(message.body[_ROW_HEAD_BYTES:].decode())
            elif message.kind == _ERROR:
                found.append(f"cannot be asked: {message.body!r}")
            elif message.kind == _READY:
                done.set_result(None)

        self.receive = receive
        self.send(Message(_QUERY, query + b"\0"))
        await done
        self.receive = None
        return found

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = await read_message(reader)
                if self.receive is not None:
                    self.receive(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_connected = False
            self._writer.close()
            if self.lost is not None:
                self.lost()


class _Client:
    """A client, and while a transaction of it runs the server connection that runs it."""

    def __init__(self, writer: asyncio.StreamWriter, servers: "asyncio.Queue[_Server]") -> None:
        self.server: _Server | None = None
        self._writer = writer
        self._servers = servers
        self._answers_due = 0  # of ReadyForQuery
        self._is_mid_request = False  # something was sent after the last message that ReadyForQuery answers

    def send(self, message: Message) -> None:
        """Pass on to the server what the client sent."""
        assert self.server is not None
        self._is_mid_request = message.kind not in {_QUERY, _SYNC, _FUNCTION_CALL}
        if not self._is_mid_request:
            self._answers_due += 1
        self.server.send(_without_listen(message))

    def receive(self, message: Message) -> None:
        """Pass on to the client what the server sent; with the end of the transaction the server is free."""
        self._writer.write(message.encoded())
        if message.kind == _READY:
            self._answers_due -= 1
            if message.body == _IDLE and not self._answers_due and not self._is_mid_request:
                self._give_back()

    def disconnect(self) -> None:
        """The server is gone, and with it the session."""
        self._writer.transport.abort()

    def end(self) -> None:
        """The client is gone. In the middle of a transaction nobody else may have its server connection."""
        if self.server is not None:
            self.server.close()
            self._give_back()
        self._writer.close()

    def _give_back(self) -> None:
        assert self.server is not None
        self.server.receive = self.server.lost = None
        self._servers.put_nowait(self.server)
        self.server = None


async def _read_welcome(reader: asyncio.StreamReader) -> list[Message]:
    """The parameters that a server reports to who logs in. Raises: ConnectionError, asyncio.IncompleteReadError."""
    parameters: list[Message] = []
    while (message := await read_message(reader)).kind != _READY:
        if message.kind == _ERROR:
            raise ConnectionError(f"the server refused the pooler: {message.body!r}")
        if message.kind == _PARAMETER_STATUS:
            parameters.append(message)
    return parameters


def _without_listen(message: Message) -> Message:
    """A Query or Parse of LISTEN becomes one that fails."""
    if message.kind == _QUERY and _LISTEN.match(message.body):
        return Message(_QUERY, _REFUSAL + b"\0")
    if message.kind == _PARSE:
        name, _, statement = message.body.partition(b"\0")
        if _LISTEN.match(statement):
            return Message(_PARSE, name + b"\0" + _REFUSAL + b"\0\0\0")  # no types of parameters
    return message

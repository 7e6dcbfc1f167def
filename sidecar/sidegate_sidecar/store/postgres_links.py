"""Connections to a PostgreSQL server: few, made when needed, bounded in time, and replaced when they fail.

Not the driver's own pool: that one asks the server to cancel what was given up and waits for it, and a server that a
network fault hides answers neither. Here a connection that did not answer is cut off and forgotten.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import urlsplit

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from sidegate_sidecar.errors import RequestRefused, StartupError, StoreUnavailable
from sidegate_sidecar.store.postgres_faults import timed_out, unavailable

if TYPE_CHECKING:
    # The driver's types take parameters in its stubs alone.
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

CONNECT_SECONDS = 1.5
"""An attempt that began just before a fault ended, and the pause before the next, are to be over 3 s after it."""

# As the driver does: the host is away or coming up, or is not the one that the URL asks for.
_ASK_THE_NEXT_HOST = (OSError, asyncpg.CannotConnectNowError, TargetServerAttributeNotMatched)

T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], Awaitable[T]]
"""What to do with a connection while nobody else uses it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and by which way.

    Attributes:
        url: `postgresql://…`. Holds a password: never to be shown.
        transaction_pooler: Whether a pooler stands in between that gives each transaction another connection. Then
            nothing may outlive a transaction.
    """

    url: str
    transaction_pooler: bool = False

    def __repr__(self) -> str:
        return "Address(…)"

    async def connect(self, *, timeout: float, statement_timeout: float) -> Connection:
        """A new connection.

        Args:
            timeout: How long it may take, in seconds. Each of several hosts gets its share.
            statement_timeout: How long the server works on one statement, in seconds. Were it up to us alone, what we
                gave up would go on there, and a lock that somebody holds for long would gather waiting connections.

        Raises:
            StartupError: The URL itself will never do.
            StoreUnavailable: It could not be had in time.
        """
        server_settings = {"application_name": "sidegate"}
        if not self.transaction_pooler:  # which refuses them, or gives them to somebody else
            server_settings["statement_timeout"] = str(round(statement_timeout * 1000))
        connect = partial(
            asyncpg.connect,
            statement_cache_size=0 if self.transaction_pooler else 100,
            server_settings=server_settings,
        )
        try:
            *others, last = urls = _urls_of_hosts(self.url)
            for url in others:
                with suppress(*_ASK_THE_NEXT_HOST):
                    return await connect(url, timeout=timeout / len(urls))
            return await connect(last, timeout=timeout / len(urls))
        except Exception as fault:
            if isinstance(fault, ValueError) and not isinstance(fault, OSError):  # a bad certificate is both
                # Without the driver's words: they may be a piece of the password.
                raise StartupError("store_url is no URL of a PostgreSQL database that the driver understands") from None
            raise unavailable(fault) from fault


class PostgresLinks:
    """Up to `size` connections, for work that takes turns on them.

    Work that has begun is not cancelled with its caller: it runs to its end, or to its time, in a task of its own. So
    no half of it is left on a connection that the next one gets.

    Args:
        address: Where to connect.
        size: How many connections at most. None is made before it is needed.
        timeout: How long work waits for its turn, and how long it may then take, in seconds. A new connection may take
            another `CONNECT_SECONDS`.
        prepare: What to do with each new connection first.
    """

    def __init__(self, address: Address, *, size: int, timeout: float, prepare: Work[None] | None = None) -> None:
        self._address = address
        self._timeout = timeout
        self._prepare = prepare
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._jobs: set[asyncio.Task[object]] = set()
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """Do it when its turn comes.

        Raises:
            StartupError: The URL will never do.
            StoreUnavailable: The server failed, or the time is up; then the work may have been done.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        except TimeoutError:
            raise timed_out() from None
        job = asyncio.create_task(self._do(work))
        self._jobs.add(job)
        job.add_done_callback(self._end)
        return await asyncio.shield(job)

    async def close(self, *, timeout: float) -> None:
        """Let the work at hand end, for so many seconds, then disconnect for good."""
        self._closed = True
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=timeout)
        self._drop_idle()
        for connection in self._busy:
            connection.terminate()
        if self._jobs:
            await asyncio.wait(self._jobs)

    async def _do(self, work: Work[T]) -> T:
        connection = await self._connection()
        if self._closed:  # meanwhile; who closes would wait for all that has yet to begin
            connection.terminate()
            raise StoreUnavailable("The session store is closed.")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        # Cutting it off makes the driver fail at once, whatever it waits for.
        timer = loop.call_at(deadline, connection.terminate)
        self._busy.add(connection)
        try:
            answer = await work(connection)
        except RequestRefused:
            self._put_back(connection)
            raise
        except BaseException as fault:
            connection.terminate()
            # What cut this one off has likely cut off the others; each would cost a caller its time.
            self._drop_idle()
            if isinstance(fault, StoreUnavailable | StartupError) or not isinstance(fault, Exception):
                raise
            raise _failure(fault, deadline) from fault
        else:
            self._put_back(connection)
            return answer
        finally:
            timer.cancel()
            self._busy.discard(connection)

    async def _connection(self) -> Connection:
        while not self._closed and self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        if self._closed:
            raise StoreUnavailable("The session store is closed.")
        deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
        connection = await self._address.connect(timeout=CONNECT_SECONDS, statement_timeout=self._timeout)
        if self._prepare is not None:
            timer = asyncio.get_running_loop().call_at(deadline, connection.terminate)
            try:
                await self._prepare(connection)
            except BaseException as fault:
                connection.terminate()
                if not isinstance(fault, Exception):
                    raise
                raise _failure(fault, deadline) from fault
            finally:
                timer.cancel()
        return connection

    def _put_back(self, connection: Connection) -> None:
        if self._closed or connection.is_closed():
            connection.terminate()
        else:
            self._idle.append(connection)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    def _end(self, job: asyncio.Task[object]) -> None:
        self._jobs.discard(job)
        self._turns.release()
        if not job.cancelled():
            with suppress(BaseException):  # its caller may have gone, and asyncio logs exceptions that nobody fetched
                job.result()


def _failure(fault: BaseException, deadline: float) -> StoreUnavailable:
    """What a fault is called that was met by the deadline or, where it was we who then broke the connection off, by it.

    Args:
        deadline: In the loop's time.
    """
    return timed_out() if asyncio.get_running_loop().time() >= deadline else unavailable(fault)


def _urls_of_hosts(url: str) -> list[str]:
    """A URL for each host of one that names several. Raises ValueError.

    The driver has one time-out for all of them, and a primary that has died without a word would spend it for good.
    """
    parts = urlsplit(url)
    before, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [url]
    return [parts._replace(netloc=f"{before}{at}{host}").geturl() for host in hosts.split(",")]

"""What the asyncio clients have in common: one channel, opened by the first call, bound to one event loop."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from sidegate import forking
from sidegate.calls import Call, Explanation, Page
from sidegate.channels import CHANNEL_OPTIONS, finite_timeout
from sidegate.credentials import Credentials
from sidegate.errors import CallFailed, ClientClosed
from sidegate.failures import failure_of
from sidegate.readiness import Readiness, health_check
from sidegate.targets import Target

RETIREMENT_SECONDS = 60.0  # for the calls under way on a channel whose credentials were renewed

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


class AsyncioClient:
    """A target and a channel to it. Safe to use from many tasks of one event loop at once.

    Constructing one needs no loop and starts nothing, so a process may construct it, fork, and use it on both sides.
    Once it was used, a child can use it only if its loop was closed before the fork; `forking` says why.
    It belongs to the loop of its first call. Once that loop is closed, the next loop that uses it takes it over, so
    that one `asyncio.run` after another works; while it is not, any other loop gets a RuntimeError.
    """

    def __init__(
        self, target: Target, timeout: float, explain: Explanation, credentials: Credentials | None = None
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._timeout = finite_timeout(timeout)
        self._explain = explain
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._retiring: dict[asyncio.Task[None], grpc.aio.Channel] = {}
        self._inherited: object = None
        forking.register(self)

    async def wait_until_ready(self, timeout: float = 10.0) -> None:
        """Return once the sidecar is ready: its health says SERVING, for it has keys and its revocation index.

        Asks again after ever longer pauses, of half a second at most.

        Args:
            timeout: Seconds.

        Raises:
            VerificationUnavailable: It is not within `timeout`, and the message says what was last found; or what
                listens there knows no health checks, as every sidecar does.
            RevocationUnavailable, NotSupported: By admin clients in place of that, in this order.
            ClientClosed: Before or meanwhile.
        """
        readiness = Readiness(self._target, finite_timeout(timeout), self._explain)
        check = health_check(self._explain)
        while True:
            left = readiness.left()
            try:
                if readiness.is_over(await self._run(check, left)):
                    return
            except CallFailed as failure:
                readiness.take_in(failure)
            await asyncio.sleep(readiness.pause())

    async def close(self) -> None:
        """Close the connection and end the calls under way. Closing again does nothing."""
        if self._channel is not None or self._retiring:
            self._check_loop()
        self._closed = True
        self._methods.clear()
        channel, self._channel = self._channel, None
        retiring = tuple(self._retiring.items())
        for task, _ in retiring:
            task.cancel()
        await asyncio.gather(*(task for task, _ in retiring), return_exceptions=True)
        for open_channel in (channel, *(retired for _, retired in retiring)):
            if open_channel is not None:
                await open_channel.close()

    def before_fork(self) -> None:
        """For `forking`: let go of a closed loop's channel. One of a loop that may go on stays, for the parent."""
        if self._loop is not None and self._loop.is_closed():
            self._loop, self._channel = None, None
            self._methods.clear()
            self._retiring.clear()

    def after_fork(self, *, in_child: bool) -> None:
        """For `forking`: leave the parent's loop and channel alone."""
        if in_child:
            # Kept, for taking them apart could hang where gRPC's threads are missing.
            self._inherited = (self._inherited, self._loop, self._channel, self._methods, self._retiring)
            self._loop, self._channel, self._methods, self._retiring = None, None, {}, {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target.address!r})"

    async def _run(self, call: Call[ResultT], timeout: float | None) -> ResultT:
        """Send the call and wait for its result.

        Args:
            timeout: Seconds. None: the client's own.
        """
        seconds = self._timeout if timeout is None else finite_timeout(timeout)
        metadata = None if self._credentials is None else self._credentials.metadata()
        method = self._method(call.path)
        try:
            answer = await method(call.request, timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            if self._closed:
                raise ClientClosed("the client was closed during the call") from error
            raise call.explain(self._target.located(failure_of(error), call.path)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                # Nobody cancelled this task: closing a channel ends its calls in this way.
                raise ClientClosed("the client was closed during the call") from None
            raise
        return call.result(answer)

    async def _items(self, first: Call[Page[ItemT]], timeout: float | None) -> AsyncIterator[ItemT]:
        """The items of all pages, each page asked for when the one before it is used up."""
        call: Call[Page[ItemT]] | None = first
        while call is not None:
            page = await self._run(call, timeout)
            for item in page.items:
                yield item
            call = page.following

    def _method(self, path: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":  # not subscriptable at run time
        if self._credentials is not None:
            self._renew(self._credentials)
        channel = self._open_channel()
        method = self._methods.get(path)
        if method is None:
            # Bytes in, bytes out: grpc and grpc.aio treat a message that cannot be parsed differently.
            method = self._methods[path] = channel.unary_unary(path)
        return method

    def _renew(self, credentials: Credentials) -> None:
        """Let calls from now on use a new channel if the files of the credentials have changed; those under way end on
        the old one.
        """
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop or not credentials.have_changed():
            return
        retired, self._channel = self._channel, None
        self._methods.clear()
        task = loop.create_task(retired.close(RETIREMENT_SECONDS))
        self._retiring[task] = retired
        task.add_done_callback(self._retiring.pop)

    def _open_channel(self) -> grpc.aio.Channel:
        if self._closed:
            raise ClientClosed("the client was closed")
        self._check_loop()
        if self._channel is None:
            forking.about_to_open(self._loop)
            secured = None if self._credentials is None else self._credentials.load()
            if secured is None:
                self._channel = grpc.aio.insecure_channel(self._target.address, CHANNEL_OPTIONS)
            else:
                self._channel = grpc.aio.secure_channel(self._target.address, secured, CHANNEL_OPTIONS)
        return self._channel

    def _check_loop(self) -> None:
        """Make the running loop this client's, if it may be. Raises: RuntimeError."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(f"this {type(self).__name__} belongs to another event loop, which is not closed yet")
        # A channel cannot be closed properly without its loop; dropping the last reference frees it.
        self._loop, self._channel = loop, None
        self._methods.clear()
        self._retiring.clear()

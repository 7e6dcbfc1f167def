"""What the clients for threads have in common: one channel, opened by the first call, shared, closed once."""

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeAlias, TypeVar, cast

import grpc

from sidegate import forking
from sidegate.calls import Call, Explanation, Page
from sidegate.channels import CHANNEL_OPTIONS, finite_timeout
from sidegate.credentials import Credentials
from sidegate.errors import CallFailed, ClientClosed
from sidegate.failures import Failure, failure_of
from sidegate.readiness import Readiness, health_check
from sidegate.targets import Target

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")

_Method: TypeAlias = "tuple[grpc.UnaryUnaryMultiCallable[bytes, bytes], grpc.Channel]"  # not subscriptable at run time

_FORKED = Failure("UNAVAILABLE", "the process was forked during the call; the same call can be made again")


class BlockingClient:
    """A target and a channel to it. Safe to use from many threads at once.

    Constructing one starts nothing. A process that forks may use it before, and on both sides after; `forking` says
    when a child cannot.
    """

    def __init__(
        self, target: Target, timeout: float, explain: Explanation, credentials: Credentials | None = None
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._timeout = finite_timeout(timeout)
        self._explain = explain
        self._lock = threading.Lock()
        self._closed = False
        self._channel: grpc.Channel | None = None
        self._methods: dict[str, _Method] = {}
        self._forks = 0
        self._is_locked_for_fork = False
        self._under_way: dict[object, grpc.Channel] = {}  # the calls, and on which channel: perhaps one since renewed
        forking.register(self)

    def wait_until_ready(self, timeout: float = 10.0) -> None:
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
                if readiness.is_over(self._run(check, left)):
                    return
            except CallFailed as failure:
                readiness.take_in(failure)
            time.sleep(readiness.pause())

    def close(self) -> None:
        """Close the connection and end the calls under way. Closing again does nothing."""
        with self._lock:
            self._closed = True
            self._methods.clear()
            channel, self._channel = self._channel, None
        self._close_channels(channel)

    def before_fork(self) -> None:
        """For `forking`: close the connection, and let nobody open another until `after_fork`."""
        self._is_locked_for_fork = self._lock.acquire(timeout=forking.LOCK_SECONDS)
        self._methods.clear()
        channel, self._channel = self._channel, None
        self._forks += 1  # after these: a call that counts this fork too must not find a method of before
        self._close_channels(channel)
        # A thread that forks in the middle of gRPC leaves the child a lock that nobody will release.
        deadline = time.monotonic() + forking.LOCK_SECONDS
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.001)

    def after_fork(self, *, in_child: bool) -> None:
        """For `forking`: let the next call open a connection."""
        if in_child:
            self._lock = threading.Lock()
            self._under_way = {}
        elif self._is_locked_for_fork:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target.address!r})"

    def _run(self, call: Call[ResultT], timeout: float | None) -> ResultT:
        """Send the call and wait for its result.

        Args:
            timeout: Seconds. None: the client's own.
        """
        seconds = self._timeout if timeout is None else finite_timeout(timeout)
        forks = self._forks
        metadata = None if self._credentials is None else self._credentials.metadata()
        method, channel = self._method(call.path)
        under_way = object()
        self._under_way[under_way] = channel
        try:
            answer = method(call.request, timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            if self._closed:
                raise ClientClosed("the client was closed during the call") from error
            if self._forks != forks:
                raise call.explain(_FORKED) from error
            raise call.explain(self._target.located(failure_of(error), call.path)) from error
        except ValueError as error:
            if self._closed:  # between looking the method up and calling it; gRPC then raises a plain ValueError
                raise ClientClosed("the client was closed") from error
            if self._forks != forks:
                raise call.explain(_FORKED) from error
            raise
        finally:
            self._under_way.pop(under_way, None)  # a signal may have forked in the middle of it
        return call.result(answer)

    def _items(self, first: Call[Page[ItemT]], timeout: float | None) -> Iterator[ItemT]:
        """The items of all pages, each page asked for when the one before it is used up."""
        call: Call[Page[ItemT]] | None = first
        while call is not None:
            page = self._run(call, timeout)
            yield from page.items
            call = page.following

    def _close_channels(self, current: grpc.Channel | None) -> None:
        """End the calls under way: those of the current channel, and of others that certificates were renewed after."""
        for channel in {current, *self._under_way.values()}:
            if channel is not None:
                channel.close()

    def _method(self, path: str) -> "_Method":
        if self._credentials is not None:
            self._renew(self._credentials)
        method = self._methods.get(path)
        if method is None:
            channel = self._open_channel()
            with self._lock:
                if self._closed:
                    raise ClientClosed("the client was closed")
                # Bytes in, bytes out: grpc and grpc.aio treat a message that cannot be parsed differently.
                method = cast("_Method", (channel.unary_unary(path), channel))
                if channel is self._channel:  # and not one that was renewed meanwhile
                    self._methods[path] = method
        return method

    def _renew(self, credentials: Credentials) -> None:
        """Let calls from now on use a new channel if the files of the credentials have changed.

        The old one is dropped, not closed: the calls under way hold it, and it ends with the last of them.
        """
        with self._lock:
            if self._channel is not None and credentials.have_changed():
                self._channel = None
                self._methods.clear()

    def _open_channel(self) -> grpc.Channel:
        with self._lock:
            if self._closed:
                raise ClientClosed("the client was closed")
            if self._channel is None:
                forking.about_to_open()
                secured = None if self._credentials is None else self._credentials.load()
                if secured is None:
                    self._channel = grpc.insecure_channel(self._target.address, CHANNEL_OPTIONS)
                else:
                    self._channel = grpc.secure_channel(self._target.address, secured, CHANNEL_OPTIONS)
            return self._channel

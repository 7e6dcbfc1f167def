"""The feed of a client: a daemon thread that reads one stream after another, for its near cache and its watches. Both
kinds of client have one.

An asyncio client too, although grpc.aio has streams: a loop that ends with a stream open, as `asyncio.run` does, leaves
an event behind that makes grpc.aio lose those of the next loop (seen with grpcio 1.85). And so the feed outlives the
loop, does not wait for a busy one, and can be let go of before a fork.
"""

import _thread
import atexit
import logging
import threading
import weakref
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from sidegate import forking
from sidegate.channels import CHANNEL_OPTIONS
from sidegate.failures import failure_of
from sidegate.feed_calls import WATCH_PATH, Pauses
from sidegate.shared_near_cache import SharedNearCache, steady_clock
from sidegate.v1.feed_pb2 import WatchRevocationsResponse
from sidegate.watch import Watch
from sidegate.watch_thread import WatchThread

STOP_SECONDS = 1.0  # a cancelled stream ends at once

_log = logging.getLogger("sidegate")


class Feed:
    """Keeps a near cache fed from the first call on, and tells who watches sessions. Safe to use from many threads.

    Args:
        address: Where to watch, as gRPC spells it.
        cache: What to feed. Its judgement of a stream is everybody's.
    """

    def __init__(self, address: str, cache: SharedNearCache) -> None:
        self.cache = cache
        self._address = address
        self._watches = WatchThread(address)
        self._lock = threading.Lock()
        self._is_locked_for_fork = False
        self._closed = False
        self._thread: _FeedThread | None = None

    def follow(self) -> None:
        """Start the thread, unless it runs, and see that it does not hang on a stalled stream. Never waits.

        A thread cannot do the latter by itself while it reads; and where there are no calls and no watches, nobody
        needs it.

        Raises:
            ForkUnsupported: It would hang.
        """
        thread = self._thread
        if thread is not None:
            if self.cache.is_stalled():
                thread.reopen()
            return
        with self._lock:
            if self._thread is None and not self._closed:
                forking.about_to_open()
                self._thread = _FeedThread(self._address, self.cache, self._watches)
                # For who does not close. The thread does not hold this object. At exit it is stopped by itself.
                weakref.finalize(self, self._thread.stop_elsewhere).atexit = False

    def watch(self, watch: Watch) -> None:
        """Tell how a session ends, once.

        Raises:
            ClientClosed, ForkUnsupported: As their names say.
        """
        self._watches.add(watch)  # first, for it has a say in where a stream begins
        try:
            self.follow()
            self._watches.run(self.follow)
        except BaseException:
            self._watches.remove(watch)
            raise

    def unwatch(self, watch: Watch) -> None:
        """Watch no more. It is not told any more, unless that is just happening."""
        self._watches.remove(watch)

    def close(self) -> None:
        """End the watches and the threads, and start no others. Waits for each, for a second at most."""
        self._watches.close()
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.stop()
            self._thread.join()

    def before_fork(self) -> None:
        """End the thread, and start no other until `after_fork_in_parent`. A child has to make a feed of its own."""
        self._watches.before_fork()  # first, for it may wait for our lock
        self._is_locked_for_fork = self._lock.acquire(timeout=forking.LOCK_SECONDS)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            thread.join()

    def after_fork_in_parent(self) -> None:
        """Let the next call start it, or the watches."""
        if self._is_locked_for_fork:
            self._lock.release()
        self._watches.after_fork_in_parent(self.follow)

    def emptied(self) -> "Feed":
        """Another, never used. For the child of a fork, where threads that are not there may hold every lock."""
        return Feed(self._address, self.cache.emptied())


class _FeedThread:
    def __init__(self, address: str, cache: SharedNearCache, watches: WatchThread) -> None:
        self._address = address
        self._cache = cache
        self._watches = watches
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stream: Any = None  # the stubs know no type that can be both read and cancelled
        # A daemon: it must not hold up the interpreter's exit.
        self._thread = threading.Thread(target=self._run, name="sidegate-feed", daemon=True)
        self._thread.start()

    def reopen(self) -> None:
        """End the open stream, so that another one is opened."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.cancel()

    def stop(self) -> None:
        """Ask the thread to end. Does not wait."""
        self._stopping.set()
        self.reopen()

    def stop_elsewhere(self) -> None:
        """Ask the thread to end, in another thread. Takes no lock, so it may be called wherever garbage is collected.

        That may be in the midst of any code of ours or gRPC's, and what `stop` takes may be held there: by this thread,
        or by one that waits for what this one holds. Nor will threading.Thread do, which takes locks of its own.
        """
        if not self._stopping.is_set():  # reads an attribute
            forking.let_forks_wait_for(self)
            _thread.start_new_thread(self.stop, ())

    def join(self) -> None:
        """Wait until it has ended, for a second at most."""
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        atexit.register(self.stop)  # who closes nothing must not have gRPC torn down with a stream open
        try:
            self._serve()
        finally:
            atexit.unregister(self.stop)
            forking.let_no_fork_wait_for(self)

    def _serve(self) -> None:
        # Channels to one address share a connection, so for a client for threads this is no second one.
        with grpc.insecure_channel(self._address, CHANNEL_OPTIONS) as channel:
            watch: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH_PATH)
            pauses = Pauses()
            while not self._stopping.is_set():
                opened = steady_clock()
                code = self._follow(watch)
                pauses.lasted(steady_clock() - opened)
                self._stopping.wait(pauses.after(code))

    def _follow(self, watch: "grpc.UnaryStreamMultiCallable[bytes, bytes]") -> str | None:
        """Read one stream to its end. The name of the status code that it ended with, if it was one."""
        self._cache.opened()
        try:
            # Waiting for the connection spares attempts in vain, and brings the feed back as soon as it is there.
            stream = watch(self._watches.request(), wait_for_ready=True)
            with self._lock:
                self._stream = stream
            if self._stopping.is_set():  # set before there was a stream to cancel
                stream.cancel()
            for message in stream:
                parsed = WatchRevocationsResponse.FromString(message)
                if not self._cache.take(parsed):
                    break
                self._watches.take(parsed)
        except grpc.RpcError as error:
            return failure_of(error).code
        except DecodeError:
            return None
        except Exception as error:  # noqa: BLE001 - e.g. gRPC cannot start a thread; without a feed no watch is told
            _log.error("the revocation feed failed with %s", type(error).__name__)
            return None
        finally:
            self._cache.broke()
            self._watches.broke()
            self.reopen()
        return None

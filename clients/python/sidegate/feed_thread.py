"""The feed of a near cache: a daemon thread that reads one stream after another. Both kinds of client have one.

An asyncio client too, although grpc.aio has streams: a loop that ends with a stream open, as `asyncio.run` does, leaves
an event behind that makes grpc.aio lose those of the next loop (seen with grpcio 1.85). And so the feed outlives the
loop, does not wait for a busy one, and can be let go of before a fork.
"""

import threading
import weakref
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from sidegate import forking
from sidegate.channels import CHANNEL_OPTIONS
from sidegate.failures import failure_of
from sidegate.feed_calls import WATCH_PATH, WATCH_REQUEST, Pauses
from sidegate.shared_near_cache import SharedNearCache

STOP_SECONDS = 1.0  # a cancelled stream ends at once


class Feed:
    """Keeps a near cache fed from the first call on. Safe to use from many threads at once.

    Args:
        address: Where to watch, as gRPC spells it.
        cache: What to feed.
    """

    def __init__(self, address: str, cache: SharedNearCache) -> None:
        self._address = address
        self._cache = cache
        self._lock = threading.Lock()
        self._is_locked_for_fork = False
        self._closed = False
        self._thread: _FeedThread | None = None

    def follow(self) -> None:
        """Start the thread, unless it runs, and see that it does not hang on a stalled stream. Never waits.

        A thread cannot do the latter by itself while it reads; and where there are no calls, nobody needs it.

        Raises:
            ForkUnsupported: It would hang.
        """
        thread = self._thread
        if thread is not None:
            if self._cache.is_stalled():
                thread.reopen()
            return
        with self._lock:
            if self._thread is None and not self._closed:
                forking.about_to_open()
                self._thread = _FeedThread(self._address, self._cache)
                # For who does not close, and when the interpreter exits. The thread does not hold this object.
                weakref.finalize(self, self._thread.stop)

    def close(self) -> None:
        """End the thread, and start no other. Waits for it, for a second at most."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.stop()
            self._thread.join()

    def before_fork(self) -> None:
        """End the thread, and start no other until `after_fork_in_parent`. A child has to make a feed of its own."""
        self._is_locked_for_fork = self._lock.acquire(timeout=forking.LOCK_SECONDS)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            thread.join()

    def after_fork_in_parent(self) -> None:
        """Let the next call start it."""
        if self._is_locked_for_fork:
            self._lock.release()


class _FeedThread:
    def __init__(self, address: str, cache: SharedNearCache) -> None:
        self._address = address
        self._cache = cache
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

    def join(self) -> None:
        """Wait until it has ended, for a second at most."""
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        # Channels to one address share a connection, so for a client for threads this is no second one.
        with grpc.insecure_channel(self._address, CHANNEL_OPTIONS) as channel:
            watch: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH_PATH)
            pauses = Pauses()
            while not self._stopping.is_set():
                code = self._follow(watch, pauses)
                self._stopping.wait(pauses.after(code))

    def _follow(self, watch: "grpc.UnaryStreamMultiCallable[bytes, bytes]", pauses: Pauses) -> str | None:
        """Read one stream to its end. The name of the status code that it ended with, if it was one."""
        self._cache.opened()
        try:
            # Waiting for the connection spares attempts in vain, and brings the feed back as soon as it is there.
            stream = watch(WATCH_REQUEST, wait_for_ready=True)
            with self._lock:
                self._stream = stream
            if self._stopping.is_set():  # set before there was a stream to cancel
                stream.cancel()
            for message in stream:
                if not self._cache.take(message):
                    break
                pauses.worked()
        except grpc.RpcError as error:
            return failure_of(error).code
        except DecodeError:
            return None
        finally:
            self._cache.broke()
            self.reopen()
        return None

"""The feed of a client for threads: one daemon thread that reads one stream after another."""

import threading
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from sidegate.failures import failure_of
from sidegate.feed_calls import WATCH_PATH, WATCH_REQUEST, Pauses
from sidegate.shared_near_cache import SharedNearCache

STOP_SECONDS = 1.0  # a cancelled stream ends at once


class FeedThread:
    """Keeps a near cache fed until stopped. Holds no client, so that one nobody closed can be collected.

    A stalled stream is noticed by a call that finds the cache late and asks `reopen`; a thread cannot do so while it
    reads, and where there are no calls nobody needs it.

    Args:
        channel: Where to watch. Closing it ends the stream, not the thread.
        cache: What to feed.
    """

    def __init__(self, channel: grpc.Channel, cache: SharedNearCache) -> None:
        self._watch: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH_PATH)
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
        pauses = Pauses()
        while not self._stopping.is_set():
            code = self._follow(pauses)
            self._stopping.wait(pauses.after(code))

    def _follow(self, pauses: Pauses) -> str | None:
        """Read one stream to its end. The name of the status code that it ended with, if it was one."""
        self._cache.opened()
        try:
            # Waiting for the connection spares attempts in vain, and brings the feed back as soon as it is there.
            stream = self._watch(WATCH_REQUEST, wait_for_ready=True)
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
        except (DecodeError, ValueError):  # not a message of the feed; or the channel was closed before the call
            return None
        finally:
            self._cache.broke()
            self.reopen()
        return None

"""The feed of an asyncio client: one task that reads one stream after another."""

import asyncio

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from sidegate.failures import failure_of
from sidegate.feed_calls import WATCH_PATH, WATCH_REQUEST, Pauses
from sidegate.near_cache import STALLED_SECONDS
from sidegate.shared_near_cache import SharedNearCache


class FeedTask:
    """Keeps a near cache fed until stopped. Holds no client, so that one nobody closed can be collected.

    Attributes:
        channel: Where it watches.

    Args:
        channel: Of the running loop.
        cache: What to feed.
    """

    def __init__(self, channel: grpc.aio.Channel, cache: SharedNearCache) -> None:
        self._watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH_PATH)
        self.channel = channel
        self._cache = cache
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="sidegate-feed")

    def stop(self) -> None:
        """Ask the task to end, from any thread. Does not wait."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def join(self) -> None:
        """End the task and wait until it has. One of a loop that is closed cannot run any more."""
        if self._loop is not asyncio.get_running_loop():
            return
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        pauses = Pauses()
        while True:
            code = await self._follow(pauses)
            await asyncio.sleep(pauses.after(code))

    async def _follow(self, pauses: Pauses) -> str | None:
        """Read one stream to its end. The name of the status code that it ended with, if it was one."""
        self._cache.opened()
        # Waiting for the connection spares attempts in vain, and brings the feed back as soon as it is there.
        stream = self._watch(WATCH_REQUEST, wait_for_ready=True)
        try:
            while True:
                async with asyncio.timeout(STALLED_SECONDS):
                    message = await stream.read()
                if not isinstance(message, bytes) or not self._cache.take(message):  # EOF is no bytes
                    return None
                pauses.worked()
        except grpc.RpcError as error:
            return failure_of(error).code
        except (DecodeError, TimeoutError):
            return None
        finally:
            self._cache.broke()
            stream.cancel()

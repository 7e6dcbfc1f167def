"""The near cache as the clients use it: behind a lock, on the machine's clocks, asked as `verify` is."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

from sidegate.kept_sessions import Question
from sidegate.near_cache import NearCache, NearCacheStatistics
from sidegate.v1.feed_pb2 import WatchRevocationsResponse
from sidegate.verdicts import Revision, Session, Verdict
from sidegate.verification_calls import MAX_TOKEN_BYTES

DEFAULT_ENTRIES = 10_000
DEFAULT_BYTES = 64 * 1024 * 1024

Pending: TypeAlias = tuple[Question, int]
"""A question on its way to the sidecar, and the epoch in which it left."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has one that runs through suspension
_read_clock = time.clock_gettime


def steady_clock() -> float:
    """Seconds of a clock that never steps."""
    return _read_clock(_CLOCK)


def checked_bound(name: str, bound: int) -> int:
    """The bound. Raises: ValueError unless it is positive and finite."""
    if not 1 <= bound < math.inf:
        raise ValueError(f"{name} must be at least 1, not {bound}; to keep nothing, pass near_cache=False")
    return bound


class SharedNearCache:
    """A near cache for all threads of a process.

    One lock is held while a question is looked up and while a message of the feed is taken in, clock readings
    included. So for every hit there is one instant, that of the reading, at which the verdict was kept and the feed not
    late. (Without a lock a thread that is held up between look-up and reading could return what the feed has dropped,
    for the feed to be fresh again by then.) Nothing that waits happens under it.

    Args:
        max_entries: How many verdicts may be kept.
        max_bytes: How much memory they may take.
        steady: Seconds of a clock that never steps and runs through suspension.
        wall: Seconds since the epoch.
        reached: How far streams have come before, by store.

    Raises:
        ValueError: A bound is not positive.
    """

    def __init__(
        self,
        max_entries: int,
        max_bytes: int,
        *,
        steady: Callable[[], float] = steady_clock,
        wall: Callable[[], float] = time.time,
        reached: Mapping[str, int] | None = None,
    ) -> None:
        self._cache = NearCache(
            checked_bound("near_cache_entries", max_entries),
            checked_bound("near_cache_bytes", max_bytes),
            reached or {},
        )
        self._bounds = (max_entries, max_bytes)
        self._lock = threading.Lock()
        self._steady = steady
        self._wall = wall

    def emptied(self) -> "SharedNearCache":
        """Another with the same bounds, which relies on no stream that stands behind those of this one.

        For the child of a fork, where a thread that is not there may hold the lock, so it is not taken.
        """
        return SharedNearCache(*self._bounds, steady=self._steady, wall=self._wall, reached=self._cache.reached)

    def find(
        self,
        access_token: object,  # whatever a caller without a type checker passes
        check_database: bool,
        at_least_as_fresh: Revision | None,
        audiences: Sequence[str],
        tenant_id: str | None,
        anti_csrf_token: str | None,
    ) -> Session | Pending | None:
        """The session of a token that is certainly good still; else what to pass to `keep` with the sidecar's answer.

        None: the arguments are no question at all, which is for the call to say.
        """
        # Hash no megabytes, and no text whose encoding fails with the text in its message. A lone string is a mistake.
        # And an iterator can be gone through once, which is for the call to do: it would ask for no audience at all.
        if (
            not isinstance(access_token, str)
            or len(access_token) > MAX_TOKEN_BYTES
            or not access_token.isascii()
            or isinstance(audiences, (str, bytes))
            or hasattr(audiences, "__next__")
        ):
            return None
        question = (sha256(access_token.encode()).digest(), tuple(audiences), tenant_id, anti_csrf_token)
        with self._lock:
            cache = self._cache
            if check_database or at_least_as_fresh is not None:
                cache.count_strict()
            else:
                session = cache.find(question, self._steady(), self._wall())
                if session is not None:
                    return session
            return question, cache.epoch

    def keep(self, pending: Pending, verdict: Verdict) -> None:
        """Keep the sidecar's answer, if it is good and the feed will say when it ends."""
        question, epoch = pending
        with self._lock:
            self._cache.keep(question, verdict, epoch, self._steady(), self._wall())

    def signed_out(self, revision: Revision) -> None:
        """Allow no hit before the feed has come to what this client's own sign-out returned."""
        with self._lock:
            self._cache.signed_out(revision)

    def opened(self) -> None:
        """A stream is about to be opened."""
        with self._lock:
            self._cache.opened(self._steady(), self._wall())

    def take(self, message: WatchRevocationsResponse) -> bool:
        """Take in what the stream delivered. False: end it and open another."""
        with self._lock:
            return self._cache.take(message, self._steady(), self._wall())

    def broke(self) -> None:
        """The stream has ended."""
        with self._lock:
            self._cache.broke()

    def is_stalled(self) -> bool:
        """Whether the open stream has been silent for so long that a new one is worth trying."""
        with self._lock:
            return self._cache.is_stalled(self._steady())

    def statistics(self) -> NearCacheStatistics:
        """What happened so far."""
        with self._lock:
            return self._cache.statistics()

"""What watches need beside the feed: a daemon thread that asks the sidecar again, looks at the clock and tells who
watches. It runs while there are watches. Both kinds of client have one, for the reasons that feed_thread gives.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

import grpc

from sidegate.calls import Call
from sidegate.channels import CHANNEL_OPTIONS
from sidegate.errors import ClientClosed, SidegateError, VerificationUnavailable
from sidegate.failures import failure_of
from sidegate.feed_calls import WATCH_REQUEST, Pauses
from sidegate.fields import revision_message
from sidegate.session_watches import SessionWatches
from sidegate.v1.feed_pb2 import WatchRevocationsRequest, WatchRevocationsResponse
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import NextAction, Verdict
from sidegate.verification_calls import verify_together
from sidegate.watch import Watch
from sidegate.watching import SessionEnded, SessionEndReason, WatchEnd

MAX_BATCH = 128  # with a token and an anti-CSRF token of 16 KiB each they fit into one message of 5 MiB
ASK_SECONDS = 2.0  # what one batch of questions may take; it is asked again until it is answered
LOOK_SECONDS = 1.0  # between two looks at the clock, which may be set, and at the feed, which may be stalled
STOP_SECONDS = 1.0  # a cancelled call ends at once; a callback may take longer, and is then not waited for

_log = logging.getLogger("sidegate")


class WatchThread:
    """The watches of one client. Safe to use from many threads at once.

    Args:
        address: Where to ask, as gRPC spells it.
        wall: Seconds since the epoch.
    """

    def __init__(self, address: str, *, wall: Callable[[], float] = time.time) -> None:
        self._address = address
        self._wall = wall
        self._watches = SessionWatches()
        self._stopped: deque[Watch] = deque()  # to be let go of under the lock
        self._changed = threading.Condition()
        self._closed = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._call: grpc.Future[bytes] | None = None

    def add(self, watch: Watch) -> None:
        """Watch from now on; to be followed by `run`. Raises: ClientClosed."""
        with self._changed:
            if self._closed:
                raise ClientClosed("the client was closed")
            self._let_go()  # those that no thread does: each call adds one where none can be started
            self._watches.add(watch)

    def run(self, follow: Callable[[], None]) -> None:
        """Start the thread, unless it runs or there is nothing to do.

        Args:
            follow: Sees that the feed is there. Called about every second. Held only while there are watches, and for
                about a second after the last was stopped.
        """
        with self._changed:
            self._let_go()
            if self._thread is None and len(self._watches) and not self._stopping:
                thread = threading.Thread(target=self._run, args=(follow,), name="sidegate-watches", daemon=True)
                thread.start()
                self._thread = thread
            self._changed.notify_all()

    def remove(self, watch: Watch) -> None:
        """Watch no more. It is not told any more, unless that is just happening.

        Takes no lock, for it may be called wherever garbage is collected: at the end of a generator that nobody closed.
        That may be in the midst of what is done under the lock, or under one of gRPC's.
        """
        if not watch.is_over:
            watch.is_over = True
            self._stopped.append(watch)

    def close(self) -> None:
        """End all watches, and take no other. Waits until they are told, for a second at most."""
        with self._changed:
            self._closed = True
            self._let_go()
            self._watches.end_all(ClientClosed("the client was closed"))
        self._join()

    def before_fork(self) -> None:
        """End the thread until `after_fork_in_parent`. The watches stay, for the parent."""
        self._stopping = True
        self._join()

    def after_fork_in_parent(self, follow: Callable[[], None]) -> None:
        """Go on. The argument is that of `run`."""
        self._stopping = False
        self.run(follow)

    # The feed.

    def request(self) -> bytes:
        """What the next stream is to be asked for."""
        with self._changed:
            self._let_go()
            revision = self._watches.resume_from()
        if revision is None:
            return WATCH_REQUEST
        return WatchRevocationsRequest(after=revision_message("after", revision)).SerializeToString()

    def take(self, message: WatchRevocationsResponse) -> None:
        """Take in what the stream delivered, after the near cache has found no fault with it."""
        with self._changed:
            self._watches.take(message)
            self._changed.notify_all()

    def broke(self) -> None:
        """The stream has ended."""
        with self._changed:
            self._watches.broke()

    def _let_go(self) -> None:
        """Forget what was stopped. Under the lock."""
        while self._stopped:
            self._watches.remove(self._stopped.popleft())

    def _join(self) -> None:
        """Wait until the thread has seen that it is to end, for a second at most."""
        with self._changed:
            self._changed.notify_all()
            thread = self._thread
            if self._call is not None:
                self._call.cancel()
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    def _run(self, follow: Callable[[], None]) -> None:
        try:
            self._serve(follow)
        except BaseException:
            # E.g. the feed's thread cannot be started. A connection must not outlive its session for that.
            with self._changed:
                self._watches.end_all(SessionEnded(SessionEndReason.UNVERIFIABLE, NextAction.REFRESH))
                ends = self._watches.ends()
                self._thread = None
            for watch, end in ends:
                _tell(watch, end)
            raise

    def _serve(self, follow: Callable[[], None]) -> None:
        follow()  # which waits for the end of a fork; until then nobody may open a channel
        with grpc.insecure_channel(self._address, CHANNEL_OPTIONS) as channel:
            pauses = Pauses()
            ask_again_at = 0.0  # of the monotonic clock; at once what a thread before this one left unanswered
            while True:
                asked: list[tuple[Watch, VerifyRequest]] = []
                with self._changed:
                    self._let_go()
                    self._watches.expire(self._wall())
                    ends = self._watches.ends()
                    if not ends:
                        if self._stopping or not len(self._watches):
                            self._thread = None
                            return
                        if time.monotonic() >= ask_again_at:
                            ask_again_at = math.inf
                            self._watches.ask_again()
                        asked = self._watches.questions(MAX_BATCH)
                        if not asked:
                            self._changed.wait(self._pause(ask_again_at))
                for watch, end in ends:
                    _tell(watch, end)
                if asked:
                    if self._ask(channel, asked):
                        pauses.worked()
                    else:
                        ask_again_at = min(ask_again_at, time.monotonic() + pauses.after(None))
                follow()

    def _pause(self, ask_again_at: float) -> float:
        """Seconds until there may be something to do that nobody will notify of."""
        expiry = self._watches.next_expiry()
        until_expiry = math.inf if expiry is None else expiry - self._wall()
        return max(0.0, min(LOOK_SECONDS, until_expiry, ask_again_at - time.monotonic()))

    def _ask(self, channel: grpc.Channel, asked: list[tuple[Watch, VerifyRequest]]) -> bool:
        """Ask the sidecar about sessions. Whether all of them were answered."""
        call = verify_together([question for _, question in asked])
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.path)
        answer = ask.future(call.request, timeout=ASK_SECONDS)
        with self._changed:
            self._call = answer
            if self._stopping or self._closed:  # set before there was a call to cancel
                answer.cancel()
        outcomes = _outcomes(answer, call, len(asked))
        with self._changed:
            self._call = None
            for (watch, _), outcome in zip(asked, outcomes, strict=True):
                self._watches.answer(watch, outcome)
        return all(isinstance(outcome, Verdict) for outcome in outcomes)


def _outcomes(
    answer: "grpc.Future[bytes]", call: Call[list[Verdict | SidegateError]], count: int
) -> list[Verdict | SidegateError]:
    try:
        return call.result(answer.result())
    except grpc.FutureCancelledError:
        return [VerificationUnavailable("the call was cancelled", code="CANCELLED")] * count
    except grpc.RpcError as error:
        return [call.explain(failure_of(error))] * count
    except SidegateError as error:  # the answer cannot be read
        return [error] * count


def _tell(watch: Watch, end: WatchEnd) -> None:
    if watch.is_over:
        return
    watch.is_over = True
    try:
        watch.tell(end)
    # Not even SystemExit, which would end this thread and nothing else.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever one raises, the others must be told
        # Its text may hold anything, and so may its trace.
        _log.error("a callback of watch_session raised %s", type(error).__name__)

"""What can be wrong with a fake sidecar. Nothing is, until a test says so."""

import threading
import time
from dataclasses import dataclass, field
from enum import Enum

import grpc

from sidegate.errors import CallFailed
from sidegate.testing.tokens import rejected
from sidegate.v1.errors_pb2 import ErrorReason
from sidegate.verdicts import NextAction, Rejection, RejectionReason


class FeedState(Enum):
    """What the feed does."""

    FLOWING = "flowing"
    STALLED = "stalled"
    BROKEN = "broken"


@dataclass(slots=True)
class _InForce:
    """What is wrong now. `failing`: how many calls are yet to fail; None: all."""

    failing: int | None = 0
    failing_reason: str = ""
    delay: float = 0.0
    rejections: dict[str, Rejection] = field(default_factory=dict[str, Rejection])
    store_down_since: float | None = None
    feed: FeedState = FeedState.FLOWING


class Faults:
    """What is wrong with a fake sidecar, until `clear`. Any thread may call.

    Args:
        changed: Notified whenever a fault of the feed comes, all faults go, or a caller has gone.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._in_force = _InForce()

    def answer_unavailable(self, calls: int | None = None, *, reason: str = "KEYS_UNAVAILABLE") -> None:
        """Fail calls with UNAVAILABLE, as a sidecar does that cannot say.

        Args:
            calls: How many; feeds are not counted. Each attempt is: a client makes up to three to verify a token, five
                to revoke. None: all, feeds too, and health says NOT_SERVING.
            reason: The name of a reason in errors.proto that is UNAVAILABLE.

        Raises:
            ValueError: There is no such reason, or `calls` is negative.
        """
        ErrorReason.Value(f"ERROR_REASON_{reason}")
        if calls is not None and calls < 0:
            raise ValueError("calls must not be negative")
        with self._changed:
            self._in_force.failing, self._in_force.failing_reason = calls, reason

    def answer_late(self, seconds: float) -> None:
        """Let every call wait so long before it is looked at. What was asked is done even if the caller gives up."""
        with self._changed:
            self._in_force.delay = seconds

    def reject(
        self, access_token: str, reason: RejectionReason | str, *, next_action: NextAction | None = None
    ) -> None:
        """Refuse a token, whatever it is like. `next_action` None: what the reason implies."""
        rejection = rejected(RejectionReason(reason), "a test has it so", next_action=next_action).rejection
        with self._changed:
            self._in_force.rejections[access_token] = rejection

    def take_store_down(self) -> None:
        """Fail what needs the database, `check_database` and every revocation among it. All else is answered."""
        with self._changed:
            if self._in_force.store_down_since is None:
                self._in_force.store_down_since = time.monotonic()

    def stall_feed(self) -> None:
        """Send nothing more on any feed, and end none."""
        self._set_feed(FeedState.STALLED)

    def break_feed(self) -> None:
        """End every feed with UNAVAILABLE, and each that is opened."""
        self._set_feed(FeedState.BROKEN)

    def clear(self) -> None:
        """All is well again. Calls that wait are answered."""
        with self._changed:
            self._in_force = _InForce()
            self._changed.notify_all()

    @property
    def feed(self) -> FeedState:
        """What the feed does."""
        return self._in_force.feed

    @property
    def serving(self) -> bool:
        """What health says."""
        return self._in_force.failing is not None

    def admit(self, context: grpc.ServicerContext, *, feed: bool) -> None:
        """Let a call in, late or not at all. Raises: CallFailed."""
        context.add_callback(self._wake)
        with self._changed:
            until = time.monotonic() + self._in_force.delay
            while context.is_active() and (left := min(until - time.monotonic(), self._in_force.delay)) > 0:
                self._changed.wait(left)
            if self._in_force.failing is not None:
                if feed or not self._in_force.failing:
                    return
                self._in_force.failing -= 1
            raise CallFailed("a test has it so", code="UNAVAILABLE", reason=self._in_force.failing_reason)

    def rejection_of(self, access_token: str) -> Rejection | None:
        """What a test has said of a token."""
        return self._in_force.rejections.get(access_token)

    def store_is_down(self) -> bool:
        """Whether the database is silent."""
        return self._in_force.store_down_since is not None

    def lag(self) -> float:
        """Seconds since the database was last read."""
        since = self._in_force.store_down_since
        return 0.0 if since is None else time.monotonic() - since

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _set_feed(self, state: FeedState) -> None:
        with self._changed:
            self._in_force.feed = state
            self._changed.notify_all()

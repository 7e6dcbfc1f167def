"""Waiting until a sidecar is ready: what to ask, what the answers mean, how long to pause. Both kinds of client use it.

Source: the gRPC Health Checking Protocol (grpc/grpc, doc/health-checking.md). Its two messages are small enough to read
and write by hand, which spares every service a dependency.
"""

import time
from collections.abc import Callable

from sidegate.calls import Call, Explanation, UnreadableAnswer
from sidegate.errors import CallFailed
from sidegate.failures import Failure
from sidegate.targets import Target

FIRST_PAUSE_SECONDS = 0.02
LAST_PAUSE_SECONDS = 0.5

# A HealthCheckResponse's only field is the enum ServingStatus, number 1; a sidecar that says UNKNOWN leaves it out.
_STATUSES = {b"": "UNKNOWN", b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


def health_check(explain: Explanation) -> Call[str]:
    """Ask whoever listens how it is. The result is a name of ServingStatus."""
    return Call("/grpc.health.v1.Health/Check", b"", _status, explain)  # an empty request means the whole server


class Readiness:
    """One wait for a sidecar: its end, its pauses and what was last found.

    Args:
        target: Who is waited for.
        timeout: Seconds, from now on.
        explain: What a wait in vain becomes.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        target: Target,
        timeout: float,
        explain: Explanation,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._explain = explain
        self._monotonic = monotonic
        self._until = monotonic() + timeout
        self._pause = FIRST_PAUSE_SECONDS
        self._found = "no answer"

    def left(self) -> float:
        """Seconds that a check may take. Raises: what a wait in vain becomes, saying what was last found."""
        left = self._until - self._monotonic()
        if left <= 0:
            message = f"{self._target} is not ready after {self._timeout:g} s: {self._found}"
            raise self._explain(Failure("DEADLINE_EXCEEDED", message))
        return left

    def pause(self) -> float:
        """Seconds to wait before the next check: ever longer, and not past the end."""
        pause, self._pause = self._pause, min(2 * self._pause, LAST_PAUSE_SECONDS)
        return max(0.0, min(pause, self._until - self._monotonic()))

    def is_over(self, status: str) -> bool:
        """Take in an answer. True: the sidecar is ready."""
        self._found = status
        return status == "SERVING"

    def take_in(self, failure: CallFailed) -> None:
        """Take in a check that failed. Raises it if waiting longer is no use, e.g. UNIMPLEMENTED."""
        if not failure.retryable:
            raise failure
        if failure.code == "UNAVAILABLE":
            self._found = "nobody listens"
        elif failure.code == "RESOURCE_EXHAUSTED":
            self._found = "it sheds load"
        # A check that was cut short by the end of the wait says less than the one before it.


def _status(answer: bytes) -> str:
    try:
        return _STATUSES[answer]
    except KeyError:
        raise UnreadableAnswer("the answer to a health check cannot be parsed") from None

"""The feed's one call, and when to make it again. Pure but for the random numbers of its pauses."""

import random
from collections.abc import Callable

WATCH_PATH = "/sidegate.v1.RevocationFeedService/WatchRevocations"
WATCH_REQUEST = b""  # a WatchRevocationsRequest with nothing set: from now on

FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 1.0  # with the channel's own second to reconnect: a feed again within 2 s of the sidecar's return
RARE_PAUSE_SECONDS = 60.0

_NO_FEED = frozenset(
    {"UNIMPLEMENTED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"}
)
"""An older sidecar, one without a store, or one that will not let this client watch: not the next second either."""


class Pauses:
    """How long to wait between two attempts: ever longer, each spread so that clients do not come back together.

    Args:
        fraction: A random number from 0 to 1.
    """

    def __init__(self, fraction: Callable[[], float] = random.random) -> None:
        self._fraction = fraction
        self._pause = FIRST_PAUSE_SECONDS

    def worked(self) -> None:
        """What was tried worked: the next pause is a short one."""
        self._pause = FIRST_PAUSE_SECONDS

    def lasted(self, seconds: float) -> None:
        """A stream was over that long after it was asked for. If that is as long as a pause can be, the next is short.

        Not by what it delivered: a sidecar that ends each stream after the first messages would be asked without end.
        And waiting for a connection counts, for it spaces the attempts as a pause does.
        """
        if seconds >= LAST_PAUSE_SECONDS:
            self.worked()

    def after(self, code: str | None) -> float:
        """Seconds to wait after a stream that ended with that status code's name. None: it ended in another way."""
        if code in _NO_FEED:
            pause = RARE_PAUSE_SECONDS
        else:
            pause, self._pause = self._pause, min(2 * self._pause, LAST_PAUSE_SECONDS)
        return pause * (0.5 + 0.5 * self._fraction())

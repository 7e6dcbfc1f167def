"""The log of refusals: an entry for each, until there are more than anybody keeps."""

from collections.abc import Callable

import structlog

from sidegate_sidecar.model import steady_clock

MAX_A_SECOND = 100  # 30 kB. A flood of 2,000 would rotate away, within a minute, what was logged before it

_log = structlog.get_logger(__name__)


class RefusalLog:
    """Of one kind, so that a flood of that kind hides none of another.

    Args:
        event: What its entries are called.
        clock: In seconds.
    """

    def __init__(self, event: str, clock: Callable[[], float] = steady_clock) -> None:
        self._event = event
        self._clock = clock
        self._began = clock()
        self._written = 0
        self._omitted = 0

    def write(self, **fields: str) -> None:
        """Log one refusal, or count it. The next one that is logged says how many were not: `omitted`."""
        now = self._clock()
        if now - self._began >= 1.0:
            self._began, self._written = now, 0
        if self._written >= MAX_A_SECOND:
            self._omitted += 1
            return
        self._written += 1
        _log.warning(self._event, **fields, **({"omitted": self._omitted} if self._omitted else {}))
        self._omitted = 0

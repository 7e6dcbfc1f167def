"""How often an issuer may be asked for keys that its set lacks."""

from collections.abc import Callable

BURST = 3
PAUSE_SECONDS = 2.0


class TokenBucket:
    """Three at once, then one every two seconds, whoever asks.

    Args:
        monotonic: The clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._level = float(BURST)
        self._levelled_at = monotonic()

    def tokens(self) -> int:
        """How many can be taken now."""
        now = self._monotonic()
        self._level = min(float(BURST), self._level + (now - self._levelled_at) / PAUSE_SECONDS)
        self._levelled_at = now
        return int(self._level)

    def take(self) -> bool:
        """Take a token, if there is one."""
        if self.tokens() == 0:
            return False
        self._level -= 1.0
        return True

"""Who came to a listener and was not let through yet: what they hold of it, and who gives way when it is too much."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sidegate_sidecar.model import steady_clock

Connection: TypeAlias = asyncio.Task[None]
"""What serves it. Not its address, which two listeners can share."""


@dataclass(slots=True)
class _Stranger:
    address: str
    since: float
    sent: int = 0

    def burden(self, now: float) -> float:
        """What they had kept for them, in bytes times seconds."""
        return self.sent * (now - self.since)


class Strangers:
    """Connections, until a call was let through on them; the oldest first.

    Who gives way is cancelled. Else strangers would keep everybody out, and could have the process keep for them
    whatever they send.

    Args:
        refused: Told the address of who gave way, and why.
        max_bytes: That they may have sent, together, headers decompressed.
        clock: In seconds.
    """

    def __init__(
        self, refused: Callable[[str, str], None], max_bytes: int, clock: Callable[[], float] = steady_clock
    ) -> None:
        self._refused = refused
        self._max_bytes = max_bytes
        self._clock = clock
        self._shaking_hands: dict[Connection, _Stranger] = {}
        self._unheard: dict[Connection, _Stranger] = {}  # have shaken hands
        self._sent = 0  # by these
        self._known: set[Connection] = set()

    def came(self, connection: Connection, address: str) -> None:
        """Somebody came, and shakes hands."""
        self._shaking_hands[connection] = _Stranger(address, self._clock())

    def shook_hands(self, connection: Connection) -> None:
        """They finished that."""
        self._unheard[connection] = self._shaking_hands.pop(connection)

    def let_through(self, connection: Connection) -> None:
        """A call of theirs was: they are no strangers any more."""
        self.forget(connection)
        self._known.add(connection)

    def knows(self, connection: Connection) -> bool:
        """Whether one was."""
        return connection in self._known

    def sent(self, connection: Connection, number: int) -> None:
        """They sent so many bytes more. Past what all may have sent, who is the greatest burden gives way: neither who
        sends without end, nor many who send little and wait, keep out who comes with a large first call.

        Raises:
            ConnectionAbortedError: They gave way, now or before.
        """
        stranger = self._unheard.get(connection)
        if stranger is not None:
            stranger.sent += number
            self._sent += number
            now = self._clock()
            while self._sent > self._max_bytes:
                greatest = max(self._unheard, key=lambda each: self._unheard[each].burden(now))
                self.turn_away(greatest, "too much without a call")
        if connection not in self._unheard:
            raise ConnectionAbortedError("they gave way")

    def make_room(self) -> bool:
        """Have the oldest of those that shake hands, or of those that have, give way: whichever are more. Whether there
        was one.

        So a flood of handshakes that stop does not push out who has just finished one, nor one of strangers who finish
        theirs those who have yet to.
        """
        most = max(self._shaking_hands, self._unheard, key=len)
        if not most:
            return False
        self.turn_away(next(iter(most)), "too many connections")
        return True

    def turn_away(self, connection: Connection, cause: str) -> None:
        """End a stranger's connection, unless it is ending."""
        stranger = self._shaking_hands.get(connection) or self._unheard.get(connection)
        if stranger is not None:
            self.forget(connection)
            self._refused(stranger.address, cause)
            connection.cancel()

    def forget(self, connection: Connection) -> None:
        """They are gone."""
        self._known.discard(connection)
        stranger = self._shaking_hands.pop(connection, None) or self._unheard.pop(connection, None)
        if stranger is not None:
            self._sent -= stranger.sent

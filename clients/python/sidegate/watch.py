"""One watched session, and when it expires. Pure."""

import heapq
from collections.abc import Callable

from sidegate.errors import SessionRejected
from sidegate.fields import optional_text
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import Evidence, EvidenceSource, NextAction, Rejection, RejectionReason, Session
from sidegate.verification_calls import MAX_TOKEN_BYTES, token_rejection
from sidegate.watching import SessionEndReason, WatchEnd

SPARE_INSTANTS = 64  # below that, letting go of them one by one is not worth it


class Watch:
    """One session that somebody watches. Known by identity.

    Args:
        session: As the sidecar or the near cache gave it.
        access_token: What to ask about it with. None: nothing.
        anti_csrf_token: To be asked with the token, as `verify` takes it.
        outlive_token: Whether the watch goes on when the token expires.
        tell: Called once, with how it ended.

    Raises:
        SessionRejected, InvalidRequest, TypeError: The token is none, or cannot hold that anti-CSRF token.
    """

    def __init__(
        self,
        session: Session,
        access_token: str | None,
        anti_csrf_token: str | None,
        outlive_token: bool,
        tell: Callable[[WatchEnd], None],
    ) -> None:
        self.issuer = session.issuer
        self.subjects = (session.session_handle, session.user_id, session.tenant_id)
        self.expires = session.token_expire_time.timestamp()
        self.outlives_token = outlive_token
        self.tell = tell
        self.question = None if access_token is None else _question(access_token, anti_csrf_token)
        # No revocation up to here touches it. One of its user that came before it began is no reason to end it.
        self.seen = session.evidence.revision
        self.doubt: SessionEndReason | None = None  # what it ends with if nobody can be asked
        self.digests: tuple[tuple[SessionEndReason, bytes], ...] = ()
        self.is_over = False  # told, or stopped


class Expiries:
    """Watches by the instant at which their tokens expire."""

    def __init__(self) -> None:
        self._watches: dict[float, dict[Watch, None]] = {}
        self._instants: list[float] = []  # a heap; some may have no watch any more

    def add(self, watch: Watch) -> None:
        """Take it in."""
        if watch.expires not in self._watches:
            self._watches[watch.expires] = {}
            heapq.heappush(self._instants, watch.expires)
        self._watches[watch.expires][watch] = None

    def remove(self, watch: Watch) -> None:
        """Let it go, if it is there."""
        watches = self._watches.get(watch.expires, {})
        watches.pop(watch, None)
        if not watches:
            self._watches.pop(watch.expires, None)
        if len(self._instants) > 2 * len(self._watches) + SPARE_INSTANTS:
            self._instants = sorted(self._watches)  # which is a heap

    def due(self, wall: float) -> list[Watch]:
        """Those that have expired by then, each once."""
        found: list[Watch] = []
        while (instant := self.next()) is not None and instant <= wall:
            found.extend(self._watches.pop(instant))
        return found

    def next(self) -> float | None:
        """When the next one expires, in seconds since the epoch. None: there is none."""
        while self._instants and self._instants[0] not in self._watches:
            heapq.heappop(self._instants)
        return self._instants[0] if self._instants else None


def _question(access_token: str, anti_csrf_token: str | None) -> VerifyRequest:
    rejection = token_rejection(access_token)
    anti_csrf_token = optional_text("anti_csrf_token", anti_csrf_token)
    if rejection is None and anti_csrf_token is not None and len(anti_csrf_token.encode()) > MAX_TOKEN_BYTES:
        # Sent, a few of them would make the questions of all watches too large for a message.
        message = "the anti-CSRF token is larger than any token that could hold it"
        rejection = Rejection(RejectionReason.ANTI_CSRF_MISMATCH, NextAction.REAUTHENTICATE, message)
    if rejection is not None:
        raise SessionRejected(rejection, Evidence(EvidenceSource.LOCAL))
    return VerifyRequest(access_token=access_token, anti_csrf_token=anti_csrf_token)

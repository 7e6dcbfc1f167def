"""What who watches a session gets to see: how it ended, and a way to stop watching."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeAlias

from sidegate.errors import ClientClosed
from sidegate.verdicts import NextAction, Rejection


class SessionEndReason(StrEnum):
    """Why a watch is over.

    TOKEN_EXPIRED: `token_expire_time` has come. The session may be alive: refresh.
    SESSION_REVOKED: The session was.
    USER_REVOKED, TENANT_REVOKED, KEY_REVOKED: Sessions of the user or tenant, or a key of any issuer, were; and the
        sidecar says this one too, or there was no token to ask it with.
    TOKEN_REJECTED: The sidecar refuses the token for a reason of another kind, which `rejection` names.
    UNVERIFIABLE: Revocations may have been missed, and there was no token to ask with.
    """

    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a reason, no secret
    SESSION_REVOKED = "SESSION_REVOKED"
    USER_REVOKED = "USER_REVOKED"
    TENANT_REVOKED = "TENANT_REVOKED"
    KEY_REVOKED = "KEY_REVOKED"
    TOKEN_REJECTED = "TOKEN_REJECTED"  # noqa: S105 - as above
    UNVERIFIABLE = "UNVERIFIABLE"


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session that was watched is over, or can no longer be told from one that is.

    Attributes:
        reason: Why.
        next_action: What its holder can do. REFRESH also where nobody could be asked: a new token is judged anew.
        rejection: What the sidecar said. None: it was not asked.
    """

    reason: SessionEndReason
    next_action: NextAction
    rejection: Rejection | None = None


WatchEnd: TypeAlias = SessionEnded | ClientClosed
"""A watch's one outcome. ClientClosed is none of the session's: nobody watches it any more."""


class SessionWatch:
    """A watch whose end is told by a callback. As a context manager it is stopped with the block."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def stop(self) -> None:
        """Watch no more. The callback is not called any more, unless that is just happening."""
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

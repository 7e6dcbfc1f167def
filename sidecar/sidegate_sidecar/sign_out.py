"""SignOut: the holder of a good token ends sessions of their own. Knows no gRPC and no SQL."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from sidegate_sidecar.errors import InvalidRequest, NotSupported, Rejected
from sidegate_sidecar.model import (
    Attribution,
    Demand,
    Reason,
    Rejection,
    Session,
    SessionsEnded,
    SessionsRevoked,
    Verdict,
)

# The reason is for where a sign-out is forwarded: the actor there is whoever forwards it.
_AUDIT_REASON = "signed out by the session's holder"
ATTRIBUTION = Attribution(actor="self-sign-out", reason=_AUDIT_REASON)


class SignOutScope(StrEnum):
    """Which of the holder's sessions to end. The names of `SignOutScope` in verification.proto."""

    THIS_SESSION = "THIS_SESSION"
    ALL_SESSIONS = "ALL_SESSIONS"
    OTHER_SESSIONS = "OTHER_SESSIONS"


class Verifies(Protocol):
    """Says whose session a token is."""

    async def verify(self, demand: Demand) -> Verdict:
        """The verdict on one token. Raises Undecided."""
        ...


class Revokes(Protocol):
    """Ends sessions, here or where this is forwarded to. When it returns, this sidecar refuses them.

    Raises Undecided where that is not known, and InvalidRequest with NOT_A_SESSION_OF_USER for an exception that is
    none. `attribution` has no request id: whoever repeats an attempt sees to one.
    """

    async def revoke_sessions(
        self, issuer: str, session_handles: Sequence[str], attribution: Attribution
    ) -> SessionsRevoked:
        """Revoke handles."""
        ...

    async def revoke_user(
        self,
        issuer: str,
        user_id: str,
        attribution: Attribution,
        *,
        tenant_id: str | None,
        except_session_handle: str | None,
    ) -> SessionsEnded:
        """Revoke every session of a user, except one if so asked."""
        ...


class SignOut:
    """Signs holders out.

    Args:
        verifier: Judges their tokens.
        revokes: Ends their sessions. None: this sidecar cannot.
    """

    def __init__(self, verifier: Verifies, revokes: Revokes | None) -> None:
        self._verifier = verifier
        self._revokes = revokes

    async def sign_out(self, demand: Demand, scope: SignOutScope) -> SessionsEnded:
        """End sessions of the token's holder. How many that were alive ended, and where the log stands.

        Raises:
            NotSupported: This sidecar can neither write to a store nor forward to one that can.
            Rejected: The token is not good, or its session is not one that the store knows as the holder's.
            InvalidRequest: The scope asks for a session handle, and the token has none.
            Undecided: Nobody could say whether the token is good, or whether the sessions have ended.
        """
        if self._revokes is None:
            raise NotSupported("this sidecar can neither write to a store nor forward to one that can")
        outcome = (await self._verifier.verify(demand)).outcome
        if isinstance(outcome, Rejection):
            raise Rejected(outcome.reason, outcome.message, next_action=outcome.next_action)
        if scope is not SignOutScope.ALL_SESSIONS and not outcome.session_handle:
            raise InvalidRequest("scope", "must be ALL_SESSIONS, for the token names no session")
        if scope is SignOutScope.THIS_SESSION:
            revoked = await self._revokes.revoke_sessions(outcome.issuer, [outcome.session_handle], ATTRIBUTION)
            return SessionsEnded(len(revoked.newly_revoked), revoked.revision)
        return await _revoke_user(self._revokes, outcome, except_this=scope is SignOutScope.OTHER_SESSIONS)


async def _revoke_user(revokes: Revokes, session: Session, *, except_this: bool) -> SessionsEnded:
    try:
        return await revokes.revoke_user(
            session.issuer,
            session.user_id,
            ATTRIBUTION,
            tenant_id=None,
            except_session_handle=session.session_handle if except_this else None,
        )
    except InvalidRequest as refusal:
        if refusal.reason == "NOT_A_SESSION_OF_USER":
            # The caller has named no session: the token has, and it is not the holder's as far as the store knows.
            raise Rejected(Reason.SESSION_NOT_FOUND, "the session is not registered as this user's") from refusal
        raise

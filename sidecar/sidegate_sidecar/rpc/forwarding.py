"""Revoking through another sidecar, which has an admin plane."""

import uuid
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import sidegate
import structlog

from sidegate_sidecar.administration import VISIBILITY_WAIT_SECONDS, Revocations
from sidegate_sidecar.errors import InvalidRequest, NotSupported, StoreUnavailable
from sidegate_sidecar.model import Attribution, Revision, SessionsEnded, SessionsRevoked

FORWARD_SECONDS = 2.0  # for all attempts; the caller of SignOut waits meanwhile

_log = structlog.get_logger(__name__)

ResultT = TypeVar("ResultT")


class Forwarding:
    """Ends sessions by RevocationService at another sidecar of the same store. To be closed.

    Each method carries one request id through all its attempts, so that a repeated one does nothing new. It returns
    once this sidecar refuses what was revoked.

    Raises:
        StoreUnavailable: No answer in time: it may or may not have happened. Or what this sidecar is known by cannot be
            read: it has not.
        RevisionNotReached, ForeignRevision: It has, and this sidecar has not taken it in.
        InvalidRequest: NOT_A_SESSION_OF_USER.
        NotSupported: The other sidecar does not do that for this one.

    Args:
        target: Where its admin services listen, as gRPC spells it.
        revocations: The index here.
        tls: For an address: whom to trust there, and what to show. Read again when it changes.
        token: Returns the token to send there. Needs `tls`.
    """

    def __init__(
        self,
        target: str,
        revocations: Revocations,
        *,
        tls: sidegate.ClientTls | None = None,
        token: sidegate.TokenFile | None = None,
    ) -> None:
        # The client's own: it reconnects, retries what is UNAVAILABLE and holds its deadline across all attempts.
        self._client = sidegate.AsyncRevocationClient(target, timeout=FORWARD_SECONDS, tls=tls, token=token)
        self._revocations = revocations

    async def close(self) -> None:
        """End the calls under way."""
        await self._client.close()

    async def revoke_sessions(
        self, issuer: str, session_handles: Sequence[str], attribution: Attribution
    ) -> SessionsRevoked:
        """Revoke the one handle that there is: the role `self-sign-out` may not revoke batches."""
        [session_handle] = session_handles
        outcome = await _answer_of(
            self._client.revoke_session(
                session_handle, issuer=issuer, reason=attribution.reason, request_id=str(uuid.uuid4())
            )
        )
        revision = await self._reached(outcome.revision)
        return SessionsRevoked((session_handle,) if outcome.newly_revoked else (), revision)

    async def revoke_user(
        self,
        issuer: str,
        user_id: str,
        attribution: Attribution,
        *,
        tenant_id: str | None,
        except_session_handle: str | None,
    ) -> SessionsEnded:
        """Revoke every session of a user, in one tenant and except one if so asked."""
        outcome = await _answer_of(
            self._client.revoke_user_sessions(
                user_id,
                issuer=issuer,
                tenant_id=tenant_id,
                except_session_handle=except_session_handle,
                reason=attribution.reason,
                request_id=str(uuid.uuid4()),
            )
        )
        revision = await self._reached(outcome.revision)
        return SessionsEnded(outcome.revoked_count, revision)

    async def _reached(self, told: sidegate.Revision) -> Revision:
        revision = Revision(told.store_id, told.sequence)
        await self._revocations.read_back(revision, VISIBILITY_WAIT_SECONDS)
        return revision


async def _answer_of(call: Awaitable[ResultT]) -> ResultT:
    """What the other sidecar answers; its failures as ours."""
    try:
        return await call
    except sidegate.RevocationUnavailable as failure:
        raise StoreUnavailable("the admin target gave no answer; the outcome is unknown") from failure
    except sidegate.CredentialsUnavailable as failure:
        _log.warning("forwarding_not_possible", error=str(failure))
        raise StoreUnavailable("this sidecar cannot prove itself to the admin target now") from failure
    except sidegate.CallFailed as failure:
        if failure.reason == "NOT_A_SESSION_OF_USER" and failure.field is not None:
            raise InvalidRequest(failure.field, "names no session of that user", reason=failure.reason) from failure
        # Its own trouble with this sidecar, e.g. an issuer that it does not know: nothing that the caller could change.
        _log.warning("forwarding_refused", code=failure.code, reason=failure.reason)
        raise NotSupported("the admin target does not do that for this sidecar") from failure

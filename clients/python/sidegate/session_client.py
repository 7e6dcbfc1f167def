"""Verify access tokens from threads."""

from collections.abc import Sequence

from sidegate import verification_calls
from sidegate.blocking import BlockingClient
from sidegate.failures import verification_error
from sidegate.records import SessionsEnded
from sidegate.targets import SESSION_TARGET, SESSION_TARGET_VARIABLE, resolve_target
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import Revision, ServingStatus, Session, SignOutScope, Verdict


class SessionClient(BlockingClient):
    """Asks the sidecar beside this process: is this access token good right now, and whose session is it?

    One client serves all threads of a process. It opens its connection with the first call.
    Close it, or use it as a context manager.

    Args:
        target: Where the sidecar listens, as gRPC spells it: `unix:///path` or `host:port`. None: the environment
            variable SIDEGATE_TARGET, else `unix:///run/sidegate/sidegate.sock`.
        timeout: Seconds that a call may take, retries included, unless it is given its own.

    Raises:
        ValueError: `timeout` is not positive and finite, or the target cannot be one, e.g. "http://…" or a bare path.
    """

    def __init__(self, target: str | None = None, *, timeout: float = 1.0) -> None:
        super().__init__(resolve_target(target, SESSION_TARGET_VARIABLE, SESSION_TARGET), timeout, verification_error)

    def verify(
        self,
        access_token: str,
        *,
        check_database: bool = False,
        at_least_as_fresh: Revision | None = None,
        audiences: Sequence[str] = (),
        tenant_id: str | None = None,
        anti_csrf_token: str | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Whose session a good token belongs to.

        Args:
            access_token: The JWT, without "Bearer".
            check_database: Ask the session database too. Sees every revocation acknowledged before the call began.
            at_least_as_fresh: Decide on a state at least as fresh as this, usually what a revoke returned.
            audiences: The token's `aud` must name one of these. Empty: the issuer's own decide.
            tenant_id: The token must belong to this tenant. None: any.
            anti_csrf_token: Must equal the token's anti-CSRF claim. None: checked where the issuer demands it.
            timeout: Seconds. None: the client's own.

        Raises:
            SessionRejected: The token is not good.
            VerificationUnavailable: No verdict could be had. Never evidence about the token. `retryable` is False where
                this sidecar can never say, e.g. `check_database` of one without a store (STORE_NOT_CONFIGURED).
            InvalidRequest: The question is wrong, e.g. the token is empty.
            ClientClosed: Before or meanwhile.
        """
        verdict = self.check(
            access_token,
            check_database=check_database,
            at_least_as_fresh=at_least_as_fresh,
            audiences=audiences,
            tenant_id=tenant_id,
            anti_csrf_token=anti_csrf_token,
            timeout=timeout,
        )
        return verification_calls.session_of(verdict)

    def check(
        self,
        access_token: str,
        *,
        check_database: bool = False,
        at_least_as_fresh: Revision | None = None,
        audiences: Sequence[str] = (),
        tenant_id: str | None = None,
        anti_csrf_token: str | None = None,
        timeout: float | None = None,
    ) -> Verdict:
        """The verdict on a token, a rejection being an answer. Arguments and errors are otherwise those of `verify`."""
        question = verification_calls.verify_request(
            access_token,
            check_database=check_database,
            at_least_as_fresh=at_least_as_fresh,
            audiences=audiences,
            tenant_id=tenant_id,
            anti_csrf_token=anti_csrf_token,
        )
        if isinstance(question, Verdict):
            return question
        return self._exchange(question, timeout)

    def sign_out(
        self,
        access_token: str,
        scope: SignOutScope = SignOutScope.THIS_SESSION,
        *,
        timeout: float | None = None,
    ) -> SessionsEnded:
        """End sessions of the token's own holder. When it returns, the revocation is durable. Never retried.

        Raises:
            SessionRejected: The token is not good; SESSION_REVOKED may mean that an earlier attempt went through.
            RevocationUnavailable: The outcome is unknown; calling again is safe.
            NotSupported: This sidecar can neither write to a store nor forward to one that can.
            InvalidRequest, PreconditionFailed, Unauthenticated, PermissionDenied, ClientClosed: As their names say.
        """
        return self._run(verification_calls.sign_out(access_token, scope), timeout)

    def serving_status(self, *, timeout: float | None = None) -> ServingStatus:
        """What the sidecar knows and how old it is. Raises: VerificationUnavailable, ClientClosed."""
        return self._run(verification_calls.serving_status(), timeout)

    def _exchange(self, question: VerifyRequest, timeout: float | None) -> Verdict:
        """Trade a question for its verdict."""
        return self._run(verification_calls.verify(question), timeout)

"""From an error to the HTTP answer that every framework gives for it. Pure. docs/web-frameworks.md has the table."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from sidegate.errors import (
    ClientClosed,
    ForkUnsupported,
    NotSupported,
    RevocationUnavailable,
    SessionRejected,
    VerificationUnavailable,
)
from sidegate.integrations.policy import SessionCookie, WebPolicy
from sidegate.integrations.refusals import (
    ClaimRequirementFailed,
    CredentialsProblem,
    CredentialsRefused,
    CsrfRefused,
    RequestRefused,
)

NoVerdict: TypeAlias = VerificationUnavailable | ClientClosed | ForkUnsupported
Refusal: TypeAlias = SessionRejected | NoVerdict | RequestRefused
REFUSALS: Final = (SessionRejected, VerificationUnavailable, ClientClosed, ForkUnsupported, RequestRefused)
"""What verifying a session of a request raises, and `answer_to` answers. All else is a mistake in the service."""

_log = logging.getLogger("sidegate.integrations")

# RFC 6750 section 3: what error_description may hold.
_NOT_DESCRIBABLE = re.compile(r"[^ !#-\[\]-~]")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        body: To be sent as JSON.
        headers: In order. No Set-Cookie among them.
        cleared_cookies: What the browser is to drop.
    """

    status: int
    body: Mapping[str, object]
    headers: tuple[tuple[str, str], ...] = ()
    cleared_cookies: tuple[SessionCookie, ...] = ()


def answer_to(error: Refusal, policy: WebPolicy) -> Answer:
    """401 for a token that is missing or not good, 403 for a request that it does not allow, 503 for no verdict."""
    match error:
        case SessionRejected():
            body = {"reason": str(error.reason), "next_action": str(error.next_action), "message": error.message}
            return _unauthorized("invalid_token", body, policy)
        case CredentialsRefused():
            body = {"reason": str(error.problem), "next_action": "REAUTHENTICATE", "message": error.message}
            missing = error.problem is CredentialsProblem.NO_CREDENTIALS
            return _unauthorized("missing_token" if missing else "invalid_request", body, policy)
        case CsrfRefused():
            return _refused(403, "csrf_refused", "CSRF_HEADER_MISSING", error.message)
        case ClaimRequirementFailed():
            return _refused(
                403, "insufficient_claims", "CLAIM_REQUIREMENT_FAILED", error.message, claim=error.requirement
            )
        case VerificationUnavailable() | ClientClosed() | ForkUnsupported():
            # The message names the target and its state: for operators, and never a token.
            _log.warning("no verdict could be had: %s", error)
            return _unavailable("VERIFICATION_UNAVAILABLE", "nobody could say whether the token is good", policy)
        case _:
            return _refused(400, "invalid_request", "UNKNOWN_SCOPE", error.message)


def answer_to_sign_out_failure(error: RevocationUnavailable | NotSupported, policy: WebPolicy) -> Answer:
    """503, or 501 from a sidecar that can never end sessions. They may still be alive, so nothing is cleared."""
    _log.warning("no session was signed out: %s", error)
    if isinstance(error, NotSupported):
        return _refused(501, "not_supported", "SIGN_OUT_NOT_SUPPORTED", "this sidecar cannot end sessions")
    return _unavailable("SIGN_OUT_UNAVAILABLE", "it is not known whether the sessions ended; try again", policy)


def _unavailable(reason: str, message: str, policy: WebPolicy) -> Answer:
    """Never evidence about the token: no challenge, and cookies stay."""
    retry_after = ("Retry-After", str(policy.retry_after))
    return _refused(503, "temporarily_unavailable", reason, message, headers=(retry_after,), next_action="RETRY")


def _unauthorized(error: str, body: Mapping[str, str], policy: WebPolicy) -> Answer:
    """401 with the challenge of RFC 6750 section 3. Section 3.1: where there was no token, it says no error."""
    challenge = f'Bearer realm="{policy.realm}"'
    if error != "missing_token":
        description = _NOT_DESCRIBABLE.sub("?", body["message"])
        challenge += f', error="{error}", error_description="{description}"'
    headers = (("WWW-Authenticate", challenge), ("Cache-Control", "no-store"))
    return Answer(401, {"error": error, **body}, headers)


def _refused(
    status: int,
    error: str,
    reason: str,
    message: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    **members: str,
) -> Answer:
    body = {"error": error, "reason": reason, **members, "message": message}
    return Answer(status, body, (*headers, ("Cache-Control", "no-store")))

"""Sign-out by the session's own holder. For threads and for asyncio; the two differ in waiting alone."""

from dataclasses import replace

from sidegate.async_session_client import AsyncSessionClient
from sidegate.errors import InvalidRequest, NotSupported, RevocationUnavailable, SessionRejected, SidegateError
from sidegate.integrations.answers import REFUSALS, Answer, Refusal, answer_to, answer_to_sign_out_failure
from sidegate.integrations.credentials import Credentials, IncomingRequest, Transfer
from sidegate.integrations.guard import required_credentials
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.refusals import ScopeRefused, without_frames
from sidegate.records import SessionsEnded
from sidegate.session_client import SessionClient
from sidegate.verdicts import NextAction, RejectionReason, SignOutScope

_FAILURES = (RevocationUnavailable, NotSupported)


def scope_named(name: str | None) -> SignOutScope:
    """The scope of that name, None being this session. Raises: ScopeRefused."""
    if name is None:
        return SignOutScope.THIS_SESSION
    scope = SignOutScope.__members__.get(name)
    if scope is None:
        raise ScopeRefused(f"scope must be one of {', '.join(SignOutScope)}")
    return scope


def sign_out(
    client: SessionClient, request: IncomingRequest, policy: WebPolicy, scope: SignOutScope | str | None
) -> Answer:
    """End sessions of the user who sends the request, and say so. Every refusal and every outage is an answer.

    Cookies are cleared once this session is known to have ended, or its token is good for nothing any more; not while
    refreshing may revive it.

    Args:
        scope: Which sessions, or the name of it, which may come from the request. None: this one.

    Raises:
        SidegateError: The sidecar refuses the service, e.g. PermissionDenied: a mistake in how they are set up.
    """
    credentials: Credentials | None = None
    try:
        chosen = scope_named(scope)
        credentials = required_credentials(request, policy)
        ended = client.sign_out(credentials.access_token, chosen, anti_csrf_token=credentials.anti_csrf_token)
    except REFUSALS as error:
        return _refused(error, credentials, policy)
    except InvalidRequest as error:
        return _refused(_unsuitable(error), credentials, policy)
    except _FAILURES as error:
        return answer_to_sign_out_failure(error, policy)
    except SidegateError as error:
        raise without_frames(error) from None
    return _signed_out(ended, credentials, policy, chosen)


async def sign_out_async(
    client: AsyncSessionClient, request: IncomingRequest, policy: WebPolicy, scope: SignOutScope | str | None
) -> Answer:
    """As `sign_out`."""
    credentials: Credentials | None = None
    try:
        chosen = scope_named(scope)
        credentials = required_credentials(request, policy)
        ended = await client.sign_out(credentials.access_token, chosen, anti_csrf_token=credentials.anti_csrf_token)
    except REFUSALS as error:
        return _refused(error, credentials, policy)
    except InvalidRequest as error:
        return _refused(_unsuitable(error), credentials, policy)
    except _FAILURES as error:
        return answer_to_sign_out_failure(error, policy)
    except SidegateError as error:
        raise without_frames(error) from None
    return _signed_out(ended, credentials, policy, chosen)


def _signed_out(ended: SessionsEnded, credentials: Credentials, policy: WebPolicy, scope: SignOutScope) -> Answer:
    answer = Answer(200, {"status": "OK", "revoked_count": ended.revoked_count}, (("Cache-Control", "no-store"),))
    return answer if scope is SignOutScope.OTHER_SESSIONS else _without_session(answer, credentials, policy)


def _unsuitable(error: InvalidRequest) -> ScopeRefused:
    """The refusal of a scope that the token is not for: it names no session. Raises: the error, if it is another."""
    if error.field != "scope":
        raise without_frames(error) from None
    return ScopeRefused(error.message)


def _refused(error: Refusal, credentials: Credentials | None, policy: WebPolicy) -> Answer:
    answer = answer_to(error, policy)
    if (
        credentials is not None
        and isinstance(error, SessionRejected)
        # After EXPIRED the session may well be alive: the front end is to refresh and sign out again.
        and error.next_action is NextAction.REAUTHENTICATE
        # Another site can send that, and would sign the user out.
        and error.reason is not RejectionReason.ANTI_CSRF_MISMATCH
    ):
        return _without_session(answer, credentials, policy)
    return answer


def _without_session(answer: Answer, credentials: Credentials, policy: WebPolicy) -> Answer:
    """The answer, and the browser is to forget the session. A cookie that was not used may be another session's."""
    cookies = policy.cleared_cookies if credentials.transfer is Transfer.COOKIE else ()
    return replace(answer, headers=answer.headers + policy.sign_out_headers, cleared_cookies=cookies)

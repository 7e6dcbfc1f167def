"""A route's door: read the credentials, ask the sidecar, check what the route requires.

For threads and for asyncio; the two differ in waiting alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sidegate.async_session_client import AsyncSessionClient
from sidegate.errors import SidegateError
from sidegate.integrations.credentials import Credentials, IncomingRequest, read_credentials
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.refusals import CredentialsProblem, CredentialsRefused, without_frames
from sidegate.integrations.requirements import Check, Requirements, check_session, checks
from sidegate.session_client import SessionClient
from sidegate.verdicts import Session


@dataclass(frozen=True, slots=True)
class RouteRules:
    """What one route asks of a request. Made by `route_rules`."""

    check_database: bool
    session_required: bool
    checks: tuple[Check, ...]
    audiences: tuple[str, ...]
    tenant_id: str | None


def route_rules(
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> RouteRules:
    """What one route asks of a request.

    Args:
        check_database: Ask the session database too. Sees every revocation acknowledged before the call began.
        session_required: Refuse a request that brings no token. One that brings a bad token is refused in any case.
        require: Claims by name, functions from a session to a bool, or several of them; all must be met.
        audiences: The token's `aud` must name one of these. Empty: the issuer's own decide.
        tenant_id: The token must belong to this tenant. None: any.

    Raises:
        TypeError: `require` or `audiences` is of the wrong type.
    """
    if isinstance(audiences, (str, bytes)):
        raise TypeError("audiences must be a sequence of str, not one string")
    return RouteRules(check_database, session_required, checks(require), tuple(audiences), tenant_id)


def get_session(
    client: SessionClient, request: IncomingRequest, policy: WebPolicy, rules: RouteRules
) -> Session | None:
    """Whose session a request belongs to. None: it brings no token, and none is required.

    Raises:
        SessionRejected, VerificationUnavailable, ClientClosed, ForkUnsupported: As `SessionClient.verify`.
        RequestRefused: In one of its kinds.
    """
    credentials = _credentials(request, policy, rules)
    if credentials is None:
        return None
    try:
        session = client.verify(
            credentials.access_token,
            check_database=rules.check_database,
            audiences=rules.audiences,
            tenant_id=rules.tenant_id,
            anti_csrf_token=credentials.anti_csrf_token,
        )
    except SidegateError as error:
        raise without_frames(error) from None
    check_session(rules.checks, session)
    return session


async def get_session_async(
    client: AsyncSessionClient, request: IncomingRequest, policy: WebPolicy, rules: RouteRules
) -> Session | None:
    """As `get_session`."""
    credentials = _credentials(request, policy, rules)
    if credentials is None:
        return None
    try:
        session = await client.verify(
            credentials.access_token,
            check_database=rules.check_database,
            audiences=rules.audiences,
            tenant_id=rules.tenant_id,
            anti_csrf_token=credentials.anti_csrf_token,
        )
    except SidegateError as error:
        raise without_frames(error) from None
    check_session(rules.checks, session)
    return session


def required_credentials(request: IncomingRequest, policy: WebPolicy) -> Credentials:
    """The token that a request brings. Raises: as `read_credentials`; CredentialsRefused, if it brings none."""
    credentials = read_credentials(request, policy)
    if credentials is None:
        raise CredentialsRefused(CredentialsProblem.NO_CREDENTIALS, "the request brings no access token")
    return credentials


def _credentials(request: IncomingRequest, policy: WebPolicy, rules: RouteRules) -> Credentials | None:
    return required_credentials(request, policy) if rules.session_required else read_credentials(request, policy)

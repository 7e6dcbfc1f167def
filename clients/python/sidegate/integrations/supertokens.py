"""What backends with admin rights call, under the names that SuperTokens gave them. Thin: `RevocationClient` does more.

docs/migrating-from-supertokens.md says what differs. For asyncio: the same names in `supertokens_asyncio`.
"""

from collections.abc import Sequence

from sidegate.errors import SessionNotRegistered
from sidegate.records import RegisteredSession, SessionState
from sidegate.revocation_client import RevocationClient


def revoke_session(client: RevocationClient, session_handle: str) -> bool:
    """End one session. Whether this call is the one that ended it. Raises: as `RevocationClient.revoke_session`."""
    return client.revoke_session(session_handle).newly_revoked


def revoke_multiple_sessions(client: RevocationClient, session_handles: Sequence[str]) -> list[str]:
    """End 1 to 1,000 sessions, all or none. Those that this call ended."""
    return list(client.revoke_sessions(session_handles).newly_revoked_handles)


def revoke_all_sessions_for_user(client: RevocationClient, user_id: str, tenant_id: str | None = None) -> int:
    """End every session of a user, registered or not. How many registered ones that were alive ended.

    Args:
        tenant_id: Only sessions in this tenant. None: in all.
    """
    return client.revoke_user_sessions(user_id, tenant_id=tenant_id).revoked_count


def get_all_session_handles_for_user(client: RevocationClient, user_id: str, tenant_id: str | None = None) -> list[str]:
    """The handles of a user's registered sessions that are alive.

    Args:
        tenant_id: Only sessions in this tenant. None: in all.
    """
    return [
        session.session_handle for session in client.list_sessions(user_id) if is_alive(session, tenant_id=tenant_id)
    ]


def get_session_information(client: RevocationClient, session_handle: str) -> RegisteredSession | None:
    """What the store knows of a session, ended ones included. None: nobody registered it."""
    try:
        return client.get_session(session_handle)
    except SessionNotRegistered:
        return None


def is_alive(session: RegisteredSession, *, tenant_id: str | None) -> bool:
    """Whether a session is neither revoked nor expired, and in that tenant. None: in any."""
    return session.state is SessionState.ACTIVE and tenant_id in {None, session.tenant_id}

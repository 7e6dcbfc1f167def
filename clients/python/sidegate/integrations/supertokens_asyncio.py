"""`sidegate.integrations.supertokens` for asyncio."""

from collections.abc import Sequence

from sidegate.async_revocation_client import AsyncRevocationClient
from sidegate.errors import SessionNotRegistered
from sidegate.integrations.supertokens import is_alive
from sidegate.records import RegisteredSession


async def revoke_session(client: AsyncRevocationClient, session_handle: str) -> bool:
    """End one session. Whether this call is the one that ended it."""
    return (await client.revoke_session(session_handle)).newly_revoked


async def revoke_multiple_sessions(client: AsyncRevocationClient, session_handles: Sequence[str]) -> list[str]:
    """End 1 to 1,000 sessions, all or none. Those that this call ended."""
    return list((await client.revoke_sessions(session_handles)).newly_revoked_handles)


async def revoke_all_sessions_for_user(
    client: AsyncRevocationClient, user_id: str, tenant_id: str | None = None
) -> int:
    """End every session of a user, in one tenant or all. How many registered ones that were alive ended."""
    return (await client.revoke_user_sessions(user_id, tenant_id=tenant_id)).revoked_count


async def get_all_session_handles_for_user(
    client: AsyncRevocationClient, user_id: str, tenant_id: str | None = None
) -> list[str]:
    """The handles of a user's registered sessions that are alive, in one tenant or all."""
    return [
        session.session_handle
        async for session in client.list_sessions(user_id)
        if is_alive(session, tenant_id=tenant_id)
    ]


async def get_session_information(client: AsyncRevocationClient, session_handle: str) -> RegisteredSession | None:
    """What the store knows of a session, ended ones included. None: nobody registered it."""
    try:
        return await client.get_session(session_handle)
    except SessionNotRegistered:
        return None

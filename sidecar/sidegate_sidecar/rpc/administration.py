"""RevocationService and SessionService: the admin plane."""

from sidegate.v1 import revocation_pb2 as v1
from sidegate.v1 import revocation_pb2_grpc

from sidegate_sidecar.administration import Administration, checked_page_size
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import Attribution, AuditFilter, Clock
from sidegate_sidecar.rpc.actor import ACTOR
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.messages import (
    registered_session_from,
    registration_from,
    revision_from,
    revocation_from,
)
from sidegate_sidecar.rpc.pages import cursor_from, page_token_for

MAX_SEQUENCE_DIGITS = 18  # a sequence is a signed 64-bit integer


class RevocationService(revocation_pb2_grpc.RevocationServiceServicer):
    """Args:
    administration: Does it.
    """

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    async def RevokeSession(self, request: v1.RevokeSessionRequest, context: Context) -> v1.RevokeSessionResponse:
        """As revocation.proto says."""
        outcome = await self._administration.revoke_sessions(
            request.issuer,
            [request.session_handle],
            _attribution(request),
            field="session_handle",
            validate_only=request.validate_only,
        )
        return v1.RevokeSessionResponse(
            newly_revoked=bool(outcome.newly_revoked), revision=revision_from(outcome.revision)
        )

    async def BatchRevokeSessions(
        self, request: v1.BatchRevokeSessionsRequest, context: Context
    ) -> v1.BatchRevokeSessionsResponse:
        """As revocation.proto says."""
        outcome = await self._administration.revoke_sessions(
            request.issuer,
            list(request.session_handles),
            _attribution(request),
            validate_only=request.validate_only,
        )
        return v1.BatchRevokeSessionsResponse(
            newly_revoked_handles=outcome.newly_revoked, revision=revision_from(outcome.revision)
        )

    async def RevokeUserSessions(
        self, request: v1.RevokeUserSessionsRequest, context: Context
    ) -> v1.RevokeUserSessionsResponse:
        """As revocation.proto says."""
        outcome = await self._administration.revoke_user(
            request.issuer,
            request.user_id,
            _attribution(request),
            tenant_id=request.tenant_id if request.HasField("tenant_id") else None,
            except_session_handle=(
                request.except_session_handle if request.HasField("except_session_handle") else None
            ),
            validate_only=request.validate_only,
        )
        return v1.RevokeUserSessionsResponse(
            revoked_count=outcome.revoked_count, revision=revision_from(outcome.revision)
        )

    async def RevokeTenantSessions(
        self, request: v1.RevokeTenantSessionsRequest, context: Context
    ) -> v1.RevokeTenantSessionsResponse:
        """As revocation.proto says."""
        outcome = await self._administration.revoke_tenant(
            request.issuer, request.tenant_id, _attribution(request), validate_only=request.validate_only
        )
        return v1.RevokeTenantSessionsResponse(
            revoked_count=outcome.revoked_count, revision=revision_from(outcome.revision)
        )

    async def RevokeSigningKey(
        self, request: v1.RevokeSigningKeyRequest, context: Context
    ) -> v1.RevokeSigningKeyResponse:
        """As revocation.proto says."""
        outcome = await self._administration.revoke_key(
            request.issuer,
            _attribution(request),
            key_id=request.key_id if request.HasField("key_id") else None,
            key_thumbprint=request.key_thumbprint if request.HasField("key_thumbprint") else None,
            validate_only=request.validate_only,
        )
        return v1.RevokeSigningKeyResponse(revision=revision_from(outcome.revision))

    async def ListRevocations(self, request: v1.ListRevocationsRequest, context: Context) -> v1.ListRevocationsResponse:
        """As revocation.proto says."""
        filters = (request.issuer, request.session_handle, request.user_id, request.tenant_id, request.actor)
        cursor = cursor_from(request.page_token, "revocations", *filters)
        page_size = checked_page_size(request.page_size)
        entries = await self._administration.list_revocations(
            AuditFilter(*(value or None for value in filters)),
            before=_sequence_from(cursor),
            page_size=page_size,
        )
        return v1.ListRevocationsResponse(
            revocations=[revocation_from(entry) for entry in entries],
            next_page_token=(
                page_token_for(str(entries[-1].entry.sequence), "revocations", *filters)
                if len(entries) == page_size
                else ""
            ),
        )


class SessionService(revocation_pb2_grpc.SessionServiceServicer):
    """Args:
    administration: Does it.
    clock: Tells active sessions from expired ones.
    """

    def __init__(self, administration: Administration, clock: Clock) -> None:
        self._administration = administration
        self._clock = clock

    async def RegisterSession(self, request: v1.RegisterSessionRequest, context: Context) -> v1.RegisterSessionResponse:
        """As revocation.proto says."""
        (record,) = await self._administration.register([registration_from(request)])
        return v1.RegisterSessionResponse(session=registered_session_from(record, self._clock()))

    async def BatchRegisterSessions(
        self, request: v1.BatchRegisterSessionsRequest, context: Context
    ) -> v1.BatchRegisterSessionsResponse:
        """As revocation.proto says."""
        records = await self._administration.register(
            [registration_from(item, f"requests[{position}].") for position, item in enumerate(request.requests)],
            field="requests",
        )
        now = self._clock()
        return v1.BatchRegisterSessionsResponse(sessions=[registered_session_from(record, now) for record in records])

    async def GetSession(self, request: v1.GetSessionRequest, context: Context) -> v1.GetSessionResponse:
        """As revocation.proto says."""
        record = await self._administration.get_session(request.issuer, request.session_handle)
        return v1.GetSessionResponse(session=registered_session_from(record, self._clock()))

    async def ListSessions(self, request: v1.ListSessionsRequest, context: Context) -> v1.ListSessionsResponse:
        """As revocation.proto says."""
        scope = ("sessions", request.issuer, request.user_id)
        page_size = checked_page_size(request.page_size)
        records = await self._administration.list_sessions(
            request.issuer, request.user_id, after=cursor_from(request.page_token, *scope) or "", page_size=page_size
        )
        now = self._clock()
        return v1.ListSessionsResponse(
            sessions=[registered_session_from(record, now) for record in records],
            next_page_token=page_token_for(records[-1].session_handle, *scope) if len(records) == page_size else "",
        )


def _sequence_from(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= MAX_SEQUENCE_DIGITS):
        raise InvalidRequest("page_token", "did not come from this call", reason="INVALID_PAGE_TOKEN")
    return int(cursor)


def _attribution(
    request: (
        v1.RevokeSessionRequest
        | v1.BatchRevokeSessionsRequest
        | v1.RevokeUserSessionsRequest
        | v1.RevokeTenantSessionsRequest
        | v1.RevokeSigningKeyRequest
    ),
) -> Attribution:
    return Attribution(ACTOR.get(), request.reason, request.request_id or None)

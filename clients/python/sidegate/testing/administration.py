"""RevocationService and SessionService of a fake sidecar."""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeAlias, TypeVar

import grpc

from sidegate.errors import CallFailed
from sidegate.testing.faults import Faults
from sidegate.testing.messages import registered_session_from, revision_from, revocation_from, wanted_from
from sidegate.testing.refusals import invalid, store_unavailable
from sidegate.testing.store import Attribution, Entry, Kind, Store, now
from sidegate.testing.tokens import KEY_ID, TokenKey
from sidegate.v1 import revocation_pb2 as v1
from sidegate.v1 import revocation_pb2_grpc

LOCAL_ACTOR = "local-socket"
MAX_NAME_BYTES = 512
MAX_REASON_BYTES = 1024
MAX_BATCH = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 100

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")

_ItemT = TypeVar("_ItemT")
_RevokeRequest: TypeAlias = (
    v1.RevokeSessionRequest
    | v1.BatchRevokeSessionsRequest
    | v1.RevokeUserSessionsRequest
    | v1.RevokeTenantSessionsRequest
    | v1.RevokeSigningKeyRequest
)


class RevocationService(revocation_pb2_grpc.RevocationServiceServicer):
    """Args:
    key: Of the one issuer.
    store: Of sessions and revocations.
    faults: May take the store down.
    accept_unknown: Whether sessions that nobody registered are good.
    """

    def __init__(self, key: TokenKey, store: Store, faults: Faults, *, accept_unknown: bool) -> None:
        self._key = key
        self._store = store
        self._faults = faults
        self._accept_unknown = accept_unknown

    def RevokeSession(
        self, request: v1.RevokeSessionRequest, context: grpc.ServicerContext
    ) -> v1.RevokeSessionResponse:
        """As revocation.proto says."""
        _check_name("session_handle", request.session_handle)
        attribution = self._admit(request)
        ended, revision = self._store.revoke_sessions(
            [request.session_handle], attribution, validate_only=request.validate_only
        )
        return v1.RevokeSessionResponse(newly_revoked=bool(ended), revision=revision_from(revision))

    def BatchRevokeSessions(
        self, request: v1.BatchRevokeSessionsRequest, context: grpc.ServicerContext
    ) -> v1.BatchRevokeSessionsResponse:
        """As revocation.proto says."""
        _check_batch("session_handles", request.session_handles)
        for position, handle in enumerate(request.session_handles):
            _check_name(f"session_handles[{position}]", handle)
        attribution = self._admit(request)
        ended, revision = self._store.revoke_sessions(
            request.session_handles, attribution, validate_only=request.validate_only
        )
        return v1.BatchRevokeSessionsResponse(newly_revoked_handles=ended, revision=revision_from(revision))

    def RevokeUserSessions(
        self, request: v1.RevokeUserSessionsRequest, context: grpc.ServicerContext
    ) -> v1.RevokeUserSessionsResponse:
        """As revocation.proto says."""
        _check_name("user_id", request.user_id)
        if request.HasField("tenant_id"):
            _check_name("tenant_id", request.tenant_id)
        if request.HasField("except_session_handle"):
            _check_name("except_session_handle", request.except_session_handle)
        attribution = self._admit(request)
        count, revision = self._store.revoke_user(
            request.user_id,
            attribution,
            tenant_id=request.tenant_id,
            except_session_handle=request.except_session_handle,
            accept_unknown_exception=self._accept_unknown,
            validate_only=request.validate_only,
        )
        return v1.RevokeUserSessionsResponse(revoked_count=count, revision=revision_from(revision))

    def RevokeTenantSessions(
        self, request: v1.RevokeTenantSessionsRequest, context: grpc.ServicerContext
    ) -> v1.RevokeTenantSessionsResponse:
        """As revocation.proto says."""
        _check_name("tenant_id", request.tenant_id)
        attribution = self._admit(request)
        count, revision = self._store.revoke_tenant(request.tenant_id, attribution, validate_only=request.validate_only)
        return v1.RevokeTenantSessionsResponse(revoked_count=count, revision=revision_from(revision))

    def RevokeSigningKey(
        self, request: v1.RevokeSigningKeyRequest, context: grpc.ServicerContext
    ) -> v1.RevokeSigningKeyResponse:
        """As revocation.proto says."""
        thumbprint = request.key_thumbprint
        match request.WhichOneof("key"):
            case "key_id":
                _check_name("key_id", request.key_id)
                if request.key_id != KEY_ID:
                    raise invalid("key_id", "is none of the issuer's current keys")
                thumbprint = self._key.thumbprint
            case "key_thumbprint" if not _THUMBPRINT.fullmatch(thumbprint):
                raise invalid("key_thumbprint", "must be an RFC 7638 thumbprint")
            case None:
                raise invalid("key", "must be set: to key_id or to key_thumbprint")
            case _:
                pass
        revision = self._store.revoke_key(
            thumbprint, request.key_id, self._admit(request), validate_only=request.validate_only
        )
        return v1.RevokeSigningKeyResponse(revision=revision_from(revision))

    def ListRevocations(
        self, request: v1.ListRevocationsRequest, context: grpc.ServicerContext
    ) -> v1.ListRevocationsResponse:
        """As revocation.proto says."""
        filters = (request.issuer, request.session_handle, request.user_id, request.tenant_id, request.actor)
        _check_issuer(request.issuer, self._key.issuer)
        _check_store(self._faults)
        found = [entry for entry in reversed(self._store.entries_after(0)) if _matches(entry, request)]
        page, following = _page(found, _descending, request.page_size, request.page_token, "revocations", *filters)
        return v1.ListRevocationsResponse(
            revocations=[revocation_from(entry, self._key.issuer, self._store.store_id) for entry in page],
            next_page_token=following,
        )

    def _admit(self, request: _RevokeRequest) -> Attribution:
        """Who asks, once all that every revoke has in common is in order."""
        if len(request.reason.encode()) > MAX_REASON_BYTES or "\x00" in request.reason:
            raise invalid("reason", f"must be at most {MAX_REASON_BYTES} bytes, without NUL")
        if request.request_id and not _UUID.fullmatch(request.request_id):
            raise invalid("request_id", "must be a UUID")
        _check_issuer(request.issuer, self._key.issuer)
        _check_store(self._faults)
        return Attribution(LOCAL_ACTOR, request.reason, request.request_id.lower())


class SessionService(revocation_pb2_grpc.SessionServiceServicer):
    """Args:
    issuer: The one issuer.
    store: Of sessions and revocations.
    faults: May take the store down.
    """

    def __init__(self, issuer: str, store: Store, faults: Faults) -> None:
        self._issuer = issuer
        self._store = store
        self._faults = faults

    def RegisterSession(
        self, request: v1.RegisterSessionRequest, context: grpc.ServicerContext
    ) -> v1.RegisterSessionResponse:
        """As revocation.proto says."""
        self._check(request, "")
        _check_store(self._faults)
        try:
            (record,) = self._store.register([wanted_from(request)])
        except CallFailed as refusal:  # the store knows batches alone
            refusal.metadata["field"] = refusal.metadata["field"].removeprefix("requests[0].")
            raise
        return v1.RegisterSessionResponse(session=registered_session_from(record, self._issuer, now()))

    def BatchRegisterSessions(
        self, request: v1.BatchRegisterSessionsRequest, context: grpc.ServicerContext
    ) -> v1.BatchRegisterSessionsResponse:
        """As revocation.proto says."""
        _check_batch("requests", request.requests)
        for position, item in enumerate(request.requests):
            self._check(item, f"requests[{position}].")
        _check_store(self._faults)
        records = self._store.register([wanted_from(item) for item in request.requests])
        return v1.BatchRegisterSessionsResponse(
            sessions=[registered_session_from(record, self._issuer, now()) for record in records]
        )

    def GetSession(self, request: v1.GetSessionRequest, context: grpc.ServicerContext) -> v1.GetSessionResponse:
        """As revocation.proto says."""
        _check_name("session_handle", request.session_handle)
        _check_issuer(request.issuer, self._issuer)
        _check_store(self._faults)
        record = self._store.get(request.session_handle)
        if record is None:
            raise CallFailed(
                "nobody registered a session of that handle", code="NOT_FOUND", reason="SESSION_NOT_REGISTERED"
            )
        return v1.GetSessionResponse(session=registered_session_from(record, self._issuer, now()))

    def ListSessions(self, request: v1.ListSessionsRequest, context: grpc.ServicerContext) -> v1.ListSessionsResponse:
        """As revocation.proto says."""
        _check_name("user_id", request.user_id)
        _check_issuer(request.issuer, self._issuer)
        _check_store(self._faults)
        found = self._store.sessions_of(request.user_id)
        page, following = _page(
            found,
            lambda record: record.session_handle,
            request.page_size,
            request.page_token,
            "sessions",
            request.issuer,
            request.user_id,
        )
        return v1.ListSessionsResponse(
            sessions=[registered_session_from(record, self._issuer, now()) for record in page],
            next_page_token=following,
        )

    def _check(self, request: v1.RegisterSessionRequest, path: str) -> None:
        _check_name(f"{path}session_handle", request.session_handle)
        _check_name(f"{path}user_id", request.user_id)
        if request.tenant_id:
            _check_name(f"{path}tenant_id", request.tenant_id)
        if not request.HasField("session_expire_time"):
            raise invalid(f"{path}session_expire_time", "must be set")
        _check_issuer(request.issuer, self._issuer, f"{path}issuer")


def _check_name(field: str, name: str) -> None:
    if not name:
        raise invalid(field, "must not be empty")
    if len(name.encode()) > MAX_NAME_BYTES or "\x00" in name:
        raise invalid(field, f"must be at most {MAX_NAME_BYTES} bytes, without NUL")


def _check_batch(field: str, items: Sequence[object]) -> None:
    if not 1 <= len(items) <= MAX_BATCH:
        raise invalid(field, f"must hold 1 to {MAX_BATCH} items", reason="BATCH_SIZE", limit=str(MAX_BATCH))


def _check_issuer(issuer: str, known: str, field: str = "issuer") -> None:
    if issuer not in {"", known}:
        raise invalid(field, "no issuer of that name is configured", reason="UNKNOWN_ISSUER")


def _check_store(faults: Faults) -> None:
    if faults.store_is_down():
        raise store_unavailable()


def _matches(entry: Entry, request: v1.ListRevocationsRequest) -> bool:
    """Whether an entry passes every filter that is set."""
    handle = entry.subject if entry.kind is Kind.SESSION else ""
    tenant = entry.subject if entry.kind is Kind.TENANT else entry.tenant_id
    return (
        request.session_handle in {"", handle}
        and request.user_id in {"", entry.user_id}
        and request.tenant_id in {"", tenant}
        and request.actor in {"", entry.attribution.actor}
    )


def _descending(entry: Entry) -> str:
    """A page's cursor: the newest entry has the least."""
    return f"{2**63 - entry.sequence:020}"


def _page(
    items: Sequence[_ItemT], cursor_of: Callable[[_ItemT], str], page_size: int, page_token: str, *scope: str
) -> tuple[Sequence[_ItemT], str]:
    """The items that a page holds, of all in the order of their cursors, and the token of the next page.

    Raises:
        CallFailed: INVALID_PAGE_TOKEN: the token is not one of this listing.
    """
    if page_size < 0:
        raise invalid("page_size", "must not be negative")
    size = min(page_size or DEFAULT_PAGE, MAX_PAGE)
    listing = blake2b("\x00".join(scope).encode(), digest_size=8).hexdigest()
    listed, _, after = page_token.partition(":")
    if page_token and (listed != listing or not after):
        raise invalid("page_token", "did not come from this call with these filters", reason="INVALID_PAGE_TOKEN")
    page = [item for item in items if cursor_of(item) > after][:size]
    return page, f"{listing}:{cursor_of(page[-1])}" if len(page) == size else ""

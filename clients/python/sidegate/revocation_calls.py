"""The calls of RevocationService and SessionService: Python values to requests, responses to records. Pure.

Arguments are checked for what cannot be sent; everything else is the sidecar's to judge.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from sidegate.calls import Call, Page, call
from sidegate.failures import administration_error
from sidegate.fields import enum_members, instant, invalid, optional_text, revision, text, texts, timestamp
from sidegate.records import (
    RegisteredSession,
    Registration,
    Revocation,
    RevocationKind,
    SessionRevoked,
    SessionsEnded,
    SessionsRevoked,
    SessionState,
    SigningKeyRevoked,
)
from sidegate.v1 import revocation_pb2, session_pb2

MessageT = TypeVar("MessageT", bound=Message)
ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
RevokeRequestT = TypeVar(
    "RevokeRequestT",
    revocation_pb2.RevokeSessionRequest,
    revocation_pb2.BatchRevokeSessionsRequest,
    revocation_pb2.RevokeUserSessionsRequest,
    revocation_pb2.RevokeTenantSessionsRequest,
    revocation_pb2.RevokeSigningKeyRequest,
)
ListRequestT = TypeVar("ListRequestT", revocation_pb2.ListRevocationsRequest, revocation_pb2.ListSessionsRequest)
ListResponseT = TypeVar("ListResponseT", revocation_pb2.ListRevocationsResponse, revocation_pb2.ListSessionsResponse)

_REVOCATION_SERVICE = "/sidegate.v1.RevocationService/"
_SESSION_SERVICE = "/sidegate.v1.SessionService/"
_STATES = enum_members(session_pb2.SessionState.DESCRIPTOR, "SESSION_STATE_", SessionState)
_KINDS = enum_members(revocation_pb2.RevocationKind.DESCRIPTOR, "REVOCATION_KIND_", RevocationKind)


@dataclass(frozen=True, slots=True)
class RevokeOptions:
    """What every revoke takes besides its subject."""

    issuer: str
    reason: str
    request_id: str
    validate_only: bool


def revoke_options(*, issuer: str | None, reason: str, request_id: str | None, validate_only: bool) -> RevokeOptions:
    """Checked, and with a `request_id` in any case: without one the client's own retries would not be safe."""
    return RevokeOptions(
        issuer=_issuer(issuer),
        reason=text("reason", reason),
        request_id=str(uuid.uuid4()) if request_id is None else text("request_id", request_id),
        validate_only=validate_only,
    )


def revoke_session(session_handle: str, options: RevokeOptions) -> Call[SessionRevoked]:
    """End one session."""
    return _revoke(
        "RevokeSession",
        revocation_pb2.RevokeSessionRequest(session_handle=text("session_handle", session_handle)),
        options,
        revocation_pb2.RevokeSessionResponse,
        lambda response: SessionRevoked(response.newly_revoked, revision(response.revision)),
    )


def revoke_sessions(session_handles: Sequence[str], options: RevokeOptions) -> Call[SessionsRevoked]:
    """End up to 1,000 sessions, all or none."""
    return _revoke(
        "BatchRevokeSessions",
        revocation_pb2.BatchRevokeSessionsRequest(session_handles=texts("session_handles", session_handles)),
        options,
        revocation_pb2.BatchRevokeSessionsResponse,
        lambda response: SessionsRevoked(tuple(response.newly_revoked_handles), revision(response.revision)),
    )


def revoke_user_sessions(
    user_id: str, options: RevokeOptions, *, tenant_id: str | None, except_session_handle: str | None
) -> Call[SessionsEnded]:
    """End every session of a user."""
    return _revoke(
        "RevokeUserSessions",
        revocation_pb2.RevokeUserSessionsRequest(
            user_id=text("user_id", user_id),
            tenant_id=optional_text("tenant_id", tenant_id),
            except_session_handle=optional_text("except_session_handle", except_session_handle),
        ),
        options,
        revocation_pb2.RevokeUserSessionsResponse,
        lambda response: SessionsEnded(response.revoked_count, revision(response.revision)),
    )


def revoke_tenant_sessions(tenant_id: str, options: RevokeOptions) -> Call[SessionsEnded]:
    """End every session of a tenant."""
    return _revoke(
        "RevokeTenantSessions",
        revocation_pb2.RevokeTenantSessionsRequest(tenant_id=text("tenant_id", tenant_id)),
        options,
        revocation_pb2.RevokeTenantSessionsResponse,
        lambda response: SessionsEnded(response.revoked_count, revision(response.revision)),
    )


def revoke_signing_key(
    options: RevokeOptions, *, key_id: str | None, key_thumbprint: str | None
) -> Call[SigningKeyRevoked]:
    """Refuse every token verified by a key. Raises: InvalidRequest, unless exactly one of the two names it."""
    if (key_id is None) == (key_thumbprint is None):
        raise invalid("key", "exactly one of key_id and key_thumbprint names it")
    request = revocation_pb2.RevokeSigningKeyRequest()
    if key_id is not None:
        request.key_id = text("key_id", key_id)
    else:
        request.key_thumbprint = text("key_thumbprint", key_thumbprint)
    return _revoke(
        "RevokeSigningKey",
        request,
        options,
        revocation_pb2.RevokeSigningKeyResponse,
        lambda response: SigningKeyRevoked(revision(response.revision)),
    )


def list_revocations(
    *,
    issuer: str | None,
    session_handle: str | None,
    user_id: str | None,
    tenant_id: str | None,
    actor: str | None,
) -> Call[Page[Revocation]]:
    """The first page of the audit trail."""
    return _page(
        f"{_REVOCATION_SERVICE}ListRevocations",
        revocation_pb2.ListRevocationsRequest(
            issuer=_issuer(issuer),
            session_handle=optional_text("session_handle", session_handle) or "",
            user_id=optional_text("user_id", user_id) or "",
            tenant_id=optional_text("tenant_id", tenant_id) or "",
            actor=optional_text("actor", actor) or "",
        ),
        revocation_pb2.ListRevocationsResponse,
        lambda response: tuple(_revocation(message) for message in response.revocations),
    )


def register_session(registration: Registration) -> Call[RegisteredSession]:
    """Record a session."""
    return call(
        f"{_SESSION_SERVICE}RegisterSession",
        _register_request("", registration),
        revocation_pb2.RegisterSessionResponse,
        lambda response: _registered_session(response.session),
        administration_error,
    )


def register_sessions(registrations: Sequence[Registration]) -> Call[tuple[RegisteredSession, ...]]:
    """Record up to 1,000 sessions, all or none."""
    return call(
        f"{_SESSION_SERVICE}BatchRegisterSessions",
        revocation_pb2.BatchRegisterSessionsRequest(
            requests=[
                _register_request(f"requests[{position}].", registration)
                for position, registration in enumerate(registrations)
            ]
        ),
        revocation_pb2.BatchRegisterSessionsResponse,
        lambda response: tuple(_registered_session(session) for session in response.sessions),
        administration_error,
    )


def get_session(session_handle: str, *, issuer: str | None) -> Call[RegisteredSession]:
    """Look one session up."""
    return call(
        f"{_SESSION_SERVICE}GetSession",
        revocation_pb2.GetSessionRequest(issuer=_issuer(issuer), session_handle=text("session_handle", session_handle)),
        revocation_pb2.GetSessionResponse,
        lambda response: _registered_session(response.session),
        administration_error,
    )


def list_sessions(user_id: str, *, issuer: str | None) -> Call[Page[RegisteredSession]]:
    """The first page of a user's sessions."""
    return _page(
        f"{_SESSION_SERVICE}ListSessions",
        revocation_pb2.ListSessionsRequest(issuer=_issuer(issuer), user_id=text("user_id", user_id)),
        revocation_pb2.ListSessionsResponse,
        lambda response: tuple(_registered_session(message) for message in response.sessions),
    )


def _issuer(issuer: str | None) -> str:
    return optional_text("issuer", issuer) or ""


def _revoke(
    name: str,
    request: RevokeRequestT,
    options: RevokeOptions,
    response_type: type[MessageT],
    read: Callable[[MessageT], ResultT],
) -> Call[ResultT]:
    request.issuer = options.issuer
    request.reason = options.reason
    request.request_id = options.request_id
    request.validate_only = options.validate_only
    explain = partial(administration_error, request_id=options.request_id)
    return call(f"{_REVOCATION_SERVICE}{name}", request, response_type, read, explain)


def _page(
    path: str,
    request: ListRequestT,
    response_type: type[ListResponseT],
    items: Callable[[ListResponseT], tuple[ItemT, ...]],
) -> Call[Page[ItemT]]:
    def read(response: ListResponseT) -> Page[ItemT]:
        if not response.next_page_token:
            return Page(items(response), None)
        following = type(request)()
        following.CopyFrom(request)
        following.page_token = response.next_page_token
        return Page(items(response), _page(path, following, response_type, items))

    return call(path, request, response_type, read, administration_error)


def _register_request(path: str, registration: Registration) -> revocation_pb2.RegisterSessionRequest:
    """`path` leads the names of its fields in errors, e.g. "requests[3]."."""
    create_time = registration.create_time
    return revocation_pb2.RegisterSessionRequest(
        issuer=optional_text(f"{path}issuer", registration.issuer) or "",
        session_handle=text(f"{path}session_handle", registration.session_handle),
        user_id=text(f"{path}user_id", registration.user_id),
        tenant_id=text(f"{path}tenant_id", registration.tenant_id),
        create_time=None if create_time is None else timestamp(f"{path}create_time", create_time),
        session_expire_time=timestamp(f"{path}session_expire_time", registration.session_expire_time),
    )


def _registered_session(message: session_pb2.RegisteredSession) -> RegisteredSession:
    return RegisteredSession(
        issuer=message.issuer,
        session_handle=message.session_handle,
        user_id=message.user_id,
        tenant_id=message.tenant_id,
        create_time=instant(message.create_time),
        session_expire_time=instant(message.session_expire_time),
        state=_STATES.get(message.state, SessionState.UNRECOGNIZED),
        revoke_time=instant(message.revoke_time) if message.HasField("revoke_time") else None,
    )


def _revocation(message: revocation_pb2.Revocation) -> Revocation:
    return Revocation(
        revision=revision(message.revision),
        kind=_KINDS.get(message.kind, RevocationKind.UNRECOGNIZED),
        issuer=message.issuer,
        session_handle=message.session_handle,
        user_id=message.user_id,
        tenant_id=message.tenant_id,
        except_session_handle=message.except_session_handle,
        key_id=message.key_id,
        key_thumbprint=message.key_thumbprint,
        revoke_time=instant(message.revoke_time),
        actor=message.actor,
        reason=message.reason,
        request_id=message.request_id,
        cause_sequence=message.cause_sequence or None,
    )

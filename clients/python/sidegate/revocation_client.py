"""Register and revoke sessions from threads."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sidegate import revocation_calls
from sidegate.blocking import BlockingClient
from sidegate.credentials import ClientTls, Credentials, Token
from sidegate.failures import administration_error
from sidegate.records import (
    RegisteredSession,
    Registration,
    Revocation,
    SessionRevoked,
    SessionsEnded,
    SessionsRevoked,
    SigningKeyRevoked,
)
from sidegate.targets import ADMIN_TARGET, ADMIN_TARGET_VARIABLE, resolve_target


class RevocationClient(BlockingClient):
    """Ends sessions, and keeps the register of them. For login, support and fraud services.

    One client serves all threads of a process. It opens its connection with the first call.
    Close it, or use it as a context manager.

    Every revoke takes:
        issuer: Scopes handles, users, tenants and keys. None only when the sidecar has exactly one.
        reason: For the audit trail.
        request_id: A UUID. Calling again with the same one is safe, whatever became of the first call. None: a fresh
            one, so that the retries made here are safe; a RevocationUnavailable carries it.
        validate_only: Answer as if, and change nothing.
        timeout: Seconds. None: the client's own. So for every other call.

    Every call raises:
        RevocationUnavailable: No answer; the outcome of a write is unknown.
        InvalidRequest: A field cannot be used.
        PreconditionFailed, NotSupported, Unauthenticated, PermissionDenied: As their names say.
        CredentialsUnavailable: The client's own certificate or token cannot be read.
        ClientClosed: Before or meanwhile.

    Args:
        target: Where the admin service listens, as gRPC spells it: `unix:///path` or `host:port`. None: the
            environment variable SIDEGATE_ADMIN_TARGET, else `unix:///run/sidegate/admin.sock`.
        timeout: Seconds that a call may take, retries included, unless it is given its own.
        tls: For a listener on an address: whom to trust there and, where it asks for one, a certificate to show. The
            files are read again when they change. None: the traffic is not encrypted.
        token: Returns the token to send with each call, e.g. a `TokenFile`. Needs `tls`.

    Raises:
        ValueError: `timeout` is not positive and finite, the target cannot be one, e.g. "http://…" or a bare path, or
            there is a token and no TLS.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = 5.0,
        tls: ClientTls | None = None,
        token: Token | None = None,
    ) -> None:
        super().__init__(
            resolve_target(target, ADMIN_TARGET_VARIABLE, ADMIN_TARGET),
            timeout,
            administration_error,
            None if tls is None and token is None else Credentials(tls, token),
        )

    def revoke_session(
        self,
        session_handle: str,
        *,
        issuer: str | None = None,
        reason: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> SessionRevoked:
        """End one session. A handle that nobody registered is recorded all the same and can never be registered."""
        options = revocation_calls.revoke_options(
            issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
        return self._run(revocation_calls.revoke_session(session_handle, options), timeout)

    def revoke_sessions(
        self,
        session_handles: Sequence[str],
        *,
        issuer: str | None = None,
        reason: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> SessionsRevoked:
        """End 1 to 1,000 sessions, all or none."""
        options = revocation_calls.revoke_options(
            issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
        return self._run(revocation_calls.revoke_sessions(session_handles, options), timeout)

    def revoke_user_sessions(
        self,
        user_id: str,
        *,
        tenant_id: str | None = None,
        except_session_handle: str | None = None,
        issuer: str | None = None,
        reason: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> SessionsEnded:
        """End every session of a user that began before now, registered or not.

        Args:
            tenant_id: Only sessions in this tenant. None: in all.
            except_session_handle: Spare this one, a session of that user: "log out my other devices".
        """
        options = revocation_calls.revoke_options(
            issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
        call = revocation_calls.revoke_user_sessions(
            user_id, options, tenant_id=tenant_id, except_session_handle=except_session_handle
        )
        return self._run(call, timeout)

    def revoke_tenant_sessions(
        self,
        tenant_id: str,
        *,
        issuer: str | None = None,
        reason: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> SessionsEnded:
        """End every session of a tenant that began before now, registered or not."""
        options = revocation_calls.revoke_options(
            issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
        return self._run(revocation_calls.revoke_tenant_sessions(tenant_id, options), timeout)

    def revoke_signing_key(
        self,
        *,
        key_id: str | None = None,
        key_thumbprint: str | None = None,
        issuer: str | None = None,
        reason: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> SigningKeyRevoked:
        """Refuse every token verified by a key, everywhere, at once and for good. Exactly one of the two names it.

        Args:
            key_id: The key's `kid`; it must be in the issuer's current set.
            key_thumbprint: Its RFC 7638 thumbprint: SHA-256, base64url without padding.
        """
        options = revocation_calls.revoke_options(
            issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
        call = revocation_calls.revoke_signing_key(options, key_id=key_id, key_thumbprint=key_thumbprint)
        return self._run(call, timeout)

    def list_revocations(
        self,
        *,
        issuer: str | None = None,
        session_handle: str | None = None,
        user_id: str | None = None,
        tenant_id: str | None = None,
        actor: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Revocation]:
        """The audit trail, newest first, page by page as it is used; `timeout` is for each page. None matches all."""
        first = revocation_calls.list_revocations(
            issuer=issuer, session_handle=session_handle, user_id=user_id, tenant_id=tenant_id, actor=actor
        )
        return self._items(first, timeout)

    def register_session(
        self,
        session_handle: str,
        user_id: str,
        *,
        session_expire_time: datetime,
        tenant_id: str = "",
        issuer: str | None = None,
        create_time: datetime | None = None,
        timeout: float | None = None,
    ) -> RegisteredSession:
        """Record a session. Call it before handing out the session's first token.

        Registering again moves `session_expire_time` and keeps `create_time`. The arguments are those of
        `Registration`.

        Raises:
            PreconditionFailed: The handle belongs to another user or tenant (SESSION_OF_ANOTHER), was revoked
                (SESSION_REVOKED), or a revocation covers `create_time` (CREATE_TIME_REVOKED).
        """
        registration = Registration(session_handle, user_id, session_expire_time, tenant_id, issuer, create_time)
        return self._run(revocation_calls.register_session(registration), timeout)

    def register_sessions(
        self, registrations: Sequence[Registration], *, timeout: float | None = None
    ) -> tuple[RegisteredSession, ...]:
        """Record 1 to 1,000 sessions, all or none, in the order given. Raises: as `register_session`, with `field`."""
        return self._run(revocation_calls.register_sessions(registrations), timeout)

    def get_session(
        self, session_handle: str, *, issuer: str | None = None, timeout: float | None = None
    ) -> RegisteredSession:
        """What the store knows of a session. Raises: SessionNotRegistered."""
        return self._run(revocation_calls.get_session(session_handle, issuer=issuer), timeout)

    def list_sessions(
        self, user_id: str, *, issuer: str | None = None, timeout: float | None = None
    ) -> Iterator[RegisteredSession]:
        """A user's registered sessions by handle, ended ones included, page by page; `timeout` is for each page."""
        return self._items(revocation_calls.list_sessions(user_id, issuer=issuer), timeout)

"""Registering and revoking: what the admin services may ask of the store, and what must hold when they are answered.

Knows no gRPC and no SQL. Checks every argument before the store sees it, and makes a revocation visible here before it
is acknowledged.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from sidegate_sidecar.errors import InvalidRequest, KeysUnavailable, NotFound, RequestRefused
from sidegate_sidecar.model import (
    MAX_NAME_BYTES,
    Attribution,
    AuditEntry,
    AuditFilter,
    KeyRevoked,
    KeySet,
    Registration,
    Revision,
    SessionRecord,
    SessionsEnded,
    SessionsRevoked,
)
from sidegate_sidecar.store.protocol import SessionStore

MAX_REASON_BYTES = 1024
MAX_BATCH = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 100
VISIBILITY_WAIT_SECONDS = 1.0  # reading one's own commit takes milliseconds

# RFC 9562 §4. Not uuid.UUID, which takes braces, URNs and any number of hyphens: each would be another key.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

# RFC 7638 with SHA-256, in base64url without padding: of the last character two bits are none, and zero.
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")

_Item = TypeVar("_Item")


class Revocations(Protocol):
    """The revocation index of this sidecar."""

    async def read_back(self, written: Revision, timeout: float) -> None:
        """Return once the index has what was just written. Raises RevisionNotReached, ForeignRevision."""
        ...


class Keys(Protocol):
    """The keys of the configured issuers."""

    def key_set(self, issuer: str) -> KeySet:
        """An issuer's current set. Raises KeysUnavailable."""
        ...


class Administration:
    """What the admin services offer. `issuer` is empty only when exactly one is configured.

    Every revoking method takes `validate_only`: the answer as if, and nothing is changed. Every method raises
    StoreUnavailable when the store does not answer (a write may then have happened), and
    InvalidRequest for a field that is unusable, naming it.

    Args:
        store: Not owned.
        revocations: The index to which a revocation is visible before it is acknowledged.
        keys: Whence a key that is named by its `kid` is taken.
        accepts_unknown_sessions: The configured issuers; for each, whether sessions that nobody registered are good.
        admin_issuers: Those of them whose tokens are for admin services. An absent issuer never means one of them.

    Attributes:
        only_issuer: What an absent issuer means. None: nothing, for there are several.
    """

    def __init__(
        self,
        store: SessionStore,
        revocations: Revocations,
        keys: Keys,
        accepts_unknown_sessions: Mapping[str, bool],
        *,
        admin_issuers: Collection[str] = (),
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._keys = keys
        self._accepts_unknown_sessions = dict(accepts_unknown_sessions)
        ordinary = [issuer for issuer in accepts_unknown_sessions if issuer not in admin_issuers]
        self.only_issuer = ordinary[0] if len(ordinary) == 1 else None

    async def register(self, registrations: Sequence[Registration], *, field: str = "") -> list[SessionRecord]:
        """Record sessions, all or none.

        Args:
            field: What the batch is called in the request, e.g. "requests"; empty for a single registration.

        Raises:
            PreconditionFailed: SESSION_OF_ANOTHER, SESSION_REVOKED or CREATE_TIME_REVOKED.
        """
        if field:
            _check_batch(field, registrations)
        checked = [
            self._checked(registration, f"{field}[{position}]." if field else "")
            for position, registration in enumerate(registrations)
        ]
        try:
            return await self._store.register(checked)
        except RequestRefused as refusal:
            if not field:
                _tell_of_one(refusal)
            raise

    async def get_session(self, issuer: str, session_handle: str) -> SessionRecord:
        """One registered session. Raises NotFound."""
        _check_name("session_handle", session_handle)
        record = await self._store.get_session(self._resolved(issuer), session_handle)
        if record is None:
            raise NotFound("nobody registered a session of that handle", reason="SESSION_NOT_REGISTERED")
        return record

    async def list_sessions(self, issuer: str, user_id: str, *, after: str, page_size: int) -> list[SessionRecord]:
        """Up to `page_size` of a user's registered sessions with handles above `after`, by handle."""
        _check_name("user_id", user_id)
        return await self._store.list_sessions(
            self._resolved(issuer), user_id, after=after, limit=checked_page_size(page_size)
        )

    async def revoke_sessions(
        self,
        issuer: str,
        session_handles: Sequence[str],
        attribution: Attribution,
        *,
        field: str = "session_handles",
        validate_only: bool = False,
    ) -> SessionsRevoked:
        """Revoke handles, all or none. `field` is what a single handle is called in the request."""
        if field == "session_handles":
            _check_batch(field, session_handles)
            for position, handle in enumerate(session_handles):
                _check_name(f"{field}[{position}]", handle)
        else:
            _check_name(field, *session_handles)
        attribution = _checked_attribution(attribution)
        outcome = await self._store.revoke_sessions(
            self._resolved(issuer), session_handles, attribution, validate_only=validate_only
        )
        await self._make_visible(outcome.revision, validate_only)
        return outcome

    async def revoke_user(
        self,
        issuer: str,
        user_id: str,
        attribution: Attribution,
        *,
        tenant_id: str | None,
        except_session_handle: str | None,
        validate_only: bool = False,
    ) -> SessionsEnded:
        """Revoke every session of a user begun before now, except one if so asked, in one tenant if so asked."""
        _check_name("user_id", user_id)
        if tenant_id is not None:
            _check_name("tenant_id", tenant_id)
        if except_session_handle is not None:
            _check_name("except_session_handle", except_session_handle)
        attribution = _checked_attribution(attribution)
        issuer = self._resolved(issuer)
        outcome = await self._store.revoke_user(
            issuer,
            user_id,
            tenant_id=tenant_id,
            except_session_handle=except_session_handle,
            accept_unknown_exception=self._accepts_unknown_sessions[issuer],
            attribution=attribution,
            validate_only=validate_only,
        )
        await self._make_visible(outcome.revision, validate_only)
        return outcome

    async def revoke_tenant(
        self, issuer: str, tenant_id: str, attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsEnded:
        """Revoke every session of a tenant begun before now."""
        _check_name("tenant_id", tenant_id)
        attribution = _checked_attribution(attribution)
        outcome = await self._store.revoke_tenant(
            self._resolved(issuer), tenant_id, attribution, validate_only=validate_only
        )
        await self._make_visible(outcome.revision, validate_only)
        return outcome

    async def revoke_key(
        self,
        issuer: str,
        attribution: Attribution,
        *,
        key_id: str | None = None,
        key_thumbprint: str | None = None,
        validate_only: bool = False,
    ) -> KeyRevoked:
        """Revoke a key for ever.

        Args:
            key_id: Its `kid`, if that names it: then it must be in the issuer's current set, unless this is a replay.
            key_thumbprint: Its RFC 7638 thumbprint, if not.

        Raises:
            KeysUnavailable: A `kid` names it, and there is no current set.
        """
        attribution = _checked_attribution(attribution)
        issuer = self._resolved(issuer)
        if key_id is not None:
            _check_name("key_id", key_id)
            try:
                key_thumbprint = self._thumbprint_of(issuer, key_id)
            except (InvalidRequest, KeysUnavailable):
                # A revoked key is withdrawn soon: whoever repeats the request gets the answer to it all the same.
                if attribution.request_id is None:
                    raise
                outcome = await self._store.find_key_replay(issuer, key_id, attribution)
                if outcome is None:
                    raise
                await self._make_visible(outcome.revision, validate_only)
                return outcome
        elif key_thumbprint is None:
            raise InvalidRequest("key", "must be set: to key_id or to key_thumbprint")
        elif not _THUMBPRINT.fullmatch(key_thumbprint):
            raise InvalidRequest(
                "key_thumbprint", "must be an RFC 7638 thumbprint: SHA-256 in base64url, 43 characters"
            )
        outcome = await self._store.revoke_key(
            issuer, key_thumbprint, attribution, key_id=key_id, validate_only=validate_only
        )
        await self._make_visible(outcome.revision, validate_only)
        return outcome

    async def list_revocations(self, wanted: AuditFilter, *, before: int | None, page_size: int) -> list[AuditEntry]:
        """Up to `page_size` audit entries with sequences below `before`, newest first."""
        if wanted.issuer is not None:
            self._resolved(wanted.issuer)
        for field in ("session_handle", "user_id", "tenant_id", "actor"):
            name: str | None = getattr(wanted, field)
            if name is not None:
                _check_name(field, name)
        return await self._store.list_revocations(wanted, before=before, limit=checked_page_size(page_size))

    async def _make_visible(self, revision: Revision, validate_only: bool) -> None:
        if not validate_only:
            await self._revocations.read_back(revision, VISIBILITY_WAIT_SECONDS)

    def _thumbprint_of(self, issuer: str, key_id: str) -> str:
        key = self._keys.key_set(issuer).by_id.get(key_id)
        if key is None:
            raise InvalidRequest(
                "key_id", "is none of the issuer's current keys; a key that was withdrawn is revoked by its thumbprint"
            )
        return key.thumbprint

    def _resolved(self, issuer: str, field: str = "issuer") -> str:
        if issuer in self._accepts_unknown_sessions:
            return issuer
        if issuer:
            raise InvalidRequest(field, "no issuer of that name is configured", reason="UNKNOWN_ISSUER")
        if self.only_issuer is not None:
            return self.only_issuer
        raise InvalidRequest(field, "required, for more than one issuer is configured", reason="ISSUER_REQUIRED")

    def _checked(self, registration: Registration, path: str) -> Registration:
        _check_name(f"{path}session_handle", registration.session_handle)
        _check_name(f"{path}user_id", registration.user_id)
        if registration.tenant_id:
            _check_name(f"{path}tenant_id", registration.tenant_id)
        return replace(registration, issuer=self._resolved(registration.issuer, f"{path}issuer"))


def checked_page_size(page_size: int) -> int:
    """The page size in force: the default for 0, at most 1,000. Raises InvalidRequest for a negative one."""
    if page_size < 0:
        raise InvalidRequest("page_size", "must not be negative")
    return min(page_size or DEFAULT_PAGE, MAX_PAGE)


def _tell_of_one(refusal: RequestRefused) -> None:
    """Name the fields as who sent a single registration does; the store knows batches alone."""
    first = "requests[0]."
    refusal.message = refusal.message.removeprefix(first)
    if "field" in refusal.metadata:
        refusal.metadata["field"] = refusal.metadata["field"].removeprefix(first)


def _check_batch(field: str, items: Sequence[_Item]) -> None:
    if not 1 <= len(items) <= MAX_BATCH:
        raise InvalidRequest(
            field, f"must hold 1 to {MAX_BATCH} items, not {len(items)}", reason="BATCH_SIZE", limit=str(MAX_BATCH)
        )


def _check_name(field: str, name: str) -> None:
    if not name:
        raise InvalidRequest(field, "must not be empty")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidRequest(field, f"must not be longer than {MAX_NAME_BYTES} bytes")
    if "\x00" in name:  # PostgreSQL cannot store it
        raise InvalidRequest(field, "must not contain NUL")


def _checked_attribution(attribution: Attribution) -> Attribution:
    if len(attribution.reason.encode()) > MAX_REASON_BYTES:
        raise InvalidRequest("reason", f"must not be longer than {MAX_REASON_BYTES} bytes")
    if "\x00" in attribution.reason:
        raise InvalidRequest("reason", "must not contain NUL")
    if attribution.request_id is None:
        return attribution
    if not _UUID.fullmatch(attribution.request_id):
        raise InvalidRequest("request_id", "must be a UUID, e.g. 123e4567-e89b-12d3-a456-426614174000")
    return replace(attribution, request_id=attribution.request_id.lower())  # one UUID, however it is written

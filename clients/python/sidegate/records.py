"""The nouns of the admin plane: registered sessions, revocations, and what came of a call. Immutable, no gRPC.

Times are aware datetimes in UTC. Every enum has a member UNRECOGNIZED, for a value that a newer sidecar sends and this
client does not know yet.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sidegate.verdicts import Revision


class SessionState(StrEnum):
    """What has become of a registered session. A revoked one stays REVOKED past its expiry."""

    ACTIVE = "ACTIVE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    UNRECOGNIZED = "UNRECOGNIZED"


class RevocationKind(StrEnum):
    """What a revocation covers: one session, all of a user or tenant, or every token signed by a key."""

    SESSION = "SESSION"
    USER = "USER"
    TENANT = "TENANT"
    KEY = "KEY"
    UNRECOGNIZED = "UNRECOGNIZED"


@dataclass(frozen=True, slots=True)
class Registration:
    """A session to record.

    Attributes:
        session_handle: What the session's tokens carry as their session claim. 1 to 512 bytes.
        user_id: What they carry as their user claim. 1 to 512 bytes.
        session_expire_time: When the session ends by itself. Aware; after `create_time`.
        tenant_id: At most 512 bytes. Empty: no tenant.
        issuer: None only when the sidecar has exactly one.
        create_time: When the session began. Aware. None: now, by the store's clock.
    """

    session_handle: str
    user_id: str
    session_expire_time: datetime
    tenant_id: str = ""
    issuer: str | None = None
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class RegisteredSession:
    """What the store knows of a session. `revoke_time` is None while nobody has revoked it."""

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    create_time: datetime
    session_expire_time: datetime
    state: SessionState
    revoke_time: datetime | None


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of the revocation log: what was revoked, by whom, when and why. An empty string: does not apply.

    Attributes:
        revision: Its position in the log.
        kind: What it covers.
        issuer: Scopes everything below.
        session_handle: SESSION: the session.
        user_id: USER: the user. SESSION: its user, where it was registered.
        tenant_id: TENANT: the tenant. USER: the tenant it was limited to; empty for all.
        except_session_handle: USER: the session that was spared.
        key_id: KEY: the key's `kid`, where it was given.
        key_thumbprint: KEY: the key's RFC 7638 thumbprint.
        revoke_time: By the database's clock.
        actor: The authenticated caller, or "local-socket" where there was none. "self-sign-out": the holder of the
            session, or of another of the same user.
        reason: As the caller put it.
        request_id: The caller's.
        cause_sequence: SESSION: the sequence of the revocation of its user or tenant that ended it. None: it was
            revoked by itself.
    """

    revision: Revision
    kind: RevocationKind
    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    except_session_handle: str
    key_id: str
    key_thumbprint: str
    revoke_time: datetime
    actor: str
    reason: str
    request_id: str
    cause_sequence: int | None


# What came of a call. `revision` is where the log stands after it; for `at_least_as_fresh`.


@dataclass(frozen=True, slots=True)
class SessionRevoked:
    """`newly_revoked`: whether this call is the one that ended it."""

    newly_revoked: bool
    revision: Revision


@dataclass(frozen=True, slots=True)
class SessionsRevoked:
    """The handles that this call ended, in the order asked."""

    newly_revoked_handles: tuple[str, ...]
    revision: Revision


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """How many sessions that were alive ended with this call. Of a user or tenant, unregistered ones end uncounted."""

    revoked_count: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class SigningKeyRevoked:
    """Every token verified by the key is refused from here on."""

    revision: Revision

"""Revocations: the log's entries, who wrote them, and what came of it."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from sidegate_sidecar.model.times import Micros
from sidegate_sidecar.model.verdicts import Revision


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who revokes, why, and under which idempotency key (None: none). For the audit trail."""

    actor: str
    reason: str = ""
    request_id: str | None = None


class RevocationKind(Enum):
    """What a revocation covers. The value is how stores write it, and the letter that digests begin with."""

    SESSION = "s"
    USER = "u"
    TENANT = "t"
    KEY = "k"


class LogEntry(NamedTuple):
    """One entry of the revocation log, as far as an index needs it.

    A tuple, for a million are made when a sidecar starts, and a frozen dataclass takes a microsecond longer each.

    Attributes:
        sequence: Its position; 1 is the first. Gap-free and in commit order.
        entry_id: 16 random bytes; a follower that finds others at its own position knows that a backup was restored.
        subject: The handle, user, tenant or key thumbprint that `kind` names.
        tenant_id: USER: the tenant it is limited to. None: all, and for every other kind.
        except_session_handle: USER: the session that was spared. None: none, and for every other kind.
        revoke_time: By the store's clock, read while holding the log lock. The T of a watermark.
        forget_time: From then on nothing that it covers can still be valid. None: never (keys).
    """

    sequence: int
    entry_id: bytes
    kind: RevocationKind
    issuer: str
    subject: str
    tenant_id: str | None
    except_session_handle: str | None
    revoke_time: Micros
    forget_time: Micros | None


@dataclass(frozen=True, slots=True)
class LogPage:
    """A stretch of the log.

    Attributes:
        store_id: The store that it was read from. It changes when a backup is restored.
        digest_salt: 16 bytes; the key of every digest of that store.
        head: The last sequence at the moment of reading. Its entry is never removed.
        horizon: The highest sequence whose entry was ever removed; 0: none was. Beyond it there are no gaps; up to it
            whatever is missing can match nothing any more.
        removed: How many entries were ever removed.
        entries: In order, beginning at the first that is not below the sequence asked for.
    """

    store_id: str
    digest_salt: bytes
    head: int
    horizon: int
    removed: int
    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class SessionsRevoked:
    """What came of revoking handles: those that this call ended, in the order asked."""

    newly_revoked: tuple[str, ...]
    revision: Revision


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """What came of revoking a user or a tenant: how many registered sessions that were alive ended."""

    revoked_count: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """What came of revoking a key: whether this call is the one that did."""

    newly_revoked: bool
    revision: Revision


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step of compaction removed."""

    log_entries: int
    sessions: int


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the revocation log as a person wants it.

    Attributes:
        store_id: The store that it was read from.
        user_id: SESSION: the user, where the session was registered; else empty.
        key_id: KEY: the `kid`, where it was given.
        cause_sequence: SESSION: the watermark that ended it. 0: it was revoked by itself.
    """

    entry: LogEntry
    attribution: Attribution
    store_id: str
    user_id: str = ""
    key_id: str = ""
    cause_sequence: int = 0


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit entries; every None matches all."""

    issuer: str | None = None
    session_handle: str | None = None
    user_id: str | None = None
    tenant_id: str | None = None
    actor: str | None = None

"""The nouns. Immutable values that know nothing of gRPC, SQL or HTTP; the module imports nothing of ours.

Instants are whole microseconds since the Unix epoch, UTC, and spans are whole microseconds: exact where floats are not,
and the resolution of both databases. Handles, users, tenants and keys are always scoped by their issuer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

Micros: TypeAlias = int
"""An instant (since the epoch, UTC) or a span, in microseconds."""

SECOND: Micros = 1_000_000

Clock: TypeAlias = Callable[[], Micros]
"""The wall clock. Whoever needs the time is handed one, so that tests can move it."""


class Reason(StrEnum):
    """Why a token was refused. The names of `RejectionReason` in session.proto, which explains each."""

    MALFORMED = "MALFORMED"
    UNSUPPORTED_ALGORITHM = "UNSUPPORTED_ALGORITHM"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    LIFETIME_TOO_LONG = "LIFETIME_TOO_LONG"
    MISSING_CLAIM = "MISSING_CLAIM"
    WRONG_ISSUER = "WRONG_ISSUER"
    WRONG_AUDIENCE = "WRONG_AUDIENCE"
    WRONG_TENANT = "WRONG_TENANT"
    WRONG_TYPE = "WRONG_TYPE"
    ANTI_CSRF_MISMATCH = "ANTI_CSRF_MISMATCH"
    SESSION_REVOKED = "SESSION_REVOKED"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_EXPIRED = "SESSION_EXPIRED"
    USER_REVOKED = "USER_REVOKED"
    TENANT_REVOKED = "TENANT_REVOKED"
    KEY_REVOKED = "KEY_REVOKED"


class NextAction(StrEnum):
    """What the holder of a refused token can do."""

    REFRESH = "REFRESH"
    REAUTHENTICATE = "REAUTHENTICATE"


class Source(StrEnum):
    """Where a verdict comes from."""

    LOCAL = "LOCAL"
    DATABASE = "DATABASE"


# Verify: what is asked, and what is answered.


@dataclass(frozen=True, slots=True)
class Revision:
    """A position in the log of one store. Sequences of different stores do not compare."""

    store_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Demand:
    """One question: a token, and what it is to be good for."""

    access_token: str
    check_database: bool = False
    at_least_as_fresh: Revision | None = None
    accepted_audiences: tuple[str, ...] = ()
    tenant_id: str | None = None
    anti_csrf_token: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Whose session a good token belongs to. `claims_json` is the payload as the issuer wrote it."""

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    token_issue_time: Micros
    token_expire_time: Micros
    claims_json: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a token is not good."""

    reason: Reason
    next_action: NextAction
    message: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on. `revision` and `revocation_lag` are None on a sidecar without a store."""

    source: Source
    revision: Revision | None
    revocation_lag: Micros | None
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a demand."""

    outcome: Session | Rejection
    evidence: Evidence


# Keys.

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVE_ALGORITHMS: Mapping[str, str] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALGORITHMS = RSA_ALGORITHMS | frozenset(CURVE_ALGORITHMS.values()) | {"EdDSA"}
"""All that a token may ever be signed with, by JWS name; an issuer entry can only narrow it."""

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key of an issuer.

    Attributes:
        key_id: Its `kid`, if it has one.
        algorithms: The JWS algorithms that it may verify: the one that its JWK pins, else all of its type and curve.
        thumbprint: RFC 7638, SHA-256, base64url without padding. Names the key whatever its `kid`.
        serves_any_key_id: Whether it also verifies tokens whose `kid` no key has: it is the issuer's one key, from a
            source that cannot name it.
    """

    key_id: str | None
    algorithms: frozenset[str]
    thumbprint: str
    public_key: PublicKey
    serves_any_key_id: bool = False


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable public keys of one issuer. `generation` grows with each change; 0 is the set before the first.

    Attributes:
        by_id: The keys that have a `kid`, by it. Of two that share one, the first.
    """

    generation: int
    keys: tuple[VerificationKey, ...]
    by_id: Mapping[str, VerificationKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Reversed, so that the first of a shared `kid` is written last and stays.
        by_id = {key.key_id: key for key in reversed(self.keys) if key.key_id is not None}
        object.__setattr__(self, "by_id", by_id)


# Sessions and revocations.


@dataclass(frozen=True, slots=True)
class Subject:
    """What revocations of a token's session are looked up by. `session_handle` is empty where the issuer waives it."""

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which revocations touch a session, wherever they were read: the index and the store both answer with this.

    Attributes:
        session_revoked: Its handle was revoked.
        user_watermark: The newest T of its user's watermarks that do not except it. Sessions begun at or before T are
            revoked. None: there is none.
        tenant_watermark: Likewise for its tenant.
    """

    session_revoked: bool = False
    user_watermark: Micros | None = None
    tenant_watermark: Micros | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A registered session. `revoke_time` is None while nobody has revoked it."""

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    create_time: Micros
    session_expire_time: Micros
    revoke_time: Micros | None = None


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the store knows of one subject. `record` is None if nobody registered the handle.

    Attributes:
        revision: The head of the log at the moment of reading.
    """

    coverage: Coverage
    record: SessionRecord | None
    revision: Revision


@dataclass(frozen=True, slots=True)
class Registration:
    """A session to record. `create_time` None: now, by the store's clock."""

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    create_time: Micros | None
    session_expire_time: Micros


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


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of the revocation log, as far as an index needs it.

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
        head: The last sequence at the moment of reading.
        entries: In order, without a gap, beginning at the sequence asked for.
    """

    store_id: str
    digest_salt: bytes
    head: int
    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class SessionsRevoked:
    """What came of revoking handles: those that this call ended, in the order asked."""

    newly_revoked: tuple[str, ...]
    revision: Revision


@dataclass(frozen=True, slots=True)
class UserRevoked:
    """What came of revoking a user: how many registered sessions that were alive ended."""

    revoked_count: int
    revision: Revision


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


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What retention rests on, kept in the store so that every sidecar of it agrees. Spans.

    A revocation is kept until nothing that it covers can be valid: the session's end (if nobody registered it,
    `max_session_lifetime` after the revocation), plus `max_token_lifetime`, plus `leeway`.
    """

    max_token_lifetime: Micros
    leeway: Micros
    max_session_lifetime: Micros


Claims: TypeAlias = Mapping[str, object]
"""A token's payload as parsed JSON."""


# For people.


@dataclass(frozen=True, slots=True)
class KeySetStatus:
    """One issuer's keys, for people. `age` is None until the issuer has confirmed a set once."""

    issuer: str
    generation: int
    key_count: int
    age: Micros | None
    last_error: str


class StoreState(StrEnum):
    """How the store answers. The names of `StoreState` in verification.proto."""

    NOT_CONFIGURED = "NOT_CONFIGURED"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ServingStatus:
    """What the sidecar knows and how old it is. The index's are None without a store, and until it has loaded."""

    version: str
    key_sets: tuple[KeySetStatus, ...]
    index_revision: Revision | None
    index_lag: Micros | None
    store_state: StoreState

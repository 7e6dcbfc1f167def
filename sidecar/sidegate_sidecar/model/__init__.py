"""The nouns. Immutable values that know nothing of gRPC, SQL or HTTP; the package imports nothing else of ours.

Instants are whole microseconds since the Unix epoch, UTC, and spans are whole microseconds: exact where floats are not,
and the resolution of both databases. Handles, users, tenants and keys are always scoped by their issuer.
"""

from sidegate_sidecar.model.keys import (
    ALGORITHMS,
    CURVE_ALGORITHMS,
    RSA_ALGORITHMS,
    KeySet,
    PublicKey,
    VerificationKey,
)
from sidegate_sidecar.model.revocations import (
    Attribution,
    AuditEntry,
    AuditFilter,
    KeyRevoked,
    LogEntry,
    LogPage,
    Removed,
    RevocationKind,
    SessionsEnded,
    SessionsRevoked,
)
from sidegate_sidecar.model.sessions import (
    MAX_NAME_BYTES,
    Coverage,
    Registration,
    SessionRecord,
    StoreFacts,
    StoreLimits,
    Subject,
)
from sidegate_sidecar.model.status import (
    KeySetStatus,
    ServingStatus,
    StoreState,
)
from sidegate_sidecar.model.times import (
    SECOND,
    Clock,
    Micros,
    steady_clock,
    wall_clock,
)
from sidegate_sidecar.model.verdicts import (
    Demand,
    Evidence,
    NextAction,
    Reason,
    Rejection,
    Revision,
    Session,
    Source,
    Verdict,
)

__all__ = [
    "ALGORITHMS",
    "CURVE_ALGORITHMS",
    "MAX_NAME_BYTES",
    "RSA_ALGORITHMS",
    "SECOND",
    "Attribution",
    "AuditEntry",
    "AuditFilter",
    "Clock",
    "Coverage",
    "Demand",
    "Evidence",
    "KeyRevoked",
    "KeySet",
    "KeySetStatus",
    "LogEntry",
    "LogPage",
    "Micros",
    "NextAction",
    "PublicKey",
    "Reason",
    "Registration",
    "Rejection",
    "Removed",
    "Revision",
    "RevocationKind",
    "ServingStatus",
    "Session",
    "SessionRecord",
    "SessionsEnded",
    "SessionsRevoked",
    "Source",
    "StoreFacts",
    "StoreLimits",
    "StoreState",
    "Subject",
    "Verdict",
    "VerificationKey",
    "steady_clock",
    "wall_clock",
]

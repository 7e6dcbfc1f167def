"""What a history is made of: what was asked of sidecars, when, and what came of it.

Instants are seconds of one monotonic clock, read in one process: `began` before the call left, `ended` after its answer
was there. So if one operation ended before another began, everybody agrees which was first.
"""

from dataclasses import dataclass, field
from enum import Enum

from sidegate import Revision


class Answer(Enum):
    """What came of a verification."""

    VALID = "valid"
    REVOKED = "refused as revoked"  # the session, its user or its tenant
    REFUSED = "refused for another reason"
    UNAVAILABLE = "unavailable"


class Outcome(Enum):
    """What came of a write."""

    ACKNOWLEDGED = "acknowledged"
    DECLINED = "declined"  # and so it changed nothing
    UNKNOWN = "unknown"  # it may have happened, or may yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """From when to when, and through which sidecar. One that restarts keeps its name."""

    sidecar: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(Operation):
    """A token of a session was verified.

    Attributes:
        revision: That of the evidence. None: there was no verdict.
        detail: Why it was refused, or why nobody could say.
    """

    handle: str
    user_id: str
    check_database: bool = False
    at_least_as_fresh: Revision | None = None
    answer: Answer
    revision: Revision | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation(Operation):
    """One session was revoked, or with `handle` None all of a user but perhaps one.

    Attributes:
        revision: What the answer names. None: there was no answer.
    """

    handle: str | None = None
    user_id: str | None = None
    spared: str | None = None
    outcome: Outcome
    revision: Revision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Operation):
    """A session was registered. One that a history never registers began before it, as its tokens say."""

    handle: str
    user_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """From `began` to `ended` a sidecar had no database; `sidecar` None: no sidecar had."""

    began: float
    ended: float
    sidecar: str | None = None

    def contains(self, operation: Operation) -> bool:
        """Whether the operation began and ended in it, and concerns a sidecar that had no database."""
        return (
            self.sidecar in {None, operation.sidecar}
            and self.began <= operation.began
            and operation.ended <= self.ended
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Downtime:
    """From `began` to `ended` a sidecar itself was down, or not yet ready."""

    sidecar: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One entry of the revocation log: of a session (`handle`) or of a user.

    Attributes:
        cause: A session's: the sequence of its user's entry that ended it. None: it was revoked by itself.
    """

    revision: Revision
    handle: str | None = None
    user_id: str | None = None
    cause: int | None = None


@dataclass(slots=True)
class History:
    """All that happened, in no particular order. Clients of many threads may append.

    Attributes:
        log: The whole revocation log as it was read when all was over. None: nobody read it.
    """

    verifications: list[Verification] = field(default_factory=list[Verification])
    revocations: list[Revocation] = field(default_factory=list[Revocation])
    registrations: list[Registration] = field(default_factory=list[Registration])
    outages: list[Outage] = field(default_factory=list[Outage])
    downtimes: list[Downtime] = field(default_factory=list[Downtime])
    log: list[LogRecord] | None = None

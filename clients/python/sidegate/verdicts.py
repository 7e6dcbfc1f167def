"""The nouns of the data plane: what a verdict is made of, and what the sidecar says of itself. Immutable, no gRPC.

Every enum has a member UNRECOGNIZED, for a value that a newer sidecar sends and this client does not know yet.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, NoReturn


class RejectionReason(StrEnum):
    """Why a token was refused. session.proto explains each."""

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
    UNRECOGNIZED = "UNRECOGNIZED"


class NextAction(StrEnum):
    """What the holder of a refused token can do. What a client does not recognize it reads as REAUTHENTICATE."""

    REFRESH = "REFRESH"
    REAUTHENTICATE = "REAUTHENTICATE"


class EvidenceSource(StrEnum):
    """Where a verdict comes from: memory alone, or the session database too."""

    LOCAL = "LOCAL"
    DATABASE = "DATABASE"
    UNRECOGNIZED = "UNRECOGNIZED"


class SignOutScope(StrEnum):
    """Which of the token holder's sessions to end."""

    THIS_SESSION = "THIS_SESSION"
    ALL_SESSIONS = "ALL_SESSIONS"
    OTHER_SESSIONS = "OTHER_SESSIONS"


class StoreState(StrEnum):
    """How the sidecar's store answers."""

    NOT_CONFIGURED = "NOT_CONFIGURED"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"
    UNRECOGNIZED = "UNRECOGNIZED"


@dataclass(frozen=True, slots=True)
class Revision:
    """A position in the revocation log of one store. Sequences of different stores do not compare."""

    store_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        source: Where the sidecar looked.
        revision: The position of its revocation index in the step that decided. None: it has no store, or the verdict
            was reached in this process.
        revocation_lag: How long ago that index was last known to be complete. None like `revision`.
        key_id: The `kid` of the key that verified the signature. None: no key did, or it has none.
    """

    source: EvidenceSource
    revision: Revision | None = None
    revocation_lag: timedelta | None = None
    key_id: str | None = None


@dataclass(frozen=True)  # without slots: cached_property needs the instance's dictionary
class Session:
    """Whose session a good token belongs to.

    Attributes:
        issuer: The issuer that the token was verified against, as the sidecar's settings spell it.
        session_handle: Names the session at its issuer. Empty where the issuer entry waives it.
        user_id: Whose it is, at this issuer. Never empty.
        tenant_id: The tenant that the token names. Empty where it names none.
        token_issue_time: The token's `iat`, aware, UTC.
        token_expire_time: The token's `exp`, aware, UTC. From this instant on the token is expired.
        claims_json: The token's payload as the issuer wrote it, a JSON object.
        evidence: What the verdict rests on.
    """

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    token_issue_time: datetime
    token_expire_time: datetime
    claims_json: str = field(repr=False)  # names, addresses, roles: not for a log line
    evidence: Evidence

    @cached_property
    def claims(self) -> Mapping[str, Any]:  # claims are of any JSON type
        """The token's payload, parsed on first use and kept. Treat it as read-only: it belongs to this Session."""
        parsed: dict[str, Any] = json.loads(self.claims_json)
        return parsed

    def copy(self) -> "Session":
        """An equal one whose `claims` are its own. Several times faster than calling the class."""
        copied = object.__new__(Session)
        values = copied.__dict__
        values.update(self.__dict__)
        values.pop("claims", None)
        return copied

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> NoReturn:
        """What pydantic asks for before it makes one of foreign data. FastAPI does so of a request's body, for a route
        whose parameter lacks its `Depends`: then whoever calls it would be whoever they say.
        """
        raise TypeError("a Session is not made of foreign data; in FastAPI it comes from Depends(verify_session())")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a token is not good. `message` is one sentence for a developer, not for matching on."""

    reason: RejectionReason
    next_action: NextAction
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "is this access token good right now, and whose session is it?"."""

    outcome: Session | Rejection
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class KeySetStatus:
    """One issuer's keys as the sidecar holds them.

    Attributes:
        issuer: As the sidecar's settings spell it.
        generation: Grows with each change of the set; 0 until the first has arrived.
        key_count: How many usable keys it holds.
        age: How long ago the issuer last confirmed it. None: it has not yet.
        last_error: Why the last attempt to ask the issuer failed. Empty: it did not.
    """

    issuer: str
    generation: int
    key_count: int
    age: timedelta | None
    last_error: str


@dataclass(frozen=True, slots=True)
class ServingStatus:
    """What the sidecar knows and how old it is.

    Attributes:
        version: The sidecar's release.
        key_sets: One for each issuer, in the order of its settings.
        index_revision: Its revocation index's position. None: it has no store, or the index has not loaded yet.
        index_lag: How long ago the index was last known to be complete. None like `index_revision`.
        store_state: How its store answers.
    """

    version: str
    key_sets: tuple[KeySetStatus, ...]
    index_revision: Revision | None
    index_lag: timedelta | None
    store_state: StoreState

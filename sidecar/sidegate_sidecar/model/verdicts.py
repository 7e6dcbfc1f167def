"""Verify: what is asked, and what is answered."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sidegate_sidecar.model.times import Micros


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


@dataclass(frozen=True, slots=True)
class Revision:
    """A position in the log of one store. Sequences of different stores do not compare."""

    store_id: str
    sequence: int


# What is made for each question is a tuple: a frozen dataclass takes three times as long to make.


class Demand(NamedTuple):
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


class Evidence(NamedTuple):
    """What a verdict rests on. `revision` and `revocation_lag` are None on a sidecar without a store."""

    source: Source
    revision: Revision | None
    revocation_lag: Micros | None
    key_id: str | None


class Verdict(NamedTuple):
    """The answer to a demand."""

    outcome: Session | Rejection
    evidence: Evidence

"""Sessions: what the store keeps of them, and what it and the index say of one."""

from dataclasses import dataclass
from typing import NamedTuple

from sidegate_sidecar.model.times import Micros
from sidegate_sidecar.model.verdicts import Revision

MAX_NAME_BYTES = 512  # of a handle, user or tenant in UTF-8; OpenID Connect Core §2 allows a subject 255 characters


@dataclass(frozen=True, slots=True)
class Subject:
    """What revocations of a token's session are looked up by.

    Attributes:
        session_handle: Empty where the issuer waives it.
        tenant_id: Empty: none.
        key_thumbprint: RFC 7638, of the key that verified the token. Empty where no token is in question.
    """

    issuer: str
    session_handle: str
    user_id: str
    tenant_id: str
    key_thumbprint: str = ""


class Coverage(NamedTuple):
    """Which revocations touch a session, wherever they were read: the index and the store both answer with this.

    Attributes:
        session_revoked: Its handle was revoked.
        key_revoked: The key that verified its token was revoked.
        user_watermark: The newest T of its user's watermarks that do not except it. Sessions begun at or before T are
            revoked. None: there is none.
        tenant_watermark: Likewise for its tenant.
    """

    session_revoked: bool = False
    key_revoked: bool = False
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
class StoreLimits:
    """What retention rests on, kept in the store so that every sidecar of it agrees. Spans.

    A revocation is kept until nothing that it covers can be valid: the session's end, or the revocation if that was
    later (if nobody registered it, `max_session_lifetime` after the revocation), plus `max_token_lifetime`, plus
    `leeway`.
    """

    max_token_lifetime: Micros
    leeway: Micros
    max_session_lifetime: Micros

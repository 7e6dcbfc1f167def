"""What one issuer entry of the settings asks of a token."""

from dataclasses import dataclass

from sidegate_sidecar.model import ALGORITHMS, SECOND, Micros

MAX_LEEWAY: Micros = 60 * SECOND  # more would hide a broken clock


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerPolicy:
    """How the tokens of one issuer are read and checked. Spans are microseconds.

    Attributes:
        issuer: The `iss` of its tokens, compared exactly; names the issuer everywhere else too.
        algorithms: The JWS algorithms it may use, of ALGORITHMS.
        audiences: `aud` must name one of them. Empty: unchecked, unless the demand names some.
        session_claim: Carries the session handle. None: waived; its tokens are revocable by user, tenant and key only.
        user_claim: Carries the user.
        tenant_claim: Carries the tenant. None: they have no tenant.
        begin_claim: The instant that is compared with watermarks, e.g. "auth_time". None: `iat`.
        anti_csrf_claim: Carries the anti-CSRF token. None: they carry none.
        anti_csrf_required: Every demand must bring the anti-CSRF token.
        token_type: The `typ` they must have, compared as RFC 7515 §4.1.9 says. None: any, or none.
        key_id_required: Tokens without `kid` are refused.
        issuer_claim_absent: Its tokens carry no `iss`, and none is accepted in them.
        max_token_lifetime: From `iat` to `exp`, at most.
        leeway: Clock skew forgiven on `nbf` and `iat`, and never on `exp`; at most 60 s.
        issuer_clock_skew: How far `iat` may be from a watermark and still be ambiguous. Read by the verifier.
        unknown_sessions_rejected: Whether `check_database` refuses what nobody registered. Read by the verifier.

    Raises:
        ValueError: An algorithm that nobody may use, or a span out of range.
    """

    issuer: str
    algorithms: frozenset[str] = ALGORITHMS
    audiences: frozenset[str] = frozenset()
    session_claim: str | None
    user_claim: str = "sub"
    tenant_claim: str | None = None
    begin_claim: str | None = None
    anti_csrf_claim: str | None = None
    anti_csrf_required: bool = False
    token_type: str | None = None
    key_id_required: bool = False
    issuer_claim_absent: bool = False
    max_token_lifetime: Micros
    leeway: Micros
    issuer_clock_skew: Micros = 2 * SECOND
    unknown_sessions_rejected: bool = False

    def __post_init__(self) -> None:
        if not self.algorithms <= ALGORITHMS:
            raise ValueError("algorithms names one that is not supported")
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ValueError("leeway is not between 0 and 60 s")

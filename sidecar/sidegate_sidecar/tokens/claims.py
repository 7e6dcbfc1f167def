"""The claims of a token: read once into types, checked again on every use."""

from hmac import compare_digest
from typing import NamedTuple, cast

from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import MAX_NAME_BYTES, SECOND, Demand, Micros, Reason
from sidegate_sidecar.tokens.jws import Claims, ParsedToken
from sidegate_sidecar.tokens.policy import IssuerPolicy

MAX_SECONDS = 2**53  # beyond it a double no longer tells one second from the next


class TokenClaims(NamedTuple):  # as ParsedToken, and for its reason
    """What a token says, typed. Instants are microseconds since the epoch.

    Attributes:
        user_id: Never empty.
        session_handle: Empty where the issuer entry waives it, and never otherwise.
        tenant_id: Empty: none.
        not_before: None: from the beginning of time.
        begin_time: What is compared with watermarks: the policy's `begin_claim`, else `iat`.
        audiences: In the token's order. Empty: none.
        anti_csrf_token: None: none.
    """

    user_id: str
    session_handle: str
    tenant_id: str
    issue_time: Micros
    expire_time: Micros
    not_before: Micros | None
    begin_time: Micros
    audiences: tuple[str, ...]
    anti_csrf_token: str | None

    def __repr__(self) -> str:
        return "<TokenClaims>"  # the claims would end up in whatever prints this


def issuer_of(token: ParsedToken) -> str | None:
    """The token's `iss`, that picks the issuer entry. None: it has none.

    Raises:
        Rejected: WRONG_ISSUER for anything but a string; RFC 7519 §4.1.1 knows nothing else.
    """
    if "iss" not in token.claims:
        return None
    issuer = token.claims["iss"]
    if not isinstance(issuer, str):
        raise Rejected(Reason.WRONG_ISSUER, "the token's iss is not a string")
    return issuer


def read_claims(token: ParsedToken, policy: IssuerPolicy) -> TokenClaims:
    """Read the claims that verification needs. A claim that is null counts as absent: SuperTokens writes some so.

    Raises:
        Rejected: MISSING_CLAIM for `exp`, `iat`, the user, the session handle or the begin claim, absent or empty.
            MALFORMED for a claim of a wrong JSON type, a date outside [0, 2^53) s or a name past 512 bytes.
    """
    claims = token.claims
    issue_time = _required_instant(claims, "iat")
    user_id = _required_name(claims, policy.user_claim)
    session_handle = "" if policy.session_claim is None else _required_name(claims, policy.session_claim)
    tenant_id = "" if policy.tenant_claim is None else _name(claims, policy.tenant_claim)
    expire_time = _required_instant(claims, "exp")
    not_before = _instant(claims, "nbf")
    begin_time = issue_time if policy.begin_claim is None else _required_instant(claims, policy.begin_claim)
    audiences = _audiences(claims)
    anti_csrf_token = None if policy.anti_csrf_claim is None else _text(claims, policy.anti_csrf_claim) or None
    return TokenClaims(
        user_id,
        session_handle,
        tenant_id,
        issue_time,
        expire_time,
        not_before,
        begin_time,
        audiences,
        anti_csrf_token,
    )


def check_expiry(claims: TokenClaims, now: Micros) -> None:
    """Check `exp` alone, for after a wait.

    Raises:
        Rejected: EXPIRED. RFC 7519 §4.1.4: `exp` is exclusive, so `exp == now` is expired; no leeway is given.
    """
    if claims.expire_time <= now:
        raise Rejected(Reason.EXPIRED, "the token has expired")


def check_claims(
    claims: TokenClaims, policy: IssuerPolicy, token_type: str | None, demand: Demand, now: Micros
) -> None:
    """Check everything about a token that depends on the time, the policy or the demand. Cheap; owns no clock.

    Raises:
        Rejected: In this order: EXPIRED, NOT_YET_VALID, LIFETIME_TOO_LONG, WRONG_AUDIENCE (also for a token without
            `aud` where one is demanded), WRONG_TENANT, WRONG_TYPE, ANTI_CSRF_MISMATCH.
    """
    check_expiry(claims, now)
    latest = now + policy.leeway
    if claims.not_before is not None and claims.not_before > latest:
        raise Rejected(Reason.NOT_YET_VALID, "the token's nbf lies in the future")
    if claims.issue_time > latest:
        raise Rejected(Reason.NOT_YET_VALID, "the token's iat lies in the future")
    if claims.begin_time > latest:  # such a session would slip past every watermark
        raise Rejected(Reason.NOT_YET_VALID, "the token's session begins in the future")
    if claims.expire_time - claims.issue_time > policy.max_token_lifetime:
        raise Rejected(Reason.LIFETIME_TOO_LONG, "the token lives longer than the maximum")
    _check_audience(claims, policy, demand)
    if demand.tenant_id is not None and demand.tenant_id != claims.tenant_id:
        raise Rejected(Reason.WRONG_TENANT, "the token belongs to another tenant")
    if policy.token_type is not None and (
        token_type is None or _media_type(token_type) != _media_type(policy.token_type)
    ):
        raise Rejected(Reason.WRONG_TYPE, "the token's typ is not the one demanded")
    if policy.anti_csrf_required or demand.anti_csrf_token is not None:
        _check_anti_csrf(claims.anti_csrf_token, demand.anti_csrf_token)


def _check_audience(claims: TokenClaims, policy: IssuerPolicy, demand: Demand) -> None:
    """Both the issuer entry and the demand must be satisfied, each by any one name [RFC 7519 §4.1.3]."""
    for accepted in (policy.audiences, demand.accepted_audiences):
        if accepted and frozenset(claims.audiences).isdisjoint(accepted):
            raise Rejected(Reason.WRONG_AUDIENCE, "the token's aud names none of the accepted audiences")


def _check_anti_csrf(carried: str | None, brought: str | None) -> None:
    # As bytes: compare_digest takes no text beyond ASCII. "surrogatepass", for a caller can bring any text.
    if (
        carried is None
        or brought is None
        or not compare_digest(carried.encode(), brought.encode("utf-8", "surrogatepass"))
    ):
        raise Rejected(Reason.ANTI_CSRF_MISMATCH, "the anti-CSRF token is absent or another")


def _media_type(text: str) -> str:
    """The full media type in lower case [RFC 7515 §4.1.9]: without a slash, "application/" was left out."""
    # Only ASCII is folded: lower() would make a plain "k" of the Kelvin sign.
    text = text.lower() if text.isascii() else text
    return text if "/" in text else f"application/{text}"


def _text(claims: Claims, name: str) -> str:
    """A claim that is text, or "" if it is absent or null."""
    value = claims.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Rejected(Reason.MALFORMED, f"the claim {name} is not a string")
    return value


def _name(claims: Claims, name: str) -> str:
    value = _text(claims, name)
    # A character is four bytes at most.
    if 4 * len(value) > MAX_NAME_BYTES and len(value.encode()) > MAX_NAME_BYTES:
        raise Rejected(Reason.MALFORMED, f"the claim {name} is longer than {MAX_NAME_BYTES} bytes")
    return value


def _required_name(claims: Claims, name: str) -> str:
    value = _name(claims, name)
    if not value:
        raise Rejected(Reason.MISSING_CLAIM, f"the claim {name} is missing or empty")
    return value


def _instant(claims: Claims, name: str) -> Micros | None:
    """A NumericDate [RFC 7519 §2] as exact microseconds, ties to even; None if it is absent or null."""
    value = claims.get(name)
    if value is None:
        return None
    if type(value) is int and 0 <= value < MAX_SECONDS:  # isinstance would let in true and false
        return value * SECOND
    if type(value) is float and 0 <= value < MAX_SECONDS:
        # In integers: multiplying the double would round twice.
        numerator, denominator = value.as_integer_ratio()
        micros, rest = divmod(numerator * SECOND, denominator)
        return micros + (2 * rest > denominator or (2 * rest == denominator and micros % 2 == 1))
    raise Rejected(Reason.MALFORMED, f"the claim {name} is not a number of seconds in range")


def _required_instant(claims: Claims, name: str) -> Micros:
    value = _instant(claims, name)
    if value is None:
        raise Rejected(Reason.MISSING_CLAIM, f"the claim {name} is missing")
    return value


def _audiences(claims: Claims) -> tuple[str, ...]:
    """The `aud` claim: a string or a list of strings [RFC 7519 §4.1.3]."""
    value = claims.get("aud")
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        audiences = cast("list[object]", value)
        if all(isinstance(audience, str) for audience in audiences):
            return tuple(cast("list[str]", audiences))
    raise Rejected(Reason.MALFORMED, "the claim aud is neither a string nor a list of strings")

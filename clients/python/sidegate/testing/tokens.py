"""The tokens of a fake sidecar: JWTs signed with HMAC under a key of its own. No real sidecar takes them."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from sidegate.errors import SessionRejected
from sidegate.verdicts import NextAction, Rejection, RejectionReason
from sidegate.verification_calls import MAX_TOKEN_BYTES

ALGORITHM = "HS256"  # a real sidecar answers UNSUPPORTED_ALGORITHM: a test's token in production opens nothing
KEY_ID = "sidegate-testing"
MAX_SECONDS = 2**53
SECOND = 1_000_000  # instants are microseconds since the epoch, as the sidecar counts

USER_CLAIM, SESSION_CLAIM, TENANT_CLAIM, ANTI_CSRF_CLAIM = "sub", "sid", "tid", "antiCsrfToken"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says. Instants are microseconds since the epoch; an empty `tenant_id` is none."""

    user_id: str
    session_handle: str
    tenant_id: str
    issue_time: int
    expire_time: int
    not_before: int | None
    audiences: tuple[str, ...]
    anti_csrf_token: str
    claims_json: str = field(repr=False)


class TokenKey:
    """Signs tokens, and reads those that it signed.

    Args:
        issuer: Their `iss`.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._secret = secrets.token_bytes(32)
        # RFC 7638 §3: the required members of the JWK, in lexicographic order, without white space.
        jwk = json.dumps({"k": _encoded(self._secret), "kty": "oct"}, separators=(",", ":"))
        self.thumbprint = _encoded(hashlib.sha256(jwk.encode()).digest())

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims, whatever they are."""
        header = {"alg": ALGORITHM, "kid": KEY_ID, "typ": "JWT"}
        signing_input = ".".join(_encoded(json.dumps(part).encode()) for part in (header, dict(claims)))
        return f"{signing_input}.{_encoded(self._signature(signing_input))}"

    def read(self, text: str) -> TokenClaims:
        """The claims of a token, its signature checked. Time and demand are not looked at.

        Raises:
            SessionRejected: It is not good, whatever the time and the demand.
        """
        header, payload, signature, claims_json = _parsed(text)
        if header.get("alg") != ALGORITHM:
            raise rejected(RejectionReason.UNSUPPORTED_ALGORITHM, "the token's alg is none of those supported")
        issuer = payload.get("iss")
        if issuer is None:
            raise rejected(RejectionReason.MISSING_CLAIM, "the token has no iss")
        if issuer != self.issuer:
            raise rejected(RejectionReason.WRONG_ISSUER, "no configured issuer goes by the token's iss")
        claims = TokenClaims(
            user_id=_required_text(payload, USER_CLAIM),
            session_handle=_required_text(payload, SESSION_CLAIM),
            tenant_id=_text(payload, TENANT_CLAIM),
            issue_time=_required_instant(payload, "iat"),
            expire_time=_required_instant(payload, "exp"),
            not_before=_instant(payload, "nbf"),
            audiences=_audiences(payload),
            anti_csrf_token=_text(payload, ANTI_CSRF_CLAIM),
            claims_json=claims_json,
        )
        if header.get("kid") != KEY_ID:
            raise rejected(RejectionReason.UNKNOWN_KEY, "the issuer publishes no such key")
        if not hmac.compare_digest(signature, self._signature(text.rpartition(".")[0])):
            raise rejected(RejectionReason.BAD_SIGNATURE, "the token's signature does not match")
        return claims

    def _signature(self, signing_input: str) -> bytes:
        return hmac.digest(self._secret, signing_input.encode(), "sha256")


def rejected(reason: RejectionReason, message: str, *, next_action: NextAction | None = None) -> SessionRejected:
    """The verdict that a token is not good. `next_action` None: what the reason implies."""
    implied = NextAction.REFRESH if reason is RejectionReason.EXPIRED else NextAction.REAUTHENTICATE
    return SessionRejected(Rejection(reason, next_action or implied, message))


def _parsed(text: str) -> tuple[Mapping[str, object], Mapping[str, object], bytes, str]:
    """Header, payload, signature and the payload's text."""
    parts = text.split(".")
    if len(text) > MAX_TOKEN_BYTES or len(parts) != 3:
        raise _malformed("the token is not three parts, or larger than 16 KiB")
    header, payload, signature = (_decoded(part) for part in parts)
    return _object(header), _object(payload), signature, payload.decode()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(part: str) -> bytes:
    try:
        content = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("the token is not base64url") from None
    if _encoded(content) != part:
        raise _malformed("the token is not base64url in its one canonical spelling")
    return content


def _object(content: bytes) -> Mapping[str, object]:
    try:
        parsed = json.loads(content.decode(), parse_constant=_no_number, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise _malformed("a part of the token is not JSON") from None
    if not isinstance(parsed, dict):
        raise _malformed("a part of the token is not a JSON object")
    return cast("dict[str, object]", parsed)


def _no_number(text: str) -> object:
    raise ValueError(text)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate members")
    return members


def _malformed(message: str) -> SessionRejected:
    return rejected(RejectionReason.MALFORMED, message)


def _text(payload: Mapping[str, object], name: str) -> str:
    value = payload.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _malformed(f"the claim {name} is not a string")
    return value


def _required_text(payload: Mapping[str, object], name: str) -> str:
    value = _text(payload, name)
    if not value:
        raise rejected(RejectionReason.MISSING_CLAIM, f"the claim {name} is missing or empty")
    return value


def _instant(payload: Mapping[str, object], name: str) -> int | None:
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_SECONDS:
        raise _malformed(f"the claim {name} is not a number of seconds in range")
    return round(value * SECOND)


def _required_instant(payload: Mapping[str, object], name: str) -> int:
    value = _instant(payload, name)
    if value is None:
        raise rejected(RejectionReason.MISSING_CLAIM, f"the claim {name} is missing")
    return value


def _audiences(payload: Mapping[str, object]) -> tuple[str, ...]:
    value = payload.get("aud")
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if isinstance(values, list) and all(isinstance(each, str) for each in cast("list[object]", values)):
        return tuple(cast("list[str]", values))
    raise _malformed("the claim aud is neither a string nor a list of strings")

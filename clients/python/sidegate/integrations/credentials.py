"""Which token a request brings, and whether it may: header or cookie, and the anti-CSRF rule. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sidegate.errors import SessionRejected
from sidegate.integrations.policy import AntiCsrf, WebPolicy
from sidegate.integrations.refusals import CredentialsProblem, CredentialsRefused, CsrfRefused
from sidegate.verdicts import NextAction, Rejection, RejectionReason

# RFC 9110 section 9.2.1.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

# RFC 6750 section 2.1; the scheme in any case (RFC 9110 section 11.1).
_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_BEARER_SCHEME = re.compile(r"bearer(?![!#$%&'*+\-.^_`|~0-9A-Za-z])", re.IGNORECASE)
# Servers may join repeated fields by commas (RFC 9110 section 5.3); those of WSGI do.
_JOINED_BEARER = re.compile(r",[ \t]*bearer(?![!#$%&'*+\-.^_`|~0-9A-Za-z])", re.IGNORECASE)


class Transfer(StrEnum):
    """By which way a token came."""

    HEADER = "HEADER"
    COOKIE = "COOKIE"


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """What credentials are read from.

    Attributes:
        method: As HTTP spells it, e.g. "POST". Of a WebSocket handshake "WEBSOCKET": it is a GET that browsers let
            other sites send, so it counts as unsafe.
        header: The values of a header, by its name in any case. Empty: it is absent.
    """

    method: str
    header: Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The token that a request brings.

    Attributes:
        anti_csrf_token: What the sidecar is to compare with the token's claim. None: nothing.
    """

    access_token: str = field(repr=False)
    transfer: Transfer
    anti_csrf_token: str | None = field(default=None, repr=False)


def read_credentials(request: IncomingRequest, policy: WebPolicy) -> Credentials | None:
    """The token that a request brings. None: none at all. A bearer token wins, and then no cookie is looked at.

    Raises:
        CredentialsRefused: The header is malformed, or header or cookie come more than once: a second cookie of that
            name is what a neighbouring host plants to fix a session.
        CsrfRefused: The custom header is missing.
        SessionRejected: ANTI_CSRF_MISMATCH, as the sidecar would say: the anti-CSRF token is missing.
    """
    token = bearer_token(request.header("authorization"))
    if token is not None:
        return Credentials(token, Transfer.HEADER)
    if policy.cookie is None:
        return None
    token = _cookie_value(request.header("cookie"), policy.cookie)
    if token is None:
        return None
    return Credentials(token, Transfer.COOKIE, _anti_csrf_token(request, policy))


def bearer_token(authorization: Sequence[str]) -> str | None:
    """The token of an Authorization header, by its values. None: it is absent, or of another scheme, and not ours.

    Raises:
        CredentialsRefused: It is malformed, or there are several.
    """
    if not authorization:
        return None
    value = authorization[0].strip(" \t")
    if len(authorization) > 1 or _JOINED_BEARER.search(value):
        raise CredentialsRefused(
            CredentialsProblem.DUPLICATE_CREDENTIALS, "the request has more than one Authorization header"
        )
    if value and not _BEARER_SCHEME.match(value):
        return None
    matched = _BEARER.fullmatch(value)
    if matched is None:
        raise CredentialsRefused(
            CredentialsProblem.MALFORMED_CREDENTIALS, "the Authorization header is not 'Bearer' and one token"
        )
    return matched[1]


def _cookie_value(headers: Sequence[str], name: str) -> str | None:
    """The value of one cookie. None: it is absent or empty. Raises: CredentialsRefused, if it is or may be there twice.

    Source: RFC 6265 section 4.1.1: quotes around a value are allowed, and Django sets an empty one as `""`; a comma is
    not, in a value or a name. Section 4.2.1. HTTP/2 may split the header (RFC 9113 section 8.2.3).
    """
    found: list[str] = []
    for pair in ";".join(headers).split(";"):
        first, *joined = pair.split(",")
        if _cookie_name(first) == name:
            found.append(_unquoted(pair.partition("=")[2].strip(" \t")))
        # gunicorn, werkzeug and Django join repeated fields by commas. A second cookie would hide in the value of the
        # one before; but whether that value just looks so, nobody can say.
        if len(found) > 1 or name in map(_cookie_name, joined):
            raise CredentialsRefused(
                CredentialsProblem.DUPLICATE_CREDENTIALS,
                "the request has more than one cookie of the session's name, or one behind a comma",
            )
    return found[0] or None if found else None


def _cookie_name(pair: str) -> str:
    return pair.partition("=")[0].strip(" \t")


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _anti_csrf_token(request: IncomingRequest, policy: WebPolicy) -> str | None:
    """What the sidecar is to compare. Raises: CsrfRefused, SessionRejected, if the request lacks what it must bring."""
    if request.method in SAFE_METHODS:
        return None
    match policy.anti_csrf:
        case AntiCsrf.TOKEN:
            token = ",".join(request.header(policy.anti_csrf_header))
            if not token:
                raise SessionRejected(
                    Rejection(
                        RejectionReason.ANTI_CSRF_MISMATCH,
                        NextAction.REAUTHENTICATE,
                        f"a request by cookie needs the header {policy.anti_csrf_header}",
                    )
                )
            return token
        case AntiCsrf.CUSTOM_HEADER:
            if not request.header(policy.custom_header):
                raise CsrfRefused(f"a request by cookie needs the header {policy.custom_header}")
            return None
        case AntiCsrf.NONE:
            return None

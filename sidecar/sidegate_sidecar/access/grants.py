"""Grants: which subject has which roles, on which issuers and tenants.

A subject is written as the audit trail writes the actor:

    mtls:spiffe://cluster.example/ns/login/sa/web      the URI of a client certificate
    mtls:login.internal                                a DNS name of a client certificate
    token:https://issuer.example#service-account       the issuer and the user of an admin token

No two subjects are spelled alike: a DNS name holds no colon where every URI does, and no issuer of admin tokens has
a "#" in its name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sidegate_sidecar.access.roles import Role
from sidegate_sidecar.model import MAX_NAME_BYTES

CERTIFICATE = "mtls:"
TOKEN = "token:"  # noqa: S105 - how such a subject begins, and no secret

# RFC 1123 §2.1, in lower case. No wildcard: a certificate that is good for many names is nobody in particular.
_DNS_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")  # RFC 3986 §3, as far as telling it from a DNS name takes


@dataclass(frozen=True, slots=True)
class Grant:
    """What one subject may do. `issuers` and `tenants` None: all of them."""

    subject: str
    roles: frozenset[Role]
    issuers: frozenset[str] | None = None
    tenants: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever is calling, as far as one RPC is concerned.

    Attributes:
        actor: As the audit trail names them.
        grants: Those of their grants that have a role for the RPC. Never empty.
    """

    actor: str
    grants: Sequence[Grant]


def dns_subject(name: str) -> str | None:
    """The subject of a DNS name, in lower case: DNS knows no other [RFC 4343]. None: it cannot be one."""
    lowered = name.lower() if name.isascii() else ""  # lower() would make a plain "k" of the Kelvin sign
    return CERTIFICATE + lowered if len(lowered) <= MAX_NAME_BYTES and _DNS_NAME.fullmatch(lowered) else None


def uri_subject(uri: str) -> str | None:
    """The subject of a URI, as it stands. None: it cannot be one."""
    return CERTIFICATE + uri if len(uri) <= MAX_NAME_BYTES and _URI.fullmatch(uri) else None


def token_subject(issuer: str, user_id: str) -> str:
    """The subject of an admin token."""
    return f"{TOKEN}{issuer}#{user_id}"


def check_subject(subject: str) -> None:
    """Refuse what no caller is ever called. Raises ValueError."""
    if subject.startswith(CERTIFICATE):
        name = subject.removeprefix(CERTIFICATE)
        if "*" in name:
            raise ValueError("has a wildcard; names are compared exactly")
        if subject not in (dns_subject(name), uri_subject(name)):
            raise ValueError("must name a URI or, in lower case, a DNS name after mtls:")
    elif subject.startswith(TOKEN):
        issuer, _, user_id = subject.removeprefix(TOKEN).partition("#")
        if not (issuer and user_id):
            raise ValueError("must be token: and then the issuer, # and the user")
    else:
        raise ValueError("must begin with mtls: or token:")


def issuer_of_subject(subject: str) -> str | None:
    """The issuer whose tokens a subject brings. None: it brings a certificate."""
    return subject.removeprefix(TOKEN).partition("#")[0] if subject.startswith(TOKEN) else None

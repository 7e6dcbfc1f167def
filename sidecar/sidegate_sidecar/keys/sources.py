"""Where an issuer's keys come from, and how often to look: descriptions alone, checked when they are made.

Every mistake is a ValueError whose message holds neither a header's value nor a URL's user information.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")  # RFC 9110 §5.5, less obs-text: nothing that could begin another line


def checked_url(url: str, *, allow_http: bool) -> SplitResult:
    """Split an address that keys may be fetched from: https, or http to this very machine or where it is allowed.

    Raises:
        ValueError: It is no such address.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018 - read for its check: it raises ValueError for a port that is none
    except ValueError:
        raise ValueError("not a URL") from None
    if not host or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("not a URL with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL must not hold a user or password; use a header")
    if parts.fragment:
        raise ValueError("a URL to fetch has no fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and (allow_http or names_loopback(host))):
        raise ValueError("must be an https URL; http only to loopback or where it is allowed expressly")
    return parts


def names_loopback(host: str) -> bool:
    """Whether a host is spelt as this very machine. What the name resolves to is checked again when it is dialled."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises ValueError if a request could not carry them, or would carry more than them."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("a request header's name holds characters that no header may have")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of request header {name} holds characters that no header may have")


@dataclass(frozen=True, slots=True)
class JwksUrl:
    """A JWK set behind a URL.

    Attributes:
        headers: Sent with each request. Taken to be secret: never shown.
        ca_file: PEM certificates to trust instead of the system's. Read anew for each fetch, so it may be rotated.
        allow_http: Whether plain http will do for a host that is not this machine.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    ca_file: Path | None = None
    allow_http: bool = False

    def __post_init__(self) -> None:
        checked_url(self.url, allow_http=self.allow_http)
        check_headers(self.headers)


@dataclass(frozen=True, slots=True)
class Discovery:
    """A JWK set that the issuer's OpenID configuration points to (OpenID Connect Discovery 1.0 §4).

    Attributes:
        issuer_url: What the document's `issuer` must equal, character by character.
        headers: As in JwksUrl. Sent on to the JWK set only where that has the issuer's own scheme, host and port.
        ca_file: As in JwksUrl.
        allow_http: As in JwksUrl; for the address that the document names, too.
    """

    issuer_url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    ca_file: Path | None = None
    allow_http: bool = False

    def __post_init__(self) -> None:
        if checked_url(self.issuer_url, allow_http=self.allow_http).query:
            raise ValueError("an issuer URL has no query")
        check_headers(self.headers)


@dataclass(frozen=True, slots=True)
class JwksFile:
    """A JWK set in a file, reloaded when it changes."""

    path: Path


@dataclass(frozen=True, slots=True)
class PemFile:
    """One public key in a PEM file ("BEGIN PUBLIC KEY"), reloaded when it changes.

    Attributes:
        key_id: The `kid` that its tokens carry. None: any, or none.
        algorithm: The only algorithm to use it with. None: every one of its type.
    """

    path: Path
    key_id: str | None = None
    algorithm: str | None = None


KeySource: TypeAlias = JwksUrl | Discovery | JwksFile | PemFile


@dataclass(frozen=True, slots=True)
class IssuerKeysConfig:
    """One issuer's keys. Spans in seconds; those of refreshing concern URLs alone, a file is looked at once a second.

    Attributes:
        issuer: The name that the settings give it, which need not be a URL.
        min_refresh: However short the issuer's max-age, its keys are not fetched more often than this on schedule.
        default_refresh: How often to fetch where the issuer sends no max-age.
        max_refresh: However long the issuer's max-age, its keys are fetched this often: how long a key that the issuer
            withdrew may go on being used.
        outage_cap: How long the last good set serves without being confirmed.
        saved_copy_dir: Where to save the set for a restart while the issuer is down. None: nowhere. URLs only.
    """

    issuer: str
    source: KeySource
    min_refresh: float = 60.0
    default_refresh: float = 300.0
    max_refresh: float = 3600.0
    outage_cap: float = 24 * 3600.0
    saved_copy_dir: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_refresh <= self.max_refresh:
            raise ValueError("min_refresh must be positive and at most max_refresh")
        if min(self.default_refresh, self.outage_cap) <= 0:
            raise ValueError("default_refresh and outage_cap must be positive")

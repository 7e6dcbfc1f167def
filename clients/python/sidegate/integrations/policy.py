"""How access tokens travel to a service, and what a browser must prove to use a cookie. Pure."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Self

# RFC 9110 section 5.6.2. Also what RFC 6265 section 4.1.1 lets a cookie be called.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# What pages of any site can have a browser send along: Fetch standard, "CORS-safelisted request-header" and "forbidden
# request-header"; and the credentials of HTTP authentication, which browsers remember.
_SENT_FOR_ANY_SITE = re.compile(
    r"accept(-charset|-encoding|-language)?|access-control-.*|authorization|connection|content-(language|length|type)"
    r"|cookie2?|date|dnt|expect|host|keep-alive|origin|proxy-.*|range|referer|sec-.*|set-cookie|te|trailer"
    r"|transfer-encoding|upgrade(-insecure-requests)?|user-agent|via",
    re.IGNORECASE,
)
# RFC 9110 section 5.6.4, without what would have to be escaped.
_QUOTABLE = re.compile(r"[ !#-\[\]-~]+")
# What a cookie's Path and Domain may hold (RFC 6265 section 4.1.1).
_ATTRIBUTE = re.compile(r"[ -:<-~]+")


class AntiCsrf(StrEnum):
    """What a request must bring besides a cookie, unless its method is safe. A token in a header needs nothing more:
    no other site can make a browser send one.

    TOKEN: the header `anti_csrf_header` holds the token's own anti-CSRF claim; the sidecar compares them.
    CUSTOM_HEADER: the header `custom_header` is there. A browser sends one to another site only if that site's CORS
        answer allows it.
    NONE: nothing. For a service whose cookie is SameSite=Strict and that trusts every host of its site.
    """

    TOKEN = "TOKEN"  # noqa: S105 - the name of a rule
    CUSTOM_HEADER = "CUSTOM_HEADER"
    NONE = "NONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCookie:
    """A cookie that a sign-out clears. A browser drops it only if name, path and domain are those it was set with.

    Raises:
        ValueError: A part cannot stand in a Set-Cookie header.
    """

    name: str
    path: str = "/"
    domain: str | None = None
    secure: bool = True
    http_only: bool = True
    same_site: Literal["Lax", "None", "Strict"] = "Lax"

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.name):
            raise ValueError("a cookie's name must be a token of RFC 9110")
        if not self.path.startswith("/") or not _ATTRIBUTE.fullmatch(self.path):
            raise ValueError(f"the path of cookie {self.name} must begin with a slash and hold no semicolon")
        if self.domain is not None and not _ATTRIBUTE.fullmatch(self.domain):
            raise ValueError(f"the domain of cookie {self.name} cannot stand in a header")

    def clearing(self) -> str:
        """The value of the Set-Cookie header that makes a browser drop it (RFC 6265 section 3.1)."""
        attributes = [f"{self.name}=", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Max-Age=0", f"Path={self.path}"]
        if self.domain is not None:
            attributes.append(f"Domain={self.domain}")
        if self.secure:
            attributes.append("Secure")
        if self.http_only:
            attributes.append("HttpOnly")
        attributes.append(f"SameSite={self.same_site}")
        return "; ".join(attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPolicy:
    """How access tokens travel to one service. By default as a bearer token in the Authorization header, and no other
    way.

    Attributes:
        cookie: The cookie that may hold the access token in place of the header. None: cookies are not read.
        anti_csrf: What a request by cookie must bring besides, unless its method is safe.
        anti_csrf_header: AntiCsrf.TOKEN: the header with the anti-CSRF token.
        custom_header: AntiCsrf.CUSTOM_HEADER: the header that must be there, with any value. None that pages of other
            sites can have sent, such as Content-Type.
        realm: What WWW-Authenticate calls the protected space (RFC 9110 section 11.5).
        retry_after: What Retry-After asks for where no verdict could be had, in whole seconds.
        clear_on_sign_out: The cookies that a sign-out clears. Empty: `cookie` alone, if there is one.
        sign_out_headers: More response headers of a sign-out that ended this session, e.g. for a front end.

    Raises:
        ValueError: A name or value cannot stand in a header, `anti_csrf` is no rule, or `custom_header` proves nothing.
    """

    cookie: str | None = None
    anti_csrf: AntiCsrf = AntiCsrf.CUSTOM_HEADER
    anti_csrf_header: str = "anti-csrf"
    custom_header: str = "X-Requested-With"
    realm: str = "sidegate"
    retry_after: int = 1
    clear_on_sign_out: tuple[SessionCookie, ...] = field(default=())
    sign_out_headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in (self.anti_csrf_header, self.custom_header, *(name for name, _ in self.sign_out_headers)):
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a header")
        if self.anti_csrf not in tuple(AntiCsrf):  # e.g. SuperTokens' "VIA_TOKEN": no rule would mean no protection
            raise ValueError(f"anti_csrf must be one of {', '.join(AntiCsrf)}")
        if _SENT_FOR_ANY_SITE.fullmatch(self.custom_header):
            raise ValueError(f"custom_header must not be {self.custom_header}: other sites can have it sent, too")
        if not all(
            _QUOTABLE.fullmatch(value) for value in (self.realm, *(value for _, value in self.sign_out_headers))
        ):
            raise ValueError("realm and the values of sign_out_headers must be printable ASCII, without quotes")
        if self.cookie is not None and not _TOKEN.fullmatch(self.cookie):
            raise ValueError("cookie must be a token of RFC 9110")
        if self.retry_after < 1:
            raise ValueError("retry_after must be 1 second or more")

    @classmethod
    def supertokens(cls, *, anti_csrf: AntiCsrf = AntiCsrf.TOKEN, refresh_path: str = "/auth/session/refresh") -> Self:
        """As SuperTokens issues sessions: the cookie `sAccessToken`, the headers `anti-csrf` and `rid`.

        Args:
            anti_csrf: As the issuer is configured: "VIA_TOKEN" is TOKEN, "VIA_CUSTOM_HEADER" is CUSTOM_HEADER.
            refresh_path: The path that the cookie `sRefreshToken` was set with.
        """
        return cls(
            cookie="sAccessToken",
            anti_csrf=anti_csrf,
            anti_csrf_header="anti-csrf",
            custom_header="rid",
            clear_on_sign_out=(
                SessionCookie(name="sAccessToken"),
                SessionCookie(name="sRefreshToken", path=refresh_path),
            ),
            # The front end keeps what it may know of the session, and drops it at this word.
            sign_out_headers=(("front-token", "remove"),),
        )

    @property
    def cleared_cookies(self) -> tuple[SessionCookie, ...]:
        """The cookies that a sign-out clears."""
        if self.clear_on_sign_out or self.cookie is None:
            return self.clear_on_sign_out
        return (SessionCookie(name=self.cookie),)

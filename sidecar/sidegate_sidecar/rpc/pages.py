"""Page tokens: where a listing goes on, bound to the listing and its filters so that a stale one is noticed."""

import base64
import binascii
from hashlib import blake2b

from sidegate_sidecar.errors import InvalidRequest

MAX_CURSOR_BYTES = 512  # a handle, the longest thing that a listing is ordered by

_SCOPE_BYTES = 8


def page_token_for(cursor: str, *scope: str) -> str:
    """The token that continues a listing after `cursor`. Opaque to callers, and nothing in it is secret."""
    return base64.urlsafe_b64encode(_scope_digest(scope) + cursor.encode()).decode().rstrip("=")


def cursor_from(page_token: str, *scope: str) -> str | None:
    """The cursor in a token; None for the first page.

    Raises:
        InvalidRequest: INVALID_PAGE_TOKEN: it was not made by `page_token_for` with this scope.
    """
    if not page_token:
        return None
    try:
        content = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        digest, cursor = content[:_SCOPE_BYTES], content[_SCOPE_BYTES:].decode()
    except (binascii.Error, ValueError):  # non-ASCII text, bad base64, bad UTF-8
        content, digest, cursor = b"", b"", ""
    # Nothing in a token is secret, so whoever forges one must get no further than a caller with an odd handle would.
    if (
        not cursor
        or "\x00" in cursor
        or len(content) > _SCOPE_BYTES + MAX_CURSOR_BYTES
        or digest != _scope_digest(scope)
    ):
        raise InvalidRequest(
            "page_token", "did not come from this call with these filters", reason="INVALID_PAGE_TOKEN"
        )
    return cursor


def _scope_digest(scope: tuple[str, ...]) -> bytes:
    digest = blake2b(digest_size=_SCOPE_BYTES)
    for part in scope:
        digest.update(len(part.encode()).to_bytes(4, "big") + part.encode())
    return digest.digest()

"""What becomes of a request, in one table: the specification that every framework is tested against.

Columns before the bar are what comes in; `*` is anything:
    transfer   how the token comes. Of "both", the header's is as the column `token` says and the cookie's is forged
    route      whether a session is required or optional
    method     GET stands for the safe methods, POST for the others
    anti-csrf  the policy's rule
    proof      what the request brings for it: the right header, another value, nothing
    token      what it is worth. "silent": it is good, and nobody can say so
Columns after the bar are the answer: its status, and its `reason` ("-": it has none); BODIES has the rest.
"""

from dataclasses import dataclass
from itertools import product

TABLE = """
transfer  route     method  anti-csrf      proof    token    | status  reason
none      required  *       *              *        *        | 401     NO_CREDENTIALS
none      optional  *       *              *        *        | 200     -

header    *         *       *              *        good     | 200     -
header    *         *       *              *        expired  | 401     EXPIRED
header    *         *       *              *        revoked  | 401     SESSION_REVOKED
header    *         *       *              *        forged   | 401     BAD_SIGNATURE
header    *         *       *              *        silent   | 503     VERIFICATION_UNAVAILABLE

both      *         *       *              *        good     | 200     -
both      *         *       *              *        expired  | 401     EXPIRED
both      *         *       *              *        revoked  | 401     SESSION_REVOKED
both      *         *       *              *        forged   | 401     BAD_SIGNATURE
both      *         *       *              *        silent   | 503     VERIFICATION_UNAVAILABLE

cookie    *         GET     *              *        good     | 200     -
cookie    *         GET     *              *        expired  | 401     EXPIRED
cookie    *         GET     *              *        revoked  | 401     SESSION_REVOKED
cookie    *         GET     *              *        forged   | 401     BAD_SIGNATURE
cookie    *         GET     *              *        silent   | 503     VERIFICATION_UNAVAILABLE

cookie    *         POST    NONE           *        good     | 200     -
cookie    *         POST    NONE           *        expired  | 401     EXPIRED
cookie    *         POST    NONE           *        revoked  | 401     SESSION_REVOKED
cookie    *         POST    NONE           *        forged   | 401     BAD_SIGNATURE
cookie    *         POST    NONE           *        silent   | 503     VERIFICATION_UNAVAILABLE

cookie    *         POST    CUSTOM_HEADER  nothing  *        | 403     CSRF_HEADER_MISSING
cookie    *         POST    CUSTOM_HEADER  right    good     | 200     -
cookie    *         POST    CUSTOM_HEADER  right    expired  | 401     EXPIRED
cookie    *         POST    CUSTOM_HEADER  right    revoked  | 401     SESSION_REVOKED
cookie    *         POST    CUSTOM_HEADER  right    forged   | 401     BAD_SIGNATURE
cookie    *         POST    CUSTOM_HEADER  right    silent   | 503     VERIFICATION_UNAVAILABLE
cookie    *         POST    CUSTOM_HEADER  other    good     | 200     -
cookie    *         POST    CUSTOM_HEADER  other    expired  | 401     EXPIRED
cookie    *         POST    CUSTOM_HEADER  other    revoked  | 401     SESSION_REVOKED
cookie    *         POST    CUSTOM_HEADER  other    forged   | 401     BAD_SIGNATURE
cookie    *         POST    CUSTOM_HEADER  other    silent   | 503     VERIFICATION_UNAVAILABLE

cookie    *         POST    TOKEN          nothing  *        | 401     ANTI_CSRF_MISMATCH
cookie    *         POST    TOKEN          other    good     | 401     ANTI_CSRF_MISMATCH
cookie    *         POST    TOKEN          other    revoked  | 401     ANTI_CSRF_MISMATCH
cookie    *         POST    TOKEN          right    good     | 200     -
cookie    *         POST    TOKEN          right    revoked  | 401     SESSION_REVOKED
cookie    *         POST    TOKEN          right    expired  | 401     EXPIRED
cookie    *         POST    TOKEN          other    expired  | 401     EXPIRED
cookie    *         POST    TOKEN          right    forged   | 401     BAD_SIGNATURE
cookie    *         POST    TOKEN          other    forged   | 401     BAD_SIGNATURE
cookie    *         POST    TOKEN          right    silent   | 503     VERIFICATION_UNAVAILABLE
cookie    *         POST    TOKEN          other    silent   | 503     VERIFICATION_UNAVAILABLE
"""

# By reason: `error` and `next_action`.
BODIES = {
    "NO_CREDENTIALS": ("missing_token", "REAUTHENTICATE"),
    "EXPIRED": ("invalid_token", "REFRESH"),
    "SESSION_REVOKED": ("invalid_token", "REAUTHENTICATE"),
    "BAD_SIGNATURE": ("invalid_token", "REAUTHENTICATE"),
    "ANTI_CSRF_MISMATCH": ("invalid_token", "REAUTHENTICATE"),
    "CSRF_HEADER_MISSING": ("csrf_refused", None),
    "VERIFICATION_UNAVAILABLE": ("temporarily_unavailable", "RETRY"),
}

VALUES = (
    ("none", "header", "cookie", "both"),
    ("required", "optional"),
    ("GET", "POST"),
    ("TOKEN", "CUSTOM_HEADER", "NONE"),
    ("right", "other", "nothing"),
    ("good", "expired", "revoked", "forged", "silent"),
)


@dataclass(frozen=True)
class Case:
    """One row, or what one row stands for, with every `*` a value."""

    transfer: str
    route: str
    method: str
    anti_csrf: str
    proof: str
    token: str


@dataclass(frozen=True)
class Row:
    """One row of the table. `reason` None: the request is let through."""

    pattern: tuple[str, ...]
    status: int
    reason: str | None

    def __str__(self) -> str:
        return " ".join(self.pattern)

    def cases(self) -> list[Case]:
        """All that it stands for."""
        choices = ((given,) if given != "*" else values for given, values in zip(self.pattern, VALUES, strict=True))
        return [Case(*chosen) for chosen in product(*choices)]


def rows() -> list[Row]:
    """The table's rows."""
    found: list[Row] = []
    for line in TABLE.strip().splitlines()[1:]:
        if line:
            given, _, answer = line.partition("|")
            status, reason = answer.split()
            found.append(Row(tuple(given.split()), int(status), None if reason == "-" else reason))
    return found


ROWS = rows()

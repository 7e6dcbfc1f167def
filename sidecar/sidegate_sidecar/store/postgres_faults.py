"""What a fault of a PostgreSQL server is called. Without the server's words and the URL: both can hold secrets."""

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from sidegate_sidecar.errors import StoreUnavailable

# By SQLSTATE, the longest prefix first. PostgreSQL's manual, appendix A.
_WORDINGS = {
    "0A000": "cannot do what this needs; the primary is needed, and of a pooler store_transaction_pooler has to say so",
    "25006": "is a standby, or only reads; the primary is needed",
    "3D000": "does not exist: there is no such database on the server",
    "3F000": "has no schema yet; make one with `sidegate migrate`",
    "42883": "has no schema yet, or an older one; bring it up to date with `sidegate migrate`",
    "42P01": "has no schema yet, or an older one; bring it up to date with `sidegate migrate`",
    "42501": "denies its user what this needs; docs/postgresql-roles.sql grants it",
    "55P03": "is in use by a transaction that has been open for long; end it (pg_stat_activity has it) and try again",
    "53100": "has no space left on its disk",
    "53300": "has no connection free",
    "57014": "did not answer in time",
    "57P01": "is shutting down",
    "57P03": "is starting up or shutting down",
    "25P03": "did not hear from this sidecar in time",
    "40": "could not complete the transaction beside others",
    "28": "refuses the user or the password of store_url",
    "08": "broke the connection off",
}


def unavailable(fault: BaseException) -> StoreUnavailable:
    """The error that a caller gets in the fault's place. The fault is to become its cause."""
    if isinstance(fault, asyncpg.PostgresError):
        # Those that the driver raises by itself have a code too.
        code = fault.sqlstate or ""
        for prefix, wording in _WORDINGS.items():
            if code.startswith(prefix):
                return StoreUnavailable(f"The session store {wording}.")
        return StoreUnavailable(f"The session store failed with SQLSTATE {code}.")
    if isinstance(fault, TargetServerAttributeNotMatched):
        return StoreUnavailable(f"The session store {_WORDINGS['25006']}.")
    if isinstance(fault, TimeoutError):
        return timed_out()
    if isinstance(fault, OSError):
        return StoreUnavailable("The session store cannot be reached.")
    return StoreUnavailable("The session store failed.")


def timed_out() -> StoreUnavailable:
    """Nothing was heard of it."""
    return StoreUnavailable("The session store did not answer in time.")

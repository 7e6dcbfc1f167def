"""Who the call at hand is made by, for the audit trail."""

from contextvars import ContextVar

LOCAL_ACTOR = "local-socket"  # a listener without authentication is reachable by its owner alone

ACTOR: ContextVar[str] = ContextVar("actor", default=LOCAL_ACTOR)
"""Set before a handler is called, in the task that is the call's own."""

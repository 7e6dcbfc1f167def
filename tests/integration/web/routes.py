"""What the tests' routes have in common, whatever the framework."""

from typing import TypeAlias

from sidegate import Session

User: TypeAlias = dict[str, str | None]


def user_of(session: Session | None) -> User:
    """What a route answers that was let through."""
    return {"user": None if session is None else session.user_id}


def is_ada(session: Session) -> bool:
    """A requirement."""
    return session.user_id == "ada"

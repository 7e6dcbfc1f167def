"""What a route requires of a session's claims. Pure."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

from sidegate.integrations.refusals import ClaimRequirementFailed
from sidegate.verdicts import Session

ClaimValue: TypeAlias = str | int | float | bool


class Predicate(Protocol):
    """A function that says yes or no of a session.

    A protocol and no Callable: FastAPI takes a Callable for something that a request may hold. So it would accept
    `Depends(verify_session)`, which is short of two parentheses and checks nothing, and `Depends(get_session)`, whose
    arguments it would read from the query: `?session_required=false`. Of a protocol it says that it cannot.
    """

    def __call__(self, session: Session, /) -> bool:
        """Whether the session will do."""
        ...


Requirement: TypeAlias = Mapping[str, ClaimValue] | Predicate
"""Claims by name: each must equal the value, or be a list that holds it. Or a function that says yes or no."""

Requirements: TypeAlias = Requirement | Sequence[Requirement]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to check of a session. `name` is the claim's, or the function's."""

    name: str
    is_met: Callable[[Session], object]


def checks(require: Requirements) -> tuple[Check, ...]:
    """All that is to be met, in order.

    Raises:
        TypeError: One is neither a mapping of plain values nor a plain function. A coroutine would be as good as True.
    """
    # Of a union with Callable no type checker can tell what isinstance leaves: anything callable may be a Mapping too.
    wanted: Any = require
    if isinstance(wanted, Mapping):
        claims = cast("Mapping[str, object]", wanted)
        return tuple(_claim_check(claim, value) for claim, value in claims.items())
    if callable(wanted):
        if inspect.iscoroutinefunction(wanted):
            raise TypeError("a requirement must be a function, not a coroutine function")
        return (Check(getattr(wanted, "__name__", type(wanted).__name__), wanted),)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return tuple(check for one in cast("Sequence[Requirement]", wanted) for check in checks(one))
    raise TypeError("require must be a mapping of claims, a function from a session to a bool, or several of them")


def check_session(wanted: Sequence[Check], session: Session) -> None:
    """Raises:
    ClaimRequirementFailed: The first that is not met.
    TypeError: A function answered with something else than a bool.
    """
    for check in wanted:
        met: object = check.is_met(session)
        if not isinstance(met, bool):
            raise TypeError(f"the requirement {check.name!r} must answer with a bool, not {type(met).__name__}")
        if not met:
            raise ClaimRequirementFailed(check.name)


def _claim_check(claim: str, value: object) -> Check:
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"require[{claim!r}] must be a str, a number or a bool")
    return Check(claim, lambda session: _holds(session.claims.get(claim), value))


def _holds(claim: object, value: ClaimValue) -> bool:
    """Whether a claim equals the value, or is a list that holds it."""
    candidates = cast("list[object]", claim) if isinstance(claim, list) else [claim]
    # JSON's true is not 1, but Python's True == 1.
    return any(
        isinstance(candidate, bool) is isinstance(value, bool) and candidate == value for candidate in candidates
    )

"""How verifications end, counted."""

import asyncio
from collections.abc import Mapping

from sidegate_sidecar.errors import (
    BatchBudgetSpent,
    ForeignRevision,
    IndexNotLoaded,
    IndexTooOld,
    KeysUnavailable,
    RequestRefused,
    RevisionNotReached,
    StoreUnavailable,
    Undecided,
)
from sidegate_sidecar.model import Reason, Session, Verdict

VALID = "valid"
CANCELLED = "CANCELLED"  # the caller has gone, or the call's time was up: nobody was told
INTERNAL = "INTERNAL"
NO_VERDICT = (
    KeysUnavailable.reason,
    IndexNotLoaded.reason,
    StoreUnavailable.reason,
    RevisionNotReached.reason,
    ForeignRevision.reason,
    IndexTooOld.reason,
    BatchBudgetSpent.reason,
    # And where the request itself was at fault, or sidegate.
    "INVALID_FIELD",
    "STORE_NOT_CONFIGURED",
    CANCELLED,
    INTERNAL,
)
"""The names of `ErrorReason` in errors.proto that a verification can end with, and CANCELLED."""


class VerificationCounts:
    """How often a verification has ended in each way since the start. Every way is there from the beginning, with 0."""

    def __init__(self) -> None:
        self._by_outcome: dict[str, int] = dict.fromkeys((VALID, *Reason, *NO_VERDICT), 0)

    def add(self, result: Verdict | BaseException, verifications: int = 1) -> None:
        """Count a verdict, or what came in its place; of a batch that ends as a whole, once for each item."""
        if isinstance(result, Verdict):
            outcome = result.outcome
            self._by_outcome[VALID if isinstance(outcome, Session) else outcome.reason] += verifications
        else:
            self._by_outcome[self._name(result)] += verifications

    def by_outcome(self) -> Mapping[str, int]:
        """`valid`, a name of `RejectionReason`, or one of NO_VERDICT; each with its count."""
        return self._by_outcome

    def _name(self, failure: BaseException) -> str:
        match failure:
            case asyncio.CancelledError():
                return CANCELLED
            case Undecided() | RequestRefused() if failure.reason in self._by_outcome:
                return failure.reason
            case _:
                return INTERNAL

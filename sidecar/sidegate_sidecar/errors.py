"""The exceptions. Three branches: a verdict, no verdict, and a request that makes no sense.

`reason` of the last two is a name of `ErrorReason` in protos/sidegate/v1/errors.proto, without its prefix; which gRPC
status each becomes is decided in `rpc` alone.
"""

from collections.abc import Mapping

from sidegate_sidecar.model import NextAction, Reason


class SidegateError(Exception):
    """Whatever sidegate raises on purpose."""


class Rejected(SidegateError):
    """A verdict: the token is not good. Everything in it may be shown to the caller.

    Args:
        reason: Why.
        message: One sentence for a developer. Never holds the token or a claim's value.
        next_action: What the holder can do; absent, what the reason implies.
    """

    def __init__(self, reason: Reason, message: str, *, next_action: NextAction | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.next_action = next_action or (
            NextAction.REFRESH if reason is Reason.EXPIRED else NextAction.REAUTHENTICATE
        )


class Undecided(SidegateError):
    """No verdict: we could not find out. Never evidence about the token. The message may be shown to the caller."""

    reason: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class KeysUnavailable(Undecided):
    """No usable keys of the issuer, or it could not be asked for one that it may have added."""

    reason = "KEYS_UNAVAILABLE"


class IndexNotLoaded(Undecided):
    """The revocation index has not loaded once; an empty one would accept everything that was revoked."""

    reason = "INDEX_NOT_LOADED"


class StoreUnavailable(Undecided):
    """The store did not answer, or not in time. A write may or may not have happened.

    The only exception that a store lets out for a fault of its own; the driver's rides along as `__cause__`.
    """

    reason = "STORE_UNAVAILABLE"


class RevisionNotReached(Undecided):
    """The state asked for could not be reached in time."""

    reason = "REVISION_NOT_REACHED"


class ForeignRevision(Undecided):
    """The revision belongs to another store."""

    reason = "FOREIGN_REVISION"


class IndexTooOld(Undecided):
    """The revocation index is older than this sidecar may trust it: what was revoked since would be accepted."""

    reason = "INDEX_TOO_OLD"


class ShuttingDown(Undecided):
    """The sidecar is ending what would otherwise go on for ever."""

    reason = "SHUTTING_DOWN"


class Shed(Undecided):
    """Too much to do; what is refused now could be decided later. Back off before asking again."""

    reason = "OVERLOADED"


class BatchBudgetSpent(Shed):
    """The batch held the event loop for as long as one may before this item's turn came."""

    reason = "BATCH_BUDGET_SPENT"

    def __init__(self) -> None:
        super().__init__("the batch spent its CPU budget before this item's turn")


class RequestRefused(SidegateError):
    """The request itself cannot be served as it stands, whatever is up or down.

    Args:
        message: One sentence that tells the caller what to change.
        reason: A name of `ErrorReason`.
        metadata: What the reason's comment in errors.proto promises.
    """

    def __init__(self, message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})


class InvalidRequest(RequestRefused):
    """A field is unusable; `metadata["field"]` says which, as a path from the request."""

    def __init__(self, field: str, problem: str, *, reason: str = "INVALID_FIELD", **metadata: str) -> None:
        super().__init__(f"{field}: {problem}", reason=reason, metadata={"field": field, **metadata})


class NotFound(RequestRefused):
    """What was asked for does not exist."""


class PreconditionFailed(RequestRefused):
    """The state of the store, or how the sidecar is configured, forbids it."""


class NotSupported(RequestRefused):
    """This sidecar cannot do that, as it is built or configured."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="NOT_SUPPORTED")


class AccessRefused(RequestRefused):
    """The caller may not do this. They are told no more: `cause` is for the audit log.

    Args:
        message: What the caller is told.
        reason: A name of `ErrorReason`.
        cause: What was missing.
        actor: Who it was. Empty: not known.
    """

    def __init__(
        self, message: str, *, reason: str, cause: str, actor: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.cause = cause
        self.actor = actor


class Unauthenticated(AccessRefused):
    """Nobody knows who is calling."""

    def __init__(self, cause: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__("the caller is not authenticated", reason="UNAUTHENTICATED", cause=cause, metadata=metadata)


class PermissionDenied(AccessRefused):
    """The caller is known, and has no role for this."""

    def __init__(self, cause: str, *, actor: str) -> None:
        super().__init__(
            "the caller has no role for this RPC on this issuer and tenant",
            reason="PERMISSION_DENIED",
            cause=cause,
            actor=actor,
        )


class StartupError(SidegateError):
    """The sidecar cannot start as it is configured. The message tells an operator what to change."""


class ListenerUnavailable(StartupError):
    """It cannot listen where it should."""

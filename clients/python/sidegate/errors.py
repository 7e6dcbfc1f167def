"""The exceptions. A verdict (SessionRejected), no answer (…Unavailable), and a request that cannot be served.

None of them ever holds a token. All can be pickled, so they cross process pools and task queues.
"""

from collections.abc import Mapping

from sidegate.verdicts import Evidence, NextAction, Rejection, RejectionReason


class SidegateError(Exception):
    """Whatever the client raises on purpose, mistakes in calling it (TypeError, ValueError, RuntimeError) aside."""


class SessionRejected(SidegateError):
    """A verdict: the token is not good. Everything in it may be shown to the caller.

    Attributes:
        rejection: Why.
        evidence: What the verdict rests on. None: sign_out, whose answer carries none.
    """

    def __init__(self, rejection: Rejection, evidence: Evidence | None = None) -> None:
        super().__init__(rejection, evidence)
        self.rejection = rejection
        self.evidence = evidence

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def reason(self) -> RejectionReason:
        """Why the token was refused."""
        return self.rejection.reason

    @property
    def next_action(self) -> NextAction:
        """What its holder can do."""
        return self.rejection.next_action

    @property
    def message(self) -> str:
        """One sentence for a developer."""
        return self.rejection.message


class ClientClosed(SidegateError):
    """The client was closed, before the call or while it was under way. The outcome of a write is then unknown."""


class ForkUnsupported(SidegateError):
    """This process was forked from one in which gRPC was running in a way that no child survives: a call would hang.

    That is so if the parent had used a client, and GRPC_ENABLE_FORK_SUPPORT is 0 or an asyncio client's event loop was
    not closed.
    """


class CredentialsUnavailable(SidegateError):
    """The client's own certificate, key or token cannot be read. Nothing was sent."""


class CallFailed(SidegateError):
    """An RPC that ended in an error.

    Attributes:
        message: One sentence for a developer.
        code: The gRPC status code's name, e.g. "UNAVAILABLE".
        reason: A name of `ErrorReason` in errors.proto, without its prefix. None: the error is not sidegate's own,
            e.g. the sidecar could not be reached.
        metadata: What errors.proto promises for that reason.
    """

    def __init__(
        self,
        message: str,
        *,
        # The defaults are for unpickling, which passes the message and sets the rest afterwards.
        code: str = "UNKNOWN",
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        return f"{self.reason or self.code}: {self.message}"

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed a little later. After RESOURCE_EXHAUSTED and CANCELLED, back off first."""
        # CANCELLED: by gRPC itself, in a sidecar that shuts down or has no CPU left.
        return self.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}

    @property
    def field(self) -> str | None:
        """The path of the field at fault, e.g. "requests[3].user_id". None: the error names none."""
        return self.metadata.get("field")


class VerificationUnavailable(CallFailed):
    """No verdict could be had. Never evidence about the token: answer 503, do not log the user out.

    `retryable` is False where asking again is no use: this sidecar cannot ever say, e.g. for want of a store.
    """


class RevocationUnavailable(CallFailed):
    """The admin service gave no answer. The outcome of a write is unknown.

    Attributes:
        request_id: What the failed revoke went by. Calling again with it is safe: a revocation that did happen is
            answered as it was the first time. None: the call takes none; all of those can be repeated as they are.
    """

    request_id: str | None = None


class InvalidRequest(CallFailed):
    """The request itself, not the token, cannot be used. `field` says where, `reason` why."""


class SessionNotRegistered(CallFailed):
    """Nobody registered a session of that handle."""


class PreconditionFailed(CallFailed):
    """What the store holds, or how the sidecar is configured, forbids it. `reason` says why."""


class NotSupported(CallFailed):
    """This sidecar cannot do that, as it is built or configured."""


class Unauthenticated(CallFailed):
    """The sidecar does not know who is calling."""


class PermissionDenied(CallFailed):
    """The caller has no role for this call on this issuer and tenant."""

"""One RPC as a value: what to send, how its answer reads and what its failure means. Both kinds of client run these."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from sidegate.errors import InvalidRequest, SidegateError
from sidegate.failures import Failure

MAX_MESSAGE_BYTES = 5 * 1024 * 1024  # the sidecar's own limit: 256 tokens of 16 KiB and their envelopes

MessageT = TypeVar("MessageT", bound=Message)
ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")

Explanation: TypeAlias = Callable[[Failure], SidegateError]


class UnreadableAnswer(Exception):
    """An answer that breaks the contract, e.g. a verdict of neither kind. Becomes the call's own kind of failure."""


@dataclass(frozen=True, slots=True)
class Call(Generic[ResultT]):
    """One RPC, ready to be sent.

    Attributes:
        path: The method as HTTP/2 spells it, e.g. "/sidegate.v1.VerificationService/Verify".
        request: The serialized request.
        read: Turns the serialized response into what the caller gets.
        explain: Turns a failure into what the caller catches.
    """

    path: str
    request: bytes = field(repr=False)  # may hold a token
    read: Callable[[bytes], ResultT]
    explain: Explanation

    def result(self, answer: bytes) -> ResultT:
        """What the caller gets for that answer. Raises: what `explain` makes of an answer that cannot be read."""
        try:
            return self.read(answer)
        except (DecodeError, UnreadableAnswer) as error:
            message = str(error) if isinstance(error, UnreadableAnswer) else "the sidecar's answer cannot be parsed"
            raise self.explain(Failure("INTERNAL", message)) from error


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """A part of a list, and the call for the part after it. None: this was the last."""

    items: tuple[ItemT, ...]
    following: "Call[Page[ItemT]] | None"


def call(
    path: str,
    request: Message,
    response_type: type[MessageT],
    read: Callable[[MessageT], ResultT],
    explain: Explanation,
) -> Call[ResultT]:
    """A call of `path`. Raises: InvalidRequest, if the request is larger than the sidecar accepts."""
    payload = request.SerializeToString()
    if len(payload) > MAX_MESSAGE_BYTES:
        # Sent, it would come back as RESOURCE_EXHAUSTED, which reads as "try again later".
        raise InvalidRequest(
            f"the request has {len(payload)} bytes; the limit is {MAX_MESSAGE_BYTES}",
            code="INVALID_ARGUMENT",
            reason="INVALID_FIELD",
        )
    return Call(path, payload, lambda answer: read(response_type.FromString(answer)), explain)

"""A sidecar's end of the wire, as far as batching can see it: calls come in, and a test says what becomes of each.

The answer to a question is a session of the user whom the token names, so that a mix-up shows.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate import Session, Verdict
from sidegate.calls import Call
from sidegate.v1 import session_pb2
from sidegate.v1.verification_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    BatchVerifyResult,
    VerifyRequest,
    VerifyResponse,
)

ResultT = TypeVar("ResultT")

PATIENCE_SECONDS = 60.0  # only what never comes takes this long


def answer_to(question: VerifyRequest) -> VerifyResponse:
    """The session that a token is good for."""
    return VerifyResponse(session=session_pb2.Session(user_id=question.access_token))


def user_of(verdict: Verdict) -> str:
    """Whose session it is: the token that was asked about."""
    assert isinstance(verdict.outcome, Session)
    return verdict.outcome.user_id


def error_of(code: int, reason: str, metadata: Mapping[str, str] | None = None) -> Status:
    """What an item of a batch fails with."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain="sidegate.dev", metadata=dict(metadata or {})))
    return Status(code=code, message="so it was scripted", details=[detail])


@dataclass(eq=False)
class Arrival:
    """A call that came in.

    Attributes:
        tokens: Of its questions, in order.
        is_batch: Whether it is a BatchVerify.
        seconds: How long it may take.
    """

    path: str
    request: bytes = field(repr=False)
    seconds: float

    @property
    def is_batch(self) -> bool:
        return self.path.endswith("/BatchVerify")

    @property
    def questions(self) -> list[VerifyRequest]:
        if self.is_batch:
            return list(BatchVerifyRequest.FromString(self.request).requests)
        return [VerifyRequest.FromString(self.request)]

    @property
    def tokens(self) -> list[str]:
        return [question.access_token for question in self.questions]

    def answer(self, errors: Mapping[str, Status] | None = None) -> bytes:
        """What the sidecar sends back; an item of a batch whose token is among `errors` fails with that."""
        if not self.is_batch:
            return answer_to(self.questions[0]).SerializeToString()
        return BatchVerifyResponse(
            results=[
                BatchVerifyResult(error=(errors or {})[question.access_token])
                if question.access_token in (errors or {})
                else BatchVerifyResult(response=answer_to(question))
                for question in self.questions
            ]
        ).SerializeToString()


class AsyncWire:
    """Holds every call until a test lets it go."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._ends: dict[Arrival, asyncio.Future[bytes]] = {}
        self._arrived = asyncio.Event()

    async def run(self, call: Call[ResultT], timeout: float | None) -> ResultT:
        """What a client's `_run` does."""
        assert timeout is not None
        arrival = Arrival(call.path, call.request, timeout)
        self.arrivals.append(arrival)
        self._ends[arrival] = asyncio.get_running_loop().create_future()
        self._arrived.set()
        return call.result(await self._ends[arrival])

    async def arrival(self, position: int) -> Arrival:
        """The call of that position, as soon as it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.arrivals) <= position:
                self._arrived.clear()
                await self._arrived.wait()
        return self.arrivals[position]

    def answer(self, arrival: Arrival, errors: Mapping[str, Status] | None = None) -> None:
        self._ends[arrival].set_result(arrival.answer(errors))

    def answer_with(self, arrival: Arrival, answer: bytes) -> None:
        self._ends[arrival].set_result(answer)

    def fail(self, arrival: Arrival, error: Exception) -> None:
        self._ends[arrival].set_exception(error)

    def is_open(self, arrival: Arrival) -> bool:
        """Whether it is still to be answered."""
        return not self._ends[arrival].done()

    def was_cancelled(self, arrival: Arrival) -> bool:
        return self._ends[arrival].cancelled()


class BlockingWire:
    """Likewise for threads."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._changed = threading.Condition()
        self._ends: dict[Arrival, Callable[[], bytes]] = {}

    def run(self, call: Call[ResultT], timeout: float | None) -> ResultT:
        """What a client's `_run` does."""
        assert timeout is not None
        arrival = Arrival(call.path, call.request, timeout)
        with self._changed:
            self.arrivals.append(arrival)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: arrival in self._ends, PATIENCE_SECONDS)
        return call.result(self._ends[arrival]())

    def arrival(self, position: int) -> Arrival:
        """The call of that position, as soon as it is there."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.arrivals) > position, PATIENCE_SECONDS)
            return self.arrivals[position]

    def answer(self, arrival: Arrival, errors: Mapping[str, Status] | None = None) -> None:
        self._end(arrival, lambda: arrival.answer(errors))

    def fail(self, arrival: Arrival, error: BaseException) -> None:
        def end() -> bytes:
            raise error

        self._end(arrival, end)

    def _end(self, arrival: Arrival, end: Callable[[], bytes]) -> None:
        with self._changed:
            self._ends[arrival] = end
            self._changed.notify_all()

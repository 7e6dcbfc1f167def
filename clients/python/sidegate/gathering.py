"""Which questions leave together, and when. Pure: knows no gRPC, no thread and no event loop, and has no clock.

While a batch is in flight the next questions gather; when it returns they leave as one. Most of what a verification
costs is the call itself, so a crowd is served many times faster. Whoever comes alone leaves at once, at no cost.

A call that takes long does not hold up the next: it may be waiting for a signing key on behalf of one of its questions.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeAlias, TypeVar

from sidegate import verification_calls
from sidegate.calls import Call
from sidegate.errors import CallFailed, SidegateError, VerificationUnavailable
from sidegate.failures import Failure, verification_error
from sidegate.targets import Target
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import Verdict

MAX_BATCH = 256  # verification.proto: BatchVerify
MAX_WAITING = 4096  # 16 batches, 0.2 s of work at 20,000 verifications a second: who comes later would not be served
MAX_IN_FLIGHT = 8  # slow calls included; each holds one of the 128 streams that a sidecar gives a connection
SLOW_SECONDS = 0.025  # several times what a full batch takes on a busy machine, and far below a wait for a key (500 ms)

MAX_AUDIENCES = 64  # verification.proto: accepted_audiences
MAX_SHARED_BYTES = 18 * 1024  # a token of 16 KiB and what usually goes with it; 256 of them fit into one message

_LEAST_SECONDS = 0.001

_MAX_ATTEMPTS = 3  # like a Verify by itself, which gRPC repeats as the channel's service config says
_PAUSES_SECONDS = (0.05, 0.15)

CallerT = TypeVar("CallerT")


def may_share(question: VerifyRequest) -> bool:
    """Whether a question may travel with others. One that the sidecar cannot take would have it refuse them all."""
    return len(question.accepted_audiences) <= MAX_AUDIENCES and question.ByteSize() <= MAX_SHARED_BYTES


@dataclass(frozen=True, slots=True)
class Failed:
    """How the call that a question travelled in ended, gRPC's own retries included."""

    error: BaseException


Outcome: TypeAlias = Verdict | SidegateError | Failed
"""What becomes of a question: its verdict, what it alone failed with, or the end of the whole call."""


def seconds_until(deadline: float, now: float) -> float:
    """What a call may take. More than nothing, for what is late when it leaves fails by its deadline."""
    return max(deadline - now, _LEAST_SECONDS)


def expired(target: Target) -> Failed:
    """What a caller gets whose own time is up, whatever becomes of the call."""
    call = verification_calls.VERIFY
    return Failed(verification_error(target.located(Failure("DEADLINE_EXCEEDED", "no answer in time"), call)))


@dataclass(slots=True, eq=False)
class Item(Generic[CallerT]):
    """One question on its way.

    Attributes:
        question: What is asked.
        deadline: When its caller gives up, by the clock of whoever drives the lane.
        caller: Whatever the driver knows the caller by.
    """

    question: VerifyRequest
    deadline: float
    caller: CallerT


@dataclass(slots=True, eq=False)
class Batch(Generic[CallerT]):
    """Questions that leave together: at least one.

    Attributes:
        items: In the order in which they came.
    """

    items: list[Item[CallerT]]

    @property
    def most_patient(self) -> Item[CallerT]:
        """Whose deadline is the batch's. Of several the last, who has waited least."""
        return max(reversed(self.items), key=lambda item: item.deadline)

    def seconds_left(self, now: float) -> float:
        """What its call may take."""
        return seconds_until(self.most_patient.deadline, now)

    def call(self) -> Call[list[Verdict | SidegateError]]:
        """The call that asks its questions. One alone is a plain Verify."""
        if len(self.items) > 1:
            return verification_calls.verify_together([item.question for item in self.items])
        alone = verification_calls.verify(self.items[0].question)
        return Call(alone.path, alone.request, lambda answer: [alone.read(answer)], alone.explain)

    def failed(self, error: BaseException) -> list[Failed]:
        """The end of its call for each of its questions: an exception of its own, for raising one changes it."""
        return [Failed(_copy_of(error)) for _ in self.items]


class Lane(Generic[CallerT]):
    """The questions of one kind: those that wait, and the calls in flight. Not safe for threads by itself.

    Args:
        max_prompt: How many batches may be in flight that have not become slow.
    """

    def __init__(self, max_prompt: int = 1) -> None:
        self._max_prompt = max_prompt
        self._waiting: dict[Item[CallerT], None] = {}  # in order, and any of them may leave early
        self._in_flight: dict[object, float] = {}  # when each left, in order of departure

    def join(self, item: Item[CallerT]) -> None:
        """Wait for the next batch. Raises: VerificationUnavailable, if too many wait already."""
        if len(self._waiting) >= MAX_WAITING:
            raise VerificationUnavailable(f"{MAX_WAITING} calls of this client wait already", code="RESOURCE_EXHAUSTED")
        self._waiting[item] = None

    def withdraw(self, item: Item[CallerT]) -> None:
        """Wait no more. Does nothing to an item that has left."""
        self._waiting.pop(item, None)

    @property
    def has_waiting(self) -> bool:
        """Whether anybody waits for the next batch."""
        return bool(self._waiting)

    def depart_alone(self, now: float) -> object | None:
        """Leave without having joined, where nobody waits and nothing prompt is in flight: what to tell `arrive`.

        None: join. Whoever does so after a departure alone need not wait for it: they may have asked at one moment.
        """
        if self._waiting:
            return None
        if self._in_flight and (
            len(self._in_flight) >= MAX_IN_FLIGHT
            or any(now - sent_at < SLOW_SECONDS for sent_at in self._in_flight.values())
        ):
            return None
        departure = object()
        self._in_flight[departure] = now
        return departure

    def depart(self, now: float) -> Batch[CallerT] | None:
        """The batch that leaves now, if one may. The caller sends it, and tells `arrive` when it is back."""
        if not self._may_depart(now):
            return None
        items = list(islice(self._waiting, MAX_BATCH))
        for item in items:
            del self._waiting[item]
        batch = Batch(items)
        self._in_flight[batch] = now
        return batch

    def arrive(self, departed: object) -> None:
        """What left is back, or nobody waits for it any more."""
        self._in_flight.pop(departed, None)

    def take_back(self, batch: Batch[CallerT], *, without: Item[CallerT]) -> None:
        """The batch is not sent, or nobody will know what came of it: its other items are the next to leave."""
        self.arrive(batch)
        others = {item: None for item in batch.items if item is not without}
        self._waiting = others | self._waiting

    def next_departure(self, now: float) -> float | None:
        """When a batch may leave at the latest although none has come back. None: it has to wait for one to."""
        if not self._waiting or len(self._in_flight) >= MAX_IN_FLIGHT:
            return None
        prompt = [
            sent_at
            for departed, sent_at in self._in_flight.items()
            if isinstance(departed, Batch) and now - sent_at < SLOW_SECONDS
        ]
        return now if len(prompt) < self._max_prompt else prompt[-self._max_prompt] + SLOW_SECONDS

    def _may_depart(self, now: float) -> bool:
        departure = self.next_departure(now)
        return departure is not None and departure <= now


class Attempts:
    """How often one question was asked, and whether to ask again. For answers within a batch: gRPC repeats only calls.

    Args:
        deadline: When its caller gives up.
        spread: A random number from 0 to 1.
    """

    def __init__(self, deadline: float, spread: Callable[[], float] = random.random) -> None:
        self._deadline = deadline
        self._spread = spread
        self._failed = 0

    def pause_after(self, failure: Exception, now: float) -> float | None:
        """Seconds to wait before asking again. None: that was the answer."""
        if not isinstance(failure, CallFailed):
            return None
        if failure.reason == "BATCH_BUDGET_SPENT":  # by its neighbours; the sidecar answers some of every batch
            return 0.0 if now < self._deadline else None
        if failure.code != "UNAVAILABLE":
            return None
        self._failed += 1
        if self._failed == _MAX_ATTEMPTS:
            return None
        pause = _PAUSES_SECONDS[self._failed - 1] * (
            0.8 + 0.4 * self._spread()
        )  # gRPC's own jitter: a fifth either way
        return pause if now + pause < self._deadline else None


def _copy_of(error: BaseException) -> BaseException:
    if not isinstance(error, SidegateError):  # a fault of ours or of the caller's; it need not allow copies
        return error
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied

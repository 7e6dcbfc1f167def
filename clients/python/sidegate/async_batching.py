"""Micro-batching for asyncio: the questions of one turn of the loop leave together, and so do those that arrive while a
batch is in flight. Where nothing is, the first is sent by its own caller, as without batching: no task, no future, no
timer.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from sidegate import verification_calls
from sidegate.calls import Call
from sidegate.errors import SidegateError, VerificationUnavailable
from sidegate.gathering import (
    Attempts,
    Batch,
    Failed,
    Item,
    Lane,
    Outcome,
    expired,
    seconds_until,
)
from sidegate.lanes import Lanes
from sidegate.targets import Target
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import Verdict

ResultT = TypeVar("ResultT")

_Answers: TypeAlias = list[Verdict | SidegateError]


class Run(Protocol):
    """Sends a call and waits for its result, for so many seconds. Cancelling it cancels the call."""

    def __call__(self, call: Call[ResultT], timeout: float | None) -> Coroutine[Any, Any, ResultT]:
        """What came of it."""
        ...


class AsyncBatching:
    """Asks questions in company. Belongs to the event loop in which it was made.

    Args:
        target: For messages.
    """

    def __init__(self, target: Target) -> None:
        self.loop = asyncio.get_running_loop()
        self._lanes = Lanes(partial(_Lane, self.loop, target))

    async def ask(self, question: VerifyRequest, seconds: float, run: Run) -> Verdict:
        """The verdict. Raises: what `verify` does.

        Args:
            run: Sends calls. Handed in, because a client that this object held would be collected late.
        """
        now = self.loop.time()
        deadline = now + seconds
        lane = self._lanes.lane_of(question)
        attempts: Attempts | None = None
        while True:
            outcome = await lane.ask(question, now, deadline, run)
            if isinstance(outcome, Verdict):
                self._lanes.learn(lane, question, outcome)
                return outcome
            if isinstance(outcome, Failed):
                raise outcome.error
            attempts = attempts or Attempts(deadline)
            pause = attempts.pause_after(outcome, self.loop.time())
            if pause is None:
                raise outcome
            await asyncio.sleep(pause)
            now = self.loop.time()


class _Journey:
    """A batch in flight: the task that carries it, and how many callers still wait for it."""

    def __init__(self, aboard: int) -> None:
        self.aboard = aboard
        self.task: asyncio.Task[_Answers] | None = None

    def get_off(self) -> None:
        self.aboard -= 1
        if not self.aboard and self.task is not None:
            self.task.cancel()


class _Caller:
    """A task that waits. `journey` is None until its question has left."""

    def __init__(self, outcome: "asyncio.Future[Outcome]", run: Run) -> None:  # Future[…] is for type checkers alone
        self.outcome = outcome
        self.run = run
        self.journey: _Journey | None = None

    def take(self, outcome: Outcome) -> None:
        # Never an exception: of one that nobody is left to retrieve, asyncio would complain.
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class _Lane:
    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target) -> None:
        self._loop = loop
        self._target = target
        self._lane: Lane[_Caller] = Lane()
        self._departure: asyncio.Handle | None = None
        self._deadlines: dict[_Caller, float] = {}  # of those who wait for an outcome
        # One timer for all: to set one and cancel it costs as much as the rest of waiting.
        self._expiry: asyncio.TimerHandle | None = None

    async def ask(self, question: VerifyRequest, now: float, deadline: float, run: Run) -> Outcome:
        """What becomes of a question. Raises: what its call fails with, if it travels alone."""
        # Where a departure is due, others have just been answered and are about to ask again.
        departure = self._lane.depart_alone(now) if self._departure is None else None
        if departure is None:
            return await self._ask_together(question, deadline, run)
        try:
            return await run(verification_calls.verify(question), seconds_until(deadline, now))
        finally:
            self._lane.arrive(departure)
            if self._lane.has_waiting:
                self._depart_soon()

    async def _ask_together(self, question: VerifyRequest, deadline: float, run: Run) -> Outcome:
        caller = _Caller(self._loop.create_future(), run)
        item = Item(question, deadline, caller)
        self._lane.join(item)
        if self._departure is None:
            self._depart_soon()
        self._expire_at(deadline)
        self._deadlines[caller] = deadline
        is_answered = False
        try:
            outcome = await caller.outcome
            is_answered = not isinstance(outcome, Failed)
            return outcome
        finally:
            del self._deadlines[caller]
            if not is_answered:
                self._lane.withdraw(item)
                if caller.journey is not None:
                    caller.journey.get_off()

    def _expire_at(self, deadline: float) -> None:
        """Come back by that time at the latest."""
        if self._expiry is not None:
            if self._expiry.when() <= deadline:
                return
            self._expiry.cancel()
        self._expiry = self._loop.call_at(deadline, self._expire, deadline)

    def _expire(self, due: float) -> None:
        """Tell those whose time is up, and come back for the others."""
        self._expiry = None
        now = max(due, self._loop.time())  # a timer may be early by the clock's resolution
        for caller, deadline in self._deadlines.items():
            if deadline <= now:
                caller.take(expired(self._target))
        later = [deadline for deadline in self._deadlines.values() if deadline > now]
        if later:
            self._expire_at(min(later))

    def _depart_soon(self) -> None:
        """Depart at the end of this turn: others may ask in it, and whoever has an answer now may ask again."""
        if self._departure is not None:
            self._departure.cancel()
        self._departure = self._loop.call_soon(self._depart)

    def _depart(self) -> None:
        """Send what may leave, and come again when more may."""
        now = self._loop.time()
        while (batch := self._lane.depart(now)) is not None:
            journey = _Journey(len(batch.items))
            for item in batch.items:
                item.caller.journey = journey
            run = batch.items[0].caller.run
            journey.task = self._loop.create_task(run(batch.call(), batch.seconds_left(now)))
            # Told by the task itself: one that is cancelled before it begins runs none of its own code.
            journey.task.add_done_callback(partial(self._land, batch))
        following = self._lane.next_departure(now)
        self._departure = None if following is None else self._loop.call_at(following, self._depart)

    def _land(self, batch: Batch[_Caller], task: "asyncio.Task[_Answers]") -> None:
        outcomes: Sequence[Outcome]
        if task.cancelled():
            # Nobody aboard waits any more; unless somebody cancelled every task of the loop.
            outcomes = batch.failed(VerificationUnavailable("the call was cancelled", code="CANCELLED"))
        elif (failure := task.exception()) is not None:
            outcomes = batch.failed(failure)
        else:
            outcomes = task.result()
        for item, outcome in zip(batch.items, outcomes, strict=True):
            item.caller.take(outcome)
        self._lane.arrive(batch)
        if len(batch.items) > 1 or self._lane.has_waiting:
            self._depart_soon()

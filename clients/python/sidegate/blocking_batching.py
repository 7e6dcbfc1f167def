"""Micro-batching for threads: one of the callers leads, and sends the questions of all who wait; the others follow.

There is no thread beside those of the callers. The leader is the most patient of its batch, so that nobody is held
longer than they asked for. Whoever comes while nobody waits and nothing is in flight asks just as without batching.
"""

import threading
import time
from functools import partial
from typing import Protocol, TypeVar

from sidegate import verification_calls
from sidegate.calls import Call
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


class Run(Protocol):
    """Sends a call and waits for its result, for so many seconds."""

    def __call__(self, call: Call[ResultT], timeout: float | None) -> ResultT:
        """What came of it."""
        ...


class BlockingBatching:
    """Asks questions in company. Safe to use from many threads at once.

    Args:
        target: For messages.
    """

    def __init__(self, target: Target) -> None:
        self._lanes = Lanes(partial(_Lane, target))

    def ask(self, question: VerifyRequest, seconds: float, run: Run) -> Verdict:
        """The verdict. Raises: what `verify` does.

        Args:
            run: Sends calls. Handed in, because a client that this object held would be collected late.
        """
        deadline = time.monotonic() + seconds
        lane = self._lanes.lane_of(question)
        attempts: Attempts | None = None
        while True:
            outcome = lane.ask(question, deadline, run)
            if isinstance(outcome, Verdict):
                self._lanes.learn(lane, question, outcome)
                return outcome
            if isinstance(outcome, Failed):
                raise outcome.error
            attempts = attempts or Attempts(deadline)
            pause = attempts.pause_after(outcome, time.monotonic())
            if pause is None:
                raise outcome
            time.sleep(pause)


class _Caller:
    """A thread that waits. `wake` is set after either of the others has been."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self.outcome: Outcome | None = None
        self.leads: Batch[_Caller] | None = None


class _Lane:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._lane: Lane[_Caller] = Lane()  # guarded by the lock, and so is who leads

    def ask(self, question: VerifyRequest, deadline: float, run: Run) -> Outcome:
        """What becomes of a question. Raises: what its call fails with, if it travels alone."""
        now = time.monotonic()
        with self._lock:
            departure = self._lane.depart_alone(now)
        if departure is None:
            return self._ask_together(question, deadline, run)
        try:
            return run(verification_calls.verify(question), seconds_until(deadline, now))
        finally:
            with self._lock:
                self._lane.arrive(departure)
                self._depart(time.monotonic())

    def _ask_together(self, question: VerifyRequest, deadline: float, run: Run) -> Outcome:
        caller = _Caller()
        item = Item(question, deadline, caller)
        try:
            with self._lock:
                self._lane.join(item)
            while caller.outcome is None:
                now = time.monotonic()
                with self._lock:
                    self._depart(now)
                    batch = caller.leads
                    following = self._lane.next_departure(now)
                if batch is not None:
                    self._lead(batch, item, run)
                elif now >= deadline:
                    return expired(self._target)
                else:
                    caller.wake.wait(min(deadline, following or deadline) - now)
                    caller.wake.clear()
            return caller.outcome
        finally:
            if caller.outcome is None:  # its time is up, or Ctrl-C
                self._give_up(item)

    def _depart(self, now: float) -> None:
        """Choose who sends what may leave. Under the lock."""
        while (batch := self._lane.depart(now)) is not None:
            leader = batch.most_patient.caller
            leader.leads = batch
            leader.wake.set()

    def _lead(self, batch: Batch[_Caller], own: Item[_Caller], run: Run) -> None:
        """Send the batch, choose who sends the next, and give everybody their answer."""
        outcomes: list[Outcome] = []
        try:
            answers = run(batch.call(), batch.seconds_left(time.monotonic()))
            outcomes.extend(answers)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is the answer to everybody aboard
            outcomes += batch.failed(failure)
        with self._lock:
            own.caller.leads = None
            self._lane.arrive(batch)
            self._depart(time.monotonic())
        for item, outcome in zip(batch.items, outcomes, strict=True):
            item.caller.outcome = outcome
            item.caller.wake.set()

    def _give_up(self, item: Item[_Caller]) -> None:
        with self._lock:
            self._lane.withdraw(item)
            if item.caller.leads is not None:  # chosen meanwhile, or interrupted: another has to lead
                self._lane.take_back(item.caller.leads, without=item)
                self._depart(time.monotonic())

"""Several decisions at once, on an event loop that others need too, and all of them good at the moment of the answer.

Knows nothing of tokens. A decision is a generator: it yields what it has to wait for, is sent the result, and returns.
So one text serves both the single question and the batch, where a question that need not wait costs no task.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

from sidegate_sidecar.authentication import Wait
from sidegate_sidecar.errors import BatchBudgetSpent, SidegateError

SLICE_SECONDS = 0.005  # a batch lets others run this often
BUDGET_SECONDS = 0.25  # and holds the event loop no longer than this in all: 256 hostile tokens would for a second
MAX_ROUNDS = 4  # each but the first costs whoever waits another wait; four in a row hardly ever find news each time

DecisionT = TypeVar("DecisionT")

Steps: TypeAlias = Generator[Wait, Any, DecisionT]


async def finish(steps: Steps[DecisionT], wait: Wait | None = None) -> DecisionT:
    """Run a decision to its end, `wait` being what it already waits for."""
    try:
        wait = wait if wait is not None else next(steps)
        while True:
            try:
                result = await wait()
            except SidegateError as failure:
                wait = steps.throw(failure)
            else:
                wait = steps.send(result)
    except StopIteration as end:
        decision: DecisionT = end.value
        return decision


async def decide_together(
    count: int,
    begin: Callable[[int], Steps[DecisionT]],
    is_outdated: Callable[[DecisionT], bool],
    turns: asyncio.Lock,
) -> list[DecisionT | Exception]:
    """That many decisions, in order; for each that fails, its exception.

    Those that need no wait are made in turn; the others wait together, so that they share a query. What has become
    outdated meanwhile is decided anew, until nothing has. Past the CPU budget, or the last round, the rest is
    BatchBudgetSpent.

    Args:
        begin: Begins the decision of a position, from the beginning each time.
        is_outdated: Whether a decision would not be made now any more.
        turns: Shared by all batches, of which one at a time decides: a slice of each would else go by before anybody
            else is served.
    """
    results: list[DecisionT | Exception] = [BatchBudgetSpent()] * count
    due: list[int] = list(range(count))
    budget = _Budget()
    for _ in range(MAX_ROUNDS):
        if not await _decide_each(due, begin, results, budget, turns) and len(due) == count:
            return results  # all in one go: nobody else ran between them, so nothing is outdated
        # No wait from here to the return.
        due = [
            position
            for position, result in enumerate(results)
            if not isinstance(result, Exception) and is_outdated(result)
        ]
        for position in due:
            results[position] = BatchBudgetSpent()
        if not due or budget.is_spent:
            break
    return results


async def _decide_each(
    due: Iterable[int],
    begin: Callable[[int], Steps[DecisionT]],
    results: list[DecisionT | Exception],
    budget: "_Budget",
    turns: asyncio.Lock,
) -> bool:
    """Make the decisions that are due, as far as the budget goes. Whether others ran between the first and the last."""
    waiting: dict[int, asyncio.Task[DecisionT]] = {}
    has_paused = False
    left = iter(due)
    try:
        while True:
            async with turns:
                if not _decide_for_a_slice(left, begin, results, waiting, budget):
                    break
                has_paused = True
                await asyncio.sleep(0)  # within the turn: the next one's slice comes after all others were served
        outcomes = await asyncio.gather(*waiting.values(), return_exceptions=True) if waiting else []
        for position, outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
            results[position] = outcome
    finally:
        for task in waiting.values():
            task.cancel()
    return has_paused or bool(waiting)


def _decide_for_a_slice(
    left: Iterator[int],
    begin: Callable[[int], Steps[DecisionT]],
    results: list[DecisionT | Exception],
    waiting: dict[int, asyncio.Task[DecisionT]],
    budget: "_Budget",
) -> bool:
    """Make what decisions are left, until the slice is over. Whether to go on with another."""
    budget.resume()
    for position in left:
        steps = begin(position)
        try:
            wait = next(steps)
        except StopIteration as end:
            results[position] = end.value
        except Exception as fault:  # noqa: BLE001 - an item's fault, whatever it is, is the answer to that item
            results[position] = fault
        else:
            waiting[position] = asyncio.create_task(finish(steps, wait))
        if budget.is_slice_over():
            budget.halt()
            return not budget.is_spent
    budget.halt()
    return False


class _Budget:
    """How long a batch has held the event loop, all rounds together."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._resumed_at = 0.0

    @property
    def is_spent(self) -> bool:
        return self._spent >= BUDGET_SECONDS

    def resume(self) -> None:
        self._resumed_at = time.perf_counter()

    def is_slice_over(self) -> bool:
        return time.perf_counter() - self._resumed_at >= SLICE_SECONDS

    def halt(self) -> None:
        self._spent += time.perf_counter() - self._resumed_at

"""Sleeping by a clock that runs through suspension, as the ages of keys do."""

import asyncio
from collections.abc import Awaitable, Callable

from sidegate_sidecar.model import steady_clock

LONGEST_NAP_SECONDS = 2.0  # how late a refresh can be that came due while the machine was suspended


async def sleep_by_steady_clock(
    seconds: float,
    *,
    clock: Callable[[], float] = steady_clock,
    nap: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Return when that much time has passed by the clock, suspension included.

    A timer of the event loop stands still while the machine is suspended, as CLOCK_MONOTONIC does, which it goes by:
    a refresh due in an hour would come an hour after the machine was resumed. So this sleeps in naps, and looks at the
    clock after each.

    Args:
        seconds: Not positive: returns at once, but lets others run.
        clock: Seconds.
        nap: Sleeps for up to `LONGEST_NAP_SECONDS`.
    """
    due = clock() + seconds
    await nap(max(0.0, min(seconds, LONGEST_NAP_SECONDS)))
    while (left := due - clock()) > 0:
        await nap(min(left, LONGEST_NAP_SECONDS))

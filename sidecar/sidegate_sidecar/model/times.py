"""Instants and spans, and where the time comes from."""

import time
from collections.abc import Callable
from typing import TypeAlias

Micros: TypeAlias = int
"""An instant (since the epoch, UTC) or a span, in microseconds."""

SECOND: Micros = 1_000_000

Clock: TypeAlias = Callable[[], Micros]
"""The wall clock. Whoever needs the time is handed one, so that tests can move it."""


def wall_clock() -> Micros:
    """The machine's own clock."""
    return time.time_ns() // 1000


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC, which is what `time.monotonic` reads, stands still while the machine is suspended: what is
hours old then would pass for new. CLOCK_BOOTTIME goes on (clock_gettime(2)). On macOS CLOCK_MONOTONIC does.
"""


def steady_clock() -> float:
    """Seconds of a clock that never steps and runs through suspension. For every age that decides an acceptance."""
    return time.clock_gettime(_STEADY)

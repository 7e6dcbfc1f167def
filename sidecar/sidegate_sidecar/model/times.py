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

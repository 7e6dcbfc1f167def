"""Spans of time as people write them: `90s`, `24h`, or seconds as a plain number."""

import re
from decimal import Decimal

from sidegate_sidecar.model import SECOND, Micros

MAX_DURATION = 100 * 365 * 86_400 * SECOND  # added to an instant it stays within 64 bits, and within the year 9999

HOUR = 3600 * SECOND
DAY = 24 * HOUR

_UNITS = {"": SECOND, "ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, "h": HOUR, "d": DAY}
_SPAN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d|)", re.ASCII)


def parse_duration(text: str | float) -> Micros:
    """A span in microseconds, at most 100 years.

    Raises:
        ValueError: It is none, with a message that shows how to write one.
    """
    match = _SPAN.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("not a duration; write seconds as a plain number, or with a unit: 250ms, 90s, 15m, 24h, 30d")
    number, unit = match.groups()
    span = round(Decimal(number) * _UNITS[unit])
    if span > MAX_DURATION:
        raise ValueError("longer than 100 years")
    return span


def format_duration(span: Micros) -> str:
    """A span as people write it, in the largest unit that divides it; `parse_duration` reads it back.

    Args:
        span: In microseconds, not negative. A single day is 24h.
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if span >= (2 * DAY if unit == "d" else _UNITS[unit]) and span % _UNITS[unit] == 0:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{Decimal(span) / SECOND:f}s"

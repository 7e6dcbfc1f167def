"""Spans of time as people write them: `90s`, `24h`, or seconds as a plain number."""

import re
from decimal import Decimal

from sidegate_sidecar.model import SECOND, Micros

MAX_DURATION = 100 * 365 * 86_400 * SECOND  # added to an instant it stays within 64 bits, and within the year 9999

_UNITS = {"": SECOND, "ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND}
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

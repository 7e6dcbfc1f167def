"""Spans of time as people write them: `90s`, `24h`, or seconds as a plain number."""

import re

from sidegate_sidecar.model import SECOND, Micros

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SPAN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d|)", re.ASCII)


def parse_duration(text: str | float) -> Micros:
    """A span in microseconds.

    Raises:
        ValueError: It is none, with a message that shows how to write one.
    """
    match = _SPAN.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("not a duration; write seconds as a plain number, or with a unit: 250ms, 90s, 15m, 24h, 30d")
    number, unit = match.groups()
    return round(float(number) * _UNITS[unit] * SECOND)

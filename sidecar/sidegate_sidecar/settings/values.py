"""The kinds of values that settings have, and how each is written."""

import json
from pathlib import Path
from typing import Annotated, cast

from pydantic import AfterValidator, BeforeValidator, Field

from sidegate_sidecar.durations import parse_duration
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import Micros

PREFIX = "SIDEGATE_"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def parse_json(value: object) -> object:
    """What a text says as JSON; what is none already, as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError as fault:
        raise ValueError(f"not JSON: {fault}") from None
    return parsed


def _duration(value: object) -> object:
    return parse_duration(str(value))  # what is neither text nor a number does not look like a span either


def _listener(value: object) -> object:
    if isinstance(value, Listener):
        return value
    if not isinstance(value, str):
        raise ValueError("write unix:///path or host:port")  # noqa: TRY004 - pydantic lets TypeError out
    return Listener.parse(value)


def _listeners(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("write unix:///path or host:port, or a list of them")  # noqa: TRY004 - as above
    return [_listener(part) for part in cast("list[object]", parts)]


def _not_empty(value: object) -> object:
    if value == "":  # as a path it would be the working directory
        raise ValueError("must not be empty")
    return value


def _not_a_flag(value: object) -> object:
    if isinstance(value, bool):  # which Python counts among the integers
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic lets TypeError out
    return value


def _positive(span: Micros) -> Micros:
    if span == 0:
        raise ValueError("must be more than 0")
    return span


Duration = Annotated[Micros, BeforeValidator(_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Target = Annotated[Listener, BeforeValidator(_listener)]
Listeners = Annotated[tuple[Listener, ...], BeforeValidator(_listeners)]
FilePath = Annotated[Path, BeforeValidator(_not_empty)]
Count = Annotated[int, BeforeValidator(_not_a_flag), Field(ge=0)]
ClaimName = Annotated[str, Field(min_length=1, max_length=256)]

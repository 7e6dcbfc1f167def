"""What a command ends with: its exit status, and what a person or a program reads of a result."""

import dataclasses
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NoReturn

import typer
from sidegate import CallFailed, CredentialsUnavailable, InvalidRequest

from sidegate_sidecar.durations import parse_duration
from sidegate_sidecar.escaping import escaped
from sidegate_sidecar.model import Micros


class Exit(IntEnum):
    """The exit statuses, the same for every command."""

    OK = 0
    REJECTED = 1  # a verdict: the token is not good; or what was asked for does not exist, or is forbidden
    UNDECIDED = 3  # nobody could say
    USAGE = 64  # sysexits.h EX_USAGE: the command line or the settings
    UNAVAILABLE = 69  # sysexits.h EX_UNAVAILABLE: the sidecar cannot start
    INTERRUPTED = 130  # 128 and SIGINT, as shells say of a process that Ctrl-C ended


@contextmanager
def explained_failures() -> Generator[None]:
    """Turn an RPC's failure into one line on standard error and an exit status."""
    try:
        yield
    except InvalidRequest as failure:
        fail(Exit.USAGE, str(failure))
    except CallFailed as failure:
        fail(Exit.UNDECIDED if failure.retryable else Exit.REJECTED, str(failure))
    except (CredentialsUnavailable, ValueError) as failure:  # a file, or an argument that the client refuses to send
        fail(Exit.USAGE, str(failure))


def fail(status: Exit, message: str, *details: str) -> NoReturn:
    """Say why on standard error, each detail on a line of its own, and end the command."""
    lines = "\n  ".join(map(escaped, (message, *details)))
    sys.stderr.write(f"sidegate: {lines}\n")
    raise typer.Exit(status)


def say(*lines: str) -> None:
    """Print lines for a person. What is in them may come from outside: a reason, a claim, another's error."""
    typer.echo("\n".join(map(escaped, lines)))


def to_json(value: object) -> str:
    """A result of the client as JSON: dataclasses as objects, instants in RFC 3339, spans in seconds."""
    # JSON escapes all that `escaped` does, but for DEL.
    return json.dumps(value, default=_plain, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f")


def duration_option(option: str, text: str) -> Micros:
    """A span of time given on the command line by that option."""
    try:
        return parse_duration(text)
    except ValueError as fault:
        fail(Exit.USAGE, f"{option}: {fault}")


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} is not a result")

"""Structured logs on standard error: one event a line, safe to read in a terminal and to parse.

Much of what is logged comes from outside (key ids, issuers' answers, drivers' errors), so every string is cut and its
control characters escaped before it is rendered.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal

import structlog

from sidegate_sidecar.escaping import escaped

MAX_CHARACTERS = 500


def configure_logging(level: Literal["debug", "info", "warning", "error"], style: Literal["json", "console"]) -> None:
    """Set up logging for the process. `style` json is for machines, console for people."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _escape_and_cut,
            structlog.processors.JSONRenderer()
            if style == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[_FromLibraries()], force=True)


def places(failure: BaseException) -> str:
    """Where it was raised, innermost first. Places only: an exception's text may hold a token or a secret."""
    frames = traceback.extract_tb(failure.__traceback__)
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))


class _FromLibraries(logging.Handler):
    """What libraries log, as events of ours: without arguments and traceback, which quote what they stumbled on."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, str] = {"logger": record.name, "message": str(record.msg)}
        if record.exc_info and record.exc_info[1] is not None:
            failure = record.exc_info[1]
            fields |= {"exception": type(failure).__qualname__, "where": places(failure)}
        structlog.get_logger().log(record.levelno, "library_log", **fields)


def _escape_and_cut(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = escaped(value[:MAX_CHARACTERS])
    return event

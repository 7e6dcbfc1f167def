"""One event, one line, whatever is in it: docs/hostile-tokens.md row 24.

In a process of its own, for logging is set up once.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import json, logging, sys
import structlog
from sidegate_sidecar.logs import configure_logging

level, style, events = json.load(sys.stdin)
configure_logging(level, style)
log = structlog.get_logger("of the test")
for method, event, fields in events:
    getattr(log, method)(event, **fields)
logging.getLogger("a library").info("chatter")
"""
HOSTILE = 'a\r\n{"level": "info", "event": "forged"}\x1b[31m\x00\x7f\x85\u2028\u2029 end'


def logged(*events: tuple[str, str, dict[str, object]], style: str = "json", level: str = "info") -> str:
    outcome = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([level, style, events]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert outcome.stdout == ""
    return outcome.stderr


def test_an_event_is_one_line_of_json_with_its_level_and_time() -> None:
    text = logged(("warning", "key_refused", {"key_id": "k", "count": 3}), ("info", "second", {}))

    first, second = (json.loads(line) for line in text.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {"level": "warning", "event": "key_refused", "key_id": "k", "count": 3}
    assert second["event"] == "second"


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("where", ["a value", "the event"])
def test_control_characters_cannot_begin_a_line_or_reach_a_terminal(style: str, where: str) -> None:
    event, value = (HOSTILE, "value") if where == "the event" else ("event", HOSTILE)

    text = logged(("info", event, {"key_id": value}), style=style)

    assert len(text.splitlines()) == 1
    assert text.endswith("\n")
    body = text.removesuffix("\n")
    assert body.isprintable()
    assert "\\x0d" in body
    assert "\\x1b" in body


def test_an_escaped_value_says_what_it_was() -> None:
    event: dict[str, Any] = json.loads(logged(("info", "event", {"key_id": HOSTILE})))

    assert event["key_id"] == (
        'a\\x0d\\x0a{"level": "info", "event": "forged"}\\x1b[31m\\x00\\x7f\\x85\\u2028\\u2029 end'
    )


def test_a_long_value_is_cut() -> None:
    event: dict[str, Any] = json.loads(logged(("info", "event", {"short": "x" * 500, "long": "y" * 100_000})))

    assert event["short"] == "x" * 500
    assert event["long"] == "y" * 500


def test_what_is_below_the_level_and_what_libraries_chatter_is_left_out() -> None:
    text = logged(("debug", "one", {}), ("info", "two", {}), ("warning", "three", {}), level="warning")

    assert [json.loads(line)["event"] for line in text.splitlines()] == ["three"]

"""The sidecar's log events: words that a person can look up, all of them in docs/operations.md and no others."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def logged_events() -> Iterator[str]:
    """The event of every call of a logger: what is called `log` or `_log`, or comes right out of `get_logger()`. And of
    every log of refusals that is made: it calls a logger with the one that it was given.
    """
    for file in sorted((ROOT / "sidecar").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if not isinstance(node, ast.Call):
                continue
            made = re.match(r"RefusalLog\('(\w+)'|partial\(RefusalLog, '(\w+)'", ast.unparse(node))
            if made:
                yield made[1] or made[2]
            if not isinstance(node.func, ast.Attribute) or file.name == "refusals.py":
                continue
            method, receiver = node.func.attr, ast.unparse(node.func.value)
            if not re.search(r"\b_?log$|\bget_logger\(.*\)$", receiver) or method not in LEVELS | {"log"}:
                continue
            event = node.args[1 if method == "log" else 0]
            assert isinstance(event, ast.Constant), f"{file.name}:{node.lineno}: an event is a constant"
            assert isinstance(event.value, str)
            yield event.value


def documented_events() -> list[str]:
    logs = (ROOT / "docs" / "operations.md").read_text().partition("## Logs")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", logs, re.MULTILINE)
    return [event for row in rows for event in re.findall("`(.*?)`", row)]


def test_every_event_is_documented_and_every_documented_event_is_logged() -> None:
    logged = set(logged_events())
    assert {"keys_changed", "internal_error", "listening"} <= logged, "the search finds what is known to be there"
    assert set(documented_events()) == logged


def test_no_event_is_documented_twice() -> None:
    assert max(Counter(documented_events()).values()) == 1


def test_an_event_is_words_in_snake_case() -> None:
    assert [event for event in set(logged_events()) if not re.fullmatch("[a-z]+(_[a-z]+)*", event)] == []

"""YAML is read as kubectl reads it, and written so that nobody reads it otherwise."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sidegate_injector.kubernetes_yaml import parse_document, parse_documents, write_documents

# What `kubectl annotate --local -o json` of version 1.32 makes of each.
READ: list[tuple[str, Any]] = [
    *((text, True) for text in ("y", "Y", "yes", "on", "TRUE", "True")),
    *((text, False) for text in ("n", "N", "No", "OFF", "false")),
    *((text, None) for text in ("~", "null", "Null", "")),
    *(("100", 100), ("+1", 1), ("-0", 0), ("1_000", 1000), ("1__0", 10)),
    *(("0644", 420), ("0o17", 15), ("-0o17", -15), ("0O17", 15), ("0_7", 7)),
    *(("0x1F", 31), ("0X1f", 31), ("0x_1f", 31), ("-0x10", -16), ("0b101", 5), ("+0b1", 1), ("0B1", 1)),
    *(("08", 8), ("-08", -8), ("0888", 888), ("1.", 1), (".5", 0.5), (".5_5", 0.55), ("1_0.5", 10.5)),
    *(("1e3", 1000), ("1e+03", 1000), ("+12e03", 12000), ("1.5e3", 1500), ("1e1_0", 10**10)),
    *((text, text) for text in ("12:30", "22:22", "2020-01-01", "2020-01-01T00:00:00Z", "tRue", "Infinity")),
    *((text, text) for text in ("1e", "_1", "0b2", "0o8", ".", "=", "123e456", "0x", "1.2.3")),
]


@pytest.mark.parametrize(("written", "meant"), READ, ids=[repr(written) for written, _ in READ])
def test_a_value_is_read_as_kubectl_does(written: str, meant: object) -> None:
    read = parse_document(f"[{written or '~'}]")

    assert read == [meant]
    assert isinstance(read, list)
    assert isinstance(meant, bool) is isinstance(read[0], bool)  # pyright: ignore[reportUnknownArgumentType] - YAML's


@pytest.mark.parametrize("text", [written for written, _ in READ])
def test_what_is_text_stays_text(text: str) -> None:
    written = write_documents([{"a": text}])

    assert parse_document(written) == {"a": text}
    assert written.strip() == f"a: '{text}'" or parse_document(f"a: {text}") == {"a": text}


@given(st.text() | st.from_regex(r"[-+0-9a-fxob_.:eEyYnN]{1,8}", fullmatch=True))
def test_any_text_is_read_again_by_us_and_by_others(text: str) -> None:
    written = write_documents([[text]])

    assert parse_documents(written) == [[text]]
    assert yaml.safe_load(written) == [text]


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_any_value_is_read_again(value: object) -> None:
    assert parse_documents(write_documents([[value]])) == [[value]]


@pytest.mark.parametrize("text", ["a: !!int x", "a: !!float x", "a: !!timestamp x", "a: !!bool x", "a: !!int ''"])
def test_a_tag_that_does_not_fit_is_no_fault(text: str) -> None:
    try:
        read = parse_document(text)
    except yaml.YAMLError:
        return
    assert read == {"a": text.split()[2].strip("'")}


def test_lines_may_end_as_in_windows() -> None:
    assert parse_documents("a: |\r\n  x\r\n  y\r\n---\r\nb: 1\r\n") == [{"a": "x\ny\n"}, {"b": 1}]

"""Spans as people write them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sidegate_sidecar.durations import MAX_DURATION, format_duration, parse_duration
from sidegate_sidecar.model import SECOND, Micros


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("90s", 90 * SECOND),
        ("90", 90 * SECOND),
        (90, 90 * SECOND),
        (0.5, SECOND // 2),
        ("250ms", SECOND // 4),
        ("15m", 900 * SECOND),
        ("24h", 86_400 * SECOND),
        ("30d", 30 * 86_400 * SECOND),
        ("1.5 h", 5400 * SECOND),
        (" 3s\n", 3 * SECOND),
        ("0", 0),
        ("0.000001", 1),
    ],
)
def test_a_span_is_read_in_its_unit(written: str | float, micros: Micros) -> None:
    assert parse_duration(written) == micros


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "-1",
        "+1",
        "1e3",
        "1,5s",
        "1s30",
        "1h30m",
        "1 week",
        "1S",
        "٣s",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
    ],
)
def test_what_is_no_span_is_refused_with_an_example(written: str | float) -> None:
    with pytest.raises(ValueError, match=r"^not a duration; write seconds as a plain number, or with a unit"):
        parse_duration(written)


def test_a_span_past_100_years_is_refused() -> None:
    assert parse_duration("36500d") == MAX_DURATION
    with pytest.raises(ValueError, match="longer than 100 years"):
        parse_duration("999999999999d")


@given(st.text() | st.floats() | st.integers())
@example("9" * 5000)
def test_whatever_is_written_is_a_span_or_refused(written: str | float) -> None:
    try:
        micros = parse_duration(written)
    except ValueError:
        return
    assert 0 <= micros <= MAX_DURATION


@given(st.integers(0, MAX_DURATION // SECOND))
def test_whole_seconds_are_exact(seconds: int) -> None:
    assert parse_duration(seconds) == parse_duration(f"{seconds}s") == seconds * SECOND


@pytest.mark.parametrize(
    "written", ["0s", "250ms", "90s", "15m", "90m", "24h", "36h", "2d", "30d", "36500d", "1500ms", "0.000001s"]
)
def test_a_span_is_shown_as_people_write_it(written: str) -> None:
    assert format_duration(parse_duration(written)) == written


@given(st.integers(0, MAX_DURATION))
@example(MAX_DURATION - 1)
def test_a_span_is_read_as_it_is_shown(span: Micros) -> None:
    assert parse_duration(format_duration(span)) == span

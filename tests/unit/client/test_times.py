"""Times in answers: as protobuf itself reads them, and nothing but a readable answer for whatever is sent."""

from contextlib import suppress
from datetime import UTC

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from sidegate.calls import UnreadableAnswer
from sidegate.fields import instant, span

FIRST, LAST = -62_135_596_800, 253_402_300_799  # google/protobuf/timestamp.proto: the years 1 to 9999
LONGEST = 315_576_000_000  # google/protobuf/duration.proto

any_seconds, any_nanos = st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)
fractions = st.integers(0, 999_999_999)


@settings(deadline=None)
@given(seconds=st.integers(FIRST, LAST), nanos=fractions)
def test_an_instant_is_what_protobuf_says(seconds: int, nanos: int) -> None:
    message = Timestamp(seconds=seconds, nanos=nanos)
    assert instant(message) == message.ToDatetime(tzinfo=UTC)


@settings(deadline=None)
@given(seconds=st.integers(0, LONGEST - 1), nanos=fractions, sign=st.sampled_from([1, -1]))
def test_a_span_is_what_protobuf_says(seconds: int, nanos: int, sign: int) -> None:
    message = Duration(seconds=sign * seconds, nanos=sign * nanos)
    assert span(message) == message.ToTimedelta()


@pytest.mark.parametrize(
    "message",
    [
        Timestamp(seconds=FIRST - 1),
        Timestamp(seconds=LAST + 1),
        Timestamp(seconds=2**63 - 1),
        Timestamp(nanos=-1),
        Timestamp(nanos=1_000_000_000),
    ],
    ids=["year 0", "year 10000", "far beyond", "negative nanos", "a second of nanos"],
)
def test_an_instant_that_cannot_be_is_unreadable(message: Timestamp) -> None:
    with pytest.raises(UnreadableAnswer):
        instant(message)


@pytest.mark.parametrize(
    "message",
    [Duration(seconds=LONGEST + 1), Duration(nanos=1_000_000_000), Duration(seconds=1, nanos=-1)],
    ids=["over 10,000 years", "a second of nanos", "two signs"],
)
def test_a_span_that_cannot_be_is_unreadable(message: Duration) -> None:
    with pytest.raises(UnreadableAnswer):
        span(message)


@settings(deadline=None)
@given(seconds=any_seconds, nanos=any_nanos)
def test_whatever_is_sent_is_read_or_unreadable(seconds: int, nanos: int) -> None:
    with suppress(UnreadableAnswer):
        instant(Timestamp(seconds=seconds, nanos=nanos))
    with suppress(UnreadableAnswer):
        span(Duration(seconds=seconds, nanos=nanos))

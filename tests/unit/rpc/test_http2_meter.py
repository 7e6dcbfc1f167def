"""The meter of what an HTTP/2 client asks a server to keep: never too little, and nothing is changed on its way."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, PriorityFrame
from hypothesis import given
from hypothesis import strategies as st
from sidegate_sidecar.rpc.http2_meter import MAX_HEADERS_BYTES, Http2Meter, NotMeasurable

from tests.fakes import wire

HELLO = wire.hello()
FIELD_BYTES = 32
FRAME_BYTES = 64  # that each counts for beside its own
PLENTY = 2**30
TEXT = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), max_size=60)
NAMES = st.sampled_from([":path", ":authority", "authorization", "user-agent", "x-one", "x-two", "grpc-timeout"])
FIELDS = st.lists(st.tuples(NAMES, TEXT, st.booleans()), max_size=12)


def measured(*parts: bytes) -> int:
    """What the headers in these frames come to, after a hello."""
    meter = Http2Meter(PLENTY)
    meter.take(HELLO)
    return sum(meter.take(part)[1] - len(part) - FRAME_BYTES for part in parts)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(calls=st.lists(FIELDS, max_size=6), huffman=st.booleans())
def test_headers_count_for_no_less_than_they_come_to(calls: list[list[tuple[str, str, bool]]], huffman: bool) -> None:
    encoder = Encoder()  # with a table that goes on from call to call
    meter = Http2Meter(PLENTY)
    meter.take(HELLO)
    for number, fields in enumerate(calls):
        frame = wire.headers(2 * number + 1, encoder.encode(fields, huffman=huffman), "END_HEADERS")
        passed, size = meter.take(frame)

        assert passed == frame
        assert size - len(frame) - FRAME_BYTES >= sum(FIELD_BYTES + len(name) + len(value) for name, value, _ in fields)


@given(cuts=st.lists(st.integers(0, 10_000), max_size=20))
def test_what_it_lets_pass_is_what_came_and_headers_are_whole(cuts: list[int]) -> None:
    block = wire.header_block(extra=[("x-long", "x" * 20_000)])
    call = wire.split_headers(1, block) + wire.data(1, wire.message(b"y" * 100), "END_STREAM")
    sent = HELLO + PingFrame(0).serialize() + call + wire.reset(1) + wire.headers(3, wire.header_block(), "END_HEADERS")
    begins, ends = sent.index(call), sent.index(call) + len(wire.split_headers(1, block))
    meter = Http2Meter(PLENTY)
    passed = b""
    for piece in pieces(sent, cuts):
        passed += meter.take(piece)[0]
        assert not begins < len(passed) < ends
    assert passed == sent


@given(cuts=st.lists(st.integers(0, 1000), max_size=5))
def test_what_was_kept_back_is_given_back_once(cuts: list[int]) -> None:
    sent = HELLO + wire.headers(1, wire.header_block())  # which does not end
    meter = Http2Meter(PLENTY)
    assert b"".join(meter.take(piece)[0] for piece in pieces(sent, cuts)) + meter.rest() == sent
    assert meter.rest() == b""


def test_priority_is_no_header() -> None:
    block = wire.header_block()
    frame = HeadersFrame(1, data=block, flags=["END_HEADERS", "PRIORITY"], depends_on=3).serialize()
    assert measured(frame) == measured(wire.headers(1, block, "END_HEADERS"))


def test_a_connection_may_come_to_its_allowance_and_no_more() -> None:
    call = wire.headers(1, wire.header_block(), "END_HEADERS") + PingFrame(0).serialize()
    hello = Http2Meter(PLENTY).take(HELLO)[1]
    each = Http2Meter(PLENTY).take(HELLO + call)[1] - hello
    meter = Http2Meter(hello + 3 * each)
    meter.take(HELLO)
    assert [meter.take(call)[1] for _ in range(3)] == [each] * 3
    with pytest.raises(NotMeasurable):
        meter.take(b"x")


def test_each_named_field_counts_like_the_largest_there_is() -> None:
    encoder = Encoder()
    first, second = (encoder.encode([("x-large", "x" * 3000)], huffman=False) for _ in range(2))
    assert len(second) == 1
    assert measured(wire.headers(1, first, "END_HEADERS"), wire.headers(3, second * 10, "END_HEADERS")) == 11 * (
        FIELD_BYTES + len("x-large") + 3000
    )


BOMB = b"\x40\x01x\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7]) + b"x" * 4000
TOO_MUCH = {
    "one long field": [wire.split_headers(1, wire.header_block(extra=[("x-long", "x" * MAX_HEADERS_BYTES)]))],
    "headers without end": [
        wire.headers(1, wire.header_block()),
        *[wire.continuation(1, b"\x10\x01x\x04more" * 1000)] * 20,
    ],
    "empty frames without end": [wire.headers(1, wire.header_block()), wire.continuation(1, b"") * 15_000],
    "a frame longer than all that": [(2**24 - 1).to_bytes(3) + b"\x01\x04" + b"\x00" * 4 + b"x" * 200_000],
    "one field named again and again": [wire.headers(1, BOMB + b"\xbe" * 40, "END_HEADERS")],
    "the same in another call": [
        wire.headers(1, BOMB, "END_HEADERS"),
        wire.headers(3, b"\xbe" * 40, "END_HEADERS"),
    ],
    "short fields": [wire.headers(1, b"\x82" * 16_000, "END_HEADERS")],
    "sizes of the table": [wire.headers(1, b"\x20" * 16_000, "END_HEADERS")],
}


@pytest.mark.parametrize("parts", TOO_MUCH.values(), ids=TOO_MUCH)
def test_more_than_headers_may_come_to_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(NotMeasurable):
        measured(*parts)


WRONG = {
    "a continuation of nothing": ContinuationFrame(1, data=b"").serialize(),
    "data in the midst of headers": wire.headers(1, b"") + DataFrame(1, data=b"x").serialize(),
    "headers in the midst of headers": wire.headers(1, b"") + wire.headers(3, b""),
    "another frame in the midst of headers": wire.headers(1, b"") + PriorityFrame(1).serialize(),
    "a string that ends early": wire.headers(1, b"\x40\x05abc", "END_HEADERS"),
    "no string": wire.headers(1, b"\x40", "END_HEADERS"),
    "no value": wire.headers(1, b"\x41", "END_HEADERS"),
    "an integer that ends early": wire.headers(1, b"\xff\x80", "END_HEADERS"),
    "an integer without end": wire.headers(1, b"\xff" + b"\x80" * 20, "END_HEADERS"),
    # grpc takes it for headers, and so reads something else than an RFC reader does.
    "padding": wire.padded(wire.headers(1, b"\x00" + wire.header_block(), "END_HEADERS")),
    "a name for what was never told": wire.headers(1, b"\xbe", "END_HEADERS"),
    "no priority": b"\x00\x00\x02\x01\x24\x00\x00\x00\x01xx",
}


@pytest.mark.parametrize("sent", WRONG.values(), ids=WRONG)
def test_what_is_no_header_block_is_refused(sent: bytes) -> None:
    with pytest.raises(NotMeasurable):
        measured(sent)


@given(
    sent=st.lists(st.binary(max_size=200), max_size=5), kind=st.sampled_from([0, 1, 4, 9]), flags=st.integers(0, 255)
)
def test_whatever_comes_passes_unchanged_or_is_refused(sent: list[bytes], kind: int, flags: int) -> None:
    meter = Http2Meter(PLENTY)
    meter.take(HELLO)
    passed = b""
    whole = b""
    try:
        for payload in sent:
            frame = len(payload).to_bytes(3) + bytes([kind, flags]) + b"\x00\x00\x00\x01" + payload
            whole += frame
            passed += meter.take(frame)[0]
    except NotMeasurable:
        assert whole.startswith(passed)
    else:
        assert passed + meter.rest() == whole

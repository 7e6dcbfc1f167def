"""What a line of an import file may say."""

import io
import json
from datetime import UTC, datetime

import pytest
from sidegate import Registration
from sidegate_sidecar.cli.import_lines import MAX_LINE_BYTES, BadLine, Line, read_lines

GOOD: dict[str, object] = {
    "session_handle": "s-1",
    "user_id": "alice",
    "create_time": "2026-11-02T10:30:00Z",
    "session_expire_time": 1798761600,
}


def parsed(text: str | bytes, issuer: str | None = None) -> Registration | None:
    return Line(1, 0, text.encode() if isinstance(text, str) else text).registration(issuer)


def parsed_with(**members: object) -> Registration:
    registration = parsed(json.dumps(GOOD | members))
    assert registration is not None
    return registration


def test_a_line_with_what_is_required_is_a_session_without_tenant_of_the_default_issuer() -> None:
    assert parsed(json.dumps(GOOD), "https://login.example") == Registration(
        session_handle="s-1",
        user_id="alice",
        create_time=datetime(2026, 11, 2, 10, 30, tzinfo=UTC),
        session_expire_time=datetime(2027, 1, 1, tzinfo=UTC),
        tenant_id="",
        issuer="https://login.example",
    )


def test_what_a_line_says_of_issuer_and_tenant_wins() -> None:
    registration = parsed(json.dumps(GOOD | {"issuer": "other", "tenant_id": "acme"}), "https://login.example")
    assert registration is not None
    assert (registration.issuer, registration.tenant_id) == ("other", "acme")


@pytest.mark.parametrize("absent", [None, ""])
def test_an_optional_field_may_be_null_or_empty_as_exports_write_it(absent: str | None) -> None:
    registration = parsed_with(issuer=absent, tenant_id=absent)
    assert (registration.issuer, registration.tenant_id) == (None, "")


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("2026-11-02T10:30:00Z", 0),
        ("2026-11-02t10:30:00z", 0),
        ("2026-11-02 10:30:00Z", 0),
        ("2026-11-02T12:30:00+02:00", 0),
        ("2026-11-02T10:30:00-00:00", 0),
        ("2026-11-02T10:30:00.25Z", 250_000),
        ("2026-11-02T10:30:00.123456789Z", 123_456),
        (1793615400, 0),
        (1793615400.25, 250_000),
    ],
    ids=str,
)
def test_a_time_is_read_to_the_microsecond(written: object, micros: int) -> None:
    assert parsed_with(create_time=written).create_time == datetime(2026, 11, 2, 10, 30, 0, micros, tzinfo=UTC)


def test_seconds_with_a_fraction_are_not_rounded_as_a_double_would() -> None:
    text = json.dumps(GOOD).replace('"2026-11-02T10:30:00Z"', "1793615400.000001")
    registration = parsed(text)
    assert registration is not None
    assert registration.create_time == datetime(2026, 11, 2, 10, 30, 0, 1, tzinfo=UTC)


TIMES = "must be in RFC 3339, e.g. 2026-11-02T10:30:00Z, or in seconds since the epoch"
RANGE = "lies outside the years 1970 to 9999; it counts seconds, not milliseconds"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"user_id": None}, "user_id: missing"),
        ({"user_id": ""}, "user_id: must not be empty"),
        ({"user_id": 42}, "user_id: must be a string"),
        ({"session_handle": ["s"]}, "session_handle: must be a string"),
        ({"tenant_id": False}, "tenant_id: must be a string"),
        ({"issuer": {}}, "issuer: must be a string"),
        ({"session_handle": "é" * 257}, "session_handle: must not be longer than 512 bytes"),
        ({"user_id": "a\x00b"}, "user_id: must not contain NUL"),
        ({"user_id": "\ud800"}, "user_id: holds half of a surrogate pair"),
        ({"create_time": True}, f"create_time: {TIMES}"),
        ({"create_time": "2026-11-02"}, f"create_time: {TIMES}"),
        ({"create_time": "2026-11-02T10:30:00"}, f"create_time: {TIMES}"),
        ({"create_time": "2026-W45-1T10:30:00Z"}, f"create_time: {TIMES}"),
        ({"create_time": "1793615400"}, f"create_time: {TIMES}"),
        ({"create_time": "2026-02-30T10:30:00Z"}, "create_time: no such time"),
        ({"session_expire_time": "9999-12-31T23:59:59-01:00"}, "session_expire_time: no such time"),
        ({"create_time": "1969-12-31T23:59:59Z"}, "create_time: lies before 1970"),
        ({"create_time": -1}, f"create_time: {RANGE}"),
        ({"create_time": 1793615400000}, f"create_time: {RANGE}"),
        ({"session_expire_time": 1793615400}, "session_expire_time: must be after create_time"),
        ({"tenant": "acme"}, "'tenant': no such field"),
        ({"\x1b" * 60: 1}, "'" + "\\x1b" * 40 + "': no such field"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_line_that_describes_no_session_is_refused_with_what_to_change(
    members: dict[str, object], reason: str
) -> None:
    with pytest.raises(BadLine) as refused:
        parsed_with(**members)
    assert str(refused.value) == reason


@pytest.mark.parametrize("field", GOOD)
def test_no_required_field_may_be_left_out(field: str) -> None:
    with pytest.raises(BadLine, match=f"^{field}: missing$"):
        parsed(json.dumps({name: value for name, value in GOOD.items() if name != field}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("session", "not JSON"),
        ('{"user_id": "alice"', "not JSON"),
        ("[" * 16_000, "not JSON"),
        ("9" * 10_000, "not JSON"),
        ('{"user_id": "alice"} {}', "not JSON"),
        (b'{"user_id": "\xff"}', "not UTF-8"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"user_id": "alice", "user\\u005fid": "bob"}', "names a field twice"),
        ('{"create_time": NaN}', "holds NaN or Infinity"),
        ('{"create_time": -Infinity}', "holds NaN or Infinity"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_not_one_json_object_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(BadLine) as refused:
        parsed(text)
    assert str(refused.value) == reason


@pytest.mark.parametrize("number", ["1e999999999", "253402300799.99999999999999999999999999999"])
def test_no_number_is_too_large_to_be_refused(number: str) -> None:
    text = json.dumps(GOOD).replace("1798761600", number)
    with pytest.raises(BadLine, match=RANGE):
        parsed(text)


@pytest.mark.parametrize("text", ["", "  \t"])
def test_a_blank_line_describes_nothing_and_is_nobodys_fault(text: str) -> None:
    assert parsed(text) is None


def test_lines_know_their_numbers_and_where_they_end() -> None:
    stream = io.BytesIO(b"a\r\n\nbc")
    assert list(read_lines(stream)) == [Line(1, 3, b"a"), Line(2, 4, b""), Line(3, 6, b"bc")]


def test_reading_goes_on_behind_what_was_read_before() -> None:
    stream = io.BytesIO(b"a\nb\nc\n")
    first = next(read_lines(stream))
    stream.seek(first.end)
    assert list(read_lines(stream, after=first.number, offset=first.end)) == [Line(2, 4, b"b"), Line(3, 6, b"c")]


class Recorder(io.BytesIO):
    """Remembers how much was asked of it at once."""

    most = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0
        self.most = max(self.most, size)
        return super().readline(size)


def test_a_line_of_a_megabyte_is_never_held_whole() -> None:
    stream = Recorder(b"x" * 1_000_000 + b"\n")
    (line,) = read_lines(stream)
    assert line.end == 1_000_001
    assert stream.most <= MAX_LINE_BYTES + 1


@pytest.mark.parametrize("ending", [b"\n", b""])
def test_the_longest_line_is_read_whole_and_one_byte_more_is_too_long(ending: bytes) -> None:
    longest, too_long = b"x" * MAX_LINE_BYTES, b"x" * (MAX_LINE_BYTES + 1)
    assert [line.is_whole for line in read_lines(io.BytesIO(longest + ending))] == [True]
    cut, following = read_lines(io.BytesIO(too_long + b"x" * 100_000 + b"\ny"))
    assert (cut.number, cut.end, cut.text, cut.is_whole) == (1, MAX_LINE_BYTES + 100_002, longest, False)
    assert following == Line(2, cut.end + 1, b"y")
    with pytest.raises(BadLine, match="longer than 16384 bytes"):
        cut.registration(None)

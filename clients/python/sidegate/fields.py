"""Between Python values and the fields of a message: strings, times, enums. Pure.

Wrong types raise TypeError and unusable values InvalidRequest, before anything is sent; neither repeats the value, for
it may be a token.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sidegate.calls import UnreadableAnswer
from sidegate.errors import InvalidRequest
from sidegate.v1 import session_pb2
from sidegate.verdicts import Revision

EnumT = TypeVar("EnumT", bound=StrEnum)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS = 1_000_000_000  # in a second
_MAX_SPAN_SECONDS = 315_576_000_000  # google/protobuf/duration.proto: 10,000 years

_SURROGATE = re.compile("[\ud800-\udfff]")


def invalid(field: str, problem: str) -> InvalidRequest:
    """What the sidecar would answer, had the field been sent."""
    return InvalidRequest(
        f"{field}: {problem}", code="INVALID_ARGUMENT", reason="INVALID_FIELD", metadata={"field": field}
    )


def text(field: str, value: object) -> str:
    """The value, known to be a string that can be sent."""
    if not isinstance(value, str):
        raise TypeError(f"{field} must be a str, not {type(value).__name__}")
    if _SURROGATE.search(value):  # asked beforehand, because a UnicodeEncodeError holds the whole string
        raise invalid(field, "holds a character that UTF-8 cannot encode")
    return value


def optional_text(field: str, value: object) -> str | None:
    """Likewise; None stays None."""
    return None if value is None else text(field, value)


def texts(field: str, values: Sequence[str]) -> list[str]:
    """Likewise for several. A lone string is refused: it would be taken for a list of its characters."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{field} must be a sequence of str, not one {type(values).__name__}")
    return [text(f"{field}[{position}]", value) for position, value in enumerate(values)]


def timestamp(field: str, value: object) -> Timestamp:
    """An aware datetime as a message."""
    if not isinstance(value, datetime):
        raise TypeError(f"{field} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise invalid(field, "has no time zone")
    message = Timestamp()
    try:
        message.FromDatetime(value)
    except (ValueError, OverflowError) as error:  # datetime.min and .max leave the range on their way to UTC
        raise invalid(field, "lies outside the years 1 to 9999, UTC") from error
    return message


# Not by the messages' own methods: one verdict holds three times, and they cost more than all else in it.


def instant(message: Timestamp) -> datetime:
    """An aware datetime, UTC; what is finer than a microsecond is cut off."""
    nanos = message.nanos
    if 0 <= nanos < _NANOS:
        try:
            return _EPOCH + timedelta(0, message.seconds, nanos // 1000)
        except OverflowError:
            pass
    raise UnreadableAnswer("the sidecar's answer holds a time outside the years 1 to 9999")


def span(message: Duration) -> timedelta:
    """A length of time; what is finer than a microsecond is cut off."""
    seconds, nanos = message.seconds, message.nanos
    # google/protobuf/duration.proto: either has the sign of the other, or is zero.
    if not (-_MAX_SPAN_SECONDS <= seconds <= _MAX_SPAN_SECONDS and -_NANOS < nanos < _NANOS and seconds * nanos >= 0):
        raise UnreadableAnswer("the sidecar's answer holds a duration out of range")
    return timedelta(0, seconds, int(nanos / 1000))


def revision(message: session_pb2.Revision) -> Revision:
    """A position in the log."""
    return Revision(message.store_id, message.sequence)


def revision_message(field: str, value: object) -> session_pb2.Revision:
    """A position in the log as a message."""
    if not isinstance(value, Revision):
        raise TypeError(f"{field} must be a Revision, not {type(value).__name__}")
    if not -(2**63) <= value.sequence < 2**63:
        raise invalid(field, "the sequence does not fit into 64 bits")
    return session_pb2.Revision(store_id=text(f"{field}.store_id", value.store_id), sequence=value.sequence)


def enum_members(descriptor: EnumDescriptor, prefix: str, enum: type[EnumT]) -> Mapping[int, EnumT]:
    """Number to member for every named value of a protobuf enum but 0, which is never sent.

    Raises ValueError where the Python enum lacks a name: the tables are built on import, so a contract that grows
    without its client fails every test.
    """
    return {value.number: enum(value.name.removeprefix(prefix)) for value in descriptor.values if value.number != 0}

"""The lines of an import file: what each must hold, and what is wrong with one that does not. Pure but for the reading.

One JSON object a line. Stricter than JSON (RFC 8259): no member twice, no NaN, and no member that nobody knows, for a
misspelt `tenant_id` would register a session without its tenant.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import BinaryIO, NoReturn, cast

from sidegate import Registration

from sidegate_sidecar.model import MAX_NAME_BYTES

MAX_LINE_BYTES = 16 * 1024  # four names of 512 bytes, each byte written as \u00xx, make 12 KiB

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # of the year 9999
_MICROS = 1_000_000
_REQUIRED = ("session_handle", "user_id", "create_time", "session_expire_time")
_OPTIONAL = ("tenant_id", "issuer")
_SHOWN_CHARACTERS = 40  # of a member's name that nobody knows

# RFC 3339 §5.6; its note allows a space for the T. datetime.fromisoformat alone takes week dates and much more.
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


class BadLine(Exception):
    """The line cannot be imported as it stands. The message says what to change."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was read.

    Attributes:
        number: 1 is the first.
        end: How many bytes of the file it and all lines before it make.
        text: Without what ends it. Of a line that is too long, its beginning.
        is_whole: Whether `text` is all of it.
    """

    number: int
    end: int
    text: bytes
    is_whole: bool = True

    def registration(self, default_issuer: str | None) -> Registration | None:
        """The session that the line describes. None: it is blank.

        Args:
            default_issuer: Of a line that names none. None: left to the sidecar, which may have exactly one.

        Raises:
            BadLine: It describes none.
        """
        if not self.is_whole:
            raise BadLine(f"longer than {MAX_LINE_BYTES} bytes")
        if not self.text.strip():
            return None
        members = _members(self.text)
        create_time = _instant(members, "create_time")
        session_expire_time = _instant(members, "session_expire_time")
        if session_expire_time <= create_time:
            raise BadLine("session_expire_time: must be after create_time")
        return Registration(
            session_handle=_name(members, "session_handle"),
            user_id=_name(members, "user_id"),
            session_expire_time=session_expire_time,
            tenant_id=_optional_name(members, "tenant_id") or "",
            issuer=_optional_name(members, "issuer") or default_issuer,
            create_time=create_time,
        )


def read_lines(stream: BinaryIO, *, after: int = 0, offset: int = 0) -> Iterator[Line]:
    """The lines of a stream, one at a time, each held in a bounded piece of memory.

    Args:
        stream: Stands behind line `after`, `offset` bytes from its beginning.
    """
    number = after
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        offset += len(piece)
        is_whole = piece.endswith(b"\n") or len(piece) <= MAX_LINE_BYTES
        text = piece[:MAX_LINE_BYTES]
        while not piece.endswith(b"\n") and (piece := stream.readline(MAX_LINE_BYTES)):
            offset += len(piece)
        yield Line(number, offset, text.rstrip(b"\r\n"), is_whole)


def _members(text: bytes) -> dict[str, object]:
    try:
        value: object = _DECODER.decode(text.decode())
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    except (ValueError, RecursionError):  # ValueError is also what `int` says of 10,000 digits
        raise BadLine("not JSON") from None
    if not isinstance(value, dict):
        raise BadLine("not a JSON object")
    members = cast("dict[str, object]", value)  # all that a JSON object's names can be
    for field in _REQUIRED:
        if members.get(field) is None:
            raise BadLine(f"{field}: missing")
    for field in members:
        if field not in _REQUIRED and field not in _OPTIONAL:
            raise BadLine(f"{field[:_SHOWN_CHARACTERS]!a}: no such field")
    return members


def _optional_name(members: dict[str, object], field: str) -> str | None:
    return None if members.get(field) in (None, "") else _name(members, field)


def _name(members: dict[str, object], field: str) -> str:
    value = members[field]
    if not isinstance(value, str):
        raise BadLine(f"{field}: must be a string")
    if not value:
        raise BadLine(f"{field}: must not be empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadLine(f"{field}: holds half of a surrogate pair") from None
    if size > MAX_NAME_BYTES:
        raise BadLine(f"{field}: must not be longer than {MAX_NAME_BYTES} bytes")
    if "\x00" in value:
        raise BadLine(f"{field}: must not contain NUL")
    return value


def _instant(members: dict[str, object], field: str) -> datetime:
    value = members[field]
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            at = datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):  # a 30th of February; a zone that leads out of the year 9999
            raise BadLine(f"{field}: no such time") from None
        if at < _EPOCH:
            raise BadLine(f"{field}: lies before 1970")
        return at
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        if not 0 <= value <= _LAST_SECOND:
            raise BadLine(f"{field}: lies outside the years 1970 to 9999; it counts seconds, not milliseconds")
        return _EPOCH + timedelta(microseconds=int(value * _MICROS))
    raise BadLine(f"{field}: must be in RFC 3339, e.g. 2026-11-02T10:30:00Z, or in seconds since the epoch")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadLine("names a field twice")
    return members


def _refuse(_: str) -> NoReturn:
    raise BadLine("holds NaN or Infinity")


# Decimal: a double would round microseconds.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_refuse)

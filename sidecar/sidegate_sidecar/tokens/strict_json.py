"""JSON with one meaning: what two parsers could read differently is refused, and so is what costs too much to read."""

import json
import re
from typing import NoReturn, cast

from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import Reason

MAX_DEPTH = 32  # claims nest five deep at worst in the wild; far below the interpreter's own limit
MAX_VALUES = 2048  # members and elements together: 8 kB of claims holds no more of four bytes each
MAX_NUMBER_CHARACTERS = 310  # sign and digits of the largest double; RFC 8259 §6 promises no reader beyond it

_WHITESPACE = " \t\n\r"  # RFC 8259 §2; strip() alone knows many more

# A string, or what is left of one that never ends: every opening quote matches, so that the scan stays linear.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def parse_object(data: bytes) -> tuple[dict[str, object], str]:
    """Parse one JSON object. The object, and its text exactly as it was written.

    RFC 8259, and beyond it: UTF-8 without a BOM (§8.1); no member twice in an object, however its name is spelt (§4
    leaves open which one counts); no NaN or Infinity, and no number that a double reads as one; no NUL and no lone
    surrogate, not even escaped (a database and protobuf would choke on them); at most MAX_DEPTH levels, MAX_VALUES
    members and elements, and MAX_NUMBER_CHARACTERS in a number.

    Raises:
        Rejected: MALFORMED.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("the token's JSON is not UTF-8") from None
    _check_size(text)
    if "\\" in text:  # of two characters it would take five times as long to find none
        _check_escapes(text)
    stripped = text.strip(_WHITESPACE)
    try:
        value, end = _DECODER.raw_decode(stripped)
    except ValueError:
        raise _malformed("a part of the token is not JSON") from None
    if end != len(stripped) or not isinstance(value, dict):
        raise _malformed("a part of the token is not one JSON object")
    return cast("dict[str, object]", value), text  # all that _object builds


def _malformed(message: str) -> Rejected:
    return Rejected(Reason.MALFORMED, message)


def _check_size(text: str) -> None:
    """Bound depth and count before parsing. Counting in strings too is nearly always enough, and cheap."""
    openings = text.count("{") + text.count("[")
    # Each comma has a value behind it, of one character at least: in most texts there is no room for too many.
    room_for = openings + len(text) // 2
    if openings <= MAX_DEPTH and (room_for <= MAX_VALUES or openings + text.count(",") <= MAX_VALUES):
        return
    bare = _STRING.sub("", text)
    openings = bare.count("{") + bare.count("[")
    if openings + bare.count(",") > MAX_VALUES:
        raise _malformed("the token's JSON has too many members")
    if openings <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise _malformed("the token's JSON is nested too deeply")


def _check_escapes(text: str) -> None:
    r"""Refuse \u0000 and half of a surrogate pair. Unescaped they cannot be here: JSON and UTF-8 forbid them."""
    # An escaped backslash may stand before a plain "u"; with those out of the way each \u is an escape.
    bare = text.replace("\\\\", "__")
    if "\\u0000" in bare:
        raise _malformed("the token's JSON holds a NUL")
    if _LONE_SURROGATE.search(bare):
        raise _malformed("the token's JSON holds half of a surrogate pair")


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    parsed = dict(members)
    if len(parsed) != len(members):
        raise _malformed("the token's JSON has a member twice")
    return parsed


def _integer(literal: str) -> int:
    if len(literal) > MAX_NUMBER_CHARACTERS:
        raise _malformed("the token's JSON holds too long a number")
    return int(literal)


def _real(literal: str) -> float:
    if len(literal) > MAX_NUMBER_CHARACTERS:
        raise _malformed("the token's JSON holds too long a number")
    value = float(literal)
    if value in (float("inf"), float("-inf")):
        raise _malformed("the token's JSON holds a number beyond all range")
    return value


def _constant(_: str) -> NoReturn:
    raise _malformed("the token's JSON holds NaN or Infinity")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant, strict=True
)

"""How many fields a request holds, seen before protobuf makes objects of them.

5 MB are enough for 2.6 million empty items, and those for half a gigabyte of memory and a second of the event loop.
Counting stops at the first field too many, so it costs as much as an honest request at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sidegate_sidecar.errors import InvalidRequest

SPARE_FIELDS = 32  # singular fields, some of them twice; so a list that is a little too long is still named as such

_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request may hold at most.

    Attributes:
        items_field: Its repeated field, if any. For errors.
        max_items: How many of those, at most.
        items: The shape of each of them, where they are messages with a repeated field of their own.
    """

    items_field: str = "request"
    max_items: int = 0
    items: "Shape | None" = None


_VERIFY = Shape("accepted_audiences", 64)
_PLAIN = Shape()
_SHAPES: Mapping[str, Shape] = {
    "/sidegate.v1.VerificationService/Verify": _VERIFY,
    "/sidegate.v1.VerificationService/BatchVerify": Shape("requests", 256, _VERIFY),
    "/sidegate.v1.RevocationService/BatchRevokeSessions": Shape("session_handles", 1000),
    "/sidegate.v1.SessionService/BatchRegisterSessions": Shape("requests", 1000, _PLAIN),
}


def shape_of(method: str) -> Shape:
    """The shape of a method's requests, by its full name, e.g. "/sidegate.v1.VerificationService/Verify"."""
    return _SHAPES.get(method, _PLAIN)


def check_shape(request: bytes, shape: Shape) -> None:
    """Refuse a request with far more fields than it can have a use for.

    Raises:
        InvalidRequest: BATCH_SIZE, naming the repeated field, or UNREADABLE_REQUEST: it is no protobuf message.
    """
    try:
        _check(request, 0, len(request), shape)
    except IndexError:
        raise InvalidRequest("request", "not a message of this RPC", reason="UNREADABLE_REQUEST") from None


def _check(data: bytes, position: int, end: int, shape: Shape) -> None:
    left = shape.max_items + SPARE_FIELDS
    while position < end:
        if not left:
            raise InvalidRequest(
                shape.items_field,
                f"must not hold more than {shape.max_items} items",
                reason="BATCH_SIZE",
                limit=str(shape.max_items),
            )
        left -= 1
        tag, position = _varint(data, position)
        match tag & 7:  # the wire type, as protobuf's encoding numbers them
            case 2:  # length and bytes
                length, position = _varint(data, position)
                if shape.items is not None:
                    _check(data, position, min(position + length, end), shape.items)
                position += length
            case 0:  # varint
                _, position = _varint(data, position)
            case 1:  # 64 bits
                position += 8
            case 5:  # 32 bits
                position += 4
            case _:
                raise IndexError  # a group: no message of ours has one, and skipping it would take a second parser


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at a position, and the position after it. Raises IndexError where there is none."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    for following in range(position + 1, position + _MAX_VARINT_BYTES):
        byte = data[following]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, following + 1
        shift += 7
    raise IndexError

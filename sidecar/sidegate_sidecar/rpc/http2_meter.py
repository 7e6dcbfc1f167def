"""What an HTTP/2 client asks a server to keep, measured as its bytes pass by [RFC 9113, RFC 7541]. Pure.

grpc bounds a call's headers only once it has decompressed them, and what is past the bound it keeps and describes: a
client that sends nothing else has it take gigabytes (CVE-2016-6581, CVE-2024-27316).
"""

from typing import Final

MAX_HEADERS_BYTES = 128 * 1024
"""What the headers of one call may come to, by an estimate that is too high. grpc itself refuses more than 16 KiB."""

_PREFACE_BYTES = 24  # RFC 9113 §3.4
_FRAME_BYTES = 9  # §4.1: length, type, flags, stream
_HEADERS = 0x1
_CONTINUATION = 0x9
_END_HEADERS = 0x4
_PADDED = 0x8
_PRIORITY = 0x20
_PRIORITY_BYTES = 5  # §6.2
_WORK_BYTES = 64  # that a frame counts for beside its own: reading one costs as much as copying so many

_FIELD_BYTES = 32  # RFC 7541 §4.1: what each takes beside its name and value
_TABLE_BYTES = 4096  # RFC 9113 §6.5.2: a larger table would have to be offered
_STATIC_FIELDS = 61  # RFC 7541, appendix A
_STATIC_NAME_BYTES = 27  # access-control-allow-origin
_STATIC_BYTES = _FIELD_BYTES + 28  # accept-encoding: gzip, deflate
_SHORTEST_CODE_BITS = 5  # appendix B
_MAX_INTEGER_BYTES = 5


class NotMeasurable(ValueError):
    """No server should be asked to read that. Its text says why."""


class Http2Meter:
    """Of one connection, from its first byte on.

    Args:
        allowance: What the connection may come to, in bytes.
    """

    def __init__(self, allowance: int) -> None:
        self._left = allowance
        self._received = bytearray()  # and not let pass yet
        self._read = 0  # of these
        self._skipping = _PREFACE_BYTES  # to the end of what holds no headers
        self._block: bytearray | None = None  # headers that have not ended
        # That the client may have put into the table.
        self._longest_name = 0
        self._largest_field = 0

    def take(self, data: bytes) -> tuple[bytes, int]:
        """What may pass now, in bytes of the wire, and what all of `data` comes to: headers decompressed, in bytes.

        Headers pass once they are whole. What is measured of them is too much rather than too little: a field that is
        only named counts like the largest that was ever told.

        Raises:
            NotMeasurable: The allowance is spent, the headers of a call are past MAX_HEADERS_BYTES, or no headers.
        """
        before = self._left
        received = self._received
        received += data
        self._spend(len(data))
        passing = 0
        while True:
            if self._block is None:
                step = min(self._skipping, len(received) - self._read)
                self._skipping -= step
                self._read += step
                passing = self._read
            if self._skipping or len(received) - self._read < _FRAME_BYTES:
                break
            self._spend(_WORK_BYTES)
            length, kind, flags = _frame(received, self._read)
            if (kind == _CONTINUATION) != (self._block is not None):
                raise NotMeasurable("frames are out of order")
            if kind not in (_HEADERS, _CONTINUATION):
                self._skipping = _FRAME_BYTES + length
                continue
            end = self._read + _FRAME_BYTES + length
            if len(received) < end:
                break
            fragment = received[self._read + _FRAME_BYTES : end]
            if self._block is None:
                self._block = _without_priority(fragment, flags)
            else:
                self._block += fragment
            self._read = end
            if flags & _END_HEADERS:
                self._measure(bytes(self._block))
                self._block = None
        let_pass = bytes(received[:passing])
        del received[:passing]
        self._read -= passing
        if len(received) > MAX_HEADERS_BYTES:
            raise NotMeasurable("headers without end")
        return let_pass, before - self._left

    def rest(self) -> bytes:
        """What `take` kept back, the beginning of headers, once: nothing is measured any more."""
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def _spend(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise NotMeasurable("too much without a call")

    def _measure(self, block: bytes) -> None:
        """Spend what a header block [RFC 7541 §6] comes to, at most. Raises NotMeasurable."""
        least = self._left - MAX_HEADERS_BYTES
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:  # §6.1: named, no more
                index, at = _integer(block, at, 7)
                size = _STATIC_BYTES if index <= _STATIC_FIELDS else self._largest_field
                if size == 0:
                    raise NotMeasurable("headers are malformed")  # nothing is there to be named
            elif first & 0xE0 == 0x20:  # §6.3: the table's size
                _, at = _integer(block, at, 5)
                size = _FIELD_BYTES
            else:  # §6.2
                is_kept = bool(first & 0x40)
                index, at = _integer(block, at, 6 if is_kept else 4)
                if index == 0:
                    name, at = _string(block, at)
                else:
                    name = _STATIC_NAME_BYTES if index <= _STATIC_FIELDS else self._longest_name
                value, at = _string(block, at)
                size = _FIELD_BYTES + name + value
                if is_kept:
                    self._longest_name = min(max(self._longest_name, name), _TABLE_BYTES)
                    self._largest_field = min(max(self._largest_field, size), _TABLE_BYTES)
            self._spend(size)
            if self._left < least:
                raise NotMeasurable("headers past all limits")


def _frame(received: bytearray, at: int) -> tuple[int, int, int]:
    """Length, type and flags of the frame that begins there."""
    return int.from_bytes(received[at : at + 3]), received[at + 3], received[at + 4]


def _without_priority(fragment: bytearray, flags: int) -> bytearray:
    """The header block in a HEADERS frame. Raises NotMeasurable.

    Padding is refused, and so grpc does, but only after it has read the padding as headers: what was measured would be
    something else than what it reads.
    """
    if flags & _PADDED:
        raise NotMeasurable("headers are padded")
    if not flags & _PRIORITY:
        return fragment
    if len(fragment) < _PRIORITY_BYTES:
        raise NotMeasurable("frames are malformed")
    return fragment[_PRIORITY_BYTES:]


def _integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """An integer [RFC 7541 §5.1], and where it ends. Raises NotMeasurable."""
    most: Final = (1 << prefix_bits) - 1
    value = block[at] & most
    if value < most:
        return value, at + 1
    for number, byte in enumerate(block[at + 1 : at + 1 + _MAX_INTEGER_BYTES]):
        value += (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, at + 2 + number
    raise NotMeasurable("headers are malformed")


def _string(block: bytes, at: int) -> tuple[int, int]:
    """What the string [RFC 7541 §5.2] that begins there comes to at most, and where it ends. Raises NotMeasurable."""
    if at >= len(block):
        raise NotMeasurable("headers are malformed")
    is_huffman = block[at] & 0x80
    length, start = _integer(block, at, 7)
    end = start + length
    if end > len(block):
        raise NotMeasurable("headers are malformed")
    return (length * 8 // _SHORTEST_CODE_BITS if is_huffman else length), end

"""HTTP/2 by hand, for a peer that keeps to no rule of it: frames as bytes [RFC 9113]."""

from collections.abc import Iterable, Mapping

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # §3.4
MAX_FRAME_BYTES = 16_384  # §6.5.2, as long as the peer has not allowed more
PADDED = 0x8  # §6.2
CANCEL = 0x8  # §7
VERIFY = "/sidegate.v1.VerificationService/Verify"
BATCH_VERIFY = "/sidegate.v1.VerificationService/BatchVerify"


def hello(settings: Mapping[int, int] | None = None) -> bytes:
    """What a client says first."""
    return PREFACE + SettingsFrame(0, settings=dict(settings or {})).serialize()


def header_block(path: str = VERIFY, extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """The headers of a gRPC call; nothing is put into the peer's table, so every stream can begin with the same."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "sidegate"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]
    # The third field keeps a header out of the table (RFC 7541 §6.2.3).
    return Encoder().encode([(name, value, True) for name, value in headers], huffman=False)


def headers(stream: int, block: bytes, *flags: str) -> bytes:
    """A HEADERS frame. Flags: END_HEADERS, END_STREAM."""
    return HeadersFrame(stream, data=block, flags=flags).serialize()


def padded(frame: bytes) -> bytes:
    """A frame whose payload begins with the length of the padding at its end, if it is read as it is marked now."""
    return frame[:4] + bytes([frame[4] | PADDED]) + frame[5:]


def continuation(stream: int, block: bytes, *flags: str) -> bytes:
    """A CONTINUATION frame."""
    return ContinuationFrame(stream, data=block, flags=flags).serialize()


def split_headers(stream: int, block: bytes) -> bytes:
    """A header block of any size, in as many frames as it takes."""
    parts = [block[start : start + MAX_FRAME_BYTES] for start in range(0, len(block), MAX_FRAME_BYTES)]
    frames = [headers(stream, parts[0]), *(continuation(stream, part) for part in parts[1:-1])]
    return b"".join(frames) + continuation(stream, parts[-1], "END_HEADERS")


def data(stream: int, payload: bytes, *flags: str) -> bytes:
    """As many DATA frames as it takes; the flags are the last one's."""
    starts = range(0, max(len(payload), 1), MAX_FRAME_BYTES)
    frames = [DataFrame(stream, data=payload[start : start + MAX_FRAME_BYTES]) for start in starts]
    frames[-1].flags |= set(flags)
    return b"".join(frame.serialize() for frame in frames)


def message(body: bytes, length: int | None = None) -> bytes:
    """A gRPC message, with another length than its own if told so."""
    return b"\0" + (len(body) if length is None else length).to_bytes(4, "big") + body


def reset(stream: int) -> bytes:
    """An RST_STREAM frame: the call is cancelled."""
    return RstStreamFrame(stream, error_code=CANCEL).serialize()


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; an increment of 0 is an error of the stream (§6.9)."""
    frame = WindowUpdateFrame(stream, window_increment=1).serialize()
    return frame[:-4] + increment.to_bytes(4, "big")  # by hand, for hyperframe refuses to write 0


def ping() -> bytes:
    """A PING frame, which wants an answer."""
    return PingFrame(0, opaque_data=b"sidegate").serialize()


def settings() -> bytes:
    """A SETTINGS frame without a setting, which wants an answer all the same."""
    return SettingsFrame(0).serialize()

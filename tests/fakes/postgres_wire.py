"""Messages of PostgreSQL's wire protocol, version 3, as far as fakes between client and server need them.

Source: PostgreSQL's manual, "Frontend/Backend Protocol", sections "Message Formats" and "Message Flow".
"""

import asyncio
import struct
from typing import NamedTuple

SSL_REQUEST = 80877103
GSS_ENCRYPTION_REQUEST = 80877104
CANCEL_REQUEST = 80877102
PROTOCOL_3 = 3 << 16

_LENGTH = struct.Struct("!I")
_CODE = struct.Struct("!II")


class Message(NamedTuple):
    """One message: its type, a single byte, and what follows its length."""

    kind: bytes
    body: bytes

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        return self.kind + _LENGTH.pack(len(self.body) + _LENGTH.size) + self.body


async def read_message(reader: asyncio.StreamReader, kind: bytes | None = None) -> Message:
    """The next message, its `kind` read already or not.

    Raises: asyncio.IncompleteReadError, at the end of the stream.
    """
    return Message(kind or await reader.readexactly(1), await _read_body(reader))


async def read_start(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """What a client begins with: the request code, and the parameters that come with PROTOCOL_3.

    Raises: asyncio.IncompleteReadError, at the end of the stream.
    """
    body = await _read_body(reader)
    (code,) = _LENGTH.unpack_from(body)
    words = [word.decode() for word in body[_LENGTH.size :].split(b"\0")] if code == PROTOCOL_3 else []
    return code, {name: value for name, value in zip(words[::2], words[1::2], strict=False) if name}


def start(parameters: dict[str, str]) -> bytes:
    """What a client of PROTOCOL_3 begins with."""
    words = b"".join(word.encode() + b"\0" for item in parameters.items() for word in item) + b"\0"
    return _CODE.pack(len(words) + _CODE.size, PROTOCOL_3) + words


def error(code: str, message: str, *, severity: str = "ERROR") -> Message:
    """An ErrorResponse. `code` is an SQLSTATE."""
    fields = {"S": severity, "V": severity, "C": code, "M": message}
    return Message(b"E", b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0")


async def _read_body(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length - _LENGTH.size)

"""A passage: what arrives at one connection leaves at another, no faster than that takes it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

BUFFERED_BYTES = 64 * 1024  # that wait for a slow reader, before who sends has to wait too


class End(asyncio.Protocol):
    """One of its two connections. Reads nothing before both stand.

    Args:
        screened: What is to leave of bytes that arrived. Raises ConnectionAbortedError: no more of this connection.

    Attributes:
        transport: Once it is connected.
        ended: Done once nothing more arrives.
        lost: Done once the connection is closed.
    """

    transport: asyncio.Transport

    def __init__(self, screened: Callable[[bytes], bytes] = bytes) -> None:
        self._screened = screened
        self._other: asyncio.Transport | None = None
        self._early = b""
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def lead_to(self, other: "End") -> None:
        """Pass on what arrives, from now on."""
        self._other = other.transport
        if self._early:
            self.data_received(self._early)
            self._early = b""
        self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(BUFFERED_BYTES)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self._other is None:
            # Python before 3.11.4 reads although it was told not to by connection_made: cpython issue 103607.
            self._early += data
            self.transport.resume_reading()
            self.transport.pause_reading()
            return
        if self._other.is_closing():
            return
        try:
            self._other.write(self._screened(data))
        except ConnectionAbortedError:
            self.transport.abort()

    def eof_received(self) -> None:
        """Nothing more arrives; the transport closes."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._end()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """Who sends has to wait."""
        if self._other is not None:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        """Not any more."""
        if self._other is not None:
            self._other.resume_reading()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def pass_on(outer: End, connect: Callable[[End], Awaitable[object]], closing_seconds: float) -> None:
    """Pass bytes both ways until either side has ended; what was written still leaves, for so long. Closes both.

    Args:
        outer: Of a connection that stands.
        connect: Connects the other one. If it cannot, by an OSError, the first one is ended and that is all.
        closing_seconds: As above.
    """
    inner = End()
    try:
        await connect(inner)
    except BaseException as fault:
        outer.transport.abort()
        if not isinstance(fault, OSError):
            raise
        return
    outer.lead_to(inner)
    inner.lead_to(outer)
    try:
        await asyncio.wait((outer.ended, inner.ended), return_when=asyncio.FIRST_COMPLETED)
        outer.transport.close()
        inner.transport.close()
        await asyncio.wait((outer.lost,), timeout=closing_seconds)
    finally:
        outer.transport.abort()
        inner.transport.abort()

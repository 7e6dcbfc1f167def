"""A TCP balancer on loopback that treats connections as a Kubernetes Service does."""

import asyncio

from tests.fakes.proxy import Proxy


class Balancer(Proxy):
    """Sends each new connection to one of its servers, and leaves open ones alone, whatever becomes of their server.

    It is always the server that was added first: the unluckiest choice that a Service can make, for while one is being
    replaced nobody is sent to another before it is removed.

    Attributes:
        refused: How many connections their server did not accept. They are reset, and sent nowhere else.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._ports: tuple[int, ...] = ()
        super().__init__(0)

    def add(self, port: int) -> None:
        """One more server on loopback."""
        self._ports = (*self._ports, port)

    def remove(self, port: int) -> None:
        """No new connection goes to that server from now on."""
        self._ports = tuple(each for each in self._ports if each != port)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            if not self._ports:
                raise ConnectionRefusedError("no server is ready")
            return await asyncio.open_connection("127.0.0.1", self._ports[0])
        except OSError:
            self.refused += 1
            raise

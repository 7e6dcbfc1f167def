"""The listener that Prometheus asks: GET /metrics by HTTP/1.1, and nothing else.

Strangers can ask too. What they hold must not be what verification needs: a connection is for one request, has seconds
to make it, and there are only so many.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST

from sidegate_sidecar.binding import listening_sockets
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.logs import places
from sidegate_sidecar.metrics.collector import Sources, registry_of

PATH = "/metrics"
MAX_CONNECTIONS = 64  # as of health; beside them there is room for whoever verifies
CONNECTION_SECONDS = 5.0  # from its beginning to its end; a page is made in 1 ms
MAX_LINE_BYTES = 2048  # of the request's first line, and of each header: Prometheus's Accept has 300
MAX_HEADERS = 32
BACKLOG = 32  # as many are accepted in one turn of the event loop: fewer than there are places, so none is lost in it
ENDING_SECONDS = 0.25

_OPENMETRICS = "application/openmetrics-text"

_openmetrics: Any = openmetrics  # which has no types
_unheard = logging.getLogger(f"{__name__}.requests")
_unheard.setLevel(logging.CRITICAL)  # aiohttp logs each request that is none as an error: strangers would fill the log

_log = structlog.get_logger(__name__)


class MetricsEndpoint:
    """An HTTP server on an address. Start once, stop once; stopping what did not start is fine.

    Args:
        listener: The address.
        sources: Where the values are read.
    """

    def __init__(self, listener: Listener, sources: Sources) -> None:
        self._listener = listener
        self._registry = registry_of(sources)
        self._connections: _Connections | None = None
        self._accepting: list[asyncio.Server] = []

    async def start(self) -> list[Listener]:
        """Bind and serve. Where it listens, with the port that the system chose.

        Raises:
            ListenerUnavailable: The address cannot be had.
        """
        bound = await listening_sockets(self._listener, BACKLOG)
        self._connections = _Connections(
            self._answer,
            access_log=None,
            logger=_unheard,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=0,  # nobody waits here for a body that nobody reads
            read_bufsize=MAX_LINE_BYTES,
            auto_decompress=False,
        )
        loop = asyncio.get_running_loop()
        self._accepting = [await loop.create_server(self._connections, sock=each, backlog=BACKLOG) for each in bound]
        return [Listener(host=self._listener.host, port=bound[0].getsockname()[1])]

    async def stop(self) -> None:
        """Accept nobody any more, and end what is open."""
        for accepting in self._accepting:
            accepting.close()
        if self._connections is not None:
            await self._connections.shutdown(ENDING_SECONDS)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != PATH:
            response = web.Response(status=404, text=f"there is nothing here but {PATH}\n")
        elif request.method != "GET":
            response = web.Response(status=405, text="only GET\n", headers={"Allow": "GET"})
        else:
            response = self._page(request.headers.get("Accept", ""))
        response.force_close()
        return response

    def _page(self, accepted: str) -> web.Response:
        # Not prometheus-client's choice of the two, which fails at a version that is no number.
        wants_openmetrics = any(part.partition(";")[0].strip().lower() == _OPENMETRICS for part in accepted.split(","))
        try:
            if wants_openmetrics:
                body, content_type = _openmetrics.generate_latest(self._registry), CONTENT_TYPE_LATEST
            else:
                body, content_type = generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
        except Exception as fault:  # noqa: BLE001 - a fault of ours; aiohttp would log it with its traceback
            _log.error("internal_error", exception=type(fault).__qualname__, where=places(fault))
            return web.Response(status=500, text="a fault of sidegate's own; its log says where\n")
        return web.Response(body=body, headers={"Content-Type": content_type})


class _Connections(web.Server):
    """Only so many at a time, each only for so long. Who comes on top gets the place of the oldest: a scrape needs its
    own for milliseconds, and who holds one for seconds does not scrape.
    """

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any) -> None:
        super().__init__(answer, **options)
        self._open: dict[web.RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}  # the oldest first

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Called by aiohttp."""
        super().connection_made(handler, transport)
        if len(self._open) >= MAX_CONNECTIONS:
            self._cut_off(next(iter(self._open)))
        limit = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, self._cut_off, handler)
        self._open[handler] = transport, limit

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Called by aiohttp."""
        super().connection_lost(handler, exc)
        if handler in self._open:
            _, limit = self._open.pop(handler)
            limit.cancel()

    def _cut_off(self, handler: web.RequestHandler) -> None:
        transport, limit = self._open.pop(handler)
        limit.cancel()
        transport.abort()

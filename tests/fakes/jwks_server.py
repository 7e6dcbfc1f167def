"""An issuer's HTTP server on loopback: publishes a key set, refuses, fails or hangs, as a test wants."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 30.0  # how long a request is held at most, and how long a test waits for one


class JwksServer:
    """Publishes what `document` returns at the moment of asking. A context manager.

    From the beginning it has a port, but nobody can connect before `open`.

    Attributes:
        status: The HTTP status to answer with.
        asked: How many requests came.
    """

    def __init__(self, document: Callable[[], bytes]) -> None:
        self.document = document
        self.status = 200
        self.asked = 0
        self._arrived = threading.Condition()
        self._may_answer = threading.Event()
        self._may_answer.set()
        # Bound but not listening: connections are refused, and nobody else can take the port.
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(), bind_and_activate=False)
        self._server.server_bind()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the key set is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"

    def open(self) -> None:
        """Let connections in."""
        self._server.server_activate()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def hold(self) -> None:
        """Answer nobody until `release`."""
        self._may_answer.clear()

    def release(self) -> None:
        """Answer all who wait, and who comes."""
        self._may_answer.set()

    def wait_until_asked(self, times: int) -> None:
        """Return once that many requests have come in all."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.asked >= times, PATIENCE_SECONDS), "nobody asked for the keys"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with outer._arrived:
                    outer.asked += 1
                    outer._arrived.notify_all()
                outer._may_answer.wait(PATIENCE_SECONDS)
                body = outer.document()
                try:
                    self.send_response(outer.status)
                    self.send_header("Content-Type", "application/jwk-set+json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # who asked has given up, as a sidecar does that is stopped

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                """Keep quiet."""

        return Handler

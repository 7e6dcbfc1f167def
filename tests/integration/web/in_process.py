"""Requests handed to an application as its server would, without one: by ASGI and by WSGI."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Pairs = Sequence[tuple[str, str]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True)
class Sent:
    """A request. `path` holds the query too."""

    method: str
    path: str
    headers: Pairs = ()


@dataclass(frozen=True)
class Reply:
    """A response. Header names are in lower case."""

    status: int
    headers: Pairs
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object."""
        parsed: dict[str, Any] = json.loads(self.text)
        return parsed

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for known, value in self.headers if known == name]

    def one(self, name: str) -> str | None:
        """The value of a header that comes once, or not at all."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


def call_wsgi(application: Wsgi, sent: Sent) -> Reply:
    """As gunicorn does: repeated fields are joined by commas."""
    path, _, query = sent.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in sent.headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        started.append((status, headers))

    answer = application(environ, start_response)
    try:
        text = b"".join(answer).decode()
    finally:
        if close := getattr(answer, "close", None):
            close()
    status, headers = started[-1]
    # White space around a value is no part of it (RFC 9110 section 5.5); Django leaves some before cookies.
    return Reply(int(status.split()[0]), [(name.lower(), value.strip()) for name, value in headers], text)


def http_scope(sent: Sent) -> dict[str, Any]:
    """What ASGI says of a request."""
    path, _, query = sent.path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (b"host", b"localhost"),
            *((name.lower().encode(), value.encode()) for name, value in sent.headers),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "extensions": {},
    }


async def call_asgi(application: Asgi, sent: Sent) -> Reply:
    """As uvicorn does: every field by itself."""
    incoming: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
    outgoing: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        # A client that stays: Django waits for it to hang up meanwhile.
        return incoming.pop() if incoming else await _never()

    async def send(message: dict[str, Any]) -> None:
        outgoing.append(message)

    await application(http_scope(sent), receive, send)
    start, *parts = outgoing
    text = b"".join(part.get("body", b"") for part in parts).decode()
    return Reply(start["status"], [(name.decode().lower(), value.decode()) for name, value in start["headers"]], text)


async def _never() -> Any:
    await asyncio.Event().wait()

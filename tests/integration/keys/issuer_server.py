"""An issuer on loopback that answers, or misbehaves, as a test says. Bytes by hand: no HTTP library sends these."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.unit.keys.key_material import Jwk, jwks

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]


@dataclass
class IssuerServer:
    """Answers each request with what `paths` holds for its path, else with `answer`. Keeps every request."""

    answer: Answer
    paths: dict[str, Answer] = field(default_factory=dict[str, Answer])
    requests: list[Request] = field(default_factory=list[Request])
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}" if self.scheme == "https" else f"http://127.0.0.1:{self.port}"

    def publish(self, *members: Jwk, max_age: int | None = None) -> None:
        self.answer = key_set(*members, max_age=max_age)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            path = head[0].split(" ")[1]
            self.requests.append(Request(path, headers))
            await self.paths.get(path, self.answer)(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client had enough, which is what some tests are about
        finally:
            writer.close()


@asynccontextmanager
async def running(issuer: IssuerServer, tls: ssl.SSLContext | None = None) -> AsyncGenerator[IssuerServer]:
    """Serve on a free port of 127.0.0.1 (the same one again if it had one), and end every connection in the end."""
    handlers: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(issuer.serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", issuer.port, ssl=tls)
    issuer.port = server.sockets[0].getsockname()[1]
    issuer.scheme = "https" if tls is not None else "http"
    try:
        yield issuer
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()


def respond(
    body: bytes, *, status: str = "200 OK", length: int | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """One response. `length`: a Content-Length other than the truth."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


def key_set(*members: Jwk, max_age: int | None = None) -> Answer:
    return respond(jwks(*members), headers={} if max_age is None else {"Cache-Control": f"max-age={max_age}"})


def configuration(issuer: str, jwks_uri: object) -> Answer:
    return respond(json.dumps({"issuer": issuer, "jwks_uri": jwks_uri}).encode())


def chunks(chunk: bytes, pause: float) -> Answer:
    """Chunks without end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def raw(octets: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(octets)

    return answer


async def silence(_writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""
    await asyncio.Event().wait()

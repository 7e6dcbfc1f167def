"""Web servers as processes of their own, and requests to them over real sockets."""

import http.client
import re
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.sidecar.processes import BIN, ENVIRONMENT, ROOT, eventually
from tests.integration.web.in_process import Pairs, Reply, Sent

PORT = re.compile(r"(127\.0\.0\.1:|--port )80\d\d")
SIDECAR = "127.0.0.1:7311"  # where `make run` listens
EXAMPLES = ROOT / "clients/python/examples"

_EXAMPLES = EXAMPLES.relative_to(ROOT)
SERVERS = {  # of the examples, as commands of a README
    "uvicorn, 2 workers, FastAPI": f"uvicorn --app-dir {_EXAMPLES}/fastapi_app --port 8001 --workers 2 app:app",
    "gunicorn, preload, 3 workers, Flask": (
        f"gunicorn --chdir {_EXAMPLES}/flask_app --bind 127.0.0.1:8001 --workers 3 --preload app:app"
    ),
    "uvicorn, 2 workers, Django": f"uvicorn --app-dir {_EXAMPLES}/django_app --port 8001 --workers 2 project:asgi",
    "gunicorn, preload, 3 workers, Django": (
        f"gunicorn --chdir {_EXAMPLES}/django_app --bind 127.0.0.1:8001 --workers 3 --preload project:wsgi"
    ),
}
# Flask's own, for development: it joins repeated headers too.
WERKZEUG = f"flask --app {_EXAMPLES}/flask_app/app.py run --port 8001"


@dataclass(frozen=True)
class WebServer:
    """One that runs, on loopback."""

    port: int
    log: Path

    def send(self, sent: Sent) -> Reply:
        """By a connection of the request's own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(sent.method, sent.path)
            for name, value in sent.headers:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            headers = [(name.lower(), value.strip()) for name, value in response.getheaders()]
            return Reply(response.status, headers, response.read().decode())
        finally:
            connection.close()

    def until(self, sent: Sent, status: int) -> Reply:
        """The first answer of that status."""

        def find() -> Reply | None:
            reply = self.send(sent)
            return reply if reply.status == status else None

        return eventually(find, f"{sent.path} was never answered with {status}")


@contextmanager
def running_server(command: str, target: str) -> Generator[WebServer, None, None]:
    """Run a README's command from the root of the repository, but for its addresses and where its programs are."""
    port = free_port()
    command = PORT.sub(lambda found: f"{found[1]}{port}", command).replace(SIDECAR, target)
    command = command.replace(".venv/bin/", f"{shlex.quote(str(BIN))}/")
    with tempfile.TemporaryDirectory(prefix="sidegate-web-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["sh", "-c", f"exec env {command}"],  # noqa: S607 - any POSIX shell will do
                cwd=ROOT,
                env=ENVIRONMENT | {"HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            server = WebServer(port, log)
            eventually(lambda: _listens(process, server), "the web server never listened")
            yield server
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def cookie(token: str) -> Pairs:
    """What a browser sends, and what no other site could make it send."""
    return [("Cookie", f"session={token}"), ("X-Requested-With", "test")]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(process: "subprocess.Popen[bytes]", server: WebServer) -> bool | None:
    assert process.poll() is None, server.log.read_text()
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except ConnectionRefusedError:
        return None
    return True

"""Web servers as processes of their own, and requests to them over real sockets."""

import http.client
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.integration.sidecar.processes import BIN, ENVIRONMENT, ROOT, eventually
from tests.integration.web.in_process import Pairs, Reply, Sent

EXAMPLES = ROOT / "clients/python/examples"
SERVERS = {  # of the examples, as their READMEs start them
    "uvicorn, 2 workers, FastAPI": "make example-fastapi",
    "gunicorn, preload, 3 workers, Flask": "make example-flask",
    "uvicorn, 2 workers, Django": "make example-django",
    "gunicorn, preload, 3 workers, Django": "make example-django-wsgi",
}
# Flask's own, for development: it joins repeated headers too.
WERKZEUG = f"flask --app {EXAMPLES}/flask_app/app.py run --port $PORT"


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
    """Run a command from the root of the repository. PORT says where it is to listen. What `make` would install is what
    runs the tests.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sidegate-web-") as folder:
        log = Path(folder) / "log"
        variables = {
            "HOME": folder,
            "MAKEFLAGS": f"VENV={environment_for_make(Path(folder), BIN)}",
            "PORT": str(port),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SIDEGATE_TARGET": target,
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],  # noqa: S607 - any POSIX shell will do
                cwd=ROOT,
                env=ENVIRONMENT | variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            server = WebServer(port, log)
            eventually(lambda: _listens(process, server), "the web server never listened")
            yield server
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):  # nothing is left of it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def environment_for_make(folder: Path, programs: Path) -> Path:
    """An environment that `make` takes for complete and newer than every lock. Its programs are those given."""
    environment = folder / "venv"
    environment.mkdir()
    programs.mkdir(exist_ok=True)
    (environment / "bin").symlink_to(programs)
    for stamp in (".created", ".sidecar", ".examples"):
        (environment / stamp).touch()
    return environment


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

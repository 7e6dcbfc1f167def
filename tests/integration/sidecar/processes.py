"""The sidecar as users run it: a process of its own, told by SIDEGATE_* variables, ended by its pid."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2
from sidegate import RevocationClient, SessionClient

from tests.fakes.issuer import FakeIssuer

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 60.0  # a loaded machine is slow; only what never comes takes this long
EXIT_SECONDS = 10.0  # docs/operations.md: what a stop may take at most
ENVIRONMENT = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8", "TERM": "dumb", "COLUMNS": "200"}

VERIFICATION = "sidegate.v1.VerificationService"
REVOCATION = "sidegate.v1.RevocationService"
SESSIONS = "sidegate.v1.SessionService"

FoundT = TypeVar("FoundT")

_TOKEN = re.compile(r"eyJ[\w-]{8,}\.")  # the beginning of every JWT: base64url of '{"'


class Sidecar:
    """`sidegate run` on a Unix socket and a TCP port, the admin services on a socket of their own.

    Args:
        folder: Where its sockets, its log and, unless told otherwise, its store lie. The path must be short.
        settings: SIDEGATE_* variables without the prefix, in lower case; they win over the defaults. Empty: not set.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.target = f"unix://{folder}/data.sock"
        self.admin_target = f"unix://{folder}/admin.sock"
        self.folder = folder
        told = {
            "listen": f"127.0.0.1:0,{self.target}",
            "admin_listen": self.admin_target,
            "store_url": f"sqlite://{folder}/sessions.db",
            **settings,
        }
        self.variables = {f"SIDEGATE_{name.upper()}": value for name, value in told.items() if value}
        self._log = folder / f"log-{time.monotonic_ns()}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sidegate_sidecar", "run"],
                cwd=folder,
                env=ENVIRONMENT | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """All that it wrote so far, on either stream."""
        return self._log.read_text(errors="backslashreplace")

    @property
    def tcp_target(self) -> str:
        """Its TCP address."""
        return str(self.wait_for_event("listening")["data_plane"][0])

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """The first log line of that event, as soon as there is one."""

        def find() -> dict[str, Any] | None:
            for line in self.log.splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n") and json.loads(line)["event"] == name:
                    found: dict[str, Any] = json.loads(line)
                    return found
            assert self.process.poll() is None, f"the sidecar has exited:\n{self.log}"
            return None

        return eventually(find, f"the log has no {name!r}")

    def wait_until_serving(self) -> None:
        """Return once health says SERVING of everything."""
        self.wait_for_event("serving")

    def verification(self) -> SessionClient:
        """A client of the data plane, by the Unix socket, that asks it every time. The caller closes it."""
        return SessionClient(self.target, timeout=10, near_cache=False)

    def administration(self) -> RevocationClient:
        """A client of the admin plane. The caller closes it."""
        return RevocationClient(self.admin_target, timeout=10)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as an orchestrator does. The exit status."""
        self.process.send_signal(number)
        return self.process.wait(EXIT_SECONDS)

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.process.kill()
        self.process.wait()


def check_output(text: str) -> None:
    """Fail if a text that people or log stores get to see holds a token or a stack trace."""
    assert "Traceback" not in text
    assert _TOKEN.search(text) is None
    assert ", in <module>" not in text


@contextmanager
def starting_sidecar(folder: Path, **settings: str) -> Generator[Sidecar, None, None]:
    """A sidecar that listens, and need not serve. Ended at the latest with the block; its log must be clean."""
    sidecar = Sidecar(folder, settings)
    try:
        sidecar.wait_for_event("listening")
        yield sidecar
        if sidecar.process.poll() is None:
            assert sidecar.stop() == 0
        check_output(sidecar.log)
    finally:
        sidecar.kill()


@contextmanager
def running_sidecar(folder: Path, **settings: str) -> Generator[Sidecar, None, None]:
    """As `starting_sidecar`, and it serves."""
    with starting_sidecar(folder, **settings) as sidecar:
        sidecar.wait_until_serving()
        yield sidecar


def file_issuer(issuer: FakeIssuer, folder: Path, **entry: object) -> dict[str, object]:
    """An entry of SIDEGATE_ISSUERS whose keys lie in a file, which is written now."""
    path = folder / f"{re.sub('[^a-z]+', '-', issuer.name)}.json"
    path.write_bytes(issuer.jwks())
    return {"issuer": issuer.name, "jwks_file": str(path), **entry}


def eventually(find: Callable[[], FoundT | None], complaint: str) -> FoundT:
    """What `find` returns once it is not None."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := find()) is None:
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)
    return found


def health(channel: grpc.Channel, service: str) -> str:
    """What health says now of a service, "" being the whole."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = check(health_pb2.HealthCheckRequest(service=service), timeout=10, wait_for_ready=True)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def run_sidegate(
    *arguments: str | Path, folder: Path, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end. What it wrote must be clean, unless a token was asked for."""
    outcome = subprocess.run(
        [BIN / "sidegate", *arguments],
        cwd=folder,
        env=ENVIRONMENT | variables,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    check_output(outcome.stderr)
    return outcome


def issuers_setting(*entries: Mapping[str, object]) -> str:
    """SIDEGATE_ISSUERS for these entries."""
    return json.dumps(entries)

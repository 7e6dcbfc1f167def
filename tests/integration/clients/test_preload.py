"""gunicorn with --preload: the client was used before the fork, and every worker uses it or is told that it cannot."""

import http.client
import socket
import subprocess
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import (
    BIN,
    EXIT_SECONDS,
    ROOT,
    Sidecar,
    check_output,
    eventually,
    file_issuer,
    issuers_setting,
    running_sidecar,
)
from tests.unit.client.forks import FORKS, environment_with, supports

WORKERS = 3
ANSWER_SECONDS = 30.0  # a worker that takes longer hangs


class UnixConnection(http.client.HTTPConnection):
    """A connection of one request's own."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path) -> tuple[str, str]:
    """Which worker answered, and what."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.status == 200
        worker, outcome = response.read().decode().split()
        return worker, outcome
    finally:
        connection.close()


@pytest.fixture
def sidecar(issuer: FakeIssuer, folder: Path) -> Iterator[Sidecar]:
    with running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as running:
        yield running


@contextmanager
def preloaded(sidecar: Sidecar, token: str, support: str | None) -> Generator[Path, None, None]:
    """gunicorn, ended with the block. Where it listens."""
    path, log = sidecar.folder / "web.sock", sidecar.folder / "web.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(BIN / "gunicorn", "--preload", "--workers", str(WORKERS), "--bind", f"unix:{path}"),
                *("--chdir", ROOT, "tests.integration.clients.preloaded_app:application"),
            ],
            env=environment_with(support) | {"SIDEGATE_TARGET": sidecar.target, "TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:

        def started() -> bool | None:
            assert process.poll() is None, log.read_text()
            return log.read_text().count("Booting worker") == WORKERS or None

        eventually(started, "gunicorn never started its workers")
        yield path
        process.terminate()
        assert process.wait(EXIT_SECONDS) == 0
        check_output(log.read_text())
    finally:
        process.kill()
        process.wait()


def answers(path: Path) -> dict[str, str]:
    """What each of the workers answers, by its id."""
    found: dict[str, str] = {}
    with ThreadPoolExecutor(2 * WORKERS) as browsers:

        def everybody_answered() -> bool | None:
            found.update(browsers.map(ask, [path] * 2 * WORKERS))
            return len(found) == WORKERS or None

        eventually(everybody_answered, "not all workers ever answered")
    return found


@supports
@pytest.mark.timeout(60 + 20 * FORKS)
def test_workers_of_a_preloaded_service_use_the_client(
    sidecar: Sidecar, issuer: FakeIssuer, support: str | None
) -> None:
    token = issuer.mint("ada")
    for _ in range(FORKS):
        with preloaded(sidecar, token, support) as path:
            assert set(answers(path).values()) == {"ForkUnsupported" if support == "0" else "ada"}

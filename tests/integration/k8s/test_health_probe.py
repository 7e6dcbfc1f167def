"""`sidegate-health`, against real gRPC servers in every state."""

import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.integration.sidecar.processes import BIN, ENVIRONMENT, PATIENCE_SECONDS

READY, NOT_READY = 0, 1

Status = health_pb2.HealthCheckResponse


class Checked:
    """A server with nothing but health, on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.target = f"unix://{folder}/s"
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(1))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_insecure_port(self.target)
        self._server.start()

    def say(self, status: int) -> None:
        """What health says from now on of the whole."""
        self._health.set("", status)

    def stop(self) -> None:
        """End it."""
        self._server.stop(None).wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Checked]:
    checked = Checked(tmp_path)
    yield checked
    checked.stop()


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "sidegate-health", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize(
    ("status", "ready"),
    [(Status.SERVING, READY), (Status.NOT_SERVING, NOT_READY), (Status.UNKNOWN, NOT_READY)],
    ids=["SERVING", "NOT_SERVING", "UNKNOWN"],
)
def test_ready_is_what_health_calls_serving_and_alive_what_answers(server: Checked, status: int, ready: int) -> None:
    server.say(status)

    assert probe(server.target).returncode == ready
    assert probe("--alive", server.target).returncode == READY


@pytest.mark.parametrize("option", [(), ("--alive",)], ids=["ready", "alive"])
def test_where_nobody_listens_nothing_is_ready_or_alive(option: tuple[str, ...], tmp_path: Path) -> None:
    outcome = probe(*option, f"unix://{tmp_path}/none")

    assert outcome.returncode == NOT_READY
    assert outcome.stderr == f"UNAVAILABLE: no answer from unix://{tmp_path}/none\n"


def test_a_server_that_hangs_is_not_alive_and_the_probe_ends_by_itself(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "s"))
        mute.listen()

        outcome = probe("--alive", f"unix://{tmp_path}/s")

    assert outcome.returncode == NOT_READY
    assert "no answer" in outcome.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("-x", "unix:///s"), ("unix:///a", "unix:///b")], ids=" ".join)
def test_another_command_line_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    outcome = probe(*arguments)

    assert outcome.returncode == os.EX_USAGE
    assert outcome.stderr.startswith("usage: ")

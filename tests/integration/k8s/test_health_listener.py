"""The listener for health alone: what it says and when, that it says nothing else, and what strangers can do to it."""

import json
import signal
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sidegate.v1 import revocation_pb2, revocation_pb2_grpc

from tests.fakes.issuer import FakeIssuer
from tests.fakes.jwks_server import JwksServer
from tests.integration.floods.attacker import Prey, attacking
from tests.integration.floods.attacks import COSTLY
from tests.integration.sidecar.processes import (
    Sidecar,
    eventually,
    file_issuer,
    health,
    issuers_setting,
    run_sidegate,
    running_sidecar,
    starting_sidecar,
)

EVERYTHING, LIVENESS = "", "liveness"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PLACES = 64  # connections that the listener takes at a time
UNAVAILABLE = 69
MIB = 1024 * 1024

# Whatever else a sidecar serves anywhere.
OTHERS = [
    "/sidegate.v1.VerificationService/Verify",
    "/sidegate.v1.VerificationService/BatchVerify",
    "/sidegate.v1.VerificationService/SignOut",
    "/sidegate.v1.VerificationService/GetServingStatus",
    "/sidegate.v1.RevocationFeedService/WatchRevocations",
    "/sidegate.v1.RevocationService/RevokeSession",
    "/sidegate.v1.SessionService/GetSession",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


@pytest.fixture(scope="module")
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer) -> Iterator[Sidecar]:
    """One that serves, reflection too, and health alone on every address."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as name:
        folder = Path(name)
        settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "reflection": "true"}
        with running_sidecar(folder, **settings, health_listen="0.0.0.0:0") as running:
            yield running


def port_of(sidecar: Sidecar) -> int:
    """Where it serves health alone."""
    [listener] = sidecar.wait_for_event("listening")["health"]
    return int(listener.rpartition(":")[2])


def probe(sidecar: Sidecar, service: str) -> str:
    """What health says, on a connection of its own, as kubelet asks."""
    with grpc.insecure_channel(f"127.0.0.1:{port_of(sidecar)}") as channel:
        return health(channel, service)


def watch_health(channel: grpc.Channel) -> Iterator[Any]:
    """What health says, as it changes."""
    watch: grpc.UnaryStreamMultiCallable[bytes, Any] = channel.unary_stream(
        "/grpc.health.v1.Health/Watch", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    return watch(b"", timeout=60)


def test_it_is_alive_before_it_is_ready(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.hold()
        server.open()
        settings = {"issuer": issuer.name, "jwks_url": server.url, "health_listen": "127.0.0.1:0"}
        with starting_sidecar(folder, **settings) as sidecar:
            assert (probe(sidecar, EVERYTHING), probe(sidecar, LIVENESS)) == ("NOT_SERVING", "SERVING")
            server.release()
            sidecar.wait_until_serving()
            assert (probe(sidecar, EVERYTHING), probe(sidecar, LIVENESS)) == ("SERVING", "SERVING")


def test_while_it_drains_it_is_alive_and_not_ready(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "health_listen": "127.0.0.1:0"}
    with (
        running_sidecar(folder, **settings, shutdown_grace="10s") as sidecar,
        grpc.insecure_channel(sidecar.admin_target) as channel,
    ):
        stub = revocation_pb2_grpc.RevocationServiceStub(channel)
        lock = sqlite3.connect(folder / "sessions.db", isolation_level=None)
        try:
            lock.execute("BEGIN IMMEDIATE")
            call = stub.RevokeSession.future(revocation_pb2.RevokeSessionRequest(session_handle="s"), timeout=30)
            # Sent after it on the same connection and answered: so the first one has arrived.
            stub.ListRevocations(revocation_pb2.ListRevocationsRequest(), timeout=10)
            sidecar.process.send_signal(signal.SIGTERM)
            sidecar.wait_for_event("draining")

            eventually(lambda: probe(sidecar, EVERYTHING) == "NOT_SERVING" or None, "health was not told")
            assert probe(sidecar, LIVENESS) == "SERVING"
        finally:
            lock.close()
        assert call.result().newly_revoked
        assert sidecar.process.wait(10) == 0


def test_a_watch_is_told_of_the_end_and_ended(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "health_listen": "127.0.0.1:0"}
    with (
        running_sidecar(folder, **settings, shutdown_grace="10s") as sidecar,
        grpc.insecure_channel(f"127.0.0.1:{port_of(sidecar)}") as channel,
    ):
        watch = watch_health(channel)
        assert next(watch).status == SERVING
        sidecar.process.send_signal(signal.SIGTERM)

        assert [answer.status for answer in watch] == [NOT_SERVING]
        assert sidecar.process.wait(10) == 0


@pytest.mark.parametrize("method", OTHERS)
def test_nothing_else_is_served_there(method: str, sidecar: Sidecar) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(sidecar)}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(b"", timeout=10)

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["sidegate.v1.VerificationService", "readiness", "Liveness"])
def test_another_service_is_unknown_there(service: str, sidecar: Sidecar) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        probe(sidecar, service)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_pod_of_either_family_of_addresses_is_reached(sidecar: Sidecar) -> None:
    """On every address of IPv4 is on every address of IPv6 as well, where the host has that."""
    with socket.socket(socket.AF_INET6) as tried:
        try:
            tried.bind(("::1", 0))
        except OSError:
            pytest.skip("this host has no IPv6")
    with grpc.insecure_channel(f"[::1]:{port_of(sidecar)}") as channel:
        assert health(channel, EVERYTHING) == "SERVING"


def test_nobody_is_warned_of_it_for_it_carries_no_tokens(sidecar: Sidecar) -> None:
    sidecar.wait_for_event("listening")

    assert "listening_beyond_this_host" not in sidecar.log


def test_where_the_port_is_taken_the_sidecar_does_not_start(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = run_sidegate(
            "run",
            folder=folder,
            SIDEGATE_ISSUER="https://issuer.example",
            SIDEGATE_LISTEN=f"unix://{folder}/s",
            SIDEGATE_HEALTH_LISTEN=address,
        )

    assert outcome.returncode == UNAVAILABLE
    assert f"cannot listen on {address}: the address is in use" in outcome.stderr


def test_no_message_of_more_than_a_kilobyte_is_read(sidecar: Sidecar) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        probe(sidecar, "x" * 1024)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_connection_has_8_streams_at_most(sidecar: Sidecar) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(sidecar)}") as channel:
        watches = [watch_health(channel) for _ in range(8)]
        assert [next(watch).status for watch in watches] == [SERVING] * 8

        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=0.5)

    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_flood_of_connections_costs_verification_nothing_and_passes(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    """Neither file descriptors nor memory; and who holds a place without a word has it taken away."""
    port = port_of(sidecar)
    descriptors = Path(f"/proc/{sidecar.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with ExitStack() as flood, sidecar.verification() as client:
        held = [
            flood.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(5 * PLACES)
        ]
        assert client.verify(issuer.mint(user_id="alice")).user_id == "alice"

        most, answered = 0, False
        while not answered:
            answered = all(map(is_answered, held))  # by the first bytes of HTTP/2, or by the end of the connection
            most = max(most, len(list(descriptors.iterdir())))
        assert most <= before + 3 * PLACES + 20  # each has three, and what gives way takes a moment to close
        eventually(lambda: found_ready(port) or None, "the prober finds no place")


@pytest.mark.parametrize("name", COSTLY)
def test_a_flood_of_headers_costs_verification_nothing_and_passes(folder: Path, issuer: FakeIssuer, name: str) -> None:
    """gRPC alone would keep hundreds of megabytes of each."""
    with (
        running_sidecar(
            folder, issuers=issuers_setting(file_issuer(issuer, folder)), health_listen="127.0.0.1:0"
        ) as sidecar,
        sidecar.verification() as client,
    ):
        before = memory(sidecar, "VmRSS")
        with attacking(name, Prey(port=port_of(sidecar)), "", seconds=1, connections=PLACES) as attacker:
            assert client.verify(issuer.mint(user_id="alice")).user_id == "alice"
            assert attacker.damage().connections > PLACES

        assert memory(sidecar, "VmHWM") - before < 40 * MIB
        assert probe(sidecar, EVERYTHING) == "SERVING"
        refusals = [line for line in sidecar.log.splitlines() if '"health_connection_refused"' in line]
        assert {json.loads(line)["cause"] for line in refusals} <= {
            "headers past all limits",
            "headers without end",
            "headers are padded",
            "too many connections",
            "too much without a call",
        }


def memory(sidecar: Sidecar, which: str) -> int:
    """Bytes that it has resident, now (VmRSS) or at most (VmHWM)."""
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    [kilobytes] = [line.split()[1] for line in status.splitlines() if line.startswith(f"{which}:")]
    return int(kilobytes) * 1024


def is_answered(connection: socket.socket) -> bool:
    """Whether the server has said or done anything."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def found_ready(port: int) -> bool:
    """Whether health can be asked now."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=1)
        except grpc.RpcError:
            return False
        return True

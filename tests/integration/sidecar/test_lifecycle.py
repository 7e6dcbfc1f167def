"""Health, the modes of the sockets, and the end: NOT_SERVING first, calls in flight finish, exit 0 in time."""

import resource
import signal
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sidegate.v1 import revocation_pb2, revocation_pb2_grpc, verification_pb2, verification_pb2_grpc

from tests.fakes.issuer import FakeIssuer
from tests.fakes.jwks_server import JwksServer
from tests.integration.sidecar.processes import (
    EXIT_SECONDS,
    REVOCATION,
    SESSIONS,
    VERIFICATION,
    Sidecar,
    file_issuer,
    health,
    issuers_setting,
    running_sidecar,
    starting_sidecar,
)

SERVED = [("target", ""), ("target", VERIFICATION), ("admin_target", REVOCATION), ("admin_target", SESSIONS)]
NAME = health_pb2.HealthCheckResponse.ServingStatus.Name


@pytest.fixture
def settings(issuer: FakeIssuer, folder: Path) -> dict[str, str]:
    return {"issuers": issuers_setting(file_issuer(issuer, folder))}


def watch_health(channel: grpc.Channel, service: str) -> Iterator[Any]:
    """What health says of a service, as it changes. Spelled out because the stubs of grpc_health know no Watch."""
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return watch(health_pb2.HealthCheckRequest(service=service), timeout=60)


def test_each_service_is_not_serving_until_keys_and_index_are_there(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.hold()
        server.open()
        with starting_sidecar(folder, issuer=issuer.name, jwks_url=server.url) as sidecar:
            for target, service in SERVED:
                with grpc.insecure_channel(getattr(sidecar, target)) as channel:
                    assert health(channel, service) == "NOT_SERVING"
            server.release()
            sidecar.wait_until_serving()
            for target, service in SERVED:
                with grpc.insecure_channel(getattr(sidecar, target)) as channel:
                    assert health(channel, service) == "SERVING"


def test_a_service_that_a_plane_does_not_serve_is_unknown_to_its_health(folder: Path, settings: dict[str, str]) -> None:
    with running_sidecar(folder, **settings) as sidecar, grpc.insecure_channel(sidecar.target) as channel:
        for service in (REVOCATION, SESSIONS, "nonsense"):
            with pytest.raises(grpc.RpcError) as refused:
                health(channel, service)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_lists_what_a_plane_serves(folder: Path, settings: dict[str, str]) -> None:
    messages: Any = health_pb2  # its stubs know no List either
    with running_sidecar(folder, **settings) as sidecar, grpc.insecure_channel(sidecar.admin_target) as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/List",
            request_serializer=messages.HealthListRequest.SerializeToString,
            response_deserializer=messages.HealthListResponse.FromString,
        )
        listed = ask(messages.HealthListRequest(), timeout=10).statuses
        assert {name: NAME(answer.status) for name, answer in listed.items()} == dict.fromkeys(
            ["", "liveness", REVOCATION, SESSIONS, "sidegate.v1.RevocationFeedService"], "SERVING"
        )


def test_the_sockets_have_the_modes_that_keep_the_admin_plane_private(folder: Path, settings: dict[str, str]) -> None:
    deep = folder / "run"
    places = {"listen": f"unix://{deep}/data/s,127.0.0.1:0", "admin_listen": f"unix://{deep}/admin/s"}
    with running_sidecar(folder, **settings, **places):
        assert stat.S_IMODE((deep / "data/s").stat().st_mode) == 0o660
        assert stat.S_IMODE((deep / "admin/s").stat().st_mode) == 0o600
        assert stat.S_IMODE((deep / "data").stat().st_mode) == 0o2750
        assert stat.S_IMODE((folder / "sessions.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_though_health_is_watched(
    folder: Path, settings: dict[str, str], number: signal.Signals
) -> None:
    """Each watch is told, then ended: one that the end of the grace cut off would end in an error."""
    settings |= {"shutdown_grace": "10s"}
    with running_sidecar(folder, **settings) as sidecar, grpc.insecure_channel(sidecar.target) as channel:
        watches = [watch_health(channel, service) for service in (VERIFICATION, "", "nonsense")]
        assert [NAME(next(watch).status) for watch in watches] == ["SERVING", "SERVING", "SERVICE_UNKNOWN"]

        sidecar.process.send_signal(number)

        assert [NAME(answer.status) for watch in watches for answer in watch] == ["NOT_SERVING", "NOT_SERVING"]
        assert sidecar.process.wait(EXIT_SECONDS) == 0


def test_a_watch_is_told_when_the_service_begins_to_serve(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.hold()
        server.open()
        with (
            starting_sidecar(folder, issuer=issuer.name, jwks_url=server.url) as sidecar,
            grpc.insecure_channel(sidecar.target) as channel,
        ):
            watch = watch_health(channel, VERIFICATION)
            assert NAME(next(watch).status) == "NOT_SERVING"
            server.release()
            assert NAME(next(watch).status) == "SERVING"


def test_the_end_is_clean(folder: Path, settings: dict[str, str]) -> None:
    """What is left needs no repair: a second life on the same files starts as the first did."""
    for _ in range(2):
        with running_sidecar(folder, **settings) as sidecar:
            assert sidecar.stop() == 0
            assert [line for line in sidecar.log.splitlines() if not line.startswith("{")] == []


def test_a_call_that_waits_for_the_issuer_is_answered_though_the_sidecar_ends(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.open()
        settings = {"issuer": issuer.name, "jwks_url": server.url, "store_url": "", "admin_listen": ""}
        with running_sidecar(folder, **settings) as sidecar, grpc.insecure_channel(sidecar.target) as channel:
            stub = verification_pb2_grpc.VerificationServiceStub(channel)
            issuer.rotate("ES256")
            server.hold()
            asked = server.asked
            call = stub.Verify.future(verification_pb2.VerifyRequest(access_token=issuer.mint()), timeout=30)
            server.wait_until_asked(asked + 1)

            sidecar.process.send_signal(signal.SIGTERM)
            sidecar.wait_for_event("draining")
            server.release()

            # On a machine so busy that the half second for an unknown key is over by now, the sidecar says just that.
            if call.exception() is None:
                assert call.result().session.user_id == "alice"
            else:
                assert call.details() == "the issuer could not be asked for the token's key"
            assert sidecar.process.wait(10) == 0


def test_a_revocation_that_waits_for_the_store_is_done_though_the_sidecar_ends(
    folder: Path, settings: dict[str, str]
) -> None:
    with running_sidecar(folder, **settings) as sidecar, grpc.insecure_channel(sidecar.admin_target) as channel:
        lock = sqlite3.connect(folder / "sessions.db", isolation_level=None)
        try:
            lock.execute("BEGIN IMMEDIATE")
            call = revocation_pb2_grpc.RevocationServiceStub(channel).RevokeSession.future(
                revocation_pb2.RevokeSessionRequest(session_handle="in-flight"), timeout=30
            )
            # Sent after it on the same connection and answered: so the first one has arrived.
            _ask_something(channel)

            sidecar.process.send_signal(signal.SIGTERM)
            sidecar.wait_for_event("draining")
            lock.execute("ROLLBACK")

            assert call.result().newly_revoked
            assert sidecar.process.wait(10) == 0
        finally:
            lock.close()
    _check_revoked(folder, settings)


def _ask_something(channel: grpc.Channel) -> None:
    stub = revocation_pb2_grpc.RevocationServiceStub(channel)
    assert list(stub.ListRevocations(revocation_pb2.ListRevocationsRequest(), timeout=10).revocations) == []


def _check_revoked(folder: Path, settings: dict[str, str]) -> None:
    with running_sidecar(folder, **settings) as sidecar, sidecar.administration() as admin:
        assert [entry.session_handle for entry in admin.list_revocations()] == ["in-flight"]


def test_a_call_that_never_ends_does_not_keep_it(folder: Path, settings: dict[str, str]) -> None:
    """A store that hangs costs the grace, not the exit."""
    with running_sidecar(folder, **settings, shutdown_grace="1s") as sidecar:
        _hang_and_stop(sidecar, folder)


def _hang_and_stop(sidecar: Sidecar, folder: Path) -> None:
    with grpc.insecure_channel(sidecar.admin_target) as channel:
        lock = sqlite3.connect(folder / "sessions.db", isolation_level=None)
        try:
            lock.execute("BEGIN IMMEDIATE")
            call = revocation_pb2_grpc.RevocationServiceStub(channel).RevokeSession.future(
                revocation_pb2.RevokeSessionRequest(session_handle="in-flight"), timeout=30
            )
            _ask_something(channel)
            assert sidecar.stop() == 0
            assert isinstance(call.exception(), grpc.RpcError)
        finally:
            lock.close()


def test_it_may_have_as_many_connections_as_the_hard_limit_on_file_descriptors_leaves(
    folder: Path, settings: dict[str, str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        with running_sidecar(folder, **settings) as sidecar:
            assert resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

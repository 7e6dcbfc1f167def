"""The sidecar as `pip install 'sidegate[sidecar]'` brings it, asked by the client as `pip install sidegate` does."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from grpc_health.v1 import health_pb2
from jwt.algorithms import ECAlgorithm

from tests.integration.packaging.environments import ENVIRONMENT, Environment

pytestmark = pytest.mark.timeout(300)  # environments are installed, on a machine that may be busy

ISSUER = "https://issuer.example"
START_SECONDS = 60.0  # a loaded machine compiles every module first; only a sidecar that never serves takes this long

VERIFY = """
import sys
import sidegate

with sidegate.SessionClient(sys.argv[1], timeout=10) as client:
    session = client.verify(sys.argv[2], check_database=True)
    print(session.user_id, session.session_handle)
"""


@pytest.fixture(scope="module")
def signing_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


@pytest.fixture
def settings(tmp_path: Path, signing_key: EllipticCurvePrivateKey) -> dict[str, str]:
    """A JWKS file, an SQLite store, one Unix socket for each plane."""
    jwk = json.loads(ECAlgorithm.to_jwk(signing_key.public_key())) | {"kid": "1", "use": "sig", "alg": "ES256"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    return {
        "SIDEGATE_LISTEN": f"unix://{tmp_path}/data/s",
        "SIDEGATE_ADMIN_LISTEN": f"unix://{tmp_path}/admin/s",
        "SIDEGATE_STORE_URL": f"sqlite://{tmp_path}/store/sessions.db",
        "SIDEGATE_ISSUERS": json.dumps([{"issuer": ISSUER, "jwks_file": str(tmp_path / "jwks.json")}]),
    }


@pytest.fixture
def sidecar(with_sidecar: Environment, settings: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`sidegate run`, ended at the latest when the test ends. Its log is what a failure shows."""
    for folder in ("data", "admin", "store"):
        (tmp_path / folder).mkdir()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [with_sidecar.folder / "bin/sidegate", "run"],
            cwd=tmp_path,
            env=ENVIRONMENT | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        print((tmp_path / "log").read_text())  # noqa: T201 - pytest shows it where the test failed


def wait_until_serving(target: str, service: str) -> None:
    """Return once the sidecar's health says SERVING. Raises: grpc.RpcError after START_SECONDS."""
    with grpc.insecure_channel(target, options=[("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        # Spelled out because the stubs of grpc_health know no Watch.
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        question = health_pb2.HealthCheckRequest(service=service)
        for answer in watch(question, timeout=START_SECONDS, wait_for_ready=True):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


def test_the_installed_sidecar_serves_the_installed_client_and_drains(
    sidecar: subprocess.Popen[bytes],
    client_only: Environment,
    settings: dict[str, str],
    signing_key: EllipticCurvePrivateKey,
) -> None:
    wait_until_serving(settings["SIDEGATE_LISTEN"], "sidegate.v1.VerificationService")
    wait_until_serving(settings["SIDEGATE_ADMIN_LISTEN"], "sidegate.v1.RevocationService")
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "alice", "sid": "session-1", "iat": now, "exp": now + 600}
    token = jwt.encode(claims, signing_key, algorithm="ES256", headers={"kid": "1"})

    answer = client_only.run("python", "-c", VERIFY, settings["SIDEGATE_LISTEN"], token)

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["alice", "session-1"]

    sidecar.send_signal(signal.SIGTERM)

    assert sidecar.wait(timeout=30) == 0


def test_the_installed_sidecar_refuses_wrong_settings_at_once(with_sidecar: Environment) -> None:
    outcome = with_sidecar.run("sidegate", "run")

    assert outcome.returncode == os.EX_USAGE
    assert "SIDEGATE_ISSUER" in outcome.stderr
    assert "Traceback" not in outcome.stderr

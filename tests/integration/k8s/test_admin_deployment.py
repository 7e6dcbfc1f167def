"""The admin deployment's container, run as its manifest says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.issuer import FakeIssuer
from tests.integration.k8s.certificates import Authority
from tests.integration.k8s.sandbox import Sandbox, drain, missing, sandboxed
from tests.integration.sidecar.processes import eventually
from tests.unit.k8s.manifests import one

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can be run here")

SUBJECT = "login.shop.svc"
TLS = ("tls.crt", "tls.key")


def files(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in names}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """The admin pod, and in its network a client's certificate in a directory that any container may read."""
    issuer, authority = FakeIssuer(), Authority()
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
        authority.issue(tmp_path / name, SUBJECT)
    settings = f"""
[[issuers]]
issuer = "{issuer.name}"
jwks_file = "/etc/sidegate/jwks"

[[admin_grants]]
subject = "mtls:{SUBJECT}"
roles = ["revoker"]
"""
    config_maps = {"sidegate-admin": {"sidegate.toml": settings, "jwks": issuer.jwks().decode()}}
    secrets = {
        "sidegate-store-admin": {"url": "sqlite:///tmp/sessions.db"},
        "sidegate-admin-tls": {**files(tmp_path / "server", TLS), "ca.crt": authority.pem},
        "client": {**files(tmp_path / "client", TLS), "ca.crt": authority.pem},
    }
    spec: dict[str, Any] = one("Deployment", "sidegate-admin")["spec"]["template"]["spec"]
    client: dict[str, Any] = {
        "name": "client",
        "image": "client:1",
        "volumeMounts": [{"name": "client", "mountPath": "/run/client", "readOnly": True}],
        "securityContext": {"runAsUser": 10001},
    }
    volume = {"name": "client", "secret": {"secretName": "client"}}
    with_client = {
        **spec,
        "containers": [*spec["containers"], client],
        "volumes": [*spec["volumes"], volume],
    }
    with sandboxed(tmp_path, with_client, config_maps, secrets) as running:
        yield running


def test_kubelet_finds_it_ready_and_who_has_a_certificate_revokes(sandbox: Sandbox) -> None:
    process = sandbox.start("sidegate")

    def ready() -> bool | None:
        assert process.poll() is None, sandbox.log("sidegate")
        return sandbox.probe("sidegate", "startupProbe") == "SERVING" or None

    eventually(ready, "the startup probe never succeeds")
    assert sandbox.probe("sidegate", "readinessProbe") == sandbox.probe("sidegate", "livenessProbe") == "SERVING"

    revoke = ("sidegate", "revoke", "session", "session-1", "--target", "127.0.0.1:7312")
    credentials = ("--ca", "/run/client/ca.crt", "--cert", "/run/client/tls.crt", "--key", "/run/client/tls.key")
    revoked = sandbox.execute("client", *revoke, *credentials)
    stranger = sandbox.execute("client", *revoke, *credentials[:2])

    assert revoked.returncode == 0, revoked.stderr
    assert stranger.returncode != 0
    assert drain(process) == 0

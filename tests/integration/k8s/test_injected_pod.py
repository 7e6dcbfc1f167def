"""An injected pod, run as its manifest says: users, groups, mounts, read-only roots, environment, probes."""

import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from sidegate_injector.template import Template, parse_template
from sidegate_sidecar.model import Attribution
from sidegate_sidecar.store.postgres import PostgresStore

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database
from tests.integration.k8s.sandbox import Sandbox, drain, missing, sandboxed
from tests.integration.sidecar.processes import ROOT, eventually
from tests.unit.k8s.pods import RESTRICTED_CONTEXT, injected, template_document

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can be run here")

VERIFY = """
import sys, sidegate
with sidegate.SessionClient(timeout=10) as client:
    print(client.verify(sys.stdin.read(), check_database="--check-database" in sys.argv).user_id)
"""
STRANGER, APPLICATION = 10002, 10001  # users
FS_GROUP = 2000
PODS = "test_injected_pods"  # a user of the database

TEMPLATES: Mapping[str, Template] = {
    "the injector's": parse_template(template_document()),
    "dev-sqlite's": parse_template(yaml.safe_load((ROOT / "k8s/overlays/dev-sqlite/template.yaml").read_text())),
}
POD_CONTEXTS: Mapping[str, dict[str, Any]] = {
    "without an fsGroup": {},
    "with an fsGroup": {"fsGroup": FS_GROUP},
}


@pytest.fixture(scope="module")
def issuer() -> FakeIssuer:
    return FakeIssuer()


def spec_of(template: Template, context: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of an injected pod."""
    application = {
        "name": "web",
        "image": "web:1",
        "command": ["python"],
        "securityContext": {**RESTRICTED_CONTEXT, "runAsUser": APPLICATION, "runAsGroup": APPLICATION},
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [application], "securityContext": dict(context)}}
    spec: dict[str, Any] = injected(pod, template).pod["spec"]
    return spec


@contextmanager
def pod_with(
    folder: Path,
    issuer: FakeIssuer,
    template: Template,
    context: Mapping[str, Any],
    *,
    keys: str = "/etc/sidegate/jwks",
    store_url: str = "sqlite:///var/lib/sidegate/sessions.db",
) -> Generator[Sandbox]:
    settings = f'[[issuers]]\nissuer = "{issuer.name}"\njwks_file = "{keys}"\n'
    config_maps = {"sidegate": {"sidegate.toml": settings, "jwks": issuer.jwks().decode()}}
    secrets = {"sidegate-store": {"url": store_url}}
    with sandboxed(folder, spec_of(template, context), config_maps, secrets) as sandbox:
        yield sandbox


def wait_until_started(sandbox: Sandbox, sidecar: subprocess.Popen[bytes]) -> None:
    """Probe until the startup probe succeeds: only then would kubelet start the application."""

    def succeeds() -> bool | None:
        assert sidecar.poll() is None, sandbox.log("sidegate")
        return sandbox.probe("sidegate", "startupProbe") == "SERVING" or None

    eventually(succeeds, "the startup probe never succeeds")


@pytest.mark.parametrize("context", POD_CONTEXTS.values(), ids=POD_CONTEXTS)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_application_verifies_a_session_and_the_sidecar_drains(
    template: Template, context: Mapping[str, Any], issuer: FakeIssuer, tmp_path: Path
) -> None:
    with pod_with(tmp_path, issuer, template, context) as sandbox:
        sidecar = sandbox.start("sidegate")
        wait_until_started(sandbox, sidecar)

        answer = sandbox.execute("web", "python", "-c", VERIFY, stdin=issuer.mint(user_id="alice"))

        assert (answer.returncode, answer.stdout) == (0, "alice\n"), answer.stderr
        assert sandbox.probe("sidegate", "readinessProbe") == "SERVING"
        assert sandbox.probe("sidegate", "livenessProbe") == "SERVING"
        socket = sandbox.volume("sidegate-socket") / "sidegate.sock"
        assert socket.stat().st_mode & 0o777 == 0o660
        assert socket.stat().st_gid == context.get("fsGroup", template.group)
        assert (drain(sidecar), sandbox.probe("sidegate", "readinessProbe")) == (0, "UNAVAILABLE")


def test_a_process_that_is_not_in_the_group_cannot_ask(issuer: FakeIssuer, tmp_path: Path) -> None:
    with pod_with(tmp_path, issuer, TEMPLATES["the injector's"], {}) as sandbox:
        wait_until_started(sandbox, sandbox.start("sidegate"))
        sandbox.spec["securityContext"]["supplementalGroups"].clear()
        sandbox.container("web")["securityContext"].update(runAsUser=STRANGER, runAsGroup=STRANGER)

        answer = sandbox.execute("web", "python", "-c", VERIFY, stdin=issuer.mint())

        assert answer.returncode != 0
        assert "Permission denied" in answer.stderr


def test_the_application_cannot_put_a_socket_in_the_sidecars_place(issuer: FakeIssuer, tmp_path: Path) -> None:
    replace = "import os; os.rename('/run/sidegate/sidegate.sock', '/run/sidegate/x')"
    with pod_with(tmp_path, issuer, TEMPLATES["the injector's"], {}) as sandbox:
        wait_until_started(sandbox, sandbox.start("sidegate"))

        outcome = sandbox.execute("web", "python", "-c", replace)

        assert "Read-only file system" in outcome.stderr


def test_a_sidecar_without_keys_is_alive_and_not_ready(issuer: FakeIssuer, tmp_path: Path) -> None:
    with pod_with(tmp_path, issuer, TEMPLATES["the injector's"], {}, keys="/etc/sidegate/none") as sandbox:
        sidecar = sandbox.start("sidegate")

        eventually(lambda: sandbox.probe("sidegate", "livenessProbe") == "SERVING" or None, "it never answers")

        assert sandbox.probe("sidegate", "readinessProbe") == "NOT_SERVING"
        assert sandbox.probe("sidegate", "startupProbe") == "NOT_SERVING"
        assert sidecar.poll() is None


async def test_a_pod_works_on_postgresql_as_a_user_that_may_only_verify(
    database: Database, issuer: FakeIssuer, tmp_path: Path
) -> None:
    roles = (ROOT / "docs/postgresql-roles.sql").read_text()
    await database.execute(f"""
        DO $$ BEGIN
            IF to_regrole('{PODS}') IS NULL THEN CREATE USER {PODS} PASSWORD 'not-secret'; END IF;
        END $$;
        {roles};
        GRANT sidegate_verifier TO {PODS}
    """)
    url = f"postgresql://{PODS}:not-secret@127.0.0.1:5432/{database.name}"
    store = PostgresStore(database.url)
    await store.open()
    try:
        with pod_with(tmp_path, issuer, TEMPLATES["the injector's"], {}, store_url=url) as sandbox:
            sandbox.relay(5432, database.server.folder / f".s.PGSQL.{database.server.port}")
            wait_until_started(sandbox, sandbox.start("sidegate"))
            token = issuer.mint(user_id="alice", session_handle="session-1")

            before = sandbox.execute("web", "python", "-c", VERIFY, "--check-database", stdin=token)
            await store.revoke_sessions(issuer.name, ["session-1"], Attribution(actor="admin"))
            after = sandbox.execute("web", "python", "-c", VERIFY, "--check-database", stdin=token)
    finally:
        await store.close()

    assert (before.returncode, before.stdout) == (0, "alice\n"), before.stderr
    assert "SESSION_REVOKED" in after.stderr


def test_a_session_is_revoked_in_a_development_pod_as_its_manual_says(issuer: FakeIssuer, tmp_path: Path) -> None:
    admin = "unix:///var/lib/sidegate/admin.sock"
    with pod_with(tmp_path, issuer, TEMPLATES["dev-sqlite's"], {}) as sandbox:
        wait_until_started(sandbox, sandbox.start("sidegate"))

        revoked = sandbox.execute("sidegate", "sidegate", "revoke", "session", "session-1", "--target", admin)
        assert revoked.returncode == 0, revoked.stderr

        answer = sandbox.execute("web", "python", "-c", VERIFY, stdin=issuer.mint(session_handle="session-1"))
        assert "SESSION_REVOKED" in answer.stderr

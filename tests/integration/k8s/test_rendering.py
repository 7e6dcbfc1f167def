"""What kubectl makes of our kustomizations and of a preview.

kubectl is in no package registry, so the project cannot install it. The manifests as they lie there are checked without
it, by tests/unit/k8s/test_manifests.py.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sidegate_injector.preview import preview

from tests.unit.k8s import manifests as k8s
from tests.unit.k8s.manifests import named
from tests.unit.k8s.pods import TEMPLATE, VERSIONS, container, pod, validate
from tests.unit.k8s.quantities import CPU, MEMORY

KUBECTL = shutil.which("kubectl")
APPLIED = [
    "overlays/dev-sqlite",
    "overlays/postgres",
    "migrations/before-deploy",
    "migrations/after-deploy",
    "examples",
]

pytestmark = pytest.mark.skipif(
    KUBECTL is None,
    reason="NOT RENDERED: kubectl is not on the path, so nobody has seen what kustomize makes of k8s/. Install kubectl",
)


def render(folder: Path) -> list[dict[str, Any]]:
    """What would be applied."""
    assert KUBECTL is not None
    outcome = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    assert outcome.returncode == 0, outcome.stderr
    assert "deprecated" not in outcome.stderr
    return [*yaml.safe_load_all(outcome.stdout)]


def monitored_overlay(folder: Path) -> Path:
    """An overlay of somebody's who has the Prometheus Operator, as docs/kubernetes.md says."""
    shutil.copytree(k8s.K8S, folder / "k8s")
    kustomization = folder / "k8s/overlays/postgres/kustomization.yaml"
    written = yaml.safe_load(kustomization.read_text())
    written["components"].append("../../components/pod-monitor")
    kustomization.write_text(yaml.safe_dump(written))
    return kustomization.parent


def one(rendered: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The manifest of that kind whose name begins so."""
    (found,) = [
        manifest for manifest in rendered if manifest["kind"] == kind and manifest["metadata"]["name"].startswith(name)
    ]
    return found


@pytest.mark.parametrize("folder", APPLIED)
def test_what_is_rendered_is_valid(folder: str) -> None:
    rendered = render(k8s.K8S / folder)

    assert rendered
    for manifest in rendered:
        if manifest["apiVersion"] not in k8s.OPERATORS:
            validate(manifest, VERSIONS[-1])


def test_everything_is_applied_by_something(tmp_path: Path) -> None:
    folders = [*(k8s.K8S / folder for folder in APPLIED), monitored_overlay(tmp_path)]
    rendered = {named(manifest) for folder in folders for manifest in render(folder)}

    assert {named(manifest) for manifest in k8s.manifests()} <= rendered


@pytest.mark.parametrize("overlay", ["dev-sqlite", "postgres"])
def test_a_changed_template_restarts_the_injector(overlay: str, tmp_path: Path) -> None:
    shutil.copytree(k8s.K8S, tmp_path / "k8s")
    template = (
        tmp_path
        / {
            "dev-sqlite": "k8s/overlays/dev-sqlite/template.yaml",
            "postgres": "k8s/injector/sidegate_injector/template.yaml",
        }[overlay]
    )

    def mounted() -> str:
        rendered = render(tmp_path / "k8s/overlays" / overlay)
        (_, volume) = one(rendered, "Deployment", "sidegate-injector")["spec"]["template"]["spec"]["volumes"]
        written = one(rendered, "ConfigMap", "sidegate-injector-template")
        assert written["data"]["template.yaml"] == template.read_text()
        name: str = volume["configMap"]["name"]
        assert name == written["metadata"]["name"]
        return name

    before = mounted()
    template.write_text(f"{template.read_text()}\n# changed\n")
    assert mounted() != before


def test_an_image_that_an_overlay_sets_is_the_one_that_is_injected(tmp_path: Path) -> None:
    shutil.copytree(k8s.K8S, tmp_path / "k8s")
    kustomization = tmp_path / "k8s/overlays/postgres/kustomization.yaml"
    images = [{"name": "sidegate", "newName": "registry.example/sidegate", "newTag": "9.9.9"}]
    kustomization.write_text(kustomization.read_text() + yaml.safe_dump({"images": images}))

    rendered = render(kustomization.parent)

    (injector,) = one(rendered, "Deployment", "sidegate-injector")["spec"]["template"]["spec"]["containers"]
    (admin,) = one(rendered, "Deployment", "sidegate-admin")["spec"]["template"]["spec"]["containers"]
    assert injector["image"] == admin["image"] == "registry.example/sidegate:9.9.9"
    assert injector["env"] == [{"name": "SIDEGATE_INJECTOR_IMAGE", "value": "registry.example/sidegate:9.9.9"}]


def test_cert_manager_fills_in_whom_the_api_server_trusts() -> None:
    rendered = render(k8s.K8S / "overlays/postgres")
    webhook = one(rendered, "MutatingWebhookConfiguration", "sidegate-injector")
    namespace, _, name = webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].partition("/")

    assert one(rendered, "Certificate", name)["metadata"] == {"name": name, "namespace": namespace}


ODD = ("y", "1e3", "08", "0o17", "12:30", "22:22", "1_000", "2020-01-01T00:00:00Z", "123e456", "1.", "on", "~", "")


def test_kubectl_reads_a_preview_as_it_reads_the_manifest() -> None:
    plain, quoted = (f"[{', '.join(texts)}]" for texts in (ODD[:-1], [f"'{text}'" for text in ODD]))
    manifest = f"""apiVersion: example.dev/v1
kind: Odd
metadata:
  name: odd
plain: {plain}
quoted: {quoted}
"""

    def read(text: str) -> Any:
        assert KUBECTL is not None
        command = (KUBECTL, "label", "--local", "-f", "-", "-o", "json", "read=yes")
        outcome = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert outcome.returncode == 0, outcome.stderr
        return json.loads(outcome.stdout)

    after = preview(manifest, TEMPLATE, namespace="shop", excluded=(), tell=lambda _: None)

    assert read(manifest)["quoted"] == list(ODD)
    assert read(after) == read(manifest)


def test_kubernetes_reads_every_quantity_that_an_annotation_may_have() -> None:
    containers = [
        {**container(f"{name}{number}"), "resources": {"requests": {name: value}}}
        for name, values in (("cpu", CPU), ("memory", MEMORY))
        for number, value in enumerate(values)
    ]
    assert KUBECTL is not None
    # Of what is read it does some arithmetic on each; a schema takes any text for a quantity.
    outcome = subprocess.run(
        (KUBECTL, "set", "image", "--local", "-f", "-", "-o", "json", "cpu0=read"),
        input=yaml.safe_dump(pod(*containers)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert outcome.returncode == 0, outcome.stderr
    assert len(json.loads(outcome.stdout)["spec"]["containers"]) == len(containers)


def test_the_job_after_a_deploy_is_another_that_says_so() -> None:
    job = one(render(k8s.K8S / "migrations/after-deploy"), "Job", "sidegate-migrate")

    assert job["metadata"]["name"] == "sidegate-migrate-after-deploy"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate", "--after-deploy"]

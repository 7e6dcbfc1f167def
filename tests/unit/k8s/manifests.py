"""Our manifests as they lie in k8s/, read without kustomize."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
K8S = ROOT / "k8s"
KUSTOMIZATION = "kustomization.yaml"
TEMPLATES = (K8S / "injector/sidegate_injector/template.yaml", K8S / "overlays/dev-sqlite/template.yaml")
CERT_MANAGER = "cert-manager.io/v1"
OPERATORS = (CERT_MANAGER, "monitoring.coreos.com/v1")  # whose kinds are in no schema of Kubernetes'
POD_PATHS: Mapping[str, Sequence[str]] = {
    "Deployment": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}

Manifest = dict[str, Any]


@cache
def kustomizations() -> Mapping[Path, Manifest]:
    """Every kustomization, by its folder."""
    return {path.parent: yaml.safe_load(path.read_text()) for path in sorted(K8S.rglob(KUSTOMIZATION))}


def manifest_files() -> list[Path]:
    """Every file of manifests."""
    return [path for path in sorted(K8S.rglob("*.yaml")) if path.name != KUSTOMIZATION and path not in TEMPLATES]


@cache
def manifests() -> Sequence[Manifest]:
    """Every manifest."""
    return [manifest for path in manifest_files() for manifest in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[Manifest]:
    """Every manifest of a kind."""
    return [manifest for manifest in manifests() if manifest["kind"] == kind]


def named(manifest: Manifest) -> str:
    """How a manifest is called in a report."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def one(kind: str, name: str) -> Manifest:
    """The manifest of that kind and name."""
    (found,) = [manifest for manifest in of_kind(kind) if manifest["metadata"]["name"] == name]
    return found


def pods() -> Iterator[tuple[Manifest, Manifest]]:
    """Every workload, and its pod."""
    for manifest in manifests():
        if path := POD_PATHS.get(manifest["kind"]):
            pod = manifest
            for member in path:
                pod = pod[member]
            yield manifest, pod


def containers() -> Iterator[tuple[Manifest, Manifest, Manifest]]:
    """Every workload, its pod's spec, and each of its containers."""
    for manifest, pod in pods():
        for container in pod["spec"]["containers"]:
            yield manifest, pod["spec"], container


def templates() -> Mapping[str, Manifest]:
    """Every template of injection, by where it belongs."""
    return {path.parent.name: yaml.safe_load(path.read_text()) for path in TEMPLATES}


def generated(kind: str) -> Iterator[tuple[str, str, set[str]]]:
    """Namespace, name and keys of each ConfigMap or Secret that a kustomization generates."""
    for folder, kustomization in kustomizations().items():
        for entry in kustomization.get(f"{kind[0].lower()}{kind[1:]}Generator", ()):
            keys = {file.partition("=")[0] for file in entry["files"]}
            assert all((folder / file.rpartition("=")[2]).is_file() for file in entry["files"])
            yield entry["namespace"], entry["name"], keys

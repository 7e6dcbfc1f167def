"""`sidegate-injector preview`: every kind that makes pods, and files as people have them."""

from typing import Any

import pytest
import yaml
from sidegate_injector.errors import Refused
from sidegate_injector.kubernetes_yaml import parse_documents, write_documents
from sidegate_injector.preview import preview

from tests.unit.k8s.pods import TEMPLATE, VERSIONS, container, sidecar_of, validate

LABELS = {"app": "web"}
POD: dict[str, Any] = {"metadata": {"labels": LABELS}, "spec": {"containers": [container()]}}
JOB_POD: dict[str, Any] = {"spec": {"containers": [container()], "restartPolicy": "Never"}}
SELECTED: dict[str, Any] = {"selector": {"matchLabels": LABELS}, "template": POD}


def workload(api: str, kind: str, spec: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "web"}, "spec": spec, **parts}


WORKLOADS: dict[str, dict[str, Any]] = {
    "Pod": workload("v1", "Pod", POD["spec"]),
    "Deployment": workload("apps/v1", "Deployment", SELECTED),
    "StatefulSet": workload("apps/v1", "StatefulSet", {**SELECTED, "serviceName": "web"}),
    "DaemonSet": workload("apps/v1", "DaemonSet", SELECTED),
    "ReplicaSet": workload("apps/v1", "ReplicaSet", SELECTED),
    "ReplicationController": workload("v1", "ReplicationController", {"template": POD}),
    "Job": workload("batch/v1", "Job", {"template": JOB_POD}),
    "CronJob": workload("batch/v1", "CronJob", {"schedule": "@daily", "jobTemplate": {"spec": {"template": JOB_POD}}}),
}


def pod_in(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"].get("jobTemplate", manifest)["spec"]
    return spec.get("template", {"spec": spec})


def shown(*documents: Any, namespace: str = "shop") -> tuple[list[Any], list[str]]:
    """The manifests after, and what was told about them."""
    told: list[str] = []
    text = preview(
        write_documents(documents), TEMPLATE, namespace=namespace, excluded={"kube-system"}, tell=told.append
    )
    return parse_documents(text), told


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_workload_is_shown_with_its_sidecar(kind: str, version: str) -> None:
    (after,), told = shown(WORKLOADS[kind])

    validate(after, version)
    assert sidecar_of(pod_in(after))["image"] == TEMPLATE.container["image"]
    assert told == []


def test_documents_that_make_no_pods_stay_as_they_are() -> None:
    others = [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "no", "b": "1e3"}}, "text", ["list"]]

    after, _ = shown(others[0], WORKLOADS["Pod"], *others[1:])

    assert [after[0], *after[2:]] == others


def test_a_document_of_nothing_but_comments_is_left_out() -> None:
    text = "# of the team\n---\nkind: A # why\n---\n# nothing\n---\n---\nkind: B\n---\n"

    after = preview(text, TEMPLATE, namespace="shop", excluded=(), tell=lambda _: None)

    assert after == "kind: A\n---\nkind: B\n"


def test_lists_are_looked_into() -> None:
    (after,), _ = shown({"apiVersion": "v1", "kind": "List", "items": list(WORKLOADS.values())})

    assert all(sidecar_of(pod_in(item)) for item in after["items"])


def test_a_preview_of_a_preview_is_the_same() -> None:
    once, _ = shown(*WORKLOADS.values())

    assert shown(*once)[0] == once


def test_no_anchors_are_written() -> None:
    text = preview(yaml.safe_dump_all(WORKLOADS.values()), TEMPLATE, namespace="shop", excluded=(), tell=lambda _: None)

    assert "&id" not in text


def test_a_workload_that_is_left_alone_is_told() -> None:
    out: dict[str, Any] = {**POD, "metadata": {"annotations": {"sidegate.dev/inject": "false"}}}
    (after, other), told = shown(
        workload("batch/v1", "Job", {"template": out}),
        workload("v1", "Pod", POD["spec"], metadata={"generateName": "x-", "namespace": "kube-system"}),
    )

    assert (after["spec"]["template"], other["spec"]) == (out, POD["spec"])
    assert told == ["Job web: left alone: annotated out", "Pod x-: left alone: in an excluded namespace"]


def test_a_warning_of_the_webhook_is_told() -> None:
    odd: dict[str, Any] = {**POD, "metadata": {"annotations": {"sidegate.dev/cpus": "2"}}}

    _, told = shown(workload("apps/v1", "DaemonSet", {**SELECTED, "template": odd}))

    assert told == ["DaemonSet web: nothing reads the annotation sidegate.dev/cpus"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system {}", "not YAML"),
        ("[" * 1000, "nested too deeply"),
        ("[" * 450 + "]" * 450, "nested too deeply"),
        ("apiVersion: v1\nkind: Pod\nspec: &s {containers: [], again: *s}", "nested too deeply"),
        ("apiVersion: apps/v1\nkind: Deployment\nspec: 1", "Deployment.spec is not an object"),
        ("apiVersion: v1\nkind: List\nitems: 1", "the list.items is not a list"),
        ("apiVersion: v1\nkind: Pod\nmetadata: 1", "metadata is not an object"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {sidegate.dev/cpu: 1}}",
            "Pod a: refused: annotation sidegate.dev/cpu must be",
        ),
    ],
    ids=[
        "a torn file",
        "code",
        "depth",
        "depth that can be read",
        "a pod in itself",
        "a wrong spec",
        "a wrong list",
        "wrong metadata",
        "a refusal",
    ],
)
def test_what_cannot_be_injected_is_refused(text: str, told: str) -> None:
    with pytest.raises(Refused) as refusal:
        preview(text, TEMPLATE, namespace="shop", excluded=(), tell=lambda _: None)

    assert told in str(refusal.value)

"""Pods to be injected, as API servers send them and as people write them."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jsonpatch
import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs] - nobody has written any
import yaml
from sidegate_injector.injection import Injection, inject
from sidegate_injector.template import Template, parse_template

VERSIONS = ("1.30", "1.34", "1.37")  # from the oldest that docs/kubernetes.md names to the newest there is
IMAGE = "registry.example/sidegate:1"

RESTRICTED_CONTEXT: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def template_document() -> dict[str, Any]:
    """The template that comes with the injector, to be changed at will."""
    document: dict[str, Any] = yaml.safe_load((files("sidegate_injector") / "template.yaml").read_text())
    return document


TEMPLATE: Template = parse_template(template_document(), image=IMAGE)


def container(name: str = "web", **parts: Any) -> dict[str, Any]:
    """A container that passes the restricted standard."""
    return {"name": name, "image": f"{name}:1", "securityContext": dict(RESTRICTED_CONTEXT), **parts}


def pod(
    *containers: Mapping[str, Any], annotations: Mapping[str, Any] | None = None, named: bool = True, **spec: Any
) -> dict[str, Any]:
    """A pod that passes the restricted standard, unless a part that is given does not."""
    metadata: dict[str, Any] = {"name": "web-0"} if named else {"generateName": "web-"}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    whole = [{**container(), **parts} for parts in containers] or [container()]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": whole, **spec}}


SHAPES: Mapping[str, dict[str, Any]] = {
    "the least": pod(),
    "with generateName": pod(named=False),
    "with no metadata": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container()]}},
    "with labels and annotations": pod(annotations={"a/b~c": "d"}),
    "with null members": pod(
        {"env": None, "volumeMounts": None}, initContainers=None, volumes=None, securityContext=None
    ),
    "with two containers": pod({"name": "web"}, {"name": "log"}),
    "with an init container": pod(initContainers=[container("migrate")]),
    "with another native sidecar": pod(initContainers=[container("proxy", restartPolicy="Always"), container("init")]),
    "with env and mounts": pod(
        {"env": [{"name": "A", "value": "b"}], "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[{"name": "data", "emptyDir": {}}],
    ),
    "with a token mounted by the API server": pod(
        {"volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]},
        volumes=[{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
    ),
    "with an fsGroup": pod(securityContext={"fsGroup": 2000}),
    "with supplemental groups": pod(securityContext={"supplementalGroups": [3000]}),
    "with resources": pod({"resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}}),
    "with its own target": pod({"env": [{"name": "SIDEGATE_TARGET", "value": "127.0.0.1:7311"}]}),
    "with its own mount there": pod(
        {"volumeMounts": [{"name": "run", "mountPath": "/run/sidegate/"}]}, volumes=[{"name": "run", "emptyDir": {}}]
    ),
    "of a Job": pod(restartPolicy="Never"),
    "on the host's network": pod(hostNetwork=True),
    "with a stub of the sidecar": pod(
        initContainers=[{"name": "sidegate", "image": "auto", "resources": {"requests": {"cpu": "1"}}}]
    ),
    "with all annotations": pod(
        annotations={
            "sidegate.dev/inject": "true",
            "sidegate.dev/cpu": "250m",
            "sidegate.dev/memory": "1Gi",
            "sidegate.dev/log-level": "debug",
            "sidegate.dev/config": "sidegate-web.v2",
        }
    ),
    "with a false account of an injection": pod(annotations={"sidegate.dev/injected": '{"digest": 7}'}),
}


def injected(given: Mapping[str, Any], template: Template = TEMPLATE) -> Injection:
    """Inject it."""
    return inject(dict(given), template)


def sidecar_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar of an injected pod."""
    (found,) = [one for one in given["spec"]["initContainers"] if one["name"] == "sidegate"]
    return dict(found)


def validate(document: Mapping[str, Any], version: str) -> None:
    """Check it against the schema of that version of Kubernetes, in which no unknown member is allowed."""
    kubernetes_validate.validate(dict(document), version, strict=True)


def patched(document: Mapping[str, Any], operations: list[dict[str, Any]]) -> Any:
    """Apply a JSON patch as somebody else's implementation does, to what arrives there: no two parts are one object."""
    return jsonpatch.apply_patch(json.loads(json.dumps(document)), operations)

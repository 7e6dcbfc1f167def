"""That the checker finds each thing that the standard forbids: one that finds nothing would prove nothing."""

from typing import Any

import pytest

from tests.unit.k8s.pods import RESTRICTED_CONTEXT, pod
from tests.unit.k8s.restricted import violations

POD_LEVEL: list[tuple[str, dict[str, Any]]] = [
    ("host namespaces", {"hostNetwork": True}),
    ("host namespaces", {"hostPID": True}),
    ("host namespaces", {"hostIPC": True}),
    ("volume types", {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}),
    ("sysctls", {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
    ("running as non-root user", {"securityContext": {"runAsUser": 0}}),
    ("SELinux", {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
    ("SELinux", {"securityContext": {"seLinuxOptions": {"user": "root"}}}),
    ("seccomp", {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
    ("AppArmor", {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
    ("host process", {"securityContext": {"windowsOptions": {"hostProcess": True}}}),
]
CONTAINER_LEVEL: list[tuple[str, dict[str, Any]]] = [
    ("privileged", {"securityContext": {**RESTRICTED_CONTEXT, "privileged": True}}),
    ("privilege escalation", {"securityContext": {**RESTRICTED_CONTEXT, "allowPrivilegeEscalation": None}}),
    ("running as non-root", {"securityContext": {**RESTRICTED_CONTEXT, "runAsNonRoot": False}}),
    ("running as non-root", {"securityContext": {**RESTRICTED_CONTEXT, "runAsNonRoot": None}}),
    ("running as non-root user", {"securityContext": {**RESTRICTED_CONTEXT, "runAsUser": 0}}),
    ("seccomp", {"securityContext": {**RESTRICTED_CONTEXT, "seccompProfile": None}}),
    ("capabilities", {"securityContext": {**RESTRICTED_CONTEXT, "capabilities": {"drop": ["NET_RAW"]}}}),
    ("capabilities", {"securityContext": {**RESTRICTED_CONTEXT, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}}),
    ("/proc mount", {"securityContext": {**RESTRICTED_CONTEXT, "procMount": "Unmasked"}}),
    ("host ports", {"ports": [{"containerPort": 80, "hostPort": 80}]}),
    ("host probes", {"livenessProbe": {"httpGet": {"port": 80, "host": "127.0.0.1"}}}),
    ("host probes", {"lifecycle": {"preStop": {"tcpSocket": {"port": 80, "host": "127.0.0.1"}}}}),
]


def controls(spec: dict[str, Any]) -> set[str]:
    return {found.partition(":")[0] for found in violations(spec)}


def test_a_restricted_pod_passes() -> None:
    assert violations(pod()["spec"]) == []


def test_what_a_container_does_not_say_its_pod_may_say() -> None:
    spec = pod({"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}})["spec"]

    assert controls(spec) == {"running as non-root", "seccomp"}
    spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert violations(spec) == []


@pytest.mark.parametrize(("control", "part"), POD_LEVEL, ids=[f"{name}: {part}" for name, part in POD_LEVEL])
def test_a_pod_that_asks_for_more_is_found(control: str, part: dict[str, Any]) -> None:
    assert controls(pod(**part)["spec"]) == {control}


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
@pytest.mark.parametrize(
    ("control", "part"), CONTAINER_LEVEL, ids=[f"{name}: {part}" for name, part in CONTAINER_LEVEL]
)
def test_a_container_that_asks_for_more_is_found(control: str, part: dict[str, Any], kind: str) -> None:
    spec = pod()["spec"]
    spec[kind] = [{"name": "x", "image": "x:1", "securityContext": RESTRICTED_CONTEXT, **part}]

    assert controls(spec) == {control}

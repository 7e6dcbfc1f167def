"""The Pod Security Standards, "restricted" (and with it "baseline"), as a checker of our own.

Written control by control from https://kubernetes.io/docs/concepts/security/pod-security-standards/; it shares nothing
with the injector, whose word it checks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

VOLUME_TYPES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

Container = Mapping[str, Any]


def violations(spec: Mapping[str, Any]) -> list[str]:
    """What of a pod's spec the restricted standard forbids, each with the control's name. Linux pods."""
    return [*_of_pod(spec), *(found for container in _containers(spec) for found in _of_container(container, spec))]


def _containers(spec: Mapping[str, Any]) -> Iterator[Container]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from _members(spec, kind)


def _of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    security = _member(spec, "securityContext")
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"host namespaces: {name}"
    for volume in _members(spec, "volumes"):
        if not set(volume) - {"name"} <= VOLUME_TYPES:
            yield f"volume types: {volume['name']}"
    for sysctl in _members(security, "sysctls"):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctls: {sysctl['name']}"
    yield from _of_any_context("pod", security)


def _of_container(container: Container, spec: Mapping[str, Any]) -> Iterator[str]:
    name: str = container["name"]
    pod, own = _member(spec, "securityContext"), _member(container, "securityContext")
    capabilities = _member(own, "capabilities")

    def effective(read: Callable[[Mapping[str, Any]], Any]) -> Any:
        return read(pod) if read(own) is None else read(own)

    if own.get("privileged"):
        yield f"privileged: {name}"
    if own.get("procMount") not in {None, "", "Default"}:
        yield f"/proc mount: {name}"
    if any(port.get("hostPort") for port in _members(container, "ports")):
        yield f"host ports: {name}"
    if any(_host_of(action) for action in _actions(container)):
        yield f"host probes: {name}"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"privilege escalation: {name}"
    if effective(lambda context: context.get("runAsNonRoot")) is not True:
        yield f"running as non-root: {name}"
    if effective(lambda context: _member(context, "seccompProfile").get("type")) not in {
        "RuntimeDefault",
        "Localhost",
    }:
        yield f"seccomp: {name}"
    if "ALL" not in _members(capabilities, "drop") or not set(_members(capabilities, "add")) <= {"NET_BIND_SERVICE"}:
        yield f"capabilities: {name}"
    yield from _of_any_context(name, own)


def _of_any_context(whose: str, security: Mapping[str, Any]) -> Iterator[str]:
    if security.get("runAsUser") == 0:
        yield f"running as non-root user: {whose}"
    if _member(security, "windowsOptions").get("hostProcess"):
        yield f"host process: {whose}"
    if _member(security, "appArmorProfile").get("type") == "Unconfined":
        yield f"AppArmor: {whose}"
    linux = _member(security, "seLinuxOptions")
    if linux.get("type") not in SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield f"SELinux: {whose}"
    if _member(security, "seccompProfile").get("type") == "Unconfined":
        yield f"seccomp: {whose}"


def _actions(container: Container) -> Iterator[Mapping[str, Any]]:
    hooks = _member(container, "lifecycle")
    candidates: Sequence[Any] = (*(container.get(probe) for probe in PROBES), *hooks.values())
    yield from (action for action in candidates if action)


def _host_of(action: Mapping[str, Any]) -> bool:
    return any(_member(action, kind).get("host") for kind in ("httpGet", "tcpSocket"))


def _member(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return parent.get(key) or {}


def _members(parent: Mapping[str, Any], key: str) -> Sequence[Any]:
    return parent.get(key) or []

"""The template: the container and the volumes that injected pods get, as an operator wrote them. Pure.

It is checked against the restricted Pod Security Standard, so that an injected pod passes if it passed before:
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sidegate_injector.errors import Refused, TemplateInvalid
from sidegate_injector.objects import Object, as_object, object_in, objects_in

CONTAINER = "sidegate"
VOLUME_PREFIX = "sidegate-"
TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
MAX_ID = 2**31 - 1  # the largest uid and gid that Kubernetes takes

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_MEMBERS = frozenset({"target", "container", "volumes"})
_RESTRICTED_SOURCES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


@dataclass(frozen=True, slots=True)
class Template:
    """What is injected.

    Attributes:
        container: The sidecar's.
        volumes: What it mounts.
        target: Where services find it, as gRPC spells it: SIDEGATE_TARGET.
        socket_directory: The directory of that socket.
        socket_volume: The name of the volume that is mounted there, by the sidecar and by those who ask it.
        group: The socket's group where the pod has no fsGroup: the sidecar's own.
        config_volume: The name of the volume with the sidecar's settings, a ConfigMap. None: there is none.
        ports: Where the sidecar listens on the pod's address, which all of its containers share; TCP.
    """

    container: Object
    volumes: tuple[Object, ...]
    target: str
    socket_directory: str
    socket_volume: str
    group: int
    config_volume: str | None
    ports: frozenset[int]


def parse_template(document: object, *, image: str | None = None) -> Template:
    """Check a template and take it up.

    Args:
        document: What its YAML says.
        image: The sidecar's image, in place of the template's.

    Raises:
        TemplateInvalid: With every mistake.
    """
    try:
        json.dumps(document)
    except (TypeError, ValueError, RecursionError):
        raise TemplateInvalid(
            ["the template has something that JSON has not, such as a date; put it in quotes"]
        ) from None
    try:
        root = as_object(document, "the template")
        container = object_in(root, "container", "the template")
        volumes = objects_in(root, "volumes", "the template")
        if image is not None:
            container = {**container, "image": image}
        target = root.get("target")
        directory = _socket_directory(target)
        security = object_in(container, "securityContext", "container")
        mounts = {
            str(mount.get("mountPath")): str(mount.get("name"))
            for mount in objects_in(container, "volumeMounts", "container")
        }
        mistakes = [
            *(f"{name} is no member of a template" for name in sorted(root.keys() - _MEMBERS)),
            *_mistakes_of_container(container),
            *_mistakes_of_privileges(container, security),
            *_mistakes_of_volumes(volumes, mounts, directory),
        ]
    except Refused as wrong_shape:
        raise TemplateInvalid([str(wrong_shape)]) from None
    if directory is None:
        mistakes.append("target must be a Unix socket, such as unix:///run/sidegate/sidegate.sock")
    if mistakes or directory is None:
        raise TemplateInvalid(mistakes)
    configs = [str(volume["name"]) for volume in volumes if "configMap" in volume]
    return Template(
        container=container,
        volumes=tuple(volumes),
        target=str(target),
        socket_directory=directory,
        socket_volume=mounts[directory],
        group=security["runAsGroup"],
        config_volume=configs[0] if configs else None,
        ports=frozenset(tcp_ports(container, "container")),
    )


def tcp_ports(container: Object, where: str) -> Iterator[int]:
    """The ports on which a container says that it listens by TCP. Raises Refused."""
    for port in objects_in(container, "ports", where):
        number = port.get("containerPort")
        if isinstance(number, int) and port.get("protocol") in (None, "", "TCP"):
            yield number


def _socket_directory(target: object) -> str | None:
    prefix = "unix://"
    if not isinstance(target, str) or not target.startswith(f"{prefix}/"):
        return None
    directory = PurePosixPath(target.removeprefix(prefix)).parent
    return None if directory == PurePosixPath("/") else str(directory)


def _mistakes_of_container(container: Object) -> Iterator[str]:
    if container.get("name") != CONTAINER:
        yield f"container.name must be {CONTAINER}"
    if not (isinstance(container.get("image"), str) and container["image"]):
        yield "container.image is missing; give it there or by --image"
    if container.get("restartPolicy") != "Always":
        yield "container.restartPolicy must be Always: a native sidecar"
    if "startupProbe" not in container:
        yield "container.startupProbe is missing: the application would start before verification is ready"
    ports = set(tcp_ports(container, "container"))
    for probe in _PROBES:
        action = object_in(object_in(container, probe, "container"), "grpc", f"container.{probe}")
        if action and action.get("port") not in ports:  # else a container of the pod's could have it
            yield f"container.{probe}.grpc.port must be one of container.ports"
    objects_in(container, "env", "container")
    resources = object_in(container, "resources", "container")
    for kind in ("requests", "limits"):
        object_in(resources, kind, "container.resources")


def _mistakes_of_privileges(container: Object, security: Object) -> Iterator[str]:
    where = "container.securityContext"
    for name, value in (
        ("runAsNonRoot", True),
        ("allowPrivilegeEscalation", False),
        ("readOnlyRootFilesystem", True),
    ):
        if security.get(name) is not value:
            yield f"{where}.{name} must be {str(value).lower()}"
    for name in ("runAsUser", "runAsGroup"):
        number = security.get(name)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= MAX_ID:
            yield f"{where}.{name} must be a number from 1 to {MAX_ID}"
    if object_in(security, "capabilities", where) != {"drop": ["ALL"]}:
        yield f"{where}.capabilities must drop ALL and add none"
    if object_in(security, "seccompProfile", where).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{where}.seccompProfile.type must be RuntimeDefault or Localhost"
    for name in ("privileged", "procMount", "seLinuxOptions", "appArmorProfile", "windowsOptions"):
        if security.get(name):
            yield f"{where}.{name} must not be set"
    if any("hostPort" in port for port in objects_in(container, "ports", "container")):
        yield "container.ports must not have a hostPort"


def _mistakes_of_volumes(volumes: Sequence[Object], mounts: dict[str, str], directory: str | None) -> Iterator[str]:
    sources = {str(volume.get("name")): volume.keys() - {"name"} for volume in volumes}
    if len(sources) < len(volumes):
        yield "two volumes have the same name"
    for volume in volumes:
        for kind in _RESTRICTED_SOURCES & volume.keys():
            as_object(volume[kind], f"volume {volume.get('name')}: {kind}")
    for name, source in sources.items():
        if not name.startswith(VOLUME_PREFIX):
            yield f"the name of volume {name} must begin with {VOLUME_PREFIX}"
        if len(source) != 1 or not source <= _RESTRICTED_SOURCES:
            yield f"volume {name} must have one source, of {', '.join(sorted(_RESTRICTED_SOURCES))}"
    yield from (f"volume {name} is mounted and is not there" for name in sorted(set(mounts.values()) - sources.keys()))
    if sum("configMap" in source for source in sources.values()) > 1:
        yield "more than one volume is a ConfigMap: which is the one with the settings?"
    # What the API server mounts a token over it leaves alone if something is mounted there already.
    if "emptyDir" not in sources.get(mounts.get(TOKEN_DIRECTORY, ""), set()):
        yield f"an empty directory must be mounted at {TOKEN_DIRECTORY}, or the pod's token would be"
    if directory is None:
        return
    socket = next((volume for volume in volumes if volume.get("name") == mounts.get(directory)), None)
    empty = object_in(socket, "emptyDir", "volume") if socket else {}
    if empty.get("medium") != "Memory" or "sizeLimit" not in empty:
        yield f"an emptyDir with medium Memory and a sizeLimit must be mounted at {directory}, the target's directory"

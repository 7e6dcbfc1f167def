"""What becomes of a pod: (pod, template) -> pod. Pure; shares with the pod given whatever stays as it was.

Injecting twice is injecting once: other webhooks may run in between, and a pod may come back as it was exported.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from sidegate_injector.annotations import CONFIG, INJECTED, Wishes, wishes_in
from sidegate_injector.errors import Refused
from sidegate_injector.objects import Object, as_object, object_in, objects_in
from sidegate_injector.template import CONTAINER, Template, tcp_ports

TARGET_VARIABLE = "SIDEGATE_TARGET"
LOG_LEVEL_VARIABLE = "SIDEGATE_LOG_LEVEL"
NODE_SYSTEM = "kubernetes.io/os"  # how pods from before `os` say where they run
MIRROR = "kubernetes.io/config.mirror"  # a kubelet's own record of a static pod, which nobody may change

BY = f"sidegate-injector {version('sidegate')}"


@dataclass(frozen=True, slots=True)
class Injection:
    """What became of a pod.

    Attributes:
        pod: As it is to be.
        left_alone: Why nothing was done. Empty: it has its sidecar.
        warnings: For its author.
    """

    pod: Object
    left_alone: str = ""
    warnings: tuple[str, ...] = ()


def inject(pod: Object, template: Template) -> Injection:
    """Give a pod its sidecar, and whoever may ask it the way there.

    Raises:
        Refused: An annotation is not allowed, a name is taken, or it is no pod.
    """
    metadata = object_in(pod, "metadata", "pod")
    annotations = object_in(metadata, "annotations", "pod.metadata")
    wishes = wishes_in(annotations)
    spec = object_in(pod, "spec", "pod")
    if reason := _reason_to_leave_alone(wishes, annotations, spec):
        return Injection(pod, reason, () if not wishes.wanted else (f"no sidegate sidecar: {reason}",))
    sidecar, volumes = _sidecar(template, wishes), _volumes(template, wishes)
    digest = _digest(template, sidecar, volumes)
    init_containers, stands = _with_sidecar(spec, sidecar, intact=_digest_in(annotations) == digest)
    containers = objects_in(spec, "containers", "pod.spec")
    _check_ports([*init_containers, *containers], template)
    kept: list[str] = []
    after: Object = {
        **spec,
        "initContainers": [
            container if container.get("name") == CONTAINER else _led_to_sidecar(container, template, kept)
            for container in init_containers
        ],
        "containers": [_led_to_sidecar(container, template, kept) for container in containers],
        "volumes": _with_volumes(spec, volumes, intact=stands),
    }
    _share_socket(after, template)
    account = {"by": BY, "digest": digest, "target": template.target, "kept": kept}
    told: Object = {
        "annotations": {**annotations, INJECTED: json.dumps(account)},
        "labels": {**object_in(metadata, "labels", "pod.metadata"), INJECTED: "true"},  # by which pods can be selected
    }
    injected = {**pod, "metadata": {**metadata, **told}, "spec": after}
    return Injection(injected, warnings=tuple(_warnings(wishes, kept)))


def _reason_to_leave_alone(wishes: Wishes, annotations: Object, spec: Object) -> str:
    if not wishes.wanted:
        return "annotated out"
    if MIRROR in annotations:
        return "the record of a static pod"
    if "windows" in (
        object_in(spec, "os", "pod.spec").get("name"),
        object_in(spec, "nodeSelector", "pod.spec").get(NODE_SYSTEM),
    ):
        return "a Windows pod"
    return ""


def _warnings(wishes: Wishes, kept: Sequence[str]) -> Iterator[str]:
    yield from (f"nothing reads the annotation {name[:100]}" for name in wishes.unknown)
    yield from kept


def _sidecar(template: Template, wishes: Wishes) -> Object:
    """The template's container, as the annotations ask for it."""
    sidecar = dict(template.container)
    if wishes.log_level is not None:
        others = [entry for entry in objects_in(sidecar, "env", CONTAINER) if entry.get("name") != LOG_LEVEL_VARIABLE]
        sidecar["env"] = [*others, {"name": LOG_LEVEL_VARIABLE, "value": wishes.log_level}]
    asked = {name: value for name, value in (("cpu", wishes.cpu), ("memory", wishes.memory)) if value is not None}
    if asked:
        resources = object_in(sidecar, "resources", CONTAINER)
        sidecar["resources"] = {**resources, "requests": {**object_in(resources, "requests", CONTAINER), **asked}}
        # A limit that the template sets moves along, or it could be below the request; one that it does not is not set.
        if limits := object_in(resources, "limits", CONTAINER):
            sidecar["resources"]["limits"] = {name: asked.get(name, limit) for name, limit in limits.items()}
    return sidecar


def _volumes(template: Template, wishes: Wishes) -> list[Object]:
    """The template's volumes, with the settings that the annotations ask for."""
    if wishes.config is None:
        return list(template.volumes)
    if template.config_volume is None:
        raise Refused(f"annotation {CONFIG}: the sidecars of this cluster are not configured by a ConfigMap")
    return [
        {**volume, "configMap": {**volume["configMap"], "name": wishes.config}}
        if volume["name"] == template.config_volume
        else volume
        for volume in template.volumes
    ]


def _with_sidecar(spec: Object, sidecar: Object, *, intact: bool) -> tuple[list[Object], bool]:
    """The init containers with the sidecar, and whether it stood there already as it is to be.

    It comes first, so that the init containers after it can ask it. One that was injected by the same template before
    is left as it stands: another webhook may have changed its image's registry, or its resources, to its own liking.
    """
    if any(container.get("name") == CONTAINER for container in objects_in(spec, "containers", "pod.spec")):
        raise Refused(f"a container has the name {CONTAINER}, which is the sidecar's")
    init_containers = objects_in(spec, "initContainers", "pod.spec")
    standing = [container for container in init_containers if container.get("name") == CONTAINER]
    if len(standing) > 1:
        raise Refused(f"two init containers have the name {CONTAINER}, which is the sidecar's")
    if standing and intact:
        return init_containers, True
    if standing and object_in(standing[0], "resources", "pod.spec.initContainers"):
        sidecar = {**sidecar, "resources": standing[0]["resources"]}
    return [sidecar, *(other for other in init_containers if other.get("name") != CONTAINER)], False


def _with_volumes(spec: Object, volumes: Sequence[Object], *, intact: bool) -> list[Object]:
    ours = {volume["name"]: volume for volume in volumes}
    after: list[Object] = []
    for volume in objects_in(spec, "volumes", "pod.spec"):
        wanted = ours.pop(str(volume.get("name")), None)
        if wanted is None:
            after.append(volume)
            continue
        if not any(source in volume for source in wanted.keys() - {"name"}):
            raise Refused(f"a volume has the name {wanted['name']}, which is the sidecar's")
        after.append(volume if intact else wanted)
    return [*after, *ours.values()]


def _check_ports(containers: Sequence[Object], template: Template) -> None:
    for container in containers:
        if container.get("name") == CONTAINER:
            continue
        for port in sorted(template.ports.intersection(tcp_ports(container, "a container"))):
            raise Refused(f"container {_name(container)} has port {port}, which is the sidecar's")


def _led_to_sidecar(container: Object, template: Template, kept: list[str]) -> Object:
    """A container that may ask the sidecar: it is told where, and the socket is mounted there.

    Read-only: whoever could write in that directory could put a socket of its own in the sidecar's place. Connecting
    needs no more. What the container's author has set stays, and is noted in `kept`.
    """
    where = "a container"
    name = _name(container)
    env = objects_in(container, "env", where)
    mounts = objects_in(container, "volumeMounts", where)
    told = next((entry for entry in env if entry.get("name") == TARGET_VARIABLE), None)
    mounted = next((mount for mount in mounts if _path(mount) == template.socket_directory), None)
    if told is None:
        container = {**container, "env": [*env, {"name": TARGET_VARIABLE, "value": template.target}]}
    elif told.get("value") != template.target:
        kept.append(f"container {name} keeps its own {TARGET_VARIABLE}")
    if mounted is None:
        mount = {"name": template.socket_volume, "mountPath": template.socket_directory, "readOnly": True}
        container = {**container, "volumeMounts": [*mounts, mount]}
    elif mounted.get("name") != template.socket_volume:
        kept.append(f"container {name} keeps its own mount at {template.socket_directory}")
    return container


def _name(container: Object) -> str:
    """For people."""
    return str(container.get("name"))[:63]


def _path(mount: Object) -> str:
    return str(mount.get("mountPath")).rstrip("/")


def _share_socket(spec: Object, template: Template) -> None:
    """Have every container be in the socket's group.

    With an fsGroup the kubelet gives the volume's directory to that group, and the set-group-id bit, so the socket has
    it too. Without one the socket has the sidecar's own group; an fsGroup would also change whose the pod's other
    volumes are.
    """
    security = object_in(spec, "securityContext", "pod.spec")
    if security.get("fsGroup") is not None:
        return
    groups: object = security.get("supplementalGroups") or []
    if not isinstance(groups, list):
        raise Refused("pod.spec.securityContext.supplementalGroups is not a list")
    if template.group not in groups:
        spec["securityContext"] = {**security, "supplementalGroups": [*groups, template.group]}


def _digest(template: Template, sidecar: Object, volumes: Sequence[Object]) -> str:
    """Names what is injected. It is no proof: a pod's author can write it, as they can annotate the pod out."""
    text = json.dumps([template.target, sidecar, volumes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest_in(annotations: Object) -> object:
    """The digest of an earlier injection. None: there was none, or somebody wrote something else there."""
    text = annotations.get(INJECTED)
    if not isinstance(text, str):
        return None
    try:
        return as_object(json.loads(text), INJECTED).get("digest")
    except (ValueError, RecursionError, Refused):
        return None

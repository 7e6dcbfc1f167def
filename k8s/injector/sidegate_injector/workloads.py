"""Where in a manifest the pod is: of every kind that makes pods. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

from sidegate_injector.objects import Object, object_in, objects_in

_TEMPLATE = ("spec", "template")

POD_PATHS: Mapping[tuple[str, str], Sequence[str]] = {
    ("v1", "Pod"): (),
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("apps/v1", "ReplicaSet"): _TEMPLATE,
    ("v1", "ReplicationController"): _TEMPLATE,
    ("batch/v1", "Job"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
LIST = ("v1", "List")

Change: TypeAlias = Callable[[Object, Object], Object]
"""(the workload, its pod) -> the pod as it is to be."""


def with_changed_pods(document: object, change: Change) -> object:
    """A manifest with its pods changed; one that makes no pods as it is.

    Raises:
        Refused: It does not have the shape of its kind.
    """
    if not isinstance(document, dict):
        return document
    manifest = cast("Object", document)
    kind = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind == LIST:
        items = objects_in(manifest, "items", "the list")
        return {**manifest, "items": [with_changed_pods(item, change) for item in items]}
    path = POD_PATHS.get(kind)
    if path is None:
        return manifest
    return _changed(manifest, path, kind[1], lambda pod: change(manifest, pod))


def _changed(parent: Object, path: Sequence[str], where: str, change: Callable[[Object], Object]) -> Object:
    if not path:
        return change(parent)
    child = object_in(parent, path[0], where)
    return {**parent, path[0]: _changed(child, path[1:], f"{where}.{path[0]}", change)}

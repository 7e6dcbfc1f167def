"""A template is checked whole before anything is injected by it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sidegate_injector.errors import TemplateInvalid
from sidegate_injector.template import parse_template

from tests.unit.k8s.pods import template_document

Break = Callable[[dict[str, Any]], object]

BREACHES: dict[str, tuple[Break, str]] = {
    "a member too many": (lambda t: t.update(image="x"), "image is no member of a template"),
    "no target": (lambda t: t.pop("target"), "target must be a Unix socket"),
    "a target that is a port": (lambda t: t.update(target="127.0.0.1:7311"), "target must be a Unix socket"),
    "a socket in the root": (lambda t: t.update(target="unix:///s"), "target must be a Unix socket"),
    "no container": (lambda t: t.pop("container"), "container.name must be sidegate"),
    "another name": (lambda t: t["container"].update(name="x"), "container.name must be sidegate"),
    "no image": (lambda t: t["container"].pop("image"), "container.image is missing"),
    "no native sidecar": (lambda t: t["container"].pop("restartPolicy"), "restartPolicy must be Always"),
    "no startup probe": (lambda t: t["container"].pop("startupProbe"), "startupProbe is missing"),
    "a probe of a port that nobody declares": (
        lambda t: t["container"]["livenessProbe"]["grpc"].update(port=1),
        "livenessProbe.grpc.port must be one of container.ports",
    ),
    "a probe that is none": (lambda t: t["container"].update(startupProbe=[]), "startupProbe is not an object"),
    "env that is no list": (lambda t: t["container"].update(env={}), "container.env is not a list"),
    "requests that are none": (lambda t: t["container"]["resources"].update(requests=1), "requests is not an object"),
    "a host port": (lambda t: t["container"].update(ports=[{"hostPort": 1}]), "must not have a hostPort"),
    "two volumes of a name": (lambda t: t["volumes"].append(t["volumes"][0]), "two volumes have the same name"),
    "a volume of the author's": (lambda t: t["volumes"][0].update(name="data"), "must begin with sidegate-"),
    "a volume of the host": (
        lambda t: t["volumes"].append({"name": "sidegate-x", "hostPath": {"path": "/"}}),
        "volume sidegate-x must have one source",
    ),
    "a mount of nothing": (
        lambda t: t["container"]["volumeMounts"].append({"name": "sidegate-x", "mountPath": "/x"}),
        "volume sidegate-x is mounted and is not there",
    ),
    "two ConfigMaps": (
        lambda t: t["volumes"].append({"name": "sidegate-x", "configMap": {"name": "x"}}),
        "more than one volume is a ConfigMap",
    ),
    "a token": (
        lambda t: t["container"].update(volumeMounts=t["container"]["volumeMounts"][:3]),
        "an empty directory must be mounted at /var/run/secrets",
    ),
    "a socket on a disk": (lambda t: t["volumes"][0]["emptyDir"].pop("medium"), "medium Memory"),
    "a socket volume without bound": (lambda t: t["volumes"][0]["emptyDir"].pop("sizeLimit"), "sizeLimit"),
    "a volume source of nothing": (lambda t: t["volumes"][3].update(configMap=None), "configMap is not an object"),
    "a target elsewhere": (lambda t: t.update(target="unix:///tmp/s"), "must be mounted at /tmp"),
}
PRIVILEGES: list[tuple[str, object]] = [
    ("runAsNonRoot", None),
    ("runAsNonRoot", False),
    ("runAsUser", None),
    ("runAsUser", 0),
    ("runAsUser", True),
    ("runAsUser", "65532"),
    ("runAsGroup", None),
    ("runAsGroup", 0),
    ("runAsGroup", 2**31),
    ("allowPrivilegeEscalation", None),
    ("readOnlyRootFilesystem", False),
    ("capabilities", None),
    ("capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    ("seccompProfile", None),
    ("seccompProfile", {"type": "Unconfined"}),
    ("seccompProfile", {"type": ["RuntimeDefault"]}),
    ("privileged", True),
    ("procMount", "Unmasked"),
    ("seLinuxOptions", {"type": "spc_t"}),
]


def mistakes(document: object) -> list[str]:
    with pytest.raises(TemplateInvalid) as invalid:
        parse_template(document)
    return invalid.value.mistakes


@pytest.mark.parametrize(("breach", "told"), BREACHES.values(), ids=BREACHES)
def test_a_mistake_is_told(breach: Break, told: str) -> None:
    document = template_document()
    breach(document)

    assert any(told in mistake for mistake in mistakes(document))


@pytest.mark.parametrize(("name", "value"), PRIVILEGES, ids=[f"{name}={value}" for name, value in PRIVILEGES])
def test_a_privilege_too_many_is_told(name: str, value: object) -> None:
    document = template_document()
    document["container"]["securityContext"][name] = value

    (mistake,) = mistakes(document)

    assert mistake.startswith(f"container.securityContext.{name}")


@pytest.mark.parametrize(
    "document",
    [None, [], "x", 7, {"container": []}, {"volumes": "x"}, {"volumes": [1]}, {True: 1}, {"target": date.min}],
    ids=repr,
)
def test_what_is_no_template_is_told(document: object) -> None:
    assert len(mistakes(document)) == 1


def test_an_image_that_is_given_takes_the_place_of_the_templates() -> None:
    assert parse_template(template_document(), image="mine:1").container["image"] == "mine:1"

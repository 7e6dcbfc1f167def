"""What an injected pod is like, and which pods are left alone or refused."""

import json
from typing import Any

import pytest
from sidegate_injector.errors import Refused
from sidegate_injector.template import parse_template

from tests.unit.k8s.pods import (
    IMAGE,
    SHAPES,
    TEMPLATE,
    VERSIONS,
    container,
    injected,
    pod,
    sidecar_of,
    template_document,
    validate,
)
from tests.unit.k8s.restricted import violations

SOCKET = "/run/sidegate"
TARGET = f"unix://{SOCKET}/sidegate.sock"


def members(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return parent.get(key) or []


def variables(one: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in members(one, "env")}


def applications(given: dict[str, Any]) -> list[dict[str, Any]]:
    spec = given["spec"]
    return [one for one in [*spec["initContainers"], *spec["containers"]] if one["name"] != "sidegate"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_injected_pod_is_valid(shape: str, version: str) -> None:
    validate({"metadata": {}, **injected(SHAPES[shape]).pod}, version)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_restricted_before_is_restricted_after(shape: str) -> None:
    before = violations(SHAPES[shape]["spec"])

    # The stub is replaced by what passes.
    assert set(violations(injected(SHAPES[shape]).pod["spec"])) == {v for v in before if not v.endswith(": sidegate")}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sidecar_runs_before_all_others_and_as_the_template_says(shape: str) -> None:
    after = injected(SHAPES[shape]).pod

    assert after["spec"]["initContainers"][0]["name"] == "sidegate"
    sidecar = sidecar_of(after)
    free = {"resources", "env"}
    assert {key: value for key, value in sidecar.items() if key not in free} == {
        key: value for key, value in TEMPLATE.container.items() if key not in free
    }
    assert (sidecar["image"], sidecar["restartPolicy"]) == (IMAGE, "Always")


@pytest.mark.parametrize("shape", SHAPES)
def test_whoever_may_ask_the_sidecar_knows_where_and_cannot_take_its_place(shape: str) -> None:
    asking = applications(injected(SHAPES[shape]).pod)

    assert asking
    for one in asking:
        assert "SIDEGATE_TARGET" in variables(one)
        (mount,) = [mount for mount in one["volumeMounts"] if mount["mountPath"].rstrip("/") == SOCKET]
        assert mount["name"] != "sidegate-socket" or mount["readOnly"] is True


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_else_of_the_pod_is_changed(shape: str) -> None:
    before, after = SHAPES[shape], injected(SHAPES[shape]).pod
    ours = {"env", "volumeMounts"}

    def others(document: dict[str, Any]) -> dict[str, Any]:
        spec = document["spec"]
        containers = {
            kind: [
                {key: value for key, value in one.items() if key not in ours}
                for one in members(spec, kind)
                if one["name"] != "sidegate"
            ]
            for kind in ("initContainers", "containers")
        }
        volumes = [volume for volume in members(spec, "volumes") if not volume["name"].startswith("sidegate-")]
        return {**spec, **containers, "volumes": volumes, "securityContext": None}

    assert others(after) == others(before)
    for old, new in zip(before["spec"]["containers"], after["spec"]["containers"], strict=True):
        for part in ours:
            assert new[part][: len(members(old, part))] == members(old, part)


@pytest.mark.parametrize("shape", SHAPES)
def test_injecting_twice_is_injecting_once(shape: str) -> None:
    once = injected(SHAPES[shape])

    twice = injected(once.pod)

    assert twice.pod == once.pod
    assert twice.warnings == once.warnings


def test_without_an_fs_group_every_container_is_in_the_sidecars_group() -> None:
    after = injected(pod(securityContext={"supplementalGroups": [3000]})).pod["spec"]

    assert after["securityContext"] == {"supplementalGroups": [3000, TEMPLATE.group]}
    assert sidecar_of({"spec": after})["securityContext"]["runAsGroup"] == TEMPLATE.group


@pytest.mark.parametrize("group", [2000, 0])
def test_an_fs_group_is_everybodys_group_already(group: int) -> None:
    assert injected(pod(securityContext={"fsGroup": group})).pod["spec"]["securityContext"] == {"fsGroup": group}


def test_no_service_account_token_reaches_the_sidecar() -> None:
    # The API server mounts the token in every container that has no mount there yet; also in those that webhooks add.
    after = injected(SHAPES["with a token mounted by the API server"]).pod

    (mount,) = [mount for mount in sidecar_of(after)["volumeMounts"] if "serviceaccount" in mount["mountPath"]]
    (volume,) = [volume for volume in after["spec"]["volumes"] if volume["name"] == mount["name"]]
    assert "emptyDir" in volume


def test_what_the_author_has_set_stays_and_is_said_to_the_author() -> None:
    own_target, own_mount = (injected(SHAPES[shape]) for shape in ("with its own target", "with its own mount there"))

    assert variables(own_target.pod["spec"]["containers"][0])["SIDEGATE_TARGET"] == "127.0.0.1:7311"
    assert own_target.warnings == ("container web keeps its own SIDEGATE_TARGET",)
    assert own_mount.warnings == ("container web keeps its own mount at /run/sidegate",)


def test_a_stub_of_the_sidecar_lends_its_resources_and_nothing_else() -> None:
    stub = {"name": "sidegate", "image": "evil", "command": ["sh"], "resources": {"limits": {"cpu": "2"}}}

    sidecar = sidecar_of(injected(pod(initContainers=[container("init"), stub])).pod)

    assert sidecar == {**TEMPLATE.container, "resources": {"limits": {"cpu": "2"}}}


def test_the_resources_of_a_stub_win_over_annotations() -> None:
    stub = {"name": "sidegate", "resources": {"requests": {"cpu": "2"}}}

    sidecar = sidecar_of(injected(pod(initContainers=[stub], annotations={"sidegate.dev/cpu": "50m"})).pod)

    assert sidecar["resources"] == stub["resources"]


def test_what_others_changed_on_an_injected_sidecar_stays_when_the_webhook_is_invoked_again() -> None:
    between = injected(pod()).pod
    sidecar = between["spec"]["initContainers"][0]
    between["spec"]["initContainers"][0] = {**sidecar, "image": "mirror/x", "resources": {"requests": {"cpu": "2"}}}
    between["spec"]["initContainers"].insert(0, container("mesh", restartPolicy="Always"))

    again = injected(between).pod

    assert [one["name"] for one in again["spec"]["initContainers"]] == ["mesh", "sidegate"]
    assert (sidecar_of(again)["image"], sidecar_of(again)["resources"]) == ("mirror/x", {"requests": {"cpu": "2"}})
    assert variables(again["spec"]["initContainers"][0])["SIDEGATE_TARGET"] == TARGET


def test_a_pod_that_was_exported_under_an_older_template_gets_the_present_one() -> None:
    document = template_document()
    document["container"]["args"] = ["run", "--older"]
    document["volumes"][0]["emptyDir"]["sizeLimit"] = "2Mi"
    exported = injected(pod(), parse_template(document, image="older")).pod

    assert injected(exported).pod == injected(pod()).pod


def test_annotations_say_how_much_the_sidecar_gets() -> None:
    sidecar = sidecar_of(injected(SHAPES["with all annotations"]).pod)

    # The template limits memory, so the limit moves along; it does not limit the processor.
    assert sidecar["resources"] == {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}


def test_annotations_choose_the_log_level_and_the_settings() -> None:
    after = injected(SHAPES["with all annotations"]).pod

    assert variables(sidecar_of(after)) == {**variables(TEMPLATE.container), "SIDEGATE_LOG_LEVEL": "debug"}
    assert {"name": "sidegate-config", "configMap": {"name": "sidegate-web.v2"}} in after["spec"]["volumes"]


def test_a_log_level_takes_the_place_of_the_templates() -> None:
    document = template_document()
    document["container"]["env"].append({"name": "SIDEGATE_LOG_LEVEL", "value": "error"})

    sidecar = sidecar_of(injected(pod(annotations={"sidegate.dev/log-level": "debug"}), parse_template(document)).pod)

    assert [entry["value"] for entry in sidecar["env"] if entry["name"] == "SIDEGATE_LOG_LEVEL"] == ["debug"]


def test_a_config_is_refused_where_the_template_has_no_place_for_it() -> None:
    document = template_document()
    document["container"]["volumeMounts"] = [m for m in document["container"]["volumeMounts"] if "etc" not in str(m)]
    document["volumes"] = [volume for volume in document["volumes"] if "configMap" not in volume]

    with pytest.raises(Refused, match=r"sidegate\.dev/config"):
        injected(pod(annotations={"sidegate.dev/config": "x"}), parse_template(document))


def test_an_injected_pod_explains_itself() -> None:
    account = json.loads(
        injected(SHAPES["with its own target"]).pod["metadata"]["annotations"]["sidegate.dev/injected"]
    )

    assert account.pop("by").startswith("sidegate-injector ")
    assert len(account.pop("digest")) == 16
    assert account == {"target": TARGET, "kept": ["container web keeps its own SIDEGATE_TARGET"]}


@pytest.mark.parametrize(
    ("given", "reason", "warned"),
    [
        (pod(annotations={"sidegate.dev/inject": "false"}), "annotated out", False),
        (pod(annotations={"kubernetes.io/config.mirror": "x"}), "the record of a static pod", True),
        (pod(os={"name": "windows"}), "a Windows pod", True),
        (pod(nodeSelector={"kubernetes.io/os": "windows"}), "a Windows pod", True),
    ],
    ids=["annotated out", "static", "Windows", "on Windows nodes"],
)
def test_a_pod_is_left_alone(given: dict[str, Any], reason: str, warned: bool) -> None:
    outcome = injected(given)

    assert outcome.left_alone == reason
    assert outcome.pod == given
    assert bool(outcome.warnings) is warned


TAKEN: dict[str, dict[str, Any]] = {
    "an ordinary container": pod({"name": "sidegate"}),
    "two init containers": pod(initContainers=[container("sidegate"), container("sidegate")]),
    "a volume of another kind": pod(volumes=[{"name": "sidegate-socket", "hostPath": {"path": "/"}}]),
    "a volume of no kind": pod(volumes=[{"name": "sidegate-config"}]),
    "the port of a container": pod({}, {"name": "x", "ports": [{"containerPort": 80}, {"containerPort": 17313}]}),
    "the port for metrics": pod({"ports": [{"containerPort": 17314}]}),
    "the port of an init container": pod(
        initContainers=[container("x", ports=[{"containerPort": 17313, "protocol": "TCP"}])]
    ),
    "a port of the host": pod({"ports": [{"containerPort": 17313, "hostPort": 17313}]}, hostNetwork=True),
}


@pytest.mark.parametrize("given", TAKEN.values(), ids=TAKEN)
def test_a_pod_that_has_taken_a_name_of_the_sidecars_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="which is the sidecar's"):
        injected(given)


@pytest.mark.parametrize(
    "port",
    [
        {"containerPort": 17313, "protocol": "UDP"},
        {"containerPort": 17312},
        {"containerPort": 80, "hostPort": 17313},
        {"containerPort": "17313"},
    ],
    ids=str,
)
def test_a_port_that_is_another_is_no_matter(port: dict[str, Any]) -> None:
    assert not injected(pod({"ports": [port]})).left_alone


@pytest.mark.parametrize("own", [None, {}, {"app": "web"}, {"app": "web", "sidegate.dev/injected": "false"}], ids=str)
def test_an_injected_pod_has_a_label_beside_its_own(own: dict[str, str] | None) -> None:
    given = pod()
    given["metadata"]["labels"] = own

    assert injected(given).pod["metadata"]["labels"] == {**(own or {}), "sidegate.dev/injected": "true"}


def test_a_false_account_of_an_injection_does_not_spare_other_containers() -> None:
    account = injected(pod()).pod["metadata"]["annotations"]

    forged = injected(pod(annotations=account, initContainers=[container("sidegate")])).pod

    # As good as annotating the pod out, which its author may: but whoever asks is still led to the socket.
    assert variables(forged["spec"]["containers"][0])["SIDEGATE_TARGET"] == TARGET


MALFORMED: dict[str, Any] = {
    "metadata": {"metadata": [], "spec": {}},
    "annotations": {"metadata": {"annotations": "x"}, "spec": {}},
    "labels": {"metadata": {"labels": "x"}, "spec": {}},
    "spec": {"spec": 1},
    "containers": {"spec": {"containers": {}}},
    "a container": {"spec": {"containers": ["web"]}},
    "env": {"spec": {"containers": [{"env": {}}]}},
    "an entry of env": {"spec": {"containers": [{"env": [1]}]}},
    "mounts": {"spec": {"containers": [{"volumeMounts": "x"}]}},
    "init containers": {"spec": {"initContainers": "x"}},
    "volumes": {"spec": {"volumes": {"a": 1}}},
    "a volume": {"spec": {"volumes": [None]}},
    "the security context": {"spec": {"securityContext": []}},
    "groups": {"spec": {"securityContext": {"supplementalGroups": 7}}},
    "os": {"spec": {"os": "linux"}},
    "a node selector": {"spec": {"nodeSelector": "linux"}},
    "ports": {"spec": {"containers": [{"ports": 80}]}},
    "a port": {"spec": {"containers": [{"ports": [80]}]}},
    "the stub's resources": {"spec": {"initContainers": [{"name": "sidegate", "resources": 1}]}},
}


@pytest.mark.parametrize("given", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_pod_is_refused(given: Any) -> None:
    with pytest.raises(Refused, match=r"is not (an object|a list)"):
        injected(given)


@pytest.mark.parametrize("name", [[], {}, 7, None], ids=repr)
@pytest.mark.parametrize("kind", ["containers", "initContainers", "volumes"])
def test_a_name_that_is_no_text_is_left_to_the_api_server_to_refuse(kind: str, name: object) -> None:
    odd = {"name": name, "env": [{"name": name}], "volumeMounts": [{"name": name, "mountPath": name}]}

    (kept,) = [one for one in injected({"spec": {kind: [odd]}}).pod["spec"][kind] if one["name"] == name]

    assert kept["env"][0] == {"name": name}


def test_a_key_that_only_yaml_has_is_refused() -> None:
    with pytest.raises(Refused, match="key that is no text"):
        injected({"metadata": {"annotations": {True: "x"}}, "spec": {}})

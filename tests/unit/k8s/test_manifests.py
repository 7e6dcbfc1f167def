"""The manifests: valid for each version, restricted, and referring to nothing that does not exist."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs] - it has some, but is not marked as typed
from sidegate_injector import server
from sidegate_injector.injection import inject
from sidegate_injector.template import parse_template
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.metrics.endpoint import PATH
from sidegate_sidecar.rpc.health import LIVENESS
from sidegate_sidecar.settings import PREFIX, Settings, load_settings

from tests.unit.k8s import manifests as k8s
from tests.unit.k8s.manifests import named, one
from tests.unit.k8s.pods import VERSIONS, pod, template_document, validate
from tests.unit.k8s.restricted import violations

VERSION = tomllib.loads((k8s.ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGE = f"sidegate:{VERSION}"
PAGE = (k8s.ROOT / "docs/kubernetes.md").read_text()
SYSTEM = "sidegate-system"

# Whoever installs makes these: docs/kubernetes.md says how.
GIVEN_SECRETS = {
    (SYSTEM, "sidegate-store-owner"): {"url"},
    (SYSTEM, "sidegate-store-admin"): {"url"},
}
CERTIFICATE_KEYS = {"tls.crt", "tls.key", "ca.crt"}  # what cert-manager writes in a secret
WORKLOADS = list(k8s.pods())
CONTAINERS = list(k8s.containers())
VALIDATED = [manifest for manifest in k8s.manifests() if manifest["apiVersion"] not in k8s.OPERATORS]


def labels_of_pods(namespace: str) -> list[dict[str, str]]:
    return [pod["metadata"]["labels"] for workload, pod in WORKLOADS if workload["metadata"]["namespace"] == namespace]


def is_selected(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def secrets() -> dict[tuple[str, str], set[str]]:
    """The keys of every secret that there will be."""
    written = {
        (secret["metadata"]["namespace"], secret["metadata"]["name"]): set(secret["stringData"])
        for secret in k8s.of_kind("Secret")
    }
    certificates = {
        (certificate["metadata"]["namespace"], certificate["spec"]["secretName"]): CERTIFICATE_KEYS
        for certificate in k8s.of_kind("Certificate")
    }
    return {**GIVEN_SECRETS, **certificates, **written}


def config_maps() -> dict[tuple[str, str], set[str]]:
    """The keys of every ConfigMap that there will be."""
    written = {
        (written["metadata"]["namespace"], written["metadata"]["name"]): set(written["data"])
        for written in k8s.of_kind("ConfigMap")
    }
    return {**{(namespace, name): keys for namespace, name, keys in k8s.generated("ConfigMap")}, **written}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", VALIDATED, ids=named)
def test_a_manifest_is_valid(manifest: k8s.Manifest, version: str) -> None:
    validate(manifest, version)


@pytest.mark.parametrize("manifest", k8s.of_kind("Certificate"), ids=named)
def test_a_certificate_has_an_issuer_and_a_name_that_is_asked_for(manifest: k8s.Manifest) -> None:
    assert one("Issuer", manifest["spec"]["issuerRef"]["name"])["metadata"]["namespace"] == SYSTEM
    services = {service["metadata"]["name"] for service in k8s.of_kind("Service")}
    names = manifest["spec"].get("dnsNames", [])
    assert manifest["spec"].get("isCA") or names
    assert {name.partition(f".{SYSTEM}.svc")[0] for name in names} <= services


def test_every_file_belongs_to_one_kustomization_and_every_name_in_one_exists() -> None:
    named_files: list[str] = []
    for folder, kustomization in k8s.kustomizations().items():
        for entry in [*kustomization.get("resources", ()), *kustomization.get("components", ())]:
            path = (folder / entry).resolve()
            assert path.exists(), f"{folder.name}: {entry}"
            if path.is_file():
                named_files.append(str(path))

    assert sorted(named_files) == sorted(str(path) for path in k8s.manifest_files())


def test_every_patch_has_a_target() -> None:
    for kustomization in k8s.kustomizations().values():
        for patch in kustomization.get("patches", ()):
            assert one(patch["target"]["kind"], patch["target"]["name"])


def test_every_namespaced_manifest_names_a_namespace_that_is_made() -> None:
    made = {namespace["metadata"]["name"] for namespace in k8s.of_kind("Namespace")}
    cluster_wide = {"Namespace", "MutatingWebhookConfiguration"}

    assert made == {SYSTEM, "shop"}
    for manifest in k8s.manifests():
        if manifest["kind"] not in cluster_wide:
            assert manifest["metadata"]["namespace"] in made, named(manifest)


def test_nothing_has_rights_on_the_cluster() -> None:
    assert {manifest["kind"] for manifest in k8s.manifests()} <= {
        *("Namespace", "ServiceAccount", "Deployment", "Job", "CronJob", "Service", "ConfigMap", "Secret"),
        *(
            "PodDisruptionBudget",
            "NetworkPolicy",
            "MutatingWebhookConfiguration",
            "Certificate",
            "Issuer",
            "PodMonitor",
        ),
    }
    for account in k8s.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("workload", "pod"), WORKLOADS, ids=[named(workload) for workload, _ in WORKLOADS])
def test_a_workload_is_restricted_and_has_no_token(workload: k8s.Manifest, pod: k8s.Manifest) -> None:
    spec = pod["spec"]

    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsUser"] > 0
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    if workload["metadata"]["namespace"] == SYSTEM:
        assert one("ServiceAccount", spec["serviceAccountName"])
        assert spec["enableServiceLinks"] is False  # else a service's variables look like sidegate's settings


def test_every_namespace_of_ours_enforces_the_restricted_standard() -> None:
    for namespace in k8s.of_kind("Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_everything_runs_the_image_of_this_version() -> None:
    images = {container["image"] for _, _, container in CONTAINERS if not container["image"].startswith("registry.")}
    told = {
        entry["value"]
        for _, _, container in CONTAINERS
        for entry in container.get("env", ())
        if entry["name"] == "SIDEGATE_INJECTOR_IMAGE"
    }

    assert images == told == {template["container"]["image"] for template in k8s.templates().values()} == {IMAGE}


def test_what_selects_selects_something() -> None:
    for service in k8s.of_kind("Service"):
        assert any(is_selected(service["spec"]["selector"], labels) for labels in labels_of_pods(SYSTEM))
    for kind, member in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for manifest in k8s.of_kind(kind):
            selector = manifest["spec"][member]["matchLabels"]
            assert sum(is_selected(selector, labels) for labels in labels_of_pods(SYSTEM)) == 1, named(manifest)
    for workload, template in WORKLOADS:
        if workload["kind"] == "Deployment":
            assert is_selected(workload["spec"]["selector"]["matchLabels"], template["metadata"]["labels"])


@pytest.mark.parametrize("name", ["sidegate-injector", "sidegate-admin"])
def test_two_replicas_stand_apart_and_one_always_serves(name: str) -> None:
    deployment = one("Deployment", name)
    spec = deployment["spec"]["template"]["spec"]
    (term,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]

    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert term["podAffinityTerm"]["labelSelector"] == deployment["spec"]["selector"]
    assert one("PodDisruptionBudget", name)["spec"] == {
        "minAvailable": 1,
        "selector": deployment["spec"]["selector"],
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # else two pods that never became ready hold up every drain
    }


@pytest.mark.parametrize(
    ("workload", "spec", "container"), CONTAINERS, ids=[f"{named(w)}: {c['name']}" for w, _, c in CONTAINERS]
)
def test_what_a_container_refers_to_exists(
    workload: k8s.Manifest, spec: dict[str, Any], container: dict[str, Any]
) -> None:
    namespace = workload["metadata"]["namespace"]
    volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())}
    contents: dict[str, set[str]] = {}

    assert set(mounts.values()) == set(volumes), "every volume is mounted, and every mount has a volume"
    for volume in volumes.values():
        if "secret" in volume:
            contents[volume["name"]] = secrets()[namespace, volume["secret"]["secretName"]]
        if "configMap" in volume:
            contents[volume["name"]] = config_maps()[namespace, volume["configMap"]["name"]]
    for entry in container.get("env", ()):
        if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
            assert reference["key"] in secrets()[namespace, reference["name"]]
    said = [entry.get("value", "") for entry in container.get("env", ())]
    for path in re.findall(r"=?(/(?:run|etc)/\S+)", " ".join([*said, *container.get("args", ())])):
        folder, _, file = path.rpartition("/")
        if "emptyDir" not in volumes[mounts[folder]]:  # there files are made while it runs
            assert file in contents[mounts[folder]], path


def test_ports_are_those_that_are_listened_on() -> None:
    for service in k8s.of_kind("Service"):
        deployment = one("Deployment", service["metadata"]["name"])
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        said = str(container.get("env")) + str(container["args"])
        policy = one("NetworkPolicy", service["metadata"]["name"])
        open_to_others = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        served = {port["targetPort"] for port in service["spec"]["ports"]}
        scraped = {
            endpoint["port"]
            for monitor in k8s.of_kind("PodMonitor")
            if monitor["metadata"]["name"] == service["metadata"]["name"]
            for endpoint in monitor["spec"]["podMetricsEndpoints"]
        }

        assert all(re.search(rf"\b{number}\b", said) for number in ports.values())
        assert served | scraped == open_to_others <= ports.keys()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            action = container.get(probe, {})
            asked = action.get("grpc", action.get("httpGet", {})).get("port")
            assert asked in {None, *ports, *ports.values()}


SIDECARS = {name: template["container"] for name, template in k8s.templates().items()} | {
    "admin": one("Deployment", "sidegate-admin")["spec"]["template"]["spec"]["containers"][0]
}


@pytest.mark.parametrize("container", SIDECARS.values(), ids=SIDECARS)
def test_a_sidecar_is_probed_where_it_serves_health_and_nothing_else(container: dict[str, Any]) -> None:
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    listener = Listener.parse(variables["SIDEGATE_HEALTH_LISTEN"])
    probes = {probe: container[probe]["grpc"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}

    assert listener.host == "0.0.0.0"  # noqa: S104 - kubelet asks the pod's address
    assert listener.port in {port["containerPort"] for port in container["ports"]}
    assert probes == {
        "startupProbe": {"port": listener.port},
        "readinessProbe": {"port": listener.port},
        "livenessProbe": {"port": listener.port, "service": LIVENESS},
    }
    assert Listener.parse(variables["SIDEGATE_LISTEN"]).path  # no address of the pod's leads to its tokens


MONITORED = [*((name, "sidegate-sidecars") for name in k8s.templates()), ("admin", "sidegate-admin")]


@pytest.mark.parametrize(("name", "monitor"), MONITORED)
def test_a_sidecar_is_asked_for_metrics_where_it_serves_them(name: str, monitor: str) -> None:
    container = SIDECARS[name]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    listener = Listener.parse(variables["SIDEGATE_METRICS_LISTEN"])
    (endpoint,) = one("PodMonitor", monitor)["spec"]["podMetricsEndpoints"]

    assert listener.host == "0.0.0.0"  # noqa: S104 - Prometheus asks the pod's address
    assert endpoint == {"port": endpoint["port"]}  # the path is Prometheus's own default, which is ours
    assert PATH == "/metrics"
    assert {port["name"]: port["containerPort"] for port in container["ports"]}[endpoint["port"]] == listener.port


def test_the_pod_monitors_find_the_admin_deployment_and_every_injected_pod() -> None:
    admin, sidecars = (one("PodMonitor", name)["spec"] for name in ("sidegate-admin", "sidegate-sidecars"))
    selected = admin["selector"]["matchLabels"]

    assert selected == one("Deployment", "sidegate-admin")["spec"]["selector"]["matchLabels"]
    assert "namespaceSelector" not in admin  # its own
    assert sidecars["namespaceSelector"] == {"any": True}
    for document in k8s.templates().values():
        labels = inject(pod(), parse_template(document)).pod["metadata"]["labels"]
        assert is_selected(sidecars["selector"]["matchLabels"], labels)
    assert not any(is_selected(sidecars["selector"]["matchLabels"], labels) for labels in labels_of_pods(SYSTEM))


def test_each_port_is_open_to_namespaces_that_are_labelled_for_it() -> None:
    rules = one("NetworkPolicy", "sidegate-admin")["spec"]["ingress"]
    open_to = {
        label: [port["port"] for port in rule["ports"]]
        for rule in rules
        for source in rule["from"]
        for label in source["namespaceSelector"]["matchLabels"].items()
    }

    assert open_to == {
        ("sidegate.dev/admin-access", "allowed"): ["admin"],
        ("sidegate.dev/metrics-access", "allowed"): ["metrics"],
    }
    for name, value in open_to:
        assert f"`{name}: {value}`" in PAGE


@pytest.mark.parametrize("container", SIDECARS.values(), ids=SIDECARS)
def test_the_name_of_a_port_is_no_longer_than_kubernetes_takes(container: dict[str, Any]) -> None:
    """15 characters (RFC 6335 §5.1), which the schemas do not say."""
    assert all(len(port["name"]) <= 15 for port in container["ports"])


def test_every_variable_is_a_setting() -> None:
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    own = {"SIDEGATE_INJECTOR_IMAGE"}
    given = [container for _, _, container in CONTAINERS] + [t["container"] for t in k8s.templates().values()]

    assert {entry["name"] for container in given for entry in container.get("env", ())} <= settings | own


def test_the_settings_in_the_manifests_are_accepted(tmp_path: Path) -> None:
    url = one("Secret", "sidegate-store")["stringData"]["url"]
    (admin,) = one("Deployment", "sidegate-admin")["spec"]["template"]["spec"]["containers"]

    def accepted(container: dict[str, Any], toml: str) -> Settings:
        (tmp_path / "sidegate.toml").write_text(toml)
        told = {entry["name"]: entry.get("value", url) for entry in container["env"]}
        return load_settings(told, tmp_path / "sidegate.toml")

    assert accepted(admin, (k8s.K8S / "overlays/postgres/admin.toml").read_text()).admin_grants
    for template in k8s.templates().values():
        assert accepted(template["container"], one("ConfigMap", "sidegate")["data"]["sidegate.toml"]).store_url


def test_nothing_of_ours_keeps_the_cluster_autoscaler_from_removing_a_node() -> None:
    volumes = [volume for _, pod in WORKLOADS for volume in pod["spec"].get("volumes", ())]
    volumes += [volume for template in k8s.templates().values() for volume in template["volumes"]]

    assert all(volume["emptyDir"]["medium"] == "Memory" for volume in volumes if "emptyDir" in volume)


def test_the_templates_are_accepted_and_differ_in_the_store_alone() -> None:
    ours, development = k8s.templates().values()
    for template in (ours, development):
        parse_template(template)

    def but_for_the_store(template: dict[str, Any]) -> dict[str, Any]:
        env = [
            entry
            for entry in template["container"]["env"]
            if entry["name"] not in {"SIDEGATE_STORE_URL", "SIDEGATE_ADMIN_LISTEN"}
        ]
        return {**template, "container": {**template["container"], "env": env}}

    assert but_for_the_store(ours) == but_for_the_store(development)
    assert ours == template_document()


def test_the_webhook_is_asked_where_it_serves_and_holds_up_nobody_else() -> None:
    configuration = one("MutatingWebhookConfiguration", "sidegate-injector")
    (webhook,) = configuration["webhooks"]
    service = webhook["clientConfig"]["service"]
    (port,) = one("Service", service["name"])["spec"]["ports"]
    selector = webhook["namespaceSelector"]
    (excluded,) = selector["matchExpressions"]

    assert (service["namespace"], service["port"], service["path"]) == (SYSTEM, port["port"], server.INJECT_PATH)
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["timeoutSeconds"] <= 5
    assert webhook["timeoutSeconds"] == server.BODY_SECONDS
    assert (webhook["sideEffects"], webhook["reinvocationPolicy"]) == ("None", "IfNeeded")
    assert webhook["admissionReviewVersions"] == ["v1"]
    assert selector["matchLabels"] == {"sidegate.dev/injection": "enabled"}
    assert (excluded["key"], excluded["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
    assert {"kube-system", SYSTEM} <= set(excluded["values"])
    assert webhook["rules"] == [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
            "scope": "Namespaced",
        }
    ]
    for probe in ("readinessProbe", "livenessProbe"):
        (container,) = one("Deployment", "sidegate-injector")["spec"]["template"]["spec"]["containers"]
        assert container[probe]["httpGet"]["path"] == server.HEALTH_PATH


@pytest.mark.parametrize(
    ("annotations", "asked"),
    [
        (None, True),
        ({}, True),
        ({"other": "false"}, True),
        ({"sidegate.dev/inject": "true"}, True),
        ({"sidegate.dev/inject": "FALSE"}, True),
        ({"sidegate.dev/inject": "false"}, False),
    ],
    ids=str,
)
def test_only_a_pod_that_is_annotated_out_is_let_past_the_webhook(
    annotations: dict[str, str] | None, asked: bool
) -> None:
    (webhook,) = one("MutatingWebhookConfiguration", "sidegate-injector")["webhooks"]
    (condition,) = webhook["matchConditions"]
    environment = cel.NewEnv(variables={"object": cel.Type.DYN})

    verdict = environment.compile(condition["expression"]).eval(data={"object": pod(annotations=annotations)})

    assert verdict.value() is asked


def test_the_injector_leaves_its_own_namespace_alone() -> None:
    (container,) = one("Deployment", "sidegate-injector")["spec"]["template"]["spec"]["containers"]

    assert f"--exclude-namespace={SYSTEM}" in container["args"]


def test_what_whoever_installs_has_to_make_is_told() -> None:
    for _, name in GIVEN_SECRETS:
        assert f"secret generic {name}" in PAGE

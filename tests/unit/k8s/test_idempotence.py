"""Over pods of any shape: injecting again changes nothing, the patch does it, and nothing restricted is lost."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sidegate_injector.errors import Refused
from sidegate_injector.json_patch import difference

from tests.unit.k8s.pods import RESTRICTED_CONTEXT, injected, patched, validate
from tests.unit.k8s.restricted import violations

UNHURRIED = settings(deadline=None)  # no test of ours judges by the clock

names = st.sampled_from(["a", "b", "c", "sidegate", "sidegate-socket", "sidegate-config", "SIDEGATE_TARGET"])
entries = st.fixed_dictionaries(
    {"name": names, "value": st.sampled_from(["", "x", "unix:///run/sidegate/sidegate.sock"])}
)
paths = st.sampled_from(["/run/sidegate", "/run/sidegate/", "/run", "/data"])
mounts = st.fixed_dictionaries({"name": names, "mountPath": paths})
sources: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"emptyDir": {}}, {"configMap": {"name": "x"}}, {"secret": {"secretName": "x"}}]
)


def volume(name: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, **source}


def lists(items: st.SearchStrategy[Any], key: str = "name") -> st.SearchStrategy[Any]:
    """Absent, null, or unique by the key, as an API server would have it."""
    return st.none() | st.lists(items, max_size=4, unique_by=lambda item: item[key])


containers: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": names, "image": st.just("x:1"), "securityContext": st.just(dict(RESTRICTED_CONTEXT))},
    optional={
        "env": lists(entries),
        "volumeMounts": lists(mounts, "mountPath"),
        "ports": st.lists(st.sampled_from([80, 17313]).map(lambda port: {"containerPort": port}), max_size=1),
        "resources": st.sampled_from([{}, {"requests": {"cpu": "1"}}]),
        "restartPolicy": st.just("Always"),
    },
)
annotations = st.dictionaries(
    st.sampled_from(["inject", "cpu", "memory", "log-level", "config", "injected", "else"]).map(
        "sidegate.dev/{}".format
    ),
    st.sampled_from(["true", "1", "64Mi", "debug", "x", '{"digest": "x"}', "{"]),
    max_size=4,
)
pods: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({}, optional={"annotations": st.none() | annotations}),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(containers, min_size=1, max_size=3, unique_by=lambda one: one["name"])},
            optional={
                "initContainers": lists(containers),
                "volumes": lists(st.builds(volume, names, sources)),
                "securityContext": st.none()
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "fsGroup": st.none() | st.integers(0, 3),
                        "supplementalGroups": st.none() | st.lists(st.integers(65531, 65533), unique=True),
                    },
                ),
            },
        ),
    }
)


@UNHURRIED
@given(pods)
def test_any_pod_is_refused_or_injected_once_and_for_all(before: dict[str, Any]) -> None:
    try:
        once = injected(before)
    except Refused:
        return
    operations = list(difference(before, once.pod))
    assert patched(before, operations) == once.pod
    assert injected(once.pod).pod == once.pod
    assert violations(once.pod["spec"]) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
members = st.sampled_from(["name", "env", "volumeMounts", "mountPath", "resources", "emptyDir", "fsGroup", "value"])
objects = st.dictionaries(members, anything, max_size=4)
parts = st.sampled_from(["containers", "initContainers", "volumes", "securityContext", "os"])
hostile: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "metadata": anything | st.fixed_dictionaries({"annotations": st.dictionaries(names, anything) | annotations}),
        "spec": anything | st.dictionaries(parts, anything | objects | st.lists(objects | anything, max_size=3)),
    },
)


@UNHURRIED
@given(hostile)
def test_whatever_is_sent_is_refused_or_injected_once_and_for_all(before: dict[str, Any]) -> None:
    try:
        once = injected(before)
    except Refused:
        return
    assert patched(before, list(difference(before, once.pod))) == once.pod
    assert injected(once.pod).pod == once.pod


@settings(deadline=None, max_examples=25)  # the schema is read anew each time
@given(pods)
def test_any_injected_pod_is_valid(before: dict[str, Any]) -> None:
    try:
        after = injected(before).pod
    except Refused:
        return
    validate({"apiVersion": "v1", "kind": "Pod", **after}, "1.37")

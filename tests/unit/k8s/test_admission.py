"""AdmissionReviews: what is answered to those that an API server sends, and to those that it does not."""

import base64
import json
from typing import Any

import pytest
from sidegate_injector.admission import review
from sidegate_injector.errors import NotAnAdmissionReview

from tests.unit.k8s.pods import SHAPES, TEMPLATE, injected, patched, pod
from tests.unit.k8s.reviews import review_of

EXCLUDED = {"kube-system", "sidegate-system"}


def answer(document: Any) -> dict[str, Any]:
    whole = review(document, TEMPLATE, EXCLUDED).answer
    assert (whole["apiVersion"], whole["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = whole["response"]
    assert response["uid"] == document["request"]["uid"]
    return response


def patch_in(response: dict[str, Any]) -> list[dict[str, Any]]:
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"]))
    return operations


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_patch_makes_the_injected_pod(shape: str, dry: bool) -> None:
    response = answer(review_of(SHAPES[shape], dryRun=dry))

    assert (response["allowed"], response["patchType"]) == (True, "JSONPatch")
    assert patched(SHAPES[shape], patch_in(response)) == injected(SHAPES[shape]).pod


def test_a_pod_that_is_injected_needs_no_patch() -> None:
    assert answer(review_of(injected(pod()).pod)) == {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": True}


def test_what_the_author_should_know_is_a_warning() -> None:
    response = answer(review_of(pod(annotations={"sidegate.dev/image": "evil"})))

    assert response["warnings"] == ["sidegate: nothing reads the annotation sidegate.dev/image"]


@pytest.mark.parametrize(
    "parts",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
        {"resource": None},
        {"namespace": "kube-system"},
        {"namespace": "sidegate-system"},
    ],
    ids=str,
)
def test_what_is_not_the_webhooks_business_is_allowed_unchanged(parts: dict[str, Any]) -> None:
    assert answer(review_of(pod(), **parts)) == {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": True}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (pod(annotations={"sidegate.dev/cpu": "lots"}), "annotation sidegate.dev/cpu must be"),
        (pod({"name": "sidegate"}), "which is the sidecar's"),
        ({"spec": 1}, "pod.spec is not an object"),
        (None, "the pod is not an object"),
        ("pod", "the pod is not an object"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_says_why(given: Any, told: str) -> None:
    response = answer(review_of(given))

    assert response["allowed"] is False
    assert response["status"]["code"] == 422
    assert told in response["status"]["message"]
    assert "patch" not in response


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "x",
        {},
        {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "1"}},
        {"apiVersion": "admission.k8s.io/v2", "kind": "AdmissionReview", "request": {"uid": "1"}},
        {"apiVersion": "admission.k8s.io/v1", "kind": "Pod", "request": {"uid": "1"}},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": []},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": ""}},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": 7}},
    ],
    ids=repr,
)
def test_what_no_api_server_sends_is_not_answered(document: object) -> None:
    with pytest.raises(NotAnAdmissionReview):
        review(document, TEMPLATE, EXCLUDED)


def test_a_decision_names_the_pod_for_the_log() -> None:
    decision = review(review_of(pod(named=False)), TEMPLATE, EXCLUDED)

    assert (decision.outcome, decision.namespace, decision.pod) == ("injected", "shop", "web-")

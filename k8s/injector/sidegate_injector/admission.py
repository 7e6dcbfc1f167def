"""AdmissionReview in, AdmissionReview out. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from sidegate_injector.errors import NotAnAdmissionReview, Refused
from sidegate_injector.injection import inject
from sidegate_injector.json_patch import difference
from sidegate_injector.objects import Object, as_object, object_in
from sidegate_injector.template import Template

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
PODS = {"group": "", "version": "v1", "resource": "pods"}

UNPROCESSABLE = 422  # what the API server itself answers to an object that it does not validate

MAX_LOGGED_CHARACTERS = 253  # no name of Kubernetes is longer

Answer: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a request.

    Attributes:
        answer: The AdmissionReview for the API server.
        outcome: `injected`, `left_alone` or `refused`.
        reason: Why it was not injected.
        namespace: The pod's.
        pod: The name of the pod, or the prefix that it is generated from.
    """

    answer: Answer
    outcome: str
    reason: str
    namespace: str
    pod: str


def review(document: object, template: Template, excluded: Collection[str]) -> Decision:
    """Decide about one request. Dry runs are like any other: there are no side effects.

    Args:
        document: The AdmissionReview, parsed.
        template: What is injected.
        excluded: Namespaces whose pods are left alone, whatever the webhook's configuration says.

    Raises:
        NotAnAdmissionReview: It is none, or of a version that this webhook is not registered for.
    """
    try:
        root = as_object(document, "the body")
        if (root.get("apiVersion"), root.get("kind")) != (API_VERSION, KIND):
            raise NotAnAdmissionReview(f"only {KIND} of {API_VERSION} is understood")
        request = object_in(root, "request", KIND)
    except Refused as wrong_shape:
        raise NotAnAdmissionReview(str(wrong_shape)) from None
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise NotAnAdmissionReview("the request has no uid")
    namespace, name = str(request.get("namespace") or "")[:MAX_LOGGED_CHARACTERS], _name_of(request)
    try:
        if reason := _reason_to_leave_alone(request, namespace, excluded):
            return Decision(_answer(uid, allowed=True), "left_alone", reason, namespace, name)
        pod = as_object(request.get("object"), "the pod")
        injection = inject(pod, template)
    except Refused as refusal:
        status = {"code": UNPROCESSABLE, "reason": "Invalid", "message": f"sidegate: {refusal}"}
        return Decision(_answer(uid, allowed=False, status=status), "refused", str(refusal), namespace, name)
    answer = _answer(uid, allowed=True)
    if injection.warnings:
        answer["response"]["warnings"] = [f"sidegate: {warning}" for warning in injection.warnings]
    if operations := list(difference(pod, injection.pod)):
        patch = base64.b64encode(json.dumps(operations).encode()).decode()
        answer["response"] |= {"patchType": "JSONPatch", "patch": patch}
    return Decision(answer, "left_alone" if injection.left_alone else "injected", injection.left_alone, namespace, name)


def _reason_to_leave_alone(request: Object, namespace: str, excluded: Collection[str]) -> str:
    if request.get("resource") != PODS or request.get("subResource"):
        return "not a pod"
    if request.get("operation") != "CREATE":
        return "not new"  # the containers of a pod that there is cannot be added to
    if namespace in excluded:
        return "in an excluded namespace"
    return ""


def _name_of(request: Object) -> str:
    """For the log. Empty where there is none."""
    try:
        metadata = object_in(object_in(request, "object", "request"), "metadata", "pod")
    except Refused:
        return ""
    return str(metadata.get("name") or metadata.get("generateName") or "")[:MAX_LOGGED_CHARACTERS]


def _answer(uid: str, **response: object) -> Answer:
    return {"apiVersion": API_VERSION, "kind": KIND, "response": {"uid": uid, **response}}

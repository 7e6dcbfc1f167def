"""AdmissionReviews as API servers send them."""

from typing import Any


def review_of(given: Any, **parts: Any) -> dict[str, Any]:
    """An AdmissionReview of the creation of a pod."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": given,
            "dryRun": False,
            **parts,
        },
    }

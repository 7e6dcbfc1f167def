"""What injection would make of a manifest, for people: YAML in, YAML out. Pure."""

from collections.abc import Callable, Collection

import yaml

from sidegate_injector.errors import Refused
from sidegate_injector.injection import inject
from sidegate_injector.kubernetes_yaml import parse_documents, write_documents
from sidegate_injector.objects import Object, object_in
from sidegate_injector.template import Template
from sidegate_injector.workloads import with_changed_pods


def preview(
    manifests: str, template: Template, *, namespace: str, excluded: Collection[str], tell: Callable[[str], None]
) -> str:
    """The manifests with their sidecars, as if each namespace had opted in. Comments are lost.

    Args:
        manifests: YAML, of any number of documents.
        template: What is injected.
        namespace: Of manifests that name none.
        excluded: Namespaces whose pods are left alone.
        tell: Called with a line about each workload that is not plainly injected.

    Raises:
        Refused: The admission webhook would refuse one of them; or it is no YAML.
    """

    def change(workload: Object, pod: Object) -> Object:
        metadata = object_in(workload, "metadata", "the manifest")
        who = f"{workload['kind']} {metadata.get('name') or metadata.get('generateName') or '(no name)'}"
        if str(metadata.get("namespace") or namespace) in excluded:
            tell(f"{who}: left alone: in an excluded namespace")
            return pod
        try:
            injection = inject(pod, template)
        except Refused as refusal:
            raise Refused(f"{who}: refused: {refusal}") from None
        if injection.left_alone:
            tell(f"{who}: left alone: {injection.left_alone}")
        for warning in injection.warnings if not injection.left_alone else ():
            tell(f"{who}: {warning}")
        return injection.pod

    try:
        return write_documents(
            with_changed_pods(document, change)
            for document in parse_documents(manifests)
            if document is not None  # nothing but comments: kubectl skips it too
        )
    except yaml.YAMLError as fault:
        raise Refused(f"not YAML: {' '.join(str(fault).split())}") from None
    except RecursionError:  # from reading, from writing, and from what contains itself
        raise Refused("not YAML that anybody wrote: nested too deeply") from None

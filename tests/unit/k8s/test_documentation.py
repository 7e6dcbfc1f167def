"""docs/kubernetes.md says of the injector what there is, and all of it."""

import ast
import re
from pathlib import Path

import pytest
from sidegate_injector import annotations
from sidegate_injector.workloads import POD_PATHS

from tests.unit.k8s import manifests as k8s

PAGE = (k8s.ROOT / "docs/kubernetes.md").read_text()
SOURCES = k8s.K8S / "injector/sidegate_injector"
LEVELS = {"debug", "info", "warning", "error"}


def first_cells(heading: str) -> set[str]:
    """What is in code in the first column of the table that follows."""
    table = PAGE.partition(heading)[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name for row in rows for name in re.findall("`([^`]+)`", row)}


def logged_events() -> set[str]:
    """The first argument of every call of a logger."""
    return {
        str(ast.literal_eval(node.args[0]))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and ast.unparse(node.func.value) == "_log"
    }


def test_every_event_is_documented_and_every_documented_one_is_logged() -> None:
    assert first_cells("It logs one JSON object a line") == logged_events()


def test_every_annotation_is_documented_and_every_documented_one_is_read() -> None:
    read = {value for name, value in vars(annotations).items() if name.isupper() and str(value).startswith("sidegate.")}

    assert first_cells("### Annotations of a pod") == read - {annotations.PREFIX, annotations.INJECTED}


def test_every_kind_that_is_previewed_is_named() -> None:
    for _, kind in POD_PATHS:
        assert kind in PAGE or kind == "ReplicationController"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?<![\w/])(?:k8s|docs)/[\w./-]*\w", PAGE))))
def test_every_path_that_is_named_exists(path: str) -> None:
    assert (k8s.ROOT / path).exists()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_every_link_leads_somewhere(link: str) -> None:
    page, _, heading = link.partition("#")
    text = (Path(k8s.ROOT) / "docs" / page).read_text()

    assert not heading or re.search(rf"^#+ {heading}$", text, re.MULTILINE | re.IGNORECASE)


def test_a_rollout_is_waited_for_one_workload_at_a_time() -> None:
    waits = re.findall(r"rollout status (.+)", PAGE)

    # Of two an older kubectl says that it "is only supported on individual resources".
    assert {f"deployment/{workload['metadata']['name']}" for workload in k8s.of_kind("Deployment")} > set(waits) > set()

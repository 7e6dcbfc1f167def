"""That the locks are those of today's pyproject.toml, and of each other. Needs no network; `make lock` mends it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT = PYPROJECT["project"]["dependencies"]
SIDECAR = [*CLIENT, *PYPROJECT["project"]["optional-dependencies"]["sidecar"]]
IMAGE = [*SIDECAR, *PYPROJECT["project"]["optional-dependencies"]["injector"]]

FRAMEWORKS = [
    asked for extra in ("django", "fastapi", "flask") for asked in PYPROJECT["project"]["optional-dependencies"][extra]
]


def group(name: str) -> list[str]:
    """The requirements of a dependency group, those of the groups that it includes among them."""
    asked: list[str] = []
    for entry in PYPROJECT["dependency-groups"][name]:
        asked += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return asked


ASKED = {
    "sidecar.lock": [*SIDECAR, *group("build")],
    "image.lock": IMAGE,
    "dev.lock": [*IMAGE, *FRAMEWORKS, *group("dev")],
    "examples.lock": [*CLIENT, *FRAMEWORKS, *group("examples")],
    "fuzz.lock": [*SIDECAR, *group("fuzz")],
    "proto.lock": [
        line for line in (ROOT / "requirements/proto.in").read_text().splitlines() if line and not line.startswith("#")
    ],
}


def pins(lock: str) -> dict[str, str]:
    """What a lock installs: version by name."""
    lines = (ROOT / "requirements" / lock).read_text().splitlines()
    split = [line.partition(";")[0].strip(" \\").partition("==") for line in lines if line[:1].isalnum()]
    return {canonicalize_name(name): version for name, _, version in split}


@pytest.mark.parametrize("lock", ASKED)
def test_a_lock_pins_all_that_is_asked_for_within_the_range_asked(lock: str) -> None:
    pinned = pins(lock)

    def is_met(asked: Requirement) -> bool:
        version = pinned.get(canonicalize_name(asked.name))
        return version is not None and asked.specifier.contains(version, prereleases=True)

    unmet = [asked for asked in ASKED[lock] if not is_met(Requirement(asked))]

    assert unmet == []


def test_every_lock_is_checked() -> None:
    assert {path.name for path in (ROOT / "requirements").glob("*.lock")} == set(ASKED)


def test_a_lock_pins_by_hash_alone() -> None:
    for lock in ASKED:
        for entry in (ROOT / "requirements" / lock).read_text().replace("\\\n", " ").splitlines():
            assert "--hash=sha256:" in entry, f"{lock}: {entry}"


@pytest.mark.parametrize("smaller", ["sidecar.lock", "image.lock", "examples.lock", "fuzz.lock"])
def test_what_is_tested_is_what_is_run(smaller: str) -> None:
    tested = pins("dev.lock")

    assert {
        name: version for name, version in pins(smaller).items() if version != tested.get(name) and name != "atheris"
    } == {}


def test_the_stubs_are_generated_with_the_oldest_grpc_that_the_client_allows() -> None:
    oldest = {
        requirement.name: min(specifier.version for specifier in requirement.specifier)
        for requirement in map(Requirement, CLIENT)
    }

    assert pins("proto.lock")["grpcio"] == pins("proto.lock")["grpcio-tools"] == oldest["grpcio"]
    assert pins("proto.lock")["protobuf"].startswith(f"{oldest['protobuf']}.")
    assert pins("proto.lock")["googleapis-common-protos"].startswith(f"{oldest['googleapis-common-protos']}.")

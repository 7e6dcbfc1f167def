"""The image's recipe. No engine is needed to check it; `make image` builds it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "sidecar/Dockerfile"
LINES = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
LAST_STAGE = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]


def instructions(name: str, lines: list[str] = LINES) -> list[str]:
    """What follows each instruction of that name."""
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing() -> None:
    outcome = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (outcome.returncode, outcome.stdout) == (0, "")


def test_everything_is_installed_by_its_hash_or_from_the_checkout() -> None:
    for command in instructions("RUN"):
        for installation in re.findall(r"pip (?:--python \S+ )?install ([^&]*)", command):
            assert "--require-hashes" in installation or "--no-index" in installation, installation


def test_what_runs_is_nobody_in_particular_and_needs_no_shell() -> None:
    assert instructions("USER", LAST_STAGE) == ["65532:65532"]
    assert instructions("RUN", LAST_STAGE) == []
    assert [*instructions("ENTRYPOINT"), *instructions("CMD")] == ['["sidegate"]', '["run"]']


def test_every_stage_has_the_same_base_which_is_named_once() -> None:
    assert {base.partition(" AS ")[0] for base in instructions("FROM")} == {"${PYTHON_IMAGE}"}
    (default,) = instructions("ARG")
    assert re.fullmatch(r"PYTHON_IMAGE=[\w./-]+:3\.1\d-slim-\w+", default)


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    given = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in given if line.startswith("!")}
    copied = {source for copy in instructions("COPY") if not copy.startswith("--from") for source in copy.split()[:-1]}

    assert "*" in given
    assert {re.sub(r"[^/]+\.lock$", "*.lock", source) for source in copied} == allowed
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("needed", ["sidecar", "clients/python", "k8s/injector"])
def test_every_package_of_the_wheel_is_copied(needed: str) -> None:
    assert any(copy.startswith(f"{needed} ") for copy in instructions("COPY"))

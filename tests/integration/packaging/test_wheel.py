"""What is published, installed as its users install it."""

import zipfile
from pathlib import Path

import pytest

from tests.integration.packaging.environments import ROOT, Environment, constraints, make_environment

pytestmark = pytest.mark.timeout(300)  # environments are installed, on a machine that may be busy

USE_THE_CLIENT = """
import sidegate
from sidegate.v1 import feed_pb2_grpc, revocation_pb2_grpc, verification_pb2_grpc

with sidegate.SessionClient("unix:///nowhere") as client:
    print(client)
"""


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(home).as_posix()
        for home in (ROOT / "sidecar", ROOT / "clients/python", ROOT / "k8s/injector")
        for package in ("pytest_sidegate", "sidegate", "sidegate_injector", "sidegate_sidecar")
        for path in (home / package).rglob("*")
        if path.suffix in {".py", ".pyi", ".sql", ".typed", ".yaml"}
    }

    assert {
        "pytest_sidegate/py.typed",
        "sidegate/py.typed",
        "sidegate_injector/py.typed",
        "sidegate_injector/template.yaml",
        "sidegate_sidecar/py.typed",
        "sidegate/v1/verification_pb2.pyi",
    } <= sources
    assert any(name.endswith(".sql") for name in sources)
    assert {name for name in names if ".dist-info/" not in name} == sources


def test_without_extras_the_client_works_and_nothing_of_the_sidecars_is_installed(client_only: Environment) -> None:
    assert client_only.distributions() == {
        "googleapis-common-protos",
        "grpcio",
        "protobuf",
        "sidegate",
        "typing-extensions",
    }
    outcome = client_only.run("python", "-c", USE_THE_CLIENT)

    assert outcome.returncode == 0, outcome.stderr
    assert "SessionClient" in outcome.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("run",), ()], ids=" ".join)
def test_without_the_extra_the_command_says_how_to_get_it(client_only: Environment, arguments: tuple[str, ...]) -> None:
    outcome = client_only.run("sidegate", *arguments)

    assert outcome.returncode == 64
    assert "pip install 'sidegate[sidecar]'" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_without_the_extra_the_injector_says_how_to_get_it(client_only: Environment) -> None:
    outcome = client_only.run("sidegate-injector", "serve")

    assert outcome.returncode == 64
    assert "pip install 'sidegate[injector]'" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_with_its_extra_alone_the_injector_works(wheelhouse: Path, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "env")
    environment.install_from(wheelhouse, "sidegate[injector]")
    (tmp_path / "pod.yaml").write_text("{apiVersion: v1, kind: Pod, spec: {containers: [{name: web, image: web}]}}")

    outcome = environment.run("sidegate-injector", "preview", "-f", str(tmp_path / "pod.yaml"))

    assert outcome.returncode == 0, outcome.stderr
    assert "SIDEGATE_TARGET" in outcome.stdout


def test_the_client_works_with_the_oldest_versions_that_it_allows(wheel: Path, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "env")
    # The generator's own environment holds the oldest runtime that its code runs on.
    environment.install(wheel, "-c", constraints("proto.lock", tmp_path))

    outcome = environment.run("python", "-W", "error", "-c", USE_THE_CLIENT + "print(__import__('grpc').__version__)")

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split()[-1].startswith("1.71.")

"""A wheel of this checkout, and environments that it is installed into."""

import sys
from pathlib import Path

import pytest

from tests.integration.packaging.environments import ROOT, Environment, constraints, execute, make_environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as it would be published."""
    folder = tmp_path_factory.mktemp("dist")
    execute(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def client_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where `pip install sidegate` was all that anybody did."""
    folder = tmp_path_factory.mktemp("client")
    environment = make_environment(folder / "env")
    environment.install(wheel, "-c", constraints("sidecar.lock", folder))
    return environment


@pytest.fixture(scope="session")
def with_sidecar(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where `pip install 'sidegate[sidecar]'` was run."""
    folder = tmp_path_factory.mktemp("sidecar")
    environment = make_environment(folder / "env")
    environment.install(f"{wheel}[sidecar]", "-c", constraints("sidecar.lock", folder))
    return environment

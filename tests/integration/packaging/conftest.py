"""A wheel of this checkout, and environments that it is installed into. Made once, whichever worker needs them first.

The workers share by a lock, not by `xdist_group`: pytest-xdist 3.8 ignores that mark under pytest 9.2.
"""

import fcntl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.integration.packaging.environments import ROOT, Environment, constraints, execute, make_environment, pip

MakeOnce: TypeAlias = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MakeOnce:
    """Call with a name and a maker: the folder of that name, which the maker has filled once for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, filled = shared / name, shared / f"{name}.filled"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def wheel(make_once: MakeOnce) -> Path:
    """The wheel, as it would be published."""

    def build(folder: Path) -> None:
        execute(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)

    (built,) = make_once("dist", build).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheelhouse(make_once: MakeOnce, wheel: Path) -> Path:
    """A folder with the wheel and all that it needs with its extras: fetched once, not for each environment."""

    def download(folder: Path) -> None:
        pins = ("-c", constraints("image.lock", folder))
        pip("download", "--only-binary=:all:", "--dest", folder, *pins, f"{wheel}[sidecar,injector]")

    return make_once("wheelhouse", download)


@pytest.fixture(scope="session")
def client_only(make_once: MakeOnce, wheelhouse: Path) -> Environment:
    """Where `pip install sidegate` was all that anybody did."""

    def install(folder: Path) -> None:
        make_environment(folder / "env").install_from(wheelhouse, "sidegate")

    return Environment(make_once("client", install) / "env")


@pytest.fixture(scope="session")
def with_sidecar(make_once: MakeOnce, wheelhouse: Path) -> Environment:
    """Where `pip install 'sidegate[sidecar]'` was run."""

    def install(folder: Path) -> None:
        make_environment(folder / "env").install_from(wheelhouse, "sidegate[sidecar]")

    return Environment(make_once("sidecar", install) / "env")

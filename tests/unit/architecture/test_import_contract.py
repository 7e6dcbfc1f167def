"""The import contract itself is run by `make lint`; here, that it notices when somebody breaks it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

ROOMS = "The sidecar's rooms import downwards only"
CLIENT = "The client stands without the sidecar"
INJECTOR = "The injector stands alone, and beside it nothing knows of it"
INJECTION = "What is injected is decided without I/O"
FRAMEWORKS = "Only its integration knows a web framework"
GRPC = "Only the outer rooms know gRPC"
SQL = "Only the store knows a database driver"
HTTP = "Only the keys are fetched over HTTP, and only the metrics served"
METRICS = "Nothing but a scrape runs prometheus-client"
BACKEND = "Only the composition root picks a store"
SETTINGS = "What the process was told is read at the top and handed down"
DEVELOPMENT = "What signs tokens stays out of what serves"

BREACHES = [
    ("sidecar/sidegate_sidecar/model/__init__.py", "from sidegate_sidecar import errors", ROOMS),
    ("sidecar/sidegate_sidecar/keys/__init__.py", "import sidegate_sidecar.store", ROOMS),
    ("sidecar/sidegate_sidecar/verifier.py", "import sidegate_sidecar.rpc", ROOMS),
    ("sidecar/sidegate_sidecar/stray.py", "", ROOMS),
    ("clients/python/sidegate/__init__.py", "import sidegate_sidecar.model", CLIENT),
    ("k8s/injector/sidegate_injector/injection.py", "import sidegate_sidecar.model", INJECTOR),
    ("k8s/injector/sidegate_injector/injection.py", "import sidegate_injector.server", INJECTION),
    ("clients/python/sidegate/integrations/guard.py", "import flask", FRAMEWORKS),
    ("sidecar/sidegate_sidecar/verifier.py", "import grpc", GRPC),
    ("sidecar/sidegate_sidecar/tokens/__init__.py", "from google.protobuf import any_pb2", GRPC),
    ("sidecar/sidegate_sidecar/revocations/__init__.py", "import sqlite3", SQL),
    ("sidecar/sidegate_sidecar/stores.py", "import asyncpg", SQL),
    ("sidecar/sidegate_sidecar/store/__init__.py", "import aiohttp", HTTP),
    ("sidecar/sidegate_sidecar/metrics/counts.py", "import prometheus_client", METRICS),
    ("sidecar/sidegate_sidecar/administration.py", "import sidegate_sidecar.store.sqlite", BACKEND),
    ("sidecar/sidegate_sidecar/administration.py", "import sidegate_sidecar.store.postgres", BACKEND),
    ("sidecar/sidegate_sidecar/keys/__init__.py", "import sidegate_sidecar.settings", SETTINGS),
    ("sidecar/sidegate_sidecar/app.py", "import sidegate_sidecar.development", DEVELOPMENT),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages and of the contract, to be broken at will."""
    for package in (
        "sidecar/sidegate_sidecar",
        "clients/python/sidegate",
        "clients/python/pytest_sidegate",
        "k8s/injector/sidegate_injector",
    ):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contract_report(checkout: Path) -> tuple[int, str]:
    """The exit status of the linter and what it printed, unwrapped."""
    # The checkout's packages come before the installed ones, which are those of this very repository.
    path = os.pathsep.join(str(checkout / folder) for folder in ("sidecar", "clients/python", "k8s/injector"))
    outcome = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return outcome.returncode, outcome.stdout + outcome.stderr


def test_the_contract_is_kept(checkout: Path) -> None:
    status, report = contract_report(checkout)

    assert status == 0, report


@pytest.mark.parametrize(
    ("module", "breach", "contract"), BREACHES, ids=[f"{module}: {breach or 'new'}" for module, breach, _ in BREACHES]
)
def test_a_breach_is_noticed(checkout: Path, module: str, breach: str, contract: str) -> None:
    with (checkout / module).open("a") as source:
        source.write(f"\n{breach}\n")

    status, report = contract_report(checkout)

    assert status != 0
    assert f"{contract} BROKEN" in report

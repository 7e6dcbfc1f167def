"""The pytest plugin, in runs of their own, and what docs/testing.md shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/testing.md").read_text()

NAMED_BLOCK = re.compile(r"`(\w+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)
NAMELESS_BLOCK = re.compile(r"(?<!`:\n)\n```python\n(.*?)```", re.DOTALL)

UNAWARE = """
import sys

def test_nothing_of_ours_was_loaded(request):
    assert request.config.pluginmanager.has_plugin("sidegate")
    assert "pytest_sidegate" in sys.modules
    assert {name.partition(".")[0] for name in sys.modules}.isdisjoint({"sidegate", "grpc", "google", "asyncio_grpc"})
"""

USING = """
import os
import sidegate

def test_a_target_is_set_for_clients_that_are_given_none(sidegate_target, sidegate_sidecar):
    assert os.environ["SIDEGATE_TARGET"] == sidegate_target == sidegate_sidecar.target
    assert os.environ["SIDEGATE_ADMIN_TARGET"] == sidegate_sidecar.admin_target
    with sidegate.SessionClient() as client:
        client.verify(sidegate_sidecar.issue_token())

def test_it_is_unset_again_and_nothing_is_left_of_the_test_before(sidegate_sidecar):
    assert "SIDEGATE_TARGET" not in os.environ
    assert sidegate_sidecar.revision.sequence == 0
    sidegate_sidecar.revoke_session("s-1")

def test_every_test_has_a_sidecar_of_its_own(sidegate_sidecar):
    assert sidegate_sidecar.revision.sequence == 0

def test_the_clients_are_its_own(sidegate_sidecar, sidegate_client, sidegate_admin):
    token = sidegate_sidecar.issue_token("ada", "s-1")
    assert sidegate_client.verify(token).user_id == "ada"
    assert sidegate_admin.revoke_session("s-1").revision == sidegate_sidecar.revision
"""


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A Python program, in a folder of its own, every warning an error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SIDEGATE_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def run_pytest(folder: Path, *options: str) -> str:
    settings = [f"-o{name}" for name in ("asyncio_default_fixture_loop_scope=function", *options)]
    outcome = run(folder, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *settings)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_a_run_that_does_not_use_it_is_not_charged_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_unaware.py").write_text(UNAWARE)

    assert "1 passed" in run_pytest(tmp_path)


def test_its_fixtures_serve_a_run_that_does(tmp_path: Path) -> None:
    (tmp_path / "test_using.py").write_text(USING)

    assert "4 passed" in run_pytest(tmp_path)


def test_the_guides_examples_run(tmp_path: Path) -> None:
    blocks = dict(NAMED_BLOCK.findall(GUIDE))
    assert blocks.keys() == {
        "greeting.py",
        "test_greeting.py",
        "shop.py",
        "test_shop.py",
        "stock.py",
        "test_stock.py",
    }
    for name, content in blocks.items():
        (tmp_path / name).write_text(content)

    assert "11 passed" in run_pytest(tmp_path, "asyncio_mode=auto")


def test_the_guides_program_runs(tmp_path: Path) -> None:
    (program,) = NAMELESS_BLOCK.findall(GUIDE)

    outcome = run(tmp_path, "-c", program)

    assert outcome.returncode == 0, outcome.stderr


def test_it_needs_nothing_but_the_clients_dependencies(tmp_path: Path) -> None:
    program = "import sys; import sidegate.testing; print(*{name.partition('.')[0] for name in sys.modules})"
    bare = run(tmp_path, "-c", "import grpc, sys; print(*{name.partition('.')[0] for name in sys.modules})")

    outcome = run(tmp_path, "-c", program)

    assert outcome.returncode == 0, outcome.stderr
    assert set(outcome.stdout.split()) - set(bare.stdout.split()) - sys.stdlib_module_names <= {"google", "sidegate"}


@pytest.mark.parametrize("name", ["issuer", "audiences", "anti_csrf_required", "unknown_sessions", "tcp"])
def test_the_guide_knows_every_argument(name: str) -> None:
    assert f"| `{name}` |" in GUIDE

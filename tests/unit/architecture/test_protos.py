"""The checks on the protos are run by `make proto-check`; here, that each of them can fail."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GENERATOR = ROOT / ".venv-proto" / "bin" / "python"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the protos and of the code made from them, to be changed at will."""
    assert GENERATOR.exists(), "the generator's environment is missing: run `make proto-check` once"
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copytree(
        ROOT / "clients/python/sidegate/v1",
        tmp_path / "python/sidegate/v1",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


def run_tool(checkout: Path, action: str) -> tuple[int, str]:
    """The exit status of the tool on the copy, and what it printed."""
    folders = ("--protos", checkout / "protos", "--out", checkout / "python", "--buf", ROOT / ".venv/bin/buf")
    outcome = subprocess.run(
        [GENERATOR, ROOT / "tools/protos.py", action, *folders],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return outcome.returncode, outcome.stdout + outcome.stderr


def edit(checkout: Path, proto: str, old: str, new: str) -> None:
    """Replace a text that occurs in a proto."""
    path = checkout / "protos/sidegate/v1" / proto
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_committed_protos_pass(checkout: Path) -> None:
    assert run_tool(checkout, "check") == (0, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("  int64 sequence = 2;", "  int64 sequence = 3;", id="another number"),
        pytest.param("  int64 sequence = 2;", "  string sequence = 2;", id="another type"),
        pytest.param("  REJECTION_REASON_EXPIRED = 5;", "  REJECTION_REASON_OUTDATED = 5;", id="another name"),
    ],
)
def test_a_breaking_change_is_refused_even_when_regenerated(checkout: Path, old: str, new: str) -> None:
    edit(checkout, "session.proto", old, new)
    assert run_tool(checkout, "generate") == (0, "")

    status, report = run_tool(checkout, "check")

    assert status == 1
    assert "not compatible" in report
    assert "not generated" not in report


def test_a_breaking_change_passes_once_the_baseline_is_moved(checkout: Path) -> None:
    edit(checkout, "session.proto", "  int64 sequence = 2;", "  int64 sequence = 3;")
    run_tool(checkout, "generate")
    run_tool(checkout, "baseline")

    assert run_tool(checkout, "check") == (0, "")


def test_generated_code_that_lags_behind_is_noticed(checkout: Path) -> None:
    edit(
        checkout, "session.proto", "  int64 sequence = 2;", "  int64 sequence = 2;\n  // A field more.\n  int64 x = 3;"
    )

    status, report = run_tool(checkout, "check")

    assert status == 1
    assert "not generated" in report
    assert "not compatible" not in report


def test_generated_code_edited_by_hand_is_noticed(checkout: Path) -> None:
    with (checkout / "python/sidegate/v1/feed_pb2.pyi").open("a") as stub:
        stub.write("# by hand\n")

    status, report = run_tool(checkout, "check")

    assert status == 1
    assert "-# by hand" in report


def test_generated_code_that_no_proto_stands_for_is_noticed_and_removed(checkout: Path) -> None:
    stale = checkout / "python/sidegate/v1/gone_pb2.py"
    stale.write_text("x = 1\n")

    status, report = run_tool(checkout, "check")
    assert status == 1
    assert "gone_pb2.py" in report

    run_tool(checkout, "generate")
    assert not stale.exists()
    assert run_tool(checkout, "check") == (0, "")


def test_a_field_without_a_comment_is_refused(checkout: Path) -> None:
    edit(
        checkout, "session.proto", "  // The store that the log belongs to. It changes when a backup is restored.\n", ""
    )

    status, report = run_tool(checkout, "check")

    assert status == 1
    assert "not clean" in report


def test_a_proto_out_of_format_is_refused(checkout: Path) -> None:
    edit(checkout, "session.proto", "  int64 sequence = 2;", "    int64 sequence=2;")

    status, report = run_tool(checkout, "check")

    assert status == 1
    assert "not formatted" in report


def test_a_proto_that_does_not_compile_is_reported_without_a_stack_trace(checkout: Path) -> None:
    edit(checkout, "session.proto", "  int64 sequence = 2;", "  int65 sequence = 2;")

    status, report = run_tool(checkout, "check")

    assert status == 1
    assert "int65" in report
    assert "Traceback" not in report


def test_the_generated_code_stays_where_the_protos_do_not_compile(checkout: Path) -> None:
    edit(checkout, "session.proto", "  int64 sequence = 2;", "  int65 sequence = 2;")

    status, _ = run_tool(checkout, "generate")

    assert status == 1
    assert (checkout / "python/sidegate/v1/session_pb2.py").exists()

"""The README is a program: its Python runs, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.sidecar.development import running_dev
from tests.integration.sidecar.processes import ENVIRONMENT, ROOT, run_sidegate

README = (ROOT / "README.md").read_text()
ADDRESS = "127.0.0.1:7311"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run_the_python(folder: Path, target: str) -> str:
    """What the program prints, asking that target."""
    (program,) = blocks("python")
    assert program.count(ADDRESS) == 1
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace(ADDRESS, target)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    return outcome.stdout


def test_its_address_is_where_dev_listens(folder: Path) -> None:
    """The one thing that the other tests change in it, so that many can run at once."""
    assert ADDRESS in run_sidegate("dev", "--help", folder=folder).stdout


def test_its_python_tells_a_good_token_from_a_revoked_one_and_both_from_an_outage(folder: Path) -> None:
    with running_dev(folder) as dev:
        assert run_the_python(folder, dev.target) == "alice\n"
        assert dev.run(dev.commands[2]).stdout.startswith("revoked")
        assert run_the_python(folder, dev.target) == "SESSION_REVOKED REAUTHENTICATE\n"
        assert run_the_python(folder, f"unix://{folder}/nobody.sock") == "try again\n"


def test_its_commands_exist(folder: Path) -> None:
    targets = set(re.findall(r"\bmake ([a-z-]+)", README))
    makefile = (ROOT / "Makefile").read_text()

    assert {"run", "test"} <= targets
    assert {target for target in targets if f"\n{target}:" not in makefile} == set()
    commands = set(re.findall(r"\bsidegate ([a-z]+)$", "".join(blocks("sh")), re.MULTILINE))
    assert commands
    for command in commands:
        assert run_sidegate(command, "--help", folder=folder).returncode == 0


def test_what_it_points_to_is_there() -> None:
    named = re.findall(r"^\| `([a-z/]+)/` \|", README, re.MULTILINE) + re.findall(r"\]\(([\w./-]+)\)", README)

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []

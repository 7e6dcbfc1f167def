"""Empty environments, and ways to install into them and to run what was installed."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PIN = re.compile(r"^([\w.-]+==[^\s;\\]+(?: ; [^\\\n]+?)?)\s*\\?$", re.MULTILINE)

# What is run must find the environment's packages alone, and none of the settings that this process may have.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("SIDEGATE_", "PYTHON", "VIRTUAL_ENV"))
}


@dataclass(frozen=True)
class Environment:
    """A virtual environment without pip: ours installs into it, which saves seconds each time."""

    folder: Path

    def install(self, *arguments: str | Path) -> None:
        """Run `pip install` on it."""
        pip("--python", self.folder / "bin/python", "install", "--no-compile", *arguments)

    def install_from(self, wheelhouse: Path, requirement: str) -> None:
        """Run `pip install` on it with what lies in a folder and nothing else."""
        self.install("--isolated", "--no-index", "--find-links", wheelhouse, requirement)

    def distributions(self) -> set[str]:
        """The names of what is installed."""
        found = self.folder.glob("lib/python*/site-packages/*.dist-info")
        return {path.name.partition("-")[0].lower().replace("_", "-") for path in found}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to the end, away from the checkout."""
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def execute(*command: str | Path) -> None:
    """Run a command that must succeed; what it printed is the failure's message."""
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def pip(*arguments: str | Path) -> None:
    """Run this process's own pip."""
    execute(sys.executable, "-m", "pip", "--quiet", *arguments)


def make_environment(folder: Path) -> Environment:
    """An empty environment."""
    execute(sys.executable, "-m", "venv", "--without-pip", folder)
    return Environment(folder)


def constraints(lock: str, folder: Path) -> Path:
    """The versions of a lock without its hashes: with them pip would refuse the wheel, which has none."""
    pins = PIN.findall((ROOT / "requirements" / lock).read_text())
    assert len(pins) > 3
    path = folder / f"{lock}.constraints"
    path.write_text("".join(f"{pin}\n" for pin in pins))
    return path

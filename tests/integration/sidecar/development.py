"""`sidegate dev` as a newcomer runs it."""

import re
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.sidecar.processes import BIN, ENVIRONMENT, EXIT_SECONDS, check_output, eventually

LAST_LINE = "Ctrl-C ends it."


@dataclass(frozen=True)
class DevelopmentSidecar:
    """A running one: where, and what it printed."""

    folder: Path
    welcome: str
    process: subprocess.Popen[bytes]

    @property
    def token(self) -> str:
        return (self.folder / ".sidegate/access-token").read_text().strip()

    @property
    def target(self) -> str:
        return self._found(r"verification on (\S+),")

    @property
    def admin_target(self) -> str:
        return self._found(r"admin on (\S+),")

    @property
    def commands(self) -> list[str]:
        """What it says to try, in order."""
        lines = [line.strip() for line in self.welcome.splitlines() if line.startswith("  ")]
        return [line for line in lines if not line.startswith("#")]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Do as it says, in a second terminal."""
        outcome = subprocess.run(
            ["sh", "-c", command],  # noqa: S607 - any POSIX shell will do
            cwd=self.folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        check_output(outcome.stderr)
        return outcome

    def _found(self, pattern: str) -> str:
        match = re.search(pattern, self.welcome)
        assert match is not None
        return match.group(1)


@contextmanager
def running_dev(folder: Path, *options: str) -> Generator[DevelopmentSidecar, None, None]:
    """`sidegate dev` in an empty folder, on ports of the system's choice; ended by Ctrl-C."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [BIN / "sidegate", "dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *options],
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    try:

        def welcome() -> str | None:
            assert process.poll() is None, (folder / "err").read_text()
            text = (folder / "out").read_text()
            return text if LAST_LINE in text else None

        yield DevelopmentSidecar(folder, eventually(welcome, "sidegate dev never said what to try"), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(EXIT_SECONDS) == 0
        assert (folder / "err").read_text() == ""
    finally:
        process.kill()
        process.wait()

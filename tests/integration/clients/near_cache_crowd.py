"""Several service processes with a near cache each, and what a revocation is to them."""

import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE_SECONDS = 60.0

_PROGRAM = Path(__file__).with_name("watching_process.py")


class Crowd:
    """Service processes, half of them with threads and half on asyncio."""

    def __init__(self, processes: "list[subprocess.Popen[str]]") -> None:
        self._processes = processes

    def revoke(self, token: str, revoke: Callable[[], object]) -> list[float]:
        """Have every near cache keep a token, revoke its session, and see it refused everywhere.

        Returns:
            For each process the seconds from the call of `revoke` to its refusal.
        """
        for process in self._processes:
            _tell(process, token)
        for process in self._processes:
            assert _hear(process) == "kept"
        began = time.monotonic()
        revoke()
        return [float(_hear(process)) - began for process in self._processes]


@contextmanager
def near_cache_crowd(target: str, size: int) -> Generator[Crowd, None, None]:
    """So many processes, ended with the block."""
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, str(_PROGRAM), target, ("threads", "asyncio")[number % 2]],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(size)
        ]
        try:
            yield Crowd(processes)
            for process in processes:
                process.communicate(timeout=PATIENCE_SECONDS)  # the end of its input is the end of its work
                assert process.returncode == 0
        finally:
            for process in processes:
                process.kill()


def _tell(process: "subprocess.Popen[str]", token: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{token}\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()

"""Runs a PostgreSQL server for a test session, and ends it with the session however that ends, kill -9 included.

A process of its own, so that somebody is left: once its standard input ends, it stops the server and removes the
folder.
Tests run it as a program; see `postgres.PostgresServer`.

Reads commands, one a line: `start` answers with the server's process id, `wait` with `ended` once the server has.
Arguments: the folder, the numeric user id to run the server as (-1: one's own), the server's command line.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

END_SECONDS = 10


def guard(folder: Path, uid: int, command: list[str]) -> None:
    """Obey until standard input ends; then leave nothing behind."""
    server: subprocess.Popen[bytes] | None = None
    try:
        for line in sys.stdin:
            match line.strip():
                case "start":
                    server = start(folder, uid, command)
                    print(server.pid, flush=True)  # noqa: T201 - this is how it answers
                case "wait":
                    if server is not None:
                        server.wait()
                    print("ended", flush=True)  # noqa: T201 - this is how it answers
                case other:
                    raise ValueError(f"no such command: {other!r}")
    finally:
        if server is not None:
            end(server)
        shutil.rmtree(folder, ignore_errors=True)


def start(folder: Path, uid: int, command: list[str]) -> subprocess.Popen[bytes]:
    """The server, its log in the folder."""
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            user=None if uid < 0 else uid,
            group=None if uid < 0 else uid,
            extra_groups=None if uid < 0 else [],
        )


def end(server: subprocess.Popen[bytes]) -> None:
    """Stop it at once; kill what does not stop."""
    if server.poll() is None:
        os.kill(server.pid, signal.SIGCONT)  # a test may have stopped it
        os.kill(server.pid, signal.SIGQUIT)
        try:
            server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # they are the test session's; it ends us by closing our input
    guard(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

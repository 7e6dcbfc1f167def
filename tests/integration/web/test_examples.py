"""Each example is started with each command of its README and asked what its README asks."""

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.sidecar.development import DevelopmentSidecar, running_dev
from tests.integration.sidecar.processes import ENVIRONMENT, EXIT_SECONDS, ROOT
from tests.integration.web.in_process import Reply, Sent
from tests.integration.web.servers import EXAMPLES, WebServer, environment_for_make, running_server

READMES = sorted(EXAMPLES.glob("*/README.md"))
STARTED = [
    pytest.param(path, command, id=command)
    for path in READMES
    for command in re.findall(r"^(make example-.*)$", path.read_text(), re.MULTILINE)
]
ASKED = re.compile(r"(curl .*?) {2,}# (\d{3})(?: (.*))?$", re.MULTILINE)


def request_of(command: str, token: str) -> Sent:
    """What curl would send: its options -X, -b and -H."""
    words = iter(shlex.split(command.replace("$TOKEN", token))[1:])
    method, path, headers = "GET", "", list[tuple[str, str]]()
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-b":
                headers.append(("Cookie", next(words)))
            case "-H":
                name, _, value = next(words).partition(": ")
                headers.append((name, value))
            case _:
                path = re.sub(r"^http://127\.0\.0\.1:80\d\d", "", word)
    assert path.startswith("/"), command
    return Sent(method, path, headers)


def check(reply: Reply, status: str, said: str) -> None:
    assert reply.status == int(status), reply
    if said.startswith("{"):
        assert reply.body == json.loads(said)
    elif said:
        assert reply.body["reason"] == said


def ask_all(readme: str, server: WebServer, dev: DevelopmentSidecar) -> None:
    asked = ASKED.findall(readme)
    assert len(asked) == readme.count("\ncurl ")
    for command, status, said in asked:
        check(server.send(request_of(command, dev.token)), status, said)


def make(command: str, environment: Path) -> str:
    """What a README's command prints, with that environment in place of `.venv`, told nothing else."""
    outcome = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=ENVIRONMENT | {"MAKEFLAGS": f"VENV={environment}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return outcome.stdout


def test_there_is_one_for_each_framework() -> None:
    assert [path.parent.name for path in READMES] == ["django_app", "fastapi_app", "flask_app"]
    assert {f"make example-{name}" for name in ("django", "django-wsgi", "fastapi", "flask")} == {
        param.values[1] for param in STARTED
    }


@pytest.mark.parametrize(("path", "command"), STARTED)
def test_it_does_what_its_readme_says(path: Path, command: str, folder: Path) -> None:
    readme = path.read_text()
    with running_dev(folder) as dev, running_server(command, dev.target) as server:
        orders = Sent("GET", "/orders", [("Cookie", f"session={dev.token}")])
        server.until(orders, 200)
        ask_all(readme, server, dev)

        assert dev.run(dev.commands[2]).stdout.startswith("revoked")
        assert server.until(orders, 401).body["reason"] == "SESSION_REVOKED"
        assert server.send(Sent("GET", "/")).status == 200
        dev.process.send_signal(signal.SIGINT)
        dev.process.wait(EXIT_SECONDS)
        server.until(orders, 503)


@pytest.mark.parametrize(("path", "command"), STARTED)
def test_it_listens_where_its_readme_asks_and_asks_where_make_run_listens(
    path: Path, command: str, folder: Path
) -> None:
    environment = environment_for_make(folder, folder / "bin")
    for name in ("gunicorn", "uvicorn"):
        program = environment / "bin" / name
        program.write_text('#!/bin/sh\necho "$SIDEGATE_TARGET" "$@"\n')
        program.chmod(0o755)

    told = make(command, environment).split()

    (port,) = set(re.findall(r"http://127\.0\.0\.1:(\d+)/", path.read_text()))
    assert told[0] == "127.0.0.1:7311"
    assert {port, f"127.0.0.1:{port}"} & set(told)


@pytest.mark.parametrize(("path", "command"), STARTED)
def test_its_command_installs_all_that_it_needs_from_locks(path: Path, command: str, folder: Path) -> None:
    """What the locks hold, tests/unit/architecture says."""
    planned = make(f"{command} --dry-run", folder / "none-yet").splitlines()

    installed = [line for line in planned if "pip install" in line]
    assert [lock for line in installed for lock in re.findall(r"--require-hashes -r (\S+)", line)] == [
        "requirements/sidecar.lock",
        "requirements/examples.lock",
    ]
    assert [line for line in installed if "--require-hashes" not in line and "--no-deps" not in line] == []


@pytest.mark.parametrize("path", READMES, ids=[path.parent.name for path in READMES])
def test_what_its_readme_points_to_is_there(path: Path) -> None:
    named = re.findall(r"\]\(([\w./-]+)\)", path.read_text())

    assert named
    assert [name for name in named if not (path.parent / name).exists()] == []
    assert ROOT in path.parents

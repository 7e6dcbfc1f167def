"""Each example is started with the command of its README and asked what its README asks."""

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.integration.sidecar.development import DevelopmentSidecar, running_dev
from tests.integration.sidecar.processes import EXIT_SECONDS, ROOT
from tests.integration.web.in_process import Reply, Sent
from tests.integration.web.servers import EXAMPLES, WebServer, running_server

READMES = sorted(EXAMPLES.glob("*/README.md"))
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


def test_there_is_one_for_each_framework() -> None:
    assert [path.parent.name for path in READMES] == ["django_app", "fastapi_app", "flask_app"]


@pytest.mark.parametrize("path", READMES, ids=[path.parent.name for path in READMES])
def test_it_does_what_its_readme_says(path: Path, folder: Path) -> None:
    readme = path.read_text()
    (first, *_) = re.findall(r"^```sh\n(.*?)\n```$", readme, re.MULTILINE | re.DOTALL)
    with running_dev(folder) as dev, running_server(first, dev.target) as server:
        orders = Sent("GET", "/orders", [("Cookie", f"session={dev.token}")])
        server.until(orders, 200)
        ask_all(readme, server, dev)

        assert dev.run(dev.commands[2]).stdout.startswith("revoked")
        assert server.until(orders, 401).body["reason"] == "SESSION_REVOKED"
        assert server.send(Sent("GET", "/")).status == 200
        dev.process.send_signal(signal.SIGINT)
        dev.process.wait(EXIT_SECONDS)
        server.until(orders, 503)


@pytest.mark.parametrize("path", READMES, ids=[path.parent.name for path in READMES])
def test_what_its_readme_points_to_is_there(path: Path) -> None:
    named = re.findall(r"\]\(([\w./-]+)\)", path.read_text())

    assert named
    assert [name for name in named if not (path.parent / name).exists()] == []
    assert ROOT in path.parents

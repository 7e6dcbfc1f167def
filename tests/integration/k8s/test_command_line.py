"""`sidegate-injector` as people and manifests call it."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.k8s.certificates import Authority
from tests.integration.k8s.webhook import BIN, IMAGE
from tests.integration.sidecar.processes import ENVIRONMENT, check_output
from tests.unit.k8s.pods import pod, template_document

REFUSED, USAGE, UNAVAILABLE = 1, 64, 69


def run(*arguments: str | Path, folder: Path, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end. What it wrote must be clean."""
    outcome = subprocess.run(
        [BIN / "sidegate-injector", *arguments],
        cwd=folder,
        env=ENVIRONMENT | variables,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    check_output(outcome.stdout + outcome.stderr)
    return outcome


def image_in(text: str) -> str:
    image: str = yaml.safe_load(text)["spec"]["initContainers"][0]["image"]
    return image


def test_a_file_is_previewed(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod()))

    outcome = run("preview", "-f", "pod.yaml", "--image", IMAGE, folder=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert image_in(outcome.stdout) == IMAGE


def test_standard_input_is_previewed_with_the_template_that_comes_with_it(tmp_path: Path) -> None:
    outcome = run("preview", "-f", "-", folder=tmp_path, stdin=yaml.safe_dump(pod()))

    assert outcome.returncode == 0
    assert image_in(outcome.stdout) == template_document()["container"]["image"]


def test_a_locale_changes_neither_what_is_read_nor_what_is_written(tmp_path: Path) -> None:
    manifest = "kind: '\N{EURO SIGN}'\n"
    (tmp_path / "odd.yaml").write_bytes(manifest.encode())

    for file in ("odd.yaml", "-"):
        outcome = subprocess.run(
            [BIN / "sidegate-injector", "preview", "-f", file],
            cwd=tmp_path,
            env=ENVIRONMENT | {"PYTHONIOENCODING": "latin-1"},
            input=manifest.encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (outcome.returncode, outcome.stdout.decode()) == (0, "kind: \N{EURO SIGN}\n"), outcome.stderr


@pytest.mark.parametrize("copies", [1, 100], ids=["a little", "more than a pipe holds"])
def test_who_reads_no_more_than_the_beginning_ends_a_preview_quietly(copies: int, tmp_path: Path) -> None:
    (tmp_path / "pods.yaml").write_text(yaml.safe_dump_all([pod()] * copies))
    reading, writing = os.pipe()
    os.close(reading)

    try:
        outcome = subprocess.run(
            [BIN / "sidegate-injector", "preview", "-f", "pods.yaml"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)

    assert (outcome.returncode, outcome.stderr) == (-signal.SIGPIPE, b"")


def test_the_image_may_be_told_by_the_environment(tmp_path: Path) -> None:
    outcome = run("preview", "-f", "-", folder=tmp_path, stdin=yaml.safe_dump(pod()), SIDEGATE_INJECTOR_IMAGE=IMAGE)

    assert image_in(outcome.stdout) == IMAGE


def test_a_pod_of_an_excluded_namespace_is_previewed_as_it_is(tmp_path: Path) -> None:
    arguments = ("preview", "-f", "-", "-n", "own", "--exclude-namespace", "own")

    outcome = run(*arguments, folder=tmp_path, stdin=yaml.safe_dump(pod()))

    assert yaml.safe_load(outcome.stdout) == pod()
    assert outcome.stderr == "Pod web-0: left alone: in an excluded namespace\n"


def test_a_refusal_is_an_exit_status_and_a_line_that_a_terminal_can_show(tmp_path: Path) -> None:
    refused = pod(annotations={"sidegate.dev/cpu": "lots"})
    refused["metadata"]["name"] = "x\x1b[2J"

    outcome = run("preview", "-f", "-", folder=tmp_path, stdin=yaml.safe_dump(refused))

    assert (outcome.returncode, outcome.stdout) == (REFUSED, "")
    assert "Pod x\\u001b[2J: refused: annotation sidegate.dev/cpu must be" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("preview", "-f", "missing.yaml"), "missing.yaml: No such file"),
        (("preview", "-f", "latin.yaml"), "latin.yaml: not UTF-8"),
        (("preview", "-f", "-", "--template", "missing.yaml"), "missing.yaml: No such file"),
        (("preview", "-f", "-", "--template", "torn.yaml"), "torn.yaml: not YAML"),
        (("preview", "-f", "-", "--template", "latin.yaml"), "latin.yaml: not YAML"),
        (("preview",), "--file"),
        (("serve",), "--certificate"),
        (("serve", "--certificate", "a", "--key", "b"), "a: No such file"),
        (("serve", "--certificate", "torn.yaml", "--key", "torn.yaml"), "the certificate cannot be used"),
        (("serve", "--certificate", "a", "--key", "b", "--port", "65536"), "--port"),
    ],
    ids=" ".join,
)
def test_a_mistake_on_the_command_line_is_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    (tmp_path / "torn.yaml").write_text("a: [")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")

    outcome = run(*arguments, folder=tmp_path)

    assert outcome.returncode == USAGE
    assert told in outcome.stderr


def test_every_mistake_in_a_template_is_told_before_anything_is_served(tmp_path: Path) -> None:
    Authority().issue(tmp_path, "webhook")
    document = template_document()
    document["container"]["securityContext"].update(runAsUser=0, privileged=True)
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(document))
    arguments = ("--certificate", "tls.crt", "--key", "tls.key", "--template", "template.yaml")

    outcome = run("serve", *arguments, folder=tmp_path)

    assert outcome.returncode == USAGE
    assert "runAsUser must be" in outcome.stderr
    assert "privileged must not be set" in outcome.stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    Authority().issue(tmp_path, "webhook")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ("--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
        outcome = run("serve", "--certificate", "tls.crt", "--key", "tls.key", *arguments, folder=tmp_path)

    assert outcome.returncode == UNAVAILABLE
    assert "cannot listen on 127.0.0.1:" in outcome.stderr

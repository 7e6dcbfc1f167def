"""The command line with a certificate or a token, against a listener that wants one."""

from collections.abc import Generator
from pathlib import Path

import pytest
from sidegate_sidecar.cli.outcomes import Exit

from tests.fakes.certificate_authority import replace_file
from tests.integration.access.scene import SPIFFE_ID, Running, Scene, a_handle
from tests.integration.sidecar.processes import run_sidegate

ISSUER = ("--issuer", "https://issuer.example")
GRANTS = [
    {"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker", "registrar"]},
    {"subject": "token:https://admin.example#machine", "roles": ["revoker"]},
]


@pytest.fixture(scope="module")
def running(module_folder: Path) -> Generator[Running, None, None]:
    with Scene(module_folder, GRANTS).running() as running:
        yield running


@pytest.fixture
def at(running: Running, tmp_path: Path) -> list[str]:
    """The options that say where, and whom to trust."""
    (tmp_path / "ca.crt").write_bytes(running.scene.authority.bundle)
    return ["--target", running.address, "--ca", str(tmp_path / "ca.crt")]


@pytest.fixture
def certificate(running: Running, tmp_path: Path) -> list[str]:
    paths = running.scene.authority.issue(uris=[SPIFFE_ID]).write(tmp_path, "client")
    return ["--cert", str(paths[0]), "--key", str(paths[1])]


def test_a_certificate_is_shown(at: list[str], certificate: list[str], tmp_path: Path) -> None:
    outcome = run_sidegate("revoke", "session", a_handle(), *ISSUER, *at, *certificate, folder=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (Exit.OK, "")


def test_a_token_is_read_for_every_call(running: Running, at: list[str], tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    for token, status in ((running.admin_token(), Exit.OK), (running.admin_token(exp=1), Exit.REJECTED)):
        replace_file(token_file, token.encode())
        outcome = run_sidegate(
            "revoke", "session", a_handle(), *ISSUER, *at, "--token-file", token_file, folder=tmp_path
        )
        assert outcome.returncode == status


def test_variables_will_do(running: Running, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(running.scene.authority.bundle)
    (tmp_path / "token").write_text(running.admin_token())
    outcome = run_sidegate(
        "revoke",
        "session",
        a_handle(),
        *ISSUER,
        folder=tmp_path,
        SIDEGATE_ADMIN_TARGET=running.address,
        SIDEGATE_ADMIN_CA=str(tmp_path / "ca.crt"),
        SIDEGATE_ADMIN_TOKEN_FILE=str(tmp_path / "token"),
    )

    assert (outcome.returncode, outcome.stderr) == (Exit.OK, "")


def test_an_import_shows_a_certificate_too(at: list[str], certificate: list[str], tmp_path: Path) -> None:
    lines = tmp_path / "sessions.jsonl"
    lines.write_text('{"session_handle": "s", "user_id": "a", "create_time": 1, "session_expire_time": 4102444800}\n')

    outcome = run_sidegate("sessions", "import", lines, *ISSUER, *at, *certificate, folder=tmp_path)
    assert outcome.returncode == Exit.OK, outcome.stderr


def test_a_call_without_a_role_is_forbidden(at: list[str], certificate: list[str], tmp_path: Path) -> None:
    outcome = run_sidegate("revoke", "tenant", "acme", *ISSUER, *at, *certificate, folder=tmp_path)

    assert outcome.returncode == Exit.REJECTED
    assert outcome.stderr == (
        "sidegate: PERMISSION_DENIED: the caller has no role for this RPC on this issuer and tenant\n"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cert", "a"], "certificate_file and key_file are needed together"),
        (["--token-file", "missing"], "the token file missing: No such file or directory"),
        (["--ca", "missing"], "missing: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_mistake_of_usage(options: list[str], told: str, tmp_path: Path) -> None:
    outcome = run_sidegate("revoke", "session", "a", "--target", "127.0.0.1:1", *options, folder=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (Exit.USAGE, f"sidegate: {told}\n")

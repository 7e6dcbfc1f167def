"""What the sidecar will not start with: said at once, in full, in words, before anything is served."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import (
    file_issuer,
    issuers_setting,
    run_sidegate,
    running_sidecar,
)


def run_with(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`sidegate run` to its end, with these settings alone."""
    variables = {f"SIDEGATE_{name.upper()}": value for name, value in settings.items()}
    outcome = run_sidegate("run", folder=folder, **variables)
    assert outcome.stdout == ""
    return outcome


@pytest.fixture
def good(issuer: FakeIssuer, folder: Path) -> dict[str, str]:
    """Settings that would do."""
    return {
        "listen": f"unix://{folder}/data.sock",
        "admin_listen": f"unix://{folder}/admin.sock",
        "store_url": f"sqlite://{folder}/sessions.db",
        "issuers": issuers_setting(file_issuer(issuer, folder)),
    }


def test_a_settings_file_with_three_mistakes_is_refused_for_all_of_them(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sidegate.toml").write_text(
        f'listen = "127.0.0.1:{port}"\n'
        'leeway = "soon"\n'
        'unknown_session = "reject"\n'
        "[[issuers]]\n"
        'issuer = "https://issuer.example"\n'
        'jwks_url = "https://keys.example/jwks.json"\n'
        'algorithms = ["HS256"]\n'
    )

    outcome = run_sidegate("run", "--config", "sidegate.toml", folder=folder)

    assert outcome.returncode == os.EX_USAGE
    lines = outcome.stderr.splitlines()
    assert lines[0] == "sidegate: 3 mistakes in the settings:"
    assert len(lines) == 4
    assert any(line.strip().startswith("leeway: not a duration") for line in lines)
    assert any("unknown_session: no such setting; did you mean unknown_sessions?" in line for line in lines)
    assert any("issuers[0].algorithms: not supported: HS256" in line for line in lines)
    with socket.socket() as probe:  # nobody took it, not even for a moment that would linger
        probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param({"admin_listen": "0.0.0.0:0"}, "SIDEGATE_ADMIN_LISTEN: 0.0.0.0:0", id="admin on all addresses"),
        pytest.param({"admin_listen": "127.0.0.1:0"}, "SIDEGATE_ADMIN_LISTEN: 127.0.0.1:0", id="admin on loopback"),
        pytest.param({"admin_listen": "[::1]:0"}, "SIDEGATE_ADMIN_LISTEN: [::1]:0", id="admin on IPv6 loopback"),
        pytest.param({"store_url": ""}, "SIDEGATE_ADMIN_LISTEN: needs a store", id="admin without a store"),
        pytest.param({"store_url": "mysql://x"}, "SIDEGATE_STORE_URL", id="a store of another kind"),
        pytest.param({"listen": "nowhere"}, "SIDEGATE_LISTEN: 'nowhere'", id="no address"),
        pytest.param({"listen": ","}, "SIDEGATE_LISTEN: must not be empty", id="no listener at all"),
        pytest.param({"issuers": "{"}, "SIDEGATE_ISSUERS: not JSON", id="issuers that are no JSON"),
        pytest.param({"issuers": "[]"}, "SIDEGATE_ISSUERS", id="no issuers"),
        pytest.param({"issuers": '[{"issuer": "a"}]'}, "SIDEGATE_ISSUERS[0]: exactly one of", id="no key source"),
        pytest.param(
            {"issuers": '[{"issuer": "a", "jwks_url": "http://keys.example/"}]'},
            "SIDEGATE_ISSUERS[0].jwks_url: must be an https URL",
            id="keys over plain http",
        ),
        pytest.param(
            {"issuers": '[{"issuer": "a", "jwks_url": "https://user:hunter2@keys.example/"}]'},
            "SIDEGATE_ISSUERS[0].jwks_url: a URL must not hold a user or password",
            id="a password in the URL",
        ),
        pytest.param(
            {"issuers": '[{"issuer": "a", "discovery": true}]'}, "SIDEGATE_ISSUERS[0].issuer: ", id="no URL to ask"
        ),
        pytest.param({"leeway": "2m"}, "SIDEGATE_LEEWAY: must not be more than 60s", id="too much leeway"),
    ],
)
def test_a_mistake_is_named_as_the_operator_wrote_it(
    folder: Path, good: dict[str, str], changes: dict[str, str], complaint: str
) -> None:
    outcome = run_with(folder, **(good | changes))

    assert outcome.returncode == os.EX_USAGE
    assert complaint in outcome.stderr
    assert "hunter2" not in outcome.stderr
    assert not (folder / "data.sock").exists()
    assert not (folder / "sessions.db").exists()


def test_an_issuer_alone_that_is_wrong_is_named_by_its_own_variable(folder: Path) -> None:
    outcome = run_with(folder, issuer="https://issuer.example", jwks_url="ftp://keys.example")

    assert outcome.returncode == os.EX_USAGE
    assert "SIDEGATE_JWKS_URL: must be an https URL" in outcome.stderr
    assert "ISSUERS" not in outcome.stderr


def test_a_settings_file_that_is_not_there_is_named(folder: Path) -> None:
    outcome = run_with(folder, config="missing.toml")

    assert outcome.returncode == os.EX_USAGE
    assert "missing.toml: cannot be read" in outcome.stderr


def test_a_port_in_use_is_named(folder: Path, good: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        outcome = run_with(folder, **(good | {"listen": address, "log_level": "warning"}))

    assert outcome.returncode == os.EX_UNAVAILABLE
    # One line: grpc's core has nothing to add.
    assert outcome.stderr == f"sidegate: cannot listen on {address}: the address is in use or not this host's\n"


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64], ids=["no such host", "no host's name"])
def test_a_name_that_leads_nowhere_is_told_from_an_address_in_use(
    folder: Path, good: dict[str, str], host: str
) -> None:
    outcome = run_with(folder, **(good | {"listen": f"{host}:0", "log_level": "warning"}))

    assert outcome.returncode == os.EX_UNAVAILABLE
    assert outcome.stderr == f"sidegate: cannot listen on {host}:0: the name {host} does not resolve\n"


@pytest.mark.parametrize("plane", ["data", "admin"])
def test_a_second_sidecar_on_a_socket_is_refused_and_the_first_goes_on(
    issuer: FakeIssuer, folder: Path, good: dict[str, str], plane: str
) -> None:
    second = folder / "second"
    second.mkdir()
    with running_sidecar(folder, issuers=good["issuers"]) as first, first.verification() as client:
        own = {name: f"unix://{second}/{name}.sock" for name in ("data", "admin")}
        own[plane] = {"data": first.target, "admin": first.admin_target}[plane]

        outcome = run_with(folder, **(good | {"listen": own["data"], "admin_listen": own["admin"]}))

        assert outcome.returncode == os.EX_UNAVAILABLE
        assert f"cannot listen on {own[plane]}: another process listens there" in outcome.stderr
        assert client.verify(issuer.mint()).user_id == "alice"
        with first.verification() as newcomer, first.administration() as admin:
            assert newcomer.verify(issuer.mint()).user_id == "alice"
            assert admin.revoke_session("still-there").newly_revoked


def test_the_socket_of_a_killed_sidecar_is_taken_over(issuer: FakeIssuer, folder: Path, good: dict[str, str]) -> None:
    with running_sidecar(folder, issuers=good["issuers"]) as killed:
        killed.kill()
        assert (folder / "data.sock").is_socket()
    with running_sidecar(folder, issuers=good["issuers"]) as sidecar, sidecar.verification() as client:
        assert client.verify(issuer.mint()).user_id == "alice"


def test_a_socket_that_cannot_be_made_is_named(folder: Path, good: dict[str, str]) -> None:
    (folder / "a-file").touch()
    target = f"unix://{folder}/a-file/s.sock"

    outcome = run_with(folder, **(good | {"listen": target}))

    assert outcome.returncode == os.EX_UNAVAILABLE
    assert f"cannot listen on {target}" in outcome.stderr
    assert "a-file: File exists" in outcome.stderr


def test_sockets_with_too_long_a_path_are_mistakes_in_the_settings(folder: Path, good: dict[str, str]) -> None:
    path = f"{folder}/{'a' * 120}"
    too_long = f"'unix://{path}': a Unix socket's path has at most 107 bytes, and this one has {len(path)}"

    outcome = run_with(folder, **(good | {"listen": f"unix://{path}", "admin_target": f"unix://{path}"}))

    assert outcome.returncode == os.EX_USAGE
    assert f"SIDEGATE_LISTEN: {too_long}" in outcome.stderr
    assert f"SIDEGATE_ADMIN_TARGET: {too_long}" in outcome.stderr


def test_sidegate_dev_says_that_a_sockets_path_is_too_long(folder: Path) -> None:
    outcome = run_sidegate("dev", "--listen", f"unix:///{'a' * 107}", folder=folder)

    assert outcome.returncode == os.EX_USAGE
    assert "--listen: " in outcome.stderr
    assert "a Unix socket's path has at most 107 bytes, and this one has 108" in outcome.stderr


def test_a_corrupt_store_is_named_and_left_as_it_is(folder: Path, good: dict[str, str]) -> None:
    store = folder / "sessions.db"
    store.write_bytes(b"this is not a database, " * 1000)

    outcome = run_with(folder, **good)

    assert outcome.returncode == os.EX_UNAVAILABLE
    assert f"{store}: " in outcome.stderr
    assert "file is not a database" in outcome.stderr
    assert store.read_bytes().startswith(b"this is not a database")


@pytest.mark.parametrize("place", ["a-file/sessions.db", "a-directory"])
def test_a_store_that_cannot_be_written_is_named(folder: Path, good: dict[str, str], place: str) -> None:
    """Neither place depends on who asks: root may write wherever there is a directory."""
    (folder / "a-file").touch()
    (folder / "a-directory").mkdir()

    outcome = run_with(folder, **(good | {"store_url": f"sqlite://{folder}/{place}"}))

    assert outcome.returncode == os.EX_UNAVAILABLE
    assert f"{folder}/{place}: " in outcome.stderr


def test_a_sidecar_configured_above_the_stores_limits_is_refused(folder: Path, good: dict[str, str]) -> None:
    with running_sidecar(folder, issuers=good["issuers"]) as first:
        assert first.stop() == 0

    refused = run_with(folder, **good, max_token_lifetime="48h")

    assert refused.returncode == os.EX_UNAVAILABLE
    assert "max_token_lifetime is 2d, above the 24h of the store" in refused.stderr
    assert "sidegate migrate" in refused.stderr

    variables = {f"SIDEGATE_{name.upper()}": value for name, value in good.items()}
    migrated = run_sidegate("migrate", folder=folder, **variables, SIDEGATE_MAX_TOKEN_LIFETIME="48h")
    assert migrated.returncode == 0, migrated.stderr
    with running_sidecar(folder, issuers=good["issuers"], max_token_lifetime="48h"):
        pass


def test_a_misspelt_variable_is_pointed_out(folder: Path, good: dict[str, str]) -> None:
    with running_sidecar(folder, issuers=good["issuers"], unkown_sessions="reject") as sidecar:
        told = sidecar.wait_for_event("unknown_variable")
    assert (told["name"], told["did_you_mean"]) == ("SIDEGATE_UNKOWN_SESSIONS", "SIDEGATE_UNKNOWN_SESSIONS")


def test_a_misspelt_variable_is_pointed_out_under_the_mistakes_that_it_causes(folder: Path) -> None:
    outcome = run_with(folder, isuer="https://issuer.example", service_host="10.0.0.1")

    assert outcome.returncode == os.EX_USAGE
    heading, mistake, guess = outcome.stderr.splitlines()
    assert heading == "sidegate: 1 mistake in the settings:"
    assert mistake.startswith("  SIDEGATE_ISSUERS: no issuer is configured")
    assert guess == "  SIDEGATE_ISUER is set, and nothing reads it; did you mean SIDEGATE_ISSUER?"
